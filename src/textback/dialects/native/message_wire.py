"""Our own shapes of single texts: a send, its answer, and what became of it. No HTTP."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from textback.core.commands import Planned
from textback.core.policy import Environment
from textback.core.webhook import LONGEST_URL
from textback.dialects.native.fields import (
    AgentNumber,
    Json,
    Moment,
    Name,
    Recipient,
    Said,
    UserNumber,
    Version,
)
from textback.dialects.native.paging import Query

ROUTE = "/v1/messages"
ID = r"^msg_[0-9a-z]{26}$"

_LONGEST_SECONDS = 315_360_000  # ten years, as in the provisioning file
_LONGEST_VALIDITY = 7 * 24 * 3600
_MOST_VARIABLES = 100

Seconds = Annotated[int, Field(ge=1, le=_LONGEST_SECONDS)]


class _Strict(BaseModel):
    # A field that we do not know is most often a mistyped one that we do.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


# --- A send -------------------------------------------------------------------------------------


class Agent(_Strict):
    id: Annotated[Name | None, Field(description="Else the number's, or the project's.")] = None
    version: Version = None
    start_node: Annotated[Name | None, Field(description="Where the agent's flow begins.")] = None


class Template(_Strict):
    content_sid: Annotated[
        str,
        Field(pattern="^HX[0-9a-fA-F]{32}$", description="Of Twilio's Content API."),
    ]
    variables: Annotated[
        dict[str, str], Field(max_length=_MOST_VARIABLES, description='By place, from "1".')
    ] = {}


class Inactivity(_Strict):
    """What is left out is as the project has it."""

    warn_after_seconds: Annotated[
        Seconds | None, Field(description="Silence after which the user is asked; null: never.")
    ] = None
    close_after_seconds: Annotated[
        Seconds, Field(description="Silence after the warning that closes.")
    ] = 600
    unanswered_after_seconds: Annotated[
        Seconds | None,
        Field(description="After which it closes if the user never replied; null: never."),
    ] = None
    end_after_seconds: Annotated[
        Seconds | None,
        Field(description="Where nobody is warned: silence that closes; null: none does."),
    ] = None
    warning: Annotated[Said | None, Field(description="null: warned without a word.")] = None
    closing: Annotated[Said | None, Field(description="null: closed without a word.")] = None
    also_unanswered: Annotated[
        bool, Field(description="Warn and close also where the user never replied.")
    ] = False


class Send(_Strict):
    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "example": {
                "to": "+14155550123",
                "text": "Hi Ann, is 3pm tomorrow still good?",
                "project": "reminders",
                "metadata": {"appointment": "A-17"},
            }
        },
    )

    to: Recipient
    text: Annotated[
        Said | None,
        Field(
            description="Left out: the agent's greeting, or the agent writes. With a template: "
            "what that says, for the transcript."
        ),
    ] = None
    from_: Annotated[
        AgentNumber | None,
        Field(alias="from", description="One of your numbers; else one is picked."),
    ] = None
    project: Name | None = None
    connector: Annotated[Name | None, Field(description="Instead of project.")] = None
    environment: Annotated[
        Environment | None,
        Field(
            description="Of the numbers to pick from, with project. Left out: live, or the one "
            "that all of its numbers have."
        ),
    ] = None
    conversation: Annotated[
        Literal["new", "resume"],
        Field(description="new: closes what the two numbers had. resume: goes on with it."),
    ] = "new"
    agent: Agent | None = None
    objective: Annotated[
        str | None,
        Field(min_length=1, max_length=4000, description="For the agent to pursue."),
    ] = None
    variables: Annotated[Json | None, Field(description="What {{name}} in prompts is.")] = None
    metadata: Annotated[Json | None, Field(description="Yours: echoed, up to 16 KB.")] = None
    channel: Annotated[
        Literal["sms", "whatsapp", "rcs"] | None,
        Field(description="Else as `to` says it: whatsapp:+1..., rcs:+1..., or SMS."),
    ] = None
    messaging_service_sid: Annotated[
        str | None,
        Field(pattern="^MG[0-9a-fA-F]{32}$", description="For RCS: instead of from."),
    ] = None
    template: Template | None = None
    send_at: Annotated[Moment | None, Field(description="Not before; at most 90 days ahead.")] = (
        None
    )
    quiet_hours: Annotated[
        Literal["hold", "ignore"],
        Field(description="Whether the project's quiet hours hold it."),
    ] = "hold"
    validity_seconds: Annotated[
        int | None,
        Field(ge=1, le=_LONGEST_VALIDITY, description="Not sent by then, it is dropped."),
    ] = None
    inactivity: Inactivity | None = None
    webhook: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=LONGEST_URL,
            description="Where this conversation's events are posted, beside your endpoints.",
        ),
    ] = None
    if_opted_out: Annotated[
        Literal["suppress", "refuse"],
        Field(description="suppress: 202, on record, never sent. refuse: 403."),
    ] = "suppress"

    @model_validator(mode="after")
    def _agree(self) -> "Send":
        if self.project is not None and self.connector is not None:
            raise ValueError("may have project or connector, not both")
        if self.environment is not None and self.connector is not None:
            raise ValueError("may have no environment beside connector, which has one")
        if self.from_ is not None and self.messaging_service_sid is not None:
            raise ValueError("may have from or messaging_service_sid, not both")
        return self


class Accepted(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    message_id: Annotated[
        str | None,
        Field(description="null: the agent goes on in its own words, in texts yet to be written."),
    ]
    conversation_id: str
    state: Annotated[
        Literal["queued", "promised", "suppressed", "planned"],
        Field(
            description="queued: it is on its way. promised: the agent is writing it. suppressed: "
            "the user has opted out, and it is not sent. planned: it is held until planned_for."
        ),
    ]
    from_: Annotated[str | None, Field(alias="from", description="null: picked when it is due.")]
    to: str
    resumed: Annotated[bool, Field(description="The conversation was there before.")]
    planned_for: datetime | None


# --- What became of it --------------------------------------------------------------------------

State = Literal[
    "planned",
    "refused",
    "cancelled",
    "promised",
    "received",
    "queued",
    "sending",
    "uncertain",
    "sent",
    "delivered",
    "failed",
    "suppressed",
]
Stored = Literal[
    "received", "queued", "sending", "uncertain", "sent", "delivered", "failed", "suppressed"
]


class CarrierError(BaseModel):
    code: str
    meaning: Annotated[str, Field(description="In plain words.")]
    what_to_do: str
    more: Annotated[str | None, Field(description="The carrier's page on it.")]
    reason: Annotated[str | None, Field(description="In the carrier's words.")]


class Moment_(BaseModel):  # noqa: N801 - Moment is a field's type
    state: Annotated[
        str,
        Field(
            description="accepted, planned, promised, queued, sending, uncertain, unsettled, "
            "settled, sent, delivered, read, failed, suppressed, received, refused or cancelled."
        ),
    ]
    at: datetime
    detail: Annotated[dict[str, Any], Field(description="What else is known of it.")]


class Message(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    id: str
    conversation_id: str
    project_id: str
    direction: Literal["inbound", "outbound"]
    kind: str
    from_: Annotated[str | None, Field(alias="from")]
    to: str
    text: str | None
    media: list[dict[str, str]]
    template: dict[str, Any] | None
    state: State
    reason: Annotated[
        str | None, Field(description="Why it was not sent, or is kept without an answer.")
    ]
    error: CarrierError | None
    planned_for: datetime | None
    why_planned: Annotated[
        Planned | None,
        Field(description="Why it is not sent at once."),
    ]
    segments: int | None
    segments_saved: Annotated[int, Field(description="By writing smart punctuation plainly.")]
    attempts: Annotated[int, Field(description="Refusals of the carrier's that were tried again.")]
    carrier_message_id: str | None
    created_at: datetime
    sent_at: datetime | None
    delivered_at: datetime | None
    failed_at: datetime | None
    valid_until: Annotated[datetime | None, Field(description="Not sent by then, it is dropped.")]


class MessageStory(Message):
    timeline: Annotated[list[Moment_], Field(description="Oldest first.")]


class Messages(Query):
    """The filters of the list."""

    project: Name | None = None
    conversation: Annotated[str | None, Field(max_length=64)] = None
    direction: Literal["inbound", "outbound"] | None = None
    state: Stored | None = None
    user_number: UserNumber | None = None
    agent_number: AgentNumber | None = None
    error_code: Annotated[str | None, Field(max_length=64, description="The carrier's.")] = None
    since: Annotated[Moment | None, Field(description="Made then or later.")] = None
    until: Annotated[Moment | None, Field(description="Made before then.")] = None
    q: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=200,
            description='Words it has: all of them; "a phrase"; this or that; -not this.',
        ),
    ] = None
