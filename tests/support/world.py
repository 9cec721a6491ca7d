"""A deployment on the sandbox, and its flows one at a time, at moments that the test names."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from itertools import count
from typing import Literal, cast

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.support.deployment import (
    ACCOUNT,
    AGENT,
    CARRIER,
    FALLBACK,
    NOW,
    NUMBERS,
    PUBLIC_URL,
    USER,
    caller,
    deployment,
    scripted,
)
from tests.support.doubles import OneCarrier, Plenty, WatchedCarrier, WatchedEngine
from tests.support.provision import provision
from tests.support.records import Records
from textback.carriers.sandbox.client import SandboxCarrier
from textback.core.commands import Accepted, Caller, Idempotency, SendText
from textback.core.engine import Engine, Later, TurnFailed, TurnReply
from textback.core.frozen import frozen
from textback.core.ids import CarrierId, ConversationId, MessageId
from textback.core.message import Message
from textback.core.phone import Phone
from textback.core.policy import SendPolicy
from textback.core.ports import Carrier, Inbound, Limiter, NoAnswer, Receipt, ReceiptStatus
from textback.core.throttle import Lately
from textback.core.turn import Recorded
from textback.db.book import Book
from textback.db.session import transaction
from textback.db.thinking import Thinking
from textback.flows import expire, hand, inbound, receipt, recording, send, settle, sweep, turn
from textback.flows.accept import Accepting
from textback.flows.journal import TurnJournal
from textback.flows.say import OPERATOR, Said, Sender, Who, say
from textback.flows.send import Job
from textback.flows.sweep import Sweeping

SWEEP = timedelta(minutes=1)
"""How often lost replies are looked for."""


@frozen
class WithText(Accepted):
    """A send that has a text, as all do but those with which an agent goes on by itself."""

    message_id: MessageId


class World(Records):
    """One deployment. Every method that lets something happen takes its `now`."""

    def __init__(self, db: AsyncEngine) -> None:
        super().__init__(db)
        self.policy = SendPolicy()
        self.now = NOW
        self._sids = count(1)
        self._sandbox = SandboxCarrier(
            ACCOUNT,
            clock=lambda: self.now,
            http=httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200))),
            before_receipt=timedelta(hours=1),  # tests bring the receipts
        )
        self.carrier = WatchedCarrier(self._sandbox)
        self.engine = WatchedEngine(scripted())

    async def close(self) -> None:
        await self._sandbox.close()

    async def provision(
        self,
        *,
        agent: Mapping[str, object] | None = None,
        project: Mapping[str, object] | None = None,
        numbers: Sequence[Mapping[str, object]] = NUMBERS,
        prune: bool = False,
    ) -> None:
        made = deployment(agent=agent, project=project, numbers=numbers)
        await provision(self.db, made, now=self.now, prune=prune)

    def transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """For a test that has to stand in somebody's way."""
        return transaction(self.db)

    async def blocked(self, transactions: int) -> None:
        """Until so many wait for somebody's lock."""
        waiting = text("select count(*) from pg_stat_activity where wait_event_type = 'Lock'")
        async with asyncio.timeout(60):
            while True:
                async with transaction(self.db) as c:
                    if (await c.scalar(waiting) or 0) >= transactions:
                        return
                await asyncio.sleep(0.005)

    # --- What callers, users and the carrier do ---------------------------------------------------

    async def accept(
        self,
        words: str | None = "Your appointment is at 3pm.",
        *,
        user: Phone = USER,
        agent_number: Phone | None = AGENT,
        by: Caller | None = None,
        idempotency: Idempotency | None = None,
        now: datetime = NOW,
    ) -> WithText:
        command = SendText(
            user_number=user, text=words, agent_number=agent_number, idempotency=idempotency
        )
        accepting = Accepting(self.db, Book(self.db))
        done = await accepting.send_text(by or caller(), command, now=now)
        assert done.message_id is not None
        return cast("WithText", done)

    async def hear(
        self,
        words: str,
        *,
        user: str = USER,
        agent_number: str = AGENT,
        sid: str | None = None,
        opt_out: Literal["stop", "start", "help"] | None = None,
        media: Sequence[Mapping[str, str]] = (),
        carrier_id: CarrierId = CARRIER,
        said_at: datetime | None = None,
        lately: Lately | None = None,
        now: datetime = NOW,
    ) -> inbound.Heard:
        said = Inbound(
            carrier_message_id=sid or f"IN{next(self._sids):04}",
            agent_number=agent_number,
            user_number=user,
            text=words,
            media=media,
            opt_out=opt_out,
            said_at=said_at,
        )
        return await inbound.hear(self.db, carrier_id, said, lately=lately, now=now)

    async def receipt(
        self,
        status: ReceiptStatus,
        *,
        sid: str,
        message_id: MessageId | None = None,
        error_code: str | None = None,
        opted_out: bool = False,
        carrier_id: CarrierId = CARRIER,
        now: datetime = NOW,
    ) -> receipt.Outcome:
        heard = Receipt(
            carrier_message_id=sid,
            message_id=message_id,
            status=status,
            error_code=error_code,
            opted_out=opted_out,
        )
        return await receipt.Receipts(self.db).hear(carrier_id, heard, now=now)

    # --- What operators and callers do ------------------------------------------------------------

    async def hand_off(
        self,
        conversation_id: ConversationId,
        why: str = "the user is angry",
        *,
        who: Who = OPERATOR,
        metadata: Mapping[str, object] | None = None,
        now: datetime = NOW,
    ) -> hand.Done:
        return await hand.off(self.db, conversation_id, why, who=who, metadata=metadata, now=now)

    async def say(
        self,
        conversation_id: ConversationId,
        words: str = "Bob here, how can I help?",
        *,
        sender: Sender = "person",
        who: Who = OPERATOR,
        key: Idempotency | None = None,
        now: datetime = NOW,
    ) -> Said:
        return await say(self.db, conversation_id, words, sender=sender, who=who, key=key, now=now)

    async def resume(
        self,
        conversation_id: ConversationId,
        *,
        who: Who = OPERATOR,
        message: str | None = None,
        reply: bool = False,
        node: str | None = None,
        now: datetime = NOW,
    ) -> hand.Done:
        return await hand.resume(
            self.db, conversation_id, who=who, message=message, reply=reply, node=node, now=now
        )

    async def end(
        self,
        conversation_id: ConversationId,
        why: str | None = None,
        *,
        who: Who = OPERATOR,
        now: datetime = NOW,
    ) -> hand.Done:
        return await hand.end(self.db, conversation_id, why, who=who, now=now)

    # --- What workers do --------------------------------------------------------------------------

    async def claim(
        self,
        *,
        now: datetime = NOW,
        limit: int = 100,
        except_numbers: Sequence[Phone] = (),
        units: Mapping[Phone, int] | None = None,
    ) -> list[Job]:
        jobs, _ = await send.claim(
            self.db,
            policy=self.policy,
            limit=limit,
            except_numbers=except_numbers,
            units=units,
            now=now,
            steady=now.timestamp(),
        )
        return jobs

    async def hand_over(
        self,
        job: Job,
        *,
        now: datetime = NOW,
        carrier: Carrier | None = None,
        pace: Limiter | None = None,
        clock: Callable[[], datetime] | None = None,
        steady: Callable[[], float] | None = None,
    ) -> send.Outcome:
        self.now = now
        clock = clock or (lambda: now)
        return await send.hand_over(
            job,
            OneCarrier(carrier or self.carrier),
            pace or Plenty(),
            policy=self.policy,
            public_url=PUBLIC_URL,
            clock=clock,
            steady=steady or (lambda: clock().timestamp()),
        )

    async def record(self, job: Job, outcome: send.Outcome, *, now: datetime = NOW) -> Message:
        return await recording.Recording(self.db, self.policy).record(job.message, outcome, now=now)

    async def send(
        self,
        *,
        now: datetime = NOW,
        carrier: Carrier | None = None,
        pace: Limiter | None = None,
        limit: int = 100,
    ) -> list[Message]:
        """Claim once, hand over what was claimed, and record what came of it."""
        return [
            await self.record(
                job, await self.hand_over(job, now=now, carrier=carrier, pace=pace), now=now
            )
            for job in await self.claim(now=now, limit=limit)
        ]

    async def send_all(
        self,
        *,
        now: datetime = NOW,
        carrier: Carrier | None = None,
        pace: Limiter | None = None,
    ) -> None:
        """As long as something is due."""
        jobs: Sequence[Job] = ()
        again: datetime | None = now
        while jobs or (again is not None and again <= now):
            jobs, again = await send.claim(
                self.db,
                policy=self.policy,
                limit=100,
                except_numbers=(),
                now=now,
                steady=now.timestamp(),
            )
            for job in jobs:
                outcome = await self.hand_over(job, now=now, carrier=carrier, pace=pace)
                await self.record(job, outcome, now=now)

    async def rescue(self, *, now: datetime) -> int:
        return await send.rescue(self.db, policy=self.policy, limit=100, now=now)

    async def settle(self, *, now: datetime, carrier: Carrier | None = None) -> list[Message]:
        """Look up once what is due to be looked up."""
        self.now = now
        desk = OneCarrier(carrier or self.carrier)
        due, _ = await settle.claim(self.db, policy=self.policy, limit=100, now=now)
        return [
            await settle.record(
                self.db,
                m,
                await settle.ask(self.db, m, desk, public_url=PUBLIC_URL, now=now),
                policy=self.policy,
                now=now,
            )
            for m in due
        ]

    async def claim_turns(self, *, now: datetime = NOW, limit: int = 100) -> list[Thinking]:
        due, _ = await turn.claim(self.db, lease=self.policy.lease, limit=limit, now=now)
        return due

    async def answer(
        self,
        thinking: Thinking,
        answer: TurnReply | Later | TurnFailed | str,
        *,
        fallback: str | None = FALLBACK,
        now: datetime = NOW,
    ) -> Recorded | None:
        """Record what the agent said to a turn."""
        said = TurnReply(texts=[answer]) if isinstance(answer, str) else answer
        done = await turn.record(self.db, thinking, said, fallback=fallback, now=now)
        return None if done is None else done.came

    async def think(
        self, *, now: datetime = NOW, engine: Engine | None = None, fallback: str | None = FALLBACK
    ) -> list[Recorded | None]:
        """Run the turns that are due."""
        using = engine or self.engine
        recorded = list[Recorded | None]()
        for due in await self.claim_turns(now=now):
            answer = turn.without_asking(due)
            if answer is None:
                journal = TurnJournal(self.db, due, now=lambda: now)
                answer = await using.reply(turn.request(due, journal=journal))
            recorded.append(await self.answer(due, answer, fallback=fallback, now=now))
        return recorded

    async def post(
        self, thinking: Thinking, answer: TurnReply | TurnFailed | str, *, now: datetime = NOW
    ) -> turn.Late:
        """The answer that was to come later."""
        said = TurnReply(texts=[answer]) if isinstance(answer, str) else answer
        return await turn.answer_later(self.db, thinking.id, thinking.run, said, now=now)

    async def rescue_turns(self, *, now: datetime) -> int:
        return await turn.rescue(self.db, limit=100, now=now)

    async def expire(
        self, *, now: datetime, limit: int = 100, hold: expire.Hold | None = None
    ) -> int:
        done, _ = await expire.expire_due(self.db, limit=limit, now=now, hold=hold)
        return done

    async def claim_sweeps(self, *, now: datetime, limit: int = 100) -> list[Sweeping]:
        due, _ = await sweep.claim(self.db, lease=SWEEP, limit=limit, now=now)
        return due

    async def sweep(
        self,
        *,
        now: datetime,
        carrier: Carrier | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> list[sweep.Swept | NoAnswer]:
        """Look for lost replies to every number that is due."""
        desk = OneCarrier(carrier or self.carrier)
        return [
            await sweep.sweep(self.db, held, desk, clock=clock or (lambda: now))
            for held in await self.claim_sweeps(now=now)
        ]

    async def put_off_sweeps(self, until: datetime) -> None:
        async with transaction(self.db) as c:
            await c.execute(text("update numbers set sweep_at = :at"), {"at": until})
