"""The carrier that texts nobody."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from structlog.testing import capture_logs

from tests.support.receiver import Receiver
from tests.support.texts import AGENT, MESSAGE_ID, USER, account_at, outgoing, utc_now
from textback.carriers.sandbox import (
    REFUSED,
    UNANSWERED,
    UNREACHABLE,
    SandboxCarrier,
    SandboxHooks,
    signed_inbound,
    signed_status,
)
from textback.core.ids import MessageId
from textback.core.phone import Phone, user_number
from textback.core.ports import (
    HookRequest,
    Ignored,
    Inbound,
    Malformed,
    NoAnswer,
    Outgoing,
    Receipt,
    SendError,
    Taken,
)

ACCOUNT = account_at("http://127.0.0.1:9", kind="sandbox")
HOOKS = SandboxHooks()


@pytest.fixture
async def receiver() -> AsyncGenerator[Receiver]:
    async with Receiver() as made:
        yield made


@pytest.fixture
async def sandbox() -> AsyncGenerator[SandboxCarrier]:
    made = SandboxCarrier(ACCOUNT, clock=utc_now, before_receipt=timedelta(0))
    yield made
    await made.close()


def reported(receiver: Receiver, user: Phone = USER) -> Outgoing:
    url = f"{receiver.url}/hooks/sandbox/status?message_id={MESSAGE_ID}"
    return outgoing(user_number=user, status_url=url)


async def receipts(receiver: Receiver, count: int) -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []
    for request in await receiver.arrived(count):
        receipt = HOOKS.parse_status(request)
        assert isinstance(receipt, Receipt)
        found.append((receipt.status, receipt.error_code))
    return found


async def test_it_remembers_what_it_took(sandbox: SandboxCarrier, receiver: Receiver) -> None:
    text = reported(receiver)
    taken = await sandbox.send(text)
    (kept,) = sandbox.taken
    assert (kept.outgoing, taken) == (text, Taken(kept.carrier_message_id))
    assert kept.carrier_message_id.startswith("SB")
    assert len(kept.carrier_message_id) == 34


async def test_it_reports_sent_and_then_delivered(
    sandbox: SandboxCarrier, receiver: Receiver
) -> None:
    await sandbox.send(reported(receiver))
    assert await receipts(receiver, 2) == [("sent", None), ("delivered", None)]


@pytest.mark.parametrize("user", REFUSED)
async def test_magic_numbers_are_refused_as_twilio_would(
    sandbox: SandboxCarrier, receiver: Receiver, user: Phone
) -> None:
    outcome = await sandbox.send(reported(receiver, user))
    assert isinstance(outcome, SendError)
    assert outcome.retry == "never"
    assert outcome.opted_out == (outcome.code == "21610")
    assert sandbox.taken == ()


@pytest.mark.parametrize("number", [*REFUSED, UNREACHABLE, UNANSWERED])
def test_magic_numbers_pass_as_numbers_of_users(number: Phone) -> None:
    assert user_number(number) == number


async def test_an_unreachable_handset_is_reported(
    sandbox: SandboxCarrier, receiver: Receiver
) -> None:
    assert isinstance(await sandbox.send(reported(receiver, UNREACHABLE)), Taken)
    assert await receipts(receiver, 2) == [("sent", None), ("failed", "30003")]


async def test_an_unanswered_text_is_only_in_the_list(
    sandbox: SandboxCarrier, receiver: Receiver
) -> None:
    text = reported(receiver, UNANSWERED)
    assert isinstance(await sandbox.send(text), NoAnswer)
    found = await sandbox.look_up(text, known=frozenset())
    assert found == Taken(sandbox.taken[0].carrier_message_id)
    await asyncio.sleep(0.05)
    assert receiver.got == []


async def test_closing_drops_receipts_that_are_not_due_yet(receiver: Receiver) -> None:
    sandbox = SandboxCarrier(ACCOUNT, clock=utc_now, before_receipt=timedelta(seconds=30))
    await sandbox.send(reported(receiver))
    await sandbox.close()
    assert receiver.got == []


async def test_a_client_that_was_handed_in_stays_open(receiver: Receiver) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        sandbox = SandboxCarrier(ACCOUNT, clock=utc_now, http=http, before_receipt=timedelta(0))
        await sandbox.send(reported(receiver))
        await receiver.arrived(2)
        await sandbox.close()
        assert not http.is_closed


@pytest.mark.parametrize(
    "status_url", ["http://127.0.0.1:9/x?message_id=1", "no address", "refuse"]
)
async def test_a_receipt_that_is_not_taken_is_logged_without_its_text(
    sandbox: SandboxCarrier,
    receiver: Receiver,
    status_url: str,
) -> None:
    receiver.status = 500
    url = receiver.url if status_url == "refuse" else status_url
    with capture_logs() as logged:
        await sandbox.send(outgoing("a secret", status_url=url))
        async with asyncio.timeout(60):
            while len(logged) < 2:  # noqa: ASYNC110 - a log has no event
                await asyncio.sleep(0.01)
    assert MESSAGE_ID in str(logged)
    assert "secret" not in str(logged)
    assert USER not in str(logged)


# --- webhooks ---

URL = "https://texts.example.com/hooks/sandbox/inbound"


def test_a_signature_is_over_address_and_body() -> None:
    request = signed_inbound(
        ACCOUNT, URL, agent_number=AGENT, user_number=USER, text="Hi", carrier_message_id="SB1"
    )
    assert HOOKS.verify(request, ACCOUNT.auth_token)
    assert set(request.headers) == {"content-type", "x-textback-signature"}
    assert HOOKS.parse_inbound(request) == Inbound(
        carrier_message_id="SB1", agent_number=AGENT, user_number=USER, text="Hi"
    )


def test_an_account_without_a_token_verifies_nothing() -> None:
    nobody = replace(ACCOUNT, auth_token="")
    request = signed_status(nobody, URL, carrier_message_id="SB1", status="sent")
    assert not HOOKS.verify(request, "")


def test_a_blank_text_is_a_text() -> None:
    request = signed_inbound(
        ACCOUNT, URL, agent_number=AGENT, user_number=USER, text="", carrier_message_id="SB1"
    )
    found = HOOKS.parse_inbound(request)
    assert isinstance(found, Inbound)
    assert found.text == ""


def test_half_a_character_is_replaced() -> None:
    body = (
        b'{"carrier_message_id": "SB1", "agent_number": "1", "user_number": "2",'
        b' "text": "a\\ud83d"}'
    )
    found = HOOKS.parse_inbound(HookRequest(url=URL, headers={}, body=body))
    assert isinstance(found, Inbound)
    assert found.text.startswith("a\ufffd")
    found.text.encode()


def test_a_failed_receipt_may_reveal_an_opt_out() -> None:
    request = signed_status(
        ACCOUNT,
        URL + "?message_id=msg_1",
        carrier_message_id="SB1",
        status="failed",
        error_code="21610",
    )
    assert HOOKS.parse_status(request) == Receipt(
        carrier_message_id="SB1",
        message_id=MessageId("msg_1"),
        status="failed",
        error_code="21610",
        opted_out=True,
    )


def test_what_is_not_a_receipt_is_told_apart() -> None:
    def parsed(body: bytes) -> Receipt | Ignored | Malformed:
        return HOOKS.parse_status(HookRequest(url=URL, headers={}, body=body))

    assert isinstance(parsed(b'{"status": "sent"}'), Malformed)
    assert isinstance(parsed(b'{"carrier_message_id": "SB1", "status": "odd"}'), Ignored)
    assert isinstance(parsed(b'{"carrier_message_id": "SB1", "status": ["sent"]}'), Ignored)
