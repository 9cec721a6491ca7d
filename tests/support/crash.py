"""A process that dies at a chosen moment: at the n-th thing it waits for.

Wherever a flow waits, `kill -9` may find it. `Mortal` steps a coroutine by hand, and the tasks that
it starts, and at one of these points ends them all: its connections to Postgres break in the same
instant, and nothing that it does while it unwinds reaches Postgres any more.

Within a transaction one death is like another: Postgres undoes it. There it dies over the first
question, and over the last, once that is answered; then over the commit, and wherever else it
waits for anything.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from types import CoroutineType, FrameType
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

Transaction = Literal["begun", "ending", "quiet"]
"""Of a task: nothing was asked in it yet; or its end is asked for; or what comes is no news."""

_BOTH: Collection[How] = ("waiting", "told")
_MAY_DIE: dict[Transaction, Collection[How]] = {
    "begun": ("waiting",),  # once it is told, it is as good as before the commit
    "ending": _BOTH,
    "quiet": (),
}
_SOURCE = str(Path(textback.__file__).parent)


class Killed(BaseException):
    """Not an Exception: nothing that handles failures may take it for one."""


class Mortal:
    """Runs a flow until the n-th time that it, or a task that it started, waits."""

    def __init__(self, db: AsyncEngine, how: How, n: int, *, connections: int = 1) -> None:
        """`db` is the database as it sees it, through so many connections of its own.

        With fewer than it needs, it may die while it opens one. The driver leaves that socket open.
        """
        self.died_at: str | None = None
        self._db, self._how, self._n, self._at_once = db, how, n, connections
        self._points = 0
        self._transactions: dict[asyncio.Task[Any] | None, Transaction] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._tidying: set[asyncio.Task[Any]] = set()
        self._connections: list[Any] = []
        self._pids: list[int] = []

    async def run(self, flow: Flow[T]) -> T | None:
        """What the flow gives; None when it died."""
        await self._db.dispose()  # its connections are those that are opened from here on
        with self._watching_connections():
            async with AsyncExitStack() as held:  # so that it finds them
                for _ in range(self._at_once):
                    c = await held.enter_async_context(transaction(self._db))
                    await c.execute(text("select 1"))
            return await self._run(flow)

    async def _run(self, flow: Flow[T]) -> T | None:
        with self._watching_transactions(), self._stepping_tasks():
            task = asyncio.create_task(flow)
            async with asyncio.timeout(60):
                while left := self._tasks | self._tidying:
                    await asyncio.wait(left)
        if self.died_at is None:
            return task.result()
        await self._db.dispose()  # a broken connection may lie in the pool as if it were whole
        await self._until_postgres_knows()
        return None

    def may_die(self, flow: Flow[Any]) -> Collection[How]:
        """How, over what the flow waits for now; not at all within a transaction."""
        here = asyncio.current_task()
        transaction = self._transactions.get(here)
        if here in self._tidying:
            return ()
        if transaction is None or not _is_of_the_database(flow):
            return _BOTH
        self._transactions[here] = "quiet"
        return _MAY_DIE[transaction]

    def dies(self, how: How, at: Callable[[], str]) -> bool:
        """Whether it ends now, while it waits or once it has waited."""
        if self.died_at is not None or how != self._how:
            return False
        self._points += 1
        if self._points != self._n:
            return False
        self.died_at = at()
        for connection in self._connections:
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
        def opened(connection: Any, _: object) -> None:
            if self.died_at is not None:
                raise Killed
            self._connections.append(connection.driver_connection)

        event.listen(self._db.sync_engine, "connect", opened)
        try:
            yield
        finally:
            event.remove(self._db.sync_engine, "connect", opened)

    @contextmanager
    def _watching_transactions(self) -> Generator[None]:
        def begins(_connection: Any) -> None:
            self._transactions[asyncio.current_task()] = "begun"

        def ends(_connection: Any) -> None:
            self._transactions[asyncio.current_task()] = "ending"

        def commits(connection: Any) -> None:
            ends(connection)
            if self.dies("told", lambda: "before a commit"):
                raise Killed

        engine = self._db.sync_engine
        watched: list[tuple[str, Callable[..., None]]] = [
            ("begin", begins),
            ("rollback", ends),
            ("commit", commits),
        ]
        for name, told in watched:
            event.listen(engine, name, told)
        try:
            yield
        finally:
            for name, told in watched:
                event.remove(engine, name, told)

    async def _until_postgres_knows(self) -> None:
        """A backend ends what it was told to do before it sees that nobody listens."""
        async with asyncio.timeout(60):
            while await ask(self._db, _STILL, self._pids):  # noqa: ASYNC110 - Postgres'
                await asyncio.sleep(0.001)


# Also of a connection that was only being opened, whose process nobody had heard of.
_STILL = """
select count(*) from pg_stat_activity
where backend_type = 'client backend' and pid <> pg_backend_pid()
    and (pid = any($1) or coalesce(state, 'starting') not in ('idle', 'idle in transaction'))
