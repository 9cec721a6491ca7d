"""Calls that agents made in their turns: begun before they are made, ended when known."""

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import func, insert, literal, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.engine import ToolResult
from textback.core.frozen import frozen
from textback.core.ids import ConversationId, TurnId
from textback.db.tables import tool_calls as t


@frozen(kw_only=False)
class Begun:
    call_id: str
    result: ToolResult | None
    """None: nobody knows how it ended."""


async def find(
    c: AsyncConnection,
    turn_id: TurnId,
    name: str,
    arguments: Mapping[str, object],
    *,
    but: Collection[str],
) -> Begun | None:
    """The first such call of the turn that did not fail, `but` for these."""
    row = (
        await c.execute(
            select(t.c.id, t.c.result)
            .where(
                t.c.turn_id == turn_id,
                t.c.name == name,
                t.c.arguments == literal(dict(arguments), JSONB),
                t.c.id.not_in(but),
                or_(t.c.failed.is_(None), t.c.failed.is_(False)),
            )
            .order_by(t.c.seq)
            .limit(1)
        )
    ).one_or_none()
    if row is None:
        return None
    return Begun(row.id, None if row.result is None else ToolResult(row.result))


async def note(
    c: AsyncConnection,
    turn_id: TurnId,
    conversation_id: ConversationId,
    name: str,
    arguments: Mapping[str, object],
    *,
    now: datetime,
) -> Begun:
    """Call with the turn locked: it gives out the call's number."""
    made = await c.scalar(select(func.count()).where(t.c.turn_id == turn_id)) or 0
    call_id = f"{turn_id}.{made + 1}"
    await c.execute(
        insert(t).values(
            id=call_id,
            conversation_id=conversation_id,
            turn_id=turn_id,
            name=name,
            arguments=dict(arguments),
            began_at=now,
        )
    )
    return Begun(call_id, None)


async def end(c: AsyncConnection, call_id: str, result: ToolResult, *, now: datetime) -> bool:
    """The first result counts; but if another worker made the call too, one that did not fail."""
    unknown = t.c.ended_at.is_(None)
    changed = await c.execute(
        update(t)
        .where(t.c.id == call_id, unknown if result.failed else or_(unknown, t.c.failed))
        .values(ended_at=now, result=result.text, failed=result.failed)
    )
    return changed.rowcount == 1
