"""Erasing a user: what others wrote of them in their own way, what is in flight, and the keys."""

import asyncio
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import text as sql
from typer.testing import CliRunner

from tests.support import plans
from tests.support.deployment import ACME, AGENT, NEIGHBOUR, NOW, USER, hour, key, second
from tests.support.doubles import NO_ANSWER, CarrierDouble
from tests.support.world import World
from textback.cli.main import app
from textback.core.batch import Row
from textback.core.commands import Idempotency
from textback.core.ids import new_file_id
from textback.core.phone import Phone
from textback.db import uploads
from textback.db.uploads import Upload
from textback.flows import consent, user_data
from textback.flows.consent import Wish
from textback.flows.user_data import Erased

CODE, LOCAL = USER[1:2], USER[2:]
AREA, MIDDLE, END = LOCAL[:3], LOCAL[3:6], LOCAL[6:]

THEIRS = [
    f"({AREA}) {MIDDLE}-{END}",
    f"{AREA}-{MIDDLE}-{END}x",
    f"{AREA}.{MIDDLE}.{END} ext 12",
    f"{CODE} {AREA} {MIDDLE} {END}",
    f"00{USER[1:]}",
    f"+{CODE} ({AREA}) {MIDDLE}/{END}",
    f"Ann: {LOCAL}",
    f"whatsapp:{AREA}-{MIDDLE}-{END}",
]
OTHERS = [
    f"({AREA}) {MIDDLE}-{int(END) + 1}",
    f"{LOCAL}9",
    f"9{LOCAL}",
    f"+44 {AREA} {MIDDLE} {END}",
    f"+{AREA} {MIDDLE} {END}",
    "Ann",
]


async def erase(world: World, *, now: datetime) -> Erased:
    return await user_data.erase_user(world.db, USER, None, now=now)


async def rows(world: World, query: str) -> list[Any]:
    async with world.transaction() as c:
        return [tuple(row) for row in await c.execute(sql(query))]


# --- Written in another way ---------------------------------------------------------------------


async def test_a_refused_row_goes_however_it_writes_the_users_number(world: World) -> None:
    await plans.create(world, [NEIGHBOUR, *THEIRS, *OTHERS], text="Hi.")
    told = await user_data.export(world.db, USER, None, now=hour(1))
    assert [each["user_number"] for each in told["planned_sends"]] == THEIRS
    assert (await user_data.count(world.db, USER, None))["planned_sends"] == len(THEIRS)

    done = await erase(world, now=hour(1))

    assert done.removed["planned_sends"] == len(THEIRS)
    left = await rows(
        world, "select user_number from planned_sends where user_number <> '' order by row"
    )
    assert [number for (number,) in left] == [NEIGHBOUR, *OTHERS]
    assert (await rows(world, "select count(*) from planned_sends where error like '%Ann:%'")) == [
        (0,)
    ]


async def test_asked_for_one_channel_a_row_of_another_stays(world: World) -> None:
    twice = [NEIGHBOUR, USER, USER]
    await plans.create(world, twice, text="Hi.")
    told = await user_data.export(world.db, Phone(f"whatsapp:{USER}"), None, now=hour(1))
    assert told["planned_sends"] == []


async def test_a_file_and_an_event_that_write_it_otherwise_go_too(world: World) -> None:
    dates = "name,phone,day\nBob,,20260302\n"
    async with world.transaction() as c:
        for content in (f"name,phone\nAnn,{THEIRS[0]}\n", f"phone\n{OTHERS[0]}\n", dates):
            file = Upload(id=new_file_id(NOW), name="a.csv", kind="batches", content=content)
            await uploads.add(c, ACME, file, now=NOW)
    for number in (USER, NEIGHBOUR):
        await plans.send(world, user_number=number, refuses_opted_out=True, send_at=second(9))
        wish = Wish(user_number=number, agent_number=AGENT)
        await consent.opt_out_user(world.db, ACME, wish, now=second(1))
    assert await plans.singles(world, now=second(9)) == ["refused", "refused"]

    done = await erase(world, now=hour(1))

    assert (done.removed["uploads"], done.removed["events"]) == (1, 2)
    refused = await rows(world, "select data->>'error' from events where kind = 'send.refused'")
    assert [error.partition(" ")[0] for (error,) in refused] == [NEIGHBOUR]
    # Eight digits may be a day.
    assert (await user_data.count(world.db, Phone("+4520260302"), None))["uploads"] == 0


