# pyright: reportUnknownMemberType=false
# jsonschema's types are half open.
"""PolyAI's Conversations API and Chat API, over HTTP, with a worker beside them."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any, NoReturn, cast

import httpx
import pytest
from jsonschema import Draft202012Validator
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import client, execute, rows, served, settings, started, until
from tests.support.deployment import AGENT, NOW, SECOND, caller, second
from tests.support.provision import ACME_KEY, GLOBEX_KEY, provision
from tests.support.running import FOREVER, Shop
from tests.support.wire import Wire
from tests.support.world import World
from textback.core.ids import ConversationId
from textback.db.book import Book
from textback.dialects.polyai.history import LIST, ONE
from textback.flows import chat as flow
from textback.runtime import Runtime

PROJECT = "/v3/acme/reminders/conversations"
CHAT = "/v1/acme/reminders/chat"
KEY = {"x-api-key": ACME_KEY}
TOKEN = KEY | {"X-TOKEN": "conn-live"}
UNKNOWN = "conv_01kk2v5m7xq1t8c9d0e2f3g4h5"


class Broken:
    """A database whose driver has a bug."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(name)


KEYS = f"""
accounts:
  - id: acme
    api_keys: [{{name: ci, key: {ACME_KEY}}}]
  - id: globex
    api_keys: [{{name: ci, key: {GLOBEX_KEY}}}]
"""


@pytest.fixture
async def world(engine: AsyncEngine) -> AsyncGenerator[World]:
    made = World(engine)
    await made.provision()
    await provision(engine, KEYS)
    yield made
    await made.close()


@pytest.fixture
async def rt(world: World, database_url: str, redis_url: str) -> AsyncGenerator[Runtime]:
    found = settings(database_url, redis_url, dialects=("polyai",))
    async with started(found, lambda: world.now) as made:
        yield made


@pytest.fixture
async def http(rt: Runtime) -> AsyncGenerator[httpx.AsyncClient]:
    async with client(rt) as made:
        yield made


def code_of(answer: httpx.Response) -> tuple[int, str]:
    """In the platform's one shape."""
    body = answer.json()
    assert set(body) == {"success", "error", "error_id", "error_code", "error_message", "data"}
    assert (body["success"], body["data"]) == (False, None)
    assert body["error_id"] == answer.headers["x-polyai-correlation-id"]
    return answer.status_code, body["error_code"]


def closed(schema: Any) -> Any:
    """The same, where nothing may be that is not described."""
    if isinstance(schema, list):
        return [closed(each) for each in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(each) for name, each in cast("dict[str, Any]", schema).items()}
    return {"additionalProperties": False, **inner} if "properties" in inner else inner


async def test_what_was_said_is_listed_and_found_again(
    world: World, http: httpx.AsyncClient
) -> None:
    ids = await world.accept("Is 3pm good?")
    await world.hear("can we do 4pm", now=second(5))
    await world.think(now=second(6))
    listed = (await http.get(PROJECT, headers=KEY)).json()
    [found] = listed["conversations"]
    assert found["id"] == f"TW_SMS_{ids.conversation_id}"
    said = [(turn["user_input"], turn["agent_response"]) for turn in found["turns"]]
    assert said == [("", "Is 3pm good?"), ("can we do 4pm", "You said: can we do 4pm")]
    assert (listed["cursor"], "next_offset" in listed) == (None, False)
    for agent in ("bookings", "reminders"):
        one = await http.get(f"/v1/agents/{agent}/conversations/{found['id']}", headers=KEY)
        assert one.status_code == 200
        assert one.json()["conversationId"] == found["id"]
        assert len(one.json()["turns"]) == 2


