"""From what was measured to boxes and money: `python -m bench.model [--json FILE] [--peak 3]`.

Arithmetic and nothing else. Constants of CPU come from a run of the pipeline bench; all else is
assumed, and an option. Carriers' limits: https://help.twilio.com/articles/115002943027 (per
number), https://help.twilio.com/articles/1260803225669 (10DLC, per campaign).
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import ceil, inf
from pathlib import Path
from typing import Any, Final, TypeVar

from bench.place import ROOT
from bench.report import Cell, shown, table
from textback.flows.retention import CONVERSATIONS, ROWS
from textback.worker.forgetting import REST

T = TypeVar("T")

LATEST: Final = ROOT / "bench/results/latest.json"
CONSTANTS: Final = ROOT / "bench/constants.json"
"""Of the run in the docs: part of the repository, as `bench/results` is not."""
_KEPT: Final = ("pipeline", "scale")
"""Benches whose figures are kept there."""

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


def _said(default: T, words: str) -> T:
    return field(default=default, metadata={"words": words})


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """Each of them is an option."""

    peak: float = _said(3.0, "the busiest second over the average of the day")
    busy: float = _said(0.6, "of a core at the peak; the rest is for bursts, restarts and vacuum")
    segments: float = _said(1.5, "of one text")
    answers: float = _said(
        0.2,
        "answers of agents for one accepted text: what is sent and paid for; in the constants of"
        " CPU there are as many as the pipeline bench had, 0.2",
    )
    conversation_texts: float = _said(
        1.0, "accepted texts that share a conversation; in the pipeline bench each has its own"
    )
    text_events: float = _said(4.0, "events of one accepted text")
    retention_days: float = _said(30.0, "until a text is deleted")
    deleting: float = _said(
        0.5,
        "what deleting a text costs Postgres, vacuum with it, of what writing it did, in CPU and in"
        " WAL; not measured: some six rows go once, of which some fourteen versions were written",
    )
    piece_seconds: float = _said(
        0.03,
        "that a piece of forgetting takes besides its rows: some thirty statements, one after"
        " the other, on rows that are in memory; not measured",
    )
    box_cores: int = _said(8, "of one box")
    box_month: float = _said(300.0, "dollars that a box costs a month")
    postgres_cores: int = _said(32, "of the largest Postgres before one splits by account")
    postgres_tb: float = _said(
        8.0, "rows and indexes on one Postgres: what is still copied to a standby within a day"
    )
    postgres_wal: float = _said(
        100.0, "MB of WAL a second of one Postgres: what a standby still replays, on one core"
    )
    disk_gb_month: float = _said(0.12, "dollars that a GB of disk costs a month")
    segment_price: float = _said(
        0.0079, "dollars: Twilio's list price in the US, without carriers' fees"
    )
    carrier_answer: float = _said(0.15, "seconds until the carrier answers a request")
    carrier_at_once: int = _said(
        100,
        "requests under way that one account may have; commonly quoted, documented nowhere",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    per_second: float
    """Texts at the peak, answers included."""
    api_cores: int
    worker_cores: int
    postgres_cores: int
    """Of all Postgres servers, deleting included."""
    bounds: Mapping[str, int]
    """Postgres servers that each resource asks for by itself."""
    redis_cores: int
    boxes: int
    stored_tb: float
    wal_mb_second: float
    """At the peak, of all Postgres servers, deleting included."""
    forgetting: int
    """Workers of one Postgres server that have to remove what is past its time."""
    accounts: int
    """At the carrier, for its limit of requests under way."""
    machines_month: float
    carrier_month: float

    @property
    def shards(self) -> int:
        """Postgres servers, by account."""
        return max(self.bounds.values())

    @property
    def decides(self) -> str:
        """What asks for the most of them."""
        if self.shards == 1:
            return "one is enough"
        return " and ".join(name for name, each in self.bounds.items() if each == self.shards)

    @property
    def share(self) -> float:
        """What machines cost, of what the carrier costs."""
        return self.machines_month / self.carrier_month


def needs(texts_a_day: float, costs: Costs, assumed: Assumed) -> Needs:
    accepted = texts_a_day / DAY * assumed.peak
    sent = accepted * (1 + assumed.answers)
    # As much is deleted as was accepted, and a day's peak comes back when its time is over.
    and_deleted = 1 + assumed.deleting

    def cores(seconds: float) -> int:
        return _at_least_one(accepted * seconds / assumed.busy)

    api, worker, redis = cores(costs.api), cores(costs.worker), cores(costs.redis)
    postgres = cores(costs.postgres * and_deleted)
    stored = texts_a_day * assumed.retention_days * costs.stored_bytes / 1e12
    wal = accepted * costs.wal_bytes * and_deleted / 1e6
    bounds = {
        "cores": _at_least_one(postgres / assumed.postgres_cores),
        "disk": _at_least_one(stored / assumed.postgres_tb),
        "WAL": _at_least_one(wal / assumed.postgres_wal),
    }
    shards = max(bounds.values())
    # Two of everything, so that one may fail; a standby beside each Postgres.
    stateless = max(2, ceil((api + worker + redis) / assumed.box_cores))
    databases = shards * 2 * ceil(ceil(postgres / shards) / assumed.box_cores)
    disk = stored * 2 * 1000 * assumed.disk_gb_month
    return Needs(
        per_second=sent,
        api_cores=api,
        worker_cores=worker,
        postgres_cores=postgres,
        bounds=bounds,
        redis_cores=redis,
        boxes=stateless + databases,
        stored_tb=stored,
        wal_mb_second=wal,
        forgetting=_at_least_one(texts_a_day / shards / forgotten_a_day(costs, assumed)),
        accounts=_at_least_one(sent * assumed.carrier_answer / assumed.carrier_at_once),
        machines_month=(stateless + databases) * assumed.box_month + disk,
        carrier_month=texts_a_day
        * (1 + assumed.answers)
        * 30
        * assumed.segments
        * assumed.segment_price,
    )


def _at_least_one(value: float) -> int:
    return max(1, ceil(value))


def forgetting_seconds(costs: Costs, assumed: Assumed) -> float:
    """That one worker takes for as many conversations as it removes at once, without its rests."""
    texts = CONVERSATIONS * assumed.conversation_texts
    # Whoever has more rows of a table than go at once has to come back for the rest.
    pieces = 1 + texts * assumed.text_events // ROWS
    return pieces * assumed.piece_seconds + texts * costs.postgres * assumed.deleting


def forgotten_a_day(costs: Costs, assumed: Assumed) -> float:
    """Accepted texts that one worker removes in a day in which it always finds more."""
    seconds = forgetting_seconds(costs, assumed) * (1 + REST)
    return CONVERSATIONS * assumed.conversation_texts / seconds * DAY if seconds else inf


def numbers(texts_a_second: float, segments: float) -> dict[str, int]:
    """How many senders of each kind would be needed, if all were of that kind."""
    return {name: ceil(texts_a_second * segments / each) for name, each in SENDERS.items()}


def costs(found: Mapping[str, Any]) -> Costs:
    """Of a run's JSON. Raises ValueError when the pipeline was not measured."""
    f = _figures(found, "pipeline")
    try:
        parts = {name: f[f"{name}_us"] / 1e6 for name in ("api", "worker", "postgres", "redis")}
        return Costs(**parts, wal_bytes=f["wal_bytes"], stored_bytes=f["stored_bytes"])
    except KeyError as error:
        raise ValueError(
            "the pipeline was not measured in this run: python -m bench --only pipeline"
        ) from error


