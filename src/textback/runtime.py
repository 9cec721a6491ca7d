"""What wiring chose, in one frozen record that edges are handed."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core import phone
from textback.core.errors import Unavailable
from textback.core.gcra import Rate
from textback.core.ids import AgentId, CarrierId
from textback.core.phone import Phone
from textback.core.policy import SendPolicy
from textback.core.ports import Carrier, CarrierAccount, Engine, Hooks, Limiter, Unreachable, Vault
from textback.db import tenants
from textback.db.session import ping, transaction
from textback.db.tenants import AgentRow, CarrierRow

FRESH_SECONDS = 1.0
"""For how long a carrier's or an agent's entry is used without looking whether it changed."""

Row = TypeVar("Row")
Made = TypeVar("Made")


class Unprovisioned(LookupError):  # noqa: N818 - a state of affairs
    """A row names a carrier or an agent that is not there."""


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

    async def get(self, carrier_id: CarrierId) -> tuple[Carrier, str]:
        """The carrier and its kind. Raises Unprovisioned, Unavailable, ValueError (token)."""
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


class Engines:
    """Agents' engines and fallback texts by agent, remade when `apply` changed their entry."""

    def __init__(self, db: AsyncEngine, make: Callable[[AgentRow], Engine]) -> None:
        self._db, self._make = db, make
        self._book = _Book[AgentRow, tuple[Engine, str | None]]()

    async def get(self, agent_id: AgentId) -> tuple[Engine, str | None]:
        """Raises Unprovisioned, Unavailable, ValueError (sealed secret)."""
        if (found := self._book.fresh(agent_id)) is not None:
            return found
        async with transaction(self._db) as c:
            row = await tenants.find_agent(c, agent_id)
        if row is None:
            raise Unprovisioned(agent_id)
        return self._book.renew(agent_id, row, lambda: (self._make(row), row.fallback))

    async def close(self) -> None:
        for engine, _fallback in self._book.all():
            await engine.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    db: AsyncEngine
    database_url: str
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

    async def warm_up(self) -> None:
        """Pay before the first request what only the first one would: connections, metadata.

        Whoever is away now is asked again when needed.
        """
        phone.region(Phone("+14155550100"))
        with suppress(Unavailable):
            await ping(self.db)
        with suppress(Unreachable):
            await self.pace.take("warm-up", Rate(1000, 1))

    async def close(self) -> None:
        await self.carriers.close()
        await self.engines.close()
        await self.quota.close()
        await self.pace.close()
        await self.db.dispose()
