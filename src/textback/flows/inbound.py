"""A user texted -> stored once, and an agent's turn due; or an opt-out; or kept unanswered."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core import conversation as talk
from textback.core import optout, phone, throttle
from textback.core.conversation import CloseReason, Engaged, HandedOff, Live, Opened, Paused
from textback.core.events import Event
from textback.core.ids import (
    AccountId,
    CarrierId,
    ConversationId,
    MessageId,
    new_conversation_id,
    new_message_id,
)
from textback.core.message import Kind, write
from textback.core.optout import Word
from textback.core.phone import Phone
from textback.core.ports import Inbound
from textback.core.throttle import Verdict
from textback.db import (
    conversations,
    events,
    inbound,
    locks,
    messages,
    opt_outs,
    tenants,
    turns,
)
from textback.db.agents import AgentVersion
from textback.db.session import transaction
from textback.db.tenants import NumberRow, ProjectRow
from textback.flows import beginning, opt_out, reply_budget, routing
from textback.flows.reply_budget import Left

Outcome = Literal["heard", "keyword", "unanswered", "duplicate", "unknown_number", "unroutable"]


@dataclass(frozen=True, slots=True)
class Heard:
    outcome: Outcome
    conversation_id: ConversationId | None = None
    message_id: MessageId | None = None
    why: str | None = None


async def hear(db: AsyncEngine, carrier_id: CarrierId, said: Inbound, *, now: datetime) -> Heard:
    """Take in one verified text. When this returns, it is durable; a repetition changes nothing.

    Raises Unavailable: then nothing was stored, and the carrier may bring it again.
    """
    user = phone.user_address(said.user_number)
    if user is None:
        return Heard("unroutable", why="the sender is not a number that can be answered")
    async with transaction(db) as c:
        route = await routing.find(c, carrier_id, user, said)
        if route is None:
            return Heard("unknown_number")
        number, user = route.number, route.user
        await locks.pair(c, number.number, user)
        if await inbound.is_known(c, carrier_id, said.carrier_message_id):
            return Heard("duplicate")
        project = await tenants.get_project(c, number.project_id)
        at = min(said.said_at or now, now)
        agent = await beginning.agent_of(c, number, project, project.label(number.environment))
        text = _Text(c, number, project, agent, user, said, new_message_id(now), at, now)
        opted_out = await opt_outs.stands(c, number.number, user)
        word = said.opt_out or opt_out.word(said.text, project.policy, opted_out=opted_out)
        if word is not None:
            return await text.keyword(word, opted_out=opted_out)
        if opted_out:
            return await text.keep(why="opted_out")
        return await text.for_the_agent()


@dataclass(frozen=True, slots=True)
class _Text:
    """One text being taken in, with the pair locked."""

    c: AsyncConnection
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

    async def for_the_agent(self) -> Heard:
        live = await conversations.lock_live(self.c, self.number.number, self.user)
        if (why := await self._not_for_the_agent(live)) is not None:
            return await self.keep(why=why)
        known = await conversations.knows(self.c, *self._pair())
        policy = self.project.policy
        if not known and policy.unknown_user == "ignore":
            return await self.keep(why="unknown_user")
        engaged = await self._engage(live)
        if not isinstance(engaged, Engaged):
            return await self._leave_unanswered(engaged.id, "paused")
        left = await self._left(engaged.id)
        if left.pause_until is not None:
            paused = talk.paused(engaged, until=left.pause_until)
            await conversations.save(self.c, engaged, paused, policy=policy.idle, now=self.now)
            return await self._leave_unanswered(engaged.id, "reply_budget")
        seq = await self._store(engaged.id, "text", None)
        greeting = self.agent.greeting if not known and policy.unknown_user == "greet" else None
        if greeting is not None:
            await self._say(engaged.id, "reply", greeting, due_at=left.not_before)
            await conversations.heard(self.c, engaged.id, seq)
        else:
            await turns.text_came(
                self.c,
                engaged.id,
                while_thinking=policy.while_thinking,
                now=self.now,
                delay=policy.reply_delay,
                not_before=left.not_before,
            )
        return Heard("heard", engaged.id, self.id)

    async def _not_for_the_agent(self, live: Live | None) -> str | None:
        if isinstance(live, HandedOff):  # limits are for agents
            return "handed_off"
        if not self.number.replies:
            return "replies_off"
        if self.number.defaults.ignores_text(self.said.text):
            return "ignored_words"
        if live is None and await conversations.stays_over(self.c, *self._pair()):
            return "timed_out"
        return await self._over_the_limits()

    async def keyword(self, word: Word, *, opted_out: bool) -> Heard:
        """Keywords never reach the agent; they restart the idle clock like any text."""
        if self.at < self.now and await opt_out.is_outdated(
            self.c, self.number.number, self.user, word, policy=self.project.policy, at=self.at
        ):
            return await self.keep(why="outdated")
        live = await conversations.lock_live(self.c, self.number.number, self.user)
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
                if opted_out:
                    await self._opt_in(conversation_id)
                reply = optout.START_REPLY
            case "help":
                reply = optout.HELP_REPLY
        # Never both: where the carrier confirms by itself, ours would be a second answer.
        if reply and self.number.opt_out_replies == "ours" and self.said.opt_out is None:
            left = await self._left(conversation_id)
            if word == "stop":  # nothing comes after it
                await self._say(conversation_id, "notice", reply, due_at=self.now)
            elif left.pause_until is None and not isinstance(live, Paused):
                await self._say(conversation_id, "notice", reply, due_at=left.not_before)
        return Heard("keyword", conversation_id, self.id, word)

    async def keep(self, *, why: str) -> Heard:
        """Store it, without an answer."""
        live = await conversations.lock_live(self.c, self.number.number, self.user)
        if live is not None:
            live = await self._engage(live)
        return await self._leave_unanswered(await self._home(live, "ignored"), why)

    async def _leave_unanswered(self, conversation_id: ConversationId, why: str) -> Heard:
        await self._store(conversation_id, "unanswered", why)
        return Heard("unanswered", conversation_id, self.id, why)

    async def _left(self, conversation_id: ConversationId) -> Left:
        budget, agent, user = self.project.policy.reply_budget, self.number.number, self.user
        return await reply_budget.left(
            self.c, agent, user, conversation_id=conversation_id, budget=budget, now=self.now
        )

    async def _over_the_limits(self) -> Verdict | None:
        limits = self.project.policy.inbound
        since, most = self.at - throttle.look_back(limits), int(limits.per_sender.amount)
        earlier = await inbound.recent_from_sender(
            self.c, self.number.number, self.user, since=since, until=self.at, at_most=most
        )
        verdict = throttle.of_sender(self.said.text, earlier, limits, now=self.at)
        if verdict is not None:
            return verdict
        of_all = limits.per_project
        since, most = self.at - timedelta(seconds=of_all.seconds), int(of_all.amount)
        answered = await inbound.count_answered(
            self.c, self.project.id, since=since, until=self.at, at_most=most
        )
        return throttle.of_project(answered, limits)

    async def _engage(self, live: Live | None) -> Engaged | Paused | HandedOff:
        idle = self.project.policy.idle
        if live is None:
            live = self._new()
            brief = beginning.brief(self.number, self.agent)
            await conversations.add(self.c, live, policy=idle, now=self.now, brief=brief)
        engaged = talk.user_texted(live, now=self.now)
        await conversations.save(self.c, live, engaged, policy=idle, now=self.now)
        return engaged

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
            note=note or ("recovered" if self.said.said_at else None),
            at=self.at,
            now=self.now,
        )

    async def _say(
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
