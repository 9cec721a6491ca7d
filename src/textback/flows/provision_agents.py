"""An agent's content -> the number of the version that has it: one that is there, or a new one."""

from collections.abc import Mapping
from datetime import datetime
from typing import cast

from textback.core.ids import AgentId
from textback.core.plan import AgentContent
from textback.core.ports import Vault
from textback.db.agents import ANALYSIS
from textback.db.provisioning import Row


class Versions:
    """Decides, and writes nothing. Call `of` for each label; `new` and `rotated` are to be written.

    Content never changes under its number. Secrets do: one that was rotated reaches the versions
    that had the old one, or conversations that stay on them would fail.
    """

    def __init__(
        self, agent_id: AgentId, there: Mapping[int, Row], vault: Vault, now: datetime
    ) -> None:
        self._agent_id, self._vault, self._now = agent_id, vault, now
        self._rows = dict(there)
        self._secrets = {n: dict(_texts(row["secrets"])) for n, row in there.items()}
        self._taken: set[int] = set()
        self.new: list[Row] = []
        self.rotated: dict[int, dict[str, str]] = {}

    def of(self, wanted: AgentContent, *, at: int | None) -> int:
        """The number with this content; `at` is the one that its label has now."""
        columns = _columns(wanted)
        number = self._same(columns, wanted)
        if number is None:
            is_only_rotated = at is not None and at not in self._taken and self._has(at, columns)
            if at is not None:
                self._rotate(at, wanted, with_it=is_only_rotated)
            number = at if is_only_rotated and at is not None else self._add(columns, wanted)
        self._taken.add(number)
        return number

    def _same(self, columns: Row, wanted: AgentContent) -> int | None:
        for number in sorted(self._rows, reverse=True):
            if self._has(number, columns) and self._opened(number) == dict(wanted.secrets):
                return number
        return None

    def _has(self, number: int, columns: Row) -> bool:
        row = self._rows.get(number, {})
        return bool(row) and all(row[name] == value for name, value in columns.items())

    def _opened(self, number: int) -> dict[str, str | None]:
        return {path: self._open(sealed) for path, sealed in self._secrets[number].items()}

    def _open(self, sealed: str) -> str | None:
        try:
            return self._vault.open(sealed)
        except ValueError:
            return None

    def _rotate(self, at: int, wanted: AgentContent, *, with_it: bool) -> None:
        before = self._opened(at) if at in self._rows else {}
        for path, secret in wanted.secrets.items():
            old = before.get(path)
            if path not in before or old == secret:
                continue
            sealed = self._vault.seal(secret)
            for number, secrets in self._secrets.items():
                theirs = secrets.get(path)
                is_it = number == at and with_it
                if is_it or (
                    theirs is not None
                    and number not in self._taken
                    and old is not None
                    and self._open(theirs) == old
                ):
                    secrets[path] = sealed
                    self.rotated[number] = secrets
        if with_it:  # what it had and has no more
            for path in set(self._secrets[at]) - set(wanted.secrets):
                del self._secrets[at][path]
                self.rotated[at] = self._secrets[at]
            for path in set(wanted.secrets) - set(self._secrets[at]):
                self._secrets[at][path] = self._vault.seal(wanted.secrets[path])
                self.rotated[at] = self._secrets[at]

    def _add(self, columns: Row, wanted: AgentContent) -> int:
        number = max(self._rows, default=0) + 1
        sealed = {path: self._vault.seal(secret) for path, secret in wanted.secrets.items()}
        row = {
            **columns,
            "agent_id": self._agent_id,
            "number": number,
            "created_at": self._now,
            "secrets": sealed,
        }
        self._rows[number], self._secrets[number] = row, sealed
        self.new.append(row)
        return number


def _columns(wanted: AgentContent) -> Row:
    analysis = wanted.analysis
    return {
        "greeting": wanted.greeting,
        "fallback": wanted.fallback,
        "engine": dict(wanted.engine),
        "can_open": wanted.can_open,
        "deadline_seconds": wanted.deadline.total_seconds(),
        "earlier": wanted.earlier,
        "nodes": list(wanted.nodes),
        "analysis": None if analysis is None else ANALYSIS.dump_python(analysis, mode="json"),
    }


def _texts(value: object) -> Mapping[str, str]:
    return cast("Mapping[str, str]", value)
