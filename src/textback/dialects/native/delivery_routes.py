"""What was delivered, or is yet to be; once more; and the history of events."""

from starlette.requests import Request
from starlette.responses import Response

from textback.core.errors import UnknownResource
from textback.db import webhook_reads
from textback.dialects.native import events, paging, reading, serving
from textback.dialects.native import webhook_openapi as openapi
from textback.dialects.native import webhook_shown as shown
from textback.dialects.native import webhook_wire as wire
from textback.dialects.native.paging import Page
from textback.dialects.native.serving import Asked
from textback.dialects.native.webhook_routes import ONE, webhook_id
from textback.flows import redeliver

router = serving.router("Webhooks")

DELIVERY = "/v1/deliveries/{delivery_id}"


@router.get(ONE + "/deliveries", **openapi.DELIVERIES)
async def deliveries(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        page, db = asked.query(wire.Deliveries), asked.rt.db
        found = await webhook_reads.endpoint(db, asked.account_id, webhook_id(asked))
        if found is None:
            raise UnknownResource("There is no webhook with that id.")
        of = f"deliveries {found.id}"
        rows = await webhook_reads.deliveries(
            db,
            found.id,
            states=page.state,
            before=paging.after_number(page, of),
            limit=page.limit + 1,
        )
        data = [shown.delivery(each) for each in rows[: page.limit]]
        more = paging.next_cursor(page, of, [each.id for each in rows])
        return serving.shown(Page(data=data, next_cursor=more))

    return await serving.answer(request, "read", act)


@router.post(ONE + "/replay", **openapi.REPLAY_ALL)
async def replay_all(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it, rt = asked.body(wire.ReplayAll), asked.rt
        count = await redeliver.replay_all(
            rt.db,
            asked.account_id,
            webhook_id(asked),
            it.states,
            since=it.since,
            now=rt.now(),
        )
        more = count >= redeliver.MOST_AGAIN
        return serving.shown(wire.ManyQueued(replayed=count, more=more), 202)

    return await serving.answer(request, "webhooks", act)


@router.get(DELIVERY, **openapi.DELIVERY)
async def delivery(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        number = _delivery_id(asked)
        found = await webhook_reads.delivery(asked.rt.db, asked.account_id, number)
        if found is None:
            raise UnknownResource("There is no delivery with that id.")
        return serving.shown(shown.whole_delivery(*found))

    return await serving.answer(request, "read", act)


@router.post(DELIVERY + "/replay", **openapi.REPLAY)
async def replay(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        asked.body(wire.Nothing)
        number, rt = _delivery_id(asked), asked.rt
        await redeliver.replay(rt.db, asked.account_id, number, now=rt.now())
        return serving.shown(wire.Queued(delivery_id=shown.delivery_id(number)), 202)

    return await serving.answer(request, "webhooks", act)


@router.get("/v1/events", **openapi.EVENTS)
async def history(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        page = asked.query(wire.Events)
        rows = await asked.rt.reading.ask(
            webhook_reads.history,
            asked.account_id,
            kinds=events.kinds(page.type or events.PUBLIC),
            conversation_id=page.conversation,
            message_id=page.message,
            before=paging.after_number(page, "events"),
            limit=page.limit + 1,
        )
        told = [shown.event(each) for each in rows[: page.limit]]
        data = [each for each in told if each is not None]
        more = paging.next_cursor(page, "events", [each.event_id for each in rows])
        return serving.shown(Page(data=data, next_cursor=more))

    return await serving.answer(request, "read", act)


def _delivery_id(asked: Asked) -> int:
    """Raises UnknownResource."""
    which = reading.an_id(asked.path("delivery_id"), wire.DELIVERY, "delivery")
    return int(which.removeprefix("dlv_"))
