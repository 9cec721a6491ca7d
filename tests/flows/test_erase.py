"""What is erased is gone, with all that was told of it, and does not come back."""

import asyncio
from datetime import datetime

import pytest
from sqlalchemy import text as sql

from tests.support import plans
from tests.support.deployment import AGENT, NEIGHBOUR, USER, caller, hour, second
from tests.support.doubles import NO_ANSWER, CarrierDouble
from tests.support.world import World
from textback.core.commands import Notify, SendText
from textback.core.engine import ToolResult
from textback.core.errors import Conflict, UnknownConversation, UnknownResource
from textback.core.ids import AccountId, ConversationId, MessageId
from textback.core.ports import Inbound
from textback.db import locks
from textback.flows import accept, erase
from textback.flows.journal import TurnJournal
from textback.flows.say import OPERATOR, Who

TABLES = [
    *("conversations", "messages", "turns", "tool_calls", "events"),
    *("webhook_endpoints", "webhook_deliveries", "webhook_attempts"),
]


async def left(world: World) -> dict[str, int]:
    """Rows there are; tables without any left out."""
    found: dict[str, int] = {}
    async with world.transaction() as c:
        for table in TABLES:
            count = await c.scalar(sql(f"select count(*) from {table}"))  # noqa: S608 - ours
            found |= {table: count} if count else {}
    return found


async def erase_it(world: World, conversation_id: ConversationId, *, now: datetime) -> None:
    await erase.erase_conversation(world.db, conversation_id, who=OPERATOR, now=now)


async def erase_texts(world: World, conversation_id: ConversationId, *ids: str) -> None:
    await erase.erase_messages(world.db, conversation_id, ids, who=OPERATOR, now=second(9))


async def whole_talk(world: World) -> ConversationId:
    """One with everything that there can be of it, the endpoint of another account-wide one too."""
    await endpoint(world)
    told = Notify(url="https://example.com/hook", format="native")
    command = SendText(user_number=USER, text="Hi Ann", agent_number=AGENT, notify=told)
    accepted = await accept.send_text(world.db, caller(), command, now=second(0))
    await world.send(now=second(0))
    await world.hear("Hello", sid="IN-hello", now=second(1))
    await world.think(now=second(2))
    await world.send(now=second(3))
    async with world.transaction() as c:
        await c.execute(
            sql(
                "insert into webhook_attempts (delivery_id, number, at, milliseconds)"
                " select id, 1, now(), 1 from webhook_deliveries"
            )
        )
        await c.execute(
            sql(
                "insert into tool_calls (id, conversation_id, turn_id, name, arguments, began_at)"
                " select 'call', conversation_id, id, 'look', '{}', now() from turns limit 1"
            )
        )
    return accepted.conversation_id


async def endpoint(world: World) -> None:
    """The account's own, which wants every event."""
    async with world.transaction() as c:
        await c.execute(
            sql(
                "insert into webhook_endpoints (id, account_id, url, format, created_at)"
                " values ('whe_all', 'acme', 'https://example.com', 'native', now())"
            )
        )


async def test_everything_goes_with_a_conversation_and_nothing_of_another(world: World):
    mine = await whole_talk(world)
    assert set(await left(world)) == set(TABLES)
    other = await world.accept("Hi Bob", user=NEIGHBOUR, now=second(4))

    await erase_it(world, mine, now=second(5))

    assert [talk.id for talk in await world.talks()] == [other.conversation_id]
    assert await world.texts() == []
    assert await left(world) == {
        "conversations": 1,
        "messages": 1,
        "events": 2,
        "webhook_endpoints": 1,
        "webhook_deliveries": 2,
    }
    with pytest.raises(UnknownConversation):
        await erase_it(world, mine, now=second(6))


async def test_what_is_queued_in_a_live_one_is_never_sent_and_no_turn_is_run(world: World):
    accepted = await world.accept()
    await world.hear("Hello", now=second(1))

    await erase_it(world, accepted.conversation_id, now=second(2))

    carrier = CarrierDouble()
    await world.send_all(now=hour(1), carrier=carrier)
    assert carrier.sent == []
    assert await world.claim_turns(now=hour(1)) == []
    # And the next send begins anew.
    assert not (await world.accept(now=hour(1))).suppressed


