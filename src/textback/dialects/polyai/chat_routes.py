"""PolyAI's Chat API: a way to talk to an agent without a phone."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from textback.api import deps
from textback.api.body import parse_json
from textback.api.openapi_headers import EVERY, RETRY
from textback.api.openapi_schemas import in_one_piece
from textback.core import errors
from textback.core.commands import Caller
from textback.core.conversation import Closed, HandedOff
from textback.core.errors import Refusal
from textback.dialects.polyai import chat, platform
from textback.flows import admit
from textback.flows import chat as flow
from textback.runtime import Runtime

router = APIRouter(tags=["PolyAI: chat"])

_BAD: Final = (400, "CHAT_VALIDATION_FAILED")
_CODES: Final[Mapping[type[Refusal], tuple[int, str]]] = {
    errors.BadRequest: _BAD,
    errors.TooLarge: _BAD,
    errors.UnknownConnector: (400, "CHAT_DRAFT_NOT_EXIST"),
    errors.UnknownResource: (400, "CHAT_DRAFT_NOT_EXIST"),
    errors.UnknownConversation: (404, "CHAT_CONVERSATION_NOT_FOUND"),
    errors.WrongState: (410, "ChatConversationEnded"),
    errors.Conflict: (400, "CHAT_TIMEOUT"),
}


def _header(name: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": True,
        "description": description,
        "schema": {"type": "string"},
    }


def _operation(
    name: str, description: str, asked: type[BaseModel], answer: type[BaseModel]
) -> dict[str, Any]:
    def place(of: str, what: str) -> dict[str, Any]:
        return _header(of, what) | {"in": "path"}

    return {
        "operationId": name,
        "description": description,
        "parameters": [
            _header("X-API-KEY", "Your API key."),
            _header("X-TOKEN", "The connector, which says which environment's agent answers."),
            place("account_id", "Of the key."),
            place("project_id", "Of the connector."),
        ],
        "requestBody": {
            "required": asked is not chat.Create,
            "content": {"application/json": {"schema": in_one_piece(asked)}},
        },
        "responses": {
            "200": {
                "description": "Done.",
                "headers": EVERY,
                "content": {"application/json": {"schema": in_one_piece(answer, "serialization")}},
            },
            "400": platform.described(
                "The body is not as described, there is no such agent (CHAT_DRAFT_NOT_EXIST), or "
                "it has not answered in time, or before this server stops (CHAT_TIMEOUT); it is "
                "still heard, and what it answers is kept."
            ),
            "401": platform.described("The API key is missing, unknown, revoked or expired."),
            "403": platform.described("The key's account is another, or it lacks the scope `send`"),
            "404": platform.described("There is no such chat."),
            "410": platform.described("The conversation has ended."),
            "429": platform.described("The project's rate limit is used up.", RETRY),
            "500": platform.described("Our fault."),
            "503": platform.described("The database cannot be reached: try again.", RETRY),
        },
    }


@router.post(
    f"{chat.PATH}/create",
    response_class=Response,
    summary="Begin a chat",
    openapi_extra=_operation(
        "createChat", "The agent greets, if it has a greeting.", chat.Create, chat.Created
    ),
)
async def create(request: Request) -> Response:
    async def act(rt: Runtime, caller: Caller, body: dict[str, Any]) -> BaseModel:
        asked = chat.create(body)
        name, after = await flow.open_chat(
            rt.db, rt.vault, caller, variables=asked.integration_attributes or {}, now=rt.now()
        )
        stop = deps.leave(request)
        said = await flow.answer(rt.db, caller, name, after, seconds=chat.SECONDS, stop=stop)
        return chat.Created(conversation_id=name, response="\n".join(said.texts))

    return await _answer(request, act, counts=True)


@router.post(
    f"{chat.PATH}/respond",
    response_class=Response,
    summary="Say something, and hear the agent",
    openapi_extra=_operation(
        "respondInChat",
        "Waits for the agent, which a worker runs as for any text.",
        chat.Respond,
        chat.Responded,
    ),
)
async def respond(request: Request) -> Response:
    async def act(rt: Runtime, caller: Caller, body: dict[str, Any]) -> BaseModel:
        asked = chat.respond(body)
        name = chat.conversation_id(asked)
        text = asked.message if asked.message and asked.message.strip() else None
        after = await flow.respond(rt.db, caller, name, text, now=rt.now())
        stop = deps.leave(request)
        said = await flow.answer(rt.db, caller, name, after, seconds=chat.SECONDS, stop=stop)
        it = said.conversation
        return chat.Responded(
            conversation_id=name,
            response="\n".join(said.texts),
            end_conversation=isinstance(it, Closed),
            handoff=chat.HandOff(destination="person", reason=it.why)
            if isinstance(it, HandedOff)
            else None,
        )

    return await _answer(request, act, counts=True)


@router.put(
    f"{chat.PATH}/close",
    response_class=Response,
    summary="End a chat",
    openapi_extra=_operation("closeChat", "Sends nothing.", chat.Close, chat.Closed),
)
async def close(request: Request) -> Response:
    async def act(rt: Runtime, caller: Caller, body: dict[str, Any]) -> BaseModel:
        await flow.end(rt.db, caller, chat.conversation_id(chat.close(body)), now=rt.now())
        return chat.Closed(success=True)

    return await _answer(request, act)


async def _answer(
    request: Request,
    act: Callable[[Runtime, Caller, dict[str, Any]], Awaitable[BaseModel]],
    *,
    counts: bool = False,
) -> Response:
    rt, path = deps.runtime(request), request.path_params
    try:
        body = await deps.body(request, at_most=chat.MAX_BODY)
        key, now = platform.key_of(request), rt.now()
        by = await admit.holder(rt.book, key=key, scope="send", now=now)
        if by.account_id != path["account_id"]:
            raise errors.WrongAccount("The key's account is not the one in the path.")
        connector = request.headers.get("x-token", "").replace("\0", "\ufffd")
        caller = await admit.sender(rt.book, by.account_id, connector=connector)
        if caller.project_id != path["project_id"]:
            raise errors.UnknownResource("The connector in X-TOKEN is of another project.")
        asked = parse_json(request, body, at_most=chat.MAX_BODY, empty={})
        if counts and (refusal := (await deps.count(rt, caller)).refusal) is not None:
            raise refusal
        answer = await act(rt, caller, asked)
    except flow.TookTooLong:
        late = errors.Conflict(
            "The agent has not answered in time. What was said is kept: do not say it again, and"
            " read the answer with the Conversations API."
        )
        return platform.refused(request, late, _CODES)
    except Refusal as refusal:
        return platform.refused(request, refusal, _CODES)
    return JSONResponse(answer.model_dump(exclude_none=True))
