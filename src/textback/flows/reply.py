"""What an agent answered -> queued texts, and what becomes of the conversation."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core import conversation as talk
from textback.core import turn as rule
from textback.core.conversation import Closed, Conversation, Live, Opened
from textback.core.engine import TurnFailed, TurnReply
from textback.core.events import Event
from textback.core.ids import new_message_id
from textback.core.message import Kind, Queued, dropped, unwritten, write, written
from textback.core.turn import Drop
from textback.db import conversations, events, messages, opt_outs, tenants, turns
from textback.db.tenants import ProjectRow
from textback.db.thinking import Thinking
from textback.db.turns import Outcome


class Reply:
    """One answer being recorded, with the conversation locked."""

    def __init__(
        self,
        c: AsyncConnection,
        turn: Thinking,
        conversation: Conversation,
        project: ProjectRow,
        now: datetime,
    ) -> None:
        self.c, self.turn, self.conversation = c, turn, conversation
        self.project, self.now = project, now

    async def take(self, answer: TurnReply | TurnFailed, fallback: str | None) -> Outcome | None:
        """Save it, if the lease still holds; None when it does not."""
        if not await turns.is_held(self.c, self.turn):
            return None
        promise = await self._promise()
        drop = await self._drop_of(promise)
        texts = self._texts(answer, fallback)
        outcome: Outcome
        if drop is not None:
            outcome = "dropped"
        elif isinstance(answer, TurnFailed):
            outcome = "failed"
        else:
            outcome = "answered" if texts else "silent"
        await turns.end(self.c, self.turn, outcome, now=self.now)
        if self.turn.upto_seq:
            await conversations.heard(self.c, self.turn.conversation_id, self.turn.upto_seq)
        if drop is not None:
            await self._drop(drop, promise)
        else:
            await self._go_on(answer, texts, promise)
        return outcome

    async def _drop_of(self, promise: Queued | None) -> Drop | None:
        talk = self.conversation
        opted_out = isinstance(talk, Closed) and await opt_outs.stands(
            self.c, talk.agent_number, talk.user_number
        )
        drop = rule.admit(talk, opted_out=opted_out)
        if drop is None and self.turn.opener_id and promise is None and not self.turn.heard:
            return Drop("its opener is not wanted any more")
        return drop

    def _texts(self, answer: TurnReply | TurnFailed, fallback: str | None) -> Sequence[str]:
        if isinstance(answer, TurnReply):
            return answer.texts
        # An apology out of the blue would help nobody: there must be something it answers.
        asked = self.turn.opener_id is None or self.turn.heard
        return [fallback] if fallback and asked else ()

    async def _drop(self, drop: Drop, promise: Queued | None) -> None:
        await self._tell("turn.dropped", drop.why)
        if promise is not None:
            cancelled = dropped(promise, reason="cancelled", now=self.now)
            await messages.save(self.c, promise, cancelled, now=self.now)

    async def _go_on(
        self, answer: TurnReply | TurnFailed, texts: Sequence[str], promise: Queued | None
    ) -> None:
        if isinstance(answer, TurnFailed):
            await self._tell("turn.failed", answer.reason)
        if promise is not None and not texts:
            await self._no_opener(promise)
            return
        end = isinstance(answer, TurnReply) and answer.end_conversation
        await self._say(texts, promise, end=end)

    async def _promise(self) -> Queued | None:
        """The text that this turn is to write, while it waits for that."""
        opener = self.turn.opener_id
        found = None if opener is None else await messages.lock(self.c, opener)
        return found if isinstance(found, Queued) else None

    async def _say(self, texts: Sequence[str], promise: Queued | None, *, end: bool) -> None:
        for i, text in enumerate(texts):
            if i == 0 and promise is not None:
                after = written(promise, text, now=self.now)
                await messages.save(self.c, promise, after, now=self.now)
            else:
                await self._add("reply" if promise is None else "opener", text)
        before = self.conversation
        if isinstance(before, Closed):  # superseded: who was promised or asked something gets it
            return
        then: Conversation = talk.agent_texted(before, now=self.now) if texts else before
        # What the user said while the agent took its leave is answered, as if said after it.
        if end and not await turns.is_pending(self.c, before.id):
            then = talk.close(before, "agent_ended", now=self.now)
        if then != before:
            await self._save(before, then)

    async def _no_opener(self, promise: Queued) -> None:
        """Nothing is sent; the record says why."""
        await messages.save(self.c, promise, unwritten(promise, now=self.now), now=self.now)
        if isinstance(self.conversation, Opened):  # else there is a user to answer
            closed = talk.close(self.conversation, "agent_failed", now=self.now)
            await self._save(self.conversation, closed)

    async def _add(self, kind: Kind, text: str) -> None:
        queued = write(
            self.conversation,
            kind,
            text,
            id=new_message_id(self.now),
            carrier_id=await tenants.carrier_of(self.c, self.conversation.agent_number),
            validity=self.project.policy.validity,
            now=self.now,
        )
        await messages.add(self.c, queued, project_id=self.project.id, now=self.now)

    async def _save(self, before: Live, after: Conversation) -> None:
        idle = self.project.policy.idle
        await conversations.save(self.c, before, after, policy=idle, now=self.now)

    async def _tell(self, kind: Literal["turn.failed", "turn.dropped"], why: str) -> None:
        event = Event(
            kind=kind,
            conversation_id=self.turn.conversation_id,
            data={"turn_id": self.turn.id, "why": why},
        )
        await events.append(self.c, [event], now=self.now)
