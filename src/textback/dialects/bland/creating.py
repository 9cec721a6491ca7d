"""What was said elsewhere: `POST /v1/sms/create`, and what its fields mean in our words.

https://docs.bland.ai/api-v1/post/sms-create. No HTTP, no database.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, JsonValue

from textback.core.commands import Accepted, AgentChoice, SendText
from textback.core.ids import AgentId
from textback.core.policy import MAX_TEXT
from textback.dialects.bland import sending, timeouts, wire
from textback.dialects.bland.sending import Conversing, Id, User, Version
from textback.dialects.bland.wire import Wrong

ROUTE: Final = "/v1/sms/create"

_SID: Final = re.compile(r"[\x21-\x7e]{1,64}")


class Create(Conversing):
    user_number: User
    message: Annotated[str, Field(max_length=MAX_TEXT, description="What was said.")]
    message_sid: Annotated[
        str | None,
        Field(description="Twilio's id of it. One that is known already is stored once."),
    ] = None
    sender: Annotated[Literal["USER", "AGENT"] | None, Field(description="USER, if absent.")] = None
    curr_pathway_id: Annotated[Id, Field(description="The id of one of your agents.")] = None
    curr_pathway_version: Version = None
    current_node_id: Id = None


def read(body: Mapping[str, Any]) -> Create:
    """Raises Wrong."""
    asked = wire.read(Create, body, timeouts.CODES)
    if not asked.message.strip():
        raise Wrong("MISSING_REQUIRED_FIELDS", "message is blank; give what was said.")
    if asked.message_sid and not _SID.fullmatch(asked.message_sid):
        raise Wrong("INVALID_REQUEST", "message_sid must be Twilio's id of the message.")
    return asked


def to_command(asked: Create, body: Mapping[str, Any], number: Mapping[str, Any]) -> SendText:
    """`number`: its sms_config, with which timeouts are merged. Raises Wrong."""
    named = asked.curr_pathway_id or None
    return SendText(
        user_number=asked.users_address(asked.user_number),
        text=asked.message,
        agent_number=asked.our_address(),
        thread="new" if asked.new_conversation else "resume",
        agent=AgentChoice(
            agent_id=None if named is None else AgentId(named),
            version=None if named is None else sending.version(asked.curr_pathway_version),
            start_node=asked.current_node_id or None,
        ),
        variables=asked.request_data or {},
        idle=timeouts.merged(timeouts.given(body), number),
        idle_if_new=timeouts.NEVER,
        dialect="bland",
    )


def answered(accepted: Accepted) -> JsonValue:
    shown = wire.shown_id(accepted.conversation_id)
    return {
        "message": "SMS conversation created successfully",
        "conversation_id": shown,
        "workflow_id": shown,
    }
