"""What is asked and written for each text of a user's, in few statements."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import asyncpg
from pydantic_core import to_json
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback import metrics, tracing
from textback.core import events as facts
from textback.core.conversation import NAMES, Closed, Engaged, Live, deadline
from textback.core.errors import StaleError
from textback.core.events import Event
from textback.core.frozen import frozen
from textback.core.ids import (
    AccountId,
    CarrierId,
    ConversationId,
    MessageId,
    ProjectId,
    TurnId,
    on_record,
)
from textback.core.optout import every_number_of
from textback.core.phone import Phone
from textback.core.policy import IdlePolicy, InboundLimits
from textback.core.throttle import Heard, look_back
from textback.core.turn import Landing
from textback.db import events, inbound, locks, under_way
from textback.db.conversation_rows import state_of
from textback.db.hearing_queries import GLANCE, GLANCE_AND_COUNT, LOCK, MET, TAKE_IN
from textback.db.session import count_at_commit
from textback.db.turns import Standing, Waiting


@frozen
class Met:
    """What the locks of the pair and of its live conversation guard."""

    is_known: bool
    """The text is stored already, or on record, or was erased."""
    opted_out: bool
    is_live: bool
    """There is a live conversation, locked or not."""
    knows: bool
    """There was more between the two than texts of the user's that were ignored."""
    stays_over: bool
    """Their latest came to its own end, and its caller wants no other one after it."""
    earlier: Sequence[Heard]
    """What the user texted lately, the oldest first: for the sender's limits."""
    answered: int
    """Texts of all its users that the project answered lately, at most as many as its limit."""
    replies: Sequence[datetime]
    """When the latest replies and notices to the user were written, the oldest first."""
    cut_at: datetime | None
    """So much was said that what was before this, and would matter, was not looked at."""
    standing: Standing
    """The turns of the conversation that is locked."""


@frozen
class Question:
    """What matters about a text from `user` to `agent`, before it is taken in."""

    agent: Phone
    user: Phone
    account_id: AccountId
    project_id: ProjectId
    carrier_id: CarrierId
    carrier_message_id: str
    limits: InboundLimits
    replies_since: datetime
    most_replies: int
    answered: int | None
    """As in `Met`, if it is known; else it is counted, which may be much."""
    at: datetime
    """When the text was said."""
    upto: datetime
    """What was said after this came later."""
    in_full: bool = False
    """Look as far back as is ever done, instead of as far as nearly always does."""

    def given(self) -> dict[str, object]:
        limits = self.limits
        return {
            "carrier": self.carrier_id,
            "sid": self.carrier_message_id,
            "on_record": on_record(self.carrier_message_id),
            "agent": self.agent,
            "user": self.user,
            "every_number": every_number_of(self.project_id),
            "account": self.account_id,
            "project": self.project_id,
            "counts": self.answered is None,
            "window": self.at - timedelta(seconds=limits.per_project.seconds),
            "most": int(limits.per_project.amount),
            "since": self._since(),
            "replies_since": self.replies_since,
            "upto": self.upto,
            "rows": inbound.MOST_ROWS
            if self.in_full
            else inbound.latest(max(2 * int(limits.per_sender.amount), 4 * self.most_replies)),
        }

    def _since(self) -> datetime:
        return self.at - look_back(self.limits)

    def met(self, rows: Sequence[asyncpg.Record]) -> Met:
        row = rows[0]
        earlier = zip(row["at"] or (), row["texts"] or (), row["were_answered"] or (), strict=True)
        written: list[datetime] = row["replies"] or []
        cut_at: datetime | None = row["cut_at"]
        matters = cut_at is not None and cut_at > min(self._since(), self.replies_since)
        return Met(
            is_known=row["is_known"],
            opted_out=row["opted_out"],
            is_live=row["is_live"],
            knows=row["knows"],
            stays_over=bool(row["stays_over"]),
            earlier=[Heard(when, words, answered=was) for when, words, was in earlier],
            answered=row["answered"] if self.answered is None else self.answered,
            replies=written[-self.most_replies :],
            cut_at=cut_at if matters else None,
            standing=_standing(rows),
        )


@frozen(kw_only=False)
class Glance:
    """How things stood when nothing was locked."""

    live: Live | None
    version: str | None
    """Of the live conversation's row; every change of it makes another."""
    met: Met