@pytest.mark.parametrize("doubt", [False, True])
async def test_while_a_text_may_be_out_nothing_is_erased(world: World, *, doubt: bool):
    accepted = await world.accept()
    if doubt:
        await world.send(carrier=CarrierDouble(NO_ANSWER))
    else:
        await world.claim()
    before = await left(world)

    with pytest.raises(Conflict, match="may be on its way"):
        await erase_it(world, accepted.conversation_id, now=second(1))

    assert await left(world) == before
    assert (await world.talk(accepted.conversation_id)).state == "opened"


async def test_what_the_carrier_lists_or_brings_again_does_not_come_back(world: World):
    heard = await world.hear("Hello", sid="IN-1")
    assert heard.conversation_id is not None
    await erase_it(world, heard.conversation_id, now=second(1))

    again = await world.hear("Hello", sid="IN-1", now=second(2))
    listed = Inbound(
        carrier_message_id="IN-1",
        agent_number=AGENT,
        user_number=USER,
        text="Hello",
        said_at=second(0),
    )
    carrier = CarrierDouble()
    carrier.in_list = [listed]
    await world.sweep(now=second(120), carrier=carrier)
    assert carrier.read

    assert again.outcome == "duplicate"
    assert await left(world) == {}


async def test_opt_outs_stay(world: World):
    accepted = await world.accept()
    await world.hear("STOP", now=second(1))
    await world.send(now=second(2))
    await erase_it(world, accepted.conversation_id, now=second(3))
    assert not await world.may_text()
    assert (await world.accept(now=second(4))).suppressed


async def test_a_worker_that_thinks_of_it_meanwhile_finds_nothing_to_do(world: World):
    heard = await world.hear("Hello")
    (thinking,) = await world.claim_turns(now=second(1))
    journal = TurnJournal(world.db, thinking, now=lambda: second(2))
    assert heard.conversation_id is not None

    async def call(_call_id: str) -> ToolResult:
        await erase_it(world, heard.conversation_id or ConversationId(""), now=second(2))
        return ToolResult("done")

    await journal.call("look", {}, call)

    assert await world.answer(thinking, "Good morning.", now=second(3)) is None
    assert await left(world) == {}


async def test_whoever_comes_first_of_an_eraser_and_a_user_nothing_is_half_gone(world: World):
    for turn in range(6):
        accepted = await world.accept(now=second(turn))
        await world.send(now=second(turn))
        sid = (await world.ours())[-1].carrier_message_id or ""
        async with asyncio.TaskGroup() as group:
            group.create_task(erase_it(world, accepted.conversation_id, now=second(turn)))
            group.create_task(world.hear("Hello", now=second(turn)))
            group.create_task(world.receipt("delivered", sid=sid, now=second(turn)))
        for talk in await world.live():
            assert talk.id != accepted.conversation_id
            await erase_it(world, talk.id, now=second(turn))
    assert await left(world) == {}


@pytest.mark.parametrize(
    "meanwhile",
    [
        (
            "insert into webhook_attempts (delivery_id, number, at, milliseconds)"
            " select id, 2, now(), 1 from webhook_deliveries"
        ),
        (
            "insert into webhook_deliveries (endpoint_id, event_id, conversation_id, state,"
            " created_at, due_at) select endpoint_id, event_id, conversation_id, 'waiting', now(),"
            " now() from webhook_deliveries"
        ),
        (
            "with ended as (update tool_calls set ended_at = now(), result = 'x', failed = false"
            " returning conversation_id) insert into events (at, conversation_id, kind, data)"
            " select now(), conversation_id, 'tool.called', '{}' from ended"
        ),
        (
            "with seen as (select conversation_id from messages where state = 'sent' for update)"
            " insert into events (at, conversation_id, kind, data)"
            " select now(), conversation_id, 'message.read', '{}' from seen"
        ),
    ],
    ids=["an attempt is noted", "a delivery is made again", "a call ends", "a text is read"],
)
async def test_what_is_told_of_it_in_this_moment_goes_too(world: World, meanwhile: str):
    mine = await whole_talk(world)
    async with asyncio.TaskGroup() as group, world.transaction() as c:
        await c.execute(sql(meanwhile))
        group.create_task(erase_it(world, mine, now=second(5)))
        await world.blocked(1)
    assert await left(world) == {"webhook_endpoints": 1}


