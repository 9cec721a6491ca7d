"""Questions that edges ask: an engine in, plain records out. Nothing here changes anything."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.frozen import frozen
from textback.db.session import transaction
from textback.db.tables import carriers, conversations, events, messages, numbers, tool_calls
from textback.db.tenants import CarrierRow


@frozen
class ConversationRecord:
    id: str
    account_id: str
    project_id: str
    connector_id: str | None
    agent_id: str
    agent_version: int
    agent_number: str
    user_number: str
    state: str
    reason: str | None
    opened_at: datetime
    last_activity_at: datetime
    warned_at: datetime | None
    paused_until: datetime | None
    handed_off_at: datetime | None
    why_handed_off: str | None
    closed_at: datetime | None
    deadline_at: datetime | None
    analysis: Mapping[str, Any] | None
    """`summary`, `values`, `outcome`, or else `error`; and when, in `at`. None: there is none."""
    objective: str | None
    variables: Mapping[str, Any]
    metadata: Mapping[str, Any]
    dialect: str | None
    """It was opened through; None: the user opened it."""
    message_count: int
    last_text: str | None


@frozen
class MessageRecord:
    id: str
    seq: int
    """Its place in the order of the two numbers."""
    conversation_id: str
    project_id: str
    agent_number: str
    user_number: str
    direction: str
    kind: str
    text: str
    media: Sequence[Mapping[str, str]]
    state: str
    segments: int | None
    segments_saved: int
    """By writing smart punctuation plainly."""
    reason: str | None
    """Why it was suppressed, or was kept without an answer."""
    carrier_message_id: str | None
    error_code: str | None
    error: str | None
    attempts: int
    created_at: datetime
    due_at: datetime | None
    sent_at: datetime | None
    delivered_at: datetime | None
    failed_at: datetime | None
    expires_at: datetime | None
    template: Mapping[str, Any] | None


@frozen
class HandOffRecord:
    at: datetime
    reason: str
    by: str | None
    metadata: Mapping[str, Any]


@frozen
class WholeRecord:
    """All that is told of one conversation."""

    conversation: ConversationRecord
    messages: Sequence[MessageRecord]
    tool_calls: int
    hand_off: HandOffRecord | None
    """While a person has it."""


@frozen
class EventRecord:
    id: int
    at: datetime
    kind: str
    conversation_id: str
    message_id: str | None
    data: Mapping[str, Any]
    agent_number: str
    user_number: str
    text: str | None


@frozen
class NumberRecord:
    number: str
    project_id: str
    carrier_id: str


MESSAGE = [
    func.coalesce(messages.c.drop_reason, messages.c.note).label(name)
    if name == "reason"
    else messages.c[name]
    for name in MessageRecord.__dataclass_fields__
]
"""The columns of a `MessageRecord`."""


async def list_conversations(
    db: AsyncEngine,
    *,
    limit: int,
    state: str | None = None,
    project: str | None = None,
    user: str | None = None,
) -> list[ConversationRecord]:
    """The latest first."""
    t = conversations
    query = select(t.c.id).order_by(t.c.opened_at.desc(), t.c.id.desc()).limit(limit)
    if state:
        query = query.where(t.c.state == state)
    if project:
        query = query.where(t.c.project_id == project)
    if user:
        query = query.where(t.c.user_number == user)
    async with transaction(db) as c:
        ids = list(await c.scalars(query))
    return await by_ids(db, ids)


async def get_conversation(
    db: AsyncEngine, conversation_id: str, *, latest: int | None = None
) -> tuple[ConversationRecord, list[MessageRecord]] | None:
    """One conversation and its texts, or the latest of them, in the order they were said."""
    found = await by_ids(db, [conversation_id])
    if not found:
        return None
    query = select(*MESSAGE).where(messages.c.conversation_id == conversation_id)
    async with transaction(db) as c:
        rows = await c.execute(query.order_by(messages.c.seq.desc()).limit(latest))
        return found[0], [MessageRecord(**row) for row in reversed(rows.mappings().all())]


async def whole_conversation(
    db: AsyncEngine, conversation_id: str, *, latest: int | None = None
) -> WholeRecord | None:
    """`latest`: no more texts than that."""
    found = await get_conversation(db, conversation_id, latest=latest)
    if found is None:
        return None
    conversation, texts = found
    handed = select(events.c.data).where(
        events.c.conversation_id == conversation_id, events.c.kind == "conversation.handed_off"
    )
    calls = select(func.count()).where(tool_calls.c.conversation_id == conversation_id)
    async with transaction(db) as c:
        told: Mapping[str, Any] = (
            await c.scalar(handed.order_by(events.c.id.desc()).limit(1)) or dict[str, Any]()
        )
        made = await c.scalar(calls) or 0
    hand_off = None
    if conversation.handed_off_at is not None and conversation.why_handed_off is not None:
        hand_off = HandOffRecord(
            at=conversation.handed_off_at,
            reason=conversation.why_handed_off,
            by=told.get("by"),
            metadata=told.get("metadata", {}),
        )
    return WholeRecord(
        conversation=conversation, messages=texts, tool_calls=made, hand_off=hand_off
    )


async def events_after(db: AsyncEngine, last: int, *, limit: int = 200) -> list[EventRecord]:
    """What happened since event `last`, oldest first, with the words that go with it."""
    query = (
        select(
            *(events.c[name] for name in ("id", "at", "kind", "conversation_id", "message_id")),
            events.c.data,
            conversations.c.agent_number,
            conversations.c.user_number,
            messages.c.text,
        )
        .join(conversations, conversations.c.id == events.c.conversation_id)
        .outerjoin(messages, messages.c.id == events.c.message_id)
        .where(events.c.id > last)
        .order_by(events.c.id)
        .limit(limit)
    )
    async with transaction(db) as c:
        return [EventRecord(**row) for row in (await c.execute(query)).mappings()]


async def last_event(db: AsyncEngine) -> int:
    async with transaction(db) as c:
        return await c.scalar(select(func.max(events.c.id))) or 0


async def revision(db: AsyncEngine) -> str | None:
    """The schema's revision; None before the first migration. Raises Unavailable."""
    try:
        async with transaction(db) as c:
            return await c.scalar(text("select version_num from alembic_version"))
    except ProgrammingError:
        return None


