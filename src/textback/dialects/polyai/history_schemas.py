"""The two shapes of a conversation, as the document describes them.

https://docs.poly.ai/api-reference/conversations/introduction
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

_NONE = "Always empty: only speech has it."


def _sometimes(description: str) -> Any:  # noqa: ANN401 - as pydantic's own
    """It is left out where there is none."""
    return Field(0, description=description, json_schema_extra=_without_default)


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]


class Turn(BaseModel):
    """What the user said, and what was answered; an opener answers nothing."""

    user_input: str
    user_input_dtmf: Annotated[str, Field(description=_NONE)]
    user_input_datetime: Annotated[str, Field(description="ISO 8601; empty in an opener.")]
    agent_response: str
    agent_response_datetime: Annotated[str, Field(description="ISO 8601; empty without an answer.")]
    translated_user_input: Annotated[str, Field(description=_NONE)]
    english_agent_response: Annotated[str, Field(description=_NONE)]
    intents: Annotated[list[str], Field(description=_NONE)]
    entities: Annotated[list[dict[str, Any]], Field(description=_NONE)]
    is_ood: bool
    is_silence: bool
    latency: float = _sometimes("Seconds that the answer took; only where there is one.")


class Listed(BaseModel):
    id: Annotated[str, Field(description="With TW_SMS_ before it, but for a chat's.")]
    account_id: str
    project_id: str
    variant_id: Annotated[str, Field(description="Always empty.")]
    variant_name: Annotated[str, Field(description="Always empty.")]
    environment: Annotated[str, Field(description="dev, sandbox, pre-release or live.")]
    started_at: Annotated[str, Field(description="ISO 8601.")]
    channel: Annotated[str, Field(description="SMS, RCS, WHATSAPP or CHAT.")]
    from_number: Annotated[str, Field(description="Who said the first word; empty in a chat.")]
    to_number: Annotated[str, Field(description="To whom; empty in a chat.")]
    in_progress: bool
    num_turns: int
    total_duration: Annotated[int, Field(description="Seconds.")]
    polyai_duration: Annotated[int, Field(description="Seconds, until a person took over.")]
    handoff: bool
    handoff_reason: str
    handoff_destination: Annotated[str, Field(description="Always empty.")]
    num_silences: int
    num_ood: int
    metrics: Annotated[dict[str, str], Field(description="What the analysis at the end found.")]
    state: Annotated[dict[str, Any], Field(description="The variables.")]
    turns: list[Turn]


class Page(BaseModel):
    conversations: list[Listed]
    cursor: Annotated[str | None, Field(description="For the next page; null: this is the last.")]
    next_offset: int = _sometimes("For the next page; if there is one, and no cursor was sent.")


class _Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class CamelTurn(Turn, _Camel):
    pass


class Detailed(_Camel):
    conversation_id: Annotated[str, Field(description="With TW_SMS_ before it, but for a chat's.")]
    account_id: str
    project_id: str
    created_at: Annotated[str, Field(description="ISO 8601.")]
    started_at: Annotated[str, Field(description="ISO 8601.")]
    finished_at: Annotated[str | None, Field(description="ISO 8601; null while in progress.")]
    channel: Annotated[str, Field(description="SMS, RCS, WHATSAPP or CHAT.")]
    from_number: Annotated[str, Field(description="Who said the first word; empty in a chat.")]
    to_number: Annotated[str, Field(description="To whom; empty in a chat.")]
    direction: Annotated[str, Field(description="INBOUND or OUTBOUND.")]
    client_env: Annotated[str, Field(description="dev, sandbox, pre-release or live.")]
    in_progress: bool
    handoff: bool
    handoff_reason: str
    handoff_destination: Annotated[str, Field(description="Always empty.")]
    tags: Annotated[list[str], Field(description="Always empty.")]
    short_summary: Annotated[str, Field(description="By the analysis at the end.")]
    turns: list[CamelTurn]
