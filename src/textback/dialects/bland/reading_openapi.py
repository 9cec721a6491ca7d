"""What /openapi/bland.json says of conversations, as they are listed, read and analyzed."""

from typing import Final, get_args

from textback.core.phone import Channel
from textback.dialects.bland.openapi import ANYTHING, Schema, fields, maybe, text
from textback.dialects.bland.reading import Status

_OBJECT: Final[Schema] = {"type": "object"}
_WHOLE: Final[Schema] = {"type": "integer", "minimum": 0}
_ID: Final = text("The conversation's.", format="uuid")
_TIME: Final = text("In UTC.", format="date-time")
_CHANNEL: Final = text("The channel.", enum=list(get_args(Channel)))
_STATUS: Final = text("Null for the user's.", enum=[*get_args(Status), None])
_SENDER: Final = text("Who said it.", enum=["USER", "AGENT", "HUMAN"])


def _many(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_ITEM: Final[dict[str, Schema]] = {
    "id": _ID,
    "created_at": _TIME,
    "updated_at": _TIME,
    "user_number": text("The user's."),
    "agent_number": text("Yours."),
    "variables": _OBJECT,
    "current_node_id": maybe(text("The place in the agent's flow, or where it will begin.")),
    "curr_pathway_id": maybe(text("The agent.")),
    "is_active": {"type": "boolean"},
    "message_count": _WHOLE,
    "last_message": maybe(text("Of either side.")),
    "last_message_at": maybe(_TIME),
    "pathway_tags": _many(ANYTHING),
    "effective_channel": _CHANNEL,
    "summary": maybe(text("Found by the agent's analysis.")),
    "citation_variables": _OBJECT,
    "disposition_tag": maybe(text("The outcome that the agent's analysis found.")),
    "metadata": _OBJECT,
    "human_handoff_at": maybe(_TIME),
    "human_handoff_reason": maybe(text("Why a person has it.")),
}
_MESSAGE: Final = fields(
    id=text("Of the text."),
    created_at=_TIME,
    message=maybe(text("What was said.")),
    **{"from": text("Who sent it."), "to": text("Who got it.")},
    sender=_SENDER,
    status=maybe(_STATUS),
    error_code=maybe(text("The carrier's, or why it was not sent.")),
)
_DISPOSITION: Final = fields(
    disposition_id=maybe(text("The agent.")),
    snippet_version=maybe(_WHOLE),
    status=text("How it went.", enum=["COMPLETE", "ERROR"]),
    result=maybe(text("The outcome.")),
    error=maybe(text("What went wrong.")),
    exec_time={"type": "null"},
)
_ATTEMPT: Final = fields(
    sent_at=_TIME,
    response_code=maybe(_WHOLE),
    response_time=maybe(_WHOLE),
    send_type=text("Of what was posted: message or status."),
    error_message=maybe(text("Why there was no response.")),
)
_CITATION: Final = fields(
    variable=text("Its name."), message={"type": "null"}, confidence={"type": "null"}
)

LISTED: Final = fields(
    data=_many(fields(**_ITEM)),
    errors={"type": "null"},
    extra=fields(
        pagination=fields(totalItems=_WHOLE, totalPages=_WHOLE, currentPage=_WHOLE, pageSize=_WHOLE)
    ),
)
WHOLE: Final = fields(
    **_ITEM,
    user_id=text("The account."),
    inbound_id=text("The agent's number."),
    curr_pathway_version=maybe(_WHOLE),
    timed_out_at=maybe(_TIME),
    messages=_many(_MESSAGE),
    disposition_logs=_many(_DISPOSITION),
)
CHANGED: Final = fields(id=_ID, is_active={"type": "boolean"}, updated_at=_TIME)
DELIVERY: Final = maybe(
    fields(
        conversation_id=_ID,
        url=maybe(text("Where it was posted.")),
        payload={"type": ["object", "null"]},
        created_at=_TIME,
        user_id=text("The account."),
        metadata=_many(_ATTEMPT),
    )
)
ANALYZED: Final = fields(
    data=fields(
        status=text("How it went.", enum=["success", "error"]),
        conversation_id=_ID,
        schema_id=text("The agent."),
        schema_name=text("The agent."),
        variables_extracted=_WHOLE,
        extracted_variables=_OBJECT,
        citations=_many(_CITATION),
        messages_processed=_WHOLE,
    ),
    errors={"type": "array", "maxItems": 0},
)