@pytest.mark.parametrize(
    ("user", "written", "stays"),
    [
        ("+4930123456", "030 123456", "030 1234567"),
        ("+4930123456", "+49 (0)30 123456", "+49 (0)31 123456"),
        ("+390612345678", "06 1234 5678", "6 1234 5678"),
    ],
)
async def test_a_row_may_write_it_as_their_country_does(
    world: World, user: str, written: str, stays: str
) -> None:
    await plans.create(world, [NEIGHBOUR, written, stays], text="Hi.")
    await user_data.erase_user(world.db, Phone(user), None, now=hour(1))
    left = await rows(world, "select user_number from planned_sends order by row")
    assert left == [(NEIGHBOUR,), ("",), (stays,)]


# --- In flight ----------------------------------------------------------------------------------


@pytest.mark.parametrize("doubt", [False, True])
async def test_one_text_in_flight_does_not_keep_the_user_being_texted(
    world: World, *, doubt: bool
) -> None:
    first = await world.accept()
    carrier = CarrierDouble(NO_ANSWER)
    jobs = [] if doubt else await world.claim()
    if doubt:
        await world.send(carrier=carrier)
    later = await world.say(first.conversation_id, "And another thing.", now=second(1))
    await world.hear("Hello", now=second(2))

    done = await erase(world, now=second(3))

    assert [each.partition(":")[0] for each in done.in_the_way] == [first.conversation_id]
    talk = await world.talk(first.conversation_id)
    assert (talk.state, talk.reason) == ("closed", "operator")
    assert await world.state(later.message_id) == "suppressed"
    dropped = "select drop_reason from messages where state = 'suppressed'"
    assert await rows(world, dropped) == [("cancelled",)]
    assert await world.claim_turns(now=hour(1)) == []
    # Its fate is known: nothing comes after it, and the rest goes.
    for job in jobs:
        await world.record(job, await world.hand_over(job, now=second(4)), now=second(4))
    if doubt:
        await world.receipt("delivered", sid="SM1", message_id=first.message_id, now=second(4))
    after = CarrierDouble()
    await world.send_all(now=hour(1), carrier=after)
    assert after.sent == []
    done = await erase(world, now=hour(1))
    assert (done.removed["conversations"], done.in_the_way) == (1, [])
    assert await rows(world, "select id from messages") == []


async def test_what_is_in_flight_in_one_conversation_keeps_no_other(world: World) -> None:
    await world.hear("Hello", agent_number=AGENT)
    await world.end((await world.talks())[0].id, now=second(1))
    doubted = await world.accept(now=second(2))
    await world.claim(now=second(2))
    done = await erase(world, now=second(3))
    assert done.removed["conversations"] == 1
    assert [talk.id for talk in await world.talks()] == [doubted.conversation_id]


async def test_a_text_left_behind_in_a_closed_conversation_is_dropped_too(world: World) -> None:
    first = await world.accept()
    await world.claim()
    await world.say(first.conversation_id, "And another thing.", now=second(1))
    await world.end(first.conversation_id, now=second(2))
    await erase(world, now=second(3))
    states = await rows(world, "select state from messages order by seq")
    assert states == [("sending",), ("suppressed",)]


# --- Idempotency keys ---------------------------------------------------------------------------


async def keys(world: World) -> set[str]:
    return {name for (name,) in await rows(world, "select key from idempotency_keys")}


def named(name: str) -> Idempotency:
    return key(name, route=f"/{name}")


