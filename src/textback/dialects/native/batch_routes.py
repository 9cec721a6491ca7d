"""Batches and planned sends: parse -> flow -> render."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from textback import metrics
from textback.api.body import unstorable
from textback.core.batch import Row, read_csv
from textback.core.commands import Idempotency
from textback.core.errors import BadRequest, TooLarge, UnknownResource
from textback.core.frozen import frozen
from textback.core.ids import BatchId
from textback.db import plans
from textback.db.plans import BatchRecord, PlannedSend
from textback.dialects.native import batch_openapi as openapi
from textback.dialects.native import batch_shown as shown
from textback.dialects.native import batch_wire as wire
from textback.dialects.native import paging, reading, serving
from textback.dialects.native.paging import Page
from textback.dialects.native.serving import Asked
from textback.flows import admit, batches, planning
from textback.flows.batches import Moved

router: APIRouter = serving.router("Batches")
_sends: APIRouter = serving.router("Planned sends")

_BATCH = wire.BATCHES + "/{batch_id}"
_SEND = wire.SENDS + "/{send_id}"


@frozen(kw_only=False)
class _Wanted:
    """A batch as it was asked for."""

    it: wire.Common
    rows: Sequence[Row]
    key: Idempotency | None


@router.post(wire.BATCHES, **openapi.CREATE)
async def create(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        rt, now = asked.rt, asked.rt.now()
        wanted = _wanted(asked)
        it = wanted.it
        caller = await admit.sender(
            rt.book,
            asked.account_id,
            agent_number=it.from_,
            connector=it.connector,
            project=it.project,
            environment=it.environment,
        )
        made = await batches.create(
            rt.db,
            caller,
            wanted.rows,
            it.shared(wanted.key),
            name=it.name,
            draft=it.draft,
            missing="empty" if it.missing_variables == "empty" else "refused",
            twice=it.duplicates == "send",
            now=now,
        )
        (metrics.REPLAYED if made.replayed else metrics.BATCHES).labels("native").inc()
        progress = await plans.progress(rt.db, [made.batch.id], now=now)
        answer = shown.made(made.batch, progress[made.batch.id], made.errors)
        headers = {"Idempotent-Replayed": "true"} if made.replayed else None
        return serving.shown(answer, 201, headers)

    return await serving.answer(request, "send", act, at_most=wire.MAX_BODY)


@router.get(wire.BATCHES, **openapi.LIST)
async def list_batches(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        query = asked.query(wire.Listing)
        found = await asked.rt.reading.ask(
            plans.list_batches,
            asked.account_id,
            limit=query.limit + 1,
            before=paging.after_text(query, "batches"),
            project_id=query.project,
            state=query.state,
        )
        more = paging.next_cursor(query, "batches", [batch.id for batch in found])
        some = [shown.summary(batch) for batch in found[: query.limit]]
        return serving.shown(Page(data=some, next_cursor=more))

    return await serving.answer(request, "read", act)


@router.get(_BATCH, **openapi.GET)
async def get_batch(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        return await _with_progress(asked, await _batch(asked))

    return await serving.answer(request, "read", act)


@router.get(_BATCH + "/rows", **openapi.ROWS)
async def list_rows(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        query = asked.query(wire.RowListing)
        batch = await _batch(asked)
        after = paging.after_number(query, "rows") or 0
        found = await plans.rows(
            asked.rt.db, batch.id, limit=query.limit + 1, after=after, state=query.state
        )
        more = paging.next_cursor(query, "rows", [row.row or 0 for row in found])
        some = [shown.send(row) for row in found[: query.limit]]
        return serving.shown(Page(data=some, next_cursor=more))

    return await serving.answer(request, "read", act)


@router.post(_BATCH + "/start", **openapi.START)
async def start(request: Request) -> Response:
    return await _move(request, batches.start)


@router.post(_BATCH + "/pause", **openapi.PAUSE)
async def pause(request: Request) -> Response:
    return await _move(request, batches.pause)


@router.post(_BATCH + "/resume", **openapi.RESUME)
async def resume(request: Request) -> Response:
    return await _move(request, batches.resume)


@router.post(_BATCH + "/cancel", **openapi.CANCEL)
async def cancel(request: Request) -> Response:
    return await _move(request, batches.cancel)


@_sends.get(wire.SENDS, **openapi.LIST_SENDS)
async def list_sends(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        query = asked.query(wire.SendListing)
        found = await asked.rt.reading.ask(
            plans.list_sends,
            asked.account_id,
            limit=query.limit + 1,
            before=paging.after_text(query, "sends"),
            project_id=query.project,
            state=query.state,
        )
        more = paging.next_cursor(query, "sends", [each.id for each in found])
        some = [shown.send(each) for each in found[: query.limit]]
        return serving.shown(Page(data=some, next_cursor=more))

    return await serving.answer(request, "read", act)


@_sends.get(_SEND, **openapi.GET_SEND)
async def get_send(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        send_id = _send_id(asked)
        found = await plans.find(asked.rt.db, asked.account_id, send_id)
        if found is None:
            raise UnknownResource(f"There is no planned send {send_id}.")
        return serving.shown(shown.send(found))

    return await serving.answer(request, "read", act)


@_sends.patch(_SEND, **openapi.PATCH_SEND)
async def reschedule(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        send_id, send_at = _send_id(asked), asked.body(wire.Reschedule).send_at
        rt = asked.rt
        return serving.shown(
            shown.send(
                await planning.reschedule(rt.db, asked.account_id, send_id, send_at, now=rt.now())
            )
        )

    return await serving.answer(request, "send", act)


@_sends.delete(_SEND, **openapi.DELETE_SEND)
async def cancel_send(request: Request) -> Response:
    return await _change(request, planning.cancel)


@_sends.post(_SEND + "/release", **openapi.RELEASE_SEND)
async def release(request: Request) -> Response:
    return await _change(request, planning.release)


def _wanted(asked: Asked) -> _Wanted:
    """Raises BadRequest, TooLarge."""
    media_type, _, parameters = asked.request.headers.get("content-type", "").partition(";")
    if media_type.strip().lower() != "text/csv":
        if asked.request.query_params:
            raise BadRequest("With JSON, say everything in the body; the query is for CSV.")
        body = asked.json(apart="rows")
        it = reading.read(wire.OfJson, body)
        rows = [wire.row_of(each, wrong=unstorable(each)) for each in it.rows]
        return _Wanted(it, rows, reading.idempotency(asked.key, wire.BATCHES, body))
    if "charset" in parameters.lower() and "utf-8" not in parameters.lower():
        raise BadRequest("Send the file in UTF-8.")
    if asked.raw is None:
        raise TooLarge(f"The body may have {wire.MAX_BODY // 1024} KB at most.")
    given = asked.request.query_params
    same = {"query": dict(given), "csv": hashlib.sha256(asked.raw).hexdigest()}
    key = reading.idempotency(asked.key, wire.BATCHES, same)
    return _Wanted(asked.query(wire.OfCsv), read_csv(asked.raw), key)


async def _batch(asked: Asked) -> BatchRecord:
    batch_id = _batch_id(asked)
    found = await plans.find_batch(asked.rt.db, asked.account_id, batch_id)
    if found is None:
        raise UnknownResource(f"There is no batch {batch_id}.")
    return found


def _batch_id(asked: Asked) -> BatchId:
    return BatchId(reading.an_id(asked.path("batch_id"), wire.BATCH_ID, "batch"))


def _send_id(asked: Asked) -> str:
    return reading.an_id(asked.path("send_id"), wire.SEND_ID, "planned send")


async def _with_progress(asked: Asked, found: BatchRecord) -> Response:
    progress = await plans.progress(asked.rt.db, [found.id], now=asked.rt.now())
    return serving.shown(shown.batch(found, progress[found.id]))


async def _move(request: Request, move: Callable[..., Awaitable[Moved]]) -> Response:
    async def act(asked: Asked) -> Response:
        rt, batch_id = asked.rt, _batch_id(asked)
        moved = await move(rt.db, asked.account_id, batch_id, now=rt.now())
        return await _with_progress(asked, moved.batch)

    return await serving.answer(request, "send", act)


async def _change(request: Request, change: Callable[..., Awaitable[PlannedSend]]) -> Response:
    async def act(asked: Asked) -> Response:
        rt, send_id = asked.rt, _send_id(asked)
        return serving.shown(
            shown.send(await change(rt.db, asked.account_id, send_id, now=rt.now()))
        )

    return await serving.answer(request, "send", act)


router.routes.extend(_sends.routes)
