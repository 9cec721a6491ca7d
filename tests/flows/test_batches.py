"""Many sends at once: each row for itself, in turns, and no more at a time than a number can."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.deployment import (
    ACME,
    AGENT,
    HTTP,
    NOW,
    NUMBERS,
    SECOND,
    caller,
    hour,
    key,
    minute,
    number,
    second,
)
from tests.support.plans import (
    NIGHT,
    batch_turns,
    create,
    progress,
    send,
    singles,
    state_of,
    take_turn,
    told,
    user,
)
from tests.support.world import World
from textback.core.batch import MOST_ROWS, Row
from textback.core.errors import (
    BadRequest,
    Conflict,
    KeyReused,
    NumberNotProvisioned,
    UnknownResource,
)
from textback.core.ids import AccountId
from textback.core.phone import Phone
from textback.core.template import Template
from textback.db import plans
from textback.flows import batches, due

SLOW = [number(AGENT, segments_per_second=1)]
"""One that has ten texts in a turn."""


def named(n: int, name: str = "Ann") -> Row:
    return Row(to=user(n), variables={"name": name})


async def test_every_row_becomes_a_text_of_its_own_words(world: World):
    made = await create(
        world, [named(1), Row(to=user(2), text="Hello {{name}}", variables={"name": "Bo"})]
    )
    assert (made.batch.state, made.batch.total, made.errors) == ("running", 2, [])
    assert await progress(world, made.batch.id, now=NOW) == {"planned": 2}

    assert await batch_turns(world, now=NOW) == [["accepted", "accepted"]]
    await world.send_all()

    assert sorted(world.carrier.texts) == ["Hello Bo", "Hi Ann."]
    assert await progress(world, made.batch.id, now=NOW) == {"accepted": 2, "sent": 2}
    assert await batch_turns(world, now=NOW) == []
    assert await state_of(world, made.batch.id) == "done"
    assert [kind for kind, _ in await told(world)] == ["batch.started", "batch.done"]
    assert (await told(world))[-1][1] == {
        "id": made.batch.id,
        "name": None,
        "total": 2,
        "accepted": 2,
        "refused": 0,
    }


async def test_a_wrong_row_is_refused_by_itself(world: World):
    rows = [
        named(1),
        Row(to="0171 123"),
        Row(to=""),
        Row(to=user(2)),
        named(1, "Ann again"),
        Row(to=user(3), text="  "),
        Row(to=user(4), text="x" * 1601),
        Row(to=user(5), variables={"name": "x" * 20_000}),
        Row(to=user(6), wrong="The row has 3 values for 2 columns."),
        Row(to=f"chat:{user(7)}"),
    ]
    made = await create(world, rows)
    assert [(e.row, e.problem) for e in made.errors] == [
        (2, "BadRequest"),
        (3, "BadRequest"),
        (4, "BadRequest"),
        (5, "Conflict"),
        (6, "BadRequest"),
        (7, "BadRequest"),
        (8, "BadRequest"),
        (9, "BadRequest"),
        (10, "BadRequest"),
    ]
    assert made.errors[2].error == "The text needs the variable name, which the row lacks."
    assert made.errors[3].error == "Row 1 texts the same user."
    assert made.errors[0].to == "0171 123"
    stored = await plans.rows(world.db, made.batch.id, limit=100)
    assert [row.state for row in stored] == ["planned"] + ["refused"] * 9
    assert [row.row for row in await plans.rows(world.db, made.batch.id, limit=2, after=3)] == [
        4,
        5,
    ]
    assert await progress(world, made.batch.id, now=NOW) == {"planned": 1, "refused": 9}
    assert await batch_turns(world, now=NOW) == [["accepted"]]


async def test_what_cannot_be_a_batch_stores_nothing(world: World):
    for rows, says in (
        ([], "no row"),
        ([Row(to="nobody")], "No row can be sent. Row 1: "),
        ([named(1)] * (MOST_ROWS + 1), "more than 10000 rows"),
    ):
        with pytest.raises(BadRequest, match=says):
            await create(world, rows)
    with pytest.raises(NumberNotProvisioned):
        await create(world, [named(1)], agent_number=Phone("+14155550999"))
    with pytest.raises(BadRequest, match="90 days"):
        await create(world, [named(1)], send_at=NOW + timedelta(days=91))
    assert await plans.list_batches(world.db, ACME, limit=10) == []


async def test_a_missing_variable_may_be_nothing(world: World):
    made = await create(world, [Row(to=user(1))], missing="empty")
    (row,) = await plans.rows(world.db, made.batch.id, limit=1)
    assert (row.text, row.state) == ("Hi .", "planned")


async def test_a_user_is_texted_twice_only_if_that_is_wanted(world: World):
    made = await create(world, [named(1, "Ann"), named(1, "Bo")], twice=True)
    assert made.errors == []
    assert await batch_turns(world, now=NOW) == [["accepted", "accepted"]]
    await world.send_all()
    assert world.carrier.texts == ["Hi Ann.", "Hi Bo."]


async def test_rows_have_what_their_batch_has_and_their_own(world: World):
    made = await create(
        world,
        [Row(to=user(1), variables={"name": "Bo"}, metadata={"row": 1})],
        variables={"name": "you", "shop": "Main St"},
        metadata={"campaign": "spring"},
        objective="Book a visit.",
        extra={"kept": 1},
    )
    await batch_turns(world, now=NOW)
    (row,) = await plans.rows(world.db, made.batch.id, limit=1)
    assert row.variables == {"name": "Bo", "shop": "Main St"}
    assert row.metadata == {"campaign": "spring", "row": 1}
    assert (row.message_state, row.agent_number) == ("queued", AGENT)
    assert made.batch.extra == {"kept": 1}
    async with world.transaction() as c:
        found = await c.exec_driver_sql(
            "select objective, variables->>'shop', connector_id from conversations"
        )
        assert found.one() == ("Book a visit.", "Main St", "conn-live")


async def test_a_template_is_filled_for_each_row(world: World):
    template = Template(content_sid="HX" + "0" * 32, variables={"1": "{{name}}"})
    await create(world, [named(1), Row(to=user(2))], text=None, template=template)
    assert await batch_turns(world, now=NOW) == [["accepted"]]
    async with world.transaction() as c:
        found = await c.exec_driver_sql("select template->'variables' from messages")
        assert found.scalars().all() == [{"1": "Ann"}]


async def test_the_agent_writes_what_has_no_text_if_it_can(world: World):
    await world.provision(agent={"greeting": None})
    with pytest.raises(BadRequest, match="no greeting to open with"):
        await create(world, [Row(to=user(1))], text=None)
    await world.provision(agent={"greeting": None, "engine": HTTP})
    await create(world, [Row(to=user(1))], text=None)
    assert await batch_turns(world, now=NOW) == [["accepted"]]
    assert [t.state for t in await world.turns()] == ["waiting"]


async def test_nothing_of_a_draft_is_sent_before_it_is_started(world: World):
    made = await create(world, [named(1)], draft=True)
    assert await told(world) == []
    assert await batch_turns(world, now=hour(9)) == []
    with pytest.raises(Conflict, match="not started"):
        await batches.pause(world.db, ACME, made.batch.id, now=hour(9))
    with pytest.raises(Conflict, match="not started"):
        await batches.resume(world.db, ACME, made.batch.id, now=hour(9))
    started = await batches.start(world.db, ACME, made.batch.id, now=hour(9))
    assert (started.batch.state, started.changed) == ("running", True)
    assert not (await batches.start(world.db, ACME, made.batch.id, now=hour(9))).changed
    assert await batch_turns(world, now=hour(9)) == [["accepted"]]


async def test_a_paused_batch_stops_and_goes_on_where_it_was(world: World):
    await world.provision(numbers=SLOW, prune=True)
    made = await create(world, [named(n) for n in range(12)])
    assert [len(turn) for turn in await batch_turns(world, now=NOW)] == [10]
    paused = await batches.pause(world.db, ACME, made.batch.id, now=second(1))
    assert (paused.batch.state, paused.changed) == ("paused", True)
    assert not (await batches.pause(world.db, ACME, made.batch.id, now=second(1))).changed
    with pytest.raises(Conflict, match="paused"):
        await batches.start(world.db, ACME, made.batch.id, now=second(1))
    assert await batch_turns(world, now=hour(9)) == []
    await batches.resume(world.db, ACME, made.batch.id, now=hour(9))
    assert await batch_turns(world, now=hour(9)) == [["accepted"] * 2]
    kinds = [kind for kind, _ in await told(world)]
    assert kinds == ["batch.started", "batch.paused", "batch.resumed"]


async def test_who_has_its_turn_stops_when_the_batch_is_paused(world: World):
    made = await create(world, [named(n) for n in range(3)])
    (turn,), _ = await due.claim_batches(world.db, limit=1, now=NOW)
    assert await take_turn(world, replace(turn, most=1), now=NOW) == ["accepted"]
    await batches.pause(world.db, ACME, made.batch.id, now=NOW)
    assert await take_turn(world, turn, now=NOW) == []


async def test_a_cancelled_batch_sends_nothing_more(world: World):
    await world.provision(numbers=SLOW, prune=True)
    made = await create(world, [named(n) for n in range(12)])
    await batch_turns(world, now=NOW)
    done = await batches.cancel(world.db, ACME, made.batch.id, now=second(1))
    assert (done.batch.state, done.rows, done.changed) == ("cancelled", 2, True)
    again = await batches.cancel(world.db, ACME, made.batch.id, now=second(2))
    assert (again.rows, again.changed) == (0, False)
    assert await batch_turns(world, now=hour(1)) == []
    assert await progress(world, made.batch.id, now=NOW) == {
        "accepted": 10,
        "queued": 10,
        "cancelled": 2,
    }
    for act in (batches.pause, batches.resume, batches.start):
        with pytest.raises(Conflict, match="cancelled"):
            await act(world.db, ACME, made.batch.id, now=second(3))


async def test_another_accounts_batch_does_not_exist(world: World):
    made = await create(world, [named(1)])
    for act in (batches.pause, batches.resume, batches.start, batches.cancel):
        with pytest.raises(UnknownResource):
            await act(world.db, AccountId("globex"), made.batch.id, now=NOW)
    assert await plans.find_batch(world.db, AccountId("globex"), made.batch.id) is None


async def test_a_repeated_batch_is_one_batch(world: World):
    rows = [named(1), Row(to="nobody")]
    first = await create(world, rows, idempotency=key("k"))
    again = await create(world, rows, idempotency=key("k"), now=hour(1))
    assert (again.batch.id, again.errors, again.replayed) == (first.batch.id, first.errors, True)
    with pytest.raises(KeyReused):
        await create(world, rows, idempotency=key("k", b"other"))
    both = await asyncio.wait_for(_twice_at_once(world), 10)
    assert both[0].batch.id == both[1].batch.id
    assert {each.replayed for each in both} == {True, False}


async def _twice_at_once(world: World) -> list[batches.Created]:
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(create(world, [named(5)], idempotency=key("at once")))
            for _ in range(2)
        ]
    return [task.result() for task in tasks]


async def test_rows_wait_for_the_morning_where_their_users_are(world: World):
    await world.provision(project=NIGHT)
    london = Row(to="+442071838750", variables={"name": "Ann"})
    made = await create(world, [named(1), london])
    assert await progress(world, made.batch.id, now=NOW) == {"planned": 2, "held": 1}
    assert await batch_turns(world, now=NOW) == [["accepted"]]
    assert await batch_turns(world, now=hour(6)) == []
    assert await due.claim_batches(world.db, limit=1, now=hour(6)) == ([], hour(7))
    assert await batch_turns(world, now=hour(7)) == [["accepted"]]


async def test_a_batch_may_be_scheduled(world: World):
    made = await create(world, [named(1)], send_at=hour(30))
    assert made.batch.send_at == hour(30)
    assert await batch_turns(world, now=hour(29)) == []
    assert await batch_turns(world, now=hour(30)) == [["accepted"]]


async def test_a_number_has_a_minute_of_texts_queued_and_not_more(world: World):
    slow = [number(AGENT, segments_per_second=0.1), *NUMBERS[1:]]
    await world.provision(numbers=slow)
    made = await create(world, [named(n) for n in range(20)])
    three = [named(n) for n in range(20, 23)]
    other = await create(world, three, agent_number=SECOND, now=second(1))

    assert await batch_turns(world, now=second(1)) == [["accepted"] * 6, ["accepted"] * 3]
    assert await batch_turns(world, now=minute(1)) == []
    assert await state_of(world, other.batch.id) == "done"
    for _ in range(2):
        await world.send(now=minute(1), limit=2)  # one of each number
    assert await batch_turns(world, now=minute(1)) == [["accepted"] * 2]
    assert (await progress(world, made.batch.id, now=NOW))["planned"] == 12


async def test_without_a_number_named_all_of_the_project_share_the_texts(world: World):
    slow = [number(each, segments_per_second=0.1) for each in (AGENT, SECOND)]
    await world.provision(numbers=slow, prune=True)
    await create(world, [named(n) for n in range(20)], agent_number=None)
    counts = [len(turn) for _ in range(4) for turn in await batch_turns(world, now=NOW)]
    assert sum(counts) <= 13
    texts = [t.agent_number for n in range(20) for t in await world.texts(user=user(n))]
    assert {texts.count(AGENT), texts.count(SECOND)} == {6}


async def test_a_text_in_doubt_does_not_hold_a_batch_back_for_ever(world: World):
    await world.provision(numbers=[number(AGENT, segments_per_second=0.01)], prune=True)
    await create(world, [named(1), named(2)])
    assert await batch_turns(world, now=NOW) == [["accepted"]]
    async with world.transaction() as c:
        await c.exec_driver_sql(
            "update messages set state = 'uncertain', due_at = null, claimed_at = created_at,"
            " uncertain_at = created_at, look_up_at = null"
        )
    assert await batch_turns(world, now=minute(1)) == [["accepted"]]


async def test_accounts_take_turns_whatever_each_has_planned(world: World):
    await world.provision(numbers=SLOW, prune=True)
    mine = [(await create(world, [named(100 * b + n) for n in range(30)])).batch for b in range(3)]
    async with world.transaction() as c:
        await c.exec_driver_sql("insert into accounts (id, name) values ('other', 'Other')")
    others = replace(caller(), account_id=AccountId("other"))
    rows = [named(900 + n) for n in range(30)]
    theirs = await batches.create(
        world.db,
        others,
        rows,
        plans.COMMAND.validate_python({"user_number": "", "text": "Hi.", "agent_number": AGENT}),
        now=NOW,
    )
    served = list[str]()
    for n in range(6):
        (turn,), _ = await due.claim_batches(world.db, limit=1, now=second(n + 1))
        assert turn.batch_id is not None
        served.append(turn.batch_id)
        await take_turn(world, turn, now=second(n + 1))
    assert served.count(theirs.batch.id) == 3
    assert {served.count(batch.id) for batch in mine} == {1}


async def test_single_sends_do_not_wait_for_a_batch(world: World):
    await create(world, [named(n) for n in range(50)], send_at=hour(1))
    await send(world, user_number=user(99), send_at=hour(1))
    assert await singles(world, now=hour(1)) == ["accepted"]


async def test_a_batch_that_nobody_looked_after_in_time_is_not_sent_hours_late(world: World):
    await world.provision(numbers=SLOW, prune=True)
    made = await create(world, [named(n) for n in range(12)], send_at=hour(1))
    assert [len(turn) for turn in await batch_turns(world, now=hour(1))] == [10]

    assert await batch_turns(world, now=hour(6)) == []  # the workers were away for five hours

    assert await progress(world, made.batch.id, now=hour(6)) == {
        "accepted": 10,
        "queued": 10,
        "refused": 2,
    }
    kind, data = (await told(world))[-1]
    assert (kind, data["problem"], data["batch_id"]) == ("send.refused", "Expired", made.batch.id)
    await batch_turns(world, now=hour(6))
    assert await state_of(world, made.batch.id) == "done"


async def test_a_row_may_wait_for_its_turn_longer_than_a_text_is_valid(world: World):
    await world.provision(numbers=[number(AGENT, segments_per_second=0.01)], prune=True)
    made = await create(world, [named(n) for n in range(4)])
    for n in range(12):  # workers are there, and the number is busy
        await batch_turns(world, now=minute(n * 60))
    assert (await progress(world, made.batch.id, now=hour(12)))["planned"] == 3
    await world.send(now=hour(3.9))
    assert await batch_turns(world, now=hour(12)) == [["accepted"]]


async def test_a_validity_that_was_given_holds_in_a_batch_too(world: World):
    await world.provision(numbers=[number(AGENT, segments_per_second=0.01)], prune=True)
    made = await create(world, [named(n) for n in range(2)], validity=timedelta(hours=1))
    assert await batch_turns(world, now=minute(10)) == [["accepted"]]
    await world.send(now=minute(20))
    assert await batch_turns(world, now=minute(50)) == [["accepted"]]
    (text,) = await world.texts(user=user(1))
    assert text.expires_at == hour(1)
    assert made.errors == []


async def test_a_pause_is_no_lateness(world: World):
    made = await create(world, [named(1)])
    await batches.pause(world.db, ACME, made.batch.id, now=second(1))
    await batches.resume(world.db, ACME, made.batch.id, now=hour(50))
    assert await batch_turns(world, now=hour(51)) == [["accepted"]]


async def test_a_row_is_refused_if_its_number_is_gone_and_the_batch_ends(world: World):
    made = await create(world, [named(1), named(2)], agent_number=SECOND)
    await world.provision(numbers=[number(AGENT)], prune=True)
    assert await batch_turns(world, now=NOW) == [["refused", "refused"]]
    await batch_turns(world, now=NOW)
    assert await state_of(world, made.batch.id) == "done"
    kind, data = (await told(world))[2]
    assert (kind, data["row"], data["problem"]) == ("send.refused", 2, "NumberNotProvisioned")


async def test_batches_are_listed_latest_first_and_by_what_they_are(world: World):
    made = [(await create(world, [named(n)], now=second(n))).batch.id for n in range(3)]
    await batches.pause(world.db, ACME, made[1], now=second(9))
    listed = await plans.list_batches(world.db, ACME, limit=2)
    assert [batch.id for batch in listed] == [made[2], made[1]]
    rest = await plans.list_batches(world.db, ACME, limit=2, before=made[1])
    assert [batch.id for batch in rest] == [made[0]]
    (paused,) = await plans.list_batches(world.db, ACME, limit=2, state="paused")
    assert paused.id == made[1]
    assert await plans.list_batches(world.db, ACME, limit=2, dialect="nixflex") == []
    assert len(await plans.list_batches(world.db, ACME, limit=9)) == 3
