"""Webhook endpoints: where the events of an account, a project or a conversation go.

Who locks an endpoint does so before its deliveries, and after all else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import RowMapping, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.events import Event
from textback.core.frozen import frozen
from textback.core.ids import AccountId, ConversationId, EndpointId, ProjectId
from textback.core.webhook import WELL, Health
from textback.db.tables import accounts, conversations, events, projects, webhook_deliveries
from textback.db.tables import webhook_endpoints as t

State = Literal["active", "paused", "removed"]
Source = Literal["api", "file", "send", "listen"]
"""`send`: of one conversation, as its caller asked. `listen`: removed once nobody polls it."""


@frozen
class Secret:
    sealed: str = field(repr=False)
    until: datetime | None = None
    """It signs until then; None: for as long as it is not replaced."""


@frozen
class Endpoint:
    id: EndpointId
    account_id: AccountId
    project_id: ProjectId | None
    conversation_id: ConversationId | None
    url: str | None
    """None: its owner comes and asks."""
    format: str
    kinds: Sequence[str]
    """`core.events.Kind`; none: every kind."""
    description: str | None
    state: State
    created_at: datetime
    health: Health = WELL
    polled_at: datetime | None = None
    paused_at: datetime | None = None
    why_paused: str | None = None
    source: Source
    secrets: Sequence[Secret] = ()
    """The newest first."""


async def add(c: AsyncConnection, new: Endpoint) -> None:
    await c.execute(
        insert(t).values(
            id=new.id,
            account_id=new.account_id,
            project_id=new.project_id,
            conversation_id=new.conversation_id,
            url=new.url,
            format=new.format,
            kinds=list(new.kinds),
            description=new.description,
            secrets=stored_secrets(new.secrets),
            state=new.state,
            created_at=new.created_at,
            source=new.source,
        )
    )


async def count(c: AsyncConnection, account_id: AccountId) -> int:
    """Of those that somebody made by hand."""
    query = select(func.count()).where(
        t.c.account_id == account_id, t.c.state != "removed", t.c.source != "send"
    )
    return await c.scalar(query) or 0


async def is_there(
    c: AsyncConnection,
    account_id: AccountId,
    *,
    project_id: str | None,
    conversation_id: str | None,
) -> bool:
    """Whether the account has such a project, or conversation, which then stays until the end."""
    of: Any = projects if conversation_id is None else conversations
    wanted = project_id if conversation_id is None else conversation_id
    query = select(of.c.id).where(of.c.id == wanted, of.c.account_id == account_id)
    if of is projects:
        query = query.where(of.c.removed_at.is_(None))
    query = query.with_for_update(read=True, key_share=True)
    return await c.scalar(query) is not None


async def lock(
    c: AsyncConnection, endpoint_id: str, *, of: AccountId | None = None
) -> Endpoint | None:
    """None when there is none of that id any more, or it is another account's than `of`."""
    query = select(t).where(t.c.id == endpoint_id, t.c.state != "removed")
    if of is not None:
        query = query.where(t.c.account_id == of)
    # Not the stronger lock: events that are written meanwhile refer to it.
    row = (await c.execute(query.with_for_update(key_share=True))).mappings().one_or_none()
    return None if row is None else endpoint_of(row)


async def change(c: AsyncConnection, endpoint_id: EndpointId, **values: object) -> None:
    """Of a locked one: `url`, `format`, `kinds`, `description`, `polled_at`."""
    await c.execute(update(t).where(t.c.id == endpoint_id).values(**values))


async def account_secrets(c: AsyncConnection, account_id: AccountId) -> list[Secret]:
    """The newest first."""
    columns = accounts.c.webhook_secret, accounts.c.previous_webhook_secrets
    found = await c.execute(select(*columns).where(accounts.c.id == account_id))
    return of_account(found.mappings().one())


async def keep_secrets(
    c: AsyncConnection, endpoint_id: EndpointId, secrets: Sequence[Secret]
) -> None:
    await change(c, endpoint_id, secrets=stored_secrets(secrets))


