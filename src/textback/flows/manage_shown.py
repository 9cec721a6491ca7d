"""Rows of what is provisioned -> entries as they could be given again."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Any, Final, cast

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.entries import Entry, EntryKind, Provisioner, Source
from textback.core.frozen import frozen
from textback.core.ids import AccountId
from textback.core.phone import Phone
from textback.core.plan import CarrierKind, usual_opt_out_replies, usual_pace
from textback.core.ports import Vault
from textback.core.reach import Given
from textback.db.provisioning import Row
from textback.db.tenants import POLICY


class Same:
    """A setting that stays as it is."""


SAME: Final = Same()


@frozen
class Managing:
    """For whom, and with what, entries are managed. Edges: `api.managing.managing(rt, holder)`."""

    db: AsyncEngine
    vault: Vault
    provisioner: Provisioner
    account_id: AccountId
    scopes: frozenset[str] | None
    """Of the key that asks: no key it makes may do more. None: everything."""
    expires_at: datetime | None
    """Of the key that asks: no key it makes may work longer. None: it has no end."""
    now: datetime


@frozen
class Managed:
    kind: EntryKind
    id: str
    """Of a number: the number."""
    entry: Entry
    """As it could be given again; secrets are null, a carrier's token is left out."""
    managed_by: Source
    own: Mapping[str, object] = field(default_factory=dict[str, object])
    """What a dialect keeps of it (`agents.extra`, `numbers.config`)."""
    production: int | None = None
    """Of an agent: its version."""
    draft: int | None = None
    warnings: Sequence[str] = ()
    """Sentences, about what was just done."""


@frozen
class AsIs:
    shown: Managed
    row: Row
    versions: Sequence[Row]
    """Of an agent: its production and its draft."""
    base: Entry
    """What a change is merged into: what was not said is not said in it."""

    @property
    def given(self) -> Sequence[Given]:
        """Where what it names may lead."""
        if self.shown.kind == "carrier":
            return [Given(self.base, () if self.row["public_only"] else None)]
        rows = cast("Sequence[Mapping[str, Any]]", self.versions)
        return [Given(row["engine"], row["private_urls"]) for row in rows]


def shown(m: Managing, kind: EntryKind, row: Row, versions: Mapping[int, Row]) -> AsIs:
    """`versions`: of an agent, all there are."""
    found = Managed(
        kind=kind,
        id=str(row["number" if kind == "number" else "id"]),
        entry=_entry(m, kind, row, versions),
        managed_by=cast("Source", row["source"]),
        own=cast("Mapping[str, object]", row.get("extra" if kind == "agent" else "config") or {}),
        production=cast("int | None", row.get("production")),
        draft=cast("int | None", row.get("draft")),
    )
    labels = [number for number in (found.production, found.draft) if number is not None]
    base = found.entry
    if kind == "number":
        usual = _usual(row)
        base = {name: each for name, each in base.items() if usual.get(name) != each}
    return AsIs(shown=found, row=row, versions=[versions[n] for n in labels], base=base)


def _entry(m: Managing, kind: EntryKind, row: Row, versions: Mapping[int, Row]) -> Entry:
    r = cast("Mapping[str, Any]", row)
    match kind:
        case "carrier":
            base_url = {} if r["kind"] == "sandbox" else {"base_url": r["base_url"]}
            return {"id": r["id"], "kind": r["kind"], "account_sid": r["account_sid"], **base_url}
        case "agent":
            draft = None if r["draft"] is None else content(versions[r["draft"]])
            return {"id": r["id"], **content(versions[r["production"]]), "draft": draft}
        case "project":
            settings = m.provisioner.policy(POLICY.validate_python(r["policy"]))
            return {"id": r["id"], "name": r["name"], "agent": r["agent_id"], **settings}
        case "connector":
            return {"id": r["id"], "project": r["project_id"], "environment": r["environment"]}
        case "number":
            return {
                "number": r["number"],
                "project": r["project_id"],
                "environment": r["environment"],
                "carrier": r["carrier_id"],
                "segments_per_second": r["segments_per_second"],
                "opt_out_replies": r["opt_out_replies"],
                "agent": r["agent_id"],
                "replies": r["replies"],
                "registration": r["registration"],
                "messaging_service_sid": r["messaging_service_sid"],
            }


def content(version: Row) -> dict[str, Any]:
    """Of an agent's version, in the words of its entry."""
    v = cast("Mapping[str, Any]", version)
    return {
        "greeting": v["greeting"],
        "fallback": v["fallback"],
        "engine": dict(v["engine"]),
        "analysis": v["analysis"],
    }


def _usual(row: Row) -> Mapping[str, object]:
    """What follows from a number and its carrier, and follows from them again."""
    number, kind = Phone(str(row["number"])), cast("CarrierKind", row["carrier_kind"])
    return {
        "segments_per_second": usual_pace(number, kind),
        "opt_out_replies": usual_opt_out_replies(number, kind),
    }
