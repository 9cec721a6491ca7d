"""Expand and contract: the code of the release before works on the new schema, beside the new code.

What an operator does, with texts and replies under way: the old version runs; the new one's
`migrate`; the new one's processes beside the old ones; the old ones stop.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.support.api import AGENT, ROUTE, headers, is_accepted, until
from tests.support.fake_twilio import FakeTwilio, Number
from tests.support.ports import free_port
from tests.support.processes import Textback
from tests.support.provision import ACME_SID, SECRET_KEY, STANDARD_YAML, TOKEN, environment
from tests.support.releases import release_before, revision_before
from textback.db import migrate

QUICK = STANDARD_YAML.replace(
    "        agent: bookings\n", "        agent: bookings\n        reply_delay_seconds: 0.1\n"
).replace("carrier: acme-twilio}", "carrier: acme-twilio, segments_per_second: 100}")
EACH = 10
"""Users who are texted in one phase, and answer."""


NUMBERS = (AGENT, "+14155550101")


@dataclass(slots=True)
class Upgrade:
    database_url: str
    old: Textback
    new: Textback
    twilio: FakeTwilio
    http: httpx.AsyncClient
    users: int = 0
    expected: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """What has to be said, and to whom."""

    async def both_ways(self, phase: str, *ports: int) -> None:
        """Texts accepted at each port in turn, and answers to what users say at each.

        When it ends, all of it was sent once, and so was everything before.
        """
        numbers = self.twilio.account.numbers
        for nth, number in enumerate(numbers):
            at = ports[nth % len(ports)]
            number.sms_url = f"http://127.0.0.1:{at}/hooks/twilio/inbound"
        users = [f"+1415555{1000 + self.users + nth}" for nth in range(EACH)]
        self.users += EACH
        async with asyncio.TaskGroup() as group:
            for nth, user in enumerate(users):
                self.expected[user, f"{phase} {nth}"] += 1
                body = {
                    "user_number": user,
                    "message": f"{phase} {nth}",
                    "agent_number": NUMBERS[nth % 2],
                }
                group.create_task(self._send(ports[nth // 2 % len(ports)], body))
        await until(self._all_sent)
        async with asyncio.TaskGroup() as group:
            for nth, user in enumerate(users):
                self.expected[user, f"You said: {phase}?"] += 1
                group.create_task(self._say(user, NUMBERS[nth % 2], f"{phase}?"))
        await until(self._all_sent)
        await self.twilio.idle()
        assert self._sent() == self.expected

    async def _send(self, port: int, body: dict[str, str]) -> None:
        url = f"http://127.0.0.1:{port}{ROUTE}"
        is_accepted(await self.http.post(url, json=body, headers=headers()))

    async def _say(self, user: str, number: str, words: str) -> None:
        assert (await self.twilio.text(user, number, words)).status_code == 200

    def _sent(self) -> Counter[tuple[str, str]]:
        return Counter((m.to, m.body) for m in self.twilio.created)

    async def _all_sent(self) -> bool:
        return self._sent() >= self.expected

    async def revision(self) -> str:
        connection = await asyncpg.connect(self.database_url)
        try:
            return str(await connection.fetchval("select version_num from alembic_version"))
        finally:
            await connection.close()

    async def states(self) -> set[str]:
        connection = await asyncpg.connect(self.database_url)
        try:
            rows = await connection.fetch("select distinct state from messages")
        finally:
            await connection.close()
        return {row["state"] for row in rows}


@pytest.fixture
async def upgrade(
    empty_database_url: str, redis_url: str, tmp_path: Path
) -> AsyncGenerator[Upgrade]:
    before = release_before(tmp_path / "before")
    given = {
        "TEXTBACK_DATABASE_URL": empty_database_url,
        "TEXTBACK_REDIS_URL": redis_url,
        "TEXTBACK_SECRET_KEY": SECRET_KEY,
        "TEXTBACK_DRAIN_SECONDS": "5",
        "TEXTBACK_LAME_DUCK_SECONDS": "0",
    }
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "old" / "deployment.yaml").write_text(QUICK)
    numbers = [Number(phone_number=number) for number in NUMBERS]
    async with (
        FakeTwilio(ACME_SID, TOKEN, numbers=numbers) as twilio,
        Textback(tmp_path / "old", {**given, "PYTHONPATH": str(before)}) as old,
        Textback(tmp_path / "new", given) as new,
        httpx.AsyncClient(trust_env=False, timeout=20) as http,
    ):
        yield Upgrade(empty_database_url, old, new, twilio, http)


async def test_the_release_before_works_on_the_new_schema_beside_the_new_code(
    upgrade: Upgrade,
) -> None:
    u, (here, there) = upgrade, (free_port(), free_port())
    at_old = {"TEXTBACK_PUBLIC_URL": f"http://127.0.0.1:{here}"}
    at_new = {"TEXTBACK_PUBLIC_URL": f"http://127.0.0.1:{there}"}
    await asyncio.to_thread(migrate.upgrade, u.database_url, to=revision_before())
    given = environment(u.twilio.base_url) | at_old
    assert (await u.old.run("apply", "deployment.yaml", more=given)).code == 0
    async with asyncio.TaskGroup() as group:
        starting = group.create_task(u.old.serve(here, **at_old))
        worker = await u.old.start("work", **at_old)
    serving = [starting.result(), worker]  # ready: the new code would not be, on that schema

    async with asyncio.TaskGroup() as group:
        group.create_task(u.both_ways("while it migrates", here))
        group.create_task(asyncio.to_thread(migrate.upgrade, u.database_url))
    assert await u.revision() == migrate.head()
    await u.both_ways("the old alone on the new schema", here)

    async with asyncio.TaskGroup() as group:
        group.create_task(u.new.serve(there, **at_new))
        await u.new.start("work", **at_new)
    await u.both_ways("both", here, there)

    for process in serving:
        process.ask_to_stop()
    assert [(await process.ended(within=60))[0] for process in serving] == [0, 0]
    await u.both_ways("the new alone", there)
    assert await u.states() == {"received", "delivered"}
