"""Postgres or Redis away while texts are on their way: none is lost, none goes out twice."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import (
    AGENT,
    USER,
    captured_logs,
    client,
    is_accepted,
    rows,
    send,
    served,
    settings,
    started,
    until,
)
from tests.support.fake_twilio import FakeTwilio, slow
from tests.support.log_lines import errors
from tests.support.ports import free_port
from tests.support.provision import ACME_SID, STANDARD_YAML, TOKEN, environment, provision
from tests.support.standby import Standby
from tests.support.valkey import Valkey
from tests.support.wire import Wire
from textback import wiring
from textback.db.session import create_engine
from textback.embedded import Servers
from textback.worker.main import Worker

QUICK = STANDARD_YAML.replace(
    "        agent: bookings\n", "        agent: bookings\n        reply_delay_seconds: 0.1\n"
).replace("carrier: acme-twilio}", "carrier: acme-twilio, segments_per_second: 100}")


@dataclass(frozen=True, slots=True)
class Running:
    """The API and a worker, whose Postgres is at the end of a wire and whose Redis is mortal."""

    http: httpx.AsyncClient
    url: str
    wire: Wire
    valkey: Valkey
    twilio: FakeTwilio
    db: AsyncEngine

    async def state(self, message_id: str, *states: str) -> bool:
        found = await rows(self.db, "select state from messages where id = :id", id=message_id)
        return found[0]["state"] in states

    def sent(self) -> list[str]:
        return [message.body for message in self.twilio.created]


@pytest.fixture(autouse=True)
def logged() -> Generator[StringIO]:
    with captured_logs() as found:
        yield found


@pytest.fixture
async def running(
    engine: AsyncEngine, database_url: str, tmp_path: Path
) -> AsyncGenerator[Running]:
    valkey = Valkey(tmp_path)
    valkey.start()
    port, stop = free_port(), asyncio.Event()
    async with AsyncExitStack() as stack:
        stack.callback(valkey.kill)
        wire = await stack.enter_async_context(Wire(database_url))
        twilio = await stack.enter_async_context(FakeTwilio(ACME_SID, TOKEN))
        await provision(engine, QUICK, environment(twilio.base_url))
        found = settings(
            wire.url,
            valkey.url,
            public_url=f"http://127.0.0.1:{port}",
            poll_seconds=0.2,
            carrier_timeout_seconds=5,
        )
        rt = await stack.enter_async_context(started(found, wiring.clock))
        url = await stack.enter_async_context(served(rt, port))
        http = await stack.enter_async_context(client(rt))
        working = asyncio.create_task(Worker(rt, concurrency=4).run(stop))
        try:
            yield Running(http, url, wire, valkey, twilio, engine)
        finally:
            await wire.mend_if_cut()
            stop.set()
            await working


async def test_an_answer_of_twilios_that_came_while_the_database_was_away_is_kept(
    running: Running,
) -> None:
    running.twilio.next(slow(after=0.3))
    _, message_id = is_accepted(await send(running.http, message="once"))
    await running.twilio.arrived(1)
    running.wire.cut()
    await asyncio.sleep(1)
    await running.wire.mend()
    await until(lambda: running.state(message_id, "sent", "delivered"))
    assert running.sent() == ["once"]
    assert len(running.twilio.asked("create")) == 1


async def test_a_text_that_was_refused_for_want_of_a_database_comes_in_when_twilio_tries_again(
    running: Running,
) -> None:
    is_accepted(await send(running.http, message="Hello", agent_number=AGENT))
    await running.twilio.idle()
    url = f"{running.url}/hooks/twilio/inbound"
    running.wire.cut()
    answer = await running.twilio.text(USER, AGENT, "at 3pm", url=url, message_sid="SM1")
    assert answer.status_code == 503
    await running.wire.mend()
    for _ in range(2):
        answer = await running.twilio.text(USER, AGENT, "at 3pm", url=url, message_sid="SM1")
        assert answer.status_code == 200

    async def answered() -> bool:
        return "Done: 3pm tomorrow." in running.sent()

    await until(answered)
    assert running.sent() == ["Hello", "Done: 3pm tomorrow."]


async def test_without_redis_texts_are_accepted_and_wait_for_it(running: Running) -> None:
    running.valkey.kill()
    _, message_id = is_accepted(await send(running.http, message="later"))
    await asyncio.sleep(1)
    assert running.sent() == []
    assert await running.state(message_id, "queued", "sending")
    running.valkey.start()
    await until(lambda: running.state(message_id, "delivered"))
    assert running.sent() == ["later"]
    assert await rows(running.db, "select attempts from messages") == [{"attempts": 0}]


async def test_a_worker_that_loses_its_database_goes_on_when_it_is_back(
    running: Running, logged: StringIO
) -> None:
    async def started_working() -> bool:
        return "worker.started" in logged.getvalue()

    await until(started_working)
    running.wire.cut()
    await asyncio.sleep(0.5)
    await running.wire.mend()
    _, message_id = is_accepted(await send(running.http, message="after"))
    await until(lambda: running.state(message_id, "delivered"))
    assert running.sent() == ["after"]
    assert "loop.waiting" in logged.getvalue()
    assert errors(logged.getvalue()) == []


async def test_a_standby_that_takes_over_is_gone_on_with_by_processes_that_never_ended(
    running: Running, servers: Servers, logged: StringIO
) -> None:
    with Standby(servers) as standby:
        _, before = is_accepted(await send(running.http, message="before"))
        await until(lambda: running.state(before, "delivered"))
        await standby.follow(running.db)
        running.wire.cut()
        running.wire.lead_to(standby.url)
        await running.wire.mend()
        for _ in range(3):  # it answers, and takes nothing yet
            refused = await send(running.http, message="too early")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        await standby.take_over()
        gone_on = replace(running, db=create_engine(standby.url, pool_size=2))

        async def accepted() -> bool:
            answer = await send(running.http, message="after")
            assert answer.status_code in {202, 503}
            return answer.status_code == 202

        await until(accepted)

        async def all_sent() -> bool:
            states = await rows(gone_on.db, "select state from messages")
            return [row["state"] for row in states] == ["delivered", "delivered"]

        await until(all_sent)
        await gone_on.db.dispose()
        running.wire.cut()
        running.wire.lead_to(servers.database_url)
    assert running.sent() == ["before", "after"]
    assert errors(logged.getvalue()) == []
