"""Events with all that may be said of them, for whoever writes them down for others."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.told import Told, ToldConversation, ToldMessage
from textback.db.tables import agents, conversations, events, messages

_M = [
    messages.c[name].label(f"m_{name}")
    for name in (
        "id",
        "direction",
        "kind",
        "text",
        "media",
        "state",
        "segments",
        "error_code",
        "error",
        "carrier_message_id",
        "created_at",
        "sent_at",
        "delivered_at",
        "failed_at",
        "drop_reason",
        "note",
    )
]
_C = [
    conversations.c[name].label(f"c_{name}")
    for name in (
        "id",
        "account_id",
        "project_id",
        "connector_id",
        "agent_id",
        "agent_version",
        "agent_number",
        "user_number",
        "state",
        "reason",
        "why_handed_off",
        "opened_at",
        "active_at",
        "closed_at",
        "objective",
        "metadata",
        "variables",
        "start_node",
        "engine_state",
        "analysis",
        "analysis_due_at",
        "dialect",
        "extra",
    )
]


async def load(
    c: AsyncConnection, event_ids: Sequence[int], *, history: bool = False
) -> dict[int, Told]:
    """By event. `history`: with all that was said in its conversation by then."""
    said = messages.alias()
    count = select(func.count()).where(said.c.conversation_id == conversations.c.id)
    query: Select[Any] = (
        select(
            events,
            *_C,
            *_M,
            agents.c.extra.label("agent_extra"),
            count.scalar_subquery().label("message_count"),
        )
        .outerjoin(conversations, conversations.c.id == events.c.conversation_id)
        .outerjoin(messages, messages.c.id == events.c.message_id)
        .outerjoin(agents, agents.c.id == conversations.c.agent_id)
        .where(events.c.id.in_(event_ids))
    )
    rows = (await c.execute(query)).mappings().all()
    return {row["id"]: await _told(c, row, history=history) for row in rows}


async def _told(c: AsyncConnection, row: RowMapping, *, history: bool) -> Told:
    has_conversation = row["c_id"] is not None
    return Told(
        event_id=row["id"],
        kind=row["kind"],
        at=row["at"],
        account_id=row["c_account_id"] if has_conversation else row["account_id"],
        project_id=row["c_project_id"] if has_conversation else row["project_id"],
        data=row["data"],
        conversation=_conversation(row) if has_conversation else None,
        message=None if row["m_id"] is None else _message(row),
        history=await _history(c, row) if history and has_conversation else (),
    )


async def _history(c: AsyncConnection, row: RowMapping) -> list[ToldMessage]:
    by_then: ColumnElement[bool] = and_(
        messages.c.conversation_id == row["c_id"], messages.c.created_at <= row["at"]
    )
    found = await c.execute(select(*_M).where(by_then).order_by(messages.c.seq))
    return [_message(each) for each in found.mappings()]


def _message(row: RowMapping) -> ToldMessage:
    return ToldMessage(
        id=row["m_id"],
        direction=row["m_direction"],
        kind=row["m_kind"],
        text=row["m_text"],
        media=row["m_media"],
        state=row["m_state"],
        segments=row["m_segments"],
        error_code=row["m_error_code"],
        error=row["m_error"],
        reason=row["m_drop_reason"] or row["m_note"],
        carrier_message_id=row["m_carrier_message_id"],
        created_at=row["m_created_at"],
        sent_at=row["m_sent_at"],
        delivered_at=row["m_delivered_at"],
        failed_at=row["m_failed_at"],
    )


def _conversation(row: RowMapping) -> ToldConversation:
    return ToldConversation(
        id=row["c_id"],
        project_id=row["c_project_id"],
        connector_id=row["c_connector_id"],
        agent_id=row["c_agent_id"],
        agent_version=row["c_agent_version"],
        agent_extra=row["agent_extra"] or {},
        agent_number=row["c_agent_number"],
        user_number=row["c_user_number"],
        state=row["c_state"],
        reason=row["c_reason"],
        why_handed_off=row["c_why_handed_off"],
        opened_at=row["c_opened_at"],
        active_at=row["c_active_at"],
        closed_at=row["c_closed_at"],
        objective=row["c_objective"],
        metadata=row["c_metadata"],
        variables=row["c_variables"],
        start_node=row["c_start_node"],
        engine_state=row["c_engine_state"],
        analysis=row["c_analysis"],
        is_analysed=row["c_analysis"] is not None or row["c_analysis_due_at"] is not None,
        dialect=row["c_dialect"],
        extra=row["c_extra"],
        message_count=row["message_count"],
    )
