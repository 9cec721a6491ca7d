"""The provisioning file: YAML and an environment -> a plan, or all that is wrong, line by line."""

import re
from collections.abc import Iterator, Mapping, Sequence

from pydantic import ValidationError

from textback.core.errors import ProvisioningError
from textback.core.frozen import frozen
from textback.core.ids import AccountId
from textback.core.plan import Agent, Path, Plan
from textback.core.policy import ProjectPolicy
from textback.provisioning_file import agent_shape, shape
from textback.provisioning_file.building import build, suspicions
from textback.provisioning_file.checks import between_entries, entries
from textback.provisioning_file.contents import built, reread
from textback.provisioning_file.engine_kind import EngineKind
from textback.provisioning_file.findings import Findings, problem_at
from textback.provisioning_file.policies import policy_of
from textback.provisioning_file.yaml_lines import Problem, Tree, shown
from textback.provisioning_file.yaml_lines import read as read_yaml

__all__ = [
    "EngineKind",
    "FileRefused",
    "Problem",
    "ProvisioningFile",
    "read",
    "read_agent",
    "reread",
]


class FileRefused(Exception):  # noqa: N818 - an answer, not an error
    """`problems` are all that is wrong with the file, in the order of its lines."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = sorted(set(problems))


@frozen(kw_only=False)
class ProvisioningFile:
    plan: Plan
    warnings: tuple[Problem, ...]
    """What is allowed, but looks like a mistake."""
    _tree: Tree

    def locate(self, errors: Sequence[ProvisioningError]) -> list[Problem]:
        """Name the lines of what was found wrong, or odd, when the plan was carried out."""
        return sorted(problem_at(self._tree, error.path, error.problem) for error in errors)


def read(
    source: bytes | str, environment: Mapping[str, str], *, engines: Mapping[str, EngineKind]
) -> ProvisioningFile:
    """`engines` by the `kind` that an agent's engine names. Raises FileRefused."""
    tree = read_yaml(source.encode() if isinstance(source, str) else source, environment)
    if tree.value is None:
        raise FileRefused(tree.problems or [Problem(1, "", "the file is empty")])
    found = Findings(tree)
    file = found.valid(shape.File, tree.value, ())
    carriers = {
        path: carrier
        for path, entry in entries(tree.value, "accounts", "carriers")
        if (model := found.by_kind(entry, path, shape.CARRIERS)) is not None
        and (carrier := found.valid(model, entry, path)) is not None
    }
    settings = {
        path: read
        for at, agent in entries(tree.value, "accounts", "agents")
        for path, read in found.engines(agent, at, engines).items()
    }
    for error in between_entries(tree):
        found.add(error.path, error.problem)
    if file is None or found.problems:
        raise FileRefused(found.problems)
    plan = build(file, carriers, settings)
    warnings = [problem_at(tree, odd.path, odd.problem) for odd in suspicions(plan)]
    return ProvisioningFile(plan, tuple(sorted(warnings)), tree)


def read_agent(
    source: bytes | str,
    environment: Mapping[str, str],
    agent_id: str,
    *,
    engines: Mapping[str, EngineKind],
) -> tuple[Agent, ProjectPolicy]:
    """One agent, and the settings of the first project that is its; the usual ones, if none is.

    Of the rest of the file only the YAML must be right: no variable outside of the agent need be
    set. Raises FileRefused; LookupError with a sentence when the file has no such agent.
    """
    tree = read_yaml(source.encode() if isinstance(source, str) else source, environment)
    if tree.value is None:
        raise FileRefused(tree.problems)
    agents = {str(entry.get("id")): (path, entry) for path, entry in _agents(tree)}
    if agent_id not in agents:
        known = ", ".join(agents) or "none"
        raise LookupError(f'There is no agent "{agent_id}" in the file; there is: {known}.')
    path, entry = agents[agent_id]
    found = Findings(tree)
    agent = found.valid(agent_shape.Agent, entry, path)
    settings = found.engines(entry, path, engines)
    within = re.compile(re.escape(shown(path)) + r"(\W|$)")
    problems = [problem for problem in found.problems if within.match(problem.path)]
    if agent is None or problems:
        raise FileRefused(problems or found.problems)
    return built(path, AccountId(""), agent, settings), _policy_for(tree, agent_id)


def _agents(tree: Tree) -> Iterator[tuple[Path, dict[str, object]]]:
    return entries(tree.value, "accounts", "agents")


def _policy_for(tree: Tree, agent_id: str) -> ProjectPolicy:
    for _, entry in entries(tree.value, "accounts", "projects"):
        if entry.get("agent") == agent_id:
            try:
                return policy_of(shape.Project.model_validate(entry))
            except ValidationError:  # not what is being tried out
                continue
    return ProjectPolicy()
