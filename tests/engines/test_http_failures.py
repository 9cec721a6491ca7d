"""What the http engine tries again, and how it gives up."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise

import pytest

from tests.support.http_engine import HI, SHORT, all_asked_of, asked_of, engine_for, now
from tests.support.turn_server import Answer, Received, TurnServer, says
from tests.support.turns import turn
from textback.core.engine import TurnFailed
from textback.engines.http import HttpConfig, HttpEngine


async def test_errors_are_tried_again(server: TurnServer) -> None:
    statuses = [400, 401, 404, 408, 409, 429, 500, 502, 503]
    seen = set[str]()

    def answer(received: Received) -> Answer:
        status = 200 if received.heard in seen else int(received.heard)
        seen.add(received.heard)
        return Answer(body=says("Hi.").body, status=status)

    server.answer = answer
    async with engine_for(server.url) as engine, asyncio.TaskGroup() as group:
        tasks = [group.create_task(engine.reply(turn(str(status)))) for status in statuses]
    assert [task.result() for task in tasks] == [HI] * len(statuses)
    assert len(server.received) == 2 * len(statuses)


async def test_five_bad_answers_fail_the_turn_with_each_reason_once(server: TurnServer) -> None:
    server.answers(*[Answer(body=b"no")] * 3, Answer(status=503))
    assert await asked_of(server) == TurnFailed(
        "the answer is not JSON, then HTTP 503 (attempts: 5)"
    )
    assert len(server.received) == 5


async def test_between_attempts_are_pauses(server: TurnServer) -> None:
    server.answers(Answer(status=500))
    await asked_of(server)
    times = [received.at for received in server.received]
    for (earlier, later), pause in zip(pairwise(times), SHORT[1:], strict=True):
        assert later - earlier >= pause


async def test_pauses_are_shorter_for_a_short_timeout_so_that_all_attempts_fit(
    server: TurnServer,
) -> None:
    server.answers(Answer(status=500))
    config = HttpConfig(url=server.url, timeout_seconds=0.5)
    engine = HttpEngine(config, clock=now)
    assert await engine.reply(turn("hi")) == TurnFailed("HTTP 500 (attempts: 5)")
    await engine.close()


async def test_no_attempt_begins_when_too_little_time_is_left(server: TurnServer) -> None:
    server.answers(Answer(status=500))
    config = HttpConfig(url=server.url, timeout_seconds=2.5)
    engine = HttpEngine(config, clock=now, pauses=(0, 4.8))
    assert await engine.reply(turn("hi")) == TurnFailed("HTTP 500 (attempts: 1)")
    await engine.close()


async def test_a_late_answer_is_tried_again(server: TurnServer) -> None:
    server.answers(Answer(delay=1), says("Hi."))
    assert await asked_of(server, seconds=0.3) == HI


async def test_answers_that_stay_late_fail_the_turn_at_its_deadline(server: TurnServer) -> None:
    server.answers(Answer(delay=1))
    async with engine_for(server.url, seconds=0.1) as engine:
        assert engine.deadline == timedelta(seconds=0.2)
        began = time.monotonic()
        answer = await engine.reply(turn("hi"))
        assert isinstance(answer, TurnFailed)
        assert answer.reason.startswith("timed out after 0.1 s, then timed out after 0.")
        assert 0.1 < time.monotonic() - began < 0.9


async def test_an_answer_that_drips_is_late_however_often_a_byte_comes(server: TurnServer) -> None:
    server.answers(Answer(body=b" ", drip=0.02, repeats=100))
    began = time.monotonic()
    answer = await asked_of(server, seconds=0.1)
    assert isinstance(answer, TurnFailed)
    assert "timed out" in answer.reason
    assert time.monotonic() - began < 1


async def test_after_late_answers_the_engine_still_works(server: TurnServer) -> None:
    async with engine_for(server.url, seconds=0.3) as engine:
        server.answers(Answer(delay=1))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(engine.reply(turn("hi"))) for _ in range(30)]
            await asyncio.sleep(0.1)
            for task in tasks[10:]:  # turns are also cancelled, when a worker stops
                task.cancel()
        server.answers(says("Hi."))
        assert await engine.reply(turn("hi")) == HI


async def test_redirects_are_not_followed(server: TurnServer) -> None:
    headers = {"location": server.url.replace("/turn", "/elsewhere")}
    statuses = [301, 302, 303, 307, 308]
    redirects = [Answer(status=status, headers=headers) for status in statuses]
    for status, outcome in zip(statuses, await all_asked_of(server, redirects), strict=True):
        assert outcome == TurnFailed(f"HTTP {status} (redirects are not followed) (attempts: 5)")


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def talking(talk: Talk) -> AsyncGenerator[str]:
    """A bare TCP server; gives its URL."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/turn"


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"PRIVATE PRIVATE PRIVATE\r\n\r\n")
    await writer.drain()


async def stop_half_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10_000)
    writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"messages":[')
    await writer.drain()


@pytest.mark.parametrize("talk", [hang_up, babble, stop_half_way])
async def test_a_broken_connection_fails_the_turn_and_quotes_nothing(talk: Talk) -> None:
    async with talking(talk) as url, engine_for(url) as engine:
        answer = await engine.reply(turn("hi"))
    assert isinstance(answer, TurnFailed)
    assert "the connection broke" in answer.reason
    assert "PRIVATE" not in answer.reason


async def test_a_server_that_is_not_there_fails_the_turn() -> None:
    async with engine_for("http://127.0.0.1:1/turn") as engine:
        answer = await engine.reply(turn("hi"))
    assert isinstance(answer, TurnFailed)
    assert answer.reason.startswith("could not connect")
