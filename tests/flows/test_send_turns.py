"""Accounts and numbers take turns, however much of one of them waits."""

from collections.abc import Mapping
from datetime import datetime

import pytest
from sqlalchemy import text as sql

from tests.support.deployment import (
    AGENT,
    CARRIER,
    NEIGHBOUR,
    OTHER_CARRIER,
    SECOND,
    USER,
    hour,
    number,
    second,
)
from tests.support.world import World
from textback.core.ids import CarrierId
from textback.core.phone import Phone
from textback.flows import send
from textback.flows.send import Round

COPIED = (
    *("conversation_id", "project_id", "carrier_id", "agent_number", "user_number", "direction"),
    *("kind", "text", "state", "created_at", "expires_at", "priority", "due_at"),
)


async def copy(world: World, count: int, **changed: str) -> None:
    """So many more texts like the first one, but for what is changed; `n` counts them."""
    columns = {
        "id": "'more_' || (select count(*) from messages) || '_' || n",
        **dict.fromkeys(COPIED),
    }
    values = [changed.get(name) or made or f"m.{name}" for name, made in columns.items()]
    more = {name: value for name, value in changed.items() if name not in columns}
    names = ", ".join([*columns, *more])
    asked = ", ".join([*values, *more.values()])
    async with world.transaction() as c:
        await c.execute(
            sql(
                f"insert into messages ({names}) select {asked} from ("  # noqa: S608 - ours
                f"select * from messages order by seq limit 1) m, generate_series(1, {count}) n"
            )
        )
        await c.execute(sql("analyze messages"))


async def look(
    world: World,
    limit: int,
    *,
    held: Mapping[CarrierId, int] | None = None,
    room: Mapping[CarrierId, int] | None = None,
    round_: Round | None = None,
) -> tuple[list[send.Job], datetime | None]:
    return await send.claim(
        world.db,
        policy=world.policy,
        limit=limit,
        except_numbers=(),
        held=held,
        room=room,
        round_=round_,
        now=second(9),
        steady=0,
    )


async def claim(
    world: World,
    limit: int,
    *,
    held: Mapping[CarrierId, int] | None = None,
    room: Mapping[CarrierId, int] | None = None,
    round_: Round | None = None,
) -> list[send.Job]:
    jobs, _ = await look(world, limit, held=held, room=room, round_=round_)
    return jobs


@pytest.fixture
async def campaign(world: World) -> World:
    """One account has queued 3000 openers; then somebody answers another's, which sends one, too.

    The answer comes first, and counts as that account's turn.
    """
    await world.provision(numbers=[number(AGENT), number(SECOND, carrier=OTHER_CARRIER)])
    await world.accept("Opener 0", agent_number=AGENT)
    await copy(world, 3000, user_number="'+1212' || lpad(n::text, 7, '0')", text="'Opener ' || n")
    await world.hear(
        "Hello", user=USER, agent_number=SECOND, carrier_id=OTHER_CARRIER, now=second(1)
    )
    await world.think(now=second(1))
    await world.accept("Theirs", user=NEIGHBOUR, agent_number=SECOND, now=second(2))
    return world


async def test_one_accounts_many_texts_keep_no_other_waiting(campaign: World):
    jobs = await claim(campaign, 4)
    assert [j.message.text for j in jobs] == ["You said: Hello", "Opener 0", "Opener 1", "Theirs"]

    queued = {"state": "'queued'", "due_at": "m.created_at", "user_number": "'+12139999999'"}
    theirs = {"carrier_id": f"'{OTHER_CARRIER}'", "agent_number": f"'{SECOND}'"}
    await copy(campaign, 1, **queued, **theirs)
    jobs = await claim(campaign, 1, held={CARRIER: 2, OTHER_CARRIER: 1})  # one place became free
    assert [j.message.agent_number for j in jobs] == [SECOND]
    jobs = await claim(campaign, 1, held={CARRIER: 2, OTHER_CARRIER: 2})
    assert [j.message.agent_number for j in jobs] == [AGENT]


async def test_a_reply_goes_before_another_accounts_opener_when_only_one_may_go(campaign: World):
    (job,) = await claim(campaign, 1)
    assert job.message.text == "You said: Hello"


