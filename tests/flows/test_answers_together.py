"""Answers that come at the same time: each is written as alone, and none waits for another's."""

from asyncio import Task, TaskGroup, wait
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from tests.support.asked import asked_of
from tests.support.deployment import second
from tests.support.rows_read import forget_counts, rows_read
from tests.support.stored import stored
from tests.support.webhooks import Postman
from tests.support.world import World
from textback.core.engine import TurnReply, Usage
from textback.core.ids import ConversationId, TurnId
from textback.core.phone import Phone
from textback.db import answering
from textback.db.session import create_engine
from textback.db.thinking import Thinking
from textback.flows import answers, turn
from textback.flows.answers import Answered, Answers
from textback.flows.saying import Saying

LOCK = "select from {table} where id = :id for update"


def user(n: int) -> Phone:
    return Phone(f"+1415555{n:04}")


async def thinking(world: World, n: int) -> list[Thinking]:
    """Turns of so many users, in their order."""
    claimed = list[Thinking]()
    for each in range(n):
        await world.hear("Hello", user=user(each))
        claimed += await world.claim_turns(now=second(2))
    return claimed


def reply(n: int, *, tokens: int = 100) -> TurnReply:
    used = Usage(input_tokens=tokens, output_tokens=20, cost_usd=0.25)
    return TurnReply(texts=[f"No. {n}"], state={"n": n}, usage=used)


def recording(world: World, group: TaskGroup, turns: Sequence[Thinking]) -> list[Task[Any]]:
    """They are recorded at the same time."""
    together = Answers(world.db)
    return [
        group.create_task(
            turn.record(world.db, each, reply(n), fallback=None, together=together, now=second(3))
        )
        for n, each in enumerate(turns)
    ]


async def test_many_are_written_with_two_statements_as_each_is_alone(world: World) -> None:
    postman = Postman(world)
    await postman.endpoint()
    alone, *turns = await thinking(world, 4)
    assert await world.answer(alone, reply(0), now=second(3)) == "answered"

    async with asked_of(world.db) as asked, TaskGroup() as group:
        tasks = recording(world, group, turns)
    assert [task.result().came for task in tasks] == ["answered"] * 3
    assert [each.split()[0] for each in asked] == ["select", "with"]

    of_one = await told_apart(world, alone, 0)
    for n, each in enumerate(turns):
        assert await told_apart(world, each, n) == of_one
    days = await postman.rows("select turns, tokens, cost_usd from usage_days")
    assert [tuple(row.values()) for row in days] == [(4, 480, 1.0)]
    order = await postman.rows(
        "select text from messages where direction = 'outbound' order by seq"
    )
    assert [row["text"] for row in order] == ["No. 0", "No. 0", "No. 1", "No. 2"]


async def test_each_is_told_as_new_whenever_the_others_came(world: World) -> None:
    """A text's event is of its very moment, or it would tell that it is queued again."""
    turns = await thinking(world, 2)
    several = [Answered(each, reply(n), second(3 + n)) for n, each in enumerate(turns)]
    assert None not in await answers.write_all(world.db, several)
    apart = (
        "select e.at - m.created_at as apart from events e join messages m on m.id = e.message_id"
        " where e.kind = 'message.queued'"
    )
    assert [row["apart"] for row in await Postman(world).rows(apart)] == [timedelta(0)] * 2


async def said_in_order(postman: Postman) -> list[object]:
    said = "select text from messages where direction = 'outbound' order by seq"
    return [row["text"] for row in await postman.rows(said)]


async def told_apart(world: World, of: Thinking, n: int) -> dict[str, list[dict[str, object]]]:
    """What is stored of one, without what is its own."""
    rows = await stored(world, of.conversation_id)
    assert rows["messages"].pop(0)["text"] == "Hello"
    assert rows["messages"][0].pop("text") == f"No. {n}"
    assert rows["conversations"][0].pop("engine_state") == {"n": n}
    assert rows["conversations"][0].pop("heard_seq") == rows["turns"][0].pop("upto_seq") != 0
    return rows


async def test_one_whose_conversation_or_turn_has_changed_since_the_look_is_not_written(
    world: World,
) -> None:
    turns = await thinking(world, 4)
    found = await answering.look(world.db, [(t.conversation_id, t.id) for t in turns])
    said = [
        Saying(turn=opened, fallback=None, now=second(3)).usual(reply(n))
        for n, opened in enumerate(found)
        if opened is not None
    ]
    async with world.transaction() as c:
        for table, which in (
            ("conversations", turns[0].conversation_id),
            ("turns", turns[1].id),
        ):
            await c.execute(text(f"update {table} set id = id where id = :id"), {"id": which})  # noqa: S608
        await c.execute(
            text("update conversations set state = 'paused', paused_until = now() where id = :id"),
            {"id": turns[2].conversation_id},
        )
    usual = [each for each in said if each is not None]
    assert len(usual) == len(turns)
    assert await answering.answer_at_once(world.db, usual) == [False, False, False, True]
    assert await said_in_order(Postman(world)) == ["No. 3"]


