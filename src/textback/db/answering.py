"""What is asked and written for each answer of an agent's, in few statements.

As `db/hearing.py` does it for what users say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import asyncpg
from pydantic_core import to_json
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback import metrics, tracing
from textback.core import events as facts
from textback.core.budget import Spent
from textback.core.conversation import NAMES, Conversation, Live, deadline
from textback.core.errors import StaleError
from textback.core.events import Event
from textback.core.ids import AccountId, AgentId, CarrierId, ConversationId, ProjectId, TurnId
from textback.core.message import Queued
from textback.db import events, under_way, usage
from textback.db.conversation_rows import STATE, state_of
from textback.db.driver import Statement
from textback.db.message_rows import priority_of, size_of
from textback.db.session import count_at_commit
from textback.db.tenants import ProjectRow, policy_of
from textback.db.under_way import Held


def _turn(lock_talk: str = "", lock_turn: str = "") -> Statement:
    return Statement(f"""
    with talk as materialized (
        select heard_seq, cast(xmin as text) as version, {STATE} from conversations
        where id = :conversation
        {lock_talk}
    )
    select talk.*, p.agent_id as usual_agent_id, cast(p.policy as text) as policy,
        (select carrier_id from numbers where number = talk.agent_number) as carrier_id,
        t.id as turn_id, t.run as turn_run, t.state as turn_state,
        t.conversation_id as turn_conversation_id, t.opener_id as turn_opener_id,
        t.first_text_at as turn_first_text_at, t.lease_until as turn_lease_until,
        t.upto_seq as turn_upto_seq, t.attempts as turn_attempts, t.restarts as turn_restarts,
        t.again_at as turn_again_at, t.upto_seq > talk.heard_seq as turn_is_asked,
        cast(t.xmin as text) as turn_version
    from talk join projects p on p.id = talk.project_id
        join turns t on t.id = :turn and t.state in ('thinking', 'awaiting')
    {lock_turn}
""")  # noqa: S608 - our own words


_LOOK: Final = _turn()
# The conversation first, then its turn, and each as it is once it is locked: what others have
# written meanwhile is followed. Not against key shares: see `conversation_rows.LOCK_LIVE`.
_HOLD: Final = _turn("for no key update", "for update of t")

_ANSWER: Final = Statement(f"""
    with held as materialized (
        select id from conversations
        where id = :conversation and state = :was
            and (cast(:version as text) is null or cast(xmin as text) = :version)
        for no key update
    ), ended as (
        update turns set state = 'ended', lease_until = null, again_at = null, ended_at = :at,
            outcome = 'answered'
        where id = :turn and exists (select from held)
            and (cast(:turn_version as text) is null or cast(xmin as text) = :turn_version)
        returning id
    ), talk as (
        update conversations set active_at = :at, deadline_at = :deadline,
            heard_seq = case when :upto > 0 then :upto else heard_seq end,
            engine_state = coalesce(cast(:engine_state as jsonb), engine_state),
            turns_taken = turns_taken + cast(:turns as int),
            tokens_used = tokens_used + cast(:tokens as bigint),
            cost_usd = cost_usd + cast(:cost as float)
        where id = (select id from held) and exists (select from ended)
        returning id
    ), said as (
        insert into messages (id, conversation_id, project_id, carrier_id, agent_number,
            user_number, direction, kind, text, state, created_at, due_at, expires_at, priority,
            segments, segments_saved, traceparent)
        select :id, talk.id, :project, :carrier, :agent, :user, 'outbound', :kind, :text, 'queued',
            cast(:at as timestamptz), cast(:at as timestamptz), cast(:expires_at as timestamptz),
            :priority, cast(:segments as int), cast(:saved as int), :traceparent
        from talk
    ), used as ({usage.counting("exists (select from talk)")}),
    {events.telling("exists (select from talk)")}
    select (select count(*) from talk) as done, {events.WAKES}, pg_notify(:channel, 'messages')
