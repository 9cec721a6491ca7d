"""What a deployment needs, from what one text costs."""

import json

import pytest

from bench.model import SENDERS, Assumed, Costs, costs, needs, numbers, tables

COSTS = Costs(
    api=0.001, worker=0.0015, postgres=0.001, redis=0.0001, wal_bytes=12_000, stored_bytes=6_000
)
ASSUMED = Assumed(peak=2, busy=0.5, answers=0.25, segments=2, box_cores=4, postgres_cores=16)


def test_cores_follow_from_the_busiest_second() -> None:
    found = needs(86_400 * 500, COSTS, ASSUMED)  # 1,000 accepted a second at the peak
    assert found.per_second == pytest.approx(1_250)
    assert (found.api_cores, found.worker_cores, found.postgres_cores) == (2, 3, 2)
    assert found.redis_cores == 1
    assert found.wal_mb_second == pytest.approx(12)


def test_a_box_may_fail_however_little_there_is_to_do() -> None:
    found = needs(1_000, COSTS, ASSUMED)
    assert found.boxes == 4  # two for processes, a Postgres and its standby
    assert found.shards == 1


def test_postgres_is_split_once_one_server_is_full() -> None:
    assert needs(86_400 * 4_000, COSTS, ASSUMED).shards == 1  # 16 cores
    assert needs(86_400 * 4_100, COSTS, ASSUMED).shards == 2


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
    cpu = {"api_us": 800, "worker_us": 900, "postgres_us": 700, "redis_us": 50}
    figures = cpu | {"wal_bytes": 9_000, "stored_bytes": 5_000}
    found = costs({"results": [{"name": "pipeline", "figures": figures}]})
    assert (found.api, found.worker, found.postgres, found.redis) == (8e-4, 9e-4, 7e-4, 5e-5)
    assert (found.wal_bytes, found.stored_bytes) == (9_000, 5_000)


def test_a_run_without_the_pipeline_is_refused() -> None:
    with pytest.raises(ValueError, match="was not measured"):
        costs(json.loads('{"results": [{"name": "idle", "figures": {}}]}'))


def test_the_table_has_every_volume_and_every_kind_of_sender() -> None:
    shown = tables(COSTS, ASSUMED)
    head = [cell.strip() for cell in shown.splitlines()[0].strip("|").split("|")]
    assert head == ["texts a day", "1 M", "100 M", "10 G"]
    assert all(kind in shown for kind in SENDERS)
