"""A user texted -> stored once, and an agent's turn due; or an opt-out; or kept unanswered."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from asyncpg import UniqueViolationError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core import conversation as talk
from textback.core import phone, throttle
from textback.core.conversation import Engaged, HandedOff, Live
from textback.core.ids import CarrierId, new_message_id
from textback.core.phone import Phone
from textback.core.ports import Inbound
from textback.core.throttle import Lately
from textback.db import conversations, hearing, tenants, turns
from textback.db.book import Book, Look
from textback.db.hearing import Met, Question, Said, Taking
from textback.db.session import transaction
from textback.flows import beginning, reply_budget, routing
from textback.flows.heard import Arrived, Heard, Text
from textback.flows.reply_budget import Left

_OVERTAKEN: Final = timedelta(minutes=1)
"""Of texts that come at once the last may be stored first: more than a webhook may take."""


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
    text = await _arrived(db, look or Book(db), carrier_id, user, said, now=now)
    if text is None:
        return Heard("unknown_number")
    lately = lately or Lately()
    heard = await _at_once(db, text, lately)
    if heard is None:
        async with transaction(db) as c:
            heard = await _with_locks(c, text, lately)
    return heard


async def _at_once(db: AsyncEngine, text: Arrived, lately: Lately) -> Heard | None:
    """What is usual takes a look and a write, with no lock in between; None: it is not."""
    question = _question(text, lately)
    glance = await hearing.glance(db, question)
    if glance.met.is_known:
        return Heard("duplicate")
    _count(lately, text, question, glance.met)
    taking = _usual(text, glance.live, glance.met)
    if taking is None:
        return None
    try:
        taken = await hearing.take_in_at_once(db, taking, glance.version)
    except (
        UniqueViolationError
    ):  # another one was faster: the same text, or one that is to be joined
        return None
    return Heard("heard", taking.before.id, text.id, turn_id=taking.turn_id) if taken else None


async def _with_locks(c: AsyncConnection, text: Arrived, lately: Lately) -> Heard:
    live, met = await _meet(c, text, lately)
    if met.is_known:
        return Heard("duplicate")
    for_the_agent = _ForTheAgent.of(text, c, live, met)
    word = text.word(met)
    if word is not None:
        return await for_the_agent.keyword(word)
    if met.opted_out:
        return await for_the_agent.keep(why="opted_out")
    return await for_the_agent.take_in()


async def _arrived(
    db: AsyncEngine, look: Look, carrier_id: CarrierId, user: Phone, said: Inbound, *, now: datetime
) -> Arrived | None:
    """None: nobody here has that number."""
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
    at = min(said.said_at or now, now)
    return Arrived(number, project, agent, route.user, said, new_message_id(now), at, now)


async def _meet(c: AsyncConnection, text: Arrived, lately: Lately) -> tuple[Live | None, Met]:
    """The live conversation, and what matters about the pair: all of it locked."""
    question = _question(text, lately)
    while True:
        live = await hearing.lock(c, question.agent, question.user)
        of_live = None if live is None else live.id
        met = await hearing.meet(c, question, of_live)
        if met.cut_at is not None and not question.in_full and _of_sender(text, met) is None:
            question = replace(question, in_full=True)
            met = await hearing.meet(c, question, of_live)
        _count(lately, text, question, met)
        if live is not None or not met.is_live:
            return live, met
        # It was opened while the pair was waited for; with the pair locked, no other one will be.


def _question(text: Arrived, lately: Lately) -> Question:
    policy = text.project.policy
    since, at_most = reply_budget.counted(policy.reply_budget, now=text.now)
    return Question(
        agent=text.number.number,
        user=text.user,
        account_id=text.project.account_id,
        project_id=text.project.id,
        carrier_id=text.number.carrier_id,
        carrier_message_id=text.said.carrier_message_id,
        limits=policy.inbound,
        replies_since=since,
        most_replies=at_most,
        answered=lately.known(text.project.id, policy.inbound.per_project, at=text.at),
        at=text.at,
        upto=text.at if text.said.said_at else text.at + _OVERTAKEN,
    )


def _count(lately: Lately, text: Arrived, question: Question, met: Met) -> None:
    if question.answered is None:
        limit = text.project.policy.inbound.per_project
        lately.counted(text.project.id, limit, met.answered, at=text.at)


def _usual(text: Arrived, live: Live | None, met: Met) -> Taking | None:
    """Of a text that its agent is to answer, by a turn of its own or by the one that waits."""
    policy = text.project.policy
    if live is None or not met.knows or met.opted_out or text.word(met) is not None:
        return None
    if met.cut_at is not None:
        return None
    engaged = talk.user_texted(live, now=text.now)
    left = reply_budget.within(met.replies, policy.reply_budget, now=text.now)
    if left is None or not isinstance(engaged, Engaged) or _not_for_the_agent(text, live, met):
        return None
    taking = _landing(text, live, engaged, met, left)
    return taking if taking.landing in {"new", "put off"} else None


def _landing(text: Arrived, live: Live, engaged: Engaged, met: Met, left: Left) -> Taking:
    policy, standing = text.project.policy, met.standing
    landing = standing.landing(policy.while_thinking)
    return Taking(
        said=Said(
            id=text.id,
            project_id=text.project.id,
            carrier_id=text.number.carrier_id,
            carrier_message_id=text.said.carrier_message_id,
            agent_number=text.number.number,
            user_number=text.user,
            text=text.said.text,
            media=text.said.media,
            note=text.note(),
            at=text.at,
        ),
        before=live,
        after=engaged,
        policy=policy.idle,
        standing=standing,
        landing=landing,
        turn_id=standing.turn_of(landing, now=text.now),
        due_at=standing.due_at(
            landing, now=text.now, delay=policy.reply_delay, not_before=left.not_before
        ),
        now=text.now,
    )


def _not_for_the_agent(text: Arrived, live: Live | None, met: Met) -> str | None:
    """Why not."""
    if isinstance(live, HandedOff):  # limits are for agents
        return "handed_off"
    if not text.number.replies:
        return "replies_off"
    if text.number.defaults.ignores_text(text.said.text):
        return "ignored_words"
    if live is None and met.stays_over:
        return "timed_out"
    return _of_sender(text, met) or throttle.of_project(met.answered, text.project.policy.inbound)


def _of_sender(text: Arrived, met: Met) -> str | None:
    limits, earlier = text.project.policy.inbound, met.earlier
    return throttle.of_sender(text.said.text, earlier, limits, now=text.at, cut_at=met.cut_at)


class _ForTheAgent(Text):
    """Unless a rule says otherwise."""

    async def take_in(self) -> Heard:
        live = self.live
        if (why := _not_for_the_agent(self, live, self.met)) is not None:
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
        policy = self.project.policy
        left = await reply_budget.left_of(
            self.c,
            self.met.replies,
            conversation_id=live.id,
            budget=policy.reply_budget,
            cut_at=self.met.cut_at,
            now=self.now,
        )
        if left.pause_until is not None:
            await conversations.save(self.c, live, engaged, policy=policy.idle, now=self.now)
            paused = talk.paused(engaged, until=left.pause_until)
            await conversations.save(self.c, engaged, paused, policy=policy.idle, now=self.now)
            return await self.leave_unanswered(engaged.id, "reply_budget")
        greets = not self.met.knows and policy.unknown_user == "greet"
        greeting = self.agent.greeting if greets else None
        taking = _landing(self, live, engaged, self.met, left)
        if greeting is not None:
            taking = replace(taking, landing="nothing", turn_id=None)
        seq = await hearing.take_in(self.c, taking)
        if greeting is not None:
            await self.say(live.id, "reply", greeting, due_at=left.not_before)
            await conversations.heard(self.c, live.id, seq)
        elif taking.landing == "restart":
            standing, due_at = taking.standing, taking.due_at
            await turns.land(self.c, standing, "restart", due_at=due_at, now=self.now)
        return Heard("heard", live.id, self.id, turn_id=taking.turn_id)
