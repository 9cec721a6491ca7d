"""Questions that edges ask about many conversations.

A list goes by `ix_conversations_account`, in the order of the ids, which is the order of time; by a
user's index, or that of pairs, if a number is named; by `ix_conversations_metadata`, or by the
index of words.
"""

import json
from collections.abc import Mapping
from dataclasses import field
from datetime import datetime, timedelta
from math import isfinite

from sqlalchemy import Boolean, ColumnElement, cast, literal_column, or_, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.frozen import frozen
from textback.core.ids import AccountId, earliest
from textback.db import message_reads, reads
from textback.db.reads import ConversationRecord
from textback.db.session import transaction
from textback.db.tables import conversations, messages, numbers, projects

_IDS_ARE_OLDER = timedelta(days=91)
"""Than the conversation, at most: a planned send has its ids when it is planned."""


@frozen
class ConversationFilter:
    """None: whatever it is."""

    project: str | None = None
    connector: str | None = None
    environment: str | None = None
    """Of its agent number."""
    state: str | None = None
    reason: str | None = None
    """Why it is closed."""
    user_number: str | None = None
    agent_number: str | None = None
    agent: str | None = None
    dialect: str | None = None
    since: datetime | None = None
    """Opened then or later."""
    until: datetime | None = None
    """Not itself."""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    """As text; numbers, true, false and null also match what they are in JSON."""
    words: str | None = None
    """In one of its texts; as `message_reads.MessageFilter.words`."""


async def search(
    db: AsyncEngine,
    account_id: AccountId,
    which: ConversationFilter,
    *,
    limit: int,
    before: str | None = None,
) -> list[ConversationRecord]:
    """The latest ids first; `before`: an id."""
    t = conversations.c
    query = select(t.id).where(t.account_id == account_id, *_where(which, account_id))
    if before is not None:
        query = query.where(t.id < before)
    async with transaction(db) as c:
        ids = list(await c.scalars(query.order_by(t.id.desc()).limit(limit)))
    found = {each.id: each for each in await reads.by_ids(db, ids)}
    return [found[each] for each in ids if each in found]


async def is_of(db: AsyncEngine, account_id: AccountId, conversation_id: str) -> bool:
    """Whether the account has it."""
    t = conversations.c
    query = select(t.id).where(t.id == conversation_id, t.account_id == account_id)
    async with transaction(db) as c:
        return await c.scalar(query) is not None


def _where(which: ConversationFilter, account_id: AccountId) -> list[ColumnElement[bool]]:
    t = conversations.c
    equal = {
        t.project_id: which.project,
        t.connector_id: which.connector,
        t.state: which.state,
        t.reason: which.reason,
        t.user_number: which.user_number,
        t.agent_number: which.agent_number,
        t.agent_id: which.agent,
        t.dialect: which.dialect,
    }
    found: list[ColumnElement[bool]] = [
        column == value for column, value in equal.items() if value is not None
    ]
    ours = select(projects.c.id).where(projects.c.account_id == account_id)
    if which.user_number is not None and which.project is None:
        found.append(t.project_id.in_(ours))
    if which.environment is not None:
        n = numbers.c
        found.append(t.agent_number.in_(select(n.number).where(n.environment == which.environment)))
    if which.since is not None:
        found += [t.opened_at >= which.since, t.id >= _earliest(which.since - _IDS_ARE_OLDER)]
    if which.until is not None:
        found += [t.opened_at < which.until, t.id < _earliest(which.until + timedelta(seconds=1))]
    if which.metadata:  # only what has any is in the index, and a parameter would not say so
        found.append(literal_column("conversations.metadata <> '{}'", Boolean))
    for name, value in which.metadata.items():
        found.append(or_(*(_has(name, each) for each in _meanings(value))))
    if which.words is not None:
        said = select(messages.c.conversation_id).where(
            messages.c.project_id.in_(ours), message_reads.has_words(which.words)
        )
        found.append(t.id.in_(said))
    return found


def _has(name: str, value: object) -> ColumnElement[bool]:
    return conversations.c.metadata.contains(cast({name: value}, JSONB))


def _meanings(value: str) -> list[object]:
    """What was written as `value` in a URL."""
    try:
        parsed: object = json.loads(value)
    except (ValueError, RecursionError):
        return [value]
    is_plain = parsed is None or isinstance(parsed, bool | int)
    # Infinity and NaN are no JSON, though Python reads them.
    return [value, parsed] if is_plain or _is_finite(parsed) else [value]


def _is_finite(value: object) -> bool:
    return isinstance(value, float) and isfinite(value)


def _earliest(at: datetime) -> str:
    return earliest("conv_", at)
