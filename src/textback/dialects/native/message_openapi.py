"""What the documents say of our routes about single texts."""

from textback.dialects.native import message_wire as wire
from textback.dialects.native.describing import path_id, route
from textback.dialects.native.paging import Page

_UNKNOWN = "Your account has no such message."

SEND = route(
    "sendMessage",
    "Text somebody, and let the agent carry on",
    "202 means that it is stored and will be sent, in its order, or is held until planned_for; "
    "whether it arrived is told by GET /v1/messages/{id} and by webhooks. With nothing named, your "
    "account's only project sends it. The rate limit is the project's.",
    wire.Accepted,
    wire.Send,
    status=202,
    problems={
        400: "The request is not as described, no number or agent fits it, or the agent has "
        "nothing to say.",
        403: "The API key may not send, or the user has opted out and if_opted_out is refuse.",
        404: "Your account has no such project or connector, or no number to send from.",
        409: "The idempotency key came before with another body; or the agent may not speak in "
        "the conversation to resume.",
        429: "The project's rate limit is used up.",
    },
    keyed=True,
    counted=True,
)
LIST = route(
    "listMessages",
    "Texts, both ways, the latest first",
    "Those that are only planned are not among them yet.",
    Page[wire.Message],
    query=wire.Messages,
)
GET = route(
    "getMessage",
    "One text, with all that became of it",
    "Also one that is planned. What the carrier's code means is said in plain words.",
    wire.MessageStory,
    path=[path_id("message_id", wire.ID, "msg_01kk2v5m7xq1t8c9d0e2f3g4h5")],
    problems={404: _UNKNOWN},
)