async def test_of_an_account_that_was_told_to_slow_down_no_more_is_taken_than_it_has_room_for(
    campaign: World,
):
    jobs = await claim(campaign, 10, room={CARRIER: 2, OTHER_CARRIER: 9}, held={CARRIER: 7})
    texts = [j.message.text for j in jobs]
    assert texts == ["You said: Hello", "Theirs", "Opener 0", "Opener 1"]


async def test_a_numbers_many_texts_keep_no_other_number_of_the_account_waiting(campaign: World):
    await copy(campaign, 1, agent_number="'+14155550177'", text="'Of another number'")
    jobs = await claim(campaign, 5)
    assert "Of another number" in [j.message.text for j in jobs]


async def test_more_numbers_than_one_claim_looks_at_come_one_round_after_the_other(world: World):
    await world.accept()
    await copy(world, 299, agent_number="'+1415556' || lpad(n::text, 4, '0')")
    round_ = Round()
    taken = set[Phone]()
    for _ in range(5):
        jobs = await claim(world, 100, round_=round_)
        taken |= {j.message.agent_number for j in jobs}
    assert len(taken) == 300


OF_ANOTHER_NUMBER = "'+1415556' || lpad(n::text, 4, '0')"


async def test_what_is_due_is_found_at_once_behind_many_numbers_with_nothing_due(world: World):
    await world.accept()
    await copy(world, 599, agent_number="'+1415557' || lpad(n::text, 4, '0')", priority="0")
    await copy(world, 299, agent_number=OF_ANOTHER_NUMBER)
    async with world.transaction() as c:
        await c.execute(sql("update messages set due_at = :at"), {"at": hour(1)})
        last = "update messages set due_at = created_at where agent_number = '+14155560299'"
        await c.execute(sql(last))
    round_ = Round()
    jobs, again = await look(world, 10, round_=round_)
    assert [j.message.agent_number for j in jobs] == ["+14155560299"]
    # And nobody looks for more again and again where there is nothing before its time.
    waits = list[datetime | None]()
    while again != hour(1) and len(waits) < 5:
        jobs, again = await look(world, 10, round_=round_)
        waits.append(again)
        assert jobs == []
    assert again == hour(1)
    assert round_.lines == {}


async def test_many_texts_of_one_user_let_no_account_have_more_than_it_has_room_for(world: World):
    # 300 of one user's stand before the others', so that these are found another way.
    await world.accept(user=USER)
    await copy(world, 300)
    await copy(world, 20, user_number="'+1313' || lpad(n::text, 7, '0')")
    await copy(world, 2, carrier_id=f"'{OTHER_CARRIER}'", agent_number=OF_ANOTHER_NUMBER)
    jobs = await claim(world, 10, room={CARRIER: 4, OTHER_CARRIER: 9}, held={CARRIER: 7})
    accounts = [j.message.carrier_id for j in jobs]
    assert (accounts.count(CARRIER), accounts.count(OTHER_CARRIER)) == (4, 2)
    assert await claim(world, 10, room={CARRIER: 1}) != []


async def test_behind_more_pairs_in_doubt_than_one_claim_looks_at_the_others_are_found(
    world: World,
):
    # Of each of these pairs a text is in doubt, and the next one waits for that.
    await world.accept()
    user = "'+1212' || lpad(n::text, 7, '0')"
    in_doubt = {
        "state": "'uncertain'",
        "due_at": "null",
        "claimed_at": "m.created_at",
        "uncertain_at": "m.created_at",
        "look_up_at": "m.created_at + interval '1 hour'",
    }
    await copy(world, 1100, user_number=user, **in_doubt)
    await copy(world, 1100, user_number=user)
    await copy(world, 3, user_number="'+1313' || lpad(n::text, 7, '0')", text="'Free'")
    round_ = Round()
    found = list[str]()
    again: datetime | None = second(9)
    while again == second(9):  # it is known that more may be due
        jobs, again = await look(world, 10, round_=round_)
        found += [j.message.text for j in jobs]
    assert found.count("Free") == 3
    assert len(found) == 4