def _figures(found: Mapping[str, Any], name: str) -> Mapping[str, float]:
    none: Mapping[str, float] = {}
    return next((each["figures"] for each in found["results"] if each["name"] == name), none)


def constants(found: Mapping[str, Any], *, machine: str, date: str) -> dict[str, Any]:
    """Of a run's JSON what is to stay in the repository. Raises ValueError as `costs` does."""
    costs(found)
    results = [
        {"name": name, "figures": dict(figures)}
        for name in _KEPT
        if (figures := _figures(found, name))
    ]
    return {"date": date, "machine": machine, "results": results}


def chosen(
    latest: Path = LATEST, kept: Path = CONSTANTS
) -> tuple[Path, Mapping[str, Any], str | None]:
    """The last run, or what is in the repository: file, content, and why it is not the last run."""
    if not latest.exists():
        return kept, json.loads(kept.read_text()), "nothing was measured here yet"
    found = json.loads(latest.read_text())
    if found.get("quick"):
        return kept, json.loads(kept.read_text()), "the last run here was a quick one"
    try:
        costs(found)
    except ValueError:
        return kept, json.loads(kept.read_text()), "the last run here was without the pipeline"
    return latest, found, None


def measured(found: Mapping[str, Any]) -> str:
    """The constants, so that one can check by hand."""
    c = costs(found)
    rows: list[list[Cell]] = [
        ["API, CPU us", c.api * 1e6],
        ["workers, CPU us", c.worker * 1e6],
        ["Postgres, CPU us", c.postgres * 1e6],
        ["Redis, CPU us", c.redis * 1e6],
        ["WAL, bytes", c.wal_bytes],
        ["stored, bytes", c.stored_bytes],
    ]
    said = table(["one accepted text and all that follows", "measured"], rows)
    scale = _figures(found, "scale")
    if not scale:
        return said
    return (
        f"{said}\n\nOf the bench `scale`, to compare, without all that follows: one API process"
        f" accepted {shown(scale['accepts_per_second_1'])} a second, one worker sent"
        f" {shown(scale['sends_per_second_1'])}."
    )


