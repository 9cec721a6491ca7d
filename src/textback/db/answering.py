"""What is asked and written for each answer of an agent's, in few statements.

As `db/hearing.py` does it for what users say.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

import asyncpg
from pydantic_core import to_json
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback import metrics
from textback.core import events as facts
from textback.core.budget import Spent
from textback.core.conversation import NAMES, Conversation, Live, deadline
from textback.core.errors import StaleError
from textback.core.events import Event
from textback.core.frozen import frozen
from textback.core.ids import AccountId, AgentId, CarrierId, ConversationId, ProjectId, TurnId
from textback.core.message import Queued
from textback.db import events, under_way, usage
from textback.db.conversation_rows import STATE, state_of
from textback.db.driver import Statement
from textback.db.message_rows import priority_of, size_of
from textback.db.session import count_at_commit
from textback.db.tenants import ProjectRow, policy_of
from textback.db.under_way import Held

_OF_TURN: Final = """
        p.agent_id as usual_agent_id, cast(p.policy as text) as policy,
        (select carrier_id from numbers where number = talk.agent_number) as carrier_id,
        t.id as turn_id, t.run as turn_run, t.state as turn_state,
        t.conversation_id as turn_conversation_id, t.opener_id as turn_opener_id,
        t.first_text_at as turn_first_text_at, t.lease_until as turn_lease_until,
        t.upto_seq as turn_upto_seq, t.attempts as turn_attempts, t.restarts as turn_restarts,
        t.again_at as turn_again_at, t.upto_seq > talk.heard_seq as turn_is_asked,
        cast(t.xmin as text) as turn_version
"""
_OF_TALK: Final = f"heard_seq, cast(xmin as text) as version, {STATE}"

# One by one, whatever the tables held when this was planned.
_LOOK: Final = Statement(f"""
    select a.place, talk.*, {_OF_TURN}
    from jsonb_to_recordset(cast(:asked as jsonb)) as a(place int, conversation text, turn text)
    cross join lateral (
        select {_OF_TALK} from conversations where id = a.conversation order by id limit 1
    ) talk
    cross join lateral (
        select *, xmin from turns
        where id = a.turn and state in ('thinking', 'awaiting') order by id limit 1
    ) t
    join projects p on p.id = talk.project_id
""")  # noqa: S608 - our own words
# The conversation first, then its turn, and each as it is once it is locked: what others have
# written meanwhile is followed. Not against key shares: see `conversation_rows.LOCK_LIVE`.
_HOLD: Final = Statement(f"""
    with talk as materialized (
        select {_OF_TALK} from conversations where id = :conversation for no key update
    )
    select talk.*, {_OF_TURN}
    from talk join projects p on p.id = talk.project_id
        join turns t on t.id = :turn and t.state in ('thinking', 'awaiting')
    for update of t
