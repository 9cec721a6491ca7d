"""What goes wrong, and when: a plan made from the seed, and its execution."""

import asyncio
import math
import random
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.chaos.chronicle import Chronicle
from tests.chaos.deployment import Deployment
from tests.chaos.parts import Part
from tests.support.fake_twilio import (
    Fault,
    accepted_then_500,
    accepted_then_dropped,
    accepted_then_silent,
    cut_short,
    dripping,
    garbage_201,
    html_error,
    reset,
    silent,
    slow,
    too_many_requests,
    unavailable,
)
from tests.support.fake_twilio.faults import Endpoint

ANSWERS: Final[Mapping[str, Callable[[], Fault]]] = {
    "503": unavailable,
    "500, accepted": accepted_then_500,
    "502 page": html_error,
    "502 page, accepted": lambda: html_error(accept=True),
    "dropped, accepted": accepted_then_dropped,
    "reset, accepted": lambda: accepted_then_dropped(reset=True),
    "silent, accepted": accepted_then_silent,
    "silent": silent,
    "reset": reset,
    "garbage": garbage_201,
    "cut short": cut_short,
    "dripping": lambda: dripping(2),
    # Over the 1 s that we wait, and well inside the 4 s after which we look up for the last time.
    "late, then accepted": lambda: slow(before=1.5),
    "accepted, late answer": lambda: slow(after=1.3),
    "slow": lambda: slow(before=0.3, after=0.3),
}
"""How the carrier may treat a few creates in a row."""


RESTARTS: Final = ("fast", "immediate")
"""Of Postgres, as pg_ctl calls them."""


@dataclass(frozen=True, slots=True)
class Step:
    at: float
    action: str
    nth: int
    """Which API, which worker."""
    seconds: float
    """For how long, where that means something."""
    how: str
    """Which answer of the carrier's, which kind of restart."""
    times: int = 1
    """How many creates get that answer."""


ACTIONS: Final[Mapping[str, float]] = {
    "kill-api": 2,
    "kill-worker": 4,
    "kill-redis": 1,
    "kill-postgres": 2,
    "restart-postgres": 1,
    "roll-api": 2,
    "roll-worker": 2,
    "freeze-worker": 3,
    "freeze-postgres": 2,
    "freeze-redis": 1,
    "answers": 12,
    "storm": 2,
    "refuse": 2,
    "no-list": 2,
}
"""With their weights."""

LENGTHS: Final[Mapping[str, tuple[float, float]]] = {
    "kill-api": (0.1, 1.5),
    "kill-worker": (0.1, 1.5),
    "kill-redis": (0.3, 3),
    "kill-postgres": (0.1, 2),
    "restart-postgres": (0, 0.5),
    # From less than a lease to longer than a lease and all look-ups.
    "freeze-worker": (2, 12),
    # To longer than what waits for an answer waits: 5 s.
    "freeze-postgres": (1, 8),
    "freeze-redis": (0.5, 4),
    "storm": (1, 4),
    "refuse": (1, 4),
    "no-list": (2, 6),
}


def plan(
    seed: int,
    *,
    seconds: float,
    apis: int,
    workers: int,
    gaps: tuple[float, float] = (0.5, 2.5),
    only: Sequence[str] = (),
    spare: bool = False,
) -> list[Step]:
    """The same seed, the same plan. Every action once in a while, also in a short plan.

    `spare`: nothing happens to the first API and the first worker.
    """
    rng = random.Random(f"{seed}:mayhem")  # noqa: S311 - it has to be the same again
    names = [name for name in ACTIONS if not only or name in only]
    steps: list[Step] = []
    at = 1.0
    deck: list[str] = []
    while at < seconds:
        if not deck:
            deck = [name for name in names for _ in range(round(ACTIONS[name]))]
            rng.shuffle(deck)
        action = deck.pop()
        steps.append(
            Step(
                at=at,
                action=action,
                nth=rng.randrange(int(spare), apis if action.endswith("-api") else workers),
                seconds=rng.uniform(*LENGTHS.get(action, (1, 1))),
                how=rng.choice(list(ANSWERS)) if action == "answers" else rng.choice(RESTARTS),
                times=rng.randint(1, 6),
            )
        )
        at += rng.uniform(*gaps)
    return steps


class Mayhem:
    def __init__(self, deployment: Deployment, chronicle: Chronicle) -> None:
        self._d, self._c = deployment, chronicle
        self._carrier = asyncio.Lock()
        """Held by whoever takes the carrier's server away."""

    async def run(self, steps: Sequence[Step]) -> None:
        """Each at its time; what was broken is whole again when this returns."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for step in steps:
                await asyncio.sleep(max(0.0, began + step.at - time.monotonic()))
                group.create_task(self._do(step))
        self._d.twilio.heal()

    async def _do(self, step: Step) -> None:
        what, _, name = step.action.partition("-")
        match what:
            case "kill":
                part = self._part(name, step)
                await self._down(part, "killed", part.kill, step.seconds)
            case "restart":
                await self._restart_postgres(step)
            case "roll":
                part = self._part(name, step)
                await self._down(part, "stopped", part.stop, 0)
            case "freeze":
                await self._freeze(self._part(name, step), step.seconds)
            case "answers":
                self._answers(step)
            case "storm":
                await self._window(step, "storm of 429", too_many_requests(), on="create")
            case "no":
                await self._window(step, "list fails", unavailable(), on="list")
            case _:
                await self._refuse(step)

    def _part(self, name: str, step: Step) -> Part:
        match name:
            case "postgres":
                return self._d.postgres
            case "redis":
                return self._d.redis
            case "api":
                return self._d.apis[step.nth]
            case _:
                return self._d.workers[step.nth]

    async def _down(
        self, part: Part, what: str, end: Callable[[], Awaitable[None]], seconds: float
    ) -> None:
        async with part.busy:
            with self._c.fault(part.name, what):
                await end()
                await asyncio.sleep(seconds)
                await part.start()

    async def _restart_postgres(self, step: Step) -> None:
        part = self._d.postgres
        how, what = (
            (signal.SIGINT, "restarted, fast")
            if step.how == "fast"
            else (signal.SIGQUIT, "restarted, immediate")
        )
        await self._down(part, what, lambda: part.stop(how), step.seconds)

    async def _freeze(self, part: Part, seconds: float) -> None:
        async with part.busy:
            with self._c.fault(part.name, "frozen"):
                part.freeze()
                await asyncio.sleep(seconds)
                part.thaw()

    def _answers(self, step: Step) -> None:
        self._c.count("carrier", step.how, step.times)
        self._c.say(f"carrier: {step.how}, {step.times} times")
        self._d.twilio.next(ANSWERS[step.how](), times=step.times)

    async def _window(self, step: Step, what: str, fault: Fault, *, on: Endpoint) -> None:
        ends = time.monotonic() + step.seconds
        with self._c.fault("carrier", what):
            self._d.twilio.next(
                fault,
                times=math.inf,
                on=on,
                when=lambda _: time.monotonic() < ends,
            )
            await asyncio.sleep(step.seconds)

    async def _refuse(self, step: Step) -> None:
        async with self._carrier:
            with self._c.fault("carrier", "refuses connections"):
                await self._d.twilio.go_away()
                try:
                    await asyncio.sleep(step.seconds)
                finally:
                    await self._d.twilio.come_back()
