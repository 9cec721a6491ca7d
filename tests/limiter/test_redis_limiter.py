import asyncio
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Literal

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.limits import AMPLE, SLOW, Ask, asking, at_once
from tests.support.valkey import Valkey
from textback.core import gcra
from textback.core.gcra import Denied, Granted, Rate
from textback.core.ports import Limiter, Unreachable
from textback.limiter import RedisLimiter
from textback.limiter_scripts import GIVE_BACK, TAKE

Step = tuple[Literal["take", "give back"], int, float]
steps = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "take", "give back"]),
        st.integers(0, 20) | st.integers(0, 100_000_000),
        st.sampled_from([1, 1, 2, 0.5, 7, 100]),
    ),
    min_size=1,
    max_size=25,
)
START = 1_800_000_000_000_001
"""Unix time in microseconds."""


def decided(answer: Sequence[Any]) -> tuple[int, Sequence[float]]:
    """How many were granted, and what each is told: what is left, and seconds."""
    granted, said = answer
    return granted, [float(each) for each in said.split()]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(1, 60), st.sampled_from([1, 7, 60, 3600]), st.booleans(), steps)
def test_redis_and_core_decide_alike(
    redis: Ask,
    amount: int,
    seconds: int,
    lends: bool,  # noqa: FBT001 - hypothesis gives it by place
    script: Sequence[Step],
) -> None:
    rate, state, elapsed = Rate(amount, seconds, lends), None, 0
    redis("DEL", "bucket")
    for verb, microseconds, units in script:
        elapsed += microseconds
        arguments = (units, amount, seconds, int(lends), 1, START + elapsed)
        if verb == "give back":
            redis("EVAL", GIVE_BACK, 1, "bucket", *arguments)
            state = gcra.give_back(state, rate, units=units)
            continue
        answer, state = gcra.take(state, rate, units=units, now=elapsed / 1e6)
        granted, (first, reset) = decided(redis("EVAL", TAKE, 1, "bucket", *arguments))
        redis("PERSIST", "bucket")  # the server's clock is not the test's
        assert reset == pytest.approx(answer.reset, abs=1e-6)
        if isinstance(answer, Granted):
            assert (granted, first) == (1, answer.remaining)
        else:
            assert granted == 0
            assert first == pytest.approx(answer.retry_after, abs=1e-6)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30
)
@given(
    amount=st.integers(1, 50),
    units=st.integers(1, 60),
    lends=st.booleans(),
    calls=st.integers(1, 60),
)
def test_many_that_ask_the_same_are_answered_as_one_after_the_other(
    redis: Ask,
    amount: int,
    units: int,
    lends: bool,  # noqa: FBT001 - hypothesis gives it by place
    calls: int,
) -> None:
    redis("DEL", "bucket", "other")
    asked = (units, amount, 60, int(lends))
    granted, said = decided(redis("EVAL", TAKE, 1, "bucket", *asked, calls, START))
    redis("PERSIST", "bucket")
    for place in range(calls):
        alone, (first, reset) = decided(redis("EVAL", TAKE, 1, "other", *asked, 1, START))
        redis("PERSIST", "other")
        assert alone == (place < granted)
        at = 2 * place if alone else -2
        assert (said[at], said[at + 1]) == pytest.approx((first, reset), abs=1e-6)
    redis("EVAL", GIVE_BACK, 1, "bucket", *asked, granted, START)
    left = redis("GET", "bucket")
    assert left is None or float(left.split()[1]) < 1  # microsecond


async def test_processes_together_are_granted_what_one_bucket_holds(redis_url: str) -> None:
    processes = [RedisLimiter(redis_url, timeout=AMPLE) for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(at_once(40, lambda one=one: one.take("project", SLOW)))
            for one in processes
        ]
    assert sum(sum(task.result()) for task in tasks) == 50
    for one in processes:
        await one.close()


async def test_an_answer_is_one_round_trip_and_so_are_those_of_calls_made_together(
    limiter: RedisLimiter, redis: Ask
) -> None:
    await limiter.take("warm", SLOW)
    redis("CONFIG", "RESETSTAT")
    for _ in range(10):
        await limiter.take("project", SLOW)
    assert calls(redis) == {"evalsha": 10}
    before = redis("INFO", "stats")["total_reads_processed"]
    await at_once(100, lambda: limiter.take("project", SLOW))
    reads = redis("INFO", "stats")["total_reads_processed"] - before
    assert calls(redis) == {"evalsha": 11}  # they ask the same of one bucket
    assert reads <= 3  # one would be our own


def calls(redis: Ask) -> dict[str, int]:
    """How often Redis ran which command for a client, but for the questions of the test."""
    stats: dict[str, dict[str, int]] = redis("INFO", "commandstats")
    inside_the_script = {"cmdstat_time", "cmdstat_get", "cmdstat_set"}
    return {
        name.removeprefix("cmdstat_"): each["calls"]
        for name, each in stats.items()
        if name not in {*inside_the_script, "cmdstat_config|resetstat", "cmdstat_info"}
    }


