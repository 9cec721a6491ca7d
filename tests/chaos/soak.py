"""What a deployment uses while it runs for long: memory, files, connections, and what tables weigh.

One API and one worker are spared, so that there are processes that live through all of it.
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import asyncpg
import psutil

from tests.chaos.deployment import Deployment
from tests.chaos.parts import Part

EVERY_SECONDS: Final = 15.0
GAPS: Final = (15.0, 35.0)
"""Between two faults."""

TABLES: Final = ("messages", "conversations", "turns", "events", "idempotency_keys", "numbers")


@dataclass(frozen=True, slots=True)
class Use:
    """Of one process."""

    started: int
    """How many processes there have been of this part."""
    rss_mb: float
    files: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Weight:
    """Of one table."""

    live: int
    dead: int
    table_kb: int
    indexes_kb: int


@dataclass(frozen=True, slots=True)
class Sample:
    seconds: float
    processes: Mapping[str, Use]
    connections: int
    tables: Mapping[str, Weight]


class Sampler:
    def __init__(self) -> None:
        self.samples: list[Sample] = []

    async def watch(self, deployment: Deployment) -> None:
        """Until cancelled."""
        began = time.monotonic()
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            try:
                async with asyncio.timeout(EVERY_SECONDS):
                    connections, tables = await _database(deployment)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                continue  # it is away just now
            processes = {
                part.name: use for part in deployment.parts if (use := _use(part)) is not None
            }
            seconds = round(time.monotonic() - began, 1)
            self.samples.append(Sample(seconds, processes, connections, tables))

    def save(self, path: Path, **more: object) -> None:
        samples = [asdict(sample) for sample in self.samples]
        path.write_text(json.dumps({**more, "samples": samples}, indent=1))

    def table(self) -> str:
        """First, middle, last."""
        if not self.samples:
            return "  no sample was taken"
        chosen = [self.samples[0], self.samples[len(self.samples) // 2], self.samples[-1]]
        lines = [("", *(f"{sample.seconds:.0f} s" for sample in chosen))]
        for name in chosen[-1].processes:
            lines.append((f"{name}: MB", *(_of(s, name, "rss_mb") for s in chosen)))
            lines.append((f"{name}: open files", *(_of(s, name, "files") for s in chosen)))
            lines.append((f"{name}: started", *(_of(s, name, "started") for s in chosen)))
        lines.append(("connections to Postgres", *(str(s.connections) for s in chosen)))
        for name in TABLES:
            weights = [sample.tables[name] for sample in chosen]
            lines.append((f"{name}: rows", *(str(w.live) for w in weights)))
            lines.append((f"{name}: dead rows", *(str(w.dead) for w in weights)))
            lines.append((f"{name}: KB, and of its indexes", *(_kb(w) for w in weights)))
            each = [f"{(w.table_kb + w.indexes_kb) * 1024 / max(w.live, 1):.0f}" for w in weights]
            lines.append((f"{name}: bytes a row in all", *each))
        lines.append(("rows a second since the one before", *_rates(chosen)))
        width = max(len(line[0]) for line in lines)
        return "\n".join(
            f"  {name.ljust(width)}" + "".join(value.rjust(16) for value in values)
            for name, *values in lines
        )


def _of(sample: Sample, name: str, what: str) -> str:
    use = sample.processes.get(name)
    return "away" if use is None else f"{getattr(use, what):g}"


def _kb(weight: Weight) -> str:
    return f"{weight.table_kb} + {weight.indexes_kb}"


def _rates(samples: Sequence[Sample]) -> list[str]:
    """Messages and turns, by which everything that is handled leaves one."""
    rates: list[str] = []
    seconds, rows = 0.0, 0
    for sample in samples:
        now = sample.tables["messages"].live + sample.tables["turns"].live
        passed = sample.seconds - seconds
        rates.append(f"{(now - rows) / passed:.1f}" if passed else "")
        seconds, rows = sample.seconds, now
    return rates


def _use(part: Part) -> Use | None:
    if not part.is_alive:
        return None
    try:
        process = psutil.Process(part.pid)
        family = [process, *process.children(recursive=True)]
        # Shared buffers are counted by every process of Postgres' that has touched them.
        rss = sum(member.memory_info().rss for member in family)
        files = sum(member.num_fds() for member in family)
        cpu = sum(member.cpu_times().user + member.cpu_times().system for member in family)
    except psutil.Error:
        return None
    return Use(part.starts, round(rss / 2**20, 1), files, round(cpu, 1))


async def _database(deployment: Deployment) -> tuple[int, dict[str, Weight]]:
    c = await deployment.connect()
    try:
        connections = await c.fetchval(
            "select count(*) from pg_stat_activity where backend_type = 'client backend'"
        )
        tables: dict[str, Weight] = {}
        for name in TABLES:
            row = await c.fetchrow(
                f"select (select count(*) from {name}) as live, n_dead_tup,"  # noqa: S608 - ours
                " pg_table_size(relid) / 1024, pg_indexes_size(relid) / 1024"
                " from pg_stat_user_tables where relname = $1",
                name,
            )
            assert row is not None
            tables[name] = Weight(*row)
        return connections - 1, tables
    finally:
        await c.close()
