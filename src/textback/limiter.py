"""Limiters: the token bucket of `core.gcra` in Redis for all processes together, and in memory."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeAlias, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from textback.core import gcra
from textback.core.gcra import Denied, Granted, Rate
from textback.core.ports import Limiter, Unreachable
from textback.limiter_scripts import GIVE_BACK, TAKE

KEY_PREFIX: Final = "textback:limit:"
TIMEOUT: Final = timedelta(seconds=2)
"""A dead Redis refuses at once, only a hanging one costs this. A busy process must not take its own
slowness for Redis': then a limit would hold per process while Redis is well."""

ASK_AGAIN: Final = timedelta(seconds=1)
"""How long a Redis that did not answer is left alone."""


class RedisLimiter:
    """Exact over all processes that share the Redis.

    Calls that wait at the same time go in one round trip, and what they ask of one bucket in one
    call of the script: what a loaded server spends on Redis is mostly its own side of it.
    """

    def __init__(self, url: str, *, timeout: timedelta = TIMEOUT) -> None:
        """`url` as redis-py reads it: redis://, rediss:// or unix://. Connects when first asked.

        `timeout` bounds a call in all, with connecting.
        """
        self._timeout = timeout.total_seconds()
        self._redis = Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
            url,
            socket_timeout=self._timeout,
            socket_connect_timeout=self._timeout,
            # redis-py repeats a failed command by itself: that would multiply the timeout, and
            # take twice when only the answer was lost.
            retry=Retry(NoBackoff(), 0),
            # With these on, redis-py 8.1.0 hands out connections that the server has closed
            # (redis/redis-py#4252): after a restart each would fail once.
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
        self._take = self._redis.register_script(TAKE)
        self._give_back = self._redis.register_script(GIVE_BACK)
        self._gathering: _Batch | None = None
        self._one_trip_at_a_time = asyncio.Lock()

    async def take(self, key: str, rate: Rate, units: float = 1) -> Granted | Denied:
        place, (granted, said) = cast("_Said", await self._call(self._take, key, rate, units))
        if place < granted:
            return Granted(int(said[2 * place]), reset=float(said[2 * place + 1]))
        return Denied(retry_after=float(said[-2]), reset=float(said[-1]))

    async def give_back(self, key: str, rate: Rate, units: float = 1) -> None:
        await self._call(self._give_back, key, rate, units)

    async def close(self) -> None:
        await self._redis.aclose()

    async def _call(
        self, script: AsyncScript, key: str, rate: Rate, units: float
    ) -> tuple[int, object]:
        """Which of the calls that asked the same it was, from 0, and what they were answered."""
        batch = self._gathering
        if batch is None:
            batch = self._gathering = _Batch()
            batch.trip = asyncio.create_task(self._travel(batch))
        # A future of its own: one caller that goes away takes no other's answer with it.
        waits: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        same = batch.calls.setdefault((script, key, rate, units), [])
        place = len(same)
        same.append(waits)
        return place, await waits

    async def _travel(self, batch: "_Batch") -> None:
        try:
            # From when the batch was begun: calls that queue behind a Redis that hangs wait no
            # longer than the first.
            async with asyncio.timeout(self._timeout), self._one_trip_at_a_time:
                self._gathering = None
                calls = [(asked, len(same)) for asked, same in batch.calls.items()]
                answers = await self._ask(calls)
                forgotten = [n for n, a in enumerate(answers) if isinstance(a, NoScriptError)]
                if forgotten:  # the server is new, or was restarted
                    for script in (self._take, self._give_back):
                        await self._redis.script_load(script.script)
                    again = await self._ask([calls[place] for place in forgotten])
                    for place, answer in zip(forgotten, again, strict=True):
                        answers[place] = answer
        except asyncio.CancelledError:
            for same in batch.calls.values():
                for each in same:
                    each.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - each of them raises it where it is awaited
            answers = [error] * len(batch.calls)
        finally:
            if self._gathering is batch:
                self._gathering = None
        for answer, same in zip(answers, batch.calls.values(), strict=True):
            _tell(same, answer)

    async def _ask(self, calls: "Sequence[tuple[_Asked, int]]") -> list[object]:
        pipeline = self._redis.pipeline(transaction=False)
        for (script, key, rate, units), times in calls:
            numbers = (repr(units), repr(rate.amount), repr(rate.seconds))
            how = (str(int(rate.lends)), str(times))
            pipeline.evalsha(script.sha, 1, KEY_PREFIX + key, *numbers, *how)
        return cast("list[object]", await pipeline.execute(raise_on_error=False))


_Asked: TypeAlias = tuple[AsyncScript, str, Rate, float]


_AWAY: Final = (RedisError, OSError, RuntimeError)
"""OSError: also TimeoutError. RuntimeError: uvloop's, on writing to what is closed."""

