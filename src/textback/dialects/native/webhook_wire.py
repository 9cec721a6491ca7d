"""Our own shapes for webhooks: what is asked, and what is answered. No HTTP."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from textback.core.webhook import LONGEST_URL
from textback.dialects.native.events import PUBLIC
from textback.dialects.native.fields import Moment, Whole
from textback.dialects.native.paging import Query

ID: Final = r"^[0-9A-Za-z][0-9A-Za-z._:-]{0,127}$"
"""`whe_...`, or what the provisioning file calls it."""
DELIVERY: Final = r"^dlv_[1-9][0-9]{0,17}$"
LONGEST_POLL: Final = 25
MOST_POLLED: Final = 100

State = Literal["active", "paused"]
DeliveryState = Literal["waiting", "delivering", "delivered", "failed", "skipped"]
EndedState = Literal["delivered", "failed", "skipped"]


def _asked(**example: JsonValue) -> ConfigDict:
    return ConfigDict(strict=True, extra="forbid", json_schema_extra={"example": example})


def _is_public(kinds: list[str]) -> list[str]:
    for each in kinds:
        if each not in PUBLIC:
            raise ValueError(f'names no event: "{each[:60]}"; there are {", ".join(PUBLIC)}')
    return kinds


def _apart(value: object) -> object:
    """A query's list is one text, with commas."""
    return value.split(",") if isinstance(value, str) else value


Kinds = Annotated[
    list[str],
    AfterValidator(_is_public),
    Field(max_length=len(PUBLIC), description="Which events; empty: all that the format can tell."),
]
Url = Annotated[
    str | None,
    Field(
        max_length=LONGEST_URL,
        description="Where events are posted, https; null: they are fetched with GET .../poll.",
    ),
]
Description = Annotated[str | None, Field(max_length=500, description="Yours.")]
Secret = Annotated[
    str | None,
    Field(max_length=200, description="`whsec_` and base64 of 24 to 64 bytes; null: we make one."),
]
Format = Annotated[
    str,
    Field(
        min_length=1,
        max_length=40,
        description="In whose shape: native, or a dialect's; without a url native alone.",
    ),
]


# --- What is asked ------------------------------------------------------------------------------


class Create(BaseModel):
    model_config = _asked(
        url="https://example.com/hooks/sms", kinds=["message.delivered", "message.failed"]
    )

    url: Url = None
    kinds: Kinds = []
    format: Format = "native"
    project: Annotated[
        str | None, Field(max_length=200, description="Of this project alone; null: of all.")
    ] = None
    conversation: Annotated[
        str | None, Field(max_length=200, description="Of this conversation alone.")
    ] = None
    description: Description = None
    secret: Secret = None
    temporary: Annotated[
        bool,
        Field(description="Without a url only: removed once it was not polled for an hour."),
    ] = False


class Change(BaseModel):
    model_config = _asked(kinds=["message.failed"], description="Only what went wrong.")

    url: Url = None
    kinds: Kinds = []
    format: Format = "native"
    description: Description = None


class Rotate(BaseModel):
    model_config = _asked(grace_seconds=3600)

    secret: Secret = None
    grace_seconds: Annotated[
        int,
        Field(
            ge=0,
            le=7 * 86_400,
            description="For how long the secret before signs as well: both are in the header.",
        ),
    ] = 86_400


class Pause(BaseModel):
    model_config = _asked(reason="The receiver is moved.")

    reason: Annotated[str | None, Field(min_length=1, max_length=500)] = None


class ReplayAll(BaseModel):
    model_config = _asked(since="2027-01-31T12:00:00Z", states=["failed"])

    since: Annotated[Moment, Field(description="Deliveries written from then on.")]
    states: Annotated[
        list[EndedState], Field(min_length=1, max_length=3, description="As they ended.")
    ] = ["failed"]


class Nothing(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class Deliveries(Query):
    state: Annotated[
        list[DeliveryState],
        BeforeValidator(_apart),
        Field(
            default_factory=list[DeliveryState],
            max_length=5,
            description="One or more, with commas between them.",
        ),
    ]


class Poll(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    wait: Annotated[
        Whole, Field(ge=0, le=LONGEST_POLL, description="Seconds to wait for an event.")
    ] = 0
    after: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=20,
            description="`next` of the answer before: all in it has arrived, and is done. Without "
            "it, the same comes again.",
        ),
    ] = None
    limit: Annotated[Whole, Field(ge=1, le=MOST_POLLED)] = MOST_POLLED


class Events(Query):
    type: Annotated[
        list[str],
        BeforeValidator(_apart),
        AfterValidator(_is_public),
        Field(
            default_factory=list[str],
            max_length=len(PUBLIC),
            description="One or more, with commas between them.",
        ),
    ]
    conversation: Annotated[str | None, Field(max_length=200)] = None
    message: Annotated[str | None, Field(max_length=200)] = None


# --- What is answered ---------------------------------------------------------------------------


class Webhook(BaseModel):
    id: str
    url: Annotated[str | None, Field(description="null: it is polled.")]
    kinds: list[str]
    format: str
    project: str | None
    conversation: str | None
    description: str | None
    state: State
    reason: Annotated[str | None, Field(description="Why it is paused.")]
    paused_at: datetime | None
    failures: Annotated[int, Field(description="In a row, up to now.")]
    failing_since: datetime | None
    created_at: datetime
    secrets: Annotated[
        int, Field(description="How many of its own there are; none: the account's signs.")
    ]
    source: Annotated[
        Literal["file", "api"], Field(description="What is in the provisioning file stays in it.")
    ]


class WithSecret(Webhook):
    secret: Annotated[str, Field(description="Shown this once.")]


class WithQueue(Webhook):
    waiting: Annotated[int, Field(description="Deliveries that are not done; counted to 10,000.")]


class Removed(BaseModel):
    id: str
    removed: Literal[True] = True


class Queued(BaseModel):
    delivery_id: str


class ManyQueued(BaseModel):
    replayed: int
    more: Annotated[bool, Field(description="There may be more: ask again.")]


class Delivery(BaseModel):
    id: str
    webhook_id: str
    event_id: Annotated[str, Field(description="The webhook-id header.")]
    type: str | None
    conversation_id: str | None
    message_id: str | None
    state: DeliveryState
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None
    ended_at: datetime | None


class Attempt(BaseModel):
    number: int
    at: datetime
    status: Annotated[int | None, Field(description="Of the answer, if there was one.")]
    milliseconds: int
    error: Annotated[str | None, Field(description="Why there was no answer.")]
    answer: Annotated[str | None, Field(description="Its beginning.")]


class WholeDelivery(Delivery):
    body: Annotated[str | None, Field(description="What every attempt posts, once it is written.")]
    tries: list[Attempt]


class Event(BaseModel):
    id: Annotated[str, Field(description="The same wherever the event is told of.")]
    type: str
    timestamp: str
    data: dict[str, Any]


class Polled(BaseModel):
    data: list[Event]
    next: Annotated[str | None, Field(description="Give it as `after`: then these have arrived.")]
