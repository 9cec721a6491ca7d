"""Webhooks of a world: endpoints, a sender that answers as it is told, and a worker's steps."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from tests.support.deployment import ACME, NOW
from tests.support.provision import VAULT
from tests.support.world import World
from textback.core.events import Event
from textback.core.ids import AccountId
from textback.core.webhook import Answered, NotAnswered
from textback.db import events
from textback.db.session import transaction
from textback.db.webhook_deliveries import Held
from textback.flows import deliver, redeliver, webhooks
from textback.flows.deliver import Recorded
from textback.flows.webhooks import Made, Wanted
from textback.wiring import FORMATS

URL = "https://receiver.example/hook"

OK = Answered(status=200, body="", milliseconds=3)
BROKEN = Answered(status=500, body="oops", milliseconds=3)
SILENT = NotAnswered(why="no answer in time", milliseconds=15_000)


def answered(status: int, **more: Any) -> Answered:
    return Answered(status=status, body="", milliseconds=3, **more)


@dataclass(frozen=True, slots=True)
class Posted:
    url: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def type(self) -> str:
        return self.json()["type"]

    def json(self) -> Any:
        return json.loads(self.body)


class Postman:
    """A worker's steps, one delivery after the other, and what was posted."""

    def __init__(self, world: World) -> None:
        self.world, self.db = world, world.db
        self.posted: list[Posted] = []
        self.answer: Answered | NotAnswered = OK
        self.answers: list[Answered | NotAnswered] = []
        """Given first, each once."""

    async def endpoint(
        self, *, url: str | None = URL, of: AccountId = ACME, now: datetime = NOW, **more: Any
    ) -> Made:
        wanted = Wanted(url=url, **more)
        return await webhooks.create(
            self.db, of, wanted, formats=FORMATS, vault=VAULT, private=False, now=now
        )

    async def tell(self, *new: Event, now: datetime = NOW) -> None:
        async with transaction(self.db) as c:
            await events.append(c, new, now=now)

    async def claim(
        self,
        *,
        now: datetime = NOW,
        limit: int = 100,
        share: int = 4,
        under_way: Mapping[str, int] | None = None,
    ) -> list[Held]:
        held, _ = await deliver.claim(
            self.db, limit=limit, share=share, under_way=under_way or {}, now=now
        )
        return held

    async def post(self, held: Held, *, now: datetime = NOW) -> Answered | NotAnswered | Recorded:
        """Write and post, and leave it at that: as a worker that dies then."""
        body = await deliver.write(self.db, held, FORMATS, now=now)
        if isinstance(body, Recorded):
            return body
        post = deliver.signed(held, body, FORMATS, VAULT, now=now)
        self.posted.append(Posted(held.url, post.headers, post.body))
        return self.answers.pop(0) if self.answers else self.answer

    async def handle(self, held: Held, *, now: datetime = NOW) -> Recorded:
        came = await self.post(held, now=now)
        if isinstance(came, Recorded):
            return came
        return await deliver.record(self.db, held, came, now=now)

    async def round(self, *, now: datetime = NOW, limit: int = 100) -> list[str]:
        """Claim once and handle it; gives what came of each."""
        return [
            (await self.handle(held, now=now)).came
            for held in await self.claim(now=now, limit=limit)
        ]

    async def run(self, *, now: datetime = NOW) -> list[str]:
        """Until nothing is due; gives the public types of what was posted meanwhile."""
        before = len(self.posted)
        while await self.round(now=now):
            pass
        return [each.type for each in self.posted[before:]]

    async def poll(
        self, endpoint: Made, after: str | None = None, *, limit: int = 10, now: datetime = NOW
    ) -> redeliver.Polled:
        return await redeliver.poll(
            self.db,
            endpoint.endpoint.account_id,
            endpoint.endpoint.id,
            after=after,
            limit=limit,
            formats=FORMATS,
            now=now,
        )

    async def rows(self, query: str, **values: object) -> Sequence[Mapping[str, Any]]:
        async with transaction(self.db) as c:
            return [dict(row) for row in (await c.execute(text(query), values)).mappings()]

    async def deliveries(self) -> list[tuple[str, int]]:
        """State and tries, in the order they were written."""
        query = "select state, tries from webhook_deliveries order by id"
        return [(row["state"], row["tries"]) for row in await self.rows(query)]
