"""However many deliveries wait or were made, a claim reads about what it takes, and misses none."""

from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text as sql
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.support.deployment import ACME, hour, minute, second
from tests.support.rows_read import rows_read
from tests.support.webhooks import Postman
from tests.support.world import World
from textback.core.events import Event
from textback.db import webhook_deliveries
from textback.db.webhook_claim_queries import ENDPOINTS, PAIRS, WINDOW
from textback.db.webhook_deliveries import Held, Round
from textback.flows import deliver

MANY = 3000
NONE: Mapping[str, int] = {}


@pytest.fixture
def postman(world: World) -> Postman:
    return Postman(world)


@pytest.fixture
async def one(world: World, postman: Postman) -> AsyncGenerator[AsyncConnection]:
    """A connection that keeps its plans, with the event that the deliveries here are of."""
    await postman.tell(Event(kind="limit.reached", account_id=ACME))
    async with world.db.connect() as c:
        yield c


async def put(
    c: AsyncConnection,
    endpoint: str,
    conversation: str,
    *,
    times: int = MANY,
    state: str = "waiting",
    due: str = "2026-03-02 09:00Z",
) -> None:
    """`endpoint` and `conversation`: SQL over `n`, from 1 to `times`."""
    at = {"waiting": "due_at", "delivering": "lease_until", "delivered": "ended_at"}[state]
    await c.execute(
        sql(
            "insert into webhook_deliveries (endpoint_id, event_id, conversation_id, state,"  # noqa: S608 - ours
            f" created_at, {at}) select {endpoint}, (select min(id) from events), {conversation},"
            f" '{state}', '2026-03-02 09:00Z', timestamptz '{due}'"
            f" from generate_series(1, {times}) n"
        )
    )
    await c.commit()


async def endpoints(c: AsyncConnection, count: int, *, hold: str = "null") -> None:
    """`h0001` and so on, each at a host of its own."""
    await c.execute(
        sql(
            "insert into webhook_endpoints (id, account_id, url, format, created_at, hold_until)"  # noqa: S608 - ours
            " select 'h' || lpad(n::text, 4, '0'), 'acme', 'https://h' || n || '.example/',"
            f" 'native', now(), {hold} from generate_series(1, {count}) n"
        )
    )
    await c.commit()


async def claim(c: AsyncConnection, round_: Round | None = None, *, limit: int = 32) -> list[Held]:
    held, _ = await webhook_deliveries.claim_due(
        c,
        round_ or Round(),
        now=second(9),
        lease=timedelta(minutes=1),
        limit=limit,
        share=4,
        under_way=NONE,
    )
    await c.commit()
    return held


async def read_by_a_claim(c: AsyncConnection) -> tuple[int, int]:
    """What it took, and the rows that were read for it."""
    before = await rows_read(c, "webhook_deliveries")
    taken = len(await claim(c))
    return taken, await rows_read(c, "webhook_deliveries") - before


OF_FIVE = "'h000' || 1 + n % 5"


@pytest.mark.parametrize(
    ("endpoint", "conversation", "takes"),
    [
        (OF_FIVE, "'talk_' || n / 3", 20),
        ("'h0001'", "'talk'", 1),
        (OF_FIVE, "null", 20),
    ],
)
async def test_a_claim_reads_little_however_much_came_to_wait_since_it_was_planned(
    one: AsyncConnection, endpoint: str, conversation: str, takes: int
) -> None:
    await endpoints(one, 5)
    assert await claim(one) == []
    await put(one, endpoint, conversation)
    await put(one, OF_FIVE, "'past_' || n", state="delivered")
    taken, read = await read_by_a_claim(one)
    assert taken == takes
    assert read < 0.6 * MANY


async def test_a_claim_does_not_read_what_was_delivered(one: AsyncConnection, world: World) -> None:
    await endpoints(one, 5)
    await put(one, OF_FIVE, "'past_' || n", state="delivered")
    async with world.db.connect() as c:
        auto = await c.execution_options(isolation_level="AUTOCOMMIT")
        await auto.execute(sql("vacuum analyze webhook_deliveries"))
    assert await claim(one) == []
    await put(one, OF_FIVE, "'talk_' || n", times=40)
    taken, read = await read_by_a_claim(one)
    assert taken == 20
    assert read < 200


