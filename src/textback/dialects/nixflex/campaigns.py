"""SMS campaigns: what is asked and what is shown. No HTTP, no database.

https://docs.nixflex.com/api-reference/sms/campaigns-create and its neighbours.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal, cast

from pydantic import ConfigDict, Field, WithJsonSchema

from textback.core.batch import MOST_ROWS, Row
from textback.core.policy import MAX_TEXT
from textback.db.plans import BatchRecord, PlannedSend, Progress
from textback.dialects.nixflex.reading import E164, Body, OurNumber, invalid, moment
from textback.dialects.nixflex.texts import AgentIdField, Context
from textback.dialects.nixflex.wire import Refused, when

_OURS, _THEIRS = "batch_", "smsc_"

Status = Literal["draft", "scheduled", "running", "done", "failed"]
STATUSES: Final[tuple[Status, ...]] = ("draft", "scheduled", "running", "done", "failed")

STATES: Final[Mapping[str, frozenset[str]]] = {
    "draft": frozenset({"draft"}),
    "scheduled": frozenset({"running", "paused"}),
    "running": frozenset({"running", "paused"}),
    "done": frozenset({"done"}),
    "failed": frozenset({"done"}),
}
"""Of batches: those that can have the status."""

_RECIPIENT: Final = {
    "type": "object",
    "properties": {
        "phone": {"type": "string", "pattern": E164, "description": "Also: phone_number."},
        "variables": {"type": "object", "description": "For {{placeholders}}."},
    },
    "required": ["phone"],
}
Recipients = Annotated[
    list[Any],
    Field(max_length=MOST_ROWS),
    WithJsonSchema({"type": "array", "items": _RECIPIENT, "minItems": 1, "maxItems": MOST_ROWS}),
]
ScheduleType = Annotated[
    str, WithJsonSchema({"type": "string", "enum": ["now", "schedule"], "default": "now"})
]
ScheduledAt = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]


class NewCampaign(Body):
    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "example": {
                "agent_id": "agent_125207e452f8714a",
                "from_number": "+447446466847",
                "name": "March promotion",
                "message_template": "Hi {{first_name}}, 20% off cleanings. Reply YES to book.",
                "recipients": [
                    {"phone": "+447111000001", "variables": {"first_name": "Sarah"}},
                    {"phone": "+447111000002", "variables": {"first_name": "James"}},
                ],
                "schedule_type": "now",
            }
        },
    )
    ALIASES: ClassVar[Mapping[str, str]] = {
        "message": "message_template",
        "body": "message_template",
    }
    TOO_LONG: ClassVar[Mapping[str, str]] = {
        "message_template": "message_too_long",
        "recipients": "too_many_recipients",
    }

    agent_id: AgentIdField
    from_number: OurNumber
    message_template: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_TEXT,
            description="With {{placeholders}}; one that a recipient has no variable for becomes"
            " nothing. Also: message, body.",
        ),
    ]
    recipients: Recipients
    name: Annotated[str | None, Field(max_length=200)] = None
    schedule_type: ScheduleType | None = None
    scheduled_at: Annotated[
        ScheduledAt | None, Field(description="When to launch, unless schedule_type is now.")
    ] = None
    context_prompt: Annotated[Context | None, Field(description="What the agent should know.")] = (
        None
    )
    reply_window_hours: Annotated[
        int | None, Field(ge=1, le=720, description="Ignored: every reply is answered.")
    ] = None

    def send_at(self, *, now: datetime, most: datetime) -> datetime | None:
        """None: now. Raises Refused."""
        if self.schedule_type not in {None, "now", "schedule"}:
            raise _schedule("schedule_type must be now or schedule.")
        found = None if self.scheduled_at is None else moment(self.scheduled_at)
        is_given = self.scheduled_at is not None or self.schedule_type == "schedule"
        if is_given and found is None:
            raise _schedule("scheduled_at must be a time in ISO 8601: 2026-05-20T09:00:00Z.")
        # Who gives a time alone wants it then: what goes out at once cannot be taken back.
        if self.schedule_type == "now" or found is None:
            return None
        if found <= now:
            raise _schedule("scheduled_at is over; give a time to come, or schedule_type now.")
        if found > most:
            raise _schedule("scheduled_at is too far ahead.")
        return found


def _schedule(sentence: str) -> Refused:
    return Refused("invalid_schedule", sentence)


def rows(recipients: Sequence[Any]) -> list[Row]:
    """One for each; what is wrong with one is its own. Raises Refused when there is none."""
    if not recipients:
        raise Refused("campaign_no_recipients", "recipients is empty.", field="recipients")
    return [_row(each) for each in recipients]


def _row(given: object) -> Row:
    if not isinstance(given, dict):
        return Row(to="", wrong="The recipient must be an object with a phone.")
    found = cast("dict[str, Any]", given)
    to = found.get("phone") or found.get("phone_number") or found.get("to")
    if not isinstance(to, str):
        return Row(to="", wrong="phone must be a string.")
    variables = found.get("variables")
    if variables is not None and not isinstance(variables, dict):
        return Row(to=to, wrong="variables must be an object.")
    return Row(to=to, variables=cast("dict[str, Any]", variables or {}))


# --- Names --------------------------------------------------------------------------------------


def campaign_id(batch_id: str) -> str:
    return _THEIRS + batch_id.removeprefix(_OURS)


def batch_id(raw: str) -> str:
    """Raises Refused for what no campaign is called."""
    if not re.fullmatch(_THEIRS + "[0-9a-z]{26}", raw):
        raise unknown(raw)
    return _OURS + raw.removeprefix(_THEIRS)


def unknown(raw: str) -> Refused:
    return Refused("campaign_not_found", "There is no campaign with this id.", campaign_id=raw[:80])


def completed(raw: str) -> Refused:
    return Refused("campaign_already_completed", "The campaign is over.", campaign_id=raw)


# --- What is shown ------------------------------------------------------------------------------


def status(batch: BatchRecord, progress: Progress, *, now: datetime) -> Status:
    """A paused one is running: there is no other word."""
    if batch.state == "draft":
        return "draft"
    if batch.state == "done":
        went_out = progress.sent + progress.delivered + progress.queued
        return "done" if went_out else "failed"
    waits = batch.send_at is not None and batch.send_at > now
    return "scheduled" if waits and not progress.accepted else "running"


def counts(batch: BatchRecord, progress: Progress) -> dict[str, int]:
    """As documented: sent and not confirmed is failed, so far."""
    unsent = progress.refused + progress.cancelled + progress.suppressed
    return {
        "total_count": batch.total,
        "delivered_count": progress.delivered,
        "failed_count": progress.failed + progress.sent + unsent,
        "pending_count": progress.planned + progress.queued,
    }


def shown(batch: BatchRecord, progress: Progress, *, now: datetime) -> dict[str, Any]:
    return {
        "campaign_id": campaign_id(batch.id),
        "name": batch.name,
        "agent_id": batch.agent_id,
        "from_number": batch.agent_number,
        "message_template": batch.text,
        "status": status(batch, progress, now=now),
        **counts(batch, progress),
        "source": "api",
        "scheduled_at": when(batch.send_at),
        "created_at": when(batch.created_at),
        "recipients_count": batch.total,
        "sent_count": progress.sent + progress.delivered,
    }


def launched(batch: BatchRecord, progress: Progress, *, now: datetime) -> dict[str, Any]:
    found = counts(batch, progress)
    return {
        "campaign_id": campaign_id(batch.id),
        "status": status(batch, progress, now=now),
        **found,
        "recipients_count": batch.total,
        "queued_count": found["pending_count"],
    }


_STATUS_OF: Final[Mapping[str | None, str]] = {
    "queued": "pending",
    "sending": "queued",
    "uncertain": "queued",
    "sent": "sent",
    "delivered": "delivered",
}


def recipient(row: PlannedSend) -> dict[str, Any]:
    """D35: a text that the carrier took and did not deliver is undelivered."""
    state, error = "failed", row.error or row.message_error
    if row.state == "planned":
        state = "pending"
    elif row.state == "accepted":
        undelivered = row.message_state == "failed" and row.carrier_message_id is not None
        state = "undelivered" if undelivered else _STATUS_OF.get(row.message_state, "failed")
        if row.message_state == "suppressed":
            error = "The recipient has opted out, or it was too late."
    elif row.state == "cancelled":
        error = "The campaign was cancelled."
    return {
        "phone": row.user_number,
        "variables": dict(row.variables),
        "status": state,
        "twilio_sid": row.carrier_message_id,
        "rendered_message": row.text if row.state != "refused" else None,
        "error_message": error,
        "sent_at": when(row.sent_at),
    }


def wanted_status(given: Mapping[str, str]) -> str | None:
    """Raises Refused."""
    found = given.get("status")
    if found is not None and found not in STATUSES:
        raise invalid("status", f"must be one of {', '.join(STATUSES)}")
    return found
