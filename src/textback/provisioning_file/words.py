"""What pydantic found wrong -> what a person should change. Never quotes a value."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

REST_OF_A_TEXT = "has an unknown field without a value; put quotes around text that has a comma"
REST_OF_A_HEADER = "has a header without a value; put quotes around text that has a comma"

_A_FIELD = "must be fields (name: value)"

_SENTENCES = {
    "missing": "is missing",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "is too large",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "greater_than": "must be more than {gt:,.12g}",
    "greater_than_equal": "must be at least {ge:,.12g}",
    "less_than": "must be less than {lt:,.12g}",
    "less_than_equal": "must be at most {le:,.12g}",
    "string_too_short": "must not be empty",
    "string_too_long": "must be at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "too_short": "must have at least {min_length} entry",
    "too_long": "must have at most {max_length} entries",
    "literal_error": "must be one of {expected}",
    "list_type": "must be a list (- ...)",
    "tuple_type": "must be a list (- ...)",
    "dict_type": _A_FIELD,
    "model_type": _A_FIELD,
    "model_attributes_type": _A_FIELD,
}


def sentence(error: ErrorDetails, model: type[BaseModel]) -> str:
    """`model` is the one that `error` was found with: it knows the names that were possible."""
    context = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return unknown(str(error["loc"][-1]), _fields_at(model, error["loc"]), "field")
        case "value_error":
            return str(context.get("error", error["msg"]))
        case "string_type" if isinstance(error["input"], int | float):
            return "must be text; put quotes around it"
        case "literal_error":
            return f"must be {str(context['expected']).replace(chr(39), '')}"
        case kind if kind in _SENTENCES:
            return _SENTENCES[kind].format(**context)
        case _:
            return error["msg"][:1].lower() + error["msg"][1:]


def rest_of_a_text(error: ErrorDetails) -> str | None:
    """`{key: one, two}` is a key "one" and a field "two" without a value: half of a secret."""
    if error["input"] is not None:
        return None
    if error["type"] == "extra_forbidden":
        return REST_OF_A_TEXT
    is_header = error["type"] == "string_type" and "headers" in error["loc"][:-1]
    return REST_OF_A_HEADER if is_header else None


def joined(sentences: Sequence[str]) -> str:
    """What may be one thing or another: `must be text` and `must be a number` in one."""
    first, *others = sentences
    if all(said.startswith("must be ") for said in sentences):
        others = [said.removeprefix("must be ") for said in others]
    return ", or ".join([first, *others])


def unknown(name: str, known: Sequence[str], what: str) -> str:
    if close := get_close_matches(name.lower().replace("-", "_"), known, n=1, cutoff=0.6):
        return f'unknown {what}; did you mean "{close[0]}"?'
    return f"unknown {what}; known here: {', '.join(known)}"


def _fields_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    at = model
    for step in location[:-1]:
        if isinstance(step, str) and step in at.model_fields:
            at = _model_in(at.model_fields[step].annotation) or at
    return list(at.model_fields)


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model in `list[Rule]`, `Rule | None` and the like."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    parts = get_args(annotation)
    return next((found for part in parts if (found := _model_in(part)) is not None), None)
