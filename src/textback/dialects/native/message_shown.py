"""Texts as our own routes show them, also those that are only planned. No HTTP."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from textback.core import carrier_codes
from textback.core.commands import Planned
from textback.core.ids import MessageId, as_the_carriers, by_hand, on_record
from textback.db.message_reads import MessageStory
from textback.db.plans import PlannedSend
from textback.db.reads import MessageRecord
from textback.dialects.native import message_wire as wire


def message(m: MessageRecord) -> wire.Message:
    return wire.Message(**_fields(m, None))


def story(found: MessageStory, plan: PlannedSend | None) -> wire.MessageStory:
    m = found.message
    timeline = [] if plan is None else [_planned(plan)]
    if m.direction == "outbound":
        timeline.append(_moment("accepted", m.created_at, {}))
    timeline += [_moment(each.kind, each.at, each.data) for each in found.moments]
    return wire.MessageStory(**_fields(m, plan), timeline=timeline)


def planned(plan: PlannedSend) -> wire.MessageStory:
    """One that is no text yet, or never became one."""
    timeline = [_planned(plan)]
    if plan.ended_at is not None:
        detail = {} if plan.error is None else {"problem": plan.problem, "reason": plan.error}
        timeline.append(_moment(plan.state, plan.ended_at, detail))
    return wire.MessageStory(
        id=plan.id,
        conversation_id=plan.conversation_id,
        project_id=plan.project_id,
        direction="outbound",
        kind="opener",
        from_=plan.agent_number,
        to=plan.user_number,
        text=plan.text,
        media=[],
        template=None,
        state=cast("wire.State", plan.state),
        reason=plan.error,
        error=None,
        planned_for=plan.planned_for,
        why_planned=_why(plan),
        segments=None,
        segments_saved=0,
        attempts=0,
        carrier_message_id=None,
        created_at=plan.created_at,
        sent_at=None,
        delivered_at=None,
        failed_at=None,
        valid_until=None,
        timeline=timeline,
    )


def _fields(m: MessageRecord, plan: PlannedSend | None) -> dict[str, Any]:
    inbound = m.direction == "inbound"
    is_promise = m.state == "queued" and not m.text
    return {
        "id": m.id,
        "conversation_id": m.conversation_id,
        "project_id": m.project_id,
        "direction": m.direction,
        "kind": m.kind,
        "from_": m.user_number if inbound else m.agent_number,
        "to": m.agent_number if inbound else m.user_number,
        "text": None if is_promise else m.text,
        "media": [dict(each) for each in m.media],
        "template": None if m.template is None else dict(m.template),
        "state": "promised" if is_promise else m.state,
        "reason": m.reason,
        "error": _error(m),
        "planned_for": None,
        "why_planned": None if plan is None else _why(plan),
        "segments": m.segments,
        "segments_saved": m.segments_saved,
        "attempts": m.attempts,
        "carrier_message_id": _carriers_id(m),
        "created_at": m.created_at,
        "sent_at": m.sent_at,
        "delivered_at": m.delivered_at,
        "failed_at": m.failed_at,
        "valid_until": m.expires_at,
    }


def _carriers_id(m: MessageRecord) -> str | None:
    """None also where it is known that the text was said, and not as what."""
    given = m.carrier_message_id
    if given is None or given in {by_hand(MessageId(m.id)), on_record(m.id)}:
        return None
    return as_the_carriers(given)


def _error(m: MessageRecord) -> wire.CarrierError | None:
    if m.error_code is None:
        return None
    means = carrier_codes.meaning(m.error_code)
    return wire.CarrierError(
        code=m.error_code,
        meaning=means.sentence,
        what_to_do=means.advice,
        more=means.page,
        reason=m.error,
    )


def _planned(plan: PlannedSend) -> wire.Moment_:
    return _moment("planned", plan.created_at, {} if plan.why is None else {"why": plan.why})


def _moment(state: str, at: datetime, detail: Mapping[str, Any]) -> wire.Moment_:
    return wire.Moment_(state=state, at=at, detail=dict(detail))


def _why(plan: PlannedSend) -> Planned | None:
    return cast("Planned | None", plan.why)
