"""A user texted -> stored once, and an agent's turn due; or an opt-out; or kept unanswered."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core import conversation as talk
from textback.core import events as facts
from textback.core import phone, throttle
from textback.core.conversation import Engaged, HandedOff, Live
from textback.core.ids import CarrierId, new_message_id
from textback.core.phone import Phone
from textback.core.ports import Inbound
from textback.db import conversations, events, hearing, inbound, locks, tenants, turns
from textback.db.agents import AgentVersion
from textback.db.book import Book, Look
from textback.db.hearing import Said
from textback.db.session import transaction
from textback.db.tenants import NumberRow, ProjectRow
from textback.flows import beginning, opt_out, reply_budget, routing
from textback.flows.heard import Heard, Text


async def hear(
    db: AsyncEngine,
    carrier_id: CarrierId,
    said: Inbound,
    *,
    look: Look | None = None,
    now: datetime,
) -> Heard:
    """Take in one verified text. When this returns, it is durable; a repetition changes nothing.

    `look`: where what was provisioned is looked up. Raises Unavailable: then nothing was stored,
    and the carrier may bring it again.
    """
    user = phone.user_address(said.user_number)
    if user is None:
        return Heard("unroutable", why="the sender is not a number that can be answered")
    place = await _place(db, look or Book(db), carrier_id, user, said)
    if place is None:
        return Heard("unknown_number")
    number, project, user = place.number, place.project, place.user
    at = min(said.said_at or now, now)
    async with transaction(db) as c:
        await locks.pair(c, number.number, user)
        met = await hearing.meet(
            c,
            number.number,
            user,
            account_id=project.account_id,
            project_id=project.id,
            carrier_id=carrier_id,
            carrier_message_id=said.carrier_message_id,
            limits=project.policy.inbound,
            at=at,
        )
        if met.is_known:
            return Heard("duplicate")
        text = _ForTheAgent(
            c, number, project, place.agent, user, said, met, new_message_id(now), at, now
        )
        word = said.opt_out or opt_out.word(said.text, project.policy, opted_out=met.opted_out)
        if word is not None:
            return await text.keyword(word)
        if met.opted_out:
            return await text.keep(why="opted_out")
        return await text.take_in()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a text belongs, as it was provisioned."""

    number: NumberRow
    project: ProjectRow
    agent: AgentVersion
    user: Phone


async def _place(
    db: AsyncEngine, look: Look, carrier_id: CarrierId, user: Phone, said: Inbound
) -> _Place | None:
    route = await routing.find(db, look, carrier_id, user, said)
    if route is None:
        return None
    number = route.number
    project = await look.get(
        ("project", number.project_id), lambda c: tenants.get_project(c, number.project_id)
    )
    label = project.label(number.environment)
    agent = await look.get(
        ("agent", number.number, project.id, label),
        lambda c: beginning.agent_of(c, number, project, label),
    )
    return _Place(number, project, agent, route.user)


class _ForTheAgent(Text):
    """Unless a rule says otherwise."""

    async def take_in(self) -> Heard:
        live = await self.lock_live()
        if (why := self._not_for_the_agent(live)) is not None:
            return await self.keep_in(live, why)
        policy = self.project.policy
        if not self.met.knows and policy.unknown_user == "ignore":
            return await self.keep_in(live, "unknown_user")
        if live is None:
            live = await self.open()
        engaged = talk.user_texted(live, now=self.now)
        if not isinstance(engaged, Engaged):
            await conversations.save(self.c, live, engaged, policy=policy.idle, now=self.now)
            return await self.leave_unanswered(engaged.id, "paused")
        return await self._ask(live, engaged)

    async def _ask(self, live: Live, engaged: Engaged) -> Heard:
        """The agent is to answer, if it may."""
        policy = self.project.policy
        since, at_most = reply_budget.counted(policy.reply_budget, now=self.now)
        replies, standing = await hearing.owed(
            self.c, self.number.number, self.user, live.id, since=since, at_most=at_most
        )
        left = await reply_budget.left_of(
            self.c,
            replies,
            conversation_id=live.id,
            budget=policy.reply_budget,
            now=self.now,
        )
        if left.pause_until is not None:
            await conversations.save(self.c, live, engaged, policy=policy.idle, now=self.now)
            paused = talk.paused(engaged, until=left.pause_until)
            await conversations.save(self.c, engaged, paused, policy=policy.idle, now=self.now)
            return await self.leave_unanswered(engaged.id, "reply_budget")
        greets = not self.met.knows and policy.unknown_user == "greet"
        greeting = self.agent.greeting if greets else None
        landing = standing.landing(policy.while_thinking)
        due_at = standing.due_at(
            landing, now=self.now, delay=policy.reply_delay, not_before=left.not_before
        )
        is_new = greeting is None and landing == "new"
        seq = await self._store_for_it(live, engaged, turn_due_at=due_at if is_new else None)
        if greeting is not None:
            await self.say(live.id, "reply", greeting, due_at=left.not_before)
            await conversations.heard(self.c, live.id, seq)
        else:
            await turns.land(self.c, standing, landing, due_at=due_at, now=self.now)
        return Heard("heard", live.id, self.id)

    async def _store_for_it(
        self, live: Live, engaged: Engaged, *, turn_due_at: datetime | None
    ) -> int:
        note = self.note()
        said = Said(
            id=self.id,
            project_id=self.project.id,
            carrier_id=self.number.carrier_id,
            carrier_message_id=self.said.carrier_message_id,
            agent_number=self.number.number,
            user_number=self.user,
            text=self.said.text,
            media=self.said.media,
            note=note,
            at=self.at,
        )
        idle = self.project.policy.idle
        seq = await hearing.take_in(
            self.c, said, live, engaged, policy=idle, turn_due_at=turn_due_at, now=self.now
        )
        received = inbound.received(live.id, self.id, note=note)
        now_it_is = [] if isinstance(live, Engaged) else [facts.of_conversation(engaged)]
        await events.append(self.c, [*now_it_is, received], now=self.now)
        return seq

    def _not_for_the_agent(self, live: Live | None) -> str | None:
        if isinstance(live, HandedOff):  # limits are for agents
            return "handed_off"
        if not self.number.replies:
            return "replies_off"
        if self.number.defaults.ignores_text(self.said.text):
            return "ignored_words"
        if live is None and self.met.stays_over:
            return "timed_out"
        limits = self.project.policy.inbound
        of_sender = throttle.of_sender(self.said.text, self.met.earlier, limits, now=self.at)
        return of_sender or throttle.of_project(self.met.answered, limits)
