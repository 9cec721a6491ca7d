"""Who hands a conversation over or back dies at every point; and people among all the others."""

from typing import Any, Literal

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from tests.crash.test_pairs_machine import Pairs, keep_promises
from tests.support.aftermath import Aftermath, FarEngine, user_of
from tests.support.crash import Mortal, at_every_point
from tests.support.deployment import ACME, key, second
from tests.support.records import Talk
from tests.support.world import World
from textback.core.engine import TurnReply
from textback.core.ids import ConversationId
from textback.flows.say import Who

CALLER = Who("caller", ACME)


async def test_a_persons_text_is_said_once_under_its_key(world: World, doomed: World):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user, name = user_of(n), key(f"key {n}", route=f"/{n}")
        talk = (await world.accept("Opener.", user=user)).conversation_id
        await mortal.run(doomed.say(talk, "Bob.", who=CALLER, key=name, now=second(1)))
        await world.say(talk, "Bob.", who=CALLER, key=name, now=second(2))
        await others.go_on()
        await others.check(user, took=["Opener.", "Bob."])

    await at_every_point(doomed.db, story, more_than=3)


async def test_a_hand_off_happens_whole_or_not_at_all(world: World, doomed: World):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user = user_of(n)
        heard = await world.hear("Hello", user=user)
        assert heard.conversation_id is not None
        await mortal.run(doomed.hand_off(heard.conversation_id, now=second(1)))
        handed_off = (await world.talk(heard.conversation_id)).state == "handed_off"
        await others.go_on()
        await others.check(user, took=[] if handed_off else ["You said Hello."])
        told = await world.events(heard.conversation_id)
        assert told.count("conversation.handed_off") == told.count("turn.dropped") == handed_off

    await at_every_point(doomed.db, story, more_than=3)


Way = Literal["silent", "message", "reply"]


@pytest.mark.parametrize("way", ["silent", "message", "reply"])
async def test_who_resumes_dies_and_resumes_again(world: World, doomed: World, way: Way):
    others = Aftermath(world)
    given: dict[Way, dict[str, Any]] = {
        "silent": {},
        "message": {"message": "Back."},
        "reply": {"reply": True},
    }
    took = {"silent": [], "message": ["Back."], "reply": ["You said Hello."]}

    async def story(mortal: Mortal, n: int) -> None:
        user = user_of(n)
        heard = await world.hear("Hello", user=user)
        assert heard.conversation_id is not None
        talk = heard.conversation_id
        await world.hand_off(talk, now=second(1))
        await mortal.run(doomed.resume(talk, **given[way], now=second(2)))
        if (await world.talk(talk)).state == "handed_off":
            await world.resume(talk, **given[way], now=second(3))
        await others.go_on()
        await others.check(user, took=took[way])
        assert (await world.events(talk)).count("conversation.resumed") == 1

    await at_every_point(doomed.db, story, more_than=3)


async def test_an_agents_hand_off_happens_once_wherever_its_worker_dies(
    world: World, doomed: World
):
    answer = TurnReply(texts=["One moment."], hand_off="a refund")
    others = Aftermath(world, engine=FarEngine(answer))

    async def story(mortal: Mortal, n: int) -> None:
        user = user_of(n)
        heard = await world.hear("Hello", user=user)
        assert heard.conversation_id is not None
        await mortal.run(doomed.think(engine=others.engine))
        await others.go_on()
        await others.check(user, took=["One moment."])
        assert (await world.talk(heard.conversation_id)).state == "handed_off"
        told = await world.events(heard.conversation_id)
        assert told.count("conversation.handed_off") == 1

    await at_every_point(doomed.db, story, more_than=9)


# --- In every order -----------------------------------------------------------------------------

pick = st.integers(0, 20)


class WithPeople(Pairs):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []
        """What people were told is queued."""

    def of_state(self, *states: str) -> list[ConversationId]:
        return [talk.id for talk in self.talks() if talk.state in states]

    def talks(self) -> list[Talk]:
        """In an order that does not depend on ids, which are other ones when a run is repeated."""
        found = self.run(self.world.talks())
        return sorted(found, key=lambda talk: (talk.opened_at, talk.user_number, talk.state))

    @rule(which=pick)
    def hand_off(self, which: int) -> None:
        live = self.of_state("opened", "engaged", "warned", "handed_off")
        if live:
            self.run(self.world.hand_off(live[which % len(live)], now=self.now))

    @rule(which=pick, as_agent=st.booleans())
    def say(self, which: int, as_agent: bool) -> None:  # noqa: FBT001 - Hypothesis'
        live = self.of_state("opened", "engaged", "warned", "handed_off")
        if live:
            self.written.append(self.next("Person"))
            sender: Literal["agent", "person"] = "agent" if as_agent else "person"
            self.run(
                self.world.say(
                    live[which % len(live)], self.written[-1], sender=sender, now=self.now
                )
            )

    @rule(which=pick, way=st.sampled_from(["silent", "message", "reply"]))
    def resume(self, which: int, way: str) -> None:
        handed_off = self.of_state("handed_off")
        if handed_off:
            message = None
            if way == "message":
                message = self.next("Back")
                self.written.append(message)
            self.run(
                self.world.resume(
                    handed_off[which % len(handed_off)],
                    message=message,
                    reply=way == "reply",
                    now=self.now,
                )
            )

    @rule(which=pick)
    def end(self, which: int) -> None:
        talks = self.talks()
        if talks:
            self.run(self.world.end(talks[which % len(talks)].id, now=self.now))

    @rule(which=pick)
    @precondition(lambda self: bool(self.thinking))
    def agent_hands_off(self, which: int) -> None:
        thinking = self.thinking.pop(which % len(self.thinking))
        words = self.next("Reply")
        answer = TurnReply(texts=[words], hand_off="a refund")
        if self.run(self.world.answer(thinking, answer, now=self.now)) == "answered":
            self.said.append(words)

    @invariant()
    def nobody_thinks_of_what_a_person_has(self) -> None:
        talks = self.run(self.world.talks())
        handed_off = {talk.id for talk in talks if talk.state == "handed_off"}
        assert all(talk.deadline_at is None for talk in talks if talk.id in handed_off)
        if handed_off:
            pending = {
                t.conversation_id for t in self.run(self.world.turns()) if t.state != "ended"
            }
            assert not pending & handed_off

    def heal(self) -> None:
        while handed_off := self.of_state("handed_off"):
            self.run(self.world.resume(handed_off[0], now=self.now))
        super().heal()

    def all_promises_were_kept(self) -> None:
        super().all_promises_were_kept()
        texts = self.texts()
        for words in self.written:
            assert sum(t.text == words for t in texts) == 1, f"{words} not said once"


def test_all_promises_are_kept_when_people_take_part(database_url: str) -> None:
    keep_promises(WithPeople, database_url, examples=30)