async def keep_health(c: AsyncConnection, endpoint_id: EndpointId, health: Health) -> None:
    await change(
        c,
        endpoint_id,
        failures=health.failures,
        failing_since=health.failing_since,
        hold_until=health.hold_until,
    )


async def well(c: AsyncConnection, endpoint_id: EndpointId) -> Health | None:
    """It answered: its failures in a row are over. Gives what they were, if there were any."""
    query = select(t.c.failures, t.c.failing_since, t.c.hold_until)
    failing = query.where(t.c.id == endpoint_id, t.c.failures > 0).with_for_update(key_share=True)
    row = (await c.execute(failing)).one_or_none()
    if row is None:
        return None
    await keep_health(c, endpoint_id, WELL)
    return Health(failures=row.failures, failing_since=row.failing_since, hold_until=row.hold_until)


async def pause(c: AsyncConnection, endpoint_id: EndpointId, why: str, *, now: datetime) -> None:
    await change(c, endpoint_id, state="paused", paused_at=now, why_paused=why)


async def resume(c: AsyncConnection, endpoint_id: EndpointId) -> None:
    await change(c, endpoint_id, state="active", paused_at=None, why_paused=None)
    await keep_health(c, endpoint_id, WELL)


async def remove(c: AsyncConnection, endpoint_id: EndpointId, *, now: datetime) -> None:
    """What was not delivered yet is not any more."""
    gone = {"state": "removed", "removed_at": now, "paused_at": None, "why_paused": None}
    await change(c, endpoint_id, **gone, secrets=[])
    d = webhook_deliveries
    await c.execute(
        update(d)
        .where(d.c.endpoint_id == endpoint_id, d.c.state.in_(["waiting", "delivering"]))
        .values(state="skipped", ended_at=now, due_at=None, lease_until=None)
    )


async def tell_only(c: AsyncConnection, endpoint: Endpoint, event: Event, *, now: datetime) -> int:
    """An event for one endpoint, whatever kinds it wants; gives the id of its delivery."""
    event_id = await c.scalar(
        insert(events)
        .values(
            at=now,
            kind=event.kind,
            data=dict(event.data),
            account_id=endpoint.account_id,
            project_id=endpoint.project_id,
        )
        .returning(events.c.id)
    )
    d = webhook_deliveries
    delivery_id = await c.scalar(
        insert(d)
        .values(
            endpoint_id=endpoint.id, event_id=event_id, state="waiting", created_at=now, due_at=now
        )
        .returning(d.c.id)
    )
    return int(delivery_id or 0)


def endpoint_of(row: RowMapping) -> Endpoint:
    stored: list[Mapping[str, Any]] = row["secrets"]
    return Endpoint(
        id=row["id"],
        account_id=row["account_id"],
        project_id=row["project_id"],
        conversation_id=row["conversation_id"],
        url=row["url"],
        format=row["format"],
        kinds=tuple(row["kinds"]),
        description=row["description"],
        state=row["state"],
        created_at=row["created_at"],
        health=Health(
            failures=row["failures"],
            failing_since=row["failing_since"],
            hold_until=row["hold_until"],
        ),
        polled_at=row["polled_at"],
        paused_at=row["paused_at"],
        why_paused=row["why_paused"],
        source=row["source"],
        secrets=tuple(secret_of(each) for each in stored),
    )


def secret_of(stored: Mapping[str, Any]) -> Secret:
    until = stored.get("until")
    return Secret(
        sealed=stored["sealed"], until=None if until is None else datetime.fromisoformat(until)
    )


def of_account(row: RowMapping | Mapping[str, Any]) -> list[Secret]:
    """Of a row with both columns: they sign where an endpoint has none of its own."""
    if row["webhook_secret"] is None:
        return []
    before = [secret_of(each) for each in row["previous_webhook_secrets"]]
    return [Secret(sealed=row["webhook_secret"]), *before]


def stored_secrets(secrets: Sequence[Secret]) -> list[dict[str, str | None]]:
    return [
        {"sealed": each.sealed, "until": None if each.until is None else each.until.isoformat()}
        for each in secrets
    ]
