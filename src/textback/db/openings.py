"""Conversations that open with a text of ours, many in one statement, which can be all there is."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
from pydantic_core import to_json
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback import metrics
from textback.core import segments
from textback.core.conversation import Opened, deadline
from textback.core.events import Event
from textback.core.frozen import frozen
from textback.core.ids import ConversationId
from textback.core.message import Queued
from textback.core.optout import every_number_of
from textback.core.policy import IdlePolicy
from textback.db import locks
from textback.db.conversation_rows import IDLE, Brief
from textback.db.driver import Statement
from textback.db.events import CHANNEL
from textback.db.message_rows import OPENERS, TEMPLATE
from textback.db.session import count_at_commit

_TOLD: Final = [Event(kind="conversation.opened"), Event(kind="message.queued")]
"""Of each, as far as it is counted."""

# Planned once for each connection, and often while its tables are small: so each table is found by
# what can only be done in one way (a conflict of one index, a row at a time), however they grow.
#
# What is looked at is from before the lock. So it is the index that says whether the two have a
# conversation, and of an opt-out that comes at this very moment the claim of the text hears.
_OPEN: Final = Statement("""
    with kinds as materialized (
        select * from jsonb_to_recordset(cast(:kinds as jsonb)) as k(
            kind int, every_number text, account_id text, project_id text, connector_id text,
            agent_id text, agent_version int, agent_number text, idle jsonb, objective text,
            variables jsonb, start_node text, metadata jsonb, reopens boolean, dialect text,
            extra jsonb, carrier_id text, template jsonb, deadline_at timestamptz,
            expires_at timestamptz)
    ), asked as materialized (
        select a.*, k.* from unnest(
            cast(string_to_array(:kind, ',') as int[]),
            cast(string_to_array(:lock, ',') as bigint[]), string_to_array(:id, ','),
            string_to_array(:user_number, ','), string_to_array(:message_id, ','),
            cast(:text as text[]), cast(string_to_array(:segments, ',') as smallint[]),
            string_to_array(:traceparent, ',', '')
        ) with ordinality as a(of_kind, lock, id, user_number, message_id, text, segments,
            traceparent, place)
        join kinds k on k.kind = a.of_kind
        where pg_try_advisory_xact_lock(a.lock) and not coalesce((
            select true from opt_outs o
            where o.user_number = a.user_number and o.opted_in_at is null
                and o.agent_number in (k.agent_number, k.every_number)
            limit 1), false)
    ), opened as (
        insert into conversations (id, account_id, project_id, connector_id, agent_id,
            agent_version, agent_number, user_number, state, opened_at, active_at, deadline_at,
            idle, objective, variables, start_node, metadata, reopens, dialect, extra)
        select id, account_id, project_id, connector_id, agent_id, agent_version, agent_number,
            user_number, 'opened', :now, :now, deadline_at, idle, objective, variables, start_node,
            metadata, reopens, dialect, extra
        from asked
        on conflict (agent_number, user_number) where state <> 'closed' do nothing
        returning id
    ), written as (
        insert into messages (id, conversation_id, project_id, carrier_id, agent_number,
            user_number, direction, kind, text, state, created_at, due_at, expires_at, priority,
            segments, template, traceparent)
        select a.message_id, a.id, a.project_id, a.carrier_id, a.agent_number, a.user_number,
            'outbound', 'opener', a.text, 'queued', :now, :now, a.expires_at, :priority,
            a.segments, a.template, a.traceparent
        from asked a join opened on opened.id = a.id
        order by a.place
    ), told as (
        insert into events (at, conversation_id, message_id, kind, data)
        select :now, a.id, e.message_id, e.kind, e.data
        from asked a join opened on opened.id = a.id
        cross join lateral (values
            (1, null, 'conversation.opened', cast('{}' as jsonb)),
            (2, a.message_id, 'message.queued', jsonb_build_object('segments', a.segments))
        ) as e(nth, message_id, kind, data)
        order by a.place, e.nth
        returning id, conversation_id, kind
    ), delivered as (
        insert into webhook_deliveries (endpoint_id, event_id, conversation_id, state, created_at,
            due_at)
        select w.id, told.id, told.conversation_id, 'waiting', :now, :now
        from told join asked a on a.id = told.conversation_id
        join webhook_endpoints w on w.account_id = a.account_id
            and w.state <> 'removed'
            and (w.project_id is null or w.project_id = a.project_id)
            and (w.conversation_id is null or w.conversation_id = a.id)
            and (w.kinds = '[]' or w.kinds ? told.kind)
        order by told.id, w.id
        returning 1
    )
    select array(select id from opened) as opened, pg_notify(:channel, 'messages'),
        case when exists (select from delivered) then pg_notify(:channel, 'webhooks') end
