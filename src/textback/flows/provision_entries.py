"""A plan beside what is provisioned: what differs, and what stands in the way."""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import cast

from textback.core.errors import ProvisioningError
from textback.core.ids import AccountId, AgentId, new_key_id
from textback.core.plan import (
    Agent,
    ApiKey,
    Carrier,
    CarrierKind,
    Connector,
    Number,
    Path,
    Plan,
    Project,
    usual_opt_out_replies,
    usual_pace,
)
from textback.core.policy import AgentLabel, ProjectPolicy
from textback.core.ports import Vault
from textback.db.callers import key_hash
from textback.db.provisioning import Changes, Key, Kind, Row, gone_column, key_columns
from textback.db.tenants import POLICY
from textback.flows.provision_agents import LABELS, Reread, Versions
from textback.flows.provision_report import NewKey, Relabelled, Thing


class Comparison:
    """Decides everything, reads and writes nothing. With `errors`, the rest is worth nothing."""

    def __init__(
        self,
        plan: Plan,
        there: Mapping[Kind, Mapping[Key, Row]],
        versions: Mapping[str, Mapping[int, Row]],
        *,
        vault: Vault,
        reread: Reread,
        now: datetime,
        prune: bool,
    ) -> None:
        """`there`: all entries of the database by kind and key, removed ones too."""
        self._plan = plan
        self._there, self._versions = there, versions
        self._vault, self._reread = vault, reread
        self._now = now
        self._prune = prune
        self._named: dict[Kind, set[Key]] = {kind: set() for kind in there}
        self.changes = Changes()
        self.errors: list[ProvisioningError] = []
        self.created: list[Thing] = []
        self.updated: list[Thing] = []
        self.removed: list[Thing] = []
        self.unchanged = 0
        self.made: list[NewKey] = []
        self.relabelled: list[Relabelled] = []
        self.lost: dict[AgentId, tuple[Path, Sequence[int]]] = {}
        """Of each agent in the plan, the versions whose secrets no key opens."""
        self._compare()
        if prune:
            self._remove_the_rest()
        self.warnings = list(self._unreachable())

    def _compare(self) -> None:
        for account in self._plan.accounts:
            self._settle("account", {"id": account.id, "name": account.name})
        hashes = [((*key.path, "key"), *self._api_key(key)) for key in self._plan.api_keys]
        self._unshared("api_key", "hash", hashes)
        sids = [((*new.path, "account_sid"), *self._carrier(new)) for new in self._plan.carriers]
        self._unshared("carrier", "account_sid", sids)
        for agent in self._plan.agents:
            self._agent(agent)
        for project in self._plan.projects:
            self._project(project)
        for connector in self._plan.connectors:
            self._connector(connector)
        for number in self._plan.numbers:
            self._number(number)

    def _api_key(self, new: ApiKey) -> tuple[Key, object]:
        there = self._there["api_key"].get((new.account_id, new.name))
        key = new.key
        if key is None and there is None:
            key = "tb_" + secrets.token_urlsafe(32)
            self.made.append(NewKey(account_id=new.account_id, name=new.name, key=key))
        hashed = there["hash"] if key is None and there is not None else key_hash(key or "")
        since = there["revoked_at"] if there is not None else None
        columns = {
            "account_id": new.account_id,
            "name": new.name,
            "hash": hashed,
            "expires_at": new.expires_at,
            "revoked_at": (since or self._now) if new.revoked else None,
        }
        if there is None:
            columns |= {"id": new_key_id(self._now), "created_at": self._now}
        return self._settle("api_key", columns), hashed

    def _carrier(self, new: Carrier) -> tuple[Key, object]:
        there = self._owned("carrier", new.id, new.account_id, new.path)
        sealed = there["auth_token"] if there is not None else None
        if new.auth_token is not None:
            sealed = self._sealed(sealed, new.auth_token)
        elif there is None or there["kind"] != new.kind or self._opened(sealed) is None:
            sealed = self._vault.seal(secrets.token_urlsafe(32))
        columns = {
            "id": new.id,
            "account_id": new.account_id,
            "kind": new.kind,
            "account_sid": new.account_sid,
            "auth_token": sealed,
            "base_url": new.base_url,
        }
        return self._settle("carrier", columns), new.account_sid

    def _agent(self, new: Agent) -> None:
        there = self._owned("agent", new.id, new.account_id, new.path) or {}
        known = self._versions.get(new.id, {})
        versions = Versions(new.id, known, vault=self._vault, reread=self._reread, now=self._now)
        at: dict[AgentLabel, int | None] = {
            label: cast("int | None", there.get(label)) for label in LABELS
        }
        numbers = versions.settle({"production": new.production, "draft": new.draft}, at=at)
        self.changes.versions.extend(versions.new)
        self.lost[new.id] = (new.path, versions.lost)
        for number, columns in versions.changed.items():
            self.changes.of_versions[new.id, number] = columns
        if there:
            self.relabelled += [
                Relabelled(new.id, label, numbers[label], at[label])
                for label in LABELS
                if numbers[label] != at[label]
            ]
        columns = {"id": new.id, "account_id": new.account_id, **numbers}
        self._settle("agent", columns, also=bool(versions.changed))

    def _project(self, new: Project) -> None:
        there = self._owned("project", new.id, new.account_id, new.path)
        self._refers("agent", new.agent_id, new.account_id, (*new.path, "agent"))
        policy: object = POLICY.dump_python(new.policy, mode="json")
        if there is not None:
            before = _policy(there["policy"])
            if before == new.policy:
                policy = there["policy"]  # the same in other words: sets have no order
            if before is None or before.idle != new.policy.idle:
                self.changes.idle[new.id] = new.policy.idle
        columns = {
            "id": new.id,
            "account_id": new.account_id,
            "name": new.name,
            "agent_id": new.agent_id,
            "policy": policy,
        }
        self._settle("project", columns)

    def _connector(self, new: Connector) -> None:
        there = self._there["connector"].get((new.id,))
        if there is not None:
            self._of_account(self._owner(there), new.account_id, (*new.path, "id"))
        columns = {"id": new.id, "project_id": new.project_id, "environment": new.environment}
        self._settle("connector", columns)

    def _number(self, new: Number) -> None:
        there = self._there["number"].get((new.number,))
        if there is not None and there["removed_at"] is None and not self._prune:
            # A number can change hands, but only once its account lets go of it.
            self._of_account(self._owner(there), new.account_id, (*new.path, "number"))
        self._refers("carrier", new.carrier_id, new.account_id, (*new.path, "carrier"))
        kind = self._kind_of(new)
        columns = {
            "number": new.number,
            "project_id": new.project_id,
            "environment": new.environment,
            "carrier_id": new.carrier_id,
            "segments_per_second": new.segments_per_second or usual_pace(new.number, kind),
            "opt_out_replies": new.opt_out_replies or usual_opt_out_replies(new.number, kind),
        }
        self._settle("number", columns)

    def _kind_of(self, number: Number) -> CarrierKind:
        for carrier in self._plan.carriers:
            if carrier.id == number.carrier_id:
                return carrier.kind
        there = self._there["carrier"].get((number.carrier_id,), {})
        return cast("CarrierKind", there.get("kind", "twilio"))

    def _settle(self, kind: Kind, columns: Row, *, also: bool = False) -> Key:
        """Note the entry as named, and as new, changed (`also`: elsewhere) or unchanged."""
        key = tuple(str(columns[name]) for name in key_columns(kind))
        columns = {gone_column(kind): None, **columns}
        self._named[kind].add(key)
        there = self._there[kind].get(key)
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
        for kind, rows in self._there.items():
            gone = gone_column(kind)
            for key, row in rows.items():
                if key not in self._named[kind] and row[gone] is None:
                    self.changes.changed.setdefault(kind, {})[key] = {gone: self._now}
                    self.removed.append(_thing(kind, key))

    def _owned(self, kind: Kind, name: str, account_id: AccountId, path: Path) -> Row | None:
        there = self._there[kind].get((name,))
        if there is not None:
            self._of_account(there["account_id"], account_id, (*path, "id"))
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
        if there is None or there["account_id"] != account_id:
            self._complain(path, f'there is no {kind} "{name}" in account "{account_id}"')
        elif there["removed_at"] is not None:
            self._complain(path, f'{kind} "{name}" was removed; put it into the file again')
        elif self._prune:
            self._complain(path, f'{kind} "{name}" is not in the file, so --prune removes it')

    def _unshared(
        self, kind: Kind, column: str, wanted: Iterable[tuple[Path, Key, object]]
    ) -> None:
        named = self._named[kind]
        taken = {row[column]: key for key, row in self._there[kind].items() if key not in named}
        for path, key, value in wanted:
            other = taken.setdefault(value, key)
            if other != key:
                self._complain(path, f'is that of {kind} "{"/".join(other)}" already; use its name')

    def _sealed(self, there: object, secret: str) -> str:
        """As it is sealed already, if it is: sealing again would look like a change."""
        if isinstance(there, str) and self._opened(there) == secret:
            return there
        return self._vault.seal(secret)

    def _opened(self, sealed: object) -> str | None:
        try:
            return self._vault.open(str(sealed))
        except ValueError:
            return None

    def _unreachable(self) -> Iterator[ProvisioningError]:
        """Connectors that have no number to send from."""
        served = {(n.project_id, n.environment) for n in self._plan.numbers}
        if not self._prune:
            served |= {
                (row["project_id"], row["environment"])
                for key, row in self._there["number"].items()
                if key not in self._named["number"] and row["removed_at"] is None
            }
        for connector in self._plan.connectors:
            if (connector.project_id, connector.environment) not in served:
                yield ProvisioningError(
                    (*connector.path, "environment"),
                    f'project "{connector.project_id}" has no number for'
                    f" {connector.environment}: sends that name no number are refused",
                )

    def _complain(self, path: Path, problem: str) -> None:
        self.errors.append(ProvisioningError(path, problem))


def _thing(kind: Kind, key: Key) -> Thing:
    return Thing(kind, "/".join(key))


def _policy(stored: object) -> ProjectPolicy | None:
    try:
        return POLICY.validate_python(stored)
    except ValueError:  # as another version wrote it
        return None
