"""Nixflex' phone numbers: imported from Twilio, configured, and given back."""

from starlette.requests import Request
from starlette.responses import Response

from textback.core.errors import Conflict
from textback.core.phone import Phone
from textback.db import holdings
from textback.db.holdings import HeldNumber
from textback.dialects.nixflex import kept, numbers, openapi, owned, reading, serving
from textback.dialects.nixflex.numbers import ImportNumber, PatchNumber
from textback.dialects.nixflex.serving import Asked
from textback.dialects.nixflex.wire import Refused
from textback.flows import manage, number_import
from textback.flows.number_import import Wanted

router = serving.router("Nixflex: phone numbers")

ROUTE = "/v1/phone-numbers"
ONE = ROUTE + "/{phone_number}"

MOST = 1000


@router.post(ROUTE, **openapi.IMPORT_NUMBER)
async def import_number(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        body, rt = await asked.json(), asked.rt
        numbers.refuse_telnyx(body)
        it = reading.read(ImportNumber, body)
        numbers.check_sid(it.twilio_sid)
        agent = await owned.agent(asked, it.agent_id)
        wanted = Wanted(
            number=Phone(it.phone_number),
            account_sid=it.twilio_sid,
            auth_token=it.twilio_token,
            base_url=rt.twilio_url,
            inbound_url=_inbound(asked),
        )
        m = asked.managing
        now = numbers.fields(None, {"custom_prompt": it.custom_prompt or None})
        try:
            found = await number_import.find(m, rt.importers, wanted)
            own = numbers.own(now, agent, sid=found.sid, at=m.now)
            await number_import.store(m, wanted, agent_id=agent.id, own=own)
        except Conflict as conflict:
            raise Refused(
                "number_already_imported", conflict.sentence, phone_number=it.phone_number
            ) from None
        return asked.answer({"phone_number": await _shown(asked, it.phone_number)}, 201)

    return await serving.answer(request, "manage", act)


@router.get(ROUTE, **openapi.LIST_NUMBERS)
async def list_numbers(request: Request) -> Response:
    """All of them, unless limit or offset is given; the newest first."""

    async def act(asked: Asked) -> Response:
        limit, offset = reading.page(asked.query, usual=MOST, most=MOST)
        agent_id = asked.query.get("agent_id")
        found = await holdings.numbers_of(asked.rt.db, asked.account_id)
        shown = [numbers.shown(each) for each in found]
        shown = [each for each in shown if agent_id in {None, each["agent_id"]}]
        shown.sort(key=lambda each: each["created_at"] or "", reverse=True)
        page = shown[offset : offset + limit]
        return asked.answer({"phone_numbers": page, "count": len(shown)})

    return await serving.answer(request, "read", act)


@router.get(ONE, **openapi.GET_NUMBER)
async def get_number(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        found = await _number(asked, asked.path("phone_number"))
        return asked.answer({"phone_number": numbers.shown(found)})

    return await serving.answer(request, "read", act)


@router.patch(ONE, **openapi.UPDATE_NUMBER)
async def update_number(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        before = await _number(asked, asked.path("phone_number"))
        given = reading.read(PatchNumber, await asked.json()).given()
        detached = kept.number(before.config).get("detached")
        wanted = given.get("agent_id") or (None if detached else before.agent_id)
        agent = None if wanted is None else await owned.agent(asked, wanted)
        patch = {"agent": given["agent_id"]} if "agent_id" in given else {}
        own = numbers.changed(before, given, agent)
        await manage.update(asked.managing, "number", before.number, patch, own=own)
        return asked.answer({"phone_number": await _shown(asked, before.number)})

    return await serving.answer(request, "manage", act)


@router.delete(ONE, **openapi.DELETE_NUMBER)
async def delete_number(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it = await _number(asked, asked.path("phone_number"))
        sid = kept.number(it.config).get("twilio_number_sid")
        await number_import.release(
            asked.managing,
            asked.rt.importers,
            Phone(it.number),
            sid=sid,
            inbound_url=_inbound(asked),
        )
        return asked.answer({"phone_number": {"phone_number": it.number, "deleted": True}})

    return await serving.answer(request, "manage", act)


def _inbound(asked: Asked) -> str:
    return asked.rt.public_url + "/hooks/{kind}/inbound"


async def _number(asked: Asked, raw: str) -> HeldNumber:
    """Raises Refused."""
    found = await holdings.number(asked.rt.db, asked.account_id, numbers.in_path(raw))
    if found is None:
        raise numbers.unknown(raw)
    return found


async def _shown(asked: Asked, number: str) -> dict[str, object]:
    return numbers.shown(await _number(asked, number))
