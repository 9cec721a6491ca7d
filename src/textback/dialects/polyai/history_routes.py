"""PolyAI's Conversations API: read what was said."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from textback.api import deps
from textback.api.openapi_headers import EVERY, RETRY
from textback.api.openapi_schemas import in_one_piece, later
from textback.core.errors import BadRequest, Refusal, UnknownConversation, UnknownResource
from textback.core.ids import AccountId
from textback.db import transcripts
from textback.dialects.polyai import history, platform
from textback.dialects.polyai.history_schemas import Detailed, Page
from textback.flows import admit
from textback.runtime import Runtime

router = APIRouter(tags=["PolyAI: conversations"])

_NOT_FOUND: Final = (404, "CONVERSATIONS_NOT_FOUND")
_CODES: Final[Mapping[type[Refusal], tuple[int, str]]] = {
    BadRequest: (400, "CONVERSATIONS_VALIDATION_FAILED"),
    UnknownConversation: _NOT_FOUND,
    UnknownResource: _NOT_FOUND,
}


def _parameter(where: str, name: str, description: str, **schema: object) -> dict[str, Any]:
    return {
        "name": name,
        "in": where,
        "required": where == "path",
        "description": description,
        "schema": {"type": "string", **schema},
    }


_KEY: Final = _parameter("header", "x-api-key", "Your API key.") | {"required": True}
_WHEN: Final[dict[str, object]] = {"format": "date-time"}


def _operation(
    name: str, description: str, answer: type[BaseModel], parameters: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "operationId": name,
        "description": description,
        "parameters": [_KEY, *parameters],
        "responses": {
            "200": {
                "description": "What was said, and what it is about.",
                "headers": EVERY,
                "content": {"application/json": {"schema": later(lambda: in_one_piece(answer))}},
            },
            "400": platform.described("The query is not as described."),
            "401": platform.described("The API key is missing, unknown, revoked or expired."),
            "403": platform.described("The key lacks the scope `read`."),
            "404": platform.described("There is nothing of that name in the key's account."),
            "500": platform.described("Our fault."),
            "503": platform.described("The database cannot be reached: try again.", RETRY),
        },
    }


LISTED: Final = _operation(
    "listPolyaiConversations",
    "A project's conversations with their turns, the newest first. Fields that are not known are "
    "ignored; no conversation has a variant.",
    Page,
    [
        _parameter("path", "account_id", "Of the key."),
        _parameter("path", "project_id", "One of the account's."),
        _parameter("query", "client_env", "`live` unless given.",
                   enum=["dev", "sandbox", "pre-release", "live"]),
        _parameter("query", "channel", "SMS, RCS, WHATSAPP or CHAT; may be repeated.",
                   type="array", items={"type": "string"}, maxItems=10),
        _parameter("query", "start_time", "Opened then or later.", **_WHEN),
        _parameter("query", "end_time", "Opened before.", **_WHEN),
        _parameter("query", "in_progress", "Only those that are, or are not.",
                   enum=["true", "false"]),
        _parameter("query", "limit", f"How many; {history.USUAL} unless given.", type="integer",
                   minimum=1, maximum=history.MOST),
        _parameter("query", "offset", "How many to leave out.", type="integer", minimum=0,
                   maximum=1_000_000),
        _parameter("query", "cursor", "Of the answer before; wins over `offset`.",
                   pattern="^conv_[0-9a-z]{26}$"),
        _parameter("query", "query", "Words that somebody said.", minLength=1, maxLength=500),
        _parameter("query", "query_type", "Needs `query`; not together with `sample`. A semantic "
                   "search is not offered.", enum=["transcript"]),
        _parameter("query", "turn_type", "Whose words `query` is looked for in; anybody's unless "
                   "given.", enum=["user", "agent"]),
        _parameter("query", "sample", "Any, in no order.", enum=["random"]),
        _parameter("query", "include_latency", "Seconds that each answer took.",
                   enum=["true", "false"]),
        _parameter("query", "variant_id", "No conversation has one."),
        _parameter("query", "variant_name", "No conversation has one."),
    ],
)  # fmt: skip
ONE: Final = _operation(
    "getPolyaiConversation",
    "One conversation, in camelCase, as PolyAI's Agents API has it.",
    Detailed,
    [
        _parameter("path", "agent_id", "Its agent, or its project."),
        _parameter("path", "conversation_id", "With or without TW_SMS_ before it."),
    ],
)


@router.get(
    history.LIST,
    response_class=Response,
    summary="List conversations with their turns",
    openapi_extra=LISTED,
)
async def listed(request: Request) -> Response:
    async def act(rt: Runtime, account_id: AccountId) -> Any:  # noqa: ANN401 - JSON
        given = request.query_params
        asked = history.read({name: given.getlist(name) for name in given})
        path = request.path_params
        if path["account_id"] != account_id or "\0" in path["project_id"]:
            raise UnknownResource("The key's account is not the one in the path.")
        await admit.sender(rt.book, account_id, project=path["project_id"])
        if asked.variant_id or asked.variant_name:
            return history.page([], asked)
        wanted = history.wanted(path["project_id"], asked)
        return history.page(await rt.reading.ask(transcripts.some, account_id, wanted), asked)

    return await _answer(request, act)


@router.get(
    history.ONE,
    response_class=Response,
    summary="Read one conversation",
    openapi_extra=ONE,
)
async def one(request: Request) -> Response:
    async def act(rt: Runtime, account_id: AccountId) -> Any:  # noqa: ANN401 - JSON
        path = request.path_params
        name = history.own_id(path["conversation_id"])
        ask = rt.reading.find
        found = None if "\0" in name else await ask(transcripts.one, account_id, name)
        if found is None or path["agent_id"] not in {found.agent_id, found.project_id}:
            raise UnknownConversation("The agent has no such conversation.")
        return history.detailed(found)

    return await _answer(request, act)


async def _answer(
    request: Request, act: Callable[[Runtime, AccountId], Awaitable[Any]]
) -> Response:
    rt = deps.runtime(request)
    try:
        key = platform.key_of(request)
        by = await admit.holder(rt.book, key=key, scope="read", now=rt.now())
        return JSONResponse(await act(rt, by.account_id))
    except Refusal as refusal:
        return platform.refused(request, refusal, _CODES)
