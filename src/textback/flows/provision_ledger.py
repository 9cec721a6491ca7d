"""What is there beside what is named: what is new, changes, goes; and whose it is."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from textback.core.entries import Source
from textback.core.errors import ProvisioningError
from textback.core.ids import AccountId
from textback.core.plan import Path
from textback.db.provisioning import Changes, Key, Kind, Row, gone_column, key_columns
from textback.flows.provision_prune import pruned
from textback.flows.provision_report import Thing


class Ledger:
    """Notes, and writes nothing."""

    def __init__(
        self,
        there: Mapping[Kind, Mapping[Key, Row]],
        *,
        now: datetime,
        prune: bool,
        source: Source,
    ) -> None:
        self._there, self._now = there, now
        self._prune, self._source = prune, source
        self._named: dict[Kind, set[Key]] = {kind: set() for kind in there}
        self.changes = Changes()
        self.errors: list[ProvisioningError] = []
        self.created: list[Thing] = []
        self.updated: list[Thing] = []
        self.removed: list[Thing] = []
        self.unchanged = 0

    def _settle(self, kind: Kind, columns: Row, *, also: bool = False) -> Key:
        """Note the entry as named, and as new, changed (`also`: elsewhere) or unchanged."""
        key = tuple(str(columns[name]) for name in key_columns(kind))
        there = self._there[kind].get(key)
        source: object = self._source
        if source == "api" and there is not None and there[gone_column(kind)] is None:
            source = there["source"]  # what the file names, its next apply says again
        columns = {gone_column(kind): None, "source": source, **columns}
        self._named[kind].add(key)
        if there is None:
            self.changes.new.setdefault(kind, []).append(columns)
            self.created.append(_thing(kind, key))
            return key
        changed = {name: value for name, value in columns.items() if there[name] != value}
        if changed:
            self.changes.changed.setdefault(kind, {})[key] = changed
        if changed or also:
            self.updated.append(_thing(kind, key))
        else:
            self.unchanged += 1
        return key

    def _remove_the_rest(self) -> None:
        gone, kept = pruned(self._there, self._named)
        for kind, keys in gone.items():
            for key in keys:
                self.changes.changed.setdefault(kind, {})[key] = {gone_column(kind): self._now}
                self.removed.append(_thing(kind, key))
        for sentence in kept:
            self._complain((), sentence)

    def _prunes(self, there: Row) -> bool:
        """Whether what is not named goes: only what is the file's."""
        return self._prune and there["source"] == "file"

    def _owned(self, kind: Kind, name: str, account_id: AccountId, path: Path) -> Row | None:
        there = self._there[kind].get((name,))
        if there is not None:
            self._of_account(there["account_id"], account_id, path)
        return there

    def _owner(self, there: Row) -> object:
        """The account of a connector or a number."""
        return self._there["project"][str(there["project_id"]),]["account_id"]

    def _of_account(self, owner: object, account_id: AccountId, path: Path) -> None:
        if owner != account_id:
            self._complain(path, f'belongs to account "{owner}" already')

    def _refers(self, kind: Kind, name: str, account_id: AccountId, path: Path) -> None:
        """What is not in the file must be in the database, and stay."""
        if (name,) in self._named[kind]:
            return
        there = self._there[kind].get((name,))
        is_gone = self._source == "api" and there is not None and there["removed_at"] is not None
        if there is None or there["account_id"] != account_id or is_gone:
            self._complain(path, f'there is no {kind} "{name}" in account "{account_id}"')
        elif there["removed_at"] is not None:
            self._complain(path, f'{kind} "{name}" was removed; put it into the file again')
        elif self._prunes(there):
            self._complain(path, f'{kind} "{name}" is not in the file, so --prune removes it')

    def _unshared(
        self,
        kind: Kind,
        column: str,
        wanted: Iterable[tuple[Path, Key, object]],
        *,
        also: Mapping[object, Key] | None = None,
    ) -> None:
        """No two entries may have the same in this column; `also`: what is taken beside."""
        named = self._named[kind]
        taken: dict[object, Key] = {
            row[column]: key
            for key, row in self._there[kind].items()
            if key not in named and row[column] is not None
        }
        taken |= also or {}
        for path, key, value in wanted:
            other = taken.setdefault(value, key)
            if other != key:
                self._complain(path, f'is that of {kind} "{"/".join(other)}" already; use its name')

    def _complain(self, path: Path, problem: str) -> None:
        self.errors.append(ProvisioningError(path, problem))


def _thing(kind: Kind, key: Key) -> Thing:
    return Thing(kind, "/".join(key))
