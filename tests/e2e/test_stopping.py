"""Processes that are told to stop: what they accepted is finished, and no client is shown a 5xx."""

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import AGENT, ROUTE, USER, headers, is_accepted, rows, until
from tests.support.hooks import INBOUND, TEXT, post
from tests.support.log_lines import errors
from tests.support.ports import free_port
from tests.support.processes import Running, Textback
from tests.support.provision import SECRET_KEY, STANDARD_YAML, provision
from tests.support.wire import Wire

AMPLE = STANDARD_YAML.replace(
    "agent: bookings\n",
    "agent: bookings\n        rate_limit: {requests: 1000000, per_seconds: 60}\n",
)
DRAIN = 8
LAME_DUCK = 1


@pytest.fixture
async def textback(
    engine: AsyncEngine, database_url: str, redis_url: str, tmp_path: Path
) -> AsyncGenerator[Textback]:
    await provision(engine, AMPLE)
    given = {
        "TEXTBACK_DATABASE_URL": database_url,
        "TEXTBACK_REDIS_URL": redis_url,
        "TEXTBACK_PUBLIC_URL": "https://sms.example.com",
        "TEXTBACK_SECRET_KEY": SECRET_KEY,
        "TEXTBACK_DRAIN_SECONDS": str(DRAIN),
        "TEXTBACK_LAME_DUCK_SECONDS": str(LAME_DUCK),
    }
    async with Textback(tmp_path, given) as made:
        yield made


@pytest.fixture
async def http() -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=20) as made:
        yield made


def base(port: int) -> str:
    return f"http://127.0.0.1:{port}"


async def has_stopped(process: Running, within: float = LAME_DUCK + DRAIN) -> float:
    """By itself, with 0, in time, and without an error in its log."""
    code, seconds = await process.ended(within=within + 5)
    assert code == 0, process.log
    assert seconds < within
    assert errors(process.log) == []
    assert "Traceback" not in process.log
    return seconds


# --- The lame duck -----------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_process_that_stops_says_so_serves_on_and_ends_each_connection(
    textback: Textback, http: httpx.AsyncClient, engine: AsyncEngine, workers: str
) -> None:
    port = free_port()
    process = await textback.serve(port, "--workers", workers, TEXTBACK_LAME_DUCK_SECONDS="5")
    body = {"user_number": USER, "message": "Hello"}
    answer = await http.post(base(port) + ROUTE, json=body, headers=headers())
    is_accepted(answer)
    assert "connection" not in answer.headers
    # Twice at once is once: make, for one, passes on what the whole process group gets.
    process.ask_to_stop()
    process.ask_to_stop()

    async def stopping() -> bool:
        """Each is told by itself, a moment after the other."""
        return process.log.count('"serve.stopping"') == int(workers)

    await until(stopping)
    for _ in range(2 * int(workers)):
        answer = await http.get(base(port) + "/health/ready")
        assert (answer.status_code, answer.json()["status"]) == (503, "stopping")
    for _ in range(2 * int(workers)):  # kept alive from before or not, and whichever process
        answer = await http.post(base(port) + ROUTE, json=body, headers=headers())
        is_accepted(answer)
        assert answer.headers["connection"] == "close"
    live = await http.get(base(port) + "/health/live")
    assert (live.status_code, live.headers["connection"]) == (200, "close")
    await has_stopped(process, within=5 + DRAIN)
    with pytest.raises(httpx.ConnectError):
        await http.get(base(port) + "/health/live")
    stored = await rows(engine, "select count(*) n from messages")
    assert stored == [{"n": 1 + 2 * int(workers)}]


async def test_without_a_lame_duck_the_port_closes_at_once(
    textback: Textback, http: httpx.AsyncClient
) -> None:
    port = free_port()
    process = await textback.serve(port, TEXTBACK_LAME_DUCK_SECONDS="0")
    process.ask_to_stop()

    async def closed() -> bool:
        try:
            await http.get(base(port) + "/health/live")
        except httpx.ConnectError:
            return True
        except httpx.TransportError:  # at the very moment
            pass
        return False

    await until(closed, within=10)
    await has_stopped(process, within=10)
    assert "serve.stopping" not in process.log


