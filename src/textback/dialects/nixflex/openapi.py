"""What the document says of each route: exactly what it does."""

from typing import Final

from textback.dialects.nixflex.accounts import MadeKey, NewKey
from textback.dialects.nixflex.agents import Agent, AgentFields
from textback.dialects.nixflex.describing import (
    LIST_OFFSET,
    WHOLE,
    in_path,
    limit,
    obj,
    query,
    route,
    schema,
)
from textback.dialects.nixflex.numbers import ImportNumber, OnePhoneNumber, PatchNumber, PhoneNumber
from textback.dialects.nixflex.texts import SendSms, Sent

_AGENT: Final = in_path("agent_id", "agent_125207e452f8714a")
_NUMBER: Final = in_path("phone_number", "+447446466847")
SEND = route(
    "nixflexSendSms",
    "Text somebody",
    "201 means that the text is stored and will be sent. The agent answers replies: in the"
    " conversation that the two numbers have, or a new one.",
    schema(Sent),
    SendSms,
    status=201,
    keyed=True,
    errors={
        400: "missing_field, invalid_phone_format, message_too_long, sms_not_supported_in_region,"
        " invalid_json, invalid_field.",
        403: "from_number_not_owned, agent_not_owned, outbound_disabled, permission_denied.",
        404: "agent_not_found.",
        409: "recipient_unsubscribed, idempotency_key_reused.",
    },
)

# --- Agents -------------------------------------------------------------------------------------

_NO_AGENT: Final = "agent_not_found."
_WRONG_AGENT: Final = "prompt_too_long, voicemail_message_required, invalid_json, invalid_field."

CREATE_AGENT = route(
    "nixflexCreateAgent",
    "Make an agent",
    "It runs as the account's agent_template does, with this prompt.",
    schema(Agent),
    AgentFields,
    status=201,
    errors={400: _WRONG_AGENT, 409: "conflict: the account has no agent_template."},
)
LIST_AGENTS = route(
    "nixflexListAgents",
    "Agents, the newest first",
    "A bare list, as the SDKs read it.",
    {"type": "array", "items": schema(Agent)},
    parameters=[limit(100, 200), LIST_OFFSET, query("is_active", "Only those.", type="boolean")],
    errors={400: "invalid_field."},
)
GET_AGENT = route(
    "nixflexGetAgent",
    "One agent",
    "With every field.",
    schema(Agent),
    parameters=[_AGENT],
    errors={404: _NO_AGENT},
)
UPDATE_AGENT = route(
    "nixflexUpdateAgent",
    "Change an agent",
    "Only what is given changes; names that are not known change nothing. Conversations that are"
    " live stay as they are.",
    schema(Agent),
    AgentFields,
    parameters=[_AGENT],
    errors={
        400: _WRONG_AGENT,
        404: _NO_AGENT,
        409: "conflict: what it says is in the provisioning file.",
    },
)
DELETE_AGENT = route(
    "nixflexDeleteAgent",
    "Delete an agent",
    "Its numbers answer nobody until they are given to another.",
    obj(agent_id={"type": "string"}, deleted={"type": "boolean"}),
    parameters=[_AGENT],
    errors={404: _NO_AGENT, 409: "conflict: something else needs it."},
)

# --- Phone numbers ------------------------------------------------------------------------------

_NO_NUMBER: Final = "number_not_found."

IMPORT_NUMBER = route(
    "nixflexImportNumber",
    "Import a number from Twilio",
    "Checks the credentials there, looks the number up, and lets its texts come here.",
    schema(OnePhoneNumber),
    ImportNumber,
    status=201,
    errors={
        400: "missing_field, invalid_phone_format, invalid_twilio_sid, custom_prompt_too_long,"
        " telnyx_not_supported, invalid_json, invalid_field, invalid_request.",
        401: "invalid_api_key, key_secret_required, twilio_invalid_credentials,"
        " twilio_auth_failed.",
        403: "agent_not_owned, permission_denied.",
        404: "agent_not_found, number_not_in_twilio.",
        409: "number_already_imported, twilio_account_taken.",
        502: "twilio_unreachable.",
    },
)
LIST_NUMBERS = route(
    "nixflexListNumbers",
    "Phone numbers, the newest first",
    "All of them, unless limit or offset is given.",
    obj(phone_numbers={"type": "array", "items": schema(PhoneNumber)}, count=WHOLE),
    parameters=[limit(1000, 1000), LIST_OFFSET, query("agent_id", "Only its.", type="string")],
    errors={400: "invalid_field."},
)
GET_NUMBER = route(
    "nixflexGetNumber",
    "One phone number",
    "With every field.",
    schema(OnePhoneNumber),
    parameters=[_NUMBER],
    errors={404: _NO_NUMBER},
)
UPDATE_NUMBER = route(
    "nixflexUpdateNumber",
    "Change a phone number",
    "Only what is given changes. Prompts count from the next conversation on.",
    schema(OnePhoneNumber),
    PatchNumber,
    parameters=[_NUMBER],
    errors={
        400: "missing_field, custom_prompt_too_long, sms_prompt_too_long,"
        " voicemail_message_required, invalid_json, invalid_field.",
        403: "agent_not_owned, permission_denied.",
        404: "number_not_found, agent_not_found.",
    },
)
DELETE_NUMBER = route(
    "nixflexDeleteNumber",
    "Give a phone number back",
    "Twilio keeps it, and its texts do not come here any more.",
    obj(phone_number=obj(phone_number={"type": "string"}, deleted={"type": "boolean"})),
    parameters=[_NUMBER],
    errors={404: _NO_NUMBER, 409: "conflict: it is in the provisioning file."},
)

# --- Keys ---------------------------------------------------------------------------------------

CREATE_KEY = route(
    "nixflexCreateKey",
    "Make a key",
    "Unlike Nixflex', it needs a key that may manage the account: this service is not anybody's.",
    schema(MadeKey),
    NewKey,
    status=201,
    errors={
        400: "invalid_json, invalid_field.",
        403: "permission_denied: there is no such key.",
    },
)
del CREATE_KEY["openapi_extra"]["responses"]["401"]
ROTATE_KEY = route(
    "nixflexRotateKey",
    "Change the secret of the key that asks",
    "The old one does not work any more.",
    schema(MadeKey),
    errors={409: "conflict: the key cannot be changed here."},
)
