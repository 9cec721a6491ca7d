"""What an answer means, when an endpoint is let alone, and where events may be posted."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textback.core import webhook
from textback.core.webhook import (
    HOLD_MOST,
    LADDER,
    LONGEST_RETRY_AFTER,
    WELL,
    Answered,
    Health,
    NotAnswered,
)

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def answer(status: int) -> Answered:
    return Answered(status=status, body="", milliseconds=1)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, "delivered"),
        (299, "delivered"),
        (301, "refused"),
        (308, "refused"),
        (400, "refused"),
        (401, "refused"),
        (404, "refused"),
        (408, "again"),
        (410, "gone"),
        (429, "again"),
        (500, "again"),
        (599, "again"),
    ],
)
def test_what_an_answer_means(status: int, verdict: str) -> None:
    assert webhook.verdict(answer(status)) == verdict


def test_no_answer_may_pass() -> None:
    assert webhook.verdict(NotAnswered(why="no answer in time")) == "again"


def test_the_ladder_is_the_published_one() -> None:
    waits = [webhook.again_at(tries, now=NOW) for tries in range(7)]
    minutes = [None if at is None else (at - NOW) / timedelta(minutes=1) for at in waits]
    assert minutes == [0, 1, 5, 15, 60, 240, None]


@given(tries=st.integers(0, len(LADDER) - 1), asked=st.timedeltas(min_value=timedelta(0)))
def test_who_asks_for_time_gets_it_up_to_an_hour(tries: int, asked: timedelta) -> None:
    at = webhook.again_at(tries, now=NOW, retry_after=asked)
    assert at is not None
    assert at - NOW >= min(asked, LONGEST_RETRY_AFTER)
    assert at - NOW >= LADDER[tries]
    assert at - NOW <= max(LADDER[tries], LONGEST_RETRY_AFTER)


def test_an_endpoint_that_fails_is_let_alone_for_longer_each_time_up_to_a_minute() -> None:
    health, now, holds = WELL, NOW, list[float]()
    for _ in range(12):
        health = webhook.failed(health, now=now)
        now = max(now, health.hold_until or now)
        holds.append((now - NOW).total_seconds())
    waits = [after - before for before, after in pairwise(holds)]
    assert holds[:2] == [0, 0]
    assert waits[1:] == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert health.is_down
    assert health.failing_since == NOW


@given(
    failures=st.integers(0, 10_000),
    asked=st.none() | st.timedeltas(min_value=timedelta(0)),
)
def test_a_hold_is_never_longer_than_a_minute(failures: int, asked: timedelta | None) -> None:
    before = Health(failures=failures, failing_since=NOW if failures else None)
    after = webhook.failed(before, now=NOW, retry_after=asked)
    assert after.failures == failures + 1
    assert (after.hold_until or NOW) - NOW <= HOLD_MOST


def test_what_was_under_way_when_the_hold_began_says_nothing_new() -> None:
    held = Health(failures=3, failing_since=NOW, hold_until=NOW + timedelta(seconds=1))
    assert webhook.failed(held, now=NOW) == held
    assert webhook.failed(held, now=NOW + timedelta(seconds=1)).failures == 4


def test_it_is_paused_after_a_day_without_a_success() -> None:
    day = timedelta(hours=24)
    down = Health(failures=3, failing_since=NOW)
    assert not webhook.is_to_pause(down, now=NOW + day - timedelta(seconds=1))
    assert webhook.is_to_pause(down, now=NOW + day)
    # Two failures with a day and nothing else between them prove nothing.
    assert not webhook.is_to_pause(Health(failures=2, failing_since=NOW), now=NOW + 9 * day)
    assert not webhook.is_to_pause(WELL, now=NOW)


PRIVATE = [
    "0.0.0.0",  # noqa: S104 - it is not bound
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.192",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.7",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "2002:7f00:1::",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_anybodys_on_the_internet_is_not_public(address: str) -> None:
    assert not webhook.is_public(address)
    host = f"[{address}]" if ":" in address else address
    assert webhook.url_fault(f"https://{host}/", private=False) is not None
    assert webhook.url_fault(f"http://{host}/", private=True) is None


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "93.184.215.14", "2606:4700::1111"])
def test_others_are(address: str) -> None:
    assert webhook.is_public(address)


@given(st.ip_addresses(network="::ffff:0:0/96") | st.ip_addresses(network="2002::/16"))
def test_no_ipv4_address_comes_in_by_an_ipv6_one(address: object) -> None:
    assert not webhook.is_public(str(address))


@given(st.ip_addresses())
def test_what_python_calls_private_is_never_public(address: object) -> None:
    if webhook.is_public(str(address)):
        assert ip_address(str(address)).is_global


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com/hook?x=1&y=%20",
        "https://hooks.example.com:8443/a/b",
        "https://xn--mnchen-3ya.example/",
        "https://1.1.1.1/",
        "https://[2606:4700::1111]:444/x",
    ],
)
def test_good_urls(url: str) -> None:
    assert webhook.url_fault(url, private=False) is None
    assert webhook.url_fault(url, private=True) is None


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("", "must begin with"),
        ("example.com/hook", "must begin with"),
        ("//example.com/", "must begin with"),
        ("ftp://example.com/", "must begin with"),
        ("file:///etc/passwd", "must begin with"),
        ("https://", "must begin with"),
        ("https:///hook", "must begin with"),
        ("https://[::1/", "must begin with"),
        ("https://example.com:99999/", "must begin with"),
        ("https://example.com:x/", "must begin with"),
        ("https://example.com:0/", "port 0"),
        ("https://me:secret@example.com/", "a password"),
        ("https://@example.com/", "a password"),
        ("https://example.com/#here", "a fragment"),
        ("https://example.com/#", "a fragment"),
        ("https://example.com\\@evil.example/", "in ASCII"),
        ("https://exa mple.com/", "in ASCII"),
        ("https://example.com/\n", "in ASCII"),
        ("https://ex\tample.com/", "in ASCII"),
        ("https://münchen.example/", "in ASCII"),
        ("https://example..com/", "names no host"),
        ("https://exa*mple.com/", "names no host"),
        ("https://" + "a" * 64 + ".com/", "names no host"),
        ("https://127.1/", "four decimal numbers"),
        ("https://2130706433/", "four decimal numbers"),
        ("https://0x7f000001/", "four decimal numbers"),
        ("https://0177.0.0.1/", "four decimal numbers"),
        ("https://0x7f.0.0.0x1./", "four decimal numbers"),
        ("https://example.com/" + "x" * 2048, "2048 characters"),
    ],
)
def test_bad_urls(url: str, fault: str) -> None:
    for private in (False, True):
        found = webhook.url_fault(url, private=private)
        assert found is not None, url
        assert fault in found


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://localhost/",
        "https://db/",
        "https://db.internal/",
        "https://printer.local./",
        "https://127.0.0.1/",
    ],
)
def test_what_only_a_developer_may_post_to(url: str) -> None:
    assert webhook.url_fault(url, private=False) is not None
    assert webhook.url_fault(url, private=True) is None


@given(st.text(max_size=80))
def test_no_url_is_too_strange_to_be_judged(rest: str) -> None:
    for url in (rest, "https://" + rest, "https://example.com" + rest):
        fault = webhook.url_fault(url, private=False)
        assert fault is None or fault


def test_a_url_is_kept_with_a_path() -> None:
    assert webhook.normal_url("https://example.com?x=1") == "https://example.com/?x=1"
    assert webhook.normal_url("https://example.com/a") == "https://example.com/a"