_Said: TypeAlias = tuple[int, tuple[int, list[bytes]]]


@dataclass(slots=True)
class _Batch:
    calls: "dict[_Asked, list[asyncio.Future[object]]]" = field(
        default_factory=dict["_Asked", "list[asyncio.Future[object]]"]
    )
    """Who waits, by what they ask."""
    trip: "asyncio.Task[None]" = field(init=False)


def _tell(those: "Sequence[asyncio.Future[object]]", answer: object) -> None:
    if isinstance(answer, list):  # of how many, and what each is told
        granted, said = cast("list[Any]", answer)
        answer = granted, said.split()
    for each in those:
        if each.done():  # nobody waits for it any more
            continue
        if isinstance(answer, _AWAY):
            error = Unreachable(f"{type(answer).__name__} {answer}".rstrip())
            error.__cause__ = answer
            each.set_exception(error)
        elif isinstance(answer, Exception):
            each.set_exception(answer)
        else:
            each.set_result(answer)


class LocalLimiter:
    """The same rule for this process alone."""

    def __init__(self, clock: Callable[[], float], *, max_keys: int = 10_000) -> None:
        """`clock` in seconds, never going back (`time.monotonic`).

        Of more than `max_keys` buckets those not asked for longest are forgotten, which fills them.
        """
        self._clock = clock
        self._max_keys = max_keys
        self._full_at: OrderedDict[str, float] = OrderedDict()

    async def take(self, key: str, rate: Rate, units: float = 1) -> Granted | Denied:
        answer, full_at = gcra.take(self._full_at.get(key), rate, units=units, now=self._clock())
        self._save(key, full_at)
        return answer

    async def give_back(self, key: str, rate: Rate, units: float = 1) -> None:
        self._save(key, gcra.give_back(self._full_at.get(key), rate, units=units))

    async def close(self) -> None:
        self._full_at.clear()

    def _save(self, key: str, full_at: float | None) -> None:
        if full_at is None:
            return
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._max_keys:
            self._full_at.popitem(last=False)


class FallbackLimiter:
    """Asks `primary`; while it is unreachable, `local` answers: a caller's quota fails open.

    An unreachable primary is asked again once every `ASK_AGAIN`, by one request, so that it costs
    one timeout a second and not one a request; also if nobody asks, or a process without requests
    would say for ever that it is lost. `on_change(True)` is called when it is lost,
    `on_change(False)` when it is back.
    """

    def __init__(
        self,
        primary: Limiter,
        local: Limiter,
        *,
        on_change: Callable[[bool], None],
        clock: Callable[[], float],
    ) -> None:
        """`clock` in seconds, never going back (`time.monotonic`)."""
        self._primary = primary
        self._local = local
        self._on_change = on_change
        self._clock = clock
        self._is_lost = False
        self._ask_at = clock()
        self._looking: asyncio.Task[None] | None = None

    async def take(self, key: str, rate: Rate, units: float = 1) -> Granted | Denied:
        if self._may_ask():
            was_lost = self._is_lost
            try:
                answer = await self._primary.take(key, rate, units)
            except Unreachable:
                self._lose()
            else:
                self._find(was_lost=was_lost)
                return answer
        return await self._local.take(key, rate, units)

    async def give_back(self, key: str, rate: Rate, units: float = 1) -> None:
        if self._may_ask():
            was_lost = self._is_lost
            try:
                await self._primary.give_back(key, rate, units)
            except Unreachable:
                self._lose()
            else:
                self._find(was_lost=was_lost)
                return
        await self._local.give_back(key, rate, units)

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        await self._primary.close()
        await self._local.close()

    async def _look(self) -> None:
        while self._is_lost:
            await asyncio.sleep(ASK_AGAIN.total_seconds())
            await self.take("health", Rate(1000, 1))

    def _may_ask(self) -> bool:
        if not self._is_lost:
            return True
        now = self._clock()
        if now < self._ask_at:
            return False
        self._ask_at = now + ASK_AGAIN.total_seconds()  # the others do not wait for the one
        return True

    def _lose(self) -> None:
        self._ask_at = self._clock() + ASK_AGAIN.total_seconds()
        if not self._is_lost:
            self._is_lost = True
            self._on_change(self._is_lost)
            if self._looking is None or self._looking.done():
                # Not in the context of whoever lost it: its logs and traces are of one request.
                look = asyncio.get_running_loop().create_task(self._look(), context=Context())
                self._looking = look

    def _find(self, *, was_lost: bool) -> None:
        # Only a request that asked a lost primary proves it back; one that began before the loss
        # and was answered late does not.
        if was_lost and self._is_lost:
            self._is_lost = False
            self._on_change(self._is_lost)
