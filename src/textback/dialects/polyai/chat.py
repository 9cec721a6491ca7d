"""PolyAI's Chat API: what is asked and answered. No HTTP, no database.

https://docs.poly.ai/api-reference/chat/introduction
"""

from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from textback.core.errors import BadRequest, UnknownConversation
from textback.core.ids import ConversationId

PATH: Final = "/v1/{account_id}/{project_id}/chat"
MAX_BODY: Final = 64 * 1024
MAX_TEXT: Final = 4000
ID: Final = r"^conv_[0-9a-z]{26}$"

SECONDS: Final = 40.0
"""How long a client is kept waiting: longer than a turn of an agent usually takes."""


Asked = TypeVar("Asked", bound=BaseModel)


class _Asked(BaseModel):
    """Fields that are not known are ignored."""

    model_config = ConfigDict(strict=True)


class Create(_Asked):
    variant_id: Annotated[str | None, Field(description="Ignored: agents have no variants.")] = None
    integration_attributes: Annotated[
        dict[str, Any] | None, Field(description="For the agent: what `{{name}}` stands for.")
    ] = None
    channel: Annotated[str | None, Field(description="Ignored.")] = None
    asr_lang_code: Annotated[str | None, Field(description="Ignored: nobody speaks.")] = None
    tts_lang_code: Annotated[str | None, Field(description="Ignored: nobody speaks.")] = None


class Close(_Asked):
    conversation_id: Annotated[str, Field(pattern=ID)]


class Respond(Close):
    message: Annotated[
        str | None,
        Field(
            max_length=MAX_TEXT,
            description="What the user says; without it, the agent goes on by itself.",
        ),
    ] = None


class Created(BaseModel):
    conversation_id: str
    response: Annotated[str, Field(description="The agent's greeting; empty if it has none.")]


class HandOff(BaseModel):
    destination: str
    reason: str


class Responded(Created):
    end_conversation: bool
    handoff: HandOff | None = None


class Closed(BaseModel):
    success: bool


def create(body: dict[str, Any]) -> Create:
    """Raises BadRequest."""
    return _read(Create, body)


def respond(body: dict[str, Any]) -> Respond:
    """Raises BadRequest, UnknownConversation."""
    return _read(Respond, body)


def close(body: dict[str, Any]) -> Close:
    """Raises BadRequest, UnknownConversation."""
    return _read(Close, body)


def conversation_id(asked: Close) -> ConversationId:
    return ConversationId(asked.conversation_id)


def _read(model: type[Asked], body: dict[str, Any]) -> Asked:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        field = str(first["loc"][0])
        if first["type"] == "string_pattern_mismatch":
            raise UnknownConversation("There is no chat with that conversation_id.") from None
        raise BadRequest(f"{field}: {first['msg']}.") from None
