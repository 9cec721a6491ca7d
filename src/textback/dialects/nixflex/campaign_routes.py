"""Nixflex' SMS campaigns: batches of ours."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from textback import metrics
from textback.core import phone
from textback.core.batch import Row
from textback.core.commands import AgentChoice, Idempotency, SendText
from textback.core.errors import Conflict
from textback.core.ids import AgentId
from textback.core.phone import Phone
from textback.db import plans
from textback.db.holdings import HeldNumber
from textback.db.plans import BatchRecord, Progress
from textback.dialects.nixflex import (
    campaign_openapi,
    campaigns,
    kept,
    owned,
    reading,
    serving,
    wire,
)
from textback.dialects.nixflex.campaigns import NewCampaign
from textback.dialects.nixflex.serving import Asked
from textback.dialects.nixflex.texts import DIALECT
from textback.flows import admit, batches, launching, planning
from textback.flows.batches import Created

router = serving.router("Nixflex: SMS campaigns")

ROUTE = "/v1/sms/campaigns"
ONE = ROUTE + "/{campaign_id}"

USUAL, MOST = 25, 100
_PAGE = 200
_BREATH = 100
"""Recipients that are looked at in one go: others are served in between."""
_UNNAMED = "Untitled campaign"


@router.post(ROUTE, **campaign_openapi.CREATE_CAMPAIGN)
async def create_campaign(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        rt, body = asked.rt, await asked.json()
        it = reading.read(NewCampaign, body)
        key, now = reading.idempotency(asked.key, "campaigns", body), rt.now()
        # First of all: what was true then, such as that its time is to come, may be over.
        made = await batches.replay(rt.db, asked.account_id, key, now=now) if key else None
        if made is None:
            made = await _made(asked, it, key, now=now)
        counter = metrics.REPLAYED if made.replayed else metrics.ACCEPTED
        counter.labels("nixflex").inc(1 if made.replayed else made.batch.total - len(made.errors))
        if made.replayed:
            asked.headers["Idempotent-Replayed"] = "true"
        return asked.answer(await _shown(asked, made.batch), 201)

    return await serving.answer(request, "send", act, at_most=wire.MAX_CAMPAIGN)


async def _made(
    asked: Asked, it: NewCampaign, key: Idempotency | None, *, now: datetime
) -> Created:
    """Raises Refused, and as `batches.create`."""
    rows = campaigns.rows(it.recipients)
    send_at = it.send_at(now=now, most=now + planning.MOST_AHEAD)
    agent = await owned.agent(asked, it.agent_id)
    number = await owned.sender(asked, it.from_number, it.agent_id, Phone(""))
    await _may_text(number, rows)
    caller = await admit.sender(asked.rt.book, asked.account_id, agent_number=number.number)
    shared = SendText(
        user_number=Phone(""),
        text=it.message_template,
        agent_number=Phone(number.number),
        thread="resume",
        agent=AgentChoice(agent_id=AgentId(agent.id)),
        objective=kept.with_context(number.config, it.context_prompt or None),
        notify=owned.notify(agent, number),
        send_at=send_at,
        refuses_opted_out=True,
        dialect=DIALECT,
        idempotency=key,
    )
    return await batches.create(
        asked.rt.db, caller, rows, shared, name=it.name or _UNNAMED, missing="empty", now=now
    )


@router.get(ROUTE, **campaign_openapi.LIST_CAMPAIGNS)
async def list_campaigns(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        limit, offset = reading.page(asked.query, usual=USUAL, most=MOST)
        status = campaigns.wanted_status(asked.query)
        found = await _all(asked, agent_id=asked.query.get("agent_id"))
        now = asked.rt.now()
        if status is not None:
            found = [b for b in found if b.state in campaigns.STATES[status]]
            progress = await _progress(asked, found, now=now)
            found = [b for b in found if campaigns.status(b, progress[b.id], now=now) == status]
        page = found[offset : offset + limit]
        progress = await _progress(asked, page, now=now)
        shown = [campaigns.shown(b, progress[b.id], now=now) for b in page]
        return asked.answer({"campaigns": shown, "count": len(found)})

    return await serving.answer(request, "read", act)


@router.get(ONE, **campaign_openapi.GET_CAMPAIGN)
async def get_campaign(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        query = asked.query
        given = {
            name: query[f"recipients_{name}"]
            for name in ("limit", "offset")
            if f"recipients_{name}" in query
        }
        limit, after = reading.page(given, usual=10_000, most=10_000)
        batch = await _campaign(asked)
        found = await plans.rows(asked.rt.db, batch.id, limit=limit, after=after)
        shown = await _shown(asked, batch)
        return asked.answer(shown | {"recipients": [campaigns.recipient(row) for row in found]})

    return await serving.answer(request, "read", act)


@router.post(ONE + "/launch", **campaign_openapi.LAUNCH_CAMPAIGN)
async def launch_campaign(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        batch, now = await _campaign(asked), asked.rt.now()
        try:
            moved = await launching.launch(asked.rt.db, asked.account_id, batch.id, now=now)
        except Conflict:
            raise campaigns.completed(asked.path("campaign_id")) from None
        progress = (await _progress(asked, [moved.batch], now=now))[batch.id]
        return asked.answer(campaigns.launched(moved.batch, progress, now=now))

    return await serving.answer(request, "send", act)


@router.delete(ONE, **campaign_openapi.DELETE_CAMPAIGN)
async def delete_campaign(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        batch, raw = await _campaign(asked), asked.path("campaign_id")
        try:
            moved = await batches.cancel(
                asked.rt.db, asked.account_id, batch.id, now=asked.rt.now()
            )
        except Conflict:
            raise campaigns.completed(raw) from None
        return asked.answer({"campaign_id": raw, "deleted": True, "cancelled_count": moved.rows})

    return await serving.answer(request, "send", act)


async def _may_text(number: HeldNumber, rows: Sequence[Row]) -> None:
    """Raises Refused, NotRegistered; also when there is nobody whose number is one."""
    someone = False
    for place, row in enumerate(rows):
        user = phone.user_number(row.to)
        if user is not None:
            owned.may_text(number, user)
            someone = True
        if place % _BREATH == 0:
            await asyncio.sleep(0)
    if not someone:
        raise reading.not_a_number("recipients")


async def _campaign(asked: Asked) -> BatchRecord:
    """One that was deleted is not there any more. Raises Refused."""
    raw = asked.path("campaign_id")
    found = await plans.find_batch(asked.rt.db, asked.account_id, campaigns.batch_id(raw))
    if found is None or found.dialect != DIALECT or found.state == "cancelled":
        raise campaigns.unknown(raw)
    return found


async def _all(asked: Asked, *, agent_id: str | None) -> list[BatchRecord]:
    """The newest first, without those that were deleted."""
    found, before = list[BatchRecord](), None
    while True:
        page = await plans.list_batches(
            asked.rt.db, asked.account_id, limit=_PAGE, before=before, dialect=DIALECT
        )
        found += [b for b in page if b.state != "cancelled" and agent_id in {None, b.agent_id}]
        if len(page) < _PAGE:
            return found
        before = page[-1].id


async def _progress(asked: Asked, of: list[BatchRecord], *, now: datetime) -> dict[str, Progress]:
    return dict(await plans.progress(asked.rt.db, [b.id for b in of], now=now))


async def _shown(asked: Asked, batch: BatchRecord) -> dict[str, Any]:
    now = asked.rt.now()
    progress = (await _progress(asked, [batch], now=now))[batch.id]
    return campaigns.shown(batch, progress, now=now)
