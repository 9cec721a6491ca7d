"""A plan beside what is provisioned: what differs, and what stands in the way."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, cast

from textback.core.entries import Source
from textback.core.errors import ProvisioningError
from textback.core.ids import AgentId
from textback.core.plan import (
    Account,
    Agent,
    ApiKey,
    Carrier,
    CarrierKind,
    Connector,
    JwtApp,
    Number,
    Path,
    Plan,
    Project,
    Webhook,
    usual_opt_out_replies,
    usual_pace,
)
from textback.core.policy import AgentLabel, ProjectPolicy
from textback.core.ports import Vault
from textback.core.webhook import GRACE
from textback.db.provisioning import Key, Kind, Row
from textback.db.tenants import POLICY
from textback.flows.manage_account import replaced
from textback.flows.provision_access import Sealing, app_row, key_row, webhook_row
from textback.flows.provision_agents import LABELS, Reread, Versions
from textback.flows.provision_ledger import Ledger
from textback.flows.provision_report import NewKey, Relabelled

BOTH_SIGN: Final = timedelta(days=1)
"""For so long after a carrier's token was changed, webhooks signed with either are believed."""


class Comparison(Ledger):
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
        prune: bool = False,
        source: Source = "file",
    ) -> None:
        """`there`: all entries of the database by kind and key, removed ones too."""
        super().__init__(there, now=now, prune=prune, source=source)
        self._plan, self._versions = plan, versions
        self._vault, self._reread, self._sealing = vault, reread, Sealing(vault)
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
            self._account(account)
        hashes = [((*key.path, "key"), *self._api_key(key)) for key in self._plan.api_keys]
        still = {
            row["previous_hash"]: key
            for key, row in self._there["api_key"].items()
            if (until := cast("datetime | None", row["previous_until"])) and until > self._now
        }
        self._unshared("api_key", "hash", hashes, also=still)
        pairs = [
            ((*pair.path, "id"), (str(pair.account_id), pair.name), pair.public_id)
            for pair in self._plan.api_keys
            if pair.public_id is not None
        ]
        self._unshared("api_key", "public_id", pairs)
        for app in self._plan.jwt_apps:
            self._jwt_app(app)
        sids = [((*new.path, "account_sid"), *self._carrier(new)) for new in self._plan.carriers]
        self._unshared("carrier", "account_sid", sids)
        for agent in self._plan.agents:
            self._agent(agent)
        for account in self._plan.accounts:
            if account.agent_template is not None:
                at = (*account.path, "agent_template")
                self._refers("agent", account.agent_template, account.id, at)
        for project in self._plan.projects:
            self._project(project)
        for connector in self._plan.connectors:
            self._connector(connector)
        for number in self._plan.numbers:
            self._number(number)
        for webhook in self._plan.webhooks:
            self._webhook(webhook)

    def _account(self, new: Account) -> None:
        there = self._there["account"].get((new.id,))
        sealed = cast("str | None", there["webhook_secret"] if there is not None else None)
        if new.webhook_secret is not None:
            sealed = self._sealing.sealed(sealed, new.webhook_secret)
        columns: dict[str, object] = {
            "id": new.id,
            "name": new.name,
            "agent_template": new.agent_template,
            "webhook_secret": sealed,
        }
        if there is not None and sealed is not None and sealed != there["webhook_secret"]:
            columns |= replaced(there, sealed, vault=self._vault, grace=GRACE, now=self._now)
        self._settle("account", columns)

    def _api_key(self, new: ApiKey) -> tuple[Key, object]:
        there = self._there["api_key"].get((new.account_id, new.name))
        columns, made = key_row(new, there, now=self._now)
        self.made += [made] if made else []
        return self._settle("api_key", columns), columns["hash"]

    def _jwt_app(self, new: JwtApp) -> None:
        there = self._owned("jwt_app", new.client_id, new.account_id, (*new.path, "client_id"))
        columns, made = app_row(new, there, self._sealing, now=self._now)
        self.made += [made] if made else []
        self._settle("jwt_app", columns)

    def _webhook(self, new: Webhook) -> None:
        there = self._owned("webhook", new.id, new.account_id, (*new.path, "id"))
        self._settle("webhook", webhook_row(new, there, self._sealing, now=self._now))

    def _carrier(self, new: Carrier) -> tuple[Key, object]:
        there = self._owned("carrier", new.id, new.account_id, (*new.path, "id"))
        sealed = there["auth_token"] if there is not None else None
        if new.auth_token is not None:
            sealed = self._sealing.sealed(sealed, new.auth_token)
        elif there is None or there["kind"] != new.kind or self._sealing.opened(sealed) is None:
            sealed = self._vault.seal(secrets.token_urlsafe(32))
        columns = {
            "id": new.id,
            "account_id": new.account_id,
            "kind": new.kind,
            "account_sid": new.account_sid,
            "auth_token": sealed,
            "base_url": new.base_url,
            "public_only": new.public_only,
        }
        if there is not None and there["auth_token"] != sealed:
            # Until the new one is promoted there, the carrier signs with the one before.
            same = there["account_sid"] == new.account_sid and there["kind"] == new.kind
            columns["previous_token"] = there["auth_token"] if same else None
            columns["previous_until"] = self._now + BOTH_SIGN if same else None
        return self._settle("carrier", columns), new.account_sid

    def _agent(self, new: Agent) -> None:
        there = self._owned("agent", new.id, new.account_id, (*new.path, "id")) or {}
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
        columns: dict[str, object] = {"id": new.id, "account_id": new.account_id, **numbers}
        if new.extra is not None:
            columns["extra"] = dict(new.extra)
        self._settle("agent", columns, also=bool(versions.changed))

    def _project(self, new: Project) -> None:
        there = self._owned("project", new.id, new.account_id, (*new.path, "id"))
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
        self._refers("project", new.project_id, new.account_id, (*new.path, "project"))
        columns = {"id": new.id, "project_id": new.project_id, "environment": new.environment}
        self._settle("connector", columns)

    def _number(self, new: Number) -> None:
        there = self._there["number"].get((new.number,))
        if there is not None and there["removed_at"] is None and not self._prunes(there):
            # A number can change hands, but only once its account lets go of it.
            self._of_account(self._owner(there), new.account_id, (*new.path, "number"))
        self._refers("project", new.project_id, new.account_id, (*new.path, "project"))
        self._refers("carrier", new.carrier_id, new.account_id, (*new.path, "carrier"))
        if new.agent_id is not None:
            self._refers("agent", new.agent_id, new.account_id, (*new.path, "agent"))
        kind = self._kind_of(new)
        columns: dict[str, object] = {
            "number": new.number,
            "project_id": new.project_id,
            "environment": new.environment,
            "carrier_id": new.carrier_id,
            "segments_per_second": new.segments_per_second or usual_pace(new.number, kind),
            "opt_out_replies": new.opt_out_replies or usual_opt_out_replies(new.number, kind),
            "agent_id": new.agent_id,
            "replies": new.replies,
            "registration": new.registration,
            "messaging_service_sid": new.messaging_service_sid,
        }
        if new.config is not None:
            columns["config"] = dict(new.config)
        elif there is not None and self._owner(there) != new.account_id:
            columns["config"] = {}  # whoever had it says nothing of its conversations any more
        self._settle("number", columns)

    def _kind_of(self, number: Number) -> CarrierKind:
        for carrier in self._plan.carriers:
            if carrier.id == number.carrier_id:
                return carrier.kind
        there = self._there["carrier"].get((number.carrier_id,), {})
        return cast("CarrierKind", there.get("kind", "twilio"))

    def _unreachable(self) -> Iterator[ProvisioningError]:
        """Connectors that have no number to send from."""
        served = {(n.project_id, n.environment) for n in self._plan.numbers}
        served |= {
            (row["project_id"], row["environment"])
            for key, row in self._there["number"].items()
            if key not in self._named["number"]
            and row["removed_at"] is None
            and not self._prunes(row)
        }
        for connector in self._plan.connectors:
            if (connector.project_id, connector.environment) not in served:
                yield ProvisioningError(
                    (*connector.path, "environment"),
                    f'project "{connector.project_id}" has no number for'
                    f" {connector.environment}: sends that name no number are refused",
                )


def _policy(stored: object) -> ProjectPolicy | None:
    try:
        return POLICY.validate_python(stored)
    except ValueError:  # as another version wrote it
        return None
