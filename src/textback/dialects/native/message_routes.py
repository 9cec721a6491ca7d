"""Our own routes about single texts: send one, see what became of it, list them."""

from starlette.requests import Request
from starlette.responses import Response

from textback import metrics
from textback.api import deps
from textback.core.commands import Accepted, Caller, Idempotency, Notify
from textback.core.errors import BadRequest, UnknownResource
from textback.core.phone import Phone
from textback.core.webhook import url_fault
from textback.db import message_reads, plans
from textback.db.message_reads import MessageFilter, Place
from textback.db.reads import MessageRecord
from textback.dialects.native import (
    fields,
    message_openapi,
    message_shown,
    message_wire,
    paging,
    reading,
    sending,
    serving,
)
from textback.dialects.native.serving import Asked
from textback.flows import admit, idle

router = serving.router("Messages")

_LIST = "messages"


@router.post(message_wire.ROUTE, **message_openapi.SEND)
async def send(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        body = asked.json()
        it = reading.read(message_wire.Send, body)
        key = reading.idempotency(asked.key, message_wire.ROUTE, body)
        to = sending.user(it)
        done = (
            None
            if key is None
            else await asked.rt.accepting.replay(asked.by, key, now=asked.rt.now())
        )
        if done is None:
            done = await _accept(asked, it, key)
        (metrics.REPLAYED if done.replayed else metrics.ACCEPTED).labels("native").inc()
        if done.replayed:
            asked.headers["Idempotent-Replayed"] = "true"
        return serving.shown(await _told(asked, it, done, to), 202, asked.headers)

    return await serving.answer(request, "send", act)


@router.get(message_wire.ROUTE, **message_openapi.LIST)
async def messages(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it = asked.query(message_wire.Messages)
        which = MessageFilter(
            project=it.project,
            conversation=it.conversation,
            direction=it.direction,
            state=it.state,
            user_number=it.user_number,
            agent_number=it.agent_number,
            error_code=it.error_code,
            since=it.since,
            until=it.until,
            words=it.q,
        )
        found = await asked.rt.reading.ask(
            message_reads.list_messages,
            asked.account_id,
            which,
            limit=it.limit + 1,
            before=_before(it),
        )
        return serving.shown(
            paging.Page[message_wire.Message](
                data=[message_shown.message(m) for m in found[: it.limit]],
                next_cursor=paging.next_cursor(it, _LIST, [_place(m) for m in found]),
            )
        )

    return await serving.answer(request, "read", act)


@router.get(message_wire.ROUTE + "/{message_id}", **message_openapi.GET)
async def message(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        which = reading.an_id(asked.path("message_id"), message_wire.ID, "message")
        db, account_id = asked.rt.db, asked.account_id
        found = await message_reads.find_message(db, account_id, which)
        plan = await plans.find(db, account_id, which)
        if found is not None:
            return serving.shown(message_shown.story(found, plan))
        # An accepted one without its text was erased.
        if plan is None or plan.state == "accepted":
            raise UnknownResource(f"There is no message {which}.")
        return serving.shown(message_shown.planned(plan))

    return await serving.answer(request, "read", act)


async def _accept(asked: Asked, it: message_wire.Send, key: Idempotency | None) -> Accepted:
    """Counted against the project's limit, unless it turns out to be a repetition."""
    rt, caller = asked.rt, await _caller(asked, it)
    counted = await deps.count(rt, caller)
    asked.headers.update(counted.headers)
    if counted.refusal is not None:
        raise counted.refusal
    has_own = it.inactivity is not None
    silence = await idle.of_project(rt.db, caller.project_id) if has_own else None
    asks = sending.command(it, idle=silence, notify=_notify(asked, it), key=key)
    done = await rt.accepting.send_text(caller, asks, now=asked.rt.now())
    if done.replayed:  # a twin of this request, sent at the same time, was faster
        await deps.uncount(rt, caller)
        asked.headers.clear()
    return done


async def _caller(asked: Asked, it: message_wire.Send) -> Caller:
    return await admit.sender(
        asked.rt.book,
        asked.account_id,
        agent_number=sending.agent_number(it),
        connector=it.connector,
        project=it.project,
        environment=it.environment,
    )


async def _told(
    asked: Asked, it: message_wire.Send, done: Accepted, to: Phone
) -> message_wire.Accepted:
    unsaid = it.text is None and it.template is None
    promised = (
        unsaid
        and done.message_id is not None
        and await message_reads.was_promised(asked.rt.db, done.message_id)
    )
    return sending.accepted(done, to, promised=promised)


def _notify(asked: Asked, it: message_wire.Send) -> Notify | None:
    if it.webhook is None:
        return None
    if (fault := url_fault(it.webhook, private=asked.rt.private_webhooks)) is not None:
        raise BadRequest(f"webhook {fault}.")
    return Notify(url=it.webhook, format=sending.FORMAT)


def _place(m: MessageRecord) -> str:
    return f"{m.created_at.isoformat()} {m.id}"


def _before(it: message_wire.Messages) -> Place | None:
    place = paging.after_text(it, _LIST)
    if place is None:
        return None
    at, _, which = place.partition(" ")
    try:
        return fields.moment(at), which
    except ValueError:
        raise paging.wrong() from None
