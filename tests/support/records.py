"""What is so in the database, as plain records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any, TypeVar

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.deployment import AGENT, USER
from textback.core.budget import Spent
from textback.core.ids import ConversationId, MessageId, ProjectId
from textback.core.phone import Phone
from textback.db import opt_outs, tables, usage
from textback.db.session import transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A row of `messages`."""

    id: MessageId
    seq: int
    conversation_id: ConversationId
    agent_number: Phone
    user_number: Phone
    direction: str
    kind: str
    text: str
    media: Sequence[Mapping[str, str]]
    state: str
    note: str | None
    created_at: datetime
    expires_at: datetime | None
    attempts: int
    due_at: datetime | None
    lease_until: datetime | None
    look_up_at: datetime | None
    look_ups: int
    carrier_message_id: str | None
    error_code: str | None
    drop_reason: str | None
    follows: MessageId | None
    segments: int | None
    segments_saved: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """A row of `conversations`."""

    id: ConversationId
    connector_id: str | None
    agent_number: Phone
    user_number: Phone
    state: str
    reason: str | None
    opened_at: datetime
    active_at: datetime
    paused_until: datetime | None
    deadline_at: datetime | None
    heard_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A row of `turns`."""

    id: str
    conversation_id: ConversationId
    state: str
    opener_id: str | None
    due_at: datetime | None
    lease_until: datetime | None
    attempts: int
    outcome: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OptOut:
    """A row of `opt_outs`."""

    agent_number: Phone
    user_number: Phone
    source: str
    words: str | None
    carrier_message_id: str | None
    opted_out_at: datetime
    opted_in_at: datetime | None


Record = TypeVar("Record", Text, Talk, Turn, OptOut)


class Records:
    def __init__(self, db: AsyncEngine) -> None:
        self.db = db

    async def texts(self, *, user: Phone = USER) -> list[Text]:
        """All texts from and to the user, in order."""
        t = tables.messages
        return await self._rows(Text, select(t).where(t.c.user_number == user).order_by(t.c.seq))

    async def ours(self, *, user: Phone = USER) -> list[Text]:
        """What we wrote to the user, in order."""
        return [text for text in await self.texts(user=user) if text.direction == "outbound"]

    async def text(self, message_id: MessageId) -> Text:
        t = tables.messages
        (found,) = await self._rows(Text, select(t).where(t.c.id == message_id))
        return found

    async def state(self, message_id: MessageId) -> str:
        return (await self.text(message_id)).state

    async def talks(self, *, user: Phone | None = None) -> list[Talk]:
        """All conversations, or those with the user."""
        t = tables.conversations
        query = select(t).order_by(t.c.opened_at, t.c.id)
        return await self._rows(Talk, query if user is None else query.filter_by(user_number=user))

    async def talk(self, conversation_id: ConversationId) -> Talk:
        (found,) = [talk for talk in await self.talks() if talk.id == conversation_id]
        return found

    async def live(self, *, user: Phone | None = None) -> list[Talk]:
        return [talk for talk in await self.talks(user=user) if talk.state != "closed"]

    async def turns(self) -> list[Turn]:
        return await self._rows(Turn, select(tables.turns).order_by(tables.turns.c.id))

    async def waiting(self) -> list[Turn]:
        return [found for found in await self.turns() if found.state == "waiting"]

    async def opt_outs(self) -> list[OptOut]:
        """Also those that ended."""
        t = tables.opt_outs
        return await self._rows(OptOut, select(t).order_by(t.c.opted_out_at, t.c.id))

    async def may_text(self, *, agent_number: Phone = AGENT, user: Phone = USER) -> bool:
        async with transaction(self.db) as c:
            return not await opt_outs.stands(c, agent_number, user)

    async def events(self, about: ConversationId | MessageId) -> list[str]:
        """Kinds of events, in order."""
        t = tables.events
        query = select(t.c.kind).order_by(t.c.id)
        if about.startswith("msg_"):
            query = query.where(t.c.message_id == about)
        else:
            query = query.where(t.c.conversation_id == about, t.c.message_id.is_(None))
        async with transaction(self.db) as c:
            return list(await c.scalars(query))

    async def told(self, conversation_id: ConversationId) -> list[tuple[str, Mapping[str, Any]]]:
        """Kinds of the conversation's own events and what they say, in order."""
        t = tables.events
        query = (
            select(t.c.kind, t.c.data)
            .where(t.c.conversation_id == conversation_id, t.c.message_id.is_(None))
            .order_by(t.c.id)
        )
        async with transaction(self.db) as c:
            return [(row.kind, row.data) for row in await c.execute(query)]

    async def spent(self, conversation_id: ConversationId) -> Spent:
        """What its agent used."""
        t = tables.conversations.c
        query = select(t.turns_taken, t.tokens_used, t.cost_usd).where(t.id == conversation_id)
        async with transaction(self.db) as c:
            turns, tokens, cost_usd = (await c.execute(query)).one()
        return Spent(turns=turns, tokens=tokens, cost_usd=cost_usd)

    async def spent_on(self, day: date, *, project_id: str = "reminders") -> Spent:
        async with transaction(self.db) as c:
            return await usage.of_day(c, ProjectId(project_id), day)

    async def engine_state(self, conversation_id: ConversationId) -> Mapping[str, Any]:
        t = tables.conversations.c
        async with transaction(self.db) as c:
            return (await c.scalars(select(t.engine_state).where(t.id == conversation_id))).one()

    async def _rows(self, record: type[Record], query: Select[Any]) -> list[Record]:
        async with transaction(self.db) as c:
            rows = (await c.execute(query)).mappings()
            return [record(**{f.name: row[f.name] for f in fields(record)}) for row in rows]