"""


class _Steps(Awaitable[T]):
    """The flow, with a look at each thing that it waits for."""

    def __init__(self, life: Mortal, flow: Flow[T]) -> None:
        self._life, self._flow = life, flow

    def __await__(self) -> Generator[Any, Any, T]:
        life, flow = self._life, self._flow
        step: Callable[[], Any] = partial(flow.send, None)
        die, where = partial(flow.throw, Killed()), partial(_where, flow)
        while True:
            try:
                waits_for = step()
            except StopIteration as done:
                return done.value
            may_die = life.may_die(flow)
            if "waiting" in may_die and life.dies("waiting", where):
                step = die
                continue
            try:
                yield waits_for
            except BaseException as thrown:  # noqa: BLE001 - handed on
                step = die if life.died_at else partial(flow.throw, thrown)
            else:
                now = "told" in may_die and life.dies("told", where)
                step = die if now else partial(flow.send, None)


def _frames(flow: Flow[Any]) -> Iterator[FrameType]:
    """Of all that wait for each other, from the outermost."""
    at = cast("Any", flow)
    while at is not None:
        if hasattr(at, "asend"):
            frame, at = at.ag_frame, at.ag_await
        elif hasattr(at, "cr_frame"):
            frame, at = at.cr_frame, at.cr_await
        else:  # a step of a generator names it to nobody but the garbage collector
            known: list[Any] = gc.get_referents(at)
            frame, at = None, next((each for each in known if hasattr(each, "asend")), None)
        if frame is not None:
            yield frame


def _is_of_the_database(flow: Flow[Any]) -> bool:
    return any("/sqlalchemy/" in frame.f_code.co_filename for frame in _frames(flow))


def _where(flow: Flow[Any]) -> str:
    """The innermost line of ours that waits."""
    found = "outside"
    for frame in _frames(flow):
        code, line = frame.f_code, frame.f_lineno
        if code.co_filename.startswith(_SOURCE) and code.co_name != transaction.__name__:
            found = f"{code.co_filename.removeprefix(_SOURCE)}:{line} in {code.co_name}"
        elif code.co_name in {"__aenter__", "__aexit__"}:
            found += f" ({code.co_name})"
    return found


async def at_every_point(
    db: AsyncEngine,
    story: Callable[[Mortal, int], Awaitable[None]],
    *,
    more_than: int,
    connections: int = 1,
) -> None:
    """Tell the story again and again, its process dying ever later, until it survives.

    The story is handed who dies, and its own number, so that it can have users of its own.
    """
    numbers, deaths = count(1), list[str]()
    for how in _BOTH:
        for n in count(1):
            mortal = Mortal(db, how, n, connections=connections)
            try:
                await story(mortal, next(numbers))
            except BaseException as error:
                error.add_note(f"died {how} at point {n}: {mortal.died_at}")
                raise
            if mortal.died_at is None:
                break
            deaths.append(f"{how}: {mortal.died_at}")
    assert len(deaths) > more_than, f"only {len(deaths)} points: {deaths}"
