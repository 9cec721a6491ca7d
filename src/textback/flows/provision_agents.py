"""An agent's contents -> the numbers of the versions that have them: those there are, or new ones.

Content never changes under its number. Secrets do: one that was rotated reaches every version that
had the old one in the same place, or conversations that stay on it would fail.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias, cast

from textback.core.ids import AgentId
from textback.core.plan import AgentContent
from textback.core.policy import AgentLabel
from textback.core.ports import Vault
from textback.db.agents import ANALYSIS
from textback.db.provisioning import Row

Reread: TypeAlias = Callable[[Mapping[str, object], Mapping[str, str]], Mapping[str, object]]
"""Stored engine settings, and their opened secrets -> the same in the words of today's release."""

Place: TypeAlias = tuple[object, ...]

LABELS: Final[Sequence[AgentLabel]] = ("production", "draft")
_WHERE_TO: Final = ("provider", "base_url", "url")
"""Whom a secret is for: another address has another secret, under whatever name."""


@dataclass(slots=True, kw_only=True)
class _Version:
    content: Mapping[str, object]
    derived: Mapping[str, object]
    sealed: dict[str, str]
    opened: dict[str, str | None]
    """None: no key opens it."""
    places: dict[str, Place]
    """Of its secrets."""


class Versions:
    """Decides, and writes nothing: `new` is to be inserted, `changed` to be set, by number."""

    def __init__(
        self,
        agent_id: AgentId,
        there: Mapping[int, Row],
        *,
        vault: Vault,
        reread: Reread,
        now: datetime,
    ) -> None:
        self._agent_id, self._vault, self._reread, self._now = agent_id, vault, reread, now
        self._all = {number: self._stored(row) for number, row in there.items()}
        self._taken: set[int] = set()
        self.new: list[Row] = []
        self.changed: dict[int, dict[str, object]] = {}

    def settle(
        self,
        wanted: Mapping[AgentLabel, AgentContent | None],
        *,
        at: Mapping[AgentLabel, int | None],
    ) -> dict[AgentLabel, int | None]:
        """The number for each label; `at`: what the labels have now."""
        numbers: dict[AgentLabel, int | None] = {
            label: None if content is None else self._same(content, first=at.get(label))
            for label, content in wanted.items()
        }
        self._taken = {number for number in numbers.values() if number is not None}
        self._rotate(wanted, at)
        for label in LABELS:
            content = wanted.get(label)
            if content is None or numbers.get(label) is not None:
                continue
            # The other label may yet want to keep the number that it has.
            kept = {
                at.get(other)
                for other in LABELS
                if other != label and wanted.get(other) and numbers.get(other) is None
            }
            first = at.get(label)
            number = self._same(content, first=first) or self._with_other_secrets(
                content, first=first, but=self._taken | (kept - {first})
            )
            numbers[label] = number or self._add(content)
            self._taken.add(numbers[label] or 0)
        for label, number in numbers.items():
            content = wanted[label]
            if content is not None and number is not None:
                self._derive(number, content)
        return numbers

    @property
    def lost(self) -> list[int]:
        """Versions with secrets that no key opens."""
        return [number for number, each in self._all.items() if None in each.opened.values()]

    def _same(self, wanted: AgentContent, *, first: int | None) -> int | None:
        for number in self._in_order(first):
            version = self._all[number]
            if version.content == _content(wanted) and version.opened == dict(wanted.secrets):
                return number
        return None

    def _with_other_secrets(
        self, wanted: AgentContent, *, first: int | None, but: "set[int] | set[int | None]"
    ) -> int | None:
        """The version with this content, from now on with these secrets.

        Only the label's own, or one whose secrets are lost: the others' conversations need theirs.
        """
        for number in self._in_order(first):
            version = self._all[number]
            is_free = number == first or None in version.opened.values()
            if is_free and number not in but and version.content == _content(wanted):
                sealed = {
                    path: version.sealed[path]
                    if version.opened.get(path) == secret
                    else self._vault.seal(secret)
                    for path, secret in wanted.secrets.items()
                }
                version.sealed, version.opened = sealed, dict(wanted.secrets)
                self._change(number, secrets=sealed)
                return number
        return None

    def _in_order(self, first: int | None) -> list[int]:
        """`first`, then the newest."""
        return sorted(self._all, key=lambda number: (number != first, -number))

    def _rotate(
        self,
        wanted: Mapping[AgentLabel, AgentContent | None],
        at: Mapping[AgentLabel, int | None],
    ) -> None:
        """Old versions follow what became of the secrets they share with a label's version.

        All is compared with what was before: what one label's rotation has brought is not
        rotated again by the other's.
        """
        before = {n: dict(v.opened) for n, v in self._all.items() if n not in self._taken}
        rotated: set[tuple[int, str]] = set()
        for label in LABELS:
            content, number = wanted.get(label), at.get(label)
            if content is None or number not in self._all:
                continue
            now_there = {
                place: content.secrets[path]
                for path, place in _places(content.engine, content.secrets).items()
            }
            had = before.get(number) or dict(self._all[number].opened)
            for path, place in self._all[number].places.items():
                old, new = had.get(path), now_there.get(place)
                if old is not None and new is not None and old != new:
                    self._replace(place, old, new, before, rotated)

    def _replace(
        self,
        place: Place,
        old: str,
        new: str,
        before: Mapping[int, Mapping[str, str | None]],
        rotated: set[tuple[int, str]],
    ) -> None:
        sealed = self._vault.seal(new)
        for number, opened in before.items():
            version = self._all[number]
            for path, theirs in version.places.items():
                if theirs == place and opened.get(path) == old and (number, path) not in rotated:
                    rotated.add((number, path))
                    version.sealed[path], version.opened[path] = sealed, new
                    self._change(number, secrets=version.sealed)

    def _add(self, wanted: AgentContent) -> int:
        number = max(self._all, default=0) + 1
        sealed = {path: self._vault.seal(secret) for path, secret in wanted.secrets.items()}
        self._all[number] = _Version(
            content=_content(wanted),
            derived=_derived(wanted),
            sealed=sealed,
            opened=dict(wanted.secrets),
            places={},
        )
        self.new.append(
            {
                **_content(wanted),
                **_derived(wanted),
                "agent_id": self._agent_id,
                "number": number,
                "created_at": self._now,
                "secrets": sealed,
            }
        )
        return number

    def _derive(self, number: int, wanted: AgentContent) -> None:
        """What follows from the content may follow otherwise in another release."""
        known = self._all[number].derived
        now = _derived(wanted)
        # Whoever says the same takes nothing from what the file gave.
        now["private_urls"] = _either(known["private_urls"], now["private_urls"])
        if other := {name: v for name, v in now.items() if known[name] != v}:
            self._change(number, **other)

    def _change(self, number: int, **columns: object) -> None:
        self.changed.setdefault(number, {}).update(columns)

    def _stored(self, row: Row) -> _Version:
        sealed = dict(cast("Mapping[str, str]", row["secrets"]))
        opened = {path: self._open(secret) for path, secret in sealed.items()}
        engine = cast("Mapping[str, object]", row["engine"])
        analysis = row["analysis"]
        # Today's model may insist on a secret; one that no key opens is as good as any here.
        some = {path: secret or sealed[path] for path, secret in opened.items()}
        return _Version(
            content={
                "greeting": row["greeting"],
                "fallback": row["fallback"],
                "engine": dict(self._reread(engine, some)),
                "analysis": None
                if analysis is None
                else ANALYSIS.dump_python(ANALYSIS.validate_python(analysis), mode="json"),
            },
            derived={name: row[name] for name in _DERIVED},
            sealed=sealed,
            opened=opened,
            places=_places(engine, sealed),
        )

    def _open(self, sealed: str) -> str | None:
        try:
            return self._vault.open(sealed)
        except ValueError:
            return None


