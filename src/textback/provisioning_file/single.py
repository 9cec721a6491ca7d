"""One entry that came through an API, as JSON -> a plan with nothing else in it, or its faults."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator

from textback.core.entries import Entry, EntryKind, Fault
from textback.core.ids import AccountId
from textback.core.plan import CarrierKind, Plan
from textback.core.policy import ProjectPolicy
from textback.core.reach import called
from textback.core.webhook import url_fault
from textback.provisioning_file import agent_shape, shape
from textback.provisioning_file.building import carrier_of, connector_of, number_of, project_of
from textback.provisioning_file.checks import meanings
from textback.provisioning_file.contents import built, reread
from textback.provisioning_file.engine_kind import EngineKind
from textback.provisioning_file.findings import NEVER_NULL, Findings, without_refused_nulls
from textback.provisioning_file.policies import in_words
from textback.provisioning_file.values import Id
from textback.provisioning_file.yaml_lines import Tree


class Connector(shape.Connector):
    project: Id


class Number(shape.Number):
    project: Id


def _apart(_: object) -> object:
    raise ValueError("have entries of their own")


_Apart = Annotated[tuple[()], BeforeValidator(_apart)]


class Project(shape.Project):
    connectors: _Apart = ()
    numbers: _Apart = ()
    webhooks: _Apart = ()


class OneEntry:
    """`core.entries.Provisioner` by the shapes of the file."""

    def __init__(self, kinds: Mapping[str, EngineKind], *, private: bool) -> None:
        """`private`: what entries name may be at private addresses."""
        self._kinds, self._private = kinds, private

    def read(
        self,
        kind: EntryKind,
        entry: Entry,
        account_id: AccountId,
        *,
        trusted: Sequence[Entry] = (),
    ) -> Plan | Sequence[Fault]:
        given = cast("dict[str, object]", _without_empty_secrets(dict(entry)))
        self._forget_nulls(kind, given)
        found = Findings(Tree(value=given))
        plan = self._plan(kind, given, found, account_id)
        known = {url for each in trusted for _, url in called(each)}
        for path, url in called(given):
            if url not in known and (fault := self._unreachable(url)) is not None:
                found.add(path, fault)
        if plan is None or found.problems:
            return [Fault(each.path, each.problem) for each in sorted(set(found.problems))]
        return plan

    def policy(self, policy: ProjectPolicy) -> Entry:
        return in_words(policy)

    def reread(self, engine: Entry, secrets: Mapping[str, str]) -> Entry:
        return reread(self._kinds, engine, secrets)

    def _plan(
        self, kind: EntryKind, given: dict[str, object], found: Findings, account_id: AccountId
    ) -> Plan | None:
        match kind:
            case "carrier":
                model = found.by_kind(given, (), shape.CARRIERS)
                carrier = None if model is None else found.valid(model, given, (), as_json=True)
                return carrier and Plan(carriers=(carrier_of((), account_id, carrier),))
            case "agent":
                agent = found.valid(agent_shape.Agent, given, (), as_json=True)
                engines = found.engines(given, (), self._kinds)
                if agent is None or found.problems:
                    return None
                return Plan(agents=(built((), account_id, agent, engines),))
            case "project":
                project = found.valid(Project, given, (), as_json=True)
                for path, problem in meanings(given, ()):
                    found.add(path, problem)
                return project and Plan(projects=(project_of((), account_id, project),))
            case "connector":
                one = found.valid(Connector, given, (), as_json=True)
                return one and Plan(connectors=(connector_of((), account_id, one.project, one),))
            case "number":
                number = found.valid(Number, given, (), as_json=True)
                return number and Plan(numbers=(number_of((), account_id, number.project, number),))

    def _forget_nulls(self, kind: EntryKind, given: dict[str, object]) -> None:
        """JSON's null where the file has nothing is nothing; where it may stand, it stands."""
        model: type[BaseModel] | None = None
        match kind:
            case "carrier":
                name = given.get("kind")
                known = isinstance(name, str) and name in shape.CARRIERS
                model = shape.CARRIERS[cast("CarrierKind", name)] if known else None
            case "agent":
                model = agent_shape.Agent
            case "project":
                model = Project
            case "connector":
                model = Connector
            case "number":
                model = Number
        if model is not None:
            without_refused_nulls(model, given)
        for part in (given, given.get("draft")):
            engine = cast("dict[str, object]", part).get("engine") if _is_dict(part) else None
            name = cast("dict[str, object]", engine).get("kind") if _is_dict(engine) else None
            if isinstance(name, str) and name in self._kinds:
                without_refused_nulls(self._kinds[name].model, cast("dict[str, object]", engine))

    def _unreachable(self, url: str) -> str | None:
        """Of its path nothing is asked: in a flow it may hold variables."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return None  # the entry's model has said so
        return url_fault(f"{parts.scheme}://{parts.netloc}/", private=self._private)


def _is_dict(value: object) -> bool:
    return isinstance(value, dict)


def _without_empty_secrets(value: object, *, imported: bool = False) -> object:
    """A secret that is shown as null is given as null again: it is none.

    But for what is `imported` from another vendor's format, where a null may be something else.
    """
    if isinstance(value, dict):
        return {
            name: _without_empty_secrets(inner, imported=imported or name == "pathway")
            for name, inner in cast("dict[str, Any]", value).items()
            if imported or inner is not None or name not in NEVER_NULL
        }
    if isinstance(value, list):
        items = cast("list[object]", value)
        return [_without_empty_secrets(inner, imported=imported) for inner in items]
    return value
