"""One run: a deployment, traffic and mayhem at once; then it heals, and is judged."""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import asyncpg

from tests.chaos import evidence, later, mayhem, receiver, traffic
from tests.chaos.chronicle import Chronicle
from tests.chaos.deployment import DRAIN_SECONDS, Deployment
from tests.chaos.record import Record
from tests.chaos.verdict import Verdict, judge

HEAL_SECONDS: Final = 180.0
"""Lost texts are looked for only when they are half a minute old; then they are answered. What a
killed worker was about to tell is told when its lease has run out, after three quarters of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    seed: int
    seconds: float
    sends: int
    apis: int = 2
    workers: int = 2
    gaps: tuple[float, float] = (0.5, 2.5)
    only: tuple[str, ...] = ()
    spare: bool = False
    """One API and one worker live through it all."""
    watch: Callable[[Deployment], Coroutine[Any, Any, None]] | None = None
    """Runs beside it until everything is settled."""
    lose: bool = True
    """Some webhooks never come; then every text has to be found, which takes half a minute."""
    pgbouncer: str | None = None
    """The program, if everything is to go through one."""
    tell: bool = True
    """Everything has to arrive at the receiver, which takes a minute; else what is under way when
    all else is settled is left at that."""


async def run(folder: Path, wanted: Wanted, chronicle: Chronicle) -> Verdict:
    async with Deployment(
        folder, apis=wanted.apis, workers=wanted.workers, pgbouncer=wanted.pgbouncer
    ) as deployment:
        chronicle.say("running")
        script = traffic.script(wanted.seed, sends=wanted.sends, seconds=wanted.seconds)
        steps = mayhem.plan(
            wanted.seed,
            seconds=wanted.seconds,
            apis=wanted.apis,
            workers=wanted.workers,
            gaps=wanted.gaps,
            only=wanted.only,
            spare=wanted.spare,
        )
        more = later.script(wanted.seed, sends=wanted.sends, seconds=wanted.seconds)
        script = replace(script, habits={**script.habits, **more.habits})
        going = traffic.Traffic(deployment, script, seed=wanted.seed, lose=wanted.lose)
        planning = later.Later(deployment, more, seed=wanted.seed)
        moods = receiver.moods(wanted.seed, seconds=wanted.seconds)
        watching = asyncio.create_task((wanted.watch or _nobody)(deployment))
        try:
            await planning.listen(deployment.receiver.url, receiver.SECRET)
            async with asyncio.TaskGroup() as group:
                group.create_task(going.run())
                group.create_task(planning.run())
                group.create_task(deployment.receiver.run(moods, chronicle))
                group.create_task(mayhem.Mayhem(deployment, chronicle).run(steps))
            going.lose_no_more()
            chronicle.say("all is well again; waiting until everything is settled")
            left = await _settled(deployment, going, planning, wanted, chronicle)
            watching.cancel()
            chronicle.say("stopping everything")
            async with asyncio.TaskGroup() as group:
                for part in deployment.processes:
                    group.create_task(part.stop())
            record = await _record(deployment, going, planning, wanted, chronicle)
            return judge(replace(record, untold=left.get("webhook", 0)))
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            await going.close()
            await planning.close()


async def _nobody(_: Deployment) -> None:
    """Nobody watches."""


async def _settled(
    deployment: Deployment,
    going: traffic.Traffic,
    planning: later.Later,
    wanted: Wanted,
    chronicle: Chronicle,
) -> Mapping[str, int]:
    """Until nothing is under way, twice in a row, or nothing became less for too long.

    Gives what is left then. What a timer brings after that may be under way again.
    """
    ends = time.monotonic() + HEAL_SECONDS
    calm, least = 0, math.inf
    left: dict[str, int] = {}
    c = await deployment.connect()
    try:
        while calm < 2 and time.monotonic() < ends:
            await going.quiet()
            left = await evidence.unfinished(c)
            if wanted.lose and (missing := await evidence.missing(c, [s.sid for s in going.said])):
                left["lost text"] = missing
            untold, late = await evidence.untold(c)
            if wanted.tell and untold:
                left["webhook"] = untold
                await planning.again(late)
            if (there := sum(left.values())) < least:  # a busy machine may take its time
                least, ends = there, time.monotonic() + HEAL_SECONDS
            calm = 0 if left else calm + 1
            await asyncio.sleep(0.5)
    finally:
        await c.close()
    if calm < 2:
        chronicle.say(f"not settled, and no less for {HEAL_SECONDS:.0f} s: {left}")
    return left


async def _record(
    deployment: Deployment,
    going: traffic.Traffic,
    planning: later.Later,
    wanted: Wanted,
    chronicle: Chronicle,
) -> Record:
    await deployment.twilio.idle()
    c: asyncpg.Connection = await deployment.connect()
    try:
        ours = deployment.processes
        return Record(
            seed=wanted.seed,
            accepted=[*going.accepted, *planning.accepted],
            never_accepted=[*going.never_accepted, *planning.never_accepted],
            rows=await evidence.rows(c),
            created=going.created,
            said=going.said,
            turns=await evidence.turns(c),
            events=await evidence.events(c),
            reasons=await evidence.reasons(c),
            answers=[*going.answers, *planning.answers]
            + [a for part in ours for a in evidence.answers(part)],
            exits=[
                exit_
                for part in deployment.parts
                for exit_ in part.exits
                if part in ours or not exit_.asked  # how the servers obey is not our promise
            ],
            tracebacks=[trace for part in ours for trace in evidence.tracebacks(part)],
            faults=chronicle.faults,
            did=chronicle.did,
            drain=DRAIN_SECONDS,
            can_sweep=wanted.lose,
            planned=planning.planned,
            many=planning.many,
            plans=await evidence.plans(c),
            arrivals=deployment.receiver.arrivals,
            deliveries=await evidence.deliveries(c),
            has_webhook=True,
        )
    finally:
        await c.close()
