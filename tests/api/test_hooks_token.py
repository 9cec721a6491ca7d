"""While a carrier's auth token is changed, what it signs with either is believed, for a day."""

from datetime import timedelta
from typing import Final

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import Clock, client, rows, settings, started
from tests.support.hooks import INBOUND, TEXT, post
from tests.support.provision import NOW, TOKEN, apply_file
from textback.runtime import Runtime

SECOND: Final = "1" * 32
THIRD: Final = "2" * 32


async def heard(rt: Runtime, token: str) -> int:
    async with client(rt) as http:
        answer: httpx.Response = await post(http, INBOUND, TEXT, token=token)
    return answer.status_code


async def test_the_token_before_is_believed_for_a_day_and_the_one_before_that_is_not(
    engine: AsyncEngine, database_url: str, redis_url: str
) -> None:
    clock, found = Clock(), settings(database_url, redis_url)
    await apply_file(engine)
    async with started(found, clock) as rt:
        assert [await heard(rt, token) for token in (TOKEN, SECOND)] == [200, 403]
    await apply_file(engine, env={"TWILIO_TOKEN": SECOND})
    await apply_file(engine, env={"TWILIO_TOKEN": SECOND})  # which changes nothing
    async with started(found, clock) as rt:
        clock.pass_(timedelta(hours=23))
        assert [await heard(rt, token) for token in (TOKEN, SECOND, THIRD)] == [200, 200, 403]
        clock.pass_(timedelta(hours=1))
        assert [await heard(rt, token) for token in (TOKEN, SECOND)] == [403, 200]
    await apply_file(engine, env={"TWILIO_TOKEN": THIRD}, now=NOW + timedelta(days=2))
    async with started(found, clock) as rt:
        assert [await heard(rt, token) for token in (TOKEN, SECOND, THIRD)] == [403, 200, 200]


async def test_another_accounts_token_is_not_kept(engine: AsyncEngine) -> None:
    await apply_file(engine)
    await apply_file(engine, env={"TWILIO_TOKEN": SECOND, "ACME_SID": "AC" + "9" * 32})
    kept = "select previous_token is not null as kept from carriers order by id"
    assert [row["kept"] for row in await rows(engine, kept)] == [False, True]
