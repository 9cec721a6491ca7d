"""Webhooks: made, changed, tried out, paused, polled."""

import asyncio
import contextlib
from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from textback.api import deps
from textback.core.errors import UnknownResource
from textback.db import webhook_reads
from textback.db.webhook_reads import Endpoint
from textback.dialects.native import events, paging, reading, serving
from textback.dialects.native import webhook_openapi as openapi
from textback.dialects.native import webhook_shown as shown
from textback.dialects.native import webhook_wire as wire
from textback.dialects.native.paging import Page, Query
from textback.dialects.native.serving import Asked
from textback.flows import redeliver, webhooks
from textback.flows.redeliver import Polled
from textback.flows.webhooks import Wanted

router = serving.router("Webhooks")

ROUTE: Final = "/v1/webhooks"
ONE: Final = ROUTE + "/{webhook_id}"

_LOOK_SECONDS: Final = 0.5
"""Between two looks of a poll that waits."""
_MANY: Final = 10_000


@router.post(ROUTE, **openapi.CREATE)
async def create(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it, rt = asked.body(wire.Create), asked.rt
        wanted = Wanted(
            url=it.url,
            kinds=events.kinds(it.kinds),
            format=it.format,
            project_id=it.project,
            conversation_id=it.conversation,
            description=it.description,
            secret=it.secret,
            temporary=it.temporary,
        )
        made = await webhooks.create(
            rt.db,
            asked.account_id,
            wanted,
            formats=rt.formats,
            vault=rt.vault,
            private=rt.private_webhooks,
            now=rt.now(),
        )
        return serving.shown(shown.with_secret(made.endpoint, made.secret), 201)

    return await serving.answer(request, "webhooks", act)


@router.get(ROUTE, **openapi.LIST)
async def all_of_them(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        page = asked.query(Query)
        after = paging.after_text(page, "webhooks")
        found = await webhook_reads.endpoints(
            asked.rt.db, asked.account_id, after=after, limit=page.limit + 1
        )
        data = [shown.webhook(each) for each in found[: page.limit]]
        more = paging.next_cursor(page, "webhooks", [str(each.id) for each in found])
        return serving.shown(Page(data=data, next_cursor=more))

    return await serving.answer(request, "read", act)


@router.get(ONE, **openapi.GET)
async def one(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        found = await _found(asked)
        waiting = await webhook_reads.waiting(asked.rt.db, found.id, most=_MANY)
        return serving.shown(shown.with_queue(found, waiting))

    return await serving.answer(request, "read", act)


@router.patch(ONE, **openapi.CHANGE)
async def change(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it, rt = asked.body(wire.Change), asked.rt
        changes = {name: getattr(it, name) for name in it.model_fields_set}
        if "kinds" in changes:
            changes["kinds"] = events.kinds(it.kinds)
        after = await webhooks.update(
            rt.db,
            asked.account_id,
            webhook_id(asked),
            changes,
            formats=rt.formats,
            private=rt.private_webhooks,
        )
        return serving.shown(shown.webhook(after))

    return await serving.answer(request, "webhooks", act)


@router.delete(ONE, **openapi.REMOVE)
async def remove(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        which, rt = webhook_id(asked), asked.rt
        await webhooks.remove(rt.db, asked.account_id, which, now=rt.now())
        return serving.shown(wire.Removed(id=which))

    return await serving.answer(request, "webhooks", act)


@router.post(ONE + "/rotate", **openapi.ROTATE)
async def rotate(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it, rt = asked.body(wire.Rotate), asked.rt
        made = await webhooks.rotate(
            rt.db,
            asked.account_id,
            webhook_id(asked),
            secret=it.secret,
            grace=timedelta(seconds=it.grace_seconds),
            vault=rt.vault,
            now=rt.now(),
        )
        return serving.shown(shown.with_secret(made.endpoint, made.secret))

    return await serving.answer(request, "webhooks", act)


@router.post(ONE + "/test", **openapi.TEST)
async def test(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        asked.body(wire.Nothing)
        rt = asked.rt
        number = await redeliver.test(rt.db, asked.account_id, webhook_id(asked), now=rt.now())
        return serving.shown(wire.Queued(delivery_id=shown.delivery_id(number)), 202)

    return await serving.answer(request, "webhooks", act)


@router.post(ONE + "/pause", **openapi.PAUSE)
async def pause(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        why, rt = asked.body(wire.Pause).reason or "paused by hand", asked.rt
        which = webhook_id(asked)
        after = await webhooks.pause(rt.db, asked.account_id, which, why, now=rt.now())
        return serving.shown(shown.webhook(after))

    return await serving.answer(request, "webhooks", act)


@router.post(ONE + "/resume", **openapi.RESUME)
async def resume(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        asked.body(wire.Nothing)
        rt = asked.rt
        after = await webhooks.resume(rt.db, asked.account_id, webhook_id(asked), now=rt.now())
        return serving.shown(shown.webhook(after))

    return await serving.answer(request, "webhooks", act)


@router.get(ONE + "/poll", **openapi.POLL)
async def poll(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it, which = asked.query(wire.Poll), webhook_id(asked)
        found = await _poll(asked, which, it.after, it.limit)
        looks = int(it.wait / _LOOK_SECONDS)
        stop = deps.stop(request)
        while not found.told and looks > 0 and not stop.is_set():
            looks -= 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LOOK_SECONDS)
            if await request.is_disconnected():
                break
            found = await _poll(asked, which, None, it.limit)
        told = [shown.event(each) for _, each in found.told]
        data = [each for each in told if each is not None]
        return serving.shown(wire.Polled(data=data, next=found.after))

    return await serving.answer(request, "webhooks", act)


def webhook_id(asked: Asked) -> str:
    """Raises UnknownResource."""
    return reading.an_id(asked.path("webhook_id"), wire.ID, "webhook")


async def _found(asked: Asked) -> Endpoint:
    found = await webhook_reads.endpoint(asked.rt.db, asked.account_id, webhook_id(asked))
    if found is None:
        raise UnknownResource("There is no webhook with that id.")
    return found


async def _poll(asked: Asked, which: str, after: str | None, limit: int) -> Polled:
    rt = asked.rt
    return await redeliver.poll(
        rt.db,
        asked.account_id,
        which,
        after=after,
        limit=limit,
        formats=rt.formats,
        now=rt.now(),
    )
