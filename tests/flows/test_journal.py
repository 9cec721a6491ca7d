"""What an agent called is on record, and a second run of the turn does not call it again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import select

from tests.support.deployment import NOW, second
from tests.support.doubles import EngineDouble, Gate
from tests.support.world import World
from textback.core.engine import Do, ToolCall, ToolResult, TurnLost, TurnReply
from textback.db import tables
from textback.db.session import in_transaction
from textback.db.thinking import Thinking
from textback.flows.journal import LONGEST_RESULT, TurnJournal

BOOKED = ToolResult('{"booked": true}')
FAILED = ToolResult("the calendar did not answer", failed=True)
AT_3 = {"at": "15:00", "people": 2}


class Tool:
    """Gives `results` one after the other; `called` keeps the ids it was called by."""

    def __init__(self, *results: ToolResult) -> None:
        self._results = list(results)
        self.called: list[str] = []
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def __call__(self, call_id: str) -> ToolResult:
        assert not in_transaction.get()
        self.called.append(call_id)
        if self.meanwhile is not None:
            await self.meanwhile()
        return self._results.pop(0)


def journal(world: World, thinking: Thinking) -> TurnJournal:
    return TurnJournal(world.db, thinking, now=lambda: NOW)


async def begin(world: World) -> Thinking:
    await world.hear("Book me a table")
    (thinking,) = await world.claim_turns()
    return thinking


async def run_again(world: World, thinking: Thinking) -> Thinking:
    """Its worker died."""
    await world.rescue_turns(now=thinking.lease_until)
    (again,) = await world.claim_turns(now=thinking.lease_until)
    return again


async def calls(world: World) -> list[tuple[str, str | None, bool | None]]:
    t = tables.tool_calls.c
    async with world.transaction() as c:
        return [tuple(row) for row in await c.execute(select(t.id, t.result, t.failed))]


async def nothing(call_id: str) -> ToolResult:
    raise AssertionError(f"{call_id} was made again")


async def test_a_call_its_result_and_that_it_was_made_are_on_record(world: World):
    thinking = await begin(world)
    tool = Tool(BOOKED)

    assert await journal(world, thinking).call("book", AT_3, tool) == BOOKED

    assert tool.called == [f"{thinking.id}.1"]
    assert await calls(world) == [(f"{thinking.id}.1", BOOKED.text, False)]
    kind, data = (await world.told(thinking.conversation_id))[-1]
    assert kind == "tool.called"
    assert data == {"name": "book", "call_id": f"{thinking.id}.1", "ms": 0, "failed": False}


async def test_a_second_run_gets_the_result_of_the_first_without_a_call(world: World):
    first = await begin(world)
    await journal(world, first).call("book", AT_3, Tool(BOOKED))
    again = await run_again(world, first)

    same = {"people": 2, "at": "15:00"}  # the order of keys means nothing
    assert await journal(world, again).call("book", same, nothing) == BOOKED

    told = await world.told(first.conversation_id)
    assert [kind for kind, _ in told].count("tool.called") == 1


async def test_a_run_after_the_user_said_more_gets_the_result_too(world: World):
    first = await begin(world)
    await journal(world, first).call("book", AT_3, Tool(BOOKED))
    await world.hear("By the window", now=second(1))
    await world.answer(first, "Booked.", now=second(2))
    (again,) = await world.claim_turns(now=second(2))

    assert again.id == first.id
    assert await journal(world, again).call("book", AT_3, nothing) == BOOKED


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("book", {"at": "16:00", "people": 2}), ("cancel", AT_3), ("book", {**AT_3, "people": "2"})],
)
async def test_another_call_is_made(world: World, name: str, arguments: dict[str, object]):
    first = await begin(world)
    await journal(world, first).call("book", AT_3, Tool(BOOKED))
    again = await run_again(world, first)
    tool = Tool(BOOKED)

    await journal(world, again).call(name, arguments, tool)

    assert tool.called == [f"{first.id}.2"]


async def test_the_same_call_twice_in_one_run_is_two_calls_and_both_are_replayed(world: World):
    first = await begin(world)
    tool, notes = Tool(ToolResult("1"), ToolResult("2")), journal(world, first)
    made = [await notes.call("next", {}, tool) for _ in range(2)]
    again = await run_again(world, first)
    notes, third = journal(world, again), Tool(ToolResult("3"))

    replayed = [await notes.call("next", {}, nothing) for _ in range(2)]
    more = await notes.call("next", {}, third)

    assert [result.text for result in (*made, *replayed, more)] == ["1", "2", "1", "2", "3"]
    assert [*tool.called, *third.called] == [f"{first.id}.{n}" for n in (1, 2, 3)]


async def test_calls_at_once_each_have_their_own_number(world: World):
    thinking = await begin(world)
    notes, tool = journal(world, thinking), Tool(*[BOOKED] * 5)

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(notes.call("book", AT_3, tool))

    assert sorted(tool.called) == [f"{thinking.id}.{n}" for n in range(1, 6)]


async def test_a_call_that_failed_is_made_anew_and_what_came_of_that_is_kept(world: World):
    first = await begin(world)
    notes, tool = journal(world, first), Tool(FAILED, BOOKED)
    assert await notes.call("book", AT_3, tool) == FAILED
    assert await notes.call("book", AT_3, tool) == BOOKED
    again = await run_again(world, first)

    assert await journal(world, again).call("book", AT_3, nothing) == BOOKED
    assert len(await calls(world)) == 2


async def test_a_call_whose_end_nobody_knows_is_made_again_by_its_id(world: World):
    first = await begin(world)

    async def dies(_: str) -> ToolResult:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await journal(world, first).call("book", AT_3, dies)
    assert await calls(world) == [(f"{first.id}.1", None, None)]
    again = await run_again(world, first)
    tool = Tool(BOOKED)

    await journal(world, again).call("book", AT_3, tool)

    assert tool.called == [f"{first.id}.1"]
    assert await calls(world) == [(f"{first.id}.1", BOOKED.text, False)]


async def test_a_call_that_two_workers_made_keeps_what_did_not_fail(world: World):
    first = await begin(world)
    slow, results = journal(world, first), list[ToolResult]()

    async def overtaken() -> None:
        again = await run_again(world, first)
        results.append(await journal(world, again).call("book", AT_3, Tool(FAILED)))

    tool = Tool(BOOKED)
    tool.meanwhile = overtaken
    results.append(await slow.call("book", AT_3, tool))

    assert results == [FAILED, BOOKED]
    assert await calls(world) == [(f"{first.id}.1", BOOKED.text, False)]


@pytest.mark.parametrize("how", ["said more", "lease lost", "ended", "STOP"])
async def test_no_call_is_begun_for_a_turn_that_is_lost(world: World, how: str):
    thinking = await begin(world)
    notes = journal(world, thinking)
    match how:
        case "said more":
            await world.hear("By the window", now=second(1))
        case "lease lost":
            await run_again(world, thinking)
        case "ended":
            await world.answer(thinking, "Booked.")
        case _:
            await world.end(thinking.conversation_id)

    with pytest.raises(TurnLost):
        await notes.call("book", AT_3, nothing)

    assert await calls(world) == []


async def test_what_came_of_a_call_is_kept_although_the_turn_was_lost_meanwhile(world: World):
    thinking = await begin(world)
    tool = Tool(BOOKED)
    tool.meanwhile = lambda: world.hear("By the window", now=second(1))

    assert await journal(world, thinking).call("book", AT_3, tool) == BOOKED

    assert await calls(world) == [(f"{thinking.id}.1", BOOKED.text, False)]


async def test_a_run_that_was_given_up_ends_when_its_calls_have(world: World):
    thinking = await begin(world)
    notes, gates = journal(world, thinking), [Gate(), Gate()]

    def tool(gate: Gate) -> Tool:
        made = Tool(BOOKED)
        made.meanwhile = gate.wait
        return made

    tasks = [asyncio.create_task(notes.call("book", AT_3, tool(gate))) for gate in gates]
    async with asyncio.timeout(60):
        for gate in gates:
            await gate.reached.wait()
        assert notes.lose()
        gates[0].open()
        while not any(result for _, result, _ in await calls(world)):
            pass
        assert not any(task.done() for task in tasks)  # the other goes on
        gates[1].open()
        await asyncio.wait(tasks)

    assert [type(task.exception()) for task in tasks] == [TurnLost, TurnLost]
    assert [result for _, result, _ in await calls(world)] == [BOOKED.text] * 2
    with pytest.raises(TurnLost):
        await notes.call("book", AT_3, nothing)


async def test_the_engine_is_told_what_was_called_and_how_it_ended(world: World):
    engine = EngineDouble()

    async def books(request: Any) -> TurnReply:
        await request.journal.call("book", AT_3, Tool(BOOKED))
        return TurnReply(texts=["Booked."])

    engine.on_reply = books
    await world.hear("Book me a table")
    await world.think(engine=engine)
    await world.hear("Thanks", now=second(60))
    (thinking,) = await world.claim_turns(now=second(60))

    assert thinking.calls == [
        ToolCall(
            call_id=thinking.calls[0].call_id,
            turn_id=engine.asked[0].turn_id,
            name="book",
            arguments=AT_3,
            at=NOW,
            result=BOOKED,
        )
    ]


async def test_whatever_a_model_or_a_tool_says_can_be_kept(world: World):
    thinking = await begin(world)
    odd = {"a\x00": ["\ud800", {"b": "\\u0000"}], "n": 1e22, "t": (1, None)}
    result = ToolResult("\x00\ud800" + "x" * 100_000)

    kept = await journal(world, thinking).call("odd\x00", odd, Tool(result))

    assert kept.text == "??" + "x" * (LONGEST_RESULT - 2)
    again = await run_again(world, thinking)
    assert await journal(world, again).call("odd\x00", odd, nothing) == kept
    (call,) = (await run_again(world, again)).calls
    assert call.arguments == {"a?": ["?", {"b": "\\u0000"}], "n": 1e22, "t": [1, None]}


async def test_arguments_that_are_no_json_are_the_engines_mistake(world: World):
    thinking = await begin(world)
    do: Do = nothing
    for bad in ({"at": NOW}, {"n": float("nan")}):
        with pytest.raises((TypeError, ValueError)):
            await journal(world, thinking).call("book", bad, do)
    assert await calls(world) == []