""")  # noqa: S608 - our own words

# Nobody waits here for a conversation or a turn, because all the others would wait too. For the day
# of a project all wait, at the end and in one order.
_ANSWER: Final = Statement(f"""
    with n as materialized (
        select * from jsonb_to_recordset(cast(:rows as jsonb)) as n(
            place int, conversation text, was text, version text, turn text, turn_version text,
            deadline timestamptz, upto bigint, engine_state jsonb, turns int, tokens bigint,
            cost float, counts bool, day date, id text, project text, carrier text, agent text,
            "user" text, kind text, text text, at timestamptz, expires_at timestamptz,
            priority smallint, segments smallint, saved smallint, traceparent text)
    ), talks as materialized (
        select n.place, c.id from n cross join lateral (
            select id from conversations
            where id = n.conversation and state = n.was
                and (n.version is null or cast(xmin as text) = n.version)
            for no key update skip locked
        ) c
    ), held as materialized (
        select talks.place, talks.id, t.id as turn
        from talks join n on n.place = talks.place cross join lateral (
            select id from turns
            where id = n.turn and (n.turn_version is null or cast(xmin as text) = n.turn_version)
            for update skip locked
        ) t
    ), ended as (
        update turns t set state = 'ended', lease_until = null, again_at = null, ended_at = n.at,
            outcome = 'answered'
        from held join n on n.place = held.place
        where t.id = held.turn and held.turn || '' = held.turn  -- seems to be few: each by itself
    ), talk as (
        update conversations c set active_at = n.at, deadline_at = n.deadline,
            heard_seq = case when n.upto > 0 then n.upto else c.heard_seq end,
            engine_state = coalesce(n.engine_state, c.engine_state),
            turns_taken = c.turns_taken + n.turns, tokens_used = c.tokens_used + n.tokens,
            cost_usd = c.cost_usd + n.cost
        from held join n on n.place = held.place
        where c.id = held.id and held.id || '' = held.id
    ), said as (
        insert into messages (id, conversation_id, project_id, carrier_id, agent_number,
            user_number, direction, kind, text, state, created_at, due_at, expires_at, priority,
            segments, segments_saved, traceparent)
        select n.id, n.conversation, n.project, n.carrier, n.agent, n."user", 'outbound', n.kind,
            n.text, 'queued', n.at, n.at, n.expires_at, n.priority, n.segments, n.saved,
            n.traceparent
        from held join n on n.place = held.place
        order by n.place
    ), used as ({usage.counting("held join n on n.place = held.place", "n.counts")}),
    {events.telling("e.place in (select place from held)")}
    select array(select id from held) as done, {events.WAKES},
        case when exists (select from held) then pg_notify(:channel, 'messages') end
""")  # noqa: S608 - our own words


@frozen
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
    rows = await _HOLD.rows(c, conversation=conversation_id, turn=turn_id)
    return _opened(rows[0]) if rows else None


async def look(
    db: AsyncEngine, asked: Sequence[tuple[ConversationId, TurnId]]
) -> list[Opened | None]:
    """As `hold`, each of them, with nothing locked. Raises Unavailable."""
    given = [
        {"place": place, "conversation": conversation_id, "turn": turn_id}
        for place, (conversation_id, turn_id) in enumerate(asked)
    ]
    rows = await _LOOK.committed(db, asked=to_json(given).decode())
    found = {row["place"]: _opened(row) for row in rows}
    return [found.get(place) for place in range(len(asked))]


def _opened(row: asyncpg.Record) -> Opened:
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


@frozen
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
    traceparent: str | None

    def row(self, versions: tuple[str, str] | None) -> dict[str, object]:
        reply, spent = self.reply, self.spent
        project = self.turn.project
        return {
            "conversation": self.after.id,
            "was": NAMES[type(self.turn.conversation)],
            "version": versions and versions[0],
            "turn_version": versions and versions[1],
            "at": reply.created_at,
            "deadline": deadline(self.after, project.policy.idle),
            "upto": self.heard_upto,
            "engine_state": self.engine_state,
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
            "traceparent": self.traceparent,
        }

    def told(self) -> Event:
        return facts.of_message(self.reply)


async def answer(c: AsyncConnection, given: Answer) -> None:
    """Call with `given.turn` held. Raises StaleError."""
    [row] = await _ANSWER.rows(c, **_given([given], [given.row(None)]))
    if not row["done"]:
        raise StaleError(given.after.id)
    count_at_commit([given.told()])


async def answer_at_once(db: AsyncEngine, several: Sequence[Answer]) -> list[bool]:
    """As `answer`, each of them, committed, if all of it is still as it was looked at.

    No two are of one conversation. What somebody else has locked is not done. Raises Unavailable,
    asyncpg's errors.
    """
    given = _given(several, [each.row(each.turn.versions) for each in several])
    [row] = await _ANSWER.committed(db, **given)
    done = [each.after.id in row["done"] for each in several]
    metrics.told([each.told() for each, is_done in zip(several, done, strict=True) if is_done])
    return done


def _given(several: Sequence[Answer], rows: Sequence[dict[str, object]]) -> dict[str, object]:
    placed = [{"place": place, **row} for place, row in enumerate(rows)]
    return {
        "rows": to_json(placed).decode(),
        "events": events.rows([each.told() for each in several]),
        "at": max(each.reply.created_at for each in several),
        "channel": events.CHANNEL,
    }
