"""What became of a conversation, in our own shapes."""

from collections.abc import Mapping
from typing import Any, Literal, cast

from textback.core.conversation import NAMES, Closed, Conversation, HandedOff
from textback.db.reads import ConversationRecord, HandOffRecord, MessageRecord, WholeRecord
from textback.dialects.native import wire
from textback.dialects.native.wire import State
from textback.flows.hand import Done
from textback.flows.say import Said


def handed_off(done: Done) -> wire.HandedOff:
    after = cast("HandedOff", done.after)
    return wire.HandedOff(
        conversation_id=after.id,
        state=state_of(after),
        reason=after.why,
        handed_off_at=after.handed_off_at,
        already_handed_off=not done.changed,
    )


def resumed(done: Done) -> wire.Resumed:
    return wire.Resumed(
        conversation_id=done.after.id,
        state=state_of(done.after),
        message_id=done.message_id,
        answers=done.answers,
    )


def queued(said: Said) -> wire.Queued:
    return wire.Queued(
        message_id=said.message_id,
        conversation_id=said.conversation.id,
        state=state_of(said.conversation),
    )


def ended(done: Done) -> wire.Ended:
    after = cast("Closed", done.after)
    return wire.Ended(
        conversation_id=after.id,
        state=state_of(after),
        reason=after.reason,
        already_closed=not done.changed,
    )


def state_of(c: Conversation) -> State:
    return cast("State", NAMES[type(c)])


def item(c: ConversationRecord) -> wire.ConversationItem:
    return wire.ConversationItem(**_fields(c))


def conversation(found: WholeRecord) -> wire.Conversation:
    c = found.conversation
    return wire.Conversation(
        **_fields(c),
        variables=dict(c.variables),
        hand_off=_held_by(found.hand_off),
        tool_calls=found.tool_calls,
        analysis=None if c.analysis is None else dict(c.analysis),
        messages=[text(m) for m in found.messages],
    )


def _fields(c: ConversationRecord) -> dict[str, Any]:
    return {
        "id": c.id,
        "state": c.state,
        "reason": c.reason,
        "project_id": c.project_id,
        "connector_id": c.connector_id,
        "agent": wire.Agent(id=c.agent_id, version=c.agent_version),
        "agent_number": c.agent_number,
        "user_number": c.user_number,
        "dialect": c.dialect,
        "objective": c.objective,
        "metadata": dict(c.metadata),
        "message_count": c.message_count,
        "last_text": c.last_text,
        "opened_at": c.opened_at,
        "last_activity_at": c.last_activity_at,
        "deadline_at": c.deadline_at,
        "paused_until": c.paused_until,
        "closed_at": c.closed_at,
    }


def _held_by(found: HandOffRecord | None) -> wire.HeldBy | None:
    if found is None:
        return None
    return wire.HeldBy(at=found.at, reason=found.reason, by=found.by, metadata=dict(found.metadata))


_ROLES: Mapping[str, Literal["agent", "person"]] = {"person": "person"}


def text(m: MessageRecord) -> wire.Text:
    return wire.Text(
        id=m.id,
        role="user" if m.direction == "inbound" else _ROLES.get(m.kind, "agent"),
        kind=m.kind,
        text=m.text,
        media=[dict(each) for each in m.media],
        state=m.state,
        segments=m.segments,
        reason=m.reason,
        error_code=m.error_code,
        created_at=m.created_at,
    )
