"""A send that goes on with the conversation there is, or opens one."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.deployment import AGENT, USER, caller, key, minute, second
from tests.support.wire import Wire
from tests.support.world import World
from textback.core.commands import Accepted, AgentChoice, Notify, SendText
from textback.core.errors import OptedOut, Unavailable, WrongState
from textback.core.ids import ConversationId, MessageId
from textback.core.policy import IdlePolicy
from textback.core.template import Template
from textback.db.session import create_engine
from textback.flows import accept, choosing, opening

RESUME = SendText(user_number=USER, text="One more thing.", agent_number=AGENT, thread="resume")


@pytest.fixture
async def world(engine: AsyncEngine) -> AsyncGenerator[World]:
    made = World(engine)
    await made.provision()
    yield made
    await made.close()


async def test_it_says_its_words_in_the_conversation_there_is(world: World) -> None:
    opened = await world.accept("Is 3pm good?")
    await world.hear("yes", now=second(5))
    again = await accept.send_text(world.db, caller(), RESUME, now=second(9))
    assert again.resumed
    assert again.conversation_id == opened.conversation_id
    assert again.agent_number == AGENT
    assert [t.text for t in await world.ours()] == ["Is 3pm good?", "One more thing."]
    assert [c.state for c in await world.talks()] == ["engaged"]


async def test_without_one_it_opens_one_and_a_closed_one_stays_closed(world: World) -> None:
    first = await accept.send_text(world.db, caller(), RESUME, now=second(0))
    assert not first.resumed
    await world.end(first.conversation_id, now=second(5))
    second_one = await accept.send_text(world.db, caller(), RESUME, now=second(9))
    assert not second_one.resumed
    assert second_one.conversation_id != first.conversation_id


@pytest.mark.parametrize("words", ["More.", None])
@pytest.mark.parametrize("took_hold", [True, False])
async def test_a_commit_that_nobody_confirmed_is_looked_up_and_not_guessed_at(
    world: World, database_url: str, words: str | None, *, took_hold: bool
) -> None:
    """Without a key: told that it failed, this caller would ask again, and the user hear twice."""
    await world.accept("Is 3pm good?")
    async with Wire(database_url) as wire:
        db = create_engine(wire.url)
        wire.break_at(b"UPDATE conversations", b"COMMIT", deliver=took_hold)
        sending = accept.send_text(db, caller(), replace(RESUME, text=words), now=second(5))
        if took_hold:
            assert (await sending).resumed
        else:
            with pytest.raises(Unavailable):
                await sending
        await db.dispose()
    assert wire.cuts == 2
    assert [t.text for t in await world.ours()][1:] == ([words] if took_hold and words else [])
    assert len(await world.turns()) == (took_hold and words is None)


async def test_what_it_says_of_the_conversation_replaces_what_was_said(world: World) -> None:
    first = replace(
        RESUME, objective="book", variables={"a": 1, "b": 1}, metadata={"x": 1}, text="Hi"
    )
    opened = await accept.send_text(world.db, caller(), first, now=second(0))
    then = replace(RESUME, variables={"b": 2}, metadata={"y": 2})
    await accept.send_text(world.db, caller(), then, now=second(1))
    query = "select objective, variables, metadata from conversations where id = :id"
    async with world.transaction() as c:
        row = (await c.execute(text(query), {"id": opened.conversation_id})).one()
    assert tuple(row) == ("book", {"a": 1, "b": 2}, {"y": 2})


async def test_without_words_the_agent_goes_on_in_a_turn(world: World) -> None:
    await world.accept("Is 3pm good?")
    gone_on = await accept.send_text(world.db, caller(), replace(RESUME, text=None), now=second(5))
    assert gone_on.resumed
    assert gone_on.message_id is None
    [due] = await world.claim_turns(now=second(5))
    await world.answer(due, "Just checking in.", now=second(6))
    assert [t.text for t in await world.ours()] == ["Is 3pm good?", "Just checking in."]


async def test_the_agent_may_not_go_on_where_a_person_speaks(world: World) -> None:
    opened = await world.accept("Is 3pm good?")
    await world.hand_off(opened.conversation_id)
    with pytest.raises(WrongState, match="a person has it"):
        await accept.send_text(world.db, caller(), replace(RESUME, text=None), now=second(5))
    said = await accept.send_text(world.db, caller(), RESUME, now=second(6))
    assert said.resumed
    assert [c.state for c in await world.talks()] == ["handed_off"]


async def test_a_repeated_one_gets_the_first_answer(world: World) -> None:
    await world.accept("Is 3pm good?")
    keyed = replace(RESUME, idempotency=key("k1"))
    first = await accept.send_text(world.db, caller(), keyed, now=second(5))
    again = await accept.send_text(world.db, caller(), keyed, now=second(6))
    assert again == replace(first, replayed=True)
    assert len(await world.ours()) == 2


async def test_its_own_lengths_of_silence_win_and_are_kept(world: World) -> None:
    idle = IdlePolicy(
        warn_after=None, end_after=timedelta(seconds=45), closing="Bye!", also_unanswered=True
    )
    await accept.send_text(world.db, caller(), replace(RESUME, idle=idle), now=second(0))
    # The project's are changed by the next apply; this conversation's stay.
    await world.provision(project={"inactivity": {"warn_after_seconds": 5}})
    assert await world.expire(now=second(44)) == 0
    assert await world.expire(now=second(45)) == 1
    [closed] = await world.talks()
    assert (closed.state, closed.reason) == ("closed", "idle")
    assert [t.text for t in await world.ours()] == ["One more thing.", "Bye!"]


async def test_a_warning_without_words_warns_all_the_same(world: World) -> None:
    idle = IdlePolicy(
        warn_after=timedelta(seconds=30),
        warning=None,
        close_after=timedelta(seconds=10),
        closing=None,
        also_unanswered=True,
    )
    await accept.send_text(world.db, caller(), replace(RESUME, idle=idle), now=second(0))
    await world.expire(now=second(30))
    assert [c.state for c in await world.talks()] == ["warned"]
    await world.expire(now=second(40))
    assert [c.state for c in await world.talks()] == ["closed"]
    assert len(await world.ours()) == 1


@pytest.mark.parametrize(("reopens", "kept"), [(True, False), (False, True)])
async def test_what_is_texted_after_silence_closed_it_opens_another_or_is_only_kept(
    world: World, *, reopens: bool, kept: bool
) -> None:
    idle = IdlePolicy(warn_after=None, end_after=timedelta(seconds=45), also_unanswered=True)
    timed = replace(RESUME, idle=idle, reopens=reopens)
    await accept.send_text(world.db, caller(), timed, now=second(0))
    await world.expire(now=minute(1))
    heard = await world.hear("still there?", now=minute(2))
    assert (heard.why == "timed_out") is kept
    assert (len(await world.talks()) == 1) is kept


async def test_who_wants_to_know_is_told_of_an_opt_out_and_nothing_is_stored(world: World) -> None:
    await world.accept("Is 3pm good?")
    await world.hear("STOP", now=second(5))
    refusing = replace(RESUME, refuses_opted_out=True)
    with pytest.raises(OptedOut):
        await accept.send_text(world.db, caller(), refusing, now=second(9))
    quiet = await accept.send_text(world.db, caller(), RESUME, now=second(10))
    assert quiet.suppressed
    states = [t.state for t in await world.ours() if t.kind == "opener"]
    assert states == ["suppressed", "suppressed"]


async def test_a_template_is_sent_instead_of_words(world: World) -> None:
    template = Template(content_sid="HX" + "0" * 32, variables={"1": "Jane"})
    await accept.send_text(
        world.db, caller(), replace(RESUME, text=None, template=template), now=second(0)
    )
    await world.send(now=second(1))
    assert [outgoing.template for outgoing in world.carrier.sent] == [template]


async def test_its_webhook_hears_of_the_conversation_from_the_first_event(world: World) -> None:
    told = replace(RESUME, notify=Notify(url="https://example.com/hook", format="native"))
    opened = await accept.send_text(world.db, caller(), told, now=second(0))
    elsewhere = replace(RESUME, notify=Notify(url="https://example.com/other", format="native"))
    await accept.send_text(world.db, caller(), elsewhere, now=second(1))
    query = (
        "select w.url, e.kind from webhook_deliveries d join events e on e.id = d.event_id"
        " join webhook_endpoints w on w.id = d.endpoint_id"
        " where e.conversation_id = :id order by d.id"
    )
    async with world.transaction() as c:
        found = (await c.execute(text(query), {"id": opened.conversation_id})).all()
    assert [tuple(row) for row in found] == [
        ("https://example.com/hook", "conversation.opened"),
        ("https://example.com/hook", "message.queued"),
        ("https://example.com/other", "message.queued"),
    ]


async def test_an_agent_that_is_named_takes_over_the_conversation(world: World) -> None:
    await world.accept("Is 3pm good?")
    await world.provision(agent={"greeting": "Hi, what can I do for you?"})  # its second version
    opened = await accept.send_text(world.db, caller(), RESUME, now=second(1))
    named = replace(RESUME, agent=AgentChoice(version="production"))
    assert (await accept.send_text(world.db, caller(), named, now=second(2))).resumed
    query = "select agent_version from conversations where id = :id"
    async with world.transaction() as c:
        found = await c.scalar(text(query), {"id": opened.conversation_id})
    assert found == 2


async def test_an_opt_out_that_comes_in_between_is_told_too(world: World) -> None:
    refusing = replace(RESUME, refuses_opted_out=True)
    async with world.transaction() as c:
        found = await choosing.choose(c, caller(), refusing)
        assert not found.opted_out
        await world.hear("STOP", now=second(1))
        ids = Accepted(conversation_id=ConversationId("conv_x"), message_id=MessageId("msg_x"))
        with pytest.raises(OptedOut):
            await opening.text_user(c, caller(), refusing, ids, found=found, now=second(2))
    assert await world.talks() == [talk for talk in await world.talks() if talk.state == "closed"]


async def test_the_same_webhook_named_again_stays_the_same_endpoint(world: World) -> None:
    told = replace(RESUME, notify=Notify(url="https://example.com/hook", format="native"))
    await accept.send_text(world.db, caller(), told, now=second(0))
    await accept.send_text(world.db, caller(), told, now=second(1))
    async with world.transaction() as c:
        found = (await c.execute(text("select state from webhook_endpoints"))).all()
    assert [row.state for row in found] == ["active"]
