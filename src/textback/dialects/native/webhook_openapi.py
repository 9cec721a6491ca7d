"""What OpenAPI says of our routes for webhooks and events."""

from textback.dialects.native import webhook_wire as wire
from textback.dialects.native.describing import path_id, route
from textback.dialects.native.paging import Page, Query

_ID = [path_id("webhook_id", wire.ID, "whe_01kk2v5m7xq1t8c9d0e2f3g4h5")]
_DELIVERY = [path_id("delivery_id", wire.DELIVERY, "dlv_4711")]
_UNKNOWN = {404: "Your account has no such webhook."}
_NO_DELIVERY = {404: "Your account has no such delivery."}

CREATE = route(
    "createWebhook",
    "Tell a URL, or whoever polls, of what happens",
    "Events of the account, of one project or of one conversation, from now on: at least once "
    "each, in order per conversation. What is posted is signed (Standard Webhooks); the secret is "
    "in this answer and nowhere else.",
    wire.WithSecret,
    wire.Create,
    status=201,
    problems={
        404: "The account has no such project or conversation.",
        409: "The account has as many webhooks as it may have.",
    },
)
LIST = route(
    "listWebhooks",
    "The account's webhooks, oldest first",
    "Without those that were named in single sends.",
    Page[wire.Webhook],
    query=Query,
)
GET = route(
    "getWebhook",
    "One webhook, and how it is doing",
    "Whether it is paused and why, since when it has been failing, and how much waits for it.",
    wire.WithQueue,
    path=_ID,
    problems=_UNKNOWN,
)
CHANGE = route(
    "changeWebhook",
    "Change a webhook",
    "Only what is given changes. What waits goes to the new URL; what is written already keeps its "
    "shape.",
    wire.Webhook,
    wire.Change,
    path=_ID,
    problems=_UNKNOWN | {409: "One that is polled has no url, and another always has one."},
)
REMOVE = route(
    "removeWebhook",
    "Remove a webhook",
    "What waits for it is not delivered any more.",
    wire.Removed,
    path=_ID,
    problems=_UNKNOWN | {409: "It is in the provisioning file, and is removed there."},
)
ROTATE = route(
    "rotateWebhookSecret",
    "Give a webhook a new secret",
    "For a time the one before signs as well: the header then has two signatures, of which a "
    "receiver needs to know one.",
    wire.WithSecret,
    wire.Rotate,
    path=_ID,
    problems=_UNKNOWN,
)
TEST = route(
    "testWebhook",
    "Send a webhook.tested to this webhook alone",
    "It is queued like any event; what came of it is told by its delivery.",
    wire.Queued,
    wire.Nothing,
    path=_ID,
    status=202,
    problems=_UNKNOWN,
)
PAUSE = route(
    "pauseWebhook",
    "Post nothing more for now",
    "What happens is kept for it, for 30 days.",
    wire.Webhook,
    wire.Pause,
    path=_ID,
    problems=_UNKNOWN,
)
RESUME = route(
    "resumeWebhook",
    "Go on, with what was kept, in order",
    "Also after it was paused because it failed for a day. One that is not paused stays as it is.",
    wire.Webhook,
    wire.Nothing,
    path=_ID,
    problems=_UNKNOWN,
)
DELIVERIES = route(
    "listDeliveries",
    "What was delivered to a webhook, or is yet to be, the latest first",
    "Of the last 30 days.",
    Page[wire.Delivery],
    path=_ID,
    query=wire.Deliveries,
    problems=_UNKNOWN,
)
REPLAY_ALL = route(
    "replayDeliveries",
    "Deliver again what ended so since then",
    "The oldest first, 10,000 at a time, each with the id and the body that it had.",
    wire.ManyQueued,
    wire.ReplayAll,
    path=_ID,
    status=202,
    problems=_UNKNOWN,
)
POLL = route(
    "pollWebhook",
    "Fetch what waits for a webhook without a url",
    "At least once: what is not acknowledged by `after` in the next request comes again. One "
    "request at a time.",
    wire.Polled,
    path=_ID,
    query=wire.Poll,
    problems=_UNKNOWN | {409: "The webhook has a url: its events are posted there."},
)
DELIVERY = route(
    "getDelivery",
    "One delivery with all attempts at it",
    "What was posted, what was answered, and when it is tried next.",
    wire.WholeDelivery,
    path=_DELIVERY,
    problems=_NO_DELIVERY,
)
REPLAY = route(
    "replayDelivery",
    "Deliver it once more, or now",
    "With the id and the body that it had; the attempts begin anew.",
    wire.Queued,
    wire.Nothing,
    path=_DELIVERY,
    status=202,
    problems=_NO_DELIVERY | {409: "It is being delivered right now."},
)
EVENTS = route(
    "listEvents",
    "What happened, the latest first",
    "In the words of the webhooks, whether there are any or not.",
    Page[wire.Event],
    query=wire.Events,
)
