"""One text of a user's that is being taken in: what can become of it, whoever it is for."""

from dataclasses import fields, replace
from datetime import datetime
from typing import Any, Literal, Self

from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core import conversation as talk
from textback.core import optout
from textback.core.conversation import CloseReason, Engaged, HandedOff, Live, Opened, Paused
from textback.core.events import Event
from textback.core.frozen import frozen
from textback.core.ids import (
    AccountId,
    ConversationId,
    MessageId,
    TurnId,
    new_conversation_id,
    new_message_id,
)
from textback.core.message import Kind, write
from textback.core.optout import Word
from textback.core.phone import Phone
from textback.core.ports import Inbound
from textback.db import conversations, events, inbound, messages, opt_outs
from textback.db.agents import AgentVersion
from textback.db.hearing import Met
from textback.db.tenants import NumberRow, ProjectRow
from textback.flows import beginning, opt_out, reply_budget
from textback.flows.reply_budget import Left

Outcome = Literal["heard", "keyword", "unanswered", "duplicate", "unknown_number", "unroutable"]


@frozen(kw_only=False)
class Heard:
    outcome: Outcome
    conversation_id: ConversationId | None = None
    message_id: MessageId | None = None
    why: str | None = None
    turn_id: TurnId | None = None
    """Of the turn that is to answer it."""


@frozen(kw_only=False)
class Arrived:
    """A text, and where it belongs as that was provisioned."""

    number: NumberRow
    project: ProjectRow
    agent: AgentVersion
    """That a conversation begins with which the user opens."""
    user: Phone
    said: Inbound
    id: MessageId
    at: datetime
    """When the user said it: before `now`, if its webhook never came."""
    now: datetime

    def note(self) -> str | None:
        return "recovered" if self.said.said_at else None

    def word(self, met: Met) -> Word | None:
        """The keyword that it is."""
        policy = self.project.policy
        return self.said.opt_out or opt_out.word(self.said.text, policy, opted_out=met.opted_out)


