"""Nixflex' agents: agents of ours that run as the account's template does."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from textback.core.errors import BadRequest, Conflict
from textback.db import holdings
from textback.db.holdings import HeldAgent
from textback.dialects.nixflex import agents, kept, numbers, openapi, owned, reading, serving
from textback.dialects.nixflex.agents import AgentFields
from textback.dialects.nixflex.serving import Asked
from textback.flows import manage, manage_agents, webhooks

router = serving.router("Nixflex: agents")

ROUTE = "/v1/agents"
ONE = ROUTE + "/{agent_id}"

USUAL, MOST = 100, 200
_ALL = 10_000


@router.post(ROUTE, **openapi.CREATE_AGENT)
async def create_agent(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        now = agents.fields(None, await _given(asked))
        m, agent_id = asked.managing, agents.new_id()
        await manage_agents.create_from_template(
            m,
            agent_id=agent_id,
            prompt=agents.prompt(now),
            greeting=now["welcome_message"] or None,
            **({"fallback": now["fallback_message"]} if now["fallback_message"] else {}),
            own=agents.own(now, at=m.now),
        )
        made = await owned.own_agent(asked, agent_id)
        if now["temperature"] != agents.USUAL["temperature"]:
            await manage.update(m, "agent", agent_id, agents.patch(made, now))
        return asked.answer(agents.shown(made), 201)

    return await serving.answer(request, "manage", act)


@router.get(ROUTE, **openapi.LIST_AGENTS)
async def list_agents(request: Request) -> Response:
    """The SDKs read a bare list; the pages of May 2026 had it in an object."""

    async def act(asked: Asked) -> Response:
        limit, offset = reading.page(asked.query, usual=USUAL, most=MOST)
        active = agents.wanted_activity(asked.query)
        db, account_id = asked.rt.db, asked.account_id
        if active is None:
            found = await holdings.agents_of(db, account_id, limit=limit, offset=offset)
            return asked.answer([agents.shown(each) for each in found])
        found = await holdings.agents_of(db, account_id, limit=_ALL, offset=0)
        shown = [agents.shown(each) for each in found]
        shown = [each for each in shown if each["is_active"] is active]
        return asked.answer(shown[offset : offset + limit])

    return await serving.answer(request, "read", act)


@router.get(ONE, **openapi.GET_AGENT)
async def get_agent(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        return asked.answer(agents.shown(await owned.own_agent(asked, asked.path("agent_id"))))

    return await serving.answer(request, "read", act)


@router.put(ONE, **openapi.UPDATE_AGENT)
async def update_agent(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        before = await owned.own_agent(asked, asked.path("agent_id"))
        given = await _given(asked)
        now = agents.fields(before, given)
        m, patch = asked.managing, dict[str, Any]()
        if agents.changes_what_is_said(before, now):
            if before.source == "file":
                raise Conflict("What this agent says is in the provisioning file: change it there.")
            patch = agents.patch(before, now)
        own = agents.changed(before, given, at=m.now)
        await manage.update(m, "agent", before.id, patch, own=own)
        after = await owned.own_agent(asked, before.id)
        if _told(before) != _told(after):
            await _tell_numbers(asked, after)
        return asked.answer(agents.shown(after))

    return await serving.answer(request, "manage", act)


@router.delete(ONE, **openapi.DELETE_AGENT)
async def delete_agent(request: Request) -> Response:
    """Its numbers are nobody's from then on, until they are given to another."""

    async def act(asked: Asked) -> Response:
        it, m = await owned.own_agent(asked, asked.path("agent_id")), asked.managing
        if it.source == "file":
            raise Conflict("This agent is in the provisioning file: take it out there.")
        for number in await holdings.numbers_of(asked.rt.db, asked.account_id):
            entry = (await manage.get(m, "number", number.number)).entry
            if entry.get("agent") == it.id:
                own = numbers.changed(number, {}, None)
                await manage.update(m, "number", number.number, {"agent": None}, own=own)
        await manage.remove(m, "agent", it.id)
        return asked.answer({"agent_id": it.id, "deleted": True})

    return await serving.answer(request, "manage", act)


async def _given(asked: Asked) -> Mapping[str, Any]:
    """Raises Refused."""
    it = reading.read(AgentFields, await asked.json())
    given = it.model_dump(exclude_unset=True)
    if given.get("webhook_url"):
        try:
            private = asked.rt.private_webhooks
            given["webhook_url"] = webhooks.checked_url(given["webhook_url"], private=private)
        except BadRequest as error:
            rule = error.sentence.removeprefix("url ").removesuffix(".")
            raise reading.invalid("webhook_url", rule) from None
    elif "webhook_url" in given:
        given["webhook_url"] = None
    return given


def _told(of: HeldAgent) -> tuple[bool, object]:
    """What its numbers have to know of it."""
    return agents.answers(of), kept.agent(of.extra).get("webhook_url")


async def _tell_numbers(asked: Asked, agent: HeldAgent) -> None:
    for number in await holdings.numbers_of(asked.rt.db, asked.account_id):
        if number.agent_id == agent.id and not kept.number(number.config).get("detached"):
            own = numbers.changed(number, {}, agent)
            await manage.update(asked.managing, "number", number.number, {}, own=own)
