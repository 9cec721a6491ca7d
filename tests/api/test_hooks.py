"""Twilio's webhooks: whose are believed, what is stored before the answer, and the answers."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from io import StringIO
from xml.etree import ElementTree as ET

import httpx
import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import (
    AGENT,
    PUBLIC_URL,
    client,
    correlation_id,
    is_accepted,
    is_refused,
    rows,
    send,
    settings,
    started,
    stored,
)
from tests.support.fake_twilio.webhooks import signature_of
from tests.support.hooks import INBOUND, RECEIPT, STATUS, TEXT, post
from tests.support.ports import free_port
from tests.support.provision import ACME_SID, GLOBEX_SID, STANDARD_YAML, TOKEN, provision
from tests.support.wire import Wire
from textback.settings import Settings

HOOKS = pytest.mark.parametrize(("path", "form"), [(INBOUND, TEXT), (STATUS, RECEIPT)])
ACK = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'


def is_acknowledged(answer: httpx.Response) -> None:
    """With TwiML that says nothing: anything else would be texted to the user."""
    assert answer.status_code == 200, answer.text
    assert answer.content == ACK
    assert answer.headers["content-type"].partition(";")[0] == "text/xml"
    document = ET.fromstring(answer.content)  # noqa: S314 - our own
    assert (document.tag, list(document), document.text) == ("Response", [], None)
    correlation_id(answer)


def said(logged: StringIO, event: str) -> list[dict[str, object]]:
    found = [json.loads(line) for line in logged.getvalue().splitlines()]
    return [line for line in found if line["event"] == event]


def counted(kind: str, outcome: str) -> float:
    labels = {"carrier": "twilio", "kind": kind, "outcome": outcome}
    return REGISTRY.get_sample_value("textback_hooks_total", labels) or 0


# --- Signatures --------------------------------------------------------------------------------


@HOOKS
async def test_a_webhook_signed_for_the_public_url_is_taken_behind_any_proxy(
    http: httpx.AsyncClient, path: str, form: dict[str, str]
) -> None:
    # What the proxy's own request says of host and scheme does not matter.
    said_by_proxy = {
        "host": "10.0.0.7:9",
        "x-forwarded-host": "evil.example",
        "x-forwarded-proto": "http",
    }
    is_acknowledged(await post(http, path, form, headers=said_by_proxy))


@HOOKS
async def test_the_query_is_part_of_what_is_signed_byte_for_byte(
    http: httpx.AsyncClient, path: str, form: dict[str, str]
) -> None:
    query = "?b=%2b1&a=%20x+y&a=&empty&%C3%A9"
    is_acknowledged(await post(http, path + query, form))
    for other in ("?b=%2B1&a=%20x+y&a=&empty&%C3%A9", "?a=%20x+y&b=%2b1&a=&empty&%C3%A9", ""):
        answer = await post(http, path + query, form, signed_for=PUBLIC_URL + path + other)
        is_refused(answer, 403, counted=False)


FORGED = {
    "signed with another token": {"token": "another"},
    "signed with no token": {"token": ""},
    "no signature": {"signature": ""},
    "a signature that is none": {"signature": "x"},
    "a signature in another alphabet": {"signature": "\xff\xfe"},
    "signed for where it really went": {"signed_for": "http://10.1.2.3:8000/hooks/twilio/inbound"},
    "signed for plain http": {"signed_for": "http://sms.example.com/hooks/twilio/inbound"},
    "signed for another path": {"signed_for": PUBLIC_URL + "/hooks/twilio/other"},
    "signed for another host": {"signed_for": "https://sms.example.org/hooks/twilio/inbound"},
}


@pytest.mark.parametrize("how", FORGED.values(), ids=FORGED)
async def test_a_forged_webhook_is_403_and_stores_nothing(
    http: httpx.AsyncClient, engine: AsyncEngine, how: dict[str, str]
) -> None:
    is_refused(await post(http, INBOUND, TEXT, **how), 403, counted=False)  # type: ignore[arg-type]
    assert await stored(engine) == {}


@HOOKS
async def test_a_webhook_without_the_header_is_403(
    http: httpx.AsyncClient, engine: AsyncEngine, path: str, form: dict[str, str]
) -> None:
    is_refused(await http.post(path, data=form), 403, counted=False)
    assert await stored(engine) == {}


@HOOKS
async def test_a_changed_field_breaks_the_signature(
    http: httpx.AsyncClient, engine: AsyncEngine, path: str, form: dict[str, str]
) -> None:
    signature = signature_of(TOKEN, PUBLIC_URL + path, form)
    for change in ({"Body": "NO"}, {"From": "+14155550199"}, {"More": ""}):
        answer = await post(http, path, form | change, signature=signature)
        is_refused(answer, 403, counted=False)
    assert await stored(engine) == {}


@HOOKS
async def test_an_unknown_or_missing_account_is_403(
    http: httpx.AsyncClient, engine: AsyncEngine, path: str, form: dict[str, str]
) -> None:
    for sid in (None, "", "AC" + "9" * 32, ACME_SID.lower(), "AC\0", "' or 1=1"):
        given = {name: value for name, value in form.items() if name != "AccountSid"}
        given |= {} if sid is None else {"AccountSid": sid}
        is_refused(await post(http, path, given), 403, counted=False)
    assert await stored(engine) == {}


async def test_another_accounts_good_signature_opens_only_its_own_account(
    engine: AsyncEngine, found: Settings
) -> None:
    apart = STANDARD_YAML.replace("${TWILIO_TOKEN}", "${ACME_TOKEN}", 1)
    await provision(engine, apart, {"ACME_TOKEN": "f" * 32})
    async with started(found) as rt, client(rt) as http:
        is_refused(await post(http, INBOUND, TEXT, token=TOKEN), 403, counted=False)
        is_acknowledged(await post(http, INBOUND, TEXT, token="f" * 32))
        is_refused(
            await post(http, INBOUND, TEXT | {"AccountSid": GLOBEX_SID}, token="f" * 32),
            403,
            counted=False,
        )


async def test_a_refused_webhook_is_logged_with_the_url_that_should_have_been_signed(
    http: httpx.AsyncClient, logged: StringIO
) -> None:
    before = counted("inbound", "forged")
    await post(http, INBOUND + "?secret=1", TEXT, token="another")
    [line] = said(logged, "hook.refused")
    assert line["expected_url"] == PUBLIC_URL + INBOUND
    assert line["level"] == "warning"
    assert counted("inbound", "forged") == before + 1


@pytest.mark.parametrize(
    ("public_url", "signed_for"),
    [
        ("https://example.com/sms", "https://example.com/sms/hooks/twilio/inbound"),
        ("https://example.com/sms/", "https://example.com/sms/hooks/twilio/inbound"),
        ("https://example.com:8443", "https://example.com:8443/hooks/twilio/inbound"),
        ("https://example.com:443", "https://example.com/hooks/twilio/inbound"),
        ("https://example.com", "https://example.com:443/hooks/twilio/inbound"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/hooks/twilio/inbound"),
    ],
)
async def test_a_public_url_may_have_a_path_a_port_or_neither(
    provisioned: AsyncEngine, database_url: str, redis_url: str, public_url: str, signed_for: str
) -> None:
    assert provisioned is not None
    given = settings(database_url, redis_url, public_url=public_url)
    async with started(given) as rt, client(rt) as http:
        is_acknowledged(await post(http, INBOUND, TEXT, signed_for=signed_for))


# --- Inbound -----------------------------------------------------------------------------------


async def test_a_text_is_stored_before_it_is_acknowledged(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    conversation_id, _ = is_accepted(await send(http, agent_number=AGENT))
    is_acknowledged(await post(http, INBOUND, TEXT))
    [heard] = await rows(engine, "select * from messages where direction = 'inbound'")
    assert (heard["text"], heard["conversation_id"]) == (TEXT["Body"], conversation_id)
    assert heard["carrier_message_id"] == TEXT["MessageSid"]
    assert await rows(engine, "select state from conversations") == [{"state": "engaged"}]
    assert await rows(engine, "select state from turns") == [{"state": "waiting"}]


async def test_the_log_of_a_text_says_which_turn_answers_it(
    http: httpx.AsyncClient, engine: AsyncEngine, logged: StringIO
) -> None:
    for sid in ("SM" + "1" * 32, "SM" + "2" * 32):  # one begins the conversation, one goes on
        is_acknowledged(await post(http, INBOUND, TEXT | {"MessageSid": sid}))
    [turn] = await rows(engine, "select id from turns")
    assert [line["turn_id"] for line in said(logged, "inbound.heard")] == [turn["id"]] * 2


async def test_a_repeated_message_sid_changes_nothing(
    http: httpx.AsyncClient, engine: AsyncEngine, logged: StringIO
) -> None:
    is_acknowledged(await post(http, INBOUND, TEXT))
    before = await stored(engine)
    is_acknowledged(await post(http, INBOUND, TEXT))
    is_acknowledged(await post(http, INBOUND, TEXT | {"Body": "changed"}))
    assert await stored(engine) == before
    outcomes = [line["outcome"] for line in said(logged, "inbound.heard")]
    assert outcomes == ["heard", "duplicate", "duplicate"]


async def test_repetitions_at_the_same_time_store_one_text(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(post(http, INBOUND, TEXT)) for _ in range(8)]
    for task in tasks:
        is_acknowledged(task.result())
    assert (await stored(engine))["messages"] == 1


async def test_several_quick_texts_wait_for_one_turn(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    async with asyncio.TaskGroup() as group:
        for n in range(3):
            group.create_task(post(http, INBOUND, TEXT | {"MessageSid": f"SM{n}"}))
    found = await stored(engine)
    assert (found["messages"], found["conversations"], found["turns"]) == (3, 1, 1)


@pytest.mark.parametrize(
    "change",
    [{"To": "+14155550177"}, {"To": "+14155550199"}, {"To": "nonsense"}, {"To": "12345"}],
    ids=["nobody's", "another account's", "no number", "a short code"],
)
async def test_a_text_to_a_number_that_is_not_the_accounts_is_200_logged_and_not_stored(
    http: httpx.AsyncClient, engine: AsyncEngine, logged: StringIO, change: dict[str, str]
) -> None:
    before = counted("inbound", "unknown_number")
    is_acknowledged(await post(http, INBOUND, TEXT | change))
    assert await stored(engine) == {}
    assert [line["outcome"] for line in said(logged, "inbound.heard")] == ["unknown_number"]
    assert counted("inbound", "unknown_number") == before + 1


@pytest.mark.parametrize("sender", ["Anonymous", "+266696687", "", "rcs:+14155550123", "+0"])
async def test_a_sender_that_cannot_be_answered_is_no_error(
    http: httpx.AsyncClient, engine: AsyncEngine, sender: str
) -> None:
    answer = await post(http, INBOUND, TEXT | {"From": sender})
    if sender:
        is_acknowledged(answer)
    else:
        is_refused(answer, 400, counted=False)
    assert await stored(engine) == {}


@pytest.mark.parametrize(
    "body",
    [
        "",
        "a\0b",
        "Grüße ✨",
        "x" * 1600,
        "x" * 50_000,
        "\ud7ff\ufffe",
        "<Response>&amp;</Response>",
    ],
    ids=["empty", "NUL", "Unicode", "the longest", "far too long", "odd", "XML"],
)
async def test_whatever_a_user_texts_is_stored(
    http: httpx.AsyncClient, engine: AsyncEngine, body: str
) -> None:
    is_acknowledged(await post(http, INBOUND, TEXT | {"Body": body}))
    assert await rows(engine, "select text from messages") == [
        {"text": body.replace("\0", "\ufffd")}
    ]


async def test_broken_utf_8_that_twilio_signed_is_stored_with_replacements(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    raw = f"AccountSid={ACME_SID}&Body=%FFok&From=%2B14155550123&MessageSid=SM1&To=%2B14155550100"
    signed = (
        f"{PUBLIC_URL}{INBOUND}AccountSid{ACME_SID}Body".encode()
        + b"\xffokFrom+14155550123MessageSidSM1To+14155550100"
    )
    signature = base64.b64encode(hmac.digest(TOKEN.encode(), signed, hashlib.sha1)).decode()
    answer = await http.post(INBOUND, content=raw, headers={"x-twilio-signature": signature})
    is_acknowledged(answer)
    assert await rows(engine, "select text from messages") == [{"text": "\ufffdok"}]


async def test_stop_is_recorded_before_it_is_acknowledged(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    is_accepted(await send(http, agent_number=AGENT))
    is_acknowledged(await post(http, INBOUND, TEXT | {"Body": " Stop. "}))
    assert (await stored(engine))["opt_outs"] == 1
    assert await rows(engine, "select reason from conversations") == [{"reason": "opted_out"}]
    outbound = await rows(engine, "select state from messages where direction = 'outbound'")
    assert outbound == [{"state": "suppressed"}]


# --- Receipts ----------------------------------------------------------------------------------


async def test_a_receipt_settles_the_text_that_its_url_names(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    _, message_id = is_accepted(await send(http, agent_number=AGENT))
    path = f"{STATUS}?message_id={message_id}"
    for status, state in [("sent", "sent"), ("delivered", "delivered"), ("sent", "delivered")]:
        is_acknowledged(await post(http, path, RECEIPT | {"MessageStatus": status}))
        assert await rows(engine, "select state from messages") == [{"state": state}]
    before = await stored(engine)
    is_acknowledged(await post(http, path, RECEIPT))
    assert await stored(engine) == before


async def test_a_failed_receipt_keeps_twilios_code(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    _, message_id = is_accepted(await send(http))
    form = RECEIPT | {"MessageStatus": "undelivered", "ErrorCode": "30003"}
    is_acknowledged(await post(http, f"{STATUS}?message_id={message_id}", form))
    assert await rows(engine, "select state, error_code from messages") == [
        {"state": "failed", "error_code": "30003"}
    ]


@pytest.mark.parametrize("query", ["", "?message_id=msg_none", "?message_id=", "?message_id=%00"])
async def test_a_receipt_for_a_text_we_do_not_have_is_200_logged_and_changes_nothing(
    http: httpx.AsyncClient, engine: AsyncEngine, logged: StringIO, query: str
) -> None:
    before = counted("status", "unknown")
    is_acknowledged(await post(http, STATUS + query, RECEIPT))
    assert await stored(engine) == {}
    assert [line["outcome"] for line in said(logged, "receipt.heard")] == ["unknown"]
    assert counted("status", "unknown") == before + 1


async def test_a_receipt_of_another_account_does_not_touch_our_text(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    _, message_id = is_accepted(await send(http))
    form = RECEIPT | {"AccountSid": GLOBEX_SID}
    is_acknowledged(await post(http, f"{STATUS}?message_id={message_id}", form))
    assert await rows(engine, "select state from messages") == [{"state": "queued"}]


async def test_a_receipt_whose_sid_is_another_texts_changes_neither(
    http: httpx.AsyncClient, engine: AsyncEngine, logged: StringIO
) -> None:
    ids = [is_accepted(await send(http, user_number=f"+1415555012{n}"))[1] for n in range(2)]
    is_acknowledged(await post(http, f"{STATUS}?message_id={ids[0]}", RECEIPT))
    is_acknowledged(await post(http, f"{STATUS}?message_id={ids[1]}", RECEIPT))
    states = await rows(engine, "select id, state from messages order by seq")
    assert [row["state"] for row in states] == ["delivered", "queued"]
    outcomes = [line["outcome"] for line in said(logged, "receipt.heard")]
    assert outcomes == ["changed", "contradiction"]


@HOOKS
async def test_an_id_that_no_carrier_gives_is_400_and_nothing_is_stored(
    http: httpx.AsyncClient, engine: AsyncEngine, path: str, form: dict[str, str]
) -> None:
    # Postgres indexes no value of this length that it cannot make shorter.
    sid = "SM" + "".join(hashlib.sha256(str(n).encode()).hexdigest() for n in range(100))
    _, message_id = is_accepted(await send(http))
    before = await stored(engine)
    answer = await post(http, f"{path}?message_id={message_id}", form | {"MessageSid": sid})
    is_refused(answer, 400, counted=False, saying="255 characters")
    assert await stored(engine) == before
    assert await rows(engine, "select state from messages") == [{"state": "queued"}]


async def test_webhooks_that_came_to_each_others_address_are_acknowledged_and_ignored(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    is_acknowledged(await post(http, INBOUND, RECEIPT))
    is_acknowledged(await post(http, STATUS, TEXT | {"SmsStatus": "received"}))
    is_acknowledged(await post(http, STATUS, RECEIPT | {"MessageStatus": "a new word of Twilio's"}))
    assert await stored(engine) == {}


# --- What is not a webhook ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "form"),
    [
        *((INBOUND, {k: v for k, v in TEXT.items() if k != name}) for name in ("From", "To")),
        (
            INBOUND,
            {k: v for k, v in TEXT.items() if not k.endswith("Sid")} | {"AccountSid": ACME_SID},
        ),
        (STATUS, {k: v for k, v in RECEIPT.items() if k != "MessageSid"}),
        (STATUS, {k: v for k, v in RECEIPT.items() if k != "MessageStatus"}),
    ],
)
async def test_a_verified_webhook_that_lacks_what_it_must_have_is_400(
    http: httpx.AsyncClient, engine: AsyncEngine, path: str, form: dict[str, str]
) -> None:
    is_refused(await post(http, path, form), 400, counted=False, saying="missing")
    assert await stored(engine) == {}


@HOOKS
async def test_a_body_over_128_kb_is_413(
    http: httpx.AsyncClient, engine: AsyncEngine, path: str, form: dict[str, str]
) -> None:
    is_refused(await post(http, path, form | {"Body": "x" * 128 * 1024}), 413, counted=False)
    assert await stored(engine) == {}


@pytest.mark.parametrize("path", [INBOUND, STATUS])
async def test_a_body_that_is_no_form_is_403(http: httpx.AsyncClient, path: str) -> None:
    for content in (b"", b"{}", b"\xff\x00", b"&&&==&", b"a=1&" * 20_000):
        is_refused(await http.post(path, content=content), 403, counted=False)


@pytest.mark.parametrize("path", [INBOUND, STATUS])
async def test_another_method_is_405(http: httpx.AsyncClient, path: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = await http.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert "POST" in is_refused(answer, 405, counted=False)


@pytest.mark.parametrize(
    "path", ["/hooks/vonage/inbound", "/hooks/twilio", "/hooks//inbound", "/hooks/TWILIO/status"]
)
async def test_an_unknown_carrier_is_404(http: httpx.AsyncClient, path: str) -> None:
    is_refused(await post(http, path, TEXT), 404, counted=False)


# --- Without a database ------------------------------------------------------------------------


@HOOKS
async def test_without_a_database_a_webhook_is_503_at_once_so_that_twilio_comes_again(
    redis_url: str, path: str, form: dict[str, str]
) -> None:
    url = f"postgresql://postgres@127.0.0.1:{free_port()}/textback"
    before = counted("inbound" if path == INBOUND else "status", "unavailable")
    async with started(settings(url, redis_url)) as rt, client(rt) as http:
        began = time.monotonic()
        answer = await post(http, path, form)
        assert time.monotonic() - began < 2.5  # it would wait 3 s to connect
    is_refused(answer, 503, counted=False)
    assert answer.headers["retry-after"] == "2"
    assert counted("inbound" if path == INBOUND else "status", "unavailable") == before + 1


@pytest.mark.parametrize(
    ("markers", "deliver", "left"),
    [
        ([b"FROM carriers"], False, 0),
        ([b"insert into messages"], False, 0),
        ([b"insert into turns", b"COMMIT"], False, 0),
        ([b"insert into turns", b"COMMIT"], True, 1),
    ],
    ids=["at first", "in the middle", "before the commit", "after the commit"],
)
async def test_a_text_is_never_acknowledged_unless_it_is_stored_and_comes_in_once(
    provisioned: AsyncEngine,
    database_url: str,
    redis_url: str,
    markers: list[bytes],
    *,
    deliver: bool,
    left: int,
) -> None:
    async with (
        Wire(database_url) as wire,
        started(settings(wire.url, redis_url)) as rt,
        client(rt) as http,
    ):
        wire.cut_at(*markers, deliver=deliver)
        is_refused(await post(http, INBOUND, TEXT), 503, counted=False)
        assert wire.cuts == 1
        assert (await stored(provisioned)).get("messages", 0) == left
        await wire.mend()
        is_acknowledged(await post(http, INBOUND, TEXT))
    assert (await stored(provisioned))["messages"] == 1


async def test_two_users_do_not_wait_for_each_other(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    """A lock that one text holds must not hold up the webhooks of other users."""
    is_accepted(await send(http, agent_number=AGENT))
    async with engine.begin() as c:
        await c.execute(text("select * from conversations for update"))
        other = {"From": "+14155550124", "MessageSid": "SM9"}
        async with asyncio.timeout(3):
            is_acknowledged(await post(http, INBOUND, TEXT | other))
        held = asyncio.create_task(post(http, INBOUND, TEXT))
        await asyncio.sleep(0.1)
        assert not held.done()
    is_acknowledged(await held)
