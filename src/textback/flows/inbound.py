"""A user texted -> stored once, and an agent's turn due; or an opt-out; or kept unanswered."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core import conversation as talk
from textback.core import phone, throttle
from textback.core.conversation import Engaged, HandedOff, Live
from textback.core.ids import CarrierId, new_message_id
from textback.core.phone import Phone
from textback.core.ports import Inbound
from textback.core.throttle import Lately
from textback.db import conversations, hearing, tenants, turns
from textback.db.agents import AgentVersion
from textback.db.book import Book, Look
from textback.db.hearing import Met, Said
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
    lately: Lately | None = None,
    now: datetime,
) -> Heard:
    """Take in one verified text. When this returns, it is durable; a repetition changes nothing.

    `look`: where what was provisioned is looked up. `lately`: what the process knows of what
    projects heard. Raises Unavailable: then nothing was stored, and the carrier may bring it again.
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
        live, met = await _meet(
            c, place, said.carrier_message_id, lately or Lately(), at=at, now=now
        )
        if met.is_known:
            return Heard("duplicate")
        text = _ForTheAgent(
            c, number, project, place.agent, user, said, live, met, new_message_id(now), at, now
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


async def _meet(
    c: AsyncConnection,
    place: _Place,
    carrier_message_id: str,
    lately: Lately,
    *,
    at: datetime,
    now: datetime,
) -> tuple[Live | None, Met]:
    """The live conversation, and what matters about the pair: all of it locked."""
    number, project = place.number, place.project
    since, at_most = reply_budget.counted(project.policy.reply_budget, now=now)
    limits = project.policy.inbound
    answered = lately.known(project.id, limits.per_project, at=at)
    while True:
        live = await hearing.lock(c, number.number, place.user)
        met = await hearing.meet(
            c,
            number.number,
            place.user,
            None if live is None else live.id,
            account_id=project.account_id,
            project_id=project.id,
            carrier_id=number.carrier_id,
            carrier_message_id=carrier_message_id,
            limits=limits,
            replies_since=since,
            most_replies=at_most,
            answered=answered,
            at=at,
        )
        if answered is None:
            lately.counted(project.id, limits.per_project, met.answered, at=at)
        if live is not None or not met.is_live:
            return live, met
        # It was opened while the pair was waited for; with the pair locked, no other one will be.


class _ForTheAgent(Text):
    """Unless a rule says otherwise."""

    async def take_in(self) -> Heard:
        live = self.live
        if (why := self._not_for_the_agent(live)) is not None:
            return await self.keep(why=why)
        policy = self.project.policy
        if not self.met.knows and policy.unknown_user == "ignore":
            return await self.keep(why="unknown_user")
        if live is None:
            live = await self.open()
        engaged = talk.user_texted(live, now=self.now)
        if not isinstance(engaged, Engaged):
            await conversations.save(self.c, live, engaged, policy=policy.idle, now=self.now)
            return await self.leave_unanswered(engaged.id, "paused")
        return await self._ask(live, engaged)

    async def _ask(self, live: Live, engaged: Engaged) -> Heard:
        """The agent is to answer, if it may."""
        policy, standing = self.project.policy, self.met.standing
        left = await reply_budget.left_of(
            self.c,
            self.met.replies,
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
        landing = standing.landing(policy.while_thinking) if greeting is None else "nothing"
        due_at = standing.due_at(
            landing, now=self.now, delay=policy.reply_delay, not_before=left.not_before
        )
        seq = await hearing.take_in(
            self.c,
            self._said(),
            live,
            engaged,
            policy=policy.idle,
            standing=standing,
            landing=landing,
            due_at=due_at,
            now=self.now,
        )
        if greeting is not None:
            await self.say(live.id, "reply", greeting, due_at=left.not_before)
            await conversations.heard(self.c, live.id, seq)
        elif landing == "restart":
            await turns.land(self.c, standing, landing, due_at=due_at, now=self.now)
        return Heard("heard", live.id, self.id)

    def _said(self) -> Said:
        return Said(
            id=self.id,
            project_id=self.project.id,
            carrier_id=self.number.carrier_id,
            carrier_message_id=self.said.carrier_message_id,
            agent_number=self.number.number,
            user_number=self.user,
            text=self.said.text,
            media=self.said.media,
            note=self.note(),
            at=self.at,
        )

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