@pytest.mark.parametrize("table", ["conversations", "turns"])
async def test_one_that_somebody_has_locked_keeps_no_other_waiting(
    world: World, table: str
) -> None:
    turns = await thinking(world, 3)
    which = {"conversations": turns[1].conversation_id, "turns": turns[1].id}[table]
    async with world.transaction() as c, TaskGroup() as group:
        await c.execute(text(LOCK.format(table=table)), {"id": which})
        tasks = recording(world, group, turns)
        await wait([tasks[0], tasks[2]], timeout=20)
        assert [task.done() for task in tasks] == [True, False, True]
        await c.rollback()
    assert [task.result().came for task in tasks] == ["answered"] * 3


async def test_one_that_cannot_be_stored_fails_alone(world: World) -> None:
    turns = await thinking(world, 3)
    given = [
        Answered(each, reply(n, tokens=2**63 if n == 1 else 100), second(3))
        for n, each in enumerate(turns)
    ]
    together = Answers(world.db)
    with capture_logs() as logged:
        async with TaskGroup() as group:
            said = [
                group.create_task(together.write(each.turn, each.reply, now=each.now))
                for each in given
            ]
    assert [each.result() for each in said] == [None] * 3
    assert [(each["event"], each["turns"]) for each in logged] == [("turn.not_together", 3)]
    assert await world.answer(turns[0], given[0].reply, now=second(4)) == "answered"


MANY = 3000
TAKEN = 10


@pytest.fixture
async def db(world: World, database_url: str) -> AsyncGenerator[AsyncEngine]:
    """Of one connection, which keeps its plans."""
    async with world.db.connect() as c:
        await forget_counts(c)
    engine = create_engine(database_url, pool_size=1)
    async with engine.begin() as c:
        await c.execute(text("set plan_cache_mode = force_generic_plan"))  # from the first on
    yield engine
    await engine.dispose()


@pytest.mark.parametrize("many", [False, True])
async def test_they_read_little_however_much_there_is(
    world: World, db: AsyncEngine, *, many: bool
) -> None:
    (first,) = await thinking(world, 1)

    async def put(begin: int, end: int) -> None:
        async with db.begin() as c:
            for statement in _MORE:
                await c.execute(text(statement), {"first": begin, "last": end})

    async def read() -> int:
        async with db.connect() as c:
            return sum([await rows_read(c, table) for table in _READ])

    async def answer(begin: int) -> list[Saying | None]:
        several = [
            Answered(_other(first, n), reply(n), second(4)) for n in range(begin, begin + TAKEN)
        ]
        return await answers.write_all(db, several)

    await put(1, MANY if many else TAKEN)
    if many:
        async with db.connect() as c:
            auto = await c.execution_options(isolation_level="AUTOCOMMIT")
            for table in ("conversations", "turns"):
                await auto.execute(text(f"vacuum analyze {table}"))
    assert None not in await answer(1)  # so it is planned
    await put(MANY + 1, 2 * MANY)
    before = await read()
    assert None not in await answer(MANY + 1)
    assert await read() - before < 20 * TAKEN


def _other(of: Thinking, n: int) -> Thinking:
    return replace(of, id=TurnId(f"copy_{n}"), conversation_id=ConversationId(f"talk_{n}"))


_READ = ("conversations", "turns", "projects", "numbers", "usage_days")
_MORE = (
    """
    insert into conversations (id, account_id, project_id, agent_id, agent_version, agent_number,
        user_number, state, opened_at, active_at, deadline_at)
    select 'talk_' || n, account_id, project_id, agent_id, agent_version, agent_number,
        '+1212' || lpad(n::text, 7, '0'), state, opened_at, active_at, deadline_at
    from (select * from conversations where id like 'conv%') c,
        generate_series(cast(:first as int), cast(:last as int)) n
    """,
    """
    insert into turns (id, conversation_id, state, run, first_text_at, due_at, lease_until,
        upto_seq)
    select 'copy_' || n, 'talk_' || n, state, run, first_text_at, due_at, lease_until, upto_seq
    from (select * from turns where id like 'turn%') t,
        generate_series(cast(:first as int), cast(:last as int)) n
    """,
)
