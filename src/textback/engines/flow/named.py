"""What is wrong with a flow, said so that `textback apply` can name the node and the line."""

from collections.abc import Iterable, Mapping
from typing import cast

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from textback.engines.flow.graph import Place


def refused(problems: Iterable[tuple[Place, str]]) -> ValidationError:
    return ValidationError.from_exception_data(
        "FlowConfig", [_detail(place, said) for place, said in problems]
    )


def naming(errors: ValidationError, value: object) -> ValidationError:
    """Put the node's id before our own sentences. `value` is the node as it was written."""
    node_id = cast("Mapping[str, object]", value).get("id") if isinstance(value, Mapping) else None
    if not isinstance(node_id, str):
        return errors
    details: list[InitErrorDetails] = []
    for error in errors.errors(include_url=False):
        context = error.get("ctx", {})
        if error["type"] in {"value_error", "flow"}:
            said = str(context.get("error") or context.get("problem"))
            known = said.startswith(f'node "{node_id}"')
            details.append(_detail(error["loc"], said if known else f'node "{node_id}": {said}'))
        else:
            details.append(
                InitErrorDetails(
                    type=error["type"], loc=error["loc"], input=error["input"], ctx=context
                )
            )
    return ValidationError.from_exception_data("FlowConfig", details)


def _detail(place: Place, said: str) -> InitErrorDetails:
    problem = PydanticCustomError("flow", "{problem}", {"problem": said})
    return InitErrorDetails(type=problem, loc=place, input=None)
