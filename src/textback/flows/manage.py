"""Whatever a provisioning file describes, changed through an API: one entry at a time.

By the same rules (`flows/provision*.py`), for one account. Keys: `manage_keys.py`; JWT apps:
`manage_apps.py`; agents made from the account's template: `manage_agents.py`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.entries import Entry, EntryKind
from textback.core.errors import BadRequest, Conflict, ProvisioningError, UnknownResource
from textback.core.merge import merged
from textback.core.plan import Plan
from textback.core.reach import Given, limited
from textback.db import managed, provisioning
from textback.db.provisioning import Changes, Kind, Row
from textback.db.session import transaction
from textback.flows.manage_secrets import Kept
from textback.flows.manage_shown import AsIs, Managed, Managing, shown
from textback.flows.provision_access import Sealing
from textback.flows.provision_entries import Comparison

__all__ = ["Managed", "Managing", "create", "get", "listed", "remove", "update"]

MOST_LISTED: Final = 500
MOST_SAID: Final = 20


Own = Callable[[Mapping[str, object]], Mapping[str, object]]


async def create(
    m: Managing,
    kind: EntryKind,
    entry: Entry,
    *,
    own: Mapping[str, object] | None = None,
    trusted: Sequence[Given] = (),
) -> Managed:
    """Add one entry. `own`: what the dialect keeps of an agent or a number.

    `trusted`: entries that were there before; the addresses in them may be written as private
    ones. One that was removed comes back. Raises BadRequest with `faults`, Conflict (the id, the
    number or the Twilio account is taken), Unavailable.
    """
    plan = _read(m, kind, entry, [each.entry for each in trusted])
    plan = _with_own(limited(plan, trusted), own or {})
    async with transaction(m.db) as c:
        await provisioning.alone(c)
        there = await _around(c, plan, m)
        entry_id = _id_of(kind, entry)
        await _is_free(c, m, kind, entry_id, there)
        await _bring_about(c, m, plan, there)
        return (await _load(c, m, kind, entry_id)).shown


async def update(
    m: Managing,
    kind: EntryKind,
    entry_id: str,
    patch: Entry,
    *,
    own: Mapping[str, object] | Own | None = None,
) -> Managed:
    """Change one entry by a merge patch (RFC 7396) of what `get` gives.

    But null says null where that is something else than leaving out. An engine of another `kind`
    replaces the one there was as a whole. A secret that the patch does not name stays, as long as
    it goes to the same address. `own` is a merge patch too, or makes one of what is kept by now.
    Raises UnknownResource, BadRequest with `faults`, Conflict, Unavailable, and what `own` does.
    """
    async with transaction(m.db) as c:
        await provisioning.alone(c)
        before = await _load(c, m, kind, entry_id)
        changed = _changed(m, before, patch)
        if _id_of(kind, changed) != entry_id:
            name = "number" if kind == "number" else "id"
            said = "cannot be changed: make another, and remove this one"
            raise _bad({name: said})
        plan = limited(_read(m, kind, changed, [before.base]), before.given)
        if own is not None:
            ours = own(before.shown.own) if callable(own) else own
            plan = _with_own(plan, cast("Entry", merged(before.shown.own, ours)))
        await _bring_about(c, m, plan, await _around(c, plan, m))
        after = (await _load(c, m, kind, entry_id)).shown
    if after.managed_by == "api":
        return after
    warning = (
        f'The {kind} "{entry_id}" is managed by the provisioning file: the next time that it is'
        " applied, its words count again."
    )
    return replace(after, warnings=[warning])


async def remove(m: Managing, kind: EntryKind, entry_id: str) -> None:
    """Texts that are queued go out; conversations that are live end by their silence.

    Raises UnknownResource, Conflict (the file's, or something needs it), Unavailable.
    """
    async with transaction(m.db) as c:
        await provisioning.alone(c)
        before = await _load(c, m, kind, entry_id)
        if before.shown.managed_by == "file":
            raise Conflict(
                f'The {kind} "{entry_id}" is managed by the provisioning file: take it out there,'
                " and apply the file with --prune."
            )
        if users := await managed.users_of(c, kind, entry_id):
            what, name = users[0]
            raise Conflict(f'The {kind} "{entry_id}" is in use: {what} "{name}" needs it.')
        gone: Row = {"removed_at": m.now}
        await provisioning.write(c, Changes(changed={kind: {(entry_id,): gone}}), now=m.now)


async def get(m: Managing, kind: EntryKind, entry_id: str) -> Managed:
    """Raises UnknownResource, Unavailable."""
    async with transaction(m.db) as c:
        return (await _load(c, m, kind, entry_id)).shown


async def listed(
    m: Managing, kind: EntryKind, *, after: str | None = None, limit: int = 50
) -> list[Managed]:
    """Up to `limit` entries by their ids, those after `after`. Raises Unavailable."""
    async with transaction(m.db) as c:
        rows = await managed.page(c, m.account_id, kind, after=after, limit=min(limit, MOST_LISTED))
        versions = await _versions(c, kind, rows)
        return [shown(m, kind, row, versions.get(str(row.get("id")), {})).shown for row in rows]


async def _load(c: AsyncConnection, m: Managing, kind: EntryKind, entry_id: str) -> AsIs:
    row = await managed.one(c, m.account_id, kind, entry_id)
    if row is None:
        raise UnknownResource(f"There is no {kind} of that name.")
    versions = await _versions(c, kind, [row])
    return shown(m, kind, row, versions.get(entry_id, {}))


async def _versions(
    c: AsyncConnection, kind: EntryKind, rows: list[Row]
) -> dict[str, dict[int, Row]]:
    if kind != "agent" or not rows:
        return {}
    return await managed.labelled(c, [str(row["id"]) for row in rows])


# --- What is asked for --------------------------------------------------------------------------


def _changed(m: Managing, before: AsIs, patch: Entry) -> Entry:
    """The whole entry, secrets put back."""
    base = dict(before.base)
    if before.shown.kind == "carrier":
        entry = cast("dict[str, Any]", merged(base, patch, keep_null=True))
        same = all(
            entry.get(name) == base.get(name) for name in ("kind", "account_sid", "base_url")
        )
        if "auth_token" not in patch and same:
            entry["auth_token"] = Sealing(m.vault).opened(before.row["auth_token"])
        elif "auth_token" not in patch and entry.get("kind") == "twilio":
            raise _bad({"auth_token": "must be given again: it goes to another account or address"})
        return {name: value for name, value in entry.items() if value is not None}
    if before.shown.kind == "agent":
        kept = Kept(before.versions, m.vault)
        base = kept.marked(base)
        _make_room(base, patch)
        _make_room(base["draft"], patch.get("draft"))
        entry = kept.put(cast("Entry", merged(base, patch, keep_null=True)))
        if kept.faults:
            raise _bad(kept.faults)
        return entry
    return cast("Entry", merged(base, patch, keep_null=True))


def _make_room(there: object, patch: object) -> None:
    """For an engine of another kind: nothing of the one there was is meant for it."""
    if not (isinstance(there, dict) and isinstance(patch, Mapping)):
        return
    now, before = cast("Entry", patch).get("engine"), cast("dict[str, Any]", there)
    if isinstance(now, Mapping):
        kind = cast("Entry", now).get("kind")
        if kind is not None and kind != before["engine"].get("kind"):
            before["engine"] = {}


def _read(m: Managing, kind: EntryKind, entry: Entry, trusted: Sequence[Entry]) -> Plan:
    read = m.provisioner.read(kind, entry, m.account_id, trusted=trusted)
    if isinstance(read, Plan):
        return read
    faults: dict[str, str] = {}
    for fault in read:
        faults.setdefault(fault.path, fault.problem)
    raise _bad(faults)


def _bad(faults: Mapping[str, str]) -> BadRequest:
    said = [f"{path or 'The entry'} {problem}" for path, problem in faults.items()]
    more = ["and there is more"] if len(said) > MOST_SAID else []
    return BadRequest("; ".join(said[:MOST_SAID] + more) + ".", faults=faults)


def _id_of(kind: EntryKind, entry: Entry) -> str:
    return str(entry.get("number" if kind == "number" else "id"))


def _with_own(plan: Plan, own: Mapping[str, object]) -> Plan:
    return replace(
        plan,
        agents=tuple(replace(each, extra=own) for each in plan.agents),
        numbers=tuple(replace(each, config=own) for each in plan.numbers),
    )


# --- Bringing it about --------------------------------------------------------------------------


async def _around(c: AsyncConnection, plan: Plan, m: Managing) -> dict[Kind, dict[Any, Row]]:
    """All that the plan names."""
    wanted: dict[Kind, Collection[str]] = {
        "carrier": {each.id for each in plan.carriers} | {n.carrier_id for n in plan.numbers},
        "agent": {each.id for each in plan.agents}
        | {each.agent_id for each in plan.projects}
        | {each.agent_id for each in plan.numbers if each.agent_id is not None},
        "connector": {each.id for each in plan.connectors},
        "number": {each.number for each in plan.numbers},
    }
    there = await provisioning.some(c, wanted)
    projects = {each.id for each in plan.projects} | {
        str(each["project_id"]) for kind in ("connector", "number") for each in there[kind].values()
    }
    projects |= {each.project_id for each in (*plan.connectors, *plan.numbers)}
    there["project"] = (await provisioning.some(c, {"project": projects}))["project"]
    for carrier in plan.carriers:
        row = await managed.sid_of(c, carrier.account_sid)
        if row is not None and row["id"] != carrier.id:
            whose = f'carrier "{row["id"]}"' if row["account_id"] == m.account_id else "somebody"
            raise Conflict(f"This account_sid is that of {whose} already.")
    return there


async def _is_free(
    c: AsyncConnection,
    m: Managing,
    kind: EntryKind,
    entry_id: str,
    there: Mapping[Kind, Mapping[Any, Row]],
) -> None:
    """Raises Conflict. What was removed is free, for its account; a number for everybody."""
    row = there[kind].get((entry_id,))
    if row is None:
        return
    owner = row.get("account_id")
    if owner is None:
        owner = there["project"][str(row["project_id"]),]["account_id"]
    what = "This number" if kind == "number" else "This id"
    if row["removed_at"] is None:
        is_ours = owner == m.account_id
        said = f"{what} is there already; change it." if is_ours else f"{what} is taken."
        raise Conflict(said)
    if owner == m.account_id:
        return
    if kind != "number":
        raise Conflict(f"{what} is taken.")
    if await managed.is_spoken_for(c, entry_id, m.account_id):
        raise Conflict("Conversations of its former owner are live on this number yet.")


async def _bring_about(
    c: AsyncConnection,
    m: Managing,
    plan: Plan,
    there: Mapping[Kind, Mapping[Any, Row]],
) -> None:
    found = Comparison(
        plan,
        there,
        await provisioning.versions(c, [agent.id for agent in plan.agents]),
        vault=m.vault,
        reread=m.provisioner.reread,
        now=m.now,
        source="api",
    )
    if found.errors:
        raise _bad({_path(each): each.problem for each in found.errors})
    await provisioning.write(c, found.changes, now=m.now)


def _path(error: ProvisioningError) -> str:
    return ".".join(str(step) for step in error.path)
