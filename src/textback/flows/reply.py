"""What an agent answered -> queued texts, and what becomes of the conversation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core import conversation as talk
from textback.core import turn as rule
from textback.core.budget import Reached, Spent
from textback.core.conversation import Closed, Conversation, Engaged, HandedOff, Live, Opened
from textback.core.engine import Later, TurnFailed, TurnReply
from textback.core.events import Event, Kind
from textback.core.message import Kind as MessageKind
from textback.core.message import Queued, dropped, unwritten, written
from textback.core.split import Part
from textback.core.turn import Drop, Outcome, Recorded
from textback.db import (
    answering,
    conversations,
    events,
    messages,
    opt_outs,
    turns,
    under_way,
    usage,
)
from textback.db.parts import Behind
from textback.flows.saying import Saying
from textback.flows.silence import fall_silent


@dataclass(kw_only=True)
class Reply(Saying):
    """One answer being recorded, with the conversation and the turn locked."""

    c: AsyncConnection

    async def take(self, answer: TurnReply | Later | TurnFailed) -> Recorded:
        promise = await self._promise()
        drop = await self._drop_of(promise)
        again = None if self.reached else self.held.again_at
        outcome: Recorded
        if drop is None and again is not None:
            await under_way.restart(self.c, self.held, due_at=again, now=self.now)
            outcome = "restarted"
        elif drop is None and isinstance(answer, Later):
            until = rule.answer_by(answer.within, now=self.now)
            await under_way.await_answer(self.c, self.held, until=until)
            outcome = "awaiting"
        else:
            said, parts = self.parts(answer)
            if drop is None and promise is None and (after := self.kept_awake(said, parts)):
                upto = await self._heard_upto()
                await answering.answer(self.c, self.plain(said, parts[0], after, heard_upto=upto))
                return "answered"
            outcome = await self._end(said, parts, drop, promise)
        await self._count(answer)
        return outcome

    async def _end(
        self,
        answer: TurnReply | TurnFailed,
        parts: Sequence[Part],
        drop: Drop | None,
        promise: Queued | None,
    ) -> Recorded:
        said = "failed" if isinstance(answer, TurnFailed) else "answered" if parts else "silent"
        outcome: Outcome = said if drop is None else "dropped"
        upto = await self._heard_upto()
        await under_way.end(self.c, self.held, outcome, heard_upto=upto, now=self.now)
        if drop is not None:
            await self._drop(drop, promise)
        else:
            await self._go_on(answer, parts, promise)
        return outcome

    async def _heard_upto(self) -> int:
        """Up to here the user's texts get no answer but this one."""
        talk = self.held.conversation_id
        ignores = self.project.policy.while_thinking == "ignore"
        if self.reached or (ignores and not await turns.is_waiting(self.c, talk)):
            return await turns.latest_text(self.c, talk)
        return self.held.upto_seq

    async def _promise(self) -> Queued | None:
        """The text that this turn is to write, while it waits for that."""
        opener = self.held.opener_id
        found = None if opener is None else await messages.lock(self.c, opener)
        return found if isinstance(found, Queued) else None

    async def _drop_of(self, promise: Queued | None) -> Drop | None:
        talk = self.conversation
        opted_out = isinstance(talk, Closed) and await opt_outs.stands(
            self.c, talk.agent_number, talk.user_number
        )
        drop = rule.admit(talk, opted_out=opted_out)
        is_asked = self.held.is_asked or self.held.again_at is not None
        if drop is None and self.held.opener_id and promise is None and not is_asked:
            return Drop("its opener is not wanted any more")
        return drop

    async def _drop(self, drop: Drop, promise: Queued | None) -> None:
        await self._tell("turn.dropped", {"turn_id": self.held.id, "why": drop.why})
        if promise is not None:
            cancelled = dropped(promise, reason="cancelled", now=self.now)
            await messages.save(self.c, promise, cancelled, now=self.now)

    async def _go_on(
        self, answer: TurnReply | TurnFailed, parts: Sequence[Part], promise: Queued | None
    ) -> None:
        end, hand_off = False, None
        if isinstance(answer, TurnFailed):
            await self._tell("turn.failed", {"turn_id": self.held.id, "why": answer.reason})
        else:
            end, hand_off = answer.end_conversation, answer.hand_off
            if answer.state is not None:
                await conversations.keep_state(self.c, self.held.conversation_id, answer.state)
        if promise is not None and not parts:
            await self._no_opener(promise, hand_off)
        else:
            await self._say(parts, promise, end=end, hand_off=hand_off)
        if self.reached is not None:
            await self._stop(self.reached)

    async def _say(
        self, parts: Sequence[Part], promise: Queued | None, *, end: bool, hand_off: str | None
    ) -> None:
        behind: Behind | None = None
        wait = self.project.policy.replies.part_wait
        for part in parts:
            if behind is None and promise is not None:
                after = written(promise, part.text, now=self.now)
                await messages.save(self.c, promise, after, saved=part.saved, now=self.now)
                self.texts.append(after.id)
            else:
                after = await self._add("reply" if promise is None else "opener", part, behind)
            behind = Behind(after.id, wait)
            self.saved += part.saved
        before = self.conversation
        if isinstance(before, Closed):  # superseded: who was promised or asked something gets it
            return
        then: Conversation = talk.agent_texted(before, now=self.now) if parts else before
        if hand_off is not None and not isinstance(then, HandedOff | Closed):
            await self._save(before, talk.handed_off(then, hand_off, now=self.now))
            # What the user said while the agent thought is for the person.
            await fall_silent(self.c, before.id, why=rule.HANDED_OFF, now=self.now)
            return
        # What the user said while the agent took its leave is answered, as if said after it.
        if end and not await turns.is_pending(self.c, before.id):
            then = talk.close(before, "agent_ended", now=self.now)
        if then != before:
            await self._save(before, then)

    async def _no_opener(self, promise: Queued, hand_off: str | None) -> None:
        """Nothing is sent; the record says why."""
        await messages.save(self.c, promise, unwritten(promise, now=self.now), now=self.now)
        if hand_off is not None:
            await self._say((), None, end=False, hand_off=hand_off)
        elif isinstance(self.conversation, Opened):  # else there is a user to answer
            closed = talk.close(self.conversation, "agent_failed", now=self.now)
            await self._save(self.conversation, closed)

    async def _stop(self, reached: Reached) -> None:
        """The agent may use no more: the conversation is over, or pauses until it may again."""
        await fall_silent(self.c, self.conversation.id, why=reached.why, now=self.now)
        if reached.until is None:
            await self._tell_reached(reached)
            if not isinstance(self.conversation, Closed):
                closed = talk.close(self.conversation, "budget", now=self.now)
                await self._save(self.conversation, closed)
            return
        if await usage.tell(self.c, self.project.id, self.today(), now=self.now):
            await self._tell_reached(reached)
        if isinstance(self.conversation, Engaged):
            paused = talk.paused(self.conversation, until=reached.until)
            await self._save(self.conversation, paused, {"reason": "budget"})

    async def _add(self, kind: MessageKind, part: Part, behind: Behind | None) -> Queued:
        queued = self.text(kind, part)
        await messages.add(
            self.c,
            queued,
            project_id=self.project.id,
            saved=part.saved,
            behind=behind,
            now=self.now,
        )
        return queued

    async def _save(
        self, before: Live, after: Conversation, more: Mapping[str, object] | None = None
    ) -> None:
        by: Literal["agent"] | None = "agent" if isinstance(after, HandedOff) else None
        idle = self.project.policy.idle
        await conversations.save(self.c, before, after, policy=idle, now=self.now, by=by, more=more)
        self.conversation = after

    async def _count(self, answer: TurnReply | Later | TurnFailed) -> None:
        """Last, because every turn of the project waits for the day's row."""
        spent = self.spent(answer)
        if spent != Spent():
            talk = self.held.conversation_id
            await usage.add(self.c, talk, self.project.id, spent, day=self.today())

    async def _tell_reached(self, reached: Reached) -> None:
        data = {"scope": reached.scope, "what": reached.what, "limit": reached.limit}
        await self._tell("budget.reached", data)

    async def _tell(self, kind: Kind, data: Mapping[str, object]) -> None:
        event = Event(kind=kind, conversation_id=self.held.conversation_id, data=data)
        await events.append(self.c, [event], now=self.now)
