"""What may be in a log, and what must never be: texts, secrets, whole numbers."""

import asyncio
import json
import logging
import re
import threading
from collections.abc import AsyncGenerator
from io import StringIO

import httpx
import pytest
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import (
    AGENT,
    ROUTE,
    USER,
    client,
    correlation_id,
    execute,
    headers,
    is_accepted,
    log_to,
    send,
    settings,
    started,
    worked,
)
from tests.support.fake_twilio import FakeTwilio, refused, reset
from tests.support.fake_twilio.fake import NO_RECEIPTS
from tests.support.hooks import INBOUND, RECEIPT, STATUS, TEXT, post
from tests.support.log_lines import lines
from tests.support.provision import (
    ACME_KEY,
    ACME_SID,
    SECRET_KEY,
    STANDARD_YAML,
    TOKEN,
    environment,
    provision,
)
from textback import logs, wiring
from textback.settings import Settings

PLANTED = "planted words nobody may read"
LOG = structlog.stdlib.get_logger()


def is_clean(logged: StringIO) -> None:
    """Neither a text, nor a secret, nor a whole number."""
    said = logged.getvalue()
    for secret in (PLANTED, ACME_KEY, TOKEN, SECRET_KEY, "planted-password", "whsec_"):
        assert secret not in said
    assert not re.search(r"(\+|%2B)1415555\d{4}", said, re.IGNORECASE)


# --- The formatter -----------------------------------------------------------------------------


class QuotingError(Exception):
    """Tells what it was handed."""


def test_each_event_is_one_line_of_json_with_level_and_time(logged: StringIO) -> None:
    LOG.warning("something.happened", conversation_id="conv_1", why="line\nbreak")
    logging.getLogger("a.library").error("failed for %s", USER)
    ours, theirs = lines(logged.getvalue())
    assert (ours["event"], ours["level"], ours["why"]) == (
        "something.happened",
        "warning",
        "line\nbreak",
    )
    assert str(ours["timestamp"]).endswith("Z")
    assert (theirs["event"], theirs["level"]) == ("failed for +1415***0123", "error")


