"""Our own shapes: what is asked, what is answered, and the problems (RFC 9457). No HTTP."""

import re
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from textback.core import errors
from textback.core.policy import MAX_TEXT

LIST = "/v1/conversations"
ROUTE = LIST + "/{conversation_id}"
ID = r"^conv_[0-9a-z]{26}$"

MAX_BODY = 64 * 1024
MAX_KEY = 255
MAX_REASON = 500


STATUS: Mapping[type[errors.Refusal], int] = {
    errors.BadRequest: 400,
    errors.UnknownAgent: 400,
    errors.NothingToSay: 400,
    errors.NumberNotProvisioned: 400,
    errors.BadKey: 401,
    errors.MissingScope: 403,
    errors.WrongAccount: 403,
    errors.OptedOut: 403,
    errors.UnknownConnector: 404,
    errors.UnknownResource: 404,
    errors.NoNumber: 404,
    errors.UnknownConversation: 404,
    errors.Conflict: 409,
    errors.KeyReused: 409,
    errors.WrongState: 409,
    errors.TooLarge: 413,
    errors.RateLimited: 429,
    errors.Unavailable: 503,
}


# --- What is asked ------------------------------------------------------------------------------


def _asked(**example: JsonValue) -> ConfigDict:
    # A field that we do not know is most often a mistyped one that we do.
    return ConfigDict(strict=True, extra="forbid", json_schema_extra={"example": example})


Reason = Annotated[str | None, Field(min_length=1, max_length=MAX_REASON)]


class HandOff(BaseModel):
    model_config = _asked(
        reason="The user asks for a refund.", metadata={"ticket": "T-1042", "queue": "billing"}
    )

    reason: Reason = None
    metadata: Annotated[
        dict[str, Any] | None,
        Field(description="Yours: told with the hand-off to whoever takes the conversation over."),
    ] = None


class Message(BaseModel):
    model_config = _asked(text="Bob from billing here. I have just refunded it.", sender="person")

    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
    sender: Annotated[
        Literal["person", "agent"], Field(description="Who says it, for the agent to know later.")
    ] = "person"


class Resume(BaseModel):
    model_config = _asked(reply=True)

    message: Annotated[
        str | None,
        Field(min_length=1, max_length=MAX_TEXT, description="What the agent says to begin with."),
    ] = None
    reply: Annotated[
        bool,
        Field(
            description="The agent answers now what the user said since our last text, or goes on "
            "by itself. Not together with message."
        ),
    ] = False
    node: Annotated[
        str | None,
        Field(min_length=1, max_length=200, description="Where the agent's flow goes on."),
    ] = None


class End(BaseModel):
    model_config = _asked(reason="Settled by phone.")

    reason: Reason = None


# --- What is answered ---------------------------------------------------------------------------

State = Literal["opened", "engaged", "warned", "paused", "handed_off", "closed"]


class HandedOff(BaseModel):
    conversation_id: str
    state: State
    reason: Annotated[str, Field(description="Why it was handed off.")]
    handed_off_at: datetime
    already_handed_off: Annotated[
        bool, Field(description="A person had it before; then nothing was changed.")
    ]


class Resumed(BaseModel):
    conversation_id: str
    state: State
    message_id: Annotated[str | None, Field(description="Of the message, if one was given.")]
    answers: Annotated[int, Field(description="How many texts the agent answers now.", ge=0)]


class Queued(BaseModel):
    message_id: str
    conversation_id: str
    state: State


class Ended(BaseModel):
    conversation_id: str
    state: State
    reason: Annotated[str, Field(description="Why it is closed: operator, if by this route.")]
    already_closed: Annotated[bool, Field(description="Then nothing was changed.")]


class Agent(BaseModel):
    id: str
    version: int


class HeldBy(BaseModel):
    at: datetime
    reason: str
    by: Annotated[str | None, Field(description="agent, caller or operator.")]
    metadata: dict[str, Any]


class Text(BaseModel):
    id: str
    role: Literal["user", "agent", "person"]
    kind: str
    text: str
    media: list[dict[str, str]]
    state: str
    segments: int | None
    reason: Annotated[
        str | None, Field(description="Why it was not sent, or is kept without an answer.")
    ]
    error_code: Annotated[str | None, Field(description="The carrier's.")]
    created_at: datetime


class ConversationItem(BaseModel):
    id: str
    state: State
    reason: Annotated[str | None, Field(description="Why it is closed.")]
    project_id: str
    connector_id: str | None
    agent: Agent
    agent_number: str
    user_number: str
    dialect: Annotated[
        str | None, Field(description="It was opened through; null: the user opened it.")
    ]
    objective: str | None
    metadata: Annotated[dict[str, Any], Field(description="Yours, from the send.")]
    message_count: Annotated[int, Field(ge=0)]
    last_text: Annotated[str | None, Field(description="What was said last, by either side.")]
    opened_at: datetime
    last_activity_at: datetime
    deadline_at: Annotated[
        datetime | None, Field(description="When silence changes it next, if it does.")
    ]
    paused_until: datetime | None
    closed_at: datetime | None


class Conversation(ConversationItem):
    variables: dict[str, Any]
    hand_off: Annotated[HeldBy | None, Field(description="While a person has it.")]
    tool_calls: Annotated[int, Field(description="How many the agent made.", ge=0)]
    analysis: Annotated[dict[str, Any] | None, Field(description="What was made of it at its end.")]
    messages: Annotated[
        list[Text],
        Field(description="The latest 200, oldest first; all are at .../messages."),
    ]


class Erased(BaseModel):
    id: str
    erased: Literal[True] = True


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: Annotated[str, Field(description="One sentence that says what to change.")]


def fault(status: int, sentence: str) -> Problem:
    """Of a path as such: the status says all there is to say (RFC 9457, 4.2.1)."""
    return Problem(
        type="about:blank", title=HTTPStatus(status).phrase, status=status, detail=sentence
    )


def problem(refusal: errors.Refusal) -> Problem:
    name = type(refusal).__name__
    return Problem(
        type=problem_type(name),
        title=" ".join(_words(name)).capitalize(),
        status=STATUS[type(refusal)],
        detail=refusal.sentence,
    )


def problem_type(refusal: str) -> str:
    """Of the refusal with that name."""
    return "urn:textback:problem:" + "-".join(_words(refusal)).lower()


def _words(name: str) -> list[str]:
    return re.findall(r"[A-Z][a-z]*", name)
