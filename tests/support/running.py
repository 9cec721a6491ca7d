"""A worker on real parts, with a clock that the test holds."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import httpx
from sqlalchemy import text

from tests.support.deployment import ACCOUNT, CARRIER, NOW, PUBLIC_URL, scripted
from tests.support.doubles import Plenty, WatchedCarrier, WatchedEngine
from tests.support.provision import VAULT
from tests.support.world import World
from textback.carriers.sandbox.client import SandboxCarrier
from textback.carriers.sandbox.hooks import SandboxHooks
from textback.core.engine import Engine
from textback.core.ids import AgentId, CarrierId
from textback.core.policy import SendPolicy
from textback.core.ports import Carrier, HookRequest, Receipt
from textback.core.throttle import Lately
from textback.db.book import Book
from textback.db.replica import Reading
from textback.db.session import transaction
from textback.engine_kinds import KINDS
from textback.flows.accept import Accepting
from textback.flows.receipt import Receipts
from textback.provisioning_file.single import OneEntry
from textback.runtime import Carriers, Engines, Runtime
from textback.webhook_sender import HttpSender
from textback.wiring import FORMATS
from textback.worker.main import Worker

SOON = timedelta(milliseconds=50)
FOREVER = timedelta(hours=1)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class CarriersDouble(Carriers):
    """Every entry leads to `carrier`, once the `troubles` have been raised."""

    def __init__(self, rt: Runtime, carrier: Carrier, *troubles: Exception) -> None:
        super().__init__(rt.db, rt.vault, lambda _: carrier)
        self._carrier, self._troubles = carrier, list(troubles)

    async def get(self, carrier_id: CarrierId) -> tuple[Carrier, str]:
        assert carrier_id
        if self._troubles:
            raise self._troubles.pop(0)
        return self._carrier, "sandbox"


class EnginesDouble(Engines):
    """Every agent has `engine`, once the `troubles` have been raised."""

    def __init__(
        self, rt: Runtime, engine: Engine, *troubles: Exception, fallback: str | None
    ) -> None:
        super().__init__(rt.db, lambda _: engine)
        self._engine, self._troubles, self._fallback = engine, list(troubles), fallback

    async def get(self, agent_id: AgentId, version: int) -> tuple[Engine, str | None]:
        assert agent_id
        assert version
        if self._troubles:
            raise self._troubles.pop(0)
        return self._engine, self._fallback


class Shop:
    """What a worker needs, on the sandbox, whose receipts come in as they would over HTTP."""

    def __init__(self, world: World, database_url: str) -> None:
        self.world, self.clock = world, Clock()
        self._began: datetime | None = None
        transport = httpx.MockTransport(self._receipt)
        self._sandbox = SandboxCarrier(
            ACCOUNT,
            clock=self.clock,
            http=httpx.AsyncClient(transport=transport),
            before_receipt=timedelta(0),
        )
        self.carrier = WatchedCarrier(self._sandbox)
        self.engine = WatchedEngine(scripted())
        self.rt = Runtime(
            db=world.db,
            reading=Reading(world.db),
            database_url=database_url,
            direct_url=database_url,
            book=(book := Book(world.db)),
            accepting=Accepting(world.db, book),
            receipts=Receipts(world.db),
            lately=Lately(),
            carriers=Carriers(world.db, VAULT, lambda _: self.carrier),
            engines=Engines(world.db, lambda _: self.engine),
            hooks={},
            vault=VAULT,
            quota=Plenty(),
            pace=Plenty(),
            policy=SendPolicy(),
            public_url=PUBLIC_URL,
            poll=SOON,
            sweep=FOREVER,
            drain=timedelta(seconds=10),
            now=self.clock,
            steady=lambda: self.clock().timestamp(),
            set_clock=self._set_clock,
            webhooks=HttpSender(private=True),
            formats=FORMATS,
            provisioner=OneEntry(KINDS, private=True),
            private_webhooks=True,
        )

    def with_carrier(self, carrier: Carrier, *troubles: Exception) -> None:
        carriers = CarriersDouble(self.rt, carrier, *troubles)
        self.rt = replace(self.rt, carriers=carriers)

    def with_engine(
        self, engine: Engine, *troubles: Exception, fallback: str | None = None
    ) -> None:
        engines = EnginesDouble(self.rt, engine, *troubles, fallback=fallback)
        self.rt = replace(self.rt, engines=engines)

    @asynccontextmanager
    async def working(self, *, concurrency: int = 4) -> AsyncGenerator[asyncio.Event]:
        """A worker; set the event to stop it, or leave."""
        stop = asyncio.Event()
        async with transaction(self.world.db) as c:
            self._began = await c.scalar(text("select clock_timestamp()"))
        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            group.create_task(Worker(self.rt, concurrency=concurrency).run(stop))
            yield stop
            stop.set()

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(60):
            asked = time.monotonic()
            while not await condition():
                # Whoever asks without a pause slows down those whom it waits for.
                await asyncio.sleep(min(0.05, 4 * (time.monotonic() - asked)))
                asked = time.monotonic()

    async def until_said(self, *texts: str) -> None:
        """Until exactly these of our texts were delivered, in this order."""

        async def said() -> bool:
            ours = await self.world.ours()
            return [t.text for t in ours if t.state == "delivered"] == list(texts)

        await self.until(said)

    async def until_listening(self) -> None:
        async def listening() -> bool:
            query = text(
                "select count(*) from pg_stat_activity"
                " where query ~* '^(listen|select 1 where pg_backend_pid)' and state = 'idle'"
                " and backend_start > :began"
            )
            async with transaction(self.world.db) as c:
                return bool(await c.scalar(query, {"began": self._began}))

        await self.until(listening)

    async def close(self) -> None:
        await self._sandbox.close()
        await self.rt.webhooks.close()

    async def _set_clock(self) -> None:
        """The test holds it."""

    async def _receipt(self, request: httpx.Request) -> httpx.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = HookRequest(url=str(request.url), headers=headers, body=request.content)
        hooks = SandboxHooks()
        assert hooks.verify(asked, ACCOUNT.auth_token)
        heard = hooks.parse_status(asked)
        assert isinstance(heard, Receipt)
        await self.rt.receipts.hear(CARRIER, heard, now=self.clock())
        return httpx.Response(200)