@pytest.mark.parametrize(
    "value",
    [
        USER,
        f"pace:{USER}",
        {"to": USER, "also": [USER, {"deep": (USER,)}]},
        [USER],
        QuotingError(f"to {USER}"),
        f"/hooks/{USER.replace('+', '%2B')}",
        f"/hooks/{USER.replace('+', '%2b')}",
        USER.encode(),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("pretty", [True, False], ids=["pretty", "json"])
def test_a_number_is_masked_wherever_it_stands(
    logged: StringIO, value: object, *, pretty: bool
) -> None:
    log_to(logged, pretty=pretty)
    LOG.info("something.happened", value=value)
    logging.getLogger("a.library").info("said %s", value)
    is_clean(logged)
    assert logged.getvalue().count("***0123") >= 2


@pytest.mark.parametrize("pretty", [True, False], ids=["pretty", "json"])
def test_a_traceback_is_logged_with_its_causes_and_masked(
    logged: StringIO, *, pretty: bool
) -> None:
    log_to(logged, pretty=pretty)

    def fail() -> None:
        raise QuotingError(f"no route to {USER}")

    def fail_over() -> None:
        try:
            fail()
        except QuotingError as error:
            raise ZeroDivisionError from error

    try:
        fail_over()
    except ZeroDivisionError:
        LOG.exception("it.failed")
        logging.getLogger("a.library").exception("failed")
    is_clean(logged)
    said = logged.getvalue()
    assert said.count("no route to +1415***0123") == 2
    assert said.count("ZeroDivisionError") >= 2
    assert "test_logs.py" in said


def test_every_member_of_a_group_of_exceptions_is_logged(logged: StringIO) -> None:
    async def fail(error: Exception) -> None:
        raise error

    async def together() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail(ZeroDivisionError("first")))
            group.create_task(fail(QuotingError(f"second, {USER}")))

    try:
        asyncio.run(together())
    except* (ZeroDivisionError, QuotingError):
        LOG.exception("it.failed")
    is_clean(logged)
    assert "ZeroDivisionError: first" in str(lines(logged.getvalue())[0]["exception"])
    assert "second, +1415***0123" in str(lines(logged.getvalue())[0]["exception"])


def test_an_exception_that_cannot_be_written_down_does_not_stop_the_log(logged: StringIO) -> None:
    class UnspeakableError(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

    def fail() -> None:
        raise UnspeakableError

    try:
        fail()
    except UnspeakableError:
        LOG.exception("it.failed")
    assert "UnspeakableError" in str(lines(logged.getvalue())[0]["exception"])


def test_lines_are_kept_for_a_moment_and_a_warning_is_written_at_once_with_those_before_it(
    logged: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout", logged)
    logs.configure("info", pretty=False)
    structlog.configure(cache_logger_on_first_use=False)
    LOG.info("first.happened")
    LOG.debug("nothing.happened")
    logging.getLogger("a.library").info("second")
    assert logged.getvalue() == ""
    LOG.warning("third.happened")
    assert [line["event"] for line in lines(logged.getvalue())] == [
        "first.happened",
        "second",
        "third.happened",
    ]
    LOG.info("fourth.happened")
    for _ in range(1000):
        if len(lines(logged.getvalue())) == 4:
            break
        threading.Event().wait(0.01)
    assert lines(logged.getvalue())[-1]["event"] == "fourth.happened"


def test_nothing_fails_because_nobody_reads_the_log_or_a_value_cannot_be_written_down(
    logged: StringIO,
) -> None:
    class Unspeakable:
        def __repr__(self) -> str:
            raise ZeroDivisionError

    holds_itself: list[object] = []
    holds_itself.append(holds_itself)
    LOG.info("it.happened", value=Unspeakable(), more=holds_itself, key={(1, 2): "three"})
    assert lines(logged.getvalue())[0]["event"] == "it.happened"
    log_to(closed := StringIO())
    closed.close()
    LOG.error("it.happened")


# --- The whole product -------------------------------------------------------------------------


@pytest.fixture
async def twilio() -> AsyncGenerator[FakeTwilio]:
    async with FakeTwilio(ACME_SID, TOKEN) as fake:
        fake.receipts = NO_RECEIPTS
        yield fake


@pytest.fixture
def most_said(logged: StringIO) -> StringIO:
    """A log at the level that tells most."""
    log_to(logged, "debug")
    return logged


async def test_texts_secrets_and_numbers_are_in_no_log_of_requests_and_webhooks(
    http: httpx.AsyncClient, engine: AsyncEngine, most_said: StringIO
) -> None:
    said = {"user_number": USER, "message": PLANTED, "agent_number": AGENT}
    is_accepted(await send(http, said))
    is_accepted(await send(http, said, headers(**{"Idempotency-Key": PLANTED.replace(" ", "-")})))
    for body, asked in [
        (json.dumps(said | {"agent_number": "+14155550177"}).encode(), headers()),
        (f'{{"message": "{PLANTED}"'.encode(), headers()),
        (json.dumps(said).encode(), headers(ACME_KEY + PLANTED.replace(" ", "-"))),
        (json.dumps(said).encode(), headers(connector=ACME_KEY)),
    ]:
        assert (await send(http, body, asked)).is_client_error
    for path in (
        f"/{USER}",
        f"/v1/{USER.replace('+', '%2B')}?text={PLANTED}",
        f"/hooks/{USER}/inbound",
    ):
        assert (await http.post(path, content=PLANTED)).status_code == 404
    form = TEXT | {"Body": PLANTED}
    assert (await post(http, INBOUND, form)).status_code == 200
    assert (await post(http, INBOUND, form | {"To": "+14155550177"})).status_code == 200
    assert (
        await post(http, INBOUND, form | {"MessageSid": "SM3", "From": "garbage"})
    ).status_code == 200
    assert (await post(http, INBOUND, {"AccountSid": ACME_SID, "Body": PLANTED})).status_code == 400
    assert (await post(http, f"{INBOUND}?user={USER}", form, token="wrong")).status_code == 403
    assert (await post(http, STATUS, RECEIPT | {"MessageStatus": USER})).status_code == 200
    await execute(
        engine,
        f"alter table messages add constraint accident check (text <> '{PLANTED}') not valid",
    )
    try:
        assert (await send(http, said)).status_code == 500
        assert (await post(http, INBOUND, form | {"MessageSid": "SM4"})).status_code == 500
    finally:
        await execute(engine, "alter table messages drop constraint accident")
    is_clean(most_said)
    assert most_said.getvalue().count("http.failed") == 2


async def test_a_database_error_is_logged_with_what_an_operator_needs(
    http: httpx.AsyncClient, engine: AsyncEngine, logged: StringIO
) -> None:
    await execute(engine, "alter table messages add constraint accident check (text <> 'boom')")
    try:
        answer = await send(http, message="boom")
    finally:
        await execute(engine, "alter table messages drop constraint accident")
    [failed] = [line for line in lines(logged.getvalue()) if line["event"] == "http.failed"]
    assert failed["correlation_id"] == correlation_id(answer)
    assert (failed["level"], failed["path"]) == ("error", ROUTE)
    told = str(failed["exception"])
    assert "boom" not in told
    for wanted in ("CheckViolation", "23514", "accident", "messages", "accept.py", "send_text"):
        assert wanted in told


async def test_a_database_that_cannot_be_reached_does_not_put_its_password_into_the_log(
    found: Settings, most_said: StringIO
) -> None:
    url = "postgresql://textback:planted-password@127.0.0.1:9/textback"
    async with started(found.model_copy(update={"database_url": url})) as rt, client(rt) as http:
        assert (await send(http)).status_code == 503
        assert (await http.get("/health/ready")).status_code == 503
    is_clean(most_said)


async def test_each_request_is_one_line_with_its_correlation_id_and_no_query(
    http: httpx.AsyncClient, logged: StringIO
) -> None:
    answer = await http.get("/openapi.json?token=abc")
    [line] = lines(logged.getvalue())
    assert (line["event"], line["level"]) == ("http.answered", "info")
    assert (line["method"], line["path"], line["status"]) == ("GET", "/openapi.json", 200)
    assert line["correlation_id"] == correlation_id(answer)
    assert "abc" not in logged.getvalue()


async def test_probes_do_not_fill_the_log(http: httpx.AsyncClient, logged: StringIO) -> None:
    for path in ("/health/live", "/health/ready", "/metrics"):
        assert (await http.get(path)).status_code == 200
    assert logged.getvalue() == ""


async def test_texts_secrets_and_numbers_are_in_no_log_of_a_worker(
    engine: AsyncEngine, database_url: str, redis_url: str, twilio: FakeTwilio, most_said: StringIO
) -> None:
    quick = STANDARD_YAML.replace(
        "agent: bookings\n", "agent: bookings\n        reply_delay_seconds: 0\n"
    ).replace("carrier: acme-twilio}", "carrier: acme-twilio, segments_per_second: 100}")
    await provision(engine, quick, environment(twilio.base_url))
    given = settings(
        database_url, redis_url, carrier_timeout_seconds=1, lease_seconds=2, settle_seconds="0.05,2"
    )
    twilio.next(refused(21211, f"The 'To' number {USER} is not valid."))
    twilio.next(reset())
    async with started(given, wiring.clock) as rt, client(rt) as http:
        await post(http, INBOUND, TEXT | {"Body": PLANTED})
        for n in range(3):
            message = {"user_number": f"+1415555012{n + 4}", "message": PLANTED}
            is_accepted(await send(http, message))
        await worked(rt, engine)
    is_clean(most_said)
    for event in ("send.taken", "send.refused", "send.no_answer", "look_up.", "turn.ended"):
        assert event in most_said.getvalue()