_DERIVED: Final = ("can_open", "deadline_seconds", "earlier", "nodes", "private_urls")


def _content(wanted: AgentContent) -> dict[str, object]:
    analysis = wanted.analysis
    return {
        "greeting": wanted.greeting,
        "fallback": wanted.fallback,
        "engine": dict(wanted.engine),
        "analysis": None if analysis is None else ANALYSIS.dump_python(analysis, mode="json"),
    }


def _derived(wanted: AgentContent) -> dict[str, object]:
    return {
        "can_open": wanted.can_open,
        "deadline_seconds": wanted.deadline.total_seconds(),
        "earlier": wanted.earlier,
        "nodes": list(wanted.nodes),
        "private_urls": None if wanted.private_urls is None else list(wanted.private_urls),
    }


def _either(one: object, other: object) -> list[str] | None:
    """None is all of them."""
    if one is None or other is None:
        return None
    return sorted({*cast("list[str]", one), *cast("list[str]", other)})


def _places(engine: Mapping[str, object], secrets: Mapping[str, object]) -> dict[str, Place]:
    """By path: where the secret is, by the names of things rather than by their order; and whose.

    A tool that was put before another moves the other's path, and not its secret.
    """
    return {path: place(engine, path.split(".")) for path in secrets}


def place(engine: Mapping[str, object], steps: Sequence[str]) -> Place:
    """The last part of it says whose the secret is: another address has another."""
    return tuple(_place(engine, steps))


def _place(engine: Mapping[str, object], steps: Sequence[str]) -> Iterator[object]:
    at: Any = engine
    whose: Place = ()
    for step in steps:
        if isinstance(at, list):
            at = cast("list[Any]", at)[int(step)]
            named = cast("dict[str, object]", at if isinstance(at, dict) else {})
            yield named.get("id") or named.get("name") or step
        else:
            yield step
            at = cast("Mapping[str, Any]", at).get(step)
        if isinstance(at, Mapping) and any(name in at for name in _WHERE_TO):
            whose = tuple(cast("Mapping[str, object]", at).get(name) for name in _WHERE_TO)
    yield whose or tuple(engine.get(name) for name in _WHERE_TO)
