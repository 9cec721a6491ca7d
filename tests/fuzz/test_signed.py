"""Well signed webhooks with odd fields: never a 500, and acknowledged only when dealt with."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncGenerator, Generator, Mapping
from io import StringIO
from itertools import count
from typing import Final
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import (
    AGENT,
    PUBLIC_URL,
    Clock,
    captured_logs,
    client,
    is_accepted,
    is_refused,
    rows,
    send,
    settings,
    started,
    stored,
)
from tests.support.hooks import INBOUND, RECEIPT, STATUS, TEXT
from tests.support.provision import STANDARD_YAML, TOKEN, provision

EFFORT: Final = effort(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
NUMBER: Final = count(1)
AMPLE: Final = STANDARD_YAML.replace(
    "agent: bookings\n",
    "agent: bookings\n        rate_limit: {requests: 1000000, per_seconds: 60}\n",
)


@pytest.fixture
def logged() -> Generator[StringIO]:
    with captured_logs() as found:
        yield found


@pytest.fixture
async def http(
    engine: AsyncEngine,
    database_url: str,
    redis_url: str,
    logged: StringIO,  # noqa: ARG001 - it must not go to the terminal
) -> AsyncGenerator[httpx.AsyncClient]:
    await provision(engine, AMPLE)
    async with (
        started(settings(database_url, redis_url), Clock()) as rt,
        client(rt) as made,
    ):
        yield made


def outcome(logged: StringIO) -> dict[str, object]:
    """What the log says of the latest webhook."""
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert not [line for line in lines if line["level"] == "error"]
    logged.seek(0)
    logged.truncate()
    said = [line for line in lines if line["event"].split(".")[0] in {"inbound", "receipt"}]
    assert len(said) <= 1
    return said[0] if said else {}


async def post(http: httpx.AsyncClient, path: str, fields: list[tuple[str, str]]) -> httpx.Response:
    """Signed over the bytes that are sent, as Twilio does."""
    pairs = sorted({(k.encode(), v.encode()) for k, v in fields})
    signed = (PUBLIC_URL + path).encode() + b"".join(k + v for k, v in pairs)
    signature = base64.b64encode(hmac.digest(TOKEN.encode(), signed, hashlib.sha1))
    asked = {
        b"x-twilio-signature": signature,
        b"content-type": b"application/x-www-form-urlencoded",
    }
    return await http.post(path, content=urlencode(fields).encode(), headers=list(asked.items()))


odd = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            *("", " ", "\0", "0", "-1", "STOP", "start", "HELP", "null", "received", "delivered"),
            *("failed", "sent", "queued", "21610", "+14155550123", AGENT, "+14155550199", "12345"),
            *("whatsapp:+14155550123", "+" + "9" * 400, "\u0661" * 12, "'; drop table messages;--"),
            *("%00", "\u202e\ufeff", "\r\nX: y", "a" * 3_000, "é" * 20_000, "\U0010ffff" * 300),
        ]
    ),
)
incompressible = st.binary(min_size=3_000, max_size=6_000).map(bytes.hex)
changes = st.dictionaries(
    st.sampled_from([*TEXT, *RECEIPT, "OptOutType", "ErrorCode", "MediaUrl0", "SmsStatus", "Odd"]),
    odd | incompressible | st.none(),
    min_size=1,
    max_size=2,
)


def changed(form: Mapping[str, str], change: Mapping[str, str | None]) -> list[tuple[str, str]]:
    given = {name: value for name, value in form.items() if name not in change}
    return [*given.items(), *((k, v) for k, v in change.items() if v is not None)]


@EFFORT
@given(change=changes, twice=st.booleans())
@example(change={"MessageSid": bytes(range(256)).hex() * 10}, twice=False)
async def test_a_text_with_odd_fields_is_stored_ignored_or_refused(
    http: httpx.AsyncClient,
    engine: AsyncEngine,
    logged: StringIO,
    change: dict[str, str | None],
    twice: bool,  # noqa: FBT001 - hypothesis names it
) -> None:
    sid = f"SM{next(NUMBER):032}"
    fields = changed(TEXT | {"MessageSid": sid, "SmsSid": sid}, change)
    before = (await stored(engine)).get("messages", 0)
    answer = await post(http, INBOUND, [*fields, *fields] if twice else fields)
    after = (await stored(engine)).get("messages", 0)
    found = outcome(logged)
    if answer.status_code != 200:
        assert answer.status_code in {400, 403, 413}
        is_refused(answer, answer.status_code, counted=False)
        assert after == before
    elif found.get("outcome") in {"heard", "keyword", "unanswered"}:
        assert after > before
        kept = await rows(engine, "select id from messages where direction = 'inbound'")
        assert found["message_id"] in {row["id"] for row in kept}
    else:
        assert found["event"] == "inbound.ignored" or found["outcome"] in {
            *("duplicate", "unknown_number", "unroutable"),
        }
        assert after == before


@EFFORT
@given(
    change=changes,
    query=st.sampled_from(["{}", "{}%00", "%ff", "{}&message_id=x", "", "x" * 5_000]),
)
async def test_a_receipt_with_odd_fields_moves_one_text_or_none(
    http: httpx.AsyncClient,
    engine: AsyncEngine,
    logged: StringIO,
    change: dict[str, str | None],
    query: str,
) -> None:
    user = f"+1415555{next(NUMBER) % 10_000:04}"
    _, message_id = is_accepted(await send(http, user_number=user, agent_number=AGENT))
    path = f"{STATUS}?message_id={query.format(message_id)}"
    before = await rows(engine, "select id, state from messages")
    logged.seek(0)
    logged.truncate()
    answer = await post(http, path, changed(RECEIPT, change))
    moved = [
        row for row in await rows(engine, "select id, state from messages") if row not in before
    ]
    found = outcome(logged)
    if answer.status_code != 200:
        assert answer.status_code in {400, 403, 413}
        is_refused(answer, answer.status_code, counted=False)
        assert moved == []
    else:
        assert len(moved) == int(found.get("outcome") == "changed")
        assert all(row["id"] == found["message_id"] for row in moved)
