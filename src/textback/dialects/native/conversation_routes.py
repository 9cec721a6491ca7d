"""Our own routes about conversations: found, shown, changed, handed over and back, erased."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from textback import metrics
from textback.core.errors import BadRequest, UnknownConversation
from textback.core.ids import ConversationId
from textback.db import conversation_reads, message_reads, reads
from textback.db.conversation_reads import ConversationFilter
from textback.dialects.native import (
    conversation_wire,
    openapi,
    paging,
    reading,
    serving,
    shown,
    wire,
)
from textback.dialects.native.serving import Asked
from textback.flows import hand
from textback.flows.amend import amend
from textback.flows.erase import erase_conversation
from textback.flows.say import say

router = serving.router("Conversations")

MOST_SHOWN = 200
"""Texts of a conversation that are shown with it."""

_LIST = "conversations"
_TEXTS = "texts"


@router.get(wire.LIST, **openapi.LIST)
async def conversations(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        given = asked.request.query_params.multi_items()
        plain = [(name, value) for name, value in given if not _is_metadata(name)]
        it = reading.query(conversation_wire.Conversations, plain)
        which = ConversationFilter(
            project=it.project,
            connector=it.connector,
            environment=it.environment,
            state=it.state,
            reason=it.reason,
            user_number=it.user_number,
            agent_number=it.agent_number,
            agent=it.agent,
            dialect=it.dialect,
            since=it.since,
            until=it.until,
            metadata=_metadata([each for each in given if _is_metadata(each[0])]),
            words=it.q,
        )
        found = await asked.rt.reading.ask(
            conversation_reads.search,
            asked.account_id,
            which,
            limit=it.limit + 1,
            before=paging.after_text(it, _LIST),
        )
        return serving.shown(
            paging.Page[wire.ConversationItem](
                data=[shown.item(each) for each in found[: it.limit]],
                next_cursor=paging.next_cursor(it, _LIST, [each.id for each in found]),
            )
        )

    return await serving.answer(request, "read", act)


@router.get(wire.ROUTE, **openapi.GET)
async def conversation(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        return await _whole(asked, _id(asked))

    return await serving.answer(request, "read", act)


@router.patch(wire.ROUTE, **openapi.CHANGE)
async def change(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        which, it = _id(asked), asked.body(conversation_wire.Change)
        changes = it.model_dump(include=it.model_fields_set)
        for name in {"metadata", "variables"} & set(changes):
            changes[name] = changes[name] or {}
        await amend(asked.rt.db, which, changes, who=asked.who)
        return await _whole(asked, which)

    return await serving.answer(request, "converse", act)


@router.delete(wire.ROUTE, **openapi.ERASE)
async def erase(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        which, rt = _id(asked), asked.rt
        await erase_conversation(rt.db, which, who=asked.who, now=rt.now())
        return serving.shown(wire.Erased(id=which))

    return await serving.answer(request, "converse", act)


@router.get(wire.ROUTE + "/messages", **openapi.TEXTS)
async def texts(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        which, it = _id(asked), asked.query(paging.Query)
        if not await conversation_reads.is_of(asked.rt.db, asked.account_id, which):
            raise UnknownConversation(f"There is no conversation {which}.")
        after = paging.after_number(it, _TEXTS) or 0
        found = await message_reads.messages_of(asked.rt.db, which, limit=it.limit + 1, after=after)
        return serving.shown(
            paging.Page[wire.Text](
                data=[shown.text(m) for m in found[: it.limit]],
                next_cursor=paging.next_cursor(it, _TEXTS, [m.seq for m in found]),
            )
        )

    return await serving.answer(request, "read", act)


@router.post(wire.ROUTE + "/messages", **openapi.MESSAGES)
async def messages(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        which, body, rt = _id(asked), asked.json(), asked.rt
        it = reading.read(wire.Message, body)
        key = reading.idempotency(asked.key, f"/v1/conversations/{which}/messages", body)
        who, now = asked.who, rt.now()
        said = await say(rt.db, which, it.text, sender=it.sender, who=who, key=key, now=now)
        (metrics.REPLAYED if said.replayed else metrics.ACCEPTED).labels("native").inc()
        headers = {"Idempotent-Replayed": "true"} if said.replayed else None
        return serving.shown(shown.queued(said), 202, headers)

    return await serving.answer(request, "send", act)


@router.post(wire.ROUTE + "/handoff", **openapi.HAND_OFF)
async def hand_off(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        which, it, rt = _id(asked), asked.body(wire.HandOff), asked.rt
        why, who, now = it.reason or "no reason was given", asked.who, rt.now()
        done = await hand.off(rt.db, which, why, who=who, metadata=it.metadata, now=now)
        return serving.shown(shown.handed_off(done))

    return await serving.answer(request, "converse", act)


@router.post(wire.ROUTE + "/resume", **openapi.RESUME)
async def resume(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        which, body, rt = _id(asked), asked.json(), asked.rt
        it = reading.read(wire.Resume, body)
        if it.message is not None:
            asked.by.need("send")
        key = reading.idempotency(asked.key, f"/v1/conversations/{which}/resume", body)
        done = await hand.resume(
            rt.db, which, who=asked.who, key=key, now=rt.now(), **it.model_dump()
        )
        headers = {"Idempotent-Replayed": "true"} if done.replayed else None
        return serving.shown(shown.resumed(done), 200, headers)

    return await serving.answer(request, "converse", act)


@router.post(wire.ROUTE + "/end", **openapi.END)
async def end(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        which, it, rt = _id(asked), asked.body(wire.End), asked.rt
        done = await hand.end(rt.db, which, it.reason, who=asked.who, now=rt.now())
        return serving.shown(shown.ended(done))

    return await serving.answer(request, "converse", act)


def _id(asked: Asked) -> ConversationId:
    return reading.conversation_id(asked.path("conversation_id"))


async def _whole(asked: Asked, which: ConversationId) -> Response:
    found = await reads.whole_conversation(asked.rt.db, which, latest=MOST_SHOWN)
    if found is None or found.conversation.account_id != asked.account_id:
        raise UnknownConversation(f"There is no conversation {which}.")
    return serving.shown(shown.conversation(found))


def _is_metadata(name: str) -> bool:
    return name.startswith(conversation_wire.METADATA)


def _metadata(given: list[tuple[str, str]]) -> Mapping[str, str]:
    """Raises BadRequest."""
    found: dict[str, Any] = {}
    for name, value in given:
        key = name.removeprefix(conversation_wire.METADATA)
        if not key or key in found or "\0" in name + value:
            raise BadRequest("Give each metadata.KEY=VALUE once, with a key, and without NUL.")
        found[key] = value
    if len(found) > conversation_wire.MOST_METADATA:
        raise BadRequest(f"Give up to {conversation_wire.MOST_METADATA} metadata.KEY=VALUE.")
    return found
