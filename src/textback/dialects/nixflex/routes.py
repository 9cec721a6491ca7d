"""Nixflex' routes: parse -> flow -> render."""

from dataclasses import replace
from typing import cast

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from textback import metrics
from textback.api import deps
from textback.api.dialect import Dialect
from textback.core.commands import Accepted, Scope, SendText
from textback.core.errors import Conflict, MissingScope, Refusal
from textback.core.ids import AgentId
from textback.core.phone import Phone
from textback.db.holdings import HeldNumber
from textback.dialects.nixflex import (
    agent_routes,
    campaign_routes,
    kept,
    number_routes,
    openapi,
    owned,
    reading,
    serving,
    texts,
)
from textback.dialects.nixflex.accounts import NewKey, created, rotated
from textback.dialects.nixflex.serving import Asked
from textback.dialects.nixflex.wire import Refused
from textback.flows import admit, manage_keys

_texts = serving.router("Nixflex: SMS")
_keys = serving.router("Nixflex: keys")


@_texts.post("/v1/sms", **openapi.SEND)
async def send_sms(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        body = await asked.json()
        sms = reading.read(texts.SendSms, body)
        key = reading.idempotency(asked.key, "sms", body)
        # First of all: its number and its agent may be gone by now.
        accepted = (
            await asked.rt.accepting.replay(asked.by, key, now=asked.rt.now()) if key else None
        )
        if accepted is None:
            number = await owned.sender(asked, sms.from_number, sms.agent_id, Phone(sms.to))
            sender = Phone(number.number)
            command = texts.to_command(sms, sender, notify=None, idempotency=key)
            accepted = await _accepted(asked, command, number)
        (metrics.REPLAYED if accepted.replayed else metrics.ACCEPTED).labels("nixflex").inc()
        if accepted.replayed:
            asked.headers["Idempotent-Replayed"] = "true"
        return asked.answer(texts.sent(sms, accepted), 201)

    return await serving.answer(request, "send", act)


async def _accepted(asked: Asked, command: SendText, number: HeldNumber) -> Accepted:
    rt = asked.rt
    caller = await admit.sender(rt.book, asked.account_id, agent_number=number.number)
    agent = await owned.agent(asked, command.agent.agent_id or AgentId(""))
    owned.may_text(number, command.user_number)
    counted = await deps.count(rt, caller)
    if counted.refusal is not None:
        raise counted.refusal
    command = replace(
        command,
        objective=kept.with_context(number.config, command.objective),
        notify=owned.notify(agent, number),
    )
    accepted = await rt.accepting.send_text(caller, command, now=rt.now())
    if accepted.replayed:  # a twin of this request, sent at the same time, was faster
        await deps.uncount(rt, caller)
    return accepted


@_keys.post("/v1/keys", **openapi.CREATE_KEY)
async def create_key(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        wanted = reading.read(NewKey, await asked.json())
        same = cast("frozenset[Scope] | None", asked.by.scopes)  # it may do what its maker may
        try:
            made = await manage_keys.create_pair(asked.managing, name=wanted.name, scopes=same)
        except Conflict:  # nobody said that names differ
            made = await manage_keys.create_pair(asked.managing, scopes=same)
        return asked.answer(created(made), 201)

    return await serving.answer(request, "manage", act, rate=serving.KEYS, instead=_by_whom)


def _by_whom(refusal: Refusal) -> Refusal:
    """Elsewhere anybody may make a key; who runs this service does not want that."""
    no_key = isinstance(refusal, Refused) and refusal.code in {
        "invalid_api_key",
        "key_secret_required",
    }
    if not no_key and not isinstance(refusal, MissingScope):
        return refusal
    return Refused(
        "permission_denied",
        "A key is made with one that may manage the account (scope manage): send it as"
        " Authorization: Bearer KEY_ID:KEY_SECRET. The first one comes from who runs this service:"
        " `key_pairs` in the provisioning file.",
    )


@_keys.post("/v1/keys/rotate", **openapi.ROTATE_KEY)
async def rotate_key(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        # As they document it, what was before ends at once, and nothing can be insisted on.
        made = await manage_keys.rotate(asked.managing, asked.by.key_id, again=True)
        return asked.answer(rotated(made))

    return await serving.answer(request, "manage", act)


router = APIRouter()
for each in (_texts, campaign_routes.router, agent_routes.router, number_routes.router, _keys):
    # Not include_router, which hides the routes from who looks for their paths.
    router.routes.extend(each.routes)

DIALECT = Dialect(
    name="nixflex",
    title="textback: Nixflex",
    description="Nixflex' routes for SMS, its agents and its numbers"
    " (https://docs.nixflex.com/api-reference/introduction).",
    router=router,
    fault=serving.fault,
    under=("/v1/sms/campaigns/",),
)
