"""A process that dies at a chosen moment: at the n-th thing it waits for.

Wherever a flow waits, `kill -9` may find it. `Mortal` steps a coroutine by hand, and the tasks that
it starts, and at one of these points ends them all: its connections to Postgres break in the same
instant, and nothing that it does while it unwinds reaches Postgres any more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from types import CoroutineType
from typing import Any, Literal, TypeVar, cast

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

import textback
from tests.support.keeper import ask
from textback.db.session import transaction

T = TypeVar("T")
Flow = Coroutine[Any, Any, T]

How = Literal["waiting", "told"]
"""It dies once it has asked, and never hears how far the question came; or it dies when the thing
has happened (the commit took hold, the carrier took the text) but before it has seen that."""

_SOURCE = str(Path(textback.__file__).parent)


class Killed(BaseException):
    """Not an Exception: nothing that handles failures may take it for one."""


class Mortal:
    """Runs a flow until the n-th time that it, or a task that it started, waits."""

    def __init__(self, db: AsyncEngine, how: How, n: int) -> None:
        """`db` is the database as it sees it, through connections of its own."""
        self.died_at: str | None = None
        self._db, self._how, self._n = db, how, n
        self._points = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._tidying: set[asyncio.Task[Any]] = set()
        self._connections: dict[int, Any] = {}
        self._pids: list[int] = []

    async def run(self, flow: Flow[T]) -> T | None:
        """What the flow gives; None when it died."""
        async with transaction(self._db) as c:  # so that it finds a connection, whatever was before
            await c.execute(text("select 1"))
        with self._watching_connections(), self._stepping_tasks():
            task = asyncio.create_task(flow)
            async with asyncio.timeout(60):
                while left := self._tasks | self._tidying:
                    await asyncio.wait(left)
        if self.died_at is None:
            return task.result()
        await self._db.dispose()  # a broken connection may lie in the pool as if it were whole
        await self._until_postgres_knows()
        return None

    def waits(self) -> int:
        self._points += 1
        return self._points

    def dies(self, how: How, point: int, flow: Flow[Any]) -> bool:
        """Whether it ends now, while it waits at this point or once it has waited."""
        if self.died_at is not None or (how, point) != (self._how, self._n):
            return False
        self.died_at = _where(flow)
        for connection in self._connections.values():
            self._pids.append(connection.get_server_pid())
            connection.terminate()  # what was written to the socket arrives, and nothing more
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()
        return True

    @contextmanager
    def _stepping_tasks(self) -> Generator[None]:
        def start(
            loop: asyncio.AbstractEventLoop, flow: Flow[Any], **more: Any
        ) -> asyncio.Task[Any]:
            task = asyncio.Task(self._live(flow), loop=loop, **more)
            # What the pool does to tidy up may go on: its connection is broken, and the pool whole.
            code = cast("CoroutineType[Any, Any, Any]", flow).cr_code
            (self._tidying if "sqlalchemy" in code.co_filename else self._tasks).add(task)
            task.add_done_callback(self._tidying.discard)
            task.add_done_callback(lambda _: flow.close())  # it may never have begun
            task.add_done_callback(self._tasks.discard)
            return task

        loop = asyncio.get_running_loop()
        before = loop.get_task_factory()
        loop.set_task_factory(cast("Any", start))
        try:
            yield
        finally:
            loop.set_task_factory(before)

    async def _live(self, flow: Flow[T]) -> T:
        try:
            return await _Steps(self, flow)
        except BaseException:
            if self.died_at is None:
                raise
            raise asyncio.CancelledError from None  # nobody is left to read what went wrong

    @contextmanager
    def _watching_connections(self) -> Generator[None]:
        def taken(connection: Any, record: Any, _proxy: Any) -> None:
            if self.died_at is not None:
                raise Killed
            self._connections[id(record)] = connection.driver_connection

        def given_back(_connection: Any, record: Any) -> None:
            self._connections.pop(id(record), None)

        pool = self._db.sync_engine.pool
        event.listen(pool, "checkout", taken)
        event.listen(pool, "checkin", given_back)
        try:
            yield
        finally:
            event.remove(pool, "checkout", taken)
            event.remove(pool, "checkin", given_back)

    async def _until_postgres_knows(self) -> None:
        """A backend ends what it was told to do before it sees that nobody listens."""
        still = "select count(*) from pg_stat_activity where pid = any($1)"
        async with asyncio.timeout(60):
            while self._pids and await ask(self._db, still, self._pids):  # noqa: ASYNC110 - Postgres'
                await asyncio.sleep(0.001)


class _Steps(Awaitable[T]):
    """The flow, with a look at each thing that it waits for."""

    def __init__(self, life: Mortal, flow: Flow[T]) -> None:
        self._life, self._flow = life, flow

    def __await__(self) -> Generator[Any, Any, T]:
        life, flow = self._life, self._flow
        step: Callable[[], Any] = partial(flow.send, None)
        die = partial(flow.throw, Killed())
        while True:
            try:
                waits_for = step()
            except StopIteration as done:
                return done.value
            point = life.waits()
            if life.dies("waiting", point, flow):
                step = die
                continue
            try:
                yield waits_for
            except BaseException as thrown:  # noqa: BLE001 - handed on
                step = die if life.died_at else partial(flow.throw, thrown)
            else:
                step = die if life.dies("told", point, flow) else partial(flow.send, None)


def _where(flow: Flow[Any]) -> str:
    """The innermost line of ours that waits."""
    found, at = "outside", cast("Any", flow)
    while at is not None:
        frame = getattr(at, "cr_frame", None)
        if frame is not None:
            code, line = frame.f_code, frame.f_lineno
            if code.co_filename.startswith(_SOURCE):
                found = f"{code.co_filename.removeprefix(_SOURCE)}:{line} in {code.co_name}"
            elif code.co_name in {"__aenter__", "__aexit__"}:
                found += f" ({code.co_name})"
        at = getattr(at, "cr_await", None)
    return found


async def at_every_point(
    db: AsyncEngine, story: Callable[[Mortal, int], Awaitable[None]], *, more_than: int
) -> None:
    """Tell the story again and again, its process dying ever later, until it survives.

    The story is handed who dies, and its own number, so that it can have users of its own.
    """
    numbers = count(1)
    hows: tuple[How, ...] = ("waiting", "told")
    for how in hows:
        n = 0
        for n in count(1):
            mortal = Mortal(db, how, n)
            try:
                await story(mortal, next(numbers))
            except BaseException as error:
                error.add_note(f"died {how} at point {n}: {mortal.died_at}")
                raise
            if mortal.died_at is None:
                break
        assert n > more_than, f"only {n - 1} points at which it could die {how}"
