"""Who follows events gets each once and in order, whatever order they are committed in."""

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.support.deployment import NOW, USER
from tests.support.world import World
from textback.core.errors import Unavailable
from textback.core.events import Event, Kind
from textback.core.ids import AccountId
from textback.db import events
from textback.db.event_tail import Tail, Wanted
from textback.db.session import transaction


@pytest.fixture
async def world(engine: AsyncEngine) -> AsyncGenerator[World]:
    made = World(engine)
    await made.provision()
    yield made
    await made.close()


async def happen(c: AsyncConnection, name: str, kind: Kind = "limit.reached") -> None:
    event = Event(kind=kind, account_id=AccountId("acme"), data={"name": name})
    await events.append(c, [event], now=NOW)


async def names(tail: Tail) -> list[object]:
    """Of what has come by now; who still writes is waited for."""
    found, more = await tail.more()
    async with asyncio.timeout(60):
        while more and not found:
            await asyncio.sleep(0.01)
            found, more = await tail.more()
    told = [event.data.get("name", event.kind) for event in found]
    return told + await names(tail) if more and found else told


async def following(engine: AsyncEngine, wanted: Wanted | None = None) -> Tail:
    tail = Tail(engine, wanted or Wanted())
    assert await names(tail) == []
    return tail


async def test_what_is_committed_later_under_a_lower_id_is_not_missed_and_nothing_comes_twice(
    world: World,
) -> None:
    db = world.db
    tail = await following(db)
    async with transaction(db) as slow:
        await happen(slow, "first")
        async with transaction(db) as quick:
            await happen(quick, "second")
        # Nobody can know yet what will be there under the lower id.
        assert await tail.more() == ([], True)
        async with transaction(db) as quick:
            await happen(quick, "third")
        assert await tail.more() == ([], True)
    assert await names(tail) == ["first", "second", "third"]
    assert await names(tail) == []


async def test_an_id_that_was_rolled_back_holds_nothing_back(world: World) -> None:
    tail = await following(world.db)

    async def fail() -> None:
        async with transaction(world.db) as c:
            await happen(c, "never")
            async with transaction(world.db) as other:
                await happen(other, "after it")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await names(tail) == ["after it"]


async def test_what_was_not_committed_when_following_began_is_told_and_what_was_is_not(
    world: World,
) -> None:
    async with transaction(world.db) as slow:
        await happen(slow, "under way")
        async with transaction(world.db) as quick:
            await happen(quick, "before")
        tail = Tail(world.db, Wanted())
        assert await tail.more() == ([], True)
    assert await names(tail) == ["under way"]


async def test_it_goes_on_where_it_was_when_its_connections_were_cut(world: World) -> None:
    tail = await following(world.db)
    async with transaction(world.db) as c:
        await happen(c, "first")
    async with transaction(world.db) as c:
        await c.execute(
            text(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where pid <> pg_backend_pid() and datname = current_database()"
            )
        )
        await happen(c, "second")
    found: list[object] = []
    for _ in range(5):
        try:
            found += await names(tail)
        except Unavailable:
            continue
    assert found == ["first", "second"]


async def test_only_what_is_wanted_is_told(world: World) -> None:
    db = world.db
    mine = await world.accept(now=NOW)
    tails = {
        name: await following(db, wanted)
        for name, wanted in {
            "all": Wanted(),
            "account": Wanted(account="acme"),
            "nobody": Wanted(account="somebody-else"),
            "conversation": Wanted(conversation=mine.conversation_id),
            "number": Wanted(number=USER),
            "kinds": Wanted(kinds=("message.*", "user.opted_out")),
            "not a pattern": Wanted(kinds=("message_%",)),
        }.items()
    }
    await world.receipt("delivered", sid="SM1", message_id=mine.message_id, now=NOW)
    await world.hear("STOP", now=NOW)
    async with transaction(db) as c:
        await happen(c, "of the account")
    found = {name: await names(tail) for name, tail in tails.items()}
    told = ["message.delivered", "message.received", "user.opted_out", "conversation.closed"]
    assert set(told) < set(found["all"])
    assert found["all"] == found["account"] == [*found["number"], "of the account"]
    assert found["conversation"] == found["number"]
    texts = [t for t in found["all"] if str(t).startswith(("message.", "user."))]
    assert found["kinds"] == texts
    assert found["nobody"] == found["not a pattern"] == []


async def test_since_a_moment_means_all_from_then_on_over_any_number_of_steps(
    world: World,
) -> None:
    async with transaction(world.db) as c:
        await c.execute(
            text(
                "insert into events (at, account_id, kind, data)"
                " select cast(:now as timestamptz) + n * interval '1 second', 'acme',"
                " 'limit.reached', jsonb_build_object('name', n) from generate_series(1, 12000) n"
            ),
            {"now": NOW},
        )
        # Ids have gaps, and what is old is deleted.
        await c.execute(text("delete from events where cast(data->>'name' as int) % 7 = 0"))
    since = NOW + timedelta(seconds=6_001)
    tail = Tail(world.db, Wanted(since=since))
    expected = [n for n in range(6_001, 12_001) if n % 7]
    assert json.dumps(await names(tail)) == json.dumps(expected)