async def test_the_document_describes_each_field_of_both_shapes(
    world: World, http: httpx.AsyncClient
) -> None:
    """Each that comes is described, and each that is said to come always comes."""
    paths = (await http.get("/openapi/polyai.json")).json()["paths"]

    def described(path: str, what: dict[str, Any], *, turns: str) -> None:
        answer = paths[path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        whole = closed(answer)
        Draft202012Validator(whole).validate(what)
        shape = whole["properties"].get("conversations", {"items": whole})["items"]
        assert set(shape["required"]) == set(shape["properties"])
        turn = shape["properties"]["turns"]["items"]
        assert set(turn["properties"]) - set(turn["required"]) == {"latency"}
        assert turns in turn["properties"]

    await world.accept("Is 3pm good?")
    await world.hear("can we do 4pm", now=second(5))
    await world.think(now=second(6))
    await world.accept("Is 5pm good?", agent_number=SECOND, now=second(9))
    query = {"include_latency": "true", "limit": "1"}
    listed = (await http.get(PROJECT, headers=KEY, params=query)).json()
    assert listed["next_offset"] == 1
    described(LIST, listed, turns="user_input")
    rest = (await http.get(PROJECT, headers=KEY, params={**query, "offset": "1"})).json()
    [found] = rest["conversations"]
    assert "latency" in found["turns"][1]
    described(LIST, rest, turns="user_input")
    one = await http.get(f"/v1/agents/bookings/conversations/{found['id']}", headers=KEY)
    described(ONE, one.json(), turns="userInput")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, 1),
        ({"channel": ["WEBCHAT", "SMS"]}, 1),
        ({"channel": "CHAT"}, 0),
        ({"client_env": "dev"}, 0),
        ({"in_progress": "true"}, 1),
        ({"in_progress": "false"}, 0),
        ({"query": "appointment"}, 1),
        ({"query": "refund"}, 0),
        ({"start_time": "2026-03-02T09:00:00Z"}, 1),
        ({"end_time": "2026-03-02T09:00:00Z"}, 0),
        ({"sample": "random", "limit": "1"}, 1),
        ({"offset": "1"}, 0),
        ({"cursor": UNKNOWN}, 1),
        ({"variant_id": "v1"}, 0),
    ],
)
async def test_a_list_holds_what_was_asked_for(
    world: World, http: httpx.AsyncClient, query: dict[str, str | list[str]], expected: int
) -> None:
    await world.accept()
    answer = await http.get(PROJECT, headers=KEY, params=query)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["conversations"]) == expected


@pytest.mark.parametrize(
    ("words", "whose", "expected"),
    [
        ("quarter", {}, 1),
        ("quarter", {"turn_type": "user"}, 1),
        ("quarter", {"turn_type": "agent"}, 0),
        ("good", {"turn_type": "agent"}, 1),
        ("good", {"turn_type": "user"}, 0),
    ],
)
async def test_words_are_looked_for_in_what_the_user_or_the_agent_said(
    world: World, http: httpx.AsyncClient, words: str, whose: dict[str, str], expected: int
) -> None:
    await world.accept("Is 3pm good?")
    await world.hear("a quarter past", now=second(5))
    query = {"query_type": "transcript", "query": words, **whose}
    answer = await http.get(PROJECT, headers=KEY, params=query)
    assert len(answer.json()["conversations"]) == expected


async def test_what_is_wrong_or_not_there_is_told_in_the_platforms_shape(
    world: World, http: httpx.AsyncClient
) -> None:
    ids = await world.accept()
    one = f"/v1/agents/bookings/conversations/{ids.conversation_id}"

    async def get(path: str, key: str | None = ACME_KEY) -> tuple[int, str]:
        return code_of(await http.get(path, headers={} if key is None else {"x-api-key": key}))

    assert await get(PROJECT, None) == (401, "UNAUTHORIZED")
    assert await get(PROJECT, "nobody's") == (401, "UNAUTHORIZED")
    missing = (404, "CONVERSATIONS_NOT_FOUND")
    assert await get(PROJECT, GLOBEX_KEY) == missing
    assert await get("/v3/acme/elsewhere/conversations") == missing
    assert await get("/v3/acme/%00/conversations") == missing
    assert await get(one, GLOBEX_KEY) == missing
    assert await get(f"/v1/agents/other/conversations/{ids.conversation_id}") == missing
    assert await get("/v1/agents/bookings/conversations/%00") == missing
    assert await get(f"{PROJECT}?limit=0") == (400, "CONVERSATIONS_VALIDATION_FAILED")


async def test_who_sends_no_key_is_told_the_header_that_is_read(http: httpx.AsyncClient) -> None:
    answers = [
        await http.get(PROJECT),
        await http.get(f"/v1/agents/bookings/conversations/{UNKNOWN}", headers={"x-api-key": ""}),
        await http.post(f"{CHAT}/create", headers={"authorization": f"Bearer {ACME_KEY}"}),
    ]
    for answer in answers:
        assert code_of(answer) == (401, "UNAUTHORIZED")
        assert answer.json()["error"] == "Send your API key in the X-API-KEY header."


