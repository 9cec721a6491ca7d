"""From what was measured to boxes and money: `python -m bench.model [--json FILE] [--peak 3]`.

Arithmetic and nothing else. Constants of CPU come from a run of the pipeline bench; prices and
shares are parameters. Carriers' limits: https://help.twilio.com/articles/115002943027 (per number),
https://help.twilio.com/articles/1260803225669 (10DLC, per campaign).
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Final

from bench.place import ROOT
from bench.report import Cell, table

DAY: Final = 86_400

VOLUMES: Final = {"1 M": 1e6, "100 M": 1e8, "10 G": 1e10}

SENDERS: Final[Mapping[str, float]] = {
    "long code, Canada": 1,
    "long code, other countries": 10,
    "toll-free": 3,
    "short code": 100,
    "10DLC campaign, trust 1-49": 12,
    "10DLC campaign, trust 50-74": 120,
    "10DLC campaign, trust 75-100": 225,
}
"""Segments a second of one number; of 10DLC, of one campaign."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """CPU seconds for one accepted text with all that follows: receipts, replies, answers."""

    api: float
    worker: float
    postgres: float
    redis: float
    wal_bytes: float
    """Written by Postgres for one text with its receipts and events."""
    stored_bytes: float
    """That stay, indexes included, until retention deletes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    peak: float = 3.0
    """The busiest second over the average of the day."""
    busy: float = 0.6
    """Of a core, at the peak: the rest is for bursts, restarts and vacuum."""
    segments: float = 1.5
    """Of one text."""
    answers: float = 0.2
    """Answers of agents for one accepted text; as measured by the pipeline bench."""
    retention_days: float = 30
    box_cores: int = 8
    box_month: float = 300.0
    """What such a box costs a month, in dollars."""
    postgres_cores: int = 32
    """The largest Postgres that one would run before splitting by account."""
    disk_gb_month: float = 0.12
    segment_price: float = 0.0079
    """Twilio's list price in the US, in dollars, without carriers' fees."""
    carrier_answer: float = 0.15
    """Seconds until the carrier answers a request."""
    carrier_at_once: int = 100
    """Requests under way that one account may have; commonly quoted, documented nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    per_second: float
    """Texts at the peak, answers included."""
    api_cores: int
    worker_cores: int
    postgres_cores: int
    shards: int
    """Postgres servers, by account."""
    redis_cores: int
    boxes: int
    stored_tb: float
    wal_mb_second: float
    """At the peak, of all Postgres servers."""
    accounts: int
    """At the carrier, for its limit of requests under way."""
    machines_month: float
    carrier_month: float

    @property
    def share(self) -> float:
        """What machines cost, of what the carrier costs."""
        return self.machines_month / self.carrier_month


def needs(texts_a_day: float, costs: Costs, assumed: Assumed) -> Needs:
    accepted = texts_a_day / DAY * assumed.peak
    sent = accepted * (1 + assumed.answers)

    def cores(seconds: float) -> int:
        return max(1, ceil(accepted * seconds / assumed.busy))

    api, worker, redis = cores(costs.api), cores(costs.worker), cores(costs.redis)
    postgres = cores(costs.postgres)
    shards = ceil(postgres / assumed.postgres_cores)
    # Two of everything, so that one may fail; a standby beside each Postgres.
    stateless = max(2, ceil((api + worker + redis) / assumed.box_cores))
    databases = shards * 2 * ceil(min(postgres, assumed.postgres_cores) / assumed.box_cores)
    stored = texts_a_day * assumed.retention_days * costs.stored_bytes / 1e12
    disk = stored * 2 * 1000 * assumed.disk_gb_month
    return Needs(
        per_second=sent,
        api_cores=api,
        worker_cores=worker,
        postgres_cores=postgres,
        shards=shards,
        redis_cores=redis,
        boxes=stateless + databases,
        stored_tb=stored,
        wal_mb_second=accepted * costs.wal_bytes / 1e6,
        accounts=max(1, ceil(sent * assumed.carrier_answer / assumed.carrier_at_once)),
        machines_month=(stateless + databases) * assumed.box_month + disk,
        carrier_month=texts_a_day
        * (1 + assumed.answers)
        * 30
        * assumed.segments
        * assumed.segment_price,
    )


def numbers(texts_a_second: float, segments: float) -> dict[str, int]:
    """How many senders of each kind would be needed, if all were of that kind."""
    return {name: ceil(texts_a_second * segments / each) for name, each in SENDERS.items()}


def costs(found: Mapping[str, Any]) -> Costs:
    """Of a run's JSON. Raises ValueError when the pipeline was not measured."""
    for result in found["results"]:
        if result["name"] == "pipeline":
            f = result["figures"]
            parts = {name: f[f"{name}_us"] / 1e6 for name in ("api", "worker", "postgres", "redis")}
            return Costs(**parts, wal_bytes=f["wal_bytes"], stored_bytes=f["stored_bytes"])
    raise ValueError("the pipeline was not measured in this run: python -m bench --only pipeline")


def tables(costs: Costs, assumed: Assumed) -> str:
    found = {name: needs(each, costs, assumed) for name, each in VOLUMES.items()}
    rows: list[list[Cell]] = [
        ["texts/s at the peak, answers included", *(n.per_second for n in found.values())],
        ["cores for the API", *(n.api_cores for n in found.values())],
        ["cores for workers", *(n.worker_cores for n in found.values())],
        ["cores for Postgres", *(n.postgres_cores for n in found.values())],
        ["Postgres servers, by account (and a standby each)", *(n.shards for n in found.values())],
        ["cores for Redis", *(n.redis_cores for n in found.values())],
        [f"boxes of {assumed.box_cores} cores", *(n.boxes for n in found.values())],
        ["WAL at the peak, MB/s", *(n.wal_mb_second for n in found.values())],
        [f"stored, TB ({assumed.retention_days:g} days)", *(n.stored_tb for n in found.values())],
        ["carrier accounts", *(n.accounts for n in found.values())],
        *(
            [
                f"senders, if all were: {kind}",
                *(numbers(n.per_second, assumed.segments)[kind] for n in found.values()),
            ]
            for kind in SENDERS
        ),
        ["machines, $ a month", *(n.machines_month for n in found.values())],
        ["carrier, $ a month", *(n.carrier_month for n in found.values())],
        ["machines / carrier", *(n.share for n in found.values())],
    ]
    return table(["texts a day", *found], rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.model", description=__doc__)
    parser.add_argument("--json", type=Path, default=ROOT / "bench/results/latest.json")
    parser.add_argument("--peak", type=float, default=Assumed().peak)
    asked = parser.parse_args()
    if not asked.json.exists():
        parser.error(f"there is no {asked.json} yet: make bench writes it")
    found = costs(json.loads(asked.json.read_text()))
    print(tables(found, Assumed(peak=asked.peak)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