""")  # noqa: S608 - our own words


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A turn that is under way, with its conversation, as both are, or were when looked at."""

    held: Held
    conversation: Conversation
    project: ProjectRow
    carrier_id: CarrierId
    """Who moves the number's texts, also after it was removed."""
    versions: tuple[str, str]
    """Of the rows of the conversation and of the turn; every change makes another."""


async def hold(
    c: AsyncConnection, conversation_id: ConversationId, turn_id: TurnId
) -> Opened | None:
    """Both locked until the transaction ends. None: it is not under way any more."""
    return _opened(await _HOLD.rows(c, conversation=conversation_id, turn=turn_id))


async def look(db: AsyncEngine, conversation_id: ConversationId, turn_id: TurnId) -> Opened | None:
    """As `hold`, with nothing locked. Raises Unavailable."""
    return _opened(await _LOOK.committed(db, conversation=conversation_id, turn=turn_id))


def _opened(rows: Sequence[asyncpg.Record]) -> Opened | None:
    if not rows:
        return None
    [row] = rows
    conversation = state_of(row)
    project = ProjectRow(
        id=ProjectId(conversation.project_id),
        account_id=AccountId(conversation.account_id),
        agent_id=AgentId(row["usual_agent_id"]),
        policy=policy_of(row["policy"]),
    )
    return Opened(
        held=under_way.held_of(row, "turn_"),
        conversation=conversation,
        project=project,
        carrier_id=CarrierId(row["carrier_id"] or ""),
        versions=(row["version"], row["turn_version"]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """All that comes of a turn that is answered with one text, when only its own state changes."""

    turn: Opened
    reply: Queued
    after: Live
    """The conversation, which that text has kept awake."""
    saved: int
    """Segments, by folding."""
    engine_state: Mapping[str, object] | None
    """None: as it was."""
    heard_upto: int
    """As for `under_way.end`."""
    spent: Spent
    """On `day`, as for `usage.add`."""
    day: date

    def given(self, versions: tuple[str, str] | None) -> dict[str, object]:
        reply, state, spent = self.reply, self.engine_state, self.spent
        project = self.turn.project
        return {
            "conversation": self.after.id,
            "was": NAMES[type(self.turn.conversation)],
            "version": versions and versions[0],
            "turn_version": versions and versions[1],
            "at": reply.created_at,
            "deadline": deadline(self.after, project.policy.idle),
            "upto": self.heard_upto,
            "engine_state": None if state is None else to_json(state).decode(),
            "turns": spent.turns,
            "tokens": spent.tokens,
            "cost": spent.cost_usd,
            "counts": spent != Spent(),
            "day": self.day,
            "turn": self.turn.held.id,
            "id": reply.id,
            "project": project.id,
            "carrier": reply.carrier_id,
            "agent": reply.agent_number,
            "user": reply.user_number,
            "kind": reply.kind,
            "text": reply.text,
            "expires_at": reply.expires_at,
            "priority": priority_of(reply),
            "segments": size_of(reply, saved=self.saved)["segments"],
            "saved": self.saved,
            "traceparent": tracing.current(),
            "events": events.rows(self.told()),
            "channel": events.CHANNEL,
        }

    def told(self) -> list[Event]:
        return [facts.of_message(self.reply)]


async def answer(c: AsyncConnection, given: Answer) -> None:
    """Call with `given.turn` held. Raises StaleError."""
    [row] = await _ANSWER.rows(c, **given.given(None))
    if not row["done"]:
        raise StaleError(given.after.id)
    count_at_commit(given.told())


async def answer_at_once(db: AsyncEngine, given: Answer) -> bool:
    """As `answer`, committed, if all is still as it was looked at. Raises Unavailable."""
    [row] = await _ANSWER.committed(db, **given.given(given.turn.versions))
    if row["done"]:
        metrics.told(given.told())
    return bool(row["done"])