async def ask_all(http: httpx.AsyncClient) -> list[httpx.Response]:
    """Each route of both APIs."""
    chat = {"conversation_id": UNKNOWN, "message": "hi"}
    return [
        await http.get(PROJECT, headers=TOKEN),
        await http.get(f"/v1/agents/bookings/conversations/{UNKNOWN}", headers=TOKEN),
        await http.post(f"{CHAT}/create", headers=TOKEN),
        await http.post(f"{CHAT}/respond", headers=TOKEN, json=chat),
        await http.put(f"{CHAT}/close", headers=TOKEN, json=chat),
    ]


async def test_without_a_database_each_route_says_try_again(
    world: World, database_url: str, redis_url: str
) -> None:
    assert world
    async with Wire(database_url) as lost:
        found = settings(lost.url, redis_url, dialects=("polyai",))
        async with started(found) as rt, client(rt) as http:
            lost.cut()
            for answer in await ask_all(http):
                assert code_of(answer) == (503, "SERVICE_UNAVAILABLE")
                assert answer.headers["retry-after"] == "2"


async def test_our_own_fault_and_another_method_are_told_in_the_platforms_shape(
    rt: Runtime,
) -> None:
    nothing = cast("AsyncEngine", Broken())
    async with client(replace(rt, db=nothing, book=Book(nothing))) as http:
        for answer in await ask_all(http):
            assert code_of(answer) == (500, "INTERNAL_SERVER_ERROR")
            other = await http.delete(answer.request.url.path)
            assert code_of(other) == (405, "METHOD_NOT_ALLOWED")


async def test_a_key_needs_the_scope_of_what_it_asks(
    http: httpx.AsyncClient, world: World, engine: AsyncEngine
) -> None:
    assert world
    await execute(engine, "update api_keys set scopes = '[]'")
    for answer in await ask_all(http):
        assert code_of(answer) == (403, "FORBIDDEN")


async def test_a_chat_counts_against_the_projects_limit(
    http: httpx.AsyncClient, world: World
) -> None:
    await world.provision(project={"rate_limit": {"requests": 1, "per_seconds": 60}})
    body = {"conversation_id": UNKNOWN, "message": "hi"}
    first = await http.post(f"{CHAT}/respond", headers=TOKEN, json=body)
    assert code_of(first) == (404, "CHAT_CONVERSATION_NOT_FOUND")
    answer = await http.post(f"{CHAT}/respond", headers=TOKEN, json=body)
    assert code_of(answer) == (429, "RATE_LIMITED")
    assert 1 <= int(answer.headers["retry-after"]) <= 60


async def test_an_agent_is_not_waited_for_without_end(
    world: World, rt: Runtime, http: httpx.AsyncClient
) -> None:
    """Nobody works here, so nobody answers."""
    begun = await http.post(f"{CHAT}/create", headers=TOKEN)
    chat = ConversationId(begun.json()["conversation_id"])
    after = await flow.respond(rt.db, caller(), chat, "hi", now=world.now)
    with pytest.raises(flow.TookTooLong):
        await flow.answer(rt.db, caller(), chat, after, seconds=0.01, stop=asyncio.Event())


async def test_a_chat_goes_from_greeting_to_end(
    world: World, rt: Runtime, http: httpx.AsyncClient, database_url: str
) -> None:
    await world.put_off_sweeps(NOW + FOREVER)
    shop = Shop(world, database_url)
    shop.rt = replace(shop.rt, carriers=rt.carriers)
    async with shop.working():
        begun = await http.post(f"{CHAT}/create", headers=TOKEN, json={"channel": "chat"})
        assert begun.status_code == 200, begun.text
        chat = begun.json()["conversation_id"]
        assert begun.json()["response"] == "Hello, how can I help?"

        async def say(**body: object) -> httpx.Response:
            given = {"conversation_id": chat, **body}
            return await http.post(f"{CHAT}/respond", headers=TOKEN, json=given)

        said = await say(message="do you open on Sunday?")
        assert said.json() == {
            "conversation_id": chat,
            "response": "You said: do you open on Sunday?",
            "end_conversation": False,
        }
        over = (await say(message="bye")).json()
        assert (over["response"], over["end_conversation"]) == ("Bye.", True)
        assert code_of(await say(message="hello?")) == (410, "ChatConversationEnded")
        closed = await http.put(f"{CHAT}/close", headers=TOKEN, json={"conversation_id": chat})
        assert (closed.status_code, closed.json()) == (200, {"success": True})
    listed = (await http.get(PROJECT, headers=KEY)).json()["conversations"]
    assert [(one["channel"], one["id"]) for one in listed] == [("CHAT", chat)]
    # Nobody is ever texted from a chat's end.
    assert (await world.accept(agent_number=None)).agent_number in {AGENT, SECOND}


