"""Bland AI's conversations, read and cleared away; what was told of them; their analysis."""

from math import ceil
from typing import Final

from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from textback.api import deps
from textback.core.errors import Conflict, UnknownConversation, UnknownResource, WrongState
from textback.core.ids import ConversationId
from textback.db import listing, message_reads, webhook_reads
from textback.db.listing import Listed
from textback.dialects.bland import openapi, reading, wire
from textback.dialects.bland import reading_openapi as described
from textback.dialects.bland.answer import Asked, answer, good, new_router
from textback.flows import analyse_now, erase, hand

router = new_router()

LIST: Final = "/v1/sms/conversations"
ONE: Final = LIST + "/{conversation_id}"

ANALYSIS_SECONDS: Final = 40.0
MOST_TEXTS: Final = 10_000
"""Of one conversation; there is no page to ask for in this answer."""

_SAID: Final = openapi.fields(message=openapi.text("What was done."))


def _query(name: str, description: str, **schema: object) -> openapi.Schema:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": {"type": "string", **schema},
    }


@router.get(
    LIST,
    **openapi.route(
        "listSmsConversations",
        "List conversations",
        "By any of their fields; `filters` is a JSON array of {field, operator, value}.",
        described.LISTED,
        query=(
            _query("page", "From 1.", type="integer", minimum=1, maximum=reading.MOST_PAGE),
            _query(
                "pageSize", "25 unless given.", type="integer", minimum=1,
                maximum=reading.LARGEST_PAGE,
            ),
            _query("sortBy", "created_at unless given.", enum=list(listing.FIELDS)),
            _query("sortDir", "desc unless given.", enum=["asc", "desc"]),
            _query("filters", '[{"field": "is_active", "operator": "eq", "value": true}]'),
        ),
    ),
)  # fmt: skip
async def conversations(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        page = reading.page(asked.query)
        found, total = await asked.rt.reading.ask(
            listing.some,
            asked.account_id,
            page.filters,
            sort_by=page.sort_by,
            descending=page.descending,
            offset=(page.number - 1) * page.size,
            limit=page.size,
        )
        pagination: dict[str, JsonValue] = {
            "totalItems": total,
            "totalPages": ceil(total / page.size),
            "currentPage": page.number,
            "pageSize": page.size,
        }
        data: list[JsonValue] = [reading.listed(each) for each in found]
        return JSONResponse(wire.good(data) | {"extra": {"pagination": pagination}})

    return await answer(request, "read", act)


@router.get(
    ONE,
    **openapi.route(
        "getSmsConversation",
        "Get one conversation, with all that was said",
        "Each text with its status; what the agent's analysis made of it.",
        openapi.enveloped(described.WHOLE),
        by_id=True,
    ),
)
async def conversation(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        found = await _found(asked)
        texts = await message_reads.messages_of(asked.rt.db, found.id, limit=MOST_TEXTS)
        return good(reading.whole(found, texts))

    return await answer(request, "read", act)


@router.patch(
    ONE,
    **openapi.route(
        "updateSmsConversation",
        "End a conversation",
        "`is_active` false ends it, and sends nothing; one that is over cannot be begun again.",
        openapi.fields(message=openapi.text("What was done."), conversation=described.CHANGED),
        asked=openapi.schema(reading.Change),
        refusals=(409,),
        by_id=True,
    ),
)
async def change(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it = wire.read(reading.Change, asked.body)
        before = await _found(asked)
        if it.is_active and not before.is_active:
            raise WrongState("The conversation is over; send a text to open another.")
        if not it.is_active:
            name = ConversationId(before.id)
            await hand.end(asked.rt.db, name, None, who=asked.who, now=asked.now)
        after = await _found(asked)
        shown: dict[str, JsonValue] = {
            "id": wire.shown_id(after.id),
            "is_active": after.is_active,
            "updated_at": wire.shown_time(after.updated_at),
        }
        # Without the envelope, as they document it.
        return JSONResponse({"message": "Conversation updated", "conversation": shown})

    return await answer(request, "converse", act)


@router.delete(
    ONE,
    **openapi.route(
        "deleteSmsConversation",
        "Delete a conversation",
        "With all its texts and what was told of them, for good. One that lives is ended first.",
        openapi.enveloped(_SAID),
        refusals=(409,),
        by_id=True,
    ),
)
async def delete(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        name = wire.conversation_id(asked.path["conversation_id"])
        await erase.erase_conversation(asked.rt.db, name, who=asked.who, now=asked.now)
        return good({"message": "Conversation deleted"})

    return await answer(request, "converse", act)


@router.delete(
    ONE + "/messages",
    **openapi.route(
        "deleteSmsMessages",
        "Delete texts of a conversation",
        "All that are named, or none.",
        openapi.enveloped(
            openapi.fields(
                message=openapi.text("What was done."), deleted_count={"type": "integer"}
            )
        ),
        asked=openapi.schema(reading.Deleted),
        refusals=(409,),
        by_id=True,
    ),
)
async def delete_messages(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it = wire.read(reading.Deleted, asked.body)
        name, ids = wire.conversation_id(asked.path["conversation_id"]), set(it.message_ids)
        await erase.erase_messages(asked.rt.db, name, ids, who=asked.who, now=asked.now)
        return good({"message": "Messages deleted", "deleted_count": len(ids)})

    return await answer(request, "converse", act, codes={UnknownResource: "MESSAGE_NOT_FOUND"})


@router.get(
    ONE + "/webhook",
    **openapi.route(
        "getSmsConversationWebhook",
        "Get the latest webhook of a conversation",
        "What was posted, and each attempt. Null when none was.",
        openapi.enveloped(described.DELIVERY),
        by_id=True,
    ),
)
async def webhook(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        found = await _found(asked)
        latest = await webhook_reads.latest_of(asked.rt.db, found.id)
        if latest is None:
            return good(None)
        url, sent, tried = latest
        return good(reading.delivery(wire.shown_id(found.id), found, url, sent, tried))

    return await answer(request, "read", act)


@router.post(
    "/v1/sms/analyze",
    **openapi.route(
        "analyzeSmsConversation",
        "Analyze a conversation that is over",
        "`schema_id` is the id of the conversation's agent, whose analysis says what is wanted. "
        "What was found before is given again.",
        described.ANALYZED,
        asked=openapi.schema(reading.Analyze),
        refusals=(404, 409),
    ),
)
async def analyze(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it = wire.read(reading.Analyze, asked.body)
        name, db = wire.conversation_id(it.conversation_id), asked.rt.db
        await analyse_now.ask(db, name, it.schema_id, who=asked.who, now=asked.now)
        try:
            found = await analyse_now.result(
                db, name, seconds=ANALYSIS_SECONDS, stop=deps.stop(request)
            )
        except TimeoutError:
            raise Conflict("The analysis is not done yet; ask again.") from None
        shown = reading.analyzed(it.conversation_id, it.schema_id, found.analysis, found.texts)
        # An empty list instead of null, as they document it.
        return JSONResponse({"data": shown, "errors": []})

    codes: wire.Codes = {UnknownResource: "SCHEMA_NOT_FOUND", Conflict: "ANALYSIS_PENDING"}
    return await answer(request, "converse", act, codes=codes)


async def _found(asked: Asked) -> Listed:
    name = wire.conversation_id(asked.path["conversation_id"])
    found = await listing.one(asked.rt.db, asked.account_id, name)
    if found is None:
        raise UnknownConversation("There is no conversation with that id.")
    return found
