"""What OpenAPI says of batches and planned sends: exactly what their routes do."""

from typing import Any, Final

from textback.dialects.native import batch_answers as answers
from textback.dialects.native import batch_wire as wire
from textback.dialects.native.describing import path_id, route, schema
from textback.dialects.native.paging import Page

_BATCH: Final = path_id("batch_id", wire.BATCH_ID, "batch_01kk2v5m7xq1t8c9d0e2f3g4h5")
_SEND: Final = path_id("send_id", wire.SEND_ID, "msg_01kk2v5m7xq1t8c9d0e2f3g4h5")
_NO_BATCH: Final = "Your account has no such batch."
_NO_SEND: Final = "Your account has no such planned send."
_OVER: Final = "The batch is over, or in another state than that needs."
_SENT: Final = "It is not planned any more: it was accepted, refused or cancelled."

_CSV: Final[dict[str, Any]] = {
    "application/json": {"schema": schema(wire.OfJson)},
    "text/csv": {
        "schema": {
            "type": "string",
            "description": "RFC 4180 in UTF-8. The first line names the columns: `to`, "
            "`phone_number` or `user_number`; perhaps `text` or `message`; every other is a "
            "variable. What a JSON body has beside its rows is given in the query, and only then.",
        },
        "example": "to,name,time\n+14155550123,Ann,3pm\n+14155550124,Bo,4pm\n",
    },
}

CREATE: Final = route(
    "createBatch",
    "Text many",
    "Each row is checked by itself: one that is wrong is stored as refused, and stops no other. "
    "201 means that all others are stored and will be sent, each once, no faster than the numbers "
    "they are sent from allow; a batch of which no row can be sent is refused as a whole. Rows do "
    "not count against the project's rate limit.",
    answers.Made,
    _CSV,
    query=wire.OfCsv,
    status=201,
    problems={
        404: "The account has no such project or connector, or the project no number.",
        409: "The Idempotency-Key came before with another request.",
    },
    keyed=True,
    at_most=wire.MAX_BODY,
)
LIST: Final = route(
    "listBatches",
    "Batches, the latest first",
    "Without their progress, which each batch has by itself.",
    Page[answers.Summary],
    query=wire.Listing,
)
GET: Final = route(
    "getBatch",
    "One batch and how far it is",
    "How many of its rows are where, counted now.",
    answers.Batch,
    path=[_BATCH],
    problems={404: _NO_BATCH},
)
ROWS: Final = route(
    "listBatchRows",
    "The rows of a batch, in order",
    "What became of each, or when and why it waits.",
    Page[answers.Send],
    path=[_BATCH],
    query=wire.RowListing,
    problems={404: _NO_BATCH},
)


def _move(name: str, summary: str, description: str) -> dict[str, Any]:
    problems = {404: _NO_BATCH, 409: _OVER}
    return route(name, summary, description, answers.Batch, path=[_BATCH], problems=problems)


START: Final = _move("startBatch", "Start a draft", "One that runs already stays as it is.")
PAUSE: Final = _move(
    "pauseBatch",
    "Pause a batch",
    "No further row is texted. At most a minute's worth of texts is queued by then; they go out.",
)
RESUME: Final = _move(
    "resumeBatch", "Go on with a paused batch", "One that runs already stays as it is."
)
CANCEL: Final = _move(
    "cancelBatch",
    "Cancel a batch",
    "What is still planned is not sent; what is queued goes out.",
)

LIST_SENDS: Final = route(
    "listPlannedSends",
    "Sends that were not due at once, the latest first",
    "Scheduled, or held for quiet hours. Rows of batches are with their batch.",
    Page[answers.Send],
    query=wire.SendListing,
)
GET_SEND: Final = route(
    "getPlannedSend",
    "One planned send, or a row of a batch",
    "When and why it waits, or what became of it.",
    answers.Send,
    path=[_SEND],
    problems={404: _NO_SEND},
)
PATCH_SEND: Final = route(
    "reschedulePlannedSend",
    "Another moment for a planned send",
    "Quiet hours are asked again.",
    answers.Send,
    wire.Reschedule,
    path=[_SEND],
    problems={404: _NO_SEND, 409: _SENT},
)
DELETE_SEND: Final = route(
    "cancelPlannedSend",
    "Cancel a planned send",
    "It is not sent. It stays to be seen, as cancelled.",
    answers.Send,
    path=[_SEND],
    problems={404: _NO_SEND, 409: _SENT},
)
RELEASE_SEND: Final = route(
    "releasePlannedSend",
    "Send it now",
    "Whatever its moment was, and whether it is quiet or not. A row of a batch goes as soon as its "
    "batch runs.",
    answers.Send,
    path=[_SEND],
    problems={404: _NO_SEND, 409: _SENT},
)
