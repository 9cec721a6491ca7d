"""Secrets that a change does not name: they stay, as long as they go to the same address."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from textback.core import secret_paths
from textback.core.entries import Entry
from textback.core.ports import Vault
from textback.db.provisioning import Row
from textback.flows.provision_access import Sealing
from textback.flows.provision_agents import Place, place

_MOVED: Final = "goes to another address now, or its name has changed: give it again"
_LOST: Final = "cannot be opened any more: give it again"


class _Unsaid:
    """Stands where a secret is that a change may leave as it is."""


_UNSAID: Final = _Unsaid()


class Kept:
    """The secrets of an agent's versions, which come back where a change says nothing of them.

    In what stands in a list, which a change gives as a whole, null says nothing; elsewhere it says
    that there is to be none any more.
    """

    def __init__(self, versions: Sequence[Row], vault: Vault) -> None:
        sealing = Sealing(vault)
        self._known: list[tuple[Place, str | None]] = [
            (place(cast("Mapping[str, Any]", row["engine"]), path.split(".")), sealing.opened(each))
            for row in versions
            for path, each in cast("Mapping[str, str]", row["secrets"]).items()
        ]
        self._versions = versions
        self.faults: dict[str, str] = {}

    def marked(self, agent: Entry) -> dict[str, Any]:
        """The entry as it is shown, made ready for a change to be merged into it."""
        whole = dict(agent)
        whole["engine"] = _marked(self._versions[0])
        if whole.get("draft") is not None:
            whole["draft"] = {**whole["draft"], "engine": _marked(self._versions[-1])}
        return whole

    def put(self, agent: Entry) -> Entry:
        """The entry that was changed, with them; what cannot be put back is in `faults`."""
        whole = dict(agent)
        if isinstance(engine := whole.get("engine"), Mapping):
            whole["engine"] = self._engine(cast("Entry", engine), "engine")
        if isinstance(draft := whole.get("draft"), Mapping):
            own = dict(cast("Entry", draft))
            if isinstance(engine := own.get("engine"), Mapping):
                own["engine"] = self._engine(cast("Entry", engine), "draft.engine")
            whole["draft"] = own
        return whole

    def _engine(self, engine: Entry, at: str) -> Entry:
        found: dict[tuple[str, ...], str] = {}
        for steps in _unsaid(engine, ()):
            where = place(engine, steps)
            same = [secret for known, secret in self._known if known == where]
            if same and same[0] is not None:
                found[steps] = same[0]
            elif same:
                self.faults[_path(at, steps)] = _LOST
            elif _at(engine, steps) is _UNSAID or self._is_elsewhere(where):
                self.faults[_path(at, steps)] = _MOVED
        return cast("Entry", _with(engine, (), found))

    def _is_elsewhere(self, where: Place) -> bool:
        return any(known[:-1] == where[:-1] for known, _ in self._known)


def _marked(version: Row) -> dict[str, Any]:
    stands = cast("str", _UNSAID)
    places = dict.fromkeys(cast("Mapping[str, str]", version["secrets"]), stands)
    return secret_paths.put(cast("Entry", version["engine"]), places)


def _unsaid(
    value: object, at: tuple[str, ...], *, listed: bool = False
) -> Iterator[tuple[str, ...]]:
    if isinstance(value, Mapping):
        for name, inner in cast("Mapping[str, object]", value).items():
            yield from _unsaid(inner, (*at, name), listed=listed)
    elif isinstance(value, list):
        for i, inner in enumerate(cast("list[object]", value)):
            yield from _unsaid(inner, (*at, str(i)), listed=True)
    elif value is _UNSAID or (value is None and listed):
        yield at


def _with(value: object, at: tuple[str, ...], found: Mapping[tuple[str, ...], str]) -> object:
    if isinstance(value, Mapping):
        fields = cast("Mapping[str, object]", value)
        return {name: _with(inner, (*at, name), found) for name, inner in fields.items()}
    if isinstance(value, list):
        items = cast("list[object]", value)
        return [_with(inner, (*at, str(i)), found) for i, inner in enumerate(items)]
    return found.get(at, value)


def _at(value: object, steps: Sequence[str]) -> object:
    for step in steps:
        if isinstance(value, list):
            value = cast("list[object]", value)[int(step)]
        else:
            value = cast("Entry", value)[step]
    return value


def _path(at: str, steps: Sequence[str]) -> str:
    return at + "".join(f"[{step}]" if step.isdecimal() else f".{step}" for step in steps)
