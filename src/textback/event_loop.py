"""The event loop of all our processes: uvloop's, which looks up names in threads of their own."""

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import uvloop

Found: TypeAlias = list[tuple[Any, ...]]
LookUp: TypeAlias = Callable[..., Found]
"""As `socket.getaddrinfo`, which gives up when the name servers have been silent long enough: ten
seconds or more."""


class Loop(uvloop.Loop):
    """A name that hangs holds up who asked for it, and nobody else.

    uvloop has four threads for all look-ups: whose agent's host is a name that hangs would have
    them, and the carrier's name could not be found. Here each name that is being looked up has one,
    however many ask for it.
    """

    def __init__(self, look_up: LookUp = socket.getaddrinfo) -> None:
        super().__init__()
        self._look_up = look_up
        self._asked: dict[tuple[object, ...], asyncio.Future[Found]] = {}

    async def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | bytes | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - asyncio's name
        proto: int = 0,
        flags: int = 0,
    ) -> Found:
        question = host, port, family, type, proto, flags
        asked = self._asked.get(question)
        if asked is None:
            asked = self._asked[question] = self.create_future()
            asked.add_done_callback(lambda _: self._answered(question))
            # No executor's: the end of the process would wait for it.
            threading.Thread(
                target=self._ask, args=(question, asked), name="names", daemon=True
            ).start()
        await asyncio.wait([asked])  # who stops waiting takes it from nobody else
        return asked.result()

    def _answered(self, question: tuple[object, ...]) -> None:
        self._asked.pop(question).exception()  # nobody may be there to hear of it

    def _ask(self, question: tuple[object, ...], asked: asyncio.Future[Found]) -> None:
        try:
            found = self._look_up(*question)
        except Exception as error:  # noqa: BLE001 - it is whoever asks who hears of it
            self._tell(asked.set_exception, error)
        else:
            self._tell(asked.set_result, found)

    def _tell(self, tell: Callable[[Any], None], what: object) -> None:
        try:
            self.call_soon_threadsafe(tell, what)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return
