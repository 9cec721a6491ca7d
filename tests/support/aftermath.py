"""What happens after a process died: others go on, and then everything must be in order."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

from sqlalchemy import func, select

from tests.support.deployment import NOW
from tests.support.doubles import CarrierDouble, EngineDouble, Plenty
from tests.support.keeper import ask
from tests.support.world import World
from textback.core.engine import Engine, TurnFailed, TurnReply, TurnRequest
from textback.core.gcra import Denied, Granted, Rate
from textback.core.phone import Phone
from textback.core.ports import NoAnswer, NotFound, Outgoing, SendError, Taken
from textback.db import tables
from textback.db.session import transaction

LOOKS = [timedelta(minutes=m) for m in (1, 2, 3, 4, 9, 10, 15, 22)]
"""When the others look: after the leases, and at each look-up of the settle window."""

ONCE = {f"message.{kind}" for kind in ("received", "sent", "delivered", "failed", "suppressed")}

Refuses: TypeAlias = SendError | Callable[[Outgoing], SendError | None] | None


def user_of(n: int) -> Phone:
    return Phone(f"+1415556{n:04}")


class FarCarrier(CarrierDouble):
    """It is waited for on the way there and on the way back, and its list tells the truth."""

    def __init__(self, refuses: Refuses = None) -> None:
        super().__init__()
        self.had: list[tuple[str, Outgoing]] = []
        self.refuses = refuses
        self.on_send, self.on_look_up = self._take, self._find

    def texts_to(self, user: Phone) -> list[str]:
        """What it took, in the order in which it did."""
        return [had.text for _sid, had in self.had if had.user_number == user]

    def sids_to(self, user: Phone) -> list[str]:
        return [sid for sid, had in self.had if had.user_number == user]

    async def _take(self, outgoing: Outgoing) -> Taken | SendError | NoAnswer:
        await asyncio.sleep(0)
        refusal = self.refuses(outgoing) if callable(self.refuses) else self.refuses
        answer = refusal or self.taken()
        if isinstance(answer, Taken):
            self.had.append((answer.carrier_message_id, outgoing))
        await asyncio.sleep(0)
        return answer

    async def _find(self, asked: Outgoing) -> Taken | NotFound | NoAnswer:
        await asyncio.sleep(0)
        known = self.asked[-1][1]
        fits = [
            sid
            for sid, had in self.had
            if sid not in known
            and (had.agent_number, had.user_number, had.text)
            == (asked.agent_number, asked.user_number, asked.text)
            and had.claimed_at >= asked.claimed_at
        ]
        await asyncio.sleep(0)
        return Taken(fits[0]) if fits else NotFound()


class FarPace(Plenty):
    async def take(self, key: str, rate: Rate, units: float = 1) -> Granted | Denied:
        await asyncio.sleep(0)
        granted = await super().take(key, rate, units)
        await asyncio.sleep(0)
        return granted


class FarEngine(EngineDouble):
    """Answers each turn by what it heard, unless it was given answers."""

    def __init__(self, answer: TurnReply | TurnFailed | None = None) -> None:
        super().__init__()
        self.on_reply = self._think
        self._always = answer

    async def _think(self, request: TurnRequest) -> TurnReply | TurnFailed:
        await asyncio.sleep(0)
        words = request.heard.replace("\n", " and ") or "nothing"
        await asyncio.sleep(0)
        return self._always or TurnReply(texts=[f"You said {words}."])


class Aftermath:
    """What other workers do once one has died, and what must be true in the end."""

    def __init__(
        self,
        world: World,
        *,
        refuses: Refuses = None,
        engine: Engine | None = None,
    ) -> None:
        self.world = world
        self.carrier = FarCarrier(refuses)
        self.engine = engine or FarEngine()

    async def go_on(self, *, since: datetime = NOW) -> None:
        """Rescue, look up, think and send, for as long as anything is unfinished."""
        world = self.world
        for later in LOOKS:
            if not (states := await unfinished(world)):
                break
            at = since + later
            if "sending" in states:
                await world.rescue(now=at)
            if states & {"thinking", "awaiting"}:
                await world.rescue_turns(now=at)
            if "uncertain" in states:
                await world.settle(now=at, carrier=self.carrier)
            if states & {"waiting", "thinking"}:
                await world.think(now=at, engine=self.engine)
            while "queued" in await unfinished(world):
                if not await world.send(now=at, carrier=self.carrier):
                    break  # what is left is not due, or was just found to be too late
        assert not await unfinished(world), "left unfinished for ever"
        await self.nothing_is_open()

    async def nothing_is_open(self) -> None:
        assert not await ask(self.world.db, _IN_TRANSACTION), "a transaction is open"

    async def check(self, user: Phone, *, took: Sequence[str]) -> None:
        """The carrier took exactly these, in this order, and the record says so, once."""
        assert self.carrier.texts_to(user) == list(took)
        ours = await self.world.ours(user=user)
        sent = [t for t in ours if t.carrier_message_id is not None]
        assert [t.text for t in sent] == list(took)
        assert [t.carrier_message_id for t in sent] == self.carrier.sids_to(user)
        texts = {t.id for t in await self.world.texts(user=user)}
        talks = {t.id: t.state for t in await self.world.talks(user=user)}
        told = await self._told(user)
        for (kind, about), times in told.items():
            if about in texts and kind in ONCE:
                assert times == 1, f"{kind}: {times} times"
        for talk, state in talks.items():
            assert told["conversation.opened", talk] == 1
            assert told["conversation.closed", talk] == (state == "closed")

    async def _told(self, user: Phone) -> Counter[tuple[str, str]]:
        e, talk = tables.events.c, tables.conversations.c
        with_user = select(talk.id).where(talk.user_number == user)
        events = select(e.kind, func.coalesce(e.message_id, e.conversation_id)).where(
            e.conversation_id.in_(with_user)
        )
        async with transaction(self.world.db) as c:
            return Counter((kind, about) for kind, about in await c.execute(events))


async def unfinished(world: World) -> set[str]:
    """The states of texts and turns that will not stay as they are."""
    return set(await ask(world.db, _UNFINISHED))


_UNFINISHED = """
select array(
    select state from messages where state in ('queued', 'sending', 'uncertain')
    union select state from turns where state <> 'ended'
)
"""

_IN_TRANSACTION = (
    "select count(*) from pg_stat_activity where backend_type = 'client backend'"
    " and pid <> pg_backend_pid() and (xact_start is not null or state <> 'idle')"
)
