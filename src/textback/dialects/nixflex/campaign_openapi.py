"""What the document says of campaigns: exactly what their routes do."""

from typing import Any, Final

from textback.dialects.nixflex import campaigns, wire
from textback.dialects.nixflex.campaigns import NewCampaign
from textback.dialects.nixflex.describing import (
    LIST_OFFSET,
    WHOLE,
    in_path,
    limit,
    obj,
    query,
    route,
)

_CAMPAIGN: Final = in_path("campaign_id", "smsc_01kk2v5m7xq1t8c9d0e2f3g4h5")

_COUNTS: Final = dict.fromkeys(
    ("total_count", "delivered_count", "failed_count", "pending_count"), WHOLE
)
_TIME: Final = {"type": ["string", "null"]}
_TEXT: Final = {"type": ["string", "null"]}
_ONE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "campaign_id": {"type": "string"},
        "name": _TEXT,
        "agent_id": _TEXT,
        "from_number": _TEXT,
        "message_template": _TEXT,
        "status": {"type": "string", "enum": list(campaigns.STATUSES)},
        **_COUNTS,
        "source": {"type": "string"},
        "scheduled_at": _TIME,
        "created_at": _TIME,
        "recipients_count": WHOLE,
        "sent_count": WHOLE,
    },
    "required": ["campaign_id", "status", *_COUNTS],
}
_RECIPIENT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "phone": {"type": "string"},
        "variables": {"type": "object"},
        "status": {
            "type": "string",
            "enum": ["pending", "queued", "sent", "delivered", "undelivered", "failed"],
        },
        "twilio_sid": _TEXT,
        "rendered_message": _TEXT,
        "error_message": _TEXT,
        "sent_at": _TIME,
    },
    "required": ["phone", "status"],
}


_UNKNOWN: Final = "campaign_not_found."

CREATE_CAMPAIGN = route(
    "nixflexCreateCampaign",
    "Text many",
    "A recipient that is wrong is counted as failed, and stops no other; one named twice is texted"
    " once.",
    _ONE,
    NewCampaign,
    status=201,
    keyed=True,
    at_most=wire.MAX_CAMPAIGN,
    errors={
        400: "missing_field, invalid_phone_format, message_too_long, too_many_recipients,"
        " campaign_no_recipients, invalid_schedule, sms_not_supported_in_region, invalid_json,"
        " invalid_field, invalid_request.",
        403: "from_number_not_owned, agent_not_owned, outbound_disabled, permission_denied.",
        404: "agent_not_found.",
        409: "idempotency_key_reused.",
    },
)
LIST_CAMPAIGNS = route(
    "nixflexListCampaigns",
    "Campaigns, the newest first",
    "Without those that were deleted. count is that of all that match.",
    obj(campaigns={"type": "array", "items": _ONE}, count=WHOLE),
    parameters=[
        limit(25, 100),
        LIST_OFFSET,
        query("agent_id", "Only this agent's.", type="string"),
        query("status", "Only those.", type="string", enum=list(campaigns.STATUSES)),
    ],
    errors={400: "invalid_field."},
)
GET_CAMPAIGN = route(
    "nixflexGetCampaign",
    "One campaign, with its recipients",
    "As documented, a text that was sent and is not confirmed counts as failed so far.",
    {
        **_ONE,
        "properties": {
            **_ONE["properties"],
            "recipients": {"type": "array", "items": _RECIPIENT},
        },
    },
    parameters=[
        _CAMPAIGN,
        query(
            "recipients_limit", "So many of them.", type="integer", minimum=1, maximum=999_999_999
        ),
        query(
            "recipients_offset",
            "From behind so many.",
            type="integer",
            minimum=0,
            maximum=999_999_999,
        ),
    ],
    errors={400: "invalid_field.", 404: _UNKNOWN},
)
LAUNCH_CAMPAIGN = route(
    "nixflexLaunchCampaign",
    "Launch a scheduled campaign now",
    "Quiet hours hold what they hold.",
    obj(
        campaign_id={"type": "string"},
        status={"type": "string"},
        **_COUNTS,
        recipients_count=WHOLE,
        queued_count=WHOLE,
    ),
    parameters=[_CAMPAIGN],
    errors={400: "campaign_already_completed.", 404: _UNKNOWN},
)
DELETE_CAMPAIGN = route(
    "nixflexDeleteCampaign",
    "Cancel a campaign",
    "What was sent stays sent.",
    obj(campaign_id={"type": "string"}, deleted={"type": "boolean"}, cancelled_count=WHOLE),
    parameters=[_CAMPAIGN],
    errors={400: "campaign_already_completed.", 404: _UNKNOWN},
)