@frozen(kw_only=False)
class Text(Arrived):
    """With its pair locked."""

    c: AsyncConnection
    live: Live | None
    """The conversation that it comes to, locked."""
    met: Met

    @classmethod
    def of(cls, text: Arrived, c: AsyncConnection, live: Live | None, met: Met) -> Self:
        known: dict[str, Any] = {f.name: getattr(text, f.name) for f in fields(Arrived)}
        return cls(**known, c=c, live=live, met=met)

    async def keyword(self, word: Word) -> Heard:
        """Keywords never reach the agent; they restart the idle clock like any text."""
        if self.at < self.now and await opt_out.is_outdated(
            self.c, self.number.number, self.user, word, policy=self.project.policy, at=self.at
        ):
            return await self.keep(why="outdated")
        live = self.live
        if live is not None and word != "stop":
            live = await self._engage(live)
        conversation_id = await self._home(live, "opted_out" if word == "stop" else "ignored")
        await self._store(conversation_id, "keyword", None)
        match word:
            case "stop":
                fresh = await opt_out.record(
                    self.c,
                    self.number.number,
                    self.user,
                    conversation_id=conversation_id,
                    source="keyword",
                    words=self.said.text,
                    carrier_message_id=self.said.carrier_message_id,
                    at=self.at,
                    now=self.now,
                )
                reply = optout.STOP_REPLY if fresh else None
            case "start":
                if self.met.opted_out:
                    await self._opt_in(conversation_id)
                reply = optout.START_REPLY
            case "help":
                reply = optout.HELP_REPLY
        # Never both: where the carrier confirms by itself, ours would be a second answer.
        if reply and self.number.opt_out_replies == "ours" and self.said.opt_out is None:
            left = await self._left(conversation_id)
            if word == "stop":  # nothing comes after it
                await self.say(conversation_id, "notice", reply, due_at=self.now)
            elif left.pause_until is None and not isinstance(live, Paused):
                await self.say(conversation_id, "notice", reply, due_at=left.not_before)
        return Heard("keyword", conversation_id, self.id, word)

    async def keep(self, *, why: str) -> Heard:
        """Store it, without an answer."""
        live = None if self.live is None else await self._engage(self.live)
        return await self.leave_unanswered(await self._home(live, "ignored"), why)

    async def leave_unanswered(self, conversation_id: ConversationId, why: str) -> Heard:
        await self._store(conversation_id, "unanswered", why)
        return Heard("unanswered", conversation_id, self.id, why)

    async def _left(self, conversation_id: ConversationId) -> Left:
        budget, agent, user = self.project.policy.reply_budget, self.number.number, self.user
        return await reply_budget.left(
            self.c, agent, user, conversation_id=conversation_id, budget=budget, now=self.now
        )

    async def _engage(self, live: Live) -> Engaged | Paused | HandedOff:
        engaged, idle = talk.user_texted(live, now=self.now), self.project.policy.idle
        await conversations.save(self.c, live, engaged, policy=idle, now=self.now)
        return engaged

    async def open(self) -> Opened:
        opened, idle = self._new(), self.project.policy.idle
        brief = beginning.brief(self.number, self.agent)
        await conversations.add(self.c, opened, policy=idle, now=self.now, brief=brief)
        return opened

    async def _home(self, live: Live | None, reason: CloseReason) -> ConversationId:
        """Where a text without an answer is kept: the live, else the latest, else its own."""
        if live is not None:
            return live.id
        latest = await conversations.latest_of_pair(self.c, *self._pair())
        return latest or await self._open_and_close(reason)

    def _pair(self) -> tuple[AccountId, Phone, Phone]:  # a number may have been another account's
        return self.project.account_id, self.number.number, self.user

    async def _open_and_close(self, reason: CloseReason) -> ConversationId:
        closed, idle = talk.close(self._new(), reason, now=self.now), self.project.policy.idle
        brief = beginning.brief(self.number, self.agent)
        await conversations.add(self.c, closed, policy=idle, now=self.now, brief=brief)
        return closed.id

    def _new(self) -> Opened:
        return Opened(
            id=new_conversation_id(self.now),
            account_id=self.project.account_id,
            project_id=self.project.id,
            connector_id=None,
            agent_id=self.agent.agent_id,
            agent_version=self.agent.number,
            agent_number=self.number.number,
            user_number=self.user,
            opened_at=self.now,
            active_at=self.now,
            idle=beginning.idle(self.number),
        )

    async def _store(
        self, conversation_id: ConversationId, kind: inbound.Kind, note: str | None
    ) -> int:
        return await inbound.add(
            self.c,
            message_id=self.id,
            conversation_id=conversation_id,
            project_id=self.project.id,
            carrier_id=self.number.carrier_id,
            carrier_message_id=self.said.carrier_message_id,
            agent_number=self.number.number,
            user_number=self.user,
            kind=kind,
            text=self.said.text,
            media=self.said.media,
            note=self.note() if note is None else note,
            at=self.at,
            now=self.now,
        )

    async def say(
        self, conversation_id: ConversationId, kind: Kind, text: str, *, due_at: datetime
    ) -> None:
        queued = write(
            replace(self._new(), id=conversation_id),
            kind,
            text,
            id=new_message_id(self.now),
            carrier_id=self.number.carrier_id,
            validity=self.project.policy.validity,
            now=self.now,
        )
        queued = replace(queued, due_at=due_at)
        await messages.add(self.c, queued, project_id=self.project.id, now=self.now)

    async def _opt_in(self, conversation_id: ConversationId) -> None:
        await opt_outs.opted_in(
            self.c,
            self.number.number,
            self.user,
            words=self.said.text,
            carrier_message_id=self.said.carrier_message_id,
            now=self.at,
        )
        event = Event(kind="user.opted_in", conversation_id=conversation_id)
        await events.append(self.c, [event], now=self.now)