""")


@frozen
class Opening:
    talk: Opened
    policy: IdlePolicy
    """The project's."""
    brief: Brief
    """Says nothing of whom to notify."""
    text: Queued
    """Its words are known."""
    traceparent: str | None = None


async def open_all(
    c: AsyncConnection, new: Sequence[Opening], *, now: datetime
) -> set[ConversationId]:
    """Those that were opened, with their texts queued and their events.

    Not those whose pair somebody else has to do with right now, or has a conversation, and those
    whose user has opted out. No two are of the same pair.
    """
    opened = _ids(await _OPEN.rows(c, **_given(new, now)))
    count_at_commit(_TOLD * len(opened))
    return opened


async def open_at_once(
    db: AsyncEngine, new: Sequence[Opening], *, now: datetime
) -> set[ConversationId]:
    """As `open_all`, committed. Raises Unavailable, asyncpg's errors."""
    opened = _ids(await _OPEN.committed(db, **_given(new, now)))
    metrics.told(_TOLD * len(opened))
    return opened


def _given(new: Sequence[Opening], now: datetime) -> dict[str, object]:
    kinds: list[dict[str, Any]] = []
    rows = [_row(each, kinds) for each in new]
    columns = zip(*rows, strict=True)
    given: dict[str, object] = {
        name: ",".join(column) for name, column in zip(_ROW, columns, strict=True)
    }
    given["text"] = [each.text.text for each in new]
    given["kinds"] = to_json([kind | {"kind": n} for n, kind in enumerate(kinds)]).decode()
    return given | {"now": now, "priority": OPENERS, "channel": CHANNEL}


# Joined, because that is a tenth of what the driver takes to write arrays; no comma is in them.
_ROW: Final = ("kind", "lock", "id", "user_number", "message_id", "segments", "traceparent")


def _row(new: Opening, kinds: list[dict[str, Any]]) -> tuple[str, ...]:
    """What each has of its own; what many have in common is written once, into `kinds`."""
    talk, text = new.talk, new.text
    kind = _kind(new)
    if not kinds or kinds[-1] != kind:
        kinds.append(kind)
    return (
        str(len(kinds) - 1),
        str(locks.number_of_pair(talk.agent_number, talk.user_number)),
        talk.id,
        talk.user_number,
        text.id,
        str(segments.of_ours(text.text, text.agent_number, text.template)),
        new.traceparent or "",
    )


def _kind(new: Opening) -> dict[str, Any]:
    """What is None is left out: most of it is, in most of them."""
    talk, brief, template = new.talk, new.brief, new.text.template
    kind: dict[str, Any] = {
        "every_number": every_number_of(talk.project_id),
        "account_id": talk.account_id,
        "project_id": talk.project_id,
        "connector_id": talk.connector_id,
        "agent_id": talk.agent_id,
        "agent_version": talk.agent_version,
        "agent_number": talk.agent_number,
        "variables": brief.variables,
        "metadata": brief.metadata,
        "reopens": brief.reopens,
        "dialect": brief.dialect,
        "extra": brief.extra,
        "carrier_id": new.text.carrier_id,
        "deadline_at": deadline(talk, new.policy),
        "expires_at": new.text.expires_at,
    }
    if talk.idle is not None:
        kind["idle"] = IDLE.dump_python(talk.idle, mode="json")
    if brief.objective is not None:
        kind["objective"] = brief.objective
    if brief.start_node is not None:
        kind["start_node"] = brief.start_node
    if template is not None:
        kind["template"] = TEMPLATE.dump_python(template, mode="json")
    return kind


def _ids(rows: Sequence[asyncpg.Record]) -> set[ConversationId]:
    return set(rows[0]["opened"])
