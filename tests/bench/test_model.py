"""What a deployment needs, from what one text costs."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from bench.model import (
    CONSTANTS,
    SENDERS,
    Assumed,
    Costs,
    arguments,
    chosen,
    constants,
    costs,
    forgetting,
    forgetting_seconds,
    forgotten_a_day,
    measured,
    needs,
    numbers,
    tables,
    whole,
)
from textback.flows.retention import CONVERSATIONS, ROWS
from textback.worker.forgetting import REST

COSTS = Costs(
    api=0.001, worker=0.0015, postgres=0.001, redis=0.0001, wal_bytes=12_000, stored_bytes=6_000
)
ASSUMED = Assumed(
    peak=2,
    busy=0.5,
    answers=0.25,
    segments=2,
    deleting=0.5,
    box_cores=4,
    postgres_cores=16,
    postgres_tb=1_000,
    postgres_wal=10_000,
)


def run(*, quick: bool = False, **figures: object) -> dict[str, Any]:
    """What a run's JSON holds."""
    results = [{"name": name, "figures": each} for name, each in figures.items()]
    return {"tree": "here", "quick": quick, "results": results}


CPU = {"api_us": 800, "worker_us": 900, "postgres_us": 700, "redis_us": 50}
PIPELINE = CPU | {"wal_bytes": 9_000, "stored_bytes": 5_000}
SCALE = {"accepts_per_second_1": 4_000.0, "sends_per_second_1": 1_000.0}


def test_cores_follow_from_the_busiest_second() -> None:
    found = needs(86_400 * 500, COSTS, ASSUMED)  # 1,000 accepted a second at the peak
    assert found.per_second == pytest.approx(1_250)
    assert (found.api_cores, found.worker_cores, found.redis_cores) == (2, 3, 1)


def test_a_text_costs_postgres_once_more_when_it_is_deleted() -> None:
    never, later = replace(ASSUMED, deleting=0), ASSUMED
    kept, found = (needs(86_400 * 500, COSTS, each) for each in (never, later))
    assert (kept.postgres_cores, found.postgres_cores) == (2, 3)
    assert kept.wal_mb_second == pytest.approx(12)
    assert found.wal_mb_second == pytest.approx(18)


def test_a_box_may_fail_however_little_there_is_to_do() -> None:
    found = needs(1_000, COSTS, ASSUMED)
    assert found.boxes == 4  # two for processes, a Postgres and its standby
    assert (found.shards, found.decides) == (1, "one is enough")


def test_postgres_is_split_once_one_server_has_no_core_left() -> None:
    one, two = (needs(86_400 * each, COSTS, ASSUMED) for each in (2_600, 2_700))
    assert (one.postgres_cores, one.shards) == (16, 1)
    assert (two.postgres_cores, two.shards, two.decides) == (17, 2, "cores")


def test_postgres_is_split_once_one_server_has_no_disk_left() -> None:
    small = replace(ASSUMED, postgres_tb=1, retention_days=100)
    found = needs(5e6, COSTS, small)  # 3 TB
    assert found.bounds == {"cores": 1, "disk": 3, "WAL": 1}
    assert (found.shards, found.decides) == (3, "disk")


def test_postgres_is_split_once_one_server_writes_all_it_can() -> None:
    slow = replace(ASSUMED, postgres_wal=10)
    found = needs(86_400 * 500, COSTS, slow)  # 18 MB/s
    assert (found.shards, found.decides) == (2, "WAL")


def test_what_asks_for_as_many_servers_is_said_together() -> None:
    both = replace(ASSUMED, postgres_wal=10, postgres_tb=4)
    assert needs(86_400 * 500, COSTS, both).decides == "disk and WAL"  # 18 MB/s, 7.8 TB


def test_a_server_has_as_many_boxes_as_its_share_of_the_cores() -> None:
    found = needs(86_400 * 500, COSTS, replace(ASSUMED, postgres_tb=1))
    assert (found.shards, found.postgres_cores) == (8, 3)
    assert found.boxes == 2 + 8 * 2  # less than a core each, in a box of its own, and a standby


def test_one_worker_deletes_a_piece_and_then_rests() -> None:
    seconds = forgetting_seconds(COSTS, replace(ASSUMED, piece_seconds=0.025))
    assert seconds == pytest.approx(0.025 + CONVERSATIONS * 0.001 * 0.5)
    found = forgotten_a_day(COSTS, replace(ASSUMED, piece_seconds=0.025))
    assert found == pytest.approx(CONVERSATIONS / (seconds * (1 + REST)) * 86_400)


def test_more_rows_than_go_at_once_take_several_pieces() -> None:
    texts = ROWS / CONVERSATIONS  # of one event each: as many rows as a piece has
    free = replace(ASSUMED, deleting=0, text_events=1, piece_seconds=1)
    few, many = (replace(free, conversation_texts=each) for each in (texts - 1, texts))
    assert (forgetting_seconds(COSTS, few), forgetting_seconds(COSTS, many)) == (1, 2)


def test_workers_are_added_past_what_one_deletes() -> None:
    most = forgotten_a_day(COSTS, ASSUMED)
    assert needs(most * 0.99, COSTS, ASSUMED).forgetting == 1
    assert needs(most * 1.01, COSTS, ASSUMED).forgetting == 2


