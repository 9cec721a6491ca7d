"""The record of a turn's calls: kept in the database, so that a second run knows of the first."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TypeVar, cast

from sqlalchemy.ext.asyncio import AsyncEngine

from textback import metrics
from textback.core.engine import Do, ToolResult, TurnLost
from textback.core.errors import Unavailable
from textback.core.events import Event
from textback.db import events, journal, under_way
from textback.db.journal import Begun
from textback.db.session import transaction
from textback.db.thinking import Thinking

LONGEST_RESULT = 32_000
"""Code points of a result that are kept, and that the agent is told."""

AGAIN_SECONDS = 0.5

T = TypeVar("T")


class TurnJournal:
    """Of one run of a turn. Calls may be made at once."""

    def __init__(self, db: AsyncEngine, turn: Thinking, *, now: Callable[[], datetime]) -> None:
        self._db, self._turn, self._now = db, turn, now
        self._used = set[str]()
        self._beginning = asyncio.Lock()
        self._under_way = 0
        self._idle = asyncio.Event()
        self._lost = False

    def lose(self) -> bool:
        """The run will not count: no call is begun any more; gives whether one is under way.

        That is let end, so that its result is known to the next run. Then the engine hears of it.
        """
        self._lost = True
        return self._under_way > 0

    async def call(self, name: str, arguments: Mapping[str, object], do: Do) -> ToolResult:
        """Note the call, make it, note its result. Raises TurnLost.

        Without the database it waits, as long as the engine's deadline lets it. Whatever `do`
        raises leaves the call without an end: it is made again when it is asked for again.
        """
        arguments, name = _storable(arguments), _plain(name)
        async with self._beginning:  # so that each of two that are alike has a number of its own
            begun = await _persist(lambda: self._begin(name, arguments))
            self._used.add(begun.call_id)
        if begun.result is not None:
            metrics.TOOL_CALLS.labels("replayed").inc()
            return begun.result
        self._under_way += 1
        self._idle.clear()
        try:
            began_at = self._now()
            result = _kept(await do(begun.call_id))
            await _persist(lambda: self._end(name, begun.call_id, result, began_at))
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()
        metrics.TOOL_CALLS.labels("failed" if result.failed else "done").inc()
        if self._lost:
            await self._idle.wait()
            raise TurnLost
        return result

    async def _begin(self, name: str, arguments: Mapping[str, object]) -> Begun:
        turn = self._turn
        async with transaction(self._db) as c:
            held = await under_way.hold(c, turn.id)
            if (
                self._lost
                or held is None
                or (held.run, held.state) != (turn.run, "thinking")
                or held.again_at is not None
            ):
                raise TurnLost
            known = await journal.find(c, turn.id, name, arguments, but=self._used)
            if known is not None:
                return known
            return await journal.note(
                c, turn.id, turn.conversation_id, name, arguments, now=self._now()
            )

    async def _end(self, name: str, call_id: str, result: ToolResult, began_at: datetime) -> None:
        """Also when the turn was lost meanwhile: what happened, happened."""
        now = self._now()
        took = max(0, round((now - began_at).total_seconds() * 1000))
        # Not the arguments nor the result: they may be about somebody.
        data = {"name": name, "call_id": call_id, "ms": took, "failed": result.failed}
        event = Event(kind="tool.called", conversation_id=self._turn.conversation_id, data=data)
        async with transaction(self._db) as c:
            if await journal.end(c, call_id, result, now=now):
                await events.append(c, [event], now=now)


async def _persist(save: Callable[[], Awaitable[T]]) -> T:
    """What is saved here can be saved twice."""
    while True:
        try:
            return await save()
        except Unavailable:
            await asyncio.sleep(AGAIN_SECONDS)


def _kept(result: ToolResult) -> ToolResult:
    return ToolResult(_plain(result.text[:LONGEST_RESULT]), bool(result.failed))


def _plain(text: str) -> str:
    """As Postgres takes it: no NUL, no half of a surrogate pair."""
    return text.encode(errors="replace").decode().replace("\x00", "?")


def _storable(arguments: Mapping[str, object]) -> dict[str, object]:
    """As JSON that Postgres takes. Raises TypeError, ValueError for what is none: a bug."""
    return cast("dict[str, object]", _clean(json.loads(json.dumps(arguments, allow_nan=False))))


def _clean(value: object) -> object:
    match value:
        case str():
            return _plain(value)
        case list():
            return [_clean(each) for each in cast("list[object]", value)]
        case dict():
            found = cast("dict[str, object]", value)
            return {_plain(key): _clean(each) for key, each in found.items()}
        case _:
            return value
