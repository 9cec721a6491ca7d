"""The account's webhook endpoint: keeps what it is posted, and misbehaves as the seed has it."""

import asyncio
import base64
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from tests.chaos.chronicle import Chronicle
from tests.chaos.record import Arrival
from tests.support.fake_twilio.server import Answer, HangUp, LoopbackServer, Request
from textback.core import signing

SECRET: Final = signing.PREFIX + base64.b64encode(b"a receiver of the chaos run").decode()

ANSWERS: Final[Mapping[str, Callable[[], Answer | HangUp]]] = {
    "500": lambda: Answer(500, b"oops"),
    "503": lambda: Answer(503),
    "429": lambda: Answer(429, headers={"retry-after": "1"}),
    "dropped": HangUp,
    "reset": lambda: HangUp(reset=True),
    "cut short": lambda: HangUp(after=b"HTTP/1.1 200 OK\r\ncontent-len"),
}
MOODS: Final = (*ANSWERS, "hangs", "slow", "restarted", "restarted")
AWAY_SECONDS: Final = (0.5, 4.0)
HANG_SECONDS: Final = (1.0, 5.0)
"""Long ones: how long a worker waits is 15 s, which a run has no time for."""


@dataclass(frozen=True, slots=True)
class Mood:
    at: float
    what: str
    seconds: float
    times: int
    """Posts that are treated so, while it lasts."""


def moods(seed: int, *, seconds: float) -> list[Mood]:
    """What the receiver does to those who post. The same seed, the same moods."""
    rng = random.Random(f"{seed}:receiver")  # noqa: S311 - it has to be the same again
    found: list[Mood] = []
    at = rng.uniform(0.5, 2)
    deck: list[str] = []
    while at < seconds:
        if not deck:
            deck = list(MOODS)
            rng.shuffle(deck)
        what = deck.pop()
        lasts = rng.uniform(*(AWAY_SECONDS if what == "restarted" else HANG_SECONDS))
        found.append(Mood(at, what, lasts, rng.randint(1, 6)))
        at += lasts + rng.uniform(0.5, 4)
    return found


class Receiver:
    def __init__(self, port: int) -> None:
        self.arrivals: list[Arrival] = []
        self.url = f"http://127.0.0.1:{port}/events"
        self._server = LoopbackServer(self._take, port=port)
        self._mood: Mood | None = None
        self._left = 0
        self._ends = 0.0

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop()

    async def run(self, plan: Sequence[Mood], chronicle: Chronicle) -> None:
        """Each mood at its time; well again when this returns."""
        began = time.monotonic()
        for mood in plan:
            await asyncio.sleep(max(0.0, began + mood.at - time.monotonic()))
            chronicle.say(f"receiver: {mood.what} for {mood.seconds:.1f} s, {mood.times} times")
            chronicle.count("receiver", mood.what)
            if mood.what == "restarted":
                await self._server.stop()
                try:
                    await asyncio.sleep(mood.seconds)
                finally:
                    await self._server.start()
            else:
                self._mood, self._left = mood, mood.times
                self._ends = time.monotonic() + mood.seconds
        self._mood = None

    async def _take(self, request: Request) -> Answer | HangUp:
        arrival = _arrival(request)
        nth = len(self.arrivals)
        self.arrivals.append(arrival)  # now: that is when it arrived
        mood = self._now()
        if mood is not None and mood.what in ANSWERS:
            return ANSWERS[mood.what]()
        if mood is not None:
            await asyncio.sleep(max(0.0, self._ends - time.monotonic()))
            if mood.what == "hangs":
                return HangUp()
        self.arrivals[nth] = replace(arrival, taken=True)
        return Answer(204)

    def _now(self) -> Mood | None:
        if self._mood is None or self._left <= 0 or time.monotonic() >= self._ends:
            return None
        self._left -= 1
        return self._mood


def _arrival(request: Request) -> Arrival:
    told: dict[str, Any] = json.loads(request.body)
    about: dict[str, Any] = told["data"]
    fault = signing.fault(
        SECRET, request.headers, request.body, now=datetime.fromtimestamp(time.time(), UTC)
    )
    return Arrival(
        id=request.headers["webhook-id"],
        type=told["type"],
        conversation_id=about.get("conversation", {}).get("id"),
        message_id=about.get("message", {}).get("id"),
        body=request.body,
        signed=fault is None,
        taken=False,
    )