# --- What was accepted -------------------------------------------------------------------------


async def test_requests_that_take_longer_than_the_lame_duck_are_answered(
    textback: Textback, http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    port = free_port()
    process = await textback.serve(port)
    body = {"user_number": USER, "message": "first", "agent_number": AGENT}
    is_accepted(await http.post(base(port) + ROUTE, json=body, headers=headers()))
    async with engine.begin() as c:
        await c.execute(text("select * from conversations for update"))
        begun = [
            asyncio.create_task(
                http.post(base(port) + ROUTE, json=body | {"message": str(n)}, headers=headers())
            )
            for n in range(3)
        ]
        await asyncio.sleep(0.5)
        process.ask_to_stop()
        await asyncio.sleep(LAME_DUCK + 1)
        assert not any(task.done() for task in begun)
    for task in begun:
        is_accepted(await task)
    await has_stopped(process)
    assert await rows(engine, "select count(*) n from messages") == [{"n": 4}]


async def test_what_is_not_finished_in_time_is_broken_off_without_an_answer(
    textback: Textback, http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    """A 5xx of a stopping process would be the last word; a broken connection is tried again."""
    port = free_port()
    process = await textback.serve(port, TEXTBACK_DRAIN_SECONDS="1")
    body = {"user_number": USER, "message": "first", "agent_number": AGENT}
    is_accepted(await http.post(base(port) + ROUTE, json=body, headers=headers()))
    async with engine.begin() as c:
        await c.execute(text("select * from conversations for update"))
        begun = asyncio.create_task(http.post(base(port) + ROUTE, json=body, headers=headers()))
        await asyncio.sleep(0.3)
        process.ask_to_stop()
        with pytest.raises(httpx.TransportError):
            await begun
        code, seconds = await process.ended(within=10)
    assert (code, seconds < LAME_DUCK + 1 + 6) == (0, True), process.log
    assert "serve.broken_off" in process.log
    assert "exception" not in process.log.lower()
    assert await rows(engine, "select count(*) n from messages") == [{"n": 1}]


async def test_a_postgres_that_hangs_does_not_keep_a_process_from_stopping(
    textback: Textback, http: httpx.AsyncClient, database_url: str
) -> None:
    async with Wire(database_url) as wire:
        port = free_port()
        process = await textback.serve(
            port, TEXTBACK_DATABASE_URL=wire.url, TEXTBACK_DRAIN_SECONDS="1"
        )
        wire.freeze()
        begun = asyncio.create_task(post(http, base(port) + INBOUND, TEXT, signature="x"))
        await asyncio.sleep(0.2)
        process.ask_to_stop()
        code, seconds = await process.ended(within=20)
        assert (code, seconds < LAME_DUCK + 1 + 5) == (0, True), process.log
        with pytest.raises(httpx.TransportError):
            await begun


async def test_a_second_signal_later_ends_a_process_as_it_stands(
    textback: Textback, http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    port = free_port()
    process = await textback.serve(port, TEXTBACK_DRAIN_SECONDS="60")
    body = {"user_number": USER, "message": "first", "agent_number": AGENT}
    is_accepted(await http.post(base(port) + ROUTE, json=body, headers=headers()))
    async with engine.begin() as c:
        await c.execute(text("select * from conversations for update"))
        begun = asyncio.create_task(http.post(base(port) + ROUTE, json=body, headers=headers()))
        await asyncio.sleep(0.3)
        process.ask_to_stop()
        await asyncio.sleep(2)
        assert process.is_alive
        process.ask_to_stop()
        code, _ = await process.ended(within=10)
        assert code == -signal.SIGTERM
        with pytest.raises(httpx.TransportError):
            await begun


# --- Under load --------------------------------------------------------------------------------


class Callers:
    """They send without a pause, and go to the other process when one does not answer."""

    def __init__(self, http: httpx.AsyncClient, urls: list[str]) -> None:
        self._http, self._urls = http, urls
        self._number, self._over = count(), False
        self.accepted: list[str] = []
        self.statuses = set[int]()

    @asynccontextmanager
    async def calling(self, many: int = 6) -> AsyncGenerator[None]:
        async with asyncio.TaskGroup() as group:
            for nth in range(many):
                group.create_task(self._call(nth))
            yield
            self._over = True

    async def _call(self, at: int) -> None:
        while not self._over:
            number = next(self._number)
            body = {"user_number": f"+1415555{number % 10_000:04}", "message": f"{number}"}
            for _ in range(100):
                try:
                    answer = await self._http.post(
                        self._urls[at % len(self._urls)] + ROUTE,
                        json=body,
                        headers=headers(**{"Idempotency-Key": str(number)}),
                    )
                except httpx.TransportError:
                    at += 1
                    await asyncio.sleep(0.02)
                    continue
                self.statuses.add(answer.status_code)
                if answer.status_code == 202:
                    self.accepted.append(is_accepted(answer)[1])
                break


async def test_a_rolling_restart_under_load_loses_nothing_and_shows_no_5xx(
    textback: Textback, http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    ports = [free_port(), free_port()]
    processes = [await textback.serve(ports[0]), await textback.serve(ports[1], "--workers", "2")]
    callers = Callers(http, [base(port) for port in ports])
    async with callers.calling():
        await asyncio.sleep(0.5)
        for nth, port in enumerate(ports):
            processes[nth].ask_to_stop()
            await has_stopped(processes[nth])
            processes[nth] = await textback.serve(port)
    assert callers.statuses == {202}
    assert len(callers.accepted) == len(set(callers.accepted)) > 50
    found = await rows(engine, "select id from messages")
    # What was accepted is stored, each once: a key that was tried again gave the same answer.
    assert {row["id"] for row in found} == set(callers.accepted)
    for process in processes:
        process.ask_to_stop()
        await has_stopped(process)


# --- Several processes under one command -------------------------------------------------------


async def test_a_child_that_is_killed_is_replaced(
    textback: Textback, http: httpx.AsyncClient
) -> None:
    port = free_port()
    process = await textback.serve(port, "--workers", "2")
    for child in process.children():
        child.kill()

    async def died() -> bool:
        return process.log.count("serve.died") == 2

    await until(died)

    async def alive() -> bool:
        try:
            return (await http.get(base(port) + "/health/live")).is_success
        except httpx.TransportError:
            return False

    await until(alive, within=60)  # two have to start
    process.ask_to_stop()
    code, _ = await process.ended(within=LAME_DUCK + DRAIN)
    assert code == 0, process.log


async def test_ctrl_c_reaches_parent_and_children_at_once_and_is_as_clean(
    textback: Textback,
) -> None:
    process = await textback.serve(free_port(), "--workers", "2")
    process.interrupt()
    await has_stopped(process)


async def test_children_whose_parent_is_killed_stop_too(
    textback: Textback, http: httpx.AsyncClient
) -> None:
    port = free_port()
    process = await textback.serve(port, "--workers", "2")
    children = process.children()
    assert len(children) == 2
    await process.kill_alone()

    async def gone() -> bool:
        return not any(child.is_running() for child in children)

    await until(gone, within=LAME_DUCK + DRAIN)
    with pytest.raises(httpx.ConnectError):
        await http.get(base(port) + "/health/live")


def test_containers_are_given_the_time() -> None:
    compose = (Path(__file__).parents[2] / "docker-compose.yml").read_text()
    [grace] = [
        int(line.split(":")[1].strip().removesuffix("s"))
        for line in compose.split("x-textback:")[1].split("services:")[0].splitlines()
        if "stop_grace_period" in line
    ]
    example = (Path(__file__).parents[2] / ".env.example").read_text()
    spans = [
        float(example.split(f"TEXTBACK_{name}_SECONDS=")[1].splitlines()[0])
        for name in ("LAME_DUCK", "DRAIN")
    ]
    assert grace > sum(spans) + 5
