"""Conversations with all that was said in them, many at once: for those who export or audit."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, RowMapping, Select, exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core.frozen import frozen
from textback.core.ids import AccountId
from textback.db import message_reads
from textback.db.session import transaction
from textback.db.tables import connectors, conversations, events, messages, numbers


@frozen
class Said:
    """One text that was said, or at least is on its way."""

    is_users: bool
    text: str
    at: datetime


@frozen
class Transcript:
    id: str
    account_id: str
    project_id: str
    agent_id: str
    environment: str
    agent_number: str
    user_number: str
    by_user: bool
    """The user said the first word."""
    state: str
    opened_at: datetime
    active_at: datetime
    closed_at: datetime | None
    variables: Mapping[str, Any]
    metadata: Mapping[str, Any]
    analysis: Mapping[str, Any] | None
    handed_off_at: datetime | None
    why_handed_off: str | None
    texts: Sequence[Said] = ()


@frozen
class Wanted:
    """Which of a project's conversations, and from where on."""

    project_id: str
    environment: str
    channels: Sequence[str] = ()
    """As `core.phone.channel` names them; none: all."""
    since: datetime | None = None
    until: datetime | None = None
    live: bool | None = None
    words: str | None = None
    """In one of its texts; as `message_reads.MessageFilter.words`."""
    said_by: Literal["user", "agent"] | None = None
    """Whose texts are searched for the words; None: anybody's."""
    at_random: bool = False
    before: str | None = None
    """Conversations older than this one."""
    offset: int = 0
    limit: int = field(default=100)


async def some(db: AsyncEngine, account_id: AccountId, wanted: Wanted) -> list[Transcript]:
    """The newest first. Raises Unavailable."""
    t = conversations.c
    query = _every(account_id).where(t.project_id == wanted.project_id)
    query = query.where(_environment() == wanted.environment)
    if wanted.channels:
        query = query.where(_channel().in_(wanted.channels))
    if wanted.since is not None:
        query = query.where(t.opened_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(t.opened_at < wanted.until)
    if wanted.live is not None:
        query = query.where((t.state != "closed") == wanted.live)
    if wanted.words is not None:
        found = [messages.c.conversation_id == t.id, message_reads.has_words(wanted.words)]
        if wanted.said_by is not None:
            direction = "inbound" if wanted.said_by == "user" else "outbound"
            found.append(messages.c.direction == direction)
        query = query.where(exists().where(*found))
    if wanted.before is not None:
        query = query.where(t.id < wanted.before)
    order = func.random() if wanted.at_random else t.id.desc()
    query = query.order_by(order).offset(wanted.offset).limit(wanted.limit)
    async with transaction(db) as c:
        return await _with_texts(c, (await c.execute(query)).mappings().all())


async def one(db: AsyncEngine, account_id: AccountId, conversation_id: str) -> Transcript | None:
    """Raises Unavailable."""
    query = _every(account_id).where(conversations.c.id == conversation_id)
    async with transaction(db) as c:
        found = await _with_texts(c, (await c.execute(query)).mappings().all())
    return found[0] if found else None


def _every(account_id: AccountId) -> Select[Any, Any, Any]:
    t = conversations.c
    names = "id account_id project_id agent_id agent_number user_number state opened_at active_at"
    names += " closed_at variables metadata analysis"
    columns = [t[name] for name in names.split()]
    return (
        select(*columns, _environment().label("environment"))
        .outerjoin(connectors, connectors.c.id == t.connector_id)
        .outerjoin(numbers, numbers.c.number == t.agent_number)
        .where(t.account_id == account_id)
    )


def _environment() -> ColumnElement[str]:
    return func.coalesce(connectors.c.environment, numbers.c.environment, "live")


def _channel() -> ColumnElement[str]:
    """As `core.phone.channel`, of the user's address."""
    return func.coalesce(func.substring(conversations.c.user_number, "^([a-z]+):"), "sms")


async def _with_texts(c: AsyncConnection, rows: Sequence[RowMapping]) -> list[Transcript]:
    ids = [row["id"] for row in rows]
    said: dict[str, list[Said]] = {}
    first: dict[str, bool] = {}
    m = messages.c
    of_them = (
        select(m.conversation_id, m.direction, m.text, m.created_at)
        .where(m.conversation_id.in_(ids), m.state != "suppressed", m.text != "")
        .order_by(m.conversation_id, m.seq)
    )
    for row in await c.execute(of_them):
        is_users = row.direction == "inbound"
        one = Said(is_users=is_users, text=row.text, at=row.created_at)
        said.setdefault(row.conversation_id, []).append(one)
        first.setdefault(row.conversation_id, is_users)
    e = events.c
    handed = (
        select(e.conversation_id, e.at, e.data["reason"].astext.label("reason"))
        .where(e.conversation_id.in_(ids), e.kind == "conversation.handed_off")
        .order_by(e.id)
    )
    handed_off = {row.conversation_id: (row.at, row.reason) for row in await c.execute(handed)}
    nobody: tuple[None, None] = (None, None)
    return [
        Transcript(
            **row,
            by_user=first.get(row["id"], False),
            handed_off_at=handed_off.get(row["id"], nobody)[0],
            why_handed_off=handed_off.get(row["id"], nobody)[1],
            texts=said.get(row["id"], ()),
        )
        for row in rows
    ]