def test_each_postgres_server_has_only_its_share_to_delete() -> None:
    most = forgotten_a_day(COSTS, ASSUMED)
    stored = most * 2 * ASSUMED.retention_days * COSTS.stored_bytes / 1e12
    split = replace(ASSUMED, postgres_tb=stored / 1.9)
    found = needs(most * 2 * 0.99, COSTS, split)
    assert (found.shards, found.forgetting) == (2, 1)


def test_deleting_that_costs_nothing_always_keeps_up() -> None:
    free = replace(ASSUMED, deleting=0, piece_seconds=0)
    assert needs(1e10, COSTS, free).forgetting == 1


def test_it_is_said_when_deleting_no_longer_keeps_up() -> None:
    # 50 texts in 0.054 s and three times that of rest.
    cost = replace(COSTS, postgres=0.00096)
    assert "One worker keeps up with 20 million texts a day" in forgetting(cost, Assumed())
    assert "(80 million)" in forgetting(cost, Assumed())


def test_ten_times_the_texts_need_ten_times_the_storage_and_the_carrier() -> None:
    one, ten = (needs(each, COSTS, ASSUMED) for each in (1e6, 1e7))
    assert ten.stored_tb == pytest.approx(10 * one.stored_tb)
    assert ten.carrier_month == pytest.approx(10 * one.carrier_month)
    assert one.carrier_month == pytest.approx(1e6 * 1.25 * 30 * 2 * 0.0079)


def test_senders_are_counted_by_segments() -> None:
    found = numbers(100, 2)
    assert found["short code"] == 2
    assert found["long code, Canada"] == 200
    assert found["toll-free"] == 67


def test_a_slow_carrier_needs_more_accounts() -> None:
    slow = Assumed(carrier_answer=1, carrier_at_once=100, peak=1, answers=0)
    assert needs(86_400 * 1_000, COSTS, slow).accounts == 10


def test_costs_come_from_the_pipeline_of_a_run() -> None:
    found = costs(run(pipeline=PIPELINE))
    assert (found.api, found.worker, found.postgres, found.redis) == (8e-4, 9e-4, 7e-4, 5e-5)
    assert (found.wal_bytes, found.stored_bytes) == (9_000, 5_000)


def test_a_run_without_the_pipeline_is_refused() -> None:
    with pytest.raises(ValueError, match="was not measured"):
        costs(run(idle={}))


def test_the_table_has_every_volume_and_every_kind_of_sender() -> None:
    shown = tables(COSTS, ASSUMED)
    head = [cell.strip() for cell in shown.splitlines()[0].strip("|").split("|")]
    assert head == ["texts a day", "1 M", "100 M", "10 G"]
    assert all(kind in shown for kind in SENDERS)


def test_the_table_says_what_decides_how_many_postgres_servers_there_are() -> None:
    (line,) = (each for each in tables(COSTS, ASSUMED).splitlines() if "what decides" in each)
    assert [cell.strip() for cell in line.strip("|").split("|")][1:3] == ["one is enough"] * 2


def test_the_constants_are_shown_to_check_by_hand() -> None:
    shown = measured(run(pipeline=PIPELINE, scale=SCALE))
    for words in ("800", "900", "700", "50", "9,000", "5,000", "4,000", "1,000"):
        assert words in shown
    assert "scale" not in measured(run(pipeline=PIPELINE))


def test_what_is_kept_of_a_run_gives_the_same_answer() -> None:
    found = run(pipeline=PIPELINE, idle={"api_mb": 130}, scale=SCALE)
    kept = constants(found, machine="2 cores", date="2026-01-31")
    assert set(kept) == {"date", "machine", "results"}
    assert [each["name"] for each in kept["results"]] == ["pipeline", "scale"]
    assert whole(json.loads(json.dumps(kept)), ASSUMED) == whole(found, ASSUMED)


def test_nothing_is_kept_of_a_run_without_the_pipeline() -> None:
    with pytest.raises(ValueError, match="was not measured"):
        constants(run(idle={}), machine="2 cores", date="2026-01-31")


def test_the_repository_has_constants() -> None:
    kept = json.loads(CONSTANTS.read_text())
    assert kept["date"]
    assert kept["machine"]
    assert costs(kept).postgres > 0


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (None, "nothing was measured here yet"),
        (run(idle={}), "the last run here was without the pipeline"),
        (run(quick=True, pipeline=PIPELINE), "the last run here was a quick one"),
        (run(pipeline=PIPELINE), None),
    ],
)
def test_the_last_run_is_used_if_it_is_any_good(
    tmp_path: Path, found: dict[str, Any] | None, why: str | None
) -> None:
    latest = tmp_path / "latest.json"
    if found is not None:
        latest.write_text(json.dumps(found))
    path, content, said = chosen(latest, CONSTANTS)
    assert (path, said) == (CONSTANTS if why else latest, why)
    assert costs(content).api > 0


def test_every_assumption_is_an_option() -> None:
    given = [f"--{each.name.replace('_', '-')}=7" for each in fields(Assumed)]
    _, assumed = arguments(given)
    assert all(getattr(assumed, each.name) == 7 for each in fields(Assumed))
    assert arguments([]) == (None, Assumed())


@pytest.mark.parametrize("given", ["--peak=0", "--busy=nan", "--box-cores=1.5", "--deleting=-1"])
def test_an_assumption_that_makes_no_sense_is_refused(
    given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        arguments([given])
    assert given.partition("=")[0] in capsys.readouterr().err


def test_help_says_every_assumption_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert all(f"(default: {each.default})" in said for each in fields(Assumed))