async def test_when_to_look_again_is_known_without_reading_what_was_delivered(
    one: AsyncConnection,
) -> None:
    await endpoints(one, 5)
    await put(one, OF_FIVE, "'past_' || n", state="delivered")
    await put(one, "'h0001'", "'a'", times=1, due="2026-03-02 12:00Z")
    before = await rows_read(one, "webhook_deliveries")
    held, _ = await webhook_deliveries.claim_due(
        one, Round(), now=second(9), lease=hour(1) - second(0), limit=32, share=4, under_way=NONE
    )
    upcoming = await webhook_deliveries.next_due(one, now=second(9))
    await one.commit()
    assert (held, upcoming) == ([], datetime(2026, 3, 2, 12, tzinfo=UTC))
    assert await rows_read(one, "webhook_deliveries") - before < 100


async def test_a_conversation_with_a_long_line_holds_up_no_other(one: AsyncConnection) -> None:
    await endpoints(one, 2)
    await put(one, "'h0001'", "'a'", times=1, due="2026-03-02 12:00Z")  # it has failed before
    await put(one, "'h0001'", "'a'", times=2 * WINDOW)
    await put(one, "'h0001'", "'b'", times=2)
    await put(one, "'h0001'", "null", times=1)
    await put(one, "'h0002'", "'a'", times=1)
    held = await claim(one)
    assert sorted(each.endpoint_id for each in held) == ["h0001", "h0001", "h0002"]
    assert await claim(one) == []  # of `b` one is under way
    await put(one, "'h0001'", "'c'", times=1, due="2026-03-02 08:00Z")
    await put(one, "'h0002'", "'b' || n", times=9)
    assert [each.endpoint_id for each in await claim(one, limit=1)] == ["h0001"]  # the oldest


async def test_more_conversations_that_wait_than_a_claim_looks_at_are_gone_through(
    one: AsyncConnection, postman: Postman
) -> None:
    await endpoints(one, 2)
    later = "2026-03-02 12:00Z"
    await put(one, "'h0001'", "'a' || lpad(n::text, 4, '0')", times=PAIRS + 10, due=later)
    await put(one, "'h0001'", "'b'", times=1)
    await put(one, "'h0002'", "'b'", times=WINDOW + 10, due=later)
    round_ = Round()
    assert await claim(one, round_) == []
    assert round_.pair[0] == "h0001"
    assert [each.endpoint_id for each in await claim(one, round_)] == ["h0001"]
    assert round_.pair == ("", "")
    await put(one, "'h0001'", "'a0001'", times=1)
    # Whoever finds nothing is told to go on at once, and in the end that there is no more.
    more, upcoming = Round(), list[datetime | None]()
    for _ in range(2):
        held, at = await deliver.claim(
            postman.db, more, limit=32, share=4, under_way=NONE, now=second(9)
        )
        assert held == []
        upcoming.append(at)
    assert upcoming == [second(9), hour(3)]


async def test_endpoints_that_are_let_alone_hold_up_none_behind_them(one: AsyncConnection) -> None:
    await endpoints(one, ENDPOINTS + 1, hold="timestamptz '2026-03-02 10:00Z'")
    await one.execute(
        sql("update webhook_endpoints set hold_until = null where id = :id"),
        {"id": f"h{ENDPOINTS + 1:04}"},
    )
    # They would also be the ones that conversations are looked for at.
    await put(one, f"'h' || lpad((1 + n % {ENDPOINTS + 1})::text, 4, '0')", "'talk_' || n")
    last = f"'h{ENDPOINTS + 1:04}'"
    await put(one, last, "'stuck'", times=1, due="2026-03-02 12:00Z")
    (first, *_) = held = await claim(one)
    assert {each.endpoint_id for each in held} == {last.strip("'")}
    assert first.lease_until == minute(1) + timedelta(seconds=9)
    assert len(held) == 4


async def test_endpoints_that_nothing_is_due_for_are_not_read(one: AsyncConnection) -> None:
    await endpoints(one, 2 * ENDPOINTS)
    each = "'h' || lpad(n::text, 4, '0')"
    await put(one, each, "'talk_' || n", times=2 * ENDPOINTS - 1, due="2026-03-02 12:00Z")
    assert await read_by_a_claim(one) == (0, 0)
    await put(one, f"'h{2 * ENDPOINTS:04}'", "'talk'", times=1)
    taken, read = await read_by_a_claim(one)
    assert taken == 1
    assert read < 20


async def test_many_endpoints_take_turns(one: AsyncConnection) -> None:
    count = ENDPOINTS + 50
    await endpoints(one, count)
    await put(one, f"'h' || lpad((1 + n % {count})::text, 4, '0')", "'talk_' || n")
    round_, seen = Round(), list[bool]()
    for _ in range(3):
        held = await claim(one, round_)
        assert len({each.endpoint_id for each in held}) == len(held) == 32
        seen += {each.endpoint_id > f"h{ENDPOINTS:04}" for each in held}
    assert seen == [False, True, False]  # those behind the first look, before it is looked again
