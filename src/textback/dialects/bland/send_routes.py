"""A text to a user, or one that is only put on record."""

from starlette.requests import Request
from starlette.responses import Response

from textback import metrics
from textback.core.commands import Accepted
from textback.dialects.bland import creating, openapi, sending, wire
from textback.dialects.bland.answer import Asked, answer, good, new_router
from textback.flows import admit, number_settings, store_only

router = new_router()

_DATA = {
    "status": openapi.text("processing; or blacklisted, when the user has opted out."),
    "message": openapi.text("What was done."),
    "conversation_id": openapi.text("The new one, or the one gone on with.", format="uuid"),
    "workflow_id": openapi.text("The same.", format="uuid"),
}
_SENT = openapi.enveloped(
    openapi.fields(**_DATA)
    | {"properties": _DATA | {"message_id": openapi.text("Of the text, if it is one.")}}
)
_CREATED = openapi.enveloped(
    openapi.fields(**{name: _DATA[name] for name in _DATA if name != "status"})
)


@router.post(
    sending.ROUTE,
    **openapi.route(
        "sendSms",
        "Send an SMS",
        "200 means that the text and its conversation are stored, and will be sent. It goes on "
        "with the live conversation of the two numbers, unless `new_conversation` is true. Without "
        "`agent_message` the agent writes it.",
        _SENT,
        asked=openapi.schema(sending.Send),
        refusals=(404, 409, 429),
        keyed=True,
    ),
)
async def send(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        key = wire.idempotency(sending.ROUTE, asked.key)
        first = key and await asked.rt.accepting.replay(asked.by, key, now=asked.now)
        if first:
            return _sent(asked, first)
        it = sending.read(asked.body)
        agent_number, user = it.our_address(), it.users_address(it.user_number)
        db, account_id = asked.rt.db, asked.account_id
        command = sending.to_command(
            it,
            user,
            asked.body,
            await number_settings.own(db, account_id, agent_number, "bland"),
            private_urls=asked.rt.private_webhooks,
            key=key,
        )
        caller = await admit.sender(asked.rt.book, account_id, agent_number=agent_number)
        await asked.count(caller)
        accepted = await asked.rt.accepting.send_text(caller, command, now=asked.now)
        if accepted.replayed:  # a twin of this request, sent at the same time, was faster
            await asked.uncount(caller)
        return _sent(asked, accepted)

    return await answer(request, "send", act)


@router.post(
    creating.ROUTE,
    **openapi.route(
        "createSmsConversation",
        "Put on record what was said elsewhere",
        "Nothing is sent, no agent answers, and no keyword is obeyed.",
        _CREATED,
        asked=openapi.schema(creating.Create),
        refusals=(404, 409),
    ),
)
async def create(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it = creating.read(asked.body)
        agent_number = it.our_address()
        db, account_id = asked.rt.db, asked.account_id
        number = await number_settings.own(db, account_id, agent_number, "bland")
        accepted = await store_only.put_on_record(
            db,
            await admit.sender(asked.rt.book, account_id, agent_number=agent_number),
            creating.to_command(it, asked.body, number),
            sayer="agent" if it.sender == "AGENT" else "user",
            carrier_message_id=it.message_sid or None,
            now=asked.now,
        )
        return good(creating.answered(accepted), headers=asked.headers)

    return await answer(request, "send", act)


def _sent(asked: Asked, accepted: Accepted) -> Response:
    (metrics.REPLAYED if accepted.replayed else metrics.ACCEPTED).labels("bland").inc()
    if accepted.replayed:
        asked.headers["Idempotent-Replayed"] = "true"
    return good(sending.answered(accepted), headers=asked.headers)