async def test_keys_that_lead_to_what_was_erased_go_with_it(world: World) -> None:
    sent = await world.accept(idempotency=named("of the conversation"))
    await world.send()
    by = plans.caller()
    await world.accept("Hi Bob", user=NEIGHBOUR, idempotency=named("of the neighbour"))
    await plans.send(world, idempotency=named("of a plan"), send_at=hour(24), now=second(1))
    over = await plans.send(
        world, idempotency=named("of a plan that was sent"), send_at=second(2), now=second(1)
    )
    assert await plans.singles(world, now=second(2)) == ["accepted"]
    await world.send(now=second(3))
    for name in (f"key-{USER}-a", f"{AREA}-{MIDDLE}-{END}-7", f"9{LOCAL}", f"{USER}7"):
        await world.accept("Hi Bob", user=NEIGHBOUR, idempotency=named(name), by=by)
    assert over.conversation_id != sent.conversation_id

    done = await erase(world, now=second(9))

    assert done.in_the_way == []
    assert await keys(world) == {"of the neighbour", f"9{LOCAL}", f"{USER}7"}
    assert done.removed["idempotency_keys"] == 5


async def test_the_key_of_what_is_in_flight_stays_with_it(world: World) -> None:
    """Said again meanwhile, the request must not text the user once more."""
    name = named(f"key-{USER}")
    first = await world.accept(idempotency=name)
    (job,) = await world.claim()
    await erase(world, now=second(1))
    assert (await world.accept(idempotency=name, now=second(2))).message_id == first.message_id
    await world.record(job, await world.hand_over(job, now=second(3)), now=second(3))
    await erase(world, now=second(4))
    assert await keys(world) == set()


async def test_so_does_the_key_of_a_plan_that_went_on_with_what_there_is(world: World) -> None:
    """It was promised another conversation than the one its text came to be in."""
    talk = (await world.accept()).conversation_id
    await world.send()
    wish = {"thread": "resume", "idempotency": named("of a plan"), "send_at": second(2)}
    plan = await plans.send(world, now=second(1), **wish)
    assert await plans.singles(world, now=second(2)) == ["accepted"]
    (job,) = await world.claim(now=second(3))
    assert (job.message.id, job.message.conversation_id) == (plan.message_id, talk)
    assert plan.conversation_id != talk

    await erase(world, now=second(3))

    again = await plans.send(world, now=second(4), **wish)
    assert (again.message_id, again.replayed) == (plan.message_id, True)
    await world.record(job, await world.hand_over(job, now=second(4)), now=second(4))
    await erase(world, now=second(5))
    assert await keys(world) == set()


async def test_so_does_the_key_of_what_the_agent_is_to_say_and_goes_with_its_conversation(
    world: World,
) -> None:
    await world.accept()
    (job,) = await world.claim()
    names = {"of the agent", f"of the agent, {USER}"}
    for each in names:  # no text leads from these to the user
        goes_on = await plans.send(
            world, text=None, thread="resume", idempotency=named(each), now=second(1)
        )
        assert goes_on.message_id is None
    await erase(world, now=second(2))
    assert await keys(world) == names
    await world.record(job, await world.hand_over(job, now=second(3)), now=second(3))
    await erase(world, now=second(4))
    assert await keys(world) == set()


async def test_a_key_of_ours_that_names_what_was_erased_goes_wherever_it_leads(
    world: World,
) -> None:
    talk = (await world.accept()).conversation_id
    await world.send()
    alert = Idempotency(route="alert", key=f"{talk}:2026-03-02", fingerprint=b"")
    await world.accept("A person is needed", user=NEIGHBOUR, idempotency=alert)
    await erase(world, now=second(1))
    assert await keys(world) == set()
    assert [each.user_number for each in await world.talks()] == [NEIGHBOUR]


# --- What it says -------------------------------------------------------------------------------


async def test_the_command_says_what_stays_in_others_words_and_until_when(
    world: World, database_url: str
) -> None:
    await plans.create(
        world, [Row(to=NEIGHBOUR), Row(to=THEIRS[0])], text="Hi.", name="For Ann and Bob"
    )
    await world.db.dispose()
    given = ["erase", USER, "--yes"]
    done = await asyncio.to_thread(
        CliRunner().invoke, app, given, env={"TEXTBACK_DATABASE_URL": database_url}
    )
    assert done.exit_code == 0, done.stderr
    assert "1 planned sends and rows of batches" in done.stdout
    last = done.stdout.splitlines()[-1]
    for words in ("batches", "webhook", "30 days", "retention_days", "opt-out", "reason"):
        assert words in last