async def list_carriers(db: AsyncEngine) -> list[CarrierRow]:
    t = carriers
    async with transaction(db) as c:
        rows = await c.execute(
            select(t.c.id, t.c.kind, t.c.account_sid, t.c.auth_token, t.c.base_url, t.c.public_only)
            .where(t.c.removed_at.is_(None))
            .order_by(t.c.id)
        )
        return [CarrierRow(**row) for row in rows.mappings()]


async def list_numbers(db: AsyncEngine) -> list[NumberRecord]:
    t = numbers
    async with transaction(db) as c:
        rows = await c.execute(
            select(t.c.number, t.c.project_id, t.c.carrier_id)
            .where(t.c.removed_at.is_(None))
            .order_by(t.c.number)
        )
        return [NumberRecord(**row) for row in rows.mappings()]


async def texts_for(
    db: AsyncEngine, user_number: str, *, after_seq: int
) -> list[tuple[int, str, str, str]]:
    """What reached a user's handset since then: (place, agent number, message id, text)."""
    t = messages
    async with transaction(db) as c:
        rows = await c.execute(
            select(t.c.seq, t.c.agent_number, t.c.id, t.c.text)
            .where(
                t.c.user_number == user_number,
                t.c.state.in_(["sent", "delivered"]),
                t.c.seq > after_seq,
            )
            .order_by(t.c.seq)
        )
        return [(row.seq, row.agent_number, row.id, row.text) for row in rows]


async def by_ids(db: AsyncEngine, ids: Sequence[str]) -> list[ConversationRecord]:
    """The latest first."""
    t = conversations
    count = (
        select(func.count())
        .select_from(messages)
        .where(messages.c.conversation_id == t.c.id)
        .scalar_subquery()
    )
    last = (
        select(messages.c.text)
        .where(messages.c.conversation_id == t.c.id)
        .order_by(messages.c.seq.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = (
        select(
            t,
            t.c.active_at.label("last_activity_at"),
            count.label("message_count"),
            last.label("last_text"),
        )
        .where(t.c.id.in_(ids))
        .order_by(t.c.opened_at.desc(), t.c.id.desc())
    )
    names = ConversationRecord.__dataclass_fields__
    async with transaction(db) as c:
        rows = (await c.execute(query)).mappings()
        return [ConversationRecord(**{n: row[n] for n in names}) for row in rows]
