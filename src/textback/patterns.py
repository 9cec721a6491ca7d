"""Matching in threads apart: a pattern that backtracks for ever is no other agent's trouble.

Not in the event loop's own threads: those also look up names, for whoever connects.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

AT_ONCE: Final = 4
"""Of one agent."""

# Begun as they are needed, so that one of them is most often all there is.
_THREADS: Final = ThreadPoolExecutor(256, thread_name_prefix="patterns")


class Matching:
    """Of one agent: its turns wait for each other, and for nobody else's."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(AT_ONCE)

    async def run(self, match: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `match` gives or raises; it lets go of the interpreter, and ends by itself.

        Whoever stops waiting for it makes no room: it goes on until then.
        """
        await self._room.acquire()
        loop = asyncio.get_running_loop()
        matching = loop.run_in_executor(_THREADS, lambda: match(*args, **kwargs))
        matching.add_done_callback(self._ended)
        await asyncio.wait([matching])
        return matching.result()

    def _ended(self, matching: "asyncio.Future[T]") -> None:
        self._room.release()
        if not matching.cancelled():
            matching.exception()  # nobody may be there to hear of it
