"""The provisioning file: YAML and an environment -> a plan, or all that is wrong, line by line."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from textback.core.errors import ProvisioningError
from textback.core.plan import Path, Plan
from textback.provisioning_file import shape
from textback.provisioning_file.building import EngineSettings, build, suspicions
from textback.provisioning_file.checks import between_entries, entries
from textback.provisioning_file.words import REST_OF_A_TEXT, is_rest_of_a_text, sentence, unknown
from textback.provisioning_file.yaml_lines import Problem, Tree, shown
from textback.provisioning_file.yaml_lines import read as read_yaml

__all__ = ["EngineKind", "FileRefused", "Problem", "ProvisioningFile", "read"]

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class EngineKind:
    """How the `engine` of an agent is read when its `kind` is this one."""

    model: type[BaseModel]
    """Its `secret`, if it has one, is a SecretStr."""
    can_open: bool
    deadline: Callable[[Any], timedelta]
    """From the model's instance: how long a turn may take in all."""


class FileRefused(Exception):  # noqa: N818 - an answer, not an error
    """`problems` are all that is wrong with the file, in the order of its lines."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = sorted(set(problems))


@dataclass(frozen=True, slots=True)
class ProvisioningFile:
    plan: Plan
    warnings: tuple[Problem, ...]
    """What is allowed, but looks like a mistake."""
    _tree: Tree

    def locate(self, errors: Sequence[ProvisioningError]) -> list[Problem]:
        """Name the lines of what was found wrong, or odd, when the plan was carried out."""
        return sorted(_problem(self._tree, error.path, error.problem) for error in errors)


def read(
    source: bytes | str, environment: Mapping[str, str], *, engines: Mapping[str, EngineKind]
) -> ProvisioningFile:
    """`engines` by the `kind` that an agent's engine names. Raises FileRefused."""
    tree = read_yaml(source.encode() if isinstance(source, str) else source, environment)
    if tree.value is None:
        raise FileRefused(tree.problems or [Problem(1, "", "the file is empty")])
    found = _Findings(tree)
    file = found.valid(shape.File, tree.value, ())
    carriers = {
        path: carrier
        for path, entry in entries(tree.value, "accounts", "carriers")
        if (model := found.by_kind(entry, path, shape.CARRIERS)) is not None
        and (carrier := found.valid(model, entry, path)) is not None
    }
    settings: dict[Path, EngineSettings] = {}
    for agent_path, agent in entries(tree.value, "accounts", "agents"):
        for path, engine in entries(agent.get("engine"), path=(*agent_path, "engine")):
            kind = found.by_kind(engine, path, engines)
            valid = None if kind is None else found.valid(kind.model, engine, path)
            if kind is not None and valid is not None:
                settings[path] = EngineSettings(valid, kind.can_open, kind.deadline(valid))
    for error in between_entries(tree):
        found.add(error.path, error.problem)
    if file is None or found.problems:
        raise FileRefused(found.problems)
    plan = build(file, carriers, settings)
    warnings = [_problem(tree, odd.path, odd.problem) for odd in suspicions(plan)]
    return ProvisioningFile(plan, tuple(sorted(warnings)), tree)


def _problem(tree: Tree, path: Path, problem: str, *, of_key: bool = False) -> Problem:
    return Problem(tree.line(path, of_key=of_key), shown(path), problem)


_Kind = TypeVar("_Kind")


class _Findings:
    """Collects; what could not be read at all is not complained about a second time."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.problems: list[Problem] = list(tree.problems)

    def add(self, path: Path, problem: str, *, of_key: bool = False) -> None:
        if not self._tree.is_bad(path):
            self.problems.append(_problem(self._tree, path, problem, of_key=of_key))

    def valid(self, model: type[_Model], value: object, path: Path) -> _Model | None:
        try:
            return model.model_validate(value)
        except ValidationError as errors:
            for error in errors.errors(include_url=False):
                where = (*path, *error["loc"])
                if is_rest_of_a_text(error):
                    if not self._tree.is_bad(where):
                        line = self._tree.line(where, of_key=True)
                        self.problems.append(Problem(line, shown(where[:-1]), REST_OF_A_TEXT))
                    continue
                said = sentence(error, model)
                if error["input"] == "" and (names := self._tree.variables.get(where)):
                    said += f"; the environment variable {names[0]} is"
                self.add(where, said, of_key=error["type"] == "extra_forbidden")
            return None

    def by_kind(
        self, entry: dict[str, object], path: Path, kinds: Mapping[Any, _Kind]
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