async def glance(db: AsyncEngine, question: Question) -> Glance:
    """Raises Unavailable."""
    statement = GLANCE_AND_COUNT if question.answered is None else GLANCE
    rows = await statement.committed(db, **question.given())
    return Glance(_live(rows[0]), rows[0]["version"], question.met(rows))


async def lock(c: AsyncConnection, agent: Phone, user: Phone) -> Live | None:
    """Lock the pair, then its live conversation, if it had one before that: `meet` tells."""
    pair = locks.number_of_pair(agent, user)
    [row] = await LOCK.rows(c, pair=pair, agent=agent, user=user)
    return _live(row)


async def meet(c: AsyncConnection, question: Question, live: ConversationId | None) -> Met:
    """Call with the pair and `live` locked; locks its turns."""
    return question.met(await MET.rows(c, **question.given(), talk=live))


def _live(row: asyncpg.Record) -> Live | None:
    found = None if row["id"] is None else state_of(row)
    return None if isinstance(found, Closed) else found


def _standing(rows: Sequence[asyncpg.Record]) -> Standing:
    waiting, busy = None, None
    for row in rows:
        if row["turn_state"] == "waiting":
            waiting = Waiting(TurnId(row["turn_id"]), row["turn_first_text_at"])
        elif row["turn_state"] is not None:
            busy = under_way.held_of(row, "turn_")
    return Standing(waiting=waiting, under_way=busy)


@frozen
class Said:
    """A text for the agent."""

    id: MessageId
    project_id: ProjectId
    carrier_id: CarrierId
    carrier_message_id: str
    agent_number: Phone
    user_number: Phone
    text: str
    media: Sequence[Mapping[str, str]]
    note: str | None
    at: datetime


@frozen
class Taking:
    """A text that is to be stored, and what it does: it engages its conversation, and lands."""

    said: Said
    before: Live
    after: Engaged
    policy: IdlePolicy
    standing: Standing
    landing: Landing
    turn_id: TurnId | None
    """Of the turn that it begins, puts off or makes run again."""
    due_at: datetime
    now: datetime

    def given(self, version: str | None) -> dict[str, object]:
        said, landing, turn = self.said, self.landing, self.turn_id
        return {
            "pair": locks.number_of_pair(said.agent_number, said.user_number),
            "conversation": self.before.id,
            "was": NAMES[type(self.before)],
            "version": version,
            "deadline": deadline(self.after, self.policy),
            "id": said.id,
            "project": said.project_id,
            "carrier": said.carrier_id,
            "sid": said.carrier_message_id,
            "agent": said.agent_number,
            "user": said.user_number,
            "text": said.text,
            "media": to_json(said.media).decode(),
            "note": said.note,
            "said_at": said.at,
            "traceparent": tracing.current(),
            "new": turn if landing == "new" else None,
            "waiting": turn if landing == "put off" else None,
            "thinking": turn if landing == "again" else None,
            "due_at": self.due_at,
            "events": events.rows(self.told()),
            "channel": events.CHANNEL,
            "at": self.now,
        }

    def told(self) -> list[Event]:
        told = [inbound.received(self.before.id, self.said.id, note=self.said.note)]
        if isinstance(self.before, Engaged):
            return told
        return [facts.of_conversation(self.after), *told]


async def take_in(c: AsyncConnection, taking: Taking) -> int:
    """All of it, with its events, except for `restart`, which is the caller's.

    Gives the text's place in the order of texts. Raises StaleError.
    """
    rows = await TAKE_IN.rows(c, **taking.given(None))
    if not rows:
        raise StaleError(taking.before.id)
    count_at_commit(taking.told())
    return int(rows[0]["seq"])


async def take_in_at_once(db: AsyncEngine, taking: Taking, version: str | None) -> bool:
    """As `take_in`, committed, if all is still as at the glance that gave `version`.

    For landings that begin a turn, or put off the one that waits: the conversation's row tells of
    what else would matter, because whoever has to do with the two numbers changes it. Raises
    Unavailable, asyncpg.UniqueViolationError (the text was taken in meanwhile).
    """
    rows = await TAKE_IN.committed(db, **taking.given(version))
    if rows:
        metrics.told(taking.told())
    return bool(rows)
