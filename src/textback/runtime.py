"""What wiring chose, in one frozen record that edges are handed."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import field
from datetime import datetime, timedelta
from time import monotonic
from typing import Generic, TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core import phone
from textback.core.engine import (
    Analysis,
    AnalysisRequest,
    Engine,
    TurnFailed,
    TurnReply,
    TurnRequest,
)
from textback.core.entries import Provisioner
from textback.core.errors import Unavailable
from textback.core.frozen import frozen
from textback.core.gcra import Rate
from textback.core.ids import AgentId, CarrierId
from textback.core.phone import Phone
from textback.core.policy import DEFAULT_FALLBACK, SendPolicy
from textback.core.ports import (
    Carrier,
    CarrierAccount,
    Forged,
    Hooks,
    Limiter,
    Malformed,
    NumberImporter,
    Unreachable,
    Vault,
)
from textback.core.throttle import Lately
from textback.core.told import WebhookFormat
from textback.core.webhook import WebhookSender
from textback.db import agents, tenants
from textback.db.agents import AgentVersion
from textback.db.book import Book
from textback.db.replica import Reading
from textback.db.session import transaction
from textback.db.tenants import CarrierRow
from textback.flows.accept import Accepting
from textback.flows.receipt import Receipts

log = structlog.stdlib.get_logger()

FRESH_SECONDS = 1.0
"""For how long a carrier's or an agent's entry is used without looking whether it changed."""

YOUNG = 20_000
"""New objects, before the collector looks at them. Python's 700 are a few requests' that are being
answered: a busy process spent 6 % of its time on looking at those over and over."""

CLOSE_SECONDS = 2.0
CLOCK_SECONDS = 30.0

Row = TypeVar("Row")
Made = TypeVar("Made")


class Unprovisioned(LookupError):  # noqa: N818 - a state of affairs
    """A row names a carrier that is not there."""


class _Book(Generic[Row, Made]):
    """What was made from a row, for as long as the row stays as it was."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[float, Row, Made]] = {}
        self.retired: list[Made] = []

    def fresh(self, key: str) -> Made | None:
        entry = self._entries.get(key)
        return entry[2] if entry and monotonic() - entry[0] < FRESH_SECONDS else None

    def renew(self, key: str, row: Row, make: Callable[[], Made]) -> Made:
        entry = self._entries.get(key)
        if entry is not None and entry[1] == row:
            made = entry[2]
        else:
            if entry is not None:
                self.retired.append(entry[2])  # it may still be in the middle of something
            made = make()
        self._entries[key] = (monotonic(), row, made)
        return made

    def all(self) -> list[Made]:
        return [*self.retired, *(entry[2] for entry in self._entries.values())]


class Carriers:
    """Carrier clients by id, remade when `apply` changed their entry."""

    def __init__(
        self, db: AsyncEngine, vault: Vault, make: Callable[[CarrierAccount], Carrier]
    ) -> None:
        self._db, self._vault, self._make = db, vault, make
        self._book = _Book[CarrierRow, tuple[Carrier, str]]()
        self._looking: dict[CarrierId, asyncio.Lock] = {}

    async def get(self, carrier_id: CarrierId) -> tuple[Carrier, str]:
        """The carrier and its kind. Raises Unprovisioned, Unavailable, ValueError (token)."""
        if (found := self._book.fresh(carrier_id)) is not None:
            return found
        # All that are about to send would look for it, each by itself.
        async with self._looking.setdefault(carrier_id, asyncio.Lock()):
            if (found := self._book.fresh(carrier_id)) is not None:
                return found
            async with transaction(self._db) as c:
                row = await tenants.find_carrier(c, carrier_id)
        if row is None:
            raise Unprovisioned(carrier_id)
        return self._book.renew(
            carrier_id, row, lambda: (self._make(tenants.opened(row, self._vault)), row.kind)
        )

    async def close(self) -> None:
        for carrier, _kind in self._book.all():
            await carrier.close()


class _Broken:
    """Stands for an engine that cannot be made, until `apply` has repaired its entry."""

    can_open = True
    can_analyse = False
    deadline = timedelta(seconds=1)

    def __init__(self, why: str) -> None:
        self._why = why

    async def reply(self, request: TurnRequest) -> TurnReply | TurnFailed:
        del request
        return TurnFailed(self._why)

    async def analyse(self, request: AnalysisRequest) -> Analysis | TurnFailed:
        del request
        return TurnFailed(self._why)

    def posted(
        self, headers: Mapping[str, str], body: bytes, *, turn_id: str, run: int, now: datetime
    ) -> TurnReply | Forged | Malformed:
        """Raise Unavailable: nobody can tell whether it is signed."""
        del headers, body, turn_id, run, now
        raise Unavailable(f"{self._why[0].upper()}{self._why[1:]}; try again.")

    async def close(self) -> None:
        """Nothing is held."""


