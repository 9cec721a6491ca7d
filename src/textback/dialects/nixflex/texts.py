"""`POST /v1/sms`: the union of its three generations (D28 to D30). No HTTP, no database.

https://docs.nixflex.com/api-reference/sms/send; the fields of the SDKs and of May 2026 beside it.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field

from textback.core.commands import Accepted, AgentChoice, Idempotency, Notify, SendText
from textback.core.ids import AgentId
from textback.core.phone import Phone
from textback.core.policy import MAX_TEXT
from textback.dialects.nixflex.reading import LONGEST_CONTEXT, Body, Json, Number, OurNumber
from textback.dialects.nixflex.wire import made_at, when

DIALECT: Final = "nixflex"

Context = Annotated[str, Field(max_length=LONGEST_CONTEXT)]
AgentIdField = Annotated[str, Field(max_length=200, examples=["agent_125207e452f8714a"])]


class ReplyContext(BaseModel):
    model_config = ConfigDict(strict=True)

    reply_context: Annotated[
        Context | None, Field(description="What the agent should know for replies.")
    ] = None


class SendSms(Body):
    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "example": {
                "agent_id": "agent_125207e452f8714a",
                "to": "+447386172392",
                "from_number": "+447446466847",
                "message": "Reminder: your appointment is tomorrow at 2pm. Reply YES to confirm.",
            }
        },
    )
    ALIASES: ClassVar[Mapping[str, str]] = {"to_number": "to", "body": "message"}
    TOO_LONG: ClassVar[Mapping[str, str]] = {"message": "message_too_long"}

    agent_id: Annotated[AgentIdField, Field(description="Who answers replies.")]
    to: Annotated[Number, Field(description="The recipient. Also: to_number.")]
    message: Annotated[
        str, Field(min_length=1, max_length=MAX_TEXT, description="The text. Also: body.")
    ]
    from_number: Annotated[
        OurNumber | None,
        Field(description="One of your numbers; left out, the agent's own."),
    ] = None
    context: ReplyContext | None = None
    context_prompt: Annotated[
        Context | None, Field(description="As context.reply_context, in the words of May 2026.")
    ] = None
    metadata: Annotated[
        Json | None, Field(description="Yours: echoed where the text is told of.")
    ] = None


class Sent(BaseModel):
    """The first three are all that is documented; `sent` means accepted (D30)."""

    status: Annotated[str, Field(pattern="^sent$")] = "sent"
    to: str
    from_: Annotated[str, Field(serialization_alias="from")]
    message_id: str
    created_at: str


def to_command(
    sms: SendSms, sender: Phone, *, notify: Notify | None, idempotency: Idempotency | None
) -> SendText:
    context = sms.context.reply_context if sms.context is not None else None
    return SendText(
        user_number=Phone(sms.to),
        text=sms.message,
        agent_number=sender,
        thread="resume",
        agent=AgentChoice(agent_id=AgentId(sms.agent_id)),
        objective=context or sms.context_prompt or None,
        metadata=sms.metadata or {},
        notify=notify,
        refuses_opted_out=True,
        dialect=DIALECT,
        idempotency=idempotency,
    )


def sent(sms: SendSms, accepted: Accepted) -> dict[str, Any]:
    """In the documented order, and byte for byte when it is written without blanks."""
    if accepted.message_id is None or accepted.agent_number is None:
        msg = "a text with words has an id and a sender"
        raise ValueError(msg)
    answer = Sent(
        to=sms.to,
        from_=accepted.agent_number,
        message_id=accepted.message_id,
        created_at=when(made_at(accepted.message_id)) or "",
    )
    return answer.model_dump(by_alias=True)