async def test_a_grant_tells_what_is_left_and_when_the_bucket_is_full(
    limiter: RedisLimiter,
) -> None:
    answer = await limiter.take("project", Rate(100, 60), 10)
    assert isinstance(answer, Granted)
    assert answer.remaining == 90
    assert answer.reset == pytest.approx(6, abs=0.001)


async def test_a_refusal_tells_when_to_come_back_and_that_is_true(limiter: RedisLimiter) -> None:
    rate = Rate(10, 0.5)
    assert isinstance(await limiter.take("project", rate, 10), Granted)
    answer = await limiter.take("project", rate)
    assert isinstance(answer, Denied)
    assert 0 < answer.retry_after <= 0.05
    await asyncio.sleep(answer.retry_after)
    assert isinstance(await limiter.take("project", rate), Granted)


async def test_keys_are_apart_and_under_our_name(limiter: RedisLimiter, redis: Ask) -> None:
    assert isinstance(await limiter.take("a", SLOW, 50), Granted)
    assert isinstance(await limiter.take("b", SLOW, 50), Granted)
    assert isinstance(await limiter.take("a", SLOW), Denied)
    assert set(redis("KEYS", "*")) == {b"textback:limit:a", b"textback:limit:b"}


async def test_a_bucket_is_forgotten_when_it_is_full_again(
    limiter: RedisLimiter, redis: Ask
) -> None:
    await limiter.take("project", Rate(100, 60), 50)
    left = redis("PTTL", "textback:limit:project")
    assert 29_000 <= left <= 31_001


async def test_what_is_given_back_can_be_taken_again(limiter: RedisLimiter, redis: Ask) -> None:
    await limiter.take("project", SLOW, 50)
    await limiter.give_back("project", SLOW, 20)
    assert sum(await at_once(30, lambda: limiter.take("project", SLOW))) == 20
    await limiter.give_back("project", SLOW, 60)
    assert redis("KEYS", "*") == []
    await limiter.give_back("project", SLOW)
    assert sum(await at_once(60, lambda: limiter.take("project", SLOW))) == 50


async def test_a_server_that_forgot_the_script_learns_it_again(
    limiter: RedisLimiter, redis: Ask
) -> None:
    await limiter.take("project", SLOW)
    redis("SCRIPT", "FLUSH")
    assert isinstance(await limiter.take("project", SLOW), Granted)
    redis("SCRIPT", "FLUSH")
    await limiter.give_back("project", SLOW)


async def test_a_killed_server_is_unreachable_and_one_started_again_is_used_at_once(
    mortal: Valkey,
) -> None:
    limiter = RedisLimiter(mortal.url, timeout=AMPLE)
    await at_once(20, lambda: limiter.take("project", SLOW))  # many connections
    mortal.kill()
    for _ in range(3):
        with pytest.raises(Unreachable):
            await limiter.take("project", SLOW)
    with pytest.raises(Unreachable):
        await limiter.give_back("project", SLOW)
    mortal.start()
    assert all(await at_once(20, lambda: limiter.take("project", SLOW)))
    await limiter.close()


async def test_a_server_that_hangs_costs_one_timeout_and_mixes_up_no_answers(
    mortal: Valkey,
) -> None:
    timeout = timedelta(seconds=0.5)
    limiter = RedisLimiter(mortal.url, timeout=timeout)
    await limiter.take("project", SLOW)
    mortal.freeze()
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for n in range(6):
            group.create_task(expect_unreachable(limiter))
            await asyncio.sleep(0.02 * (n == 0))  # the others queue behind the first
    assert time.monotonic() - began < 4 * timeout.total_seconds()  # not six
    mortal.thaw()
    for units in range(1, 6):
        answer = await limiter.take(f"other-{units}", SLOW, units)
        assert isinstance(answer, Granted)
        assert answer.remaining == 50 - units
    await limiter.close()


async def expect_unreachable(limiter: Limiter) -> None:
    with pytest.raises(Unreachable):
        await limiter.take("project", SLOW)


async def test_a_server_that_refuses_is_unreachable_too(mortal: Valkey) -> None:
    limiter = RedisLimiter(mortal.url, timeout=AMPLE)
    with asking(mortal.url) as ask:
        ask("CONFIG", "SET", "requirepass", "hunter2")
    with pytest.raises(Unreachable, match="AuthenticationError"):
        await limiter.take("project", SLOW)
    await limiter.close()


def test_a_server_that_ends_while_it_is_greeted_is_unreachable_too() -> None:
    """Processes run on uvloop, where writing to what is closed is a RuntimeError."""

    def greet_and_end() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                connection.recv(65_536)
                connection.sendall(b"+OK\r\n")
                reset = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                connection.close()

    async def ask() -> Counter[str]:
        limiter = RedisLimiter(f"redis://127.0.0.1:{server.getsockname()[1]}", timeout=AMPLE)
        came = Counter[str]()
        while came.total() < 1000 and not came["RuntimeError"]:
            with pytest.raises(Unreachable) as refused:
                await limiter.take("project", SLOW)
            came[str(refused.value).partition(" ")[0]] += 1
        await limiter.close()
        return came

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=greet_and_end)
        thread.start()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                came = runner.run(ask())
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
    assert came["RuntimeError"]


def test_an_address_that_is_none_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="scheme"):
        RedisLimiter("localhost:6379")