@pytest.mark.parametrize("how", ["whole", "hushed", "a text of it"])
async def test_whoever_has_to_do_with_the_pair_is_let_finish_first(world: World, how: str):
    mine = await whole_talk(world)
    one = (await world.ours())[0].id
    async with asyncio.TaskGroup() as group, world.transaction() as c:
        await locks.pair(c, AGENT, USER)
        match how:
            case "whole":
                work = erase_it(world, mine, now=second(5))
            case "hushed":
                work = erase.hush(world.db, mine, who=OPERATOR, now=second(5))
            case _:
                work = erase_texts(world, mine, one)
        done = group.create_task(work)
        await world.blocked(1)
        # It holds nothing yet that the other one, who has the pair, may come to want.
        await c.execute(sql("select id from conversations for update nowait"))
        await c.execute(sql("select id from messages for update nowait"))
        assert not done.done()


async def test_who_erases_and_who_hurries_its_deliveries_do_not_wait_for_each_other(world: World):
    """As a worker does whose endpoint answers again, in an order of its own."""
    mine = await whole_talk(world)
    hurry = "update webhook_deliveries set due_at = now() where id = :id"
    async with asyncio.TaskGroup() as group, world.transaction() as c:
        lock = "select id from webhook_endpoints where conversation_id is null for no key update"
        of_it = await c.scalar(sql(lock))
        some = sql("select id from webhook_deliveries where endpoint_id = :id order by id desc")
        last, *others = (await c.scalars(some, {"id": of_it})).all()
        await c.execute(sql(hurry), {"id": last})
        group.create_task(erase_it(world, mine, now=second(5)))
        await world.blocked(1)
        for each in others:
            await c.execute(sql(hurry), {"id": each})
    assert await left(world) == {"webhook_endpoints": 1}


async def test_another_account_erases_nothing(world: World):
    accepted = await world.accept()
    who = Who("caller", AccountId("globex"))
    with pytest.raises(UnknownConversation):
        await erase.erase_conversation(world.db, accepted.conversation_id, who=who, now=second(1))
    assert await world.state(accepted.message_id or MessageId("")) == "queued"


# --- Single texts -------------------------------------------------------------------------------


async def test_single_texts_go_and_the_conversation_stays(world: World):
    mine = await whole_talk(world)
    opener, hello, reply = await world.texts()

    await erase_texts(world, mine, opener.id, hello.id)

    assert [text.id for text in await world.texts()] == [reply.id]
    assert await world.events(opener.id) == []
    assert (await world.talk(mine)).state == "engaged"
    assert (await world.hear("Hello", sid="IN-hello", now=second(10))).outcome == "duplicate"
    assert await world.receipt("delivered", sid="SM-x", message_id=opener.id) == "unknown"


async def test_of_a_text_that_was_planned_its_plan_says_nothing_more_either(world: World):
    accepted = await plans.send(world, text="Your results are in.", send_at=second(1))
    kept = await plans.send(world, text="See you.", user_number=NEIGHBOUR, send_at=second(1))
    assert await plans.singles(world, now=second(1)) == ["accepted", "accepted"]
    await world.send(now=second(2))

    await erase_texts(world, accepted.conversation_id, plans.id_of(accepted))

    plan = await plans.plan_of(world, accepted)
    assert (plan.text, plan.user_number, plan.state) == (None, "", "accepted")
    assert (await plans.plan_of(world, kept)).text == "See you."


async def test_of_several_texts_all_are_erased_or_none(world: World):
    mine = await whole_talk(world)
    first = (await world.texts())[0]
    await world.say(mine, now=second(4))
    queued = (await world.texts())[-1]
    before = await left(world)
    with pytest.raises(Conflict):
        await erase_texts(world, mine, first.id, queued.id)
    with pytest.raises(UnknownResource):
        await erase_texts(world, mine, first.id, "msg_" + "0" * 26)
    assert await left(world) == before


async def test_what_the_agent_is_about_to_answer_is_not_erased(world: World):
    heard = await world.hear("Hello")
    assert heard.conversation_id is not None
    with pytest.raises(Conflict, match="about to answer"):
        await erase_texts(world, heard.conversation_id, heard.message_id or "")
    assert await world.think(now=second(1)) == ["answered"]
