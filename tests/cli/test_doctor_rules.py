"""What `textback doctor` makes of what Postgres and Redis say of themselves."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

from textback.cli import doctor_postgres, doctor_redis
from textback.core.ports import Finding
from textback.db.checkup import Server, Slot

WELL: Final = Server(
    version=170004,
    version_name="17.4",
    is_standby=False,
    is_remote=True,
    is_encrypted=True,
    most_connections=97,
    connections=23,
    longest_transaction=timedelta(seconds=2),
    vacuums=True,
    transactions_unfrozen=100_000_000,
    bytes=2_500_000_000,
    standbys=1,
    synchronous_standbys=1,
    wants_synchronous=True,
    lag=timedelta(milliseconds=3),
    fails_to_archive=False,
    archives=True,
    slots=[Slot(name="yesterday", bytes=1000)],
)


def judged(server: Server) -> list[Finding]:
    return doctor_postgres.judged(server, pool=10)


def test_a_server_that_is_well_is_described_and_left_alone() -> None:
    found = judged(WELL)
    assert [each.fix for each in found] == [None] * len(found)
    assert [each.what for each in found] == [
        "Postgres 17.4, 2.5 GB in this database",
        "the connection to Postgres is encrypted",
        "23 of 97 connections to Postgres are in use; a process takes up to 12",
        "standbys: 1, synchronous: 1",
        "Postgres archives its log",
    ]


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"is_standby": True}, "leads to a standby"),
        ({"version": 140010, "version_name": "14.10"}, "Postgres 14.10 is older"),
        ({"connections": 90}, "90 of 97 connections"),
        ({"most_connections": 3, "connections": 2}, "2 of 3 connections"),
        ({"longest_transaction": timedelta(minutes=6)}, "has been open for 360 s"),
        ({"vacuums": False}, "autovacuum is off"),
        ({"transactions_unfrozen": 1_500_000_000}, "1500 million transactions"),
        ({"synchronous_standbys": 0}, "waits for a synchronous standby"),
        ({"lag": timedelta(minutes=2)}, "a standby is 120 s behind"),
        ({"fails_to_archive": True}, "cannot archive its log"),
        (
            {"slots": [Slot(name="old", bytes=9_000_000_000)]},
            "keeps 9.0 GB of its log for the slot old",
        ),
    ],
)
def test_what_is_wrong_with_a_server_is_told_with_what_to_do(
    changed: dict[str, Any], what: str
) -> None:
    [found] = [each for each in judged(replace(WELL, **changed)) if not each.ok]
    assert what in found.what
    assert found.fix


@pytest.mark.parametrize(
    ("changed", "fix"),
    [
        ({"is_encrypted": False}, "sslmode=verify-full"),
        ({"wants_synchronous": False, "synchronous_standbys": 0}, "textback doubt"),
    ],
)
def test_what_may_be_meant_so_is_told_and_not_counted(changed: dict[str, Any], fix: str) -> None:
    found = judged(replace(WELL, **changed))
    assert all(each.ok for each in found)
    [hint] = [each.fix for each in found if each.fix]
    assert fix in hint


REDIS: Final = {"redis_version": "7.4.1", "maxmemory": 0, "used_memory": 1_000_000}


@pytest.mark.parametrize(
    ("changed", "url", "wrong"),
    [
        ({}, "redis://localhost", []),
        ({"valkey_version": "9.1.2"}, "unix:///run/redis.sock", []),
        ({}, "redis://redis", []),
        ({"redis_version": "5.0.7"}, "rediss://redis", ["Redis 5.0.7 is older"]),
        ({"maxmemory": 2_000_000}, "rediss://redis", []),
        (
            {"maxmemory": 1_100_000, "maxmemory_policy": "allkeys-lru"},
            "rediss://redis",
            ["forgets limits", "91% of its memory"],
        ),
    ],
)
def test_a_redis_that_may_forget_or_refuse_is_told(
    changed: dict[str, Any], url: str, wrong: list[str]
) -> None:
    found = doctor_redis.judged({**REDIS, **changed}, url)
    bad = [each for each in found if not each.ok]
    assert len(bad) == len(wrong)
    for each, words in zip(bad, wrong, strict=True):
        assert words in each.what
        assert each.fix
    assert any("clear text" in each.what for each in found) == (url == "redis://redis")
