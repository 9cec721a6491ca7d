"""Collects what `verdict` judges: from the database, the fake Twilio, and the logs."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlsplit

import asyncpg

from tests.chaos.parts import Part
from tests.chaos.record import Answer, Created, Delivery, Event, Plan, Row, Turn
from tests.support.fake_twilio import Message

EXPECTED: Final = ("server sent an error response during SSL exchange",)
"""Of tracebacks: asyncpg drops this future when a process was stalled while it was connecting."""

UNFINISHED: Final = """
    select 'text', state, count(*) from messages
     where state in ('queued', 'sending', 'uncertain') group by 2
    union all
    select 'turn', state, count(*) from turns where state <> 'ended' group by 2
    union all
    select 'brief conversation', state, count(*) from conversations
     where project_id = 'brief' and state <> 'closed' group by 2
    union all
    select 'plan', state, count(*) from planned_sends where state = 'planned' group by 2
    union all
    select 'batch', state, count(*) from batches
     where state not in ('done', 'cancelled') group by 2
"""

UNTOLD: Final = """
    select id, due_at > now() as is_late from webhook_deliveries
     where state in ('waiting', 'delivering') order by id
"""


async def unfinished(c: asyncpg.Connection) -> dict[str, int]:
    """What still has to come to its end."""
    return {f"{what} {state}": count for what, state, count in await c.fetch(UNFINISHED)}


async def untold(c: asyncpg.Connection) -> tuple[int, list[int]]:
    """Deliveries that are not over: how many, and those that wait for their next attempt."""
    found = await c.fetch(UNTOLD)
    return len(found), [row["id"] for row in found if row["is_late"]]


async def missing(c: asyncpg.Connection, sids: list[str]) -> int:
    """How many of these texts of users are not stored."""
    query = "select count(*) from messages where carrier_message_id = any($1)"
    return len(sids) - await c.fetchval(query, sids)


async def rows(c: asyncpg.Connection) -> list[Row]:
    found = await c.fetch(
        "select id, seq, conversation_id, agent_number, user_number, direction, kind, text, state,"
        " coalesce(drop_reason, error_code) as why, carrier_message_id, note"
        " from messages order by seq"
    )
    return [Row(*row) for row in found]


async def turns(c: asyncpg.Connection) -> list[Turn]:
    found = await c.fetch("select conversation_id, state, outcome, upto_seq from turns order by id")
    return [Turn(*row) for row in found]


async def events(c: asyncpg.Connection) -> list[Event]:
    found = await c.fetch("select conversation_id, kind from events order by id")
    return [Event(*row) for row in found]


async def plans(c: asyncpg.Connection) -> list[Plan]:
    found = await c.fetch(
        "select id, batch_id, user_number, conversation_id, state, error,"
        " extract(epoch from ended_at)::float8 from planned_sends order by seq"
    )
    return [Plan(*row) for row in found]


async def deliveries(c: asyncpg.Connection) -> list[Delivery]:
    found = await c.fetch(
        "select e.id, e.kind, e.conversation_id, e.message_id, d.state"
        " from webhook_deliveries d join events e on e.id = d.event_id order by d.id"
    )
    return [Delivery(*row) for row in found]


async def reasons(c: asyncpg.Connection) -> dict[str, str | None]:
    return {row["id"]: row["reason"] for row in await c.fetch("select * from conversations")}


def created(message: Message, at: float) -> Created:
    query = parse_qs(urlsplit(message.status_callback or "").query)
    return Created(
        sid=message.sid,
        message_id=query.get("message_id", [""])[0],
        agent=message.from_,
        user=message.to,
        text=message.body,
        at=at,
    )


def answers(part: Part) -> list[Answer]:
    """What it says it answered, errors only."""
    return [
        Answer(
            part=part.name,
            path=line["path"],
            status=line["status"],
            asked=at - line["ms"] / 1000,
            at=at,
        )
        for at, line in _lines(part.log)
        if line.get("event") == "http.answered" and line["status"] >= 400
    ]


def tracebacks(part: Part) -> list[str]:
    """Whatever a process told with a traceback, or not in our way at all."""
    found: list[str] = []
    for _, line in _lines(part.log):
        told = str(line.get("exception", line.get("not json", "")))
        if told:
            words = [line.strip(" |") for line in told.splitlines() if any(map(str.isalnum, line))]
            last = words[-1] if words else told
            if any(known in last for known in EXPECTED):
                continue
            found.append(f"{part.name}: {line.get('event', '')} {last[:300]}")
    return found


def _lines(log: Path) -> Iterator[tuple[float, dict[str, Any]]]:
    """Events and their times; what is no event of ours comes in one piece, as `not json`."""
    strange: list[str] = []
    for line in log.read_text(errors="replace").splitlines():
        try:
            event = cast("dict[str, Any]", json.loads(line))
        except ValueError:
            strange.append(line)
            continue
        if strange:
            yield 0.0, {"not json": "\n".join(strange)}
            strange = []
        yield datetime.fromisoformat(event["timestamp"]).timestamp(), event
    if strange:
        yield 0.0, {"not json": "\n".join(strange)}
