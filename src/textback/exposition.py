"""What `/metrics` says: what was counted (`metrics.py`), and how things stand for all processes.

The latter is read from Postgres when somebody asks, at most every few seconds however many ask, and
an answer never waits long for it: a database that hangs must not hide that it does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from time import monotonic
from typing import Final, Generic, TypeVar

import structlog
from prometheus_client import CollectorRegistry, Metric, generate_latest, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.ext.asyncio import AsyncEngine

from textback import metrics
from textback.core.errors import Unavailable
from textback.core.gcra import Rate
from textback.core.ports import Unreachable
from textback.db import reads, watch
from textback.db.watch import Queues
from textback.runtime import Runtime

log = structlog.stdlib.get_logger()

FRESH_SECONDS: Final = 3.0
PATIENCE: Final = 2.0
"""Seconds; Prometheus gives up after ten, unless told otherwise."""
TOO_OLD: Final = 60.0
"""Seconds; by then what was last known of the queues is told no more."""

STANDING: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "textback_reachable": ("1 while the process reaches what it needs, else 0", ("store",)),
    "textback_oldest_due_seconds": (
        "How long the oldest due row of a queue has been due",
        ("queue",),
    ),
    "textback_waiting": (f"Rows that wait in a queue, up to {watch.MOST}", ("queue",)),
    "textback_uncertain": (
        "Texts that may be out or not: still looked up, or left to an operator",
        ("waits_for",),
    ),
    "textback_swept_seconds": (
        "How long ago the number longest unswept was swept for lost replies",
        (),
    ),
    "textback_webhook_endpoints": (
        f"Webhook endpoints in trouble, up to {watch.MOST}: the last post failed, or paused for it",
        ("state",),
    ),
}
"""What is read when somebody asks: name -> help, labels."""


T = TypeVar("T")


class _Look(Generic[T]):
    """At one store: once at a time, and for all who ask meanwhile."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        """`ask` raises Unavailable or Unreachable where the store is not reached."""
        self._ask = ask
        self._at = -TOO_OLD
        self._looking: asyncio.Task[None] | None = None
        self.found: T | None = None
        """None: it does not answer."""
        self.known: tuple[float, T] | None = None
        """The last that it told, and when."""

    async def fresh(self) -> None:
        """See to `found`. Takes never much longer than PATIENCE."""
        if monotonic() - self._at < FRESH_SECONDS:
            return
        looking = self._looking = self._looking or asyncio.create_task(self._look())
        await asyncio.wait([looking], timeout=PATIENCE)
        if monotonic() - self._at >= FRESH_SECONDS:  # who asks next waits for the same look
            self._at, self.found = monotonic(), None

    async def _look(self) -> None:
        found = None
        try:
            found = await self._ask()
        except (Unavailable, Unreachable):
            pass
        except Exception:  # a schema that is not ours, a bug: the rest is told all the same
            log.exception("metrics.failed")
        finally:
            self._looking = None
        self._at, self.found = monotonic(), found
        if found is not None:
            self.known = self._at, found


class Standing:
    """How things stand for all processes, as far as this one can see."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        # Not by what the queues tell: to look at them takes longer where they are long or locked.
        self._postgres = _Look(partial(_reached, rt.db))
        self._redis = _Look(partial(rt.pace.take, "health", Rate(1000, 1)))
        self._queues = _Look(partial(watch.queues, rt.db))

    async def families(self) -> list[Metric]:
        """Takes never much longer than PATIENCE."""
        looks = {"postgres": self._postgres, "redis": self._redis}
        async with asyncio.TaskGroup() as group:
            for look in (*looks.values(), self._queues):
                group.create_task(look.fresh())
        values = {
            "textback_reachable": {
                store: float(look.found is not None) for store, look in looks.items()
            }
        }
        known = self._queues.known
        if known is not None and monotonic() - known[0] < TOO_OLD:
            values |= _values(known[1], now=self._rt.now())
        return list(_families(values))


async def _reached(db: AsyncEngine) -> bool:
    """Raises Unavailable."""
    await reads.revision(db)
    return True


async def text(standing: Standing) -> bytes:
    """In Prometheus' text format, with the content type of `prometheus_client`."""
    now = CollectorRegistry()
    now.register(_Families(await standing.families()))
    return generate_latest(metrics.registry()) + generate_latest(now)


def listen(standing: Standing, *, host: str, port: int) -> None:
    """On a port of its own, for a process that serves nothing else. Raises OSError.

    In a thread, until the process ends. Call within the loop.
    """
    both = CollectorRegistry()
    both.register(_Here(standing, asyncio.get_running_loop()))
    start_http_server(port, addr=host, registry=both)


class _Families(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families

    def describe(self) -> list[Metric]:
        return []


class _Here(Collector):
    """From the thread of the server, asks in the loop of the process."""

    def __init__(self, standing: Standing, loop: asyncio.AbstractEventLoop) -> None:
        self._standing, self._loop = standing, loop

    def collect(self) -> Iterator[Metric]:
        asked = asyncio.run_coroutine_threadsafe(self._standing.families(), self._loop)
        yield from metrics.registry().collect()
        try:
            yield from asked.result(timeout=2 * PATIENCE)
        except TimeoutError:  # the loop itself does not come to it
            asked.cancel()

    def describe(self) -> list[Metric]:
        return []


def _values(found: Queues, *, now: datetime) -> dict[str, dict[str, float]]:
    """By name and the value of its label."""
    return {
        "textback_oldest_due_seconds": {
            queue: _seconds(since, now) for queue, since in found.oldest.items()
        },
        "textback_waiting": {queue: float(n) for queue, n in found.lengths.items()},
        "textback_uncertain": {
            "look_up": float(found.looked_up),
            "operator": float(found.unsettled),
        },
        "textback_swept_seconds": {"": _seconds(found.swept_until, now)},
        "textback_webhook_endpoints": {state: float(n) for state, n in found.endpoints.items()},
    }


def _families(values: Mapping[str, Mapping[str, float]]) -> Iterator[Metric]:
    for name, by_label in values.items():
        said, labels = STANDING[name]
        family = GaugeMetricFamily(name, said, labels=labels)
        for label, value in by_label.items():
            family.add_metric([label] if labels else [], value)
        yield family


def _seconds(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())
