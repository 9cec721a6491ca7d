"""Many texts at once: a file is uploaded, and a batch is made of its rows."""

from typing import Any, Final

from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import Response

from textback import metrics
from textback.api.body import parse_json
from textback.core import ids
from textback.core.batch import MOST_BYTES
from textback.core.errors import NoNumber, NumberNotProvisioned, UnknownResource
from textback.core.phone import Phone
from textback.dialects.bland import batching, openapi, sending, wire
from textback.dialects.bland.answer import Asked, answer, good, new_router
from textback.flows import admit, batches, number_settings, uploads
from textback.flows.batches import Created

router = new_router()

_CODES: Final[wire.Codes] = {
    UnknownResource: "FILE_NOT_FOUND",
    NumberNotProvisioned: "AGENT_NUMBER_NOT_FOUND",
    NoNumber: "AGENT_NUMBER_NOT_FOUND",
}
_FORM: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "file_type": {"type": "string", "enum": [batching.KIND]},
    },
    "required": ["file", "file_type"],
}


@router.post(
    "/v1/files/attach",
    **openapi.route(
        "attachFile",
        "Upload a table of recipients",
        "CSV with a column `phone_number`, or a JSON array of objects; at most 10,000 rows.",
        openapi.enveloped(
            openapi.fields(
                message=openapi.text("What was done."),
                file_id=openapi.text("For `/v1/sms/batch`.", format="uuid"),
            )
        ),
        asked=openapi.schema(batching.Attached),
        form=_FORM,
        at_most=MOST_BYTES,
    ),
)
async def attach(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        media_type = asked.content_type.partition(";")[0].strip().lower()
        if media_type == "multipart/form-data":
            file = batching.uploaded(asked.content_type, asked.content)
        else:
            body = parse_json(request, asked.content, at_most=MOST_BYTES)
            it = wire.read(batching.Attached, body)
            file = batching.file(it.file_name or "", it.file_type, it.content)
        kept = await uploads.keep(
            asked.rt.db,
            asked.account_id,
            name=file.name,
            kind=file.kind,
            content=file.content,
            now=asked.now,
        )
        return good({"message": "File uploaded", "file_id": ids.to_uuid(kept.id)})

    return await answer(request, "send", act, at_most=MOST_BYTES, is_json=False)


@router.post(
    batching.ROUTE,
    **openapi.route(
        "sendSmsBatch",
        "Text every recipient of an uploaded table",
        "As `/v1/sms/send` does, one after the other. A row that cannot be sent stops no other.",
        openapi.enveloped(
            openapi.fields(
                message=openapi.text("What was done."),
                batch_id=openapi.text("The file_id.", format="uuid"),
                workflow_id=openapi.text("Of the batch.", format="uuid"),
            )
        ),
        asked=openapi.schema(batching.Batch),
        refusals=(404,),
        keyed=True,
    ),
)
async def batch(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it = batching.read(asked.body)
        db, account_id, of_all = asked.rt.db, asked.account_id, it.of_all
        file_id = ids.from_uuid("file_", it.file_id) if wire.is_uuid(it.file_id) else None
        if file_id is None:
            raise UnknownResource("File not found or invalid file type for SMS batches.")
        file = await uploads.get(db, account_id, file_id)
        agent_number = of_all.our_address()
        number = await number_settings.own(db, account_id, agent_number, "bland")
        made = await batches.create(
            db,
            await admit.sender(asked.rt.book, account_id, agent_number=agent_number),
            batching.rows(file.content, it.column_mapping or {}),
            sending.to_command(
                of_all,
                Phone(""),
                asked.body["global"],
                number,
                private_urls=asked.rt.private_webhooks,
                key=wire.idempotency(batching.ROUTE, asked.key),
            ),
            name=file.name or None,
            missing="empty",
            extra={"file_id": it.file_id},
            now=asked.now,
        )
        return good(_answered(made), headers=asked.headers)

    return await answer(request, "send", act, codes=_CODES)


def _answered(made: Created) -> JsonValue:
    (metrics.REPLAYED if made.replayed else metrics.ACCEPTED).labels("bland").inc()
    return {
        "message": "SMS batch accepted",
        "batch_id": str(made.batch.extra.get("file_id", "")),
        "workflow_id": ids.to_uuid(made.batch.id),
    }