class Engines:
    """Engines and fallback texts by agent and version, remade when their secrets were rotated."""

    def __init__(self, db: AsyncEngine, make: Callable[[AgentVersion], Engine]) -> None:
        self._db, self._make = db, make
        self._book = _Book[AgentVersion, tuple[Engine, str | None]]()

    async def get(self, agent_id: AgentId, version: int) -> tuple[Engine, str | None]:
        """Raises Unavailable. One that cannot be made fails each turn: users get the fallback."""
        key = f"{agent_id}/{version}"
        if (found := self._book.fresh(key)) is not None:
            return found
        async with transaction(self._db) as c:
            row = await agents.find(c, agent_id, version)
        if row is None:
            return _Broken("the agent is not provisioned"), DEFAULT_FALLBACK
        return self._book.renew(key, row, lambda: (self._made(row), row.fallback))

    def _made(self, row: AgentVersion) -> Engine:
        try:
            return self._make(row)
        except Exception as error:  # noqa: BLE001 - an old version's settings, a lost key, a bug
            # Not the error's words: they may quote the settings.
            log.error(  # noqa: TRY400
                "engine.unusable",
                agent_id=row.agent_id,
                version=row.number,
                why=type(error).__name__,
            )
            return _Broken("the agent's engine cannot be made from its settings")

    async def close(self) -> None:
        for engine, _fallback in self._book.all():
            await engine.close()


@frozen
class Runtime:
    db: AsyncEngine
    reading: Reading
    """For lists, searches and reports."""
    database_url: str = field(repr=False)
    direct_url: str = field(repr=False)
    """Without a pool in between."""
    book: Book
    accepting: Accepting
    receipts: Receipts
    lately: Lately
    carriers: Carriers
    engines: Engines
    hooks: Mapping[str, Hooks]
    vault: Vault
    quota: Limiter
    """Sends accepted per project: falls back to a local limit without Redis."""
    pace: Limiter
    """Segments handed over per number: without Redis, texts wait."""
    policy: SendPolicy
    public_url: str
    poll: timedelta
    sweep: timedelta
    drain: timedelta
    now: Callable[[], datetime]
    steady: Callable[[], float]
    """Seconds that have certainly passed, or more: also while the machine slept."""
    set_clock: Callable[[], Awaitable[None]]
    """Set `now` by Postgres' clock. Raises Unavailable."""
    webhooks: WebhookSender
    formats: Mapping[str, WebhookFormat]
    """How dialects tell of events, by their names."""
    provisioner: Provisioner
    """Reads entries that come through an API by the rules of the provisioning file."""
    metrics_token: str = field(default="", repr=False)
    """Who asks for /metrics has to send it; empty: nobody has to."""
    private_webhooks: bool = False
    """Webhooks may lead to private addresses, and be plain http."""
    dialects: tuple[str, ...] = ()
    """Whose routes there are."""
    importers: Mapping[str, NumberImporter] = field(default_factory=dict[str, NumberImporter])
    """Who is asked when a number is taken over, by the kind of its carrier."""
    twilio_url: str = "https://api.twilio.com"
    """Of Twilio accounts that callers bring."""

    async def keep_time(self) -> None:
        """For as long as the process runs."""
        while True:
            await asyncio.sleep(CLOCK_SECONDS)
            try:
                await self.set_clock()
            except Unavailable:
                pass
            except Exception:  # it goes on by the other clock
                log.exception("clock.failed")

    async def keep_fresh(self) -> None:
        """What was provisioned, for as long as the process runs."""
        while True:
            try:
                await self.book.keep_fresh(self.direct_url)
            except Exception:  # without it every request looks for itself
                log.exception("book.failed")
            await asyncio.sleep(FRESH_SECONDS)

    async def warm_up(self) -> None:
        """Pay before the first request what only the first one would: connections, metadata.

        Whoever is away now is asked again when needed. What is there then stays: the collector need
        not look through it again each time.
        """
        phone.region(Phone("+14155550100"))
        with suppress(Unavailable):
            await self.set_clock()
        with suppress(Unreachable):
            await self.pace.take("warm-up", Rate(1000, 1))
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG, 20, 20)

    async def close(self) -> None:
        await self.carriers.close()
        await self.engines.close()
        await self.webhooks.close()
        await self.quota.close()
        await self.pace.close()
        with suppress(TimeoutError):  # a database that hangs must not keep the process
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.reading.close()
                await self.db.dispose()