async def test_a_server_that_stops_waits_for_the_agent_with_who_is_in_a_chat(
    world: World, rt: Runtime, http: httpx.AsyncClient, engine: AsyncEngine, database_url: str
) -> None:
    await world.put_off_sweeps(NOW + FOREVER)
    begun = await http.post(f"{CHAT}/create", headers=TOKEN)
    said = {"conversation_id": begun.json()["conversation_id"], "message": "on Sunday?"}

    async def waits() -> bool:
        return await rows(engine, "select count(*) n from turns") == [{"n": 1}]

    async def work_once_the_port_is_closed(url: str) -> None:
        async def closed() -> bool:
            try:
                await away.get(f"{url}/health/live")
            except httpx.TransportError:
                return True
            return False

        await until(closed)
        async with Shop(world, database_url).working():
            await asyncio.wait([waiting])

    async with asyncio.timeout(20), httpx.AsyncClient(trust_env=False, timeout=60) as away:
        async with served(rt) as url:
            asked = away.post(f"{url}{CHAT}/respond", headers=TOKEN, json=said)
            waiting = asyncio.create_task(asked)
            await until(waits)
            working = asyncio.create_task(work_once_the_port_is_closed(url))
        await working
        answer = await waiting
    assert (answer.status_code, answer.json()["response"]) == (200, "You said: on Sunday?")


async def test_a_server_that_stops_answers_who_waits_in_a_chat_and_what_they_said_is_kept(
    world: World, rt: Runtime, http: httpx.AsyncClient, engine: AsyncEngine, database_url: str
) -> None:
    await world.put_off_sweeps(NOW + FOREVER)
    shop = Shop(world, database_url)
    begun = await http.post(f"{CHAT}/create", headers=TOKEN)
    # One that opens by itself, which nobody does now: so its beginning is waited for.
    await execute(engine, "update agent_versions set greeting = null, can_open = true")
    said = {"conversation_id": begun.json()["conversation_id"], "message": "on Sunday?"}

    async def both_wait() -> bool:
        return await rows(engine, "select count(*) n from turns") == [{"n": 2}]

    async with asyncio.timeout(20), httpx.AsyncClient(trust_env=False, timeout=60) as away:
        async with served(rt, drain_seconds=3) as url:
            waiting = [
                asyncio.create_task(away.post(f"{url}{CHAT}/{what}", headers=TOKEN, json=body))
                for what, body in (("create", {}), ("respond", said))
            ]
            await until(both_wait)
            told = asyncio.get_running_loop().time()
        for each in waiting:
            assert code_of(await each) == (400, "CHAT_TIMEOUT")
            # Said again, the agent would hear it twice.
            assert "do not say it again" in (await each).json()["error"]
        assert asyncio.get_running_loop().time() - told < 5  # and not when the 40 s are over
    # Of its conversation alone: the other one's opener comes about now, too.
    answers = "select text from messages where direction = 'outbound' and text like '%Sunday%'"

    async def answered() -> bool:
        return await rows(engine, answers) == [{"text": "You said: on Sunday?"}]

    async with shop.working():
        await until(answered)


async def test_what_is_wrong_with_a_chat_is_told_in_the_platforms_shape(
    world: World, http: httpx.AsyncClient
) -> None:
    ids = await world.accept()

    async def post(
        body: object, headers: dict[str, str] = TOKEN, path: str = f"{CHAT}/respond"
    ) -> tuple[int, str]:
        return code_of(await http.post(path, headers=headers, json=body))

    assert await post({}, {}) == (401, "UNAUTHORIZED")
    assert await post({}, {**TOKEN, "x-api-key": GLOBEX_KEY}) == (403, "FORBIDDEN")
    assert await post({}, {**KEY, "X-TOKEN": "nobody"}) == (400, "CHAT_DRAFT_NOT_EXIST")
    other = "/v1/acme/other/chat/respond"
    assert await post({}, path=other) == (400, "CHAT_DRAFT_NOT_EXIST")
    assert await post({}) == (400, "CHAT_VALIDATION_FAILED")
    assert await post([]) == (400, "CHAT_VALIDATION_FAILED")
    unknown = (404, "CHAT_CONVERSATION_NOT_FOUND")
    assert await post({"conversation_id": "x"}) == unknown
    assert await post({"conversation_id": UNKNOWN, "message": "hi"}) == unknown
    by_text = {"conversation_id": ids.conversation_id, "message": "hi"}
    assert await post(by_text) == unknown  # that one is had by texting
