"""What is asked and written for each answer of an agent's, in few statements.

As `db/hearing.py` does it for what users say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from pydantic_core import to_json
from sqlalchemy.ext.asyncio import AsyncConnection

from textback import tracing
from textback.core import events as facts
from textback.core.budget import Spent
from textback.core.conversation import NAMES, Conversation, Live, deadline
from textback.core.errors import StaleError
from textback.core.ids import AccountId, AgentId, CarrierId, ConversationId, ProjectId, TurnId
from textback.core.message import Queued
from textback.core.policy import IdlePolicy
from textback.db import events, under_way, usage
from textback.db.conversation_rows import STATE, state_of
from textback.db.driver import Statement
from textback.db.message_rows import priority_of, size_of
from textback.db.session import count_at_commit
from textback.db.tenants import ProjectRow, policy_of
from textback.db.under_way import Held

# The conversation first, then its turn, and each as it is once it is locked: what others have
# written meanwhile is followed. Not against key shares: see `conversation_rows.LOCK_LIVE`.
_OPEN: Final = Statement(f"""
    with talk as materialized (
        select heard_seq, {STATE} from conversations
        where id = :conversation
        for no key update
    )
    select talk.*, p.agent_id as usual_agent_id, cast(p.policy as text) as policy,
        (select carrier_id from numbers where number = talk.agent_number) as carrier_id,
        t.id as turn_id, t.run as turn_run, t.state as turn_state,
        t.conversation_id as turn_conversation_id, t.opener_id as turn_opener_id,
        t.first_text_at as turn_first_text_at, t.lease_until as turn_lease_until,
        t.upto_seq as turn_upto_seq, t.attempts as turn_attempts, t.restarts as turn_restarts,
        t.again_at as turn_again_at, t.upto_seq > talk.heard_seq as turn_is_asked
    from talk join projects p on p.id = talk.project_id
        join turns t on t.id = :turn and t.state in ('thinking', 'awaiting')
    for update of t
""")  # noqa: S608 - our own words

_ANSWER: Final = Statement(f"""
    with talk as (
        update conversations set active_at = :at, deadline_at = :deadline,
            heard_seq = case when :upto > 0 then :upto else heard_seq end,
            engine_state = coalesce(cast(:engine_state as jsonb), engine_state),
            turns_taken = turns_taken + cast(:turns as int),
            tokens_used = tokens_used + cast(:tokens as bigint),
            cost_usd = cost_usd + cast(:cost as float)
        where id = :conversation and state = :was
        returning id
    ), ended as (
        update turns set state = 'ended', lease_until = null, again_at = null, ended_at = :at,
            outcome = 'answered'
        where id = :turn
    ), said as (
        insert into messages (id, conversation_id, project_id, carrier_id, agent_number,
            user_number, direction, kind, text, state, created_at, due_at, expires_at, priority,
            segments, segments_saved, traceparent)
        select :id, talk.id, :project, :carrier, :agent, :user, 'outbound', :kind, :text, 'queued',
            cast(:at as timestamptz), cast(:at as timestamptz), cast(:expires_at as timestamptz),
            :priority, cast(:segments as int), cast(:saved as int), :traceparent
        from talk
    ), used as ({usage.COUNT}), {events.telling()}
    select (select count(*) from talk) as done, {events.WAKES}, pg_notify(:channel, 'messages')
""")  # noqa: S608 - our own words


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A turn that is under way, locked with its conversation until the transaction ends."""

    held: Held
    conversation: Conversation
    project: ProjectRow
    carrier_id: CarrierId
    """Who moves the number's texts, also after it was removed."""


async def hold(
    c: AsyncConnection, conversation_id: ConversationId, turn_id: TurnId
) -> Opened | None:
    """None: it is not under way any more."""
    rows = await _OPEN.rows(c, conversation=conversation_id, turn=turn_id)
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
    )


async def answer(
    c: AsyncConnection,
    turn: Opened,
    reply: Queued,
    after: Live,
    *,
    saved: int,
    engine_state: Mapping[str, object] | None,
    heard_upto: int,
    spent: Spent,
    day: date,
    idle: IdlePolicy,
) -> None:
    """All that comes of a turn that was answered with one text, when no state changes but its own.

    `after`: the conversation, which that text has kept awake. `saved`: segments, by folding.
    `engine_state`: None: as it was. `heard_upto`: as for `under_way.end`; `spent`, on `day`: as for
    `usage.add`. Raises StaleError.
    """
    told = [facts.of_message(reply)]
    given = {
        "conversation": after.id,
        "was": NAMES[type(turn.conversation)],
        "at": reply.created_at,
        "deadline": deadline(after, idle),
        "upto": heard_upto,
        "engine_state": None if engine_state is None else to_json(engine_state).decode(),
        "turns": spent.turns,
        "tokens": spent.tokens,
        "cost": spent.cost_usd,
        "counts": spent != Spent(),
        "day": day,
        "turn": turn.held.id,
        "id": reply.id,
        "project": turn.project.id,
        "carrier": reply.carrier_id,
        "agent": reply.agent_number,
        "user": reply.user_number,
        "kind": reply.kind,
        "text": reply.text,
        "expires_at": reply.expires_at,
        "priority": priority_of(reply),
        "segments": size_of(reply, saved=saved)["segments"],
        "saved": saved,
        "traceparent": tracing.current(),
        "events": events.rows(told),
        "channel": events.CHANNEL,
    }
    [row] = await _ANSWER.rows(c, **given)
    if not row["done"]:
        raise StaleError(after.id)
    count_at_commit(told)
