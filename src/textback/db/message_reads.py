"""Questions that edges ask about single texts: lists with filters, one with all that became of it.

Every list walks an index in its order and stops at its limit: `ix_messages_project` of each of the
account's projects (few), or `ix_messages_conversation`. Numbers come by their own indexes, words by
`ix_messages_said`. The other filters are looked at on the way.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, ColumnElement, func, literal_column, or_, select, true, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.frozen import frozen
from textback.core.ids import AccountId
from textback.db.reads import MESSAGE, MessageRecord
from textback.db.session import transaction
from textback.db.tables import conversations, events, messages, projects

Place = tuple[datetime, str]
"""Of a text in a list: when it was made, and its id."""


@frozen
class MessageFilter:
    """None: whatever it is."""

    project: str | None = None
    conversation: str | None = None
    direction: str | None = None
    state: str | None = None
    user_number: str | None = None
    agent_number: str | None = None
    error_code: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Not itself."""
    words: str | None = None
    """As for a web search: all of them, "a phrase", or, -not."""


@frozen
class Moment:
    """One thing that happened to a text."""

    at: datetime
    kind: str
    """Of the event, without `message.`."""
    data: Mapping[str, Any]


@frozen
class MessageStory:
    message: MessageRecord
    moments: Sequence[Moment]
    """Oldest first."""


async def list_messages(
    db: AsyncEngine,
    account_id: AccountId,
    which: MessageFilter,
    *,
    limit: int,
    before: Place | None = None,
) -> list[MessageRecord]:
    """The latest first."""
    t = messages.c
    one = (
        select(*MESSAGE)
        .where(t.project_id == projects.c.id, *_where(which))
        .order_by(t.created_at.desc(), t.id.desc())
        .limit(limit)
        .correlate(projects)
    )
    if before is not None:
        one = one.where(tuple_(t.created_at, t.id) < before)
    page = one.lateral("page")
    query = (
        select(page)
        .select_from(projects.join(page, true()))
        .where(projects.c.account_id == account_id)
        .order_by(page.c.created_at.desc(), page.c.id.desc())
        .limit(limit)
    )
    if which.project is not None:
        query = query.where(projects.c.id == which.project)
    async with transaction(db) as c:
        return [MessageRecord(**row) for row in (await c.execute(query)).mappings()]


async def messages_of(
    db: AsyncEngine, conversation_id: str, *, limit: int, after: int = 0
) -> list[MessageRecord]:
    """Of one conversation, in the order they were said, from behind that `seq`."""
    t = messages.c
    query = (
        select(*MESSAGE)
        .where(t.conversation_id == conversation_id, t.seq > after)
        .order_by(t.seq)
        .limit(limit)
    )
    async with transaction(db) as c:
        return [MessageRecord(**row) for row in (await c.execute(query)).mappings()]


async def find_message(
    db: AsyncEngine, account_id: AccountId, message_id: str
) -> MessageStory | None:
    """None: the account has no such text."""
    e = events.c
    query = (
        select(*MESSAGE)
        .join(projects, projects.c.id == messages.c.project_id)
        .where(messages.c.id == message_id, projects.c.account_id == account_id)
    )
    async with transaction(db) as c:
        row = (await c.execute(query)).mappings().one_or_none()
        if row is None:
            return None
        told = await c.execute(
            select(e.at, e.kind, e.data)
            .where(
                e.conversation_id == row["conversation_id"],
                e.message_id == message_id,
                e.kind.startswith("message."),
            )
            .order_by(e.id)
        )
        moments = [
            Moment(at=each.at, kind=each.kind.removeprefix("message."), data=each.data)
            for each in told
        ]
    return MessageStory(message=MessageRecord(**row), moments=moments)


async def was_promised(db: AsyncEngine, message_id: str) -> bool:
    """Whether it was accepted without words, for its agent to write."""
    e, m = events.c, messages.c
    query = (
        select(e.id)
        .join(messages, m.conversation_id == e.conversation_id)
        .where(m.id == message_id, e.message_id == m.id, e.kind == "message.promised")
        .limit(1)
    )
    async with transaction(db) as c:
        return await c.scalar(query) is not None


def has_words(words: str) -> ColumnElement[bool]:
    """Of a text; by `ix_messages_said`, and what has not left by `ix_messages_in_flight`."""
    simple: ColumnElement[str] = literal_column("'simple'")
    asked = func.websearch_to_tsquery(simple, words)
    found = func.to_tsvector(simple, messages.c.text).op("@@")(asked)
    # In the words of the index: a parameter would not say which states.
    has_left = literal_column("messages.state not in ('queued', 'sending')", Boolean)
    leaves = literal_column("messages.state in ('queued', 'sending')", Boolean)
    return or_(has_left & found, leaves & found)


def _where(which: MessageFilter) -> list[ColumnElement[bool]]:
    t = messages.c
    equal = {
        t.conversation_id: which.conversation,
        t.direction: which.direction,
        t.state: which.state,
        t.user_number: which.user_number,
        t.agent_number: which.agent_number,
        t.error_code: which.error_code,
    }
    found: list[ColumnElement[bool]] = [
        column == value for column, value in equal.items() if value is not None
    ]
    if which.user_number is not None and which.agent_number is None:
        theirs = select(conversations.c.id).where(
            conversations.c.project_id == projects.c.id,
            conversations.c.user_number == which.user_number,
        )
        found.append(t.conversation_id.in_(theirs.correlate(projects)))
    if which.since is not None:
        found.append(t.created_at >= which.since)
    if which.until is not None:
        found.append(t.created_at < which.until)
    if which.words is not None:
        found.append(has_words(which.words))
    return found
