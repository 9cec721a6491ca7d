"""Reading parts of a file by the models that say their shape, and collecting what is wrong."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from textback.core.plan import Path
from textback.provisioning_file.checks import entries
from textback.provisioning_file.contents import EngineSettings
from textback.provisioning_file.engine_kind import EngineKind
from textback.provisioning_file.words import joined, rest_of_a_text, sentence, unknown
from textback.provisioning_file.yaml_lines import Problem, Tree, shown

_Model = TypeVar("_Model", bound=BaseModel)
_Kind = TypeVar("_Kind")

_NOT_EMPTY: Final = "must not be empty"
_OURS: Final = frozenset({"value_error", "flow"})
"""Errors whose sentences, and the places they name, are of the models' own checks."""
NEVER_NULL: Final = frozenset({"secret", "api_key"})


def problem_at(tree: Tree, path: Path, problem: str, *, of_key: bool = False) -> Problem:
    return Problem(tree.line(path, of_key=of_key), shown(path), problem)


class Findings:
    """Collects; what could not be read at all is not complained about a second time."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.problems: list[Problem] = list(tree.problems)

    def add(self, path: Path, problem: str, *, of_key: bool = False) -> None:
        if not self._tree.is_bad(path):
            self.problems.append(problem_at(self._tree, path, problem, of_key=of_key))

    def valid(
        self, model: type[_Model], value: object, path: Path, *, as_json: bool = False
    ) -> _Model | None:
        """`as_json`: a number is no text, as JSON tells them apart; YAML need not."""
        try:
            if as_json:
                return model.model_validate_json(json.dumps(value), strict=True)
            return model.model_validate(value)
        except ValidationError as errors:
            found = [(_there(value, e), e) for e in errors.errors(include_url=False)]
            for place, same in groupby(found, key=lambda pair: pair[0]):
                self._complain(model, (*path, *place), [error for _, error in same])
            return None

    def _complain(
        self, model: type[BaseModel], where: Path, errors: Sequence[ErrorDetails]
    ) -> None:
        """`errors` are of one place: more than one, when it may hold different things."""
        first = errors[0]
        if (rest := rest_of_a_text(first)) is not None:
            if not self._tree.is_bad(where):
                line = self._tree.line(where, of_key=True)
                self.problems.append(Problem(line, shown(where[:-1]), rest))
            return
        said = list(dict.fromkeys(sentence(error, model) for error in errors))
        if first["input"] == "" and (names := self._tree.variables.get(where)):
            said = [f"{_NOT_EMPTY}; the environment variable {names[0]} is"]
        self.add(where, joined(said), of_key=first["type"] == "extra_forbidden")

    def by_kind(
        self, entry: Mapping[str, object], path: Path, kinds: Mapping[Any, _Kind]
    ) -> _Kind | None:
        name = entry.get("kind")
        if isinstance(name, str) and name in kinds:
            return kinds[name]
        known = [str(kind) for kind in kinds]
        if "kind" not in entry:
            self.add((*path, "kind"), f"is missing; known here: {', '.join(known)}")
        else:
            said = unknown(name, known, "kind") if isinstance(name, str) else "must be text"
            self.add((*path, "kind"), said)
        return None

    # --- Agents ---------------------------------------------------------------------------------

    def engines(
        self, agent: Mapping[str, object], path: Path, kinds: Mapping[str, EngineKind]
    ) -> dict[Path, EngineSettings]:
        """Of the agent and of its draft, as far as they are right; by their paths."""
        production, draft = (*path, "engine"), (*path, "draft", "engine")
        own = agent.get("draft")
        of_draft = cast("dict[str, object]", own if isinstance(own, dict) else {})
        found: dict[Path, EngineSettings] = {}
        for at, given in ((production, agent), (draft, of_draft)):
            engine, analysis = given.get("engine"), given.get("analysis")
            for where, entry in entries(engine, path=at):
                settings = self._engine(entry, where, kinds)
                if settings is not None:
                    found[where] = settings
            for where, _ in entries(analysis, path=(*at[:-1], "analysis")):
                self._storable(analysis, where)
        self._can_analyse(agent.get("analysis"), found.get(production), (*path, "analysis"))
        if "analysis" in of_draft:
            using = found.get(draft if "engine" in of_draft else production)
            self._can_analyse(of_draft["analysis"], using, (*path, "draft", "analysis"))
        elif (using := found.get(draft)) is not None and agent.get("analysis") is not None:
            said = "does not analyse, as the agent does; put `analysis: null` into the draft"
            self._can_analyse(agent["analysis"], using, draft, said)
        return found

    def _engine(
        self, entry: Mapping[str, object], path: Path, kinds: Mapping[str, EngineKind]
    ) -> EngineSettings | None:
        kind = self.by_kind(entry, path, kinds)
        if kind is None:
            return None
        before = len(self.problems)
        self._storable(entry, path)
        settings = self.valid(kind.model, entry, path)
        if settings is None or len(self.problems) > before:
            return None
        return EngineSettings(settings, kind)

    def _can_analyse(
        self, analysis: object, engine: EngineSettings | None, path: Path, why: str | None = None
    ) -> None:
        if analysis is None or engine is None or engine.kind.can_analyse(engine.settings):
            return
        name = getattr(engine.settings, "kind", "")
        self.add(path, why or f"cannot be made: this engine (kind: {name}) does not analyse")

    def _storable(self, value: object, path: Path) -> None:
        """What no model looks at is stored as JSON, which knows no infinity."""
        for where, inner in _inside(value, path):
            if isinstance(inner, float) and not math.isfinite(inner):
                self.add(where, "must be a finite number")
            elif inner is None and where[-1] in NEVER_NULL and "pathway" not in where:
                # Nothing behind it is a forgotten value, not a wish to have none.
                self.add(where, _NOT_EMPTY)


def without_refused_nulls(model: type[BaseModel], value: dict[str, object]) -> None:
    """Take out of `value` each null that the model does not allow."""
    try:
        model.model_validate(value)
    except ValidationError as errors:
        for error in errors.errors(include_url=False):
            if error["input"] is None and error["type"] != "extra_forbidden":
                _take_out(value, _there(value, error))


def _take_out(value: object, path: Path) -> None:
    """A field; what stands in a list keeps its place."""
    inner: Any = value
    try:
        for step in path[:-1]:
            inner = inner[step]
    except (LookupError, TypeError):  # it went with what it was in
        return
    if path and isinstance(inner, dict):
        cast("dict[str | int, object]", inner).pop(path[-1], None)


def _inside(value: object, path: Path) -> Iterator[tuple[Path, object]]:
    if isinstance(value, dict):
        for name, inner in cast("dict[str, object]", value).items():
            yield from _inside(inner, (*path, name))
    elif isinstance(value, list):
        for place, inner in enumerate(cast("list[object]", value)):
            yield from _inside(inner, (*path, place))
    else:
        yield path, value


def _there(value: object, error: ErrorDetails) -> Path:
    """The error's place, without the steps that are pydantic's own: which of several was tried."""
    found: list[str | int] = []
    for i, step in enumerate(error["loc"], 1):
        if isinstance(value, dict):
            fields = cast("dict[str | int, object]", value)
            names_it = error["type"] in _OURS or (
                error["type"] == "missing" and i == len(error["loc"])
            )
            if step not in fields and not names_it:
                continue
            value = fields.get(step)
        elif isinstance(value, list) and isinstance(step, int):
            items = cast("list[object]", value)
            value = items[step] if step < len(items) else None
        else:
            continue
        found.append(step)
    return tuple(found)