def tables(costs: Costs, assumed: Assumed) -> str:
    found = {name: needs(each, costs, assumed) for name, each in VOLUMES.items()}

    def row(what: str, of: Callable[[Needs], Cell]) -> list[Cell]:
        return [what, *(of(each) for each in found.values())]

    def senders(kind: str) -> list[Cell]:
        return row(
            f"senders, if all were: {kind}",
            lambda n: numbers(n.per_second, assumed.segments)[kind],
        )

    a = assumed
    rows = [
        row("texts/s at the peak, answers included", lambda n: n.per_second),
        row("cores for the API", lambda n: n.api_cores),
        row("cores for workers", lambda n: n.worker_cores),
        row("cores for Postgres", lambda n: n.postgres_cores),
        row("WAL at the peak, MB/s", lambda n: n.wal_mb_second),
        row(f"stored, TB ({shown(a.retention_days)} days)", lambda n: n.stored_tb),
        row(f"Postgres servers for {a.postgres_cores} cores each", lambda n: n.bounds["cores"]),
        row(f"... for {shown(a.postgres_wal)} MB/s of WAL each", lambda n: n.bounds["WAL"]),
        row(f"... for {shown(a.postgres_tb)} TB each", lambda n: n.bounds["disk"]),
        row("Postgres servers, by account (and a standby each)", lambda n: n.shards),
        row("what decides that", lambda n: n.decides),
        row("workers that have to delete, of each server", lambda n: n.forgetting),
        row("cores for Redis", lambda n: n.redis_cores),
        row(f"boxes of {a.box_cores} cores", lambda n: n.boxes),
        row("carrier accounts", lambda n: n.accounts),
        *(senders(kind) for kind in SENDERS),
        row("machines, $ a month", lambda n: n.machines_month),
        row("carrier, $ a month", lambda n: n.carrier_month),
        row("machines / carrier", lambda n: n.share),
    ]
    return table(["texts a day", *found], rows)


def forgetting(costs: Costs, assumed: Assumed) -> str:
    """Up to which volume deleting keeps up, in words."""
    seconds, most = forgetting_seconds(costs, assumed), forgotten_a_day(costs, assumed)
    return (
        f"Deleting: at most {CONVERSATIONS} conversations and {ROWS:,} rows of a table at once,"
        f" here {shown(CONVERSATIONS * assumed.conversation_texts)} texts in {shown(seconds)} s,"
        f" then a rest of {REST} times that. One worker keeps up with {shown(most / 1e6)} million"
        f" texts a day and with no more. Other workers go on while it rests; of one project only"
        f" one piece goes at a time, so more than {1 + REST} gain nothing there"
        f" ({shown(most * (1 + REST) / 1e6)} million)."
    )


def whole(found: Mapping[str, Any], assumed: Assumed) -> str:
    """All of it, in Markdown."""
    c = costs(found)
    return "\n\n".join([measured(found), tables(c, assumed), forgetting(c, assumed)])


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < inf:
        raise ValueError(text)
    return number


def _not_negative(text: str) -> float:
    return 0.0 if float(text) == 0 else _positive(text)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


_MAY_BE_NONE: Final = ("answers", "deleting", "text_events", "piece_seconds")


def arguments(given: Sequence[str] | None = None) -> tuple[Path | None, Assumed]:
    """Which file, and what is assumed."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.model",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--json",
        type=Path,
        default=argparse.SUPPRESS,
        help=f"a run (default: {LATEST.relative_to(ROOT)}, or {CONSTANTS.relative_to(ROOT)}"
        " where that is missing, quick, or without the pipeline)",
    )
    for each in fields(Assumed):
        number = _not_negative if each.name in _MAY_BE_NONE else _positive
        parser.add_argument(
            f"--{each.name.replace('_', '-')}",
            type=_count if isinstance(each.default, int) else number,
            default=each.default,
            metavar="N",
            help=each.metadata["words"],
        )
    asked = vars(parser.parse_args(given))
    path: Path | None = asked.pop("json", None)
    if path is not None and not path.exists():
        parser.error(f"there is no {path}")
    return path, Assumed(**asked)


def main() -> int:
    path, assumed = arguments()
    if path is None:
        path, found, why = chosen()
    else:
        found, why = json.loads(path.read_text()), None
    used = path.resolve()
    name = used.relative_to(ROOT) if used.is_relative_to(ROOT) else path
    whose = f": {found['date']}, {found['machine']}" if "date" in found else ""
    try:
        said = whole(found, assumed)
    except ValueError as error:
        sys.exit(f"{name}: {error}")
    print(f"Constants of {name}{whose}{f' ({why})' if why else ''}\n\n{said}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
