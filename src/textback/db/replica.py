"""Questions that a standby may answer: what it has not heard of yet may be missing.

Whoever asks for what it has just written asks the primary.
"""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.errors import Unavailable

AGAIN_SECONDS: Final = 5.0
"""For so long a replica that did not answer is not asked again."""

T = TypeVar("T")
P = ParamSpec("P")


def _nothing(_: bool) -> None:  # noqa: FBT001 - as `on_change` is called
    """Nobody wants to know."""


class Reading:
    """The replica, while it answers; else, and where there is none, the primary."""

    def __init__(
        self,
        primary: AsyncEngine,
        replica: AsyncEngine | None = None,
        *,
        clock: Callable[[], float] = monotonic,
        on_change: Callable[[bool], None] = _nothing,
    ) -> None:
        """`on_change` is told whether the replica is lost, whenever that changes."""
        self._primary, self._replica = primary, replica
        self._clock, self._on_change = clock, on_change
        self._lost_until: float | None = None

    async def ask(
        self,
        question: Callable[Concatenate[AsyncEngine, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """The answer to `question(engine, ...)`. Raises Unavailable: the primary is away, too."""
        replica, is_probe = self._replica, self._lost_until is not None
        if replica is None or (self._lost_until is not None and self._clock() < self._lost_until):
            return await question(self._primary, *args, **kwargs)
        if is_probe:  # meanwhile the others do not wait for it
            self._lost_until = self._clock() + AGAIN_SECONDS
        try:
            answer = await question(replica, *args, **kwargs)
        # The latter: it has not heard of a migration yet.
        except (Unavailable, ProgrammingError):
            is_news, self._lost_until = self._lost_until is None, self._clock() + AGAIN_SECONDS
            if is_news:
                self._on_change(True)  # noqa: FBT003
            return await question(self._primary, *args, **kwargs)
        if is_probe:
            self._lost_until = None
            self._on_change(False)  # noqa: FBT003
        return answer

    async def find(
        self,
        question: Callable[Concatenate[AsyncEngine, P], Awaitable[T | None]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T | None:
        """As `ask`, of one thing: what the replica does not have, the primary may."""
        found = await self.ask(question, *args, **kwargs)
        if found is None and self._replica is not None:
            found = await question(self._primary, *args, **kwargs)
        return found

    async def close(self) -> None:
        """The primary is somebody else's."""
        if self._replica is not None:
            await self._replica.dispose()
