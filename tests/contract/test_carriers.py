"""What every carrier keeps to, whatever it is made of."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import urlencode

import pytest

from tests.support import texts
from tests.support.fake_twilio import FakeTwilio, Number, Service, accepted_then_dropped
from tests.support.fake_twilio.webhooks import inbound, signature_of
from tests.support.receiver import Receiver
from tests.support.texts import AGENT, MESSAGE_ID, USER
from textback.carriers.sandbox import (
    UNANSWERED,
    SandboxCarrier,
    SandboxHooks,
    signed_inbound,
)
from textback.carriers.twilio.client import TwilioCarrier
from textback.carriers.twilio.hooks import TwilioHooks
from textback.core.phone import Phone
from textback.core.ports import (
    Carrier,
    CarrierAccount,
    HookRequest,
    Hooks,
    Inbound,
    NoAnswer,
    NotFound,
    Outgoing,
    Receipt,
    SendError,
    Taken,
    TooMany,
)
from textback.core.template import Template

OPTED_OUT = Phone("+15005550004")
SERVICE = Phone("MG" + "0a" * 16)
NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One carrier set up to be tried. OPTED_OUT has opted out, and UNANSWERED gets no answer."""

    account: CarrierAccount
    carrier: Carrier
    hooks: Hooks
    receiver: Receiver
    user_texts: Callable[[str, str], HookRequest]
    """(url, text) -> the webhook that the carrier posts."""

    def outgoing(self, text: str = "Hello", *, user_number: Phone = USER) -> Outgoing:
        status_url = f"{self.receiver.url}/hooks/x/status?message_id={MESSAGE_ID}"
        return texts.outgoing(text, user_number=user_number, status_url=status_url)


@asynccontextmanager
async def twilio_bench(receiver: Receiver) -> AsyncGenerator[Bench]:
    number = Number(phone_number=AGENT, sms_url="https://x.example/inbound")
    whatsapp = Number(phone_number=f"whatsapp:{AGENT}")
    async with FakeTwilio(numbers=[number, whatsapp]) as twilio:
        twilio.account.services.append(Service(sid=SERVICE))
        twilio.account.opted_out.add((AGENT, OPTED_OUT))
        twilio.next(accepted_then_dropped(), when=lambda r: r.form()["To"] == UNANSWERED)
        account = texts.account_of(twilio)

        def user_texts(url: str, text: str) -> HookRequest:
            form = inbound(twilio.account, "SM1", USER, AGENT, text)
            signature = signature_of(account.auth_token, url, form)
            return HookRequest(
                url=url,
                headers={"x-twilio-signature": signature},
                body=urlencode(form).encode(),
            )

        carrier = TwilioCarrier(account, timeout=timedelta(seconds=5))
        yield Bench(
            account=account,
            carrier=carrier,
            hooks=TwilioHooks(),
            receiver=receiver,
            user_texts=user_texts,
        )
        await carrier.close()


@asynccontextmanager
async def sandbox_bench(receiver: Receiver) -> AsyncGenerator[Bench]:
    account = texts.account_at("http://127.0.0.1:9", kind="sandbox")
    carrier = SandboxCarrier(account, clock=texts.utc_now, before_receipt=timedelta(0))

    def user_texts(url: str, text: str) -> HookRequest:
        return signed_inbound(
            account,
            url,
            agent_number=AGENT,
            user_number=USER,
            text=text,
            carrier_message_id="SM1",
        )

    yield Bench(
        account=account,
        carrier=carrier,
        hooks=SandboxHooks(),
        receiver=receiver,
        user_texts=user_texts,
    )
    await carrier.close()


@pytest.fixture(params=[twilio_bench, sandbox_bench], ids=["twilio", "sandbox"])
async def bench(request: pytest.FixtureRequest) -> AsyncGenerator[Bench]:
    async with Receiver() as receiver, request.param(receiver) as made:
        yield made


async def test_texts_that_are_taken_have_ids_of_their_own(bench: Bench) -> None:
    outcomes = [await bench.carrier.send(bench.outgoing()) for _ in range(3)]
    assert all(isinstance(outcome, Taken) for outcome in outcomes)
    assert len(set(outcomes)) == 3


async def test_an_opted_out_user_is_reported_as_such(bench: Bench) -> None:
    outcome = await bench.carrier.send(bench.outgoing(user_number=OPTED_OUT))
    assert isinstance(outcome, SendError)
    assert (outcome.code, outcome.retry, outcome.opted_out) == ("21610", "never", True)


async def test_a_text_that_was_taken_is_found(bench: Bench) -> None:
    text = bench.outgoing()
    taken = await bench.carrier.send(text)
    assert await bench.carrier.look_up(text, known=NONE) == taken


async def test_a_text_that_was_taken_without_an_answer_is_found(bench: Bench) -> None:
    text = bench.outgoing(user_number=UNANSWERED)
    assert isinstance(await bench.carrier.send(text), NoAnswer)
    assert isinstance(await bench.carrier.look_up(text, known=NONE), Taken)


async def test_a_text_that_was_never_sent_is_not_found(bench: Bench) -> None:
    assert await bench.carrier.look_up(bench.outgoing(), known=NONE) == NotFound()


async def test_another_text_is_not_found_in_its_place(bench: Bench) -> None:
    text = bench.outgoing()
    taken = await bench.carrier.send(text)
    assert isinstance(taken, Taken)
    for other in (
        replace(text, text="Goodbye"),
        replace(text, user_number=Phone("+14155550199")),
        replace(text, agent_number=Phone("+14155550198")),
        replace(text, claimed_at=text.claimed_at + timedelta(hours=1)),
    ):
        assert await bench.carrier.look_up(other, known=NONE) == NotFound()
    known = frozenset({taken.carrier_message_id})
    assert await bench.carrier.look_up(text, known=known) == NotFound()


ADDRESSES = {
    "whatsapp": (Phone(f"whatsapp:{AGENT}"), Phone(f"whatsapp:{USER}")),
    "rcs": (SERVICE, Phone(f"rcs:{USER}")),
}


@pytest.mark.parametrize("channel", ADDRESSES)
async def test_each_channel_has_its_own_texts(bench: Bench, channel: str) -> None:
    agent, user = ADDRESSES[channel]
    by_sms = bench.outgoing()
    text = replace(by_sms, agent_number=agent, user_number=user)
    taken = await bench.carrier.send(text)
    assert isinstance(taken, Taken)
    assert await bench.carrier.look_up(text, known=NONE) == taken
    assert await bench.carrier.look_up(by_sms, known=NONE) == NotFound()
    listed = await bench.carrier.received(agent, since=text.claimed_at - timedelta(hours=1))
    assert not isinstance(listed, TooMany | NoAnswer)
    assert list(listed) == []


async def test_a_template_that_was_taken_is_found(bench: Bench) -> None:
    words = bench.outgoing("[HX]")
    content = Template(content_sid="HX" + "0c" * 16, variables={"1": "Ann"})
    text = replace(words, template=content)
    assert await bench.carrier.look_up(text, known=NONE) == NotFound()
    taken = await bench.carrier.send(text)
    assert isinstance(taken, Taken)
    assert await bench.carrier.look_up(text, known=NONE) == taken
    known = frozenset({taken.carrier_message_id})
    assert await bench.carrier.look_up(text, known=known) == NotFound()


async def test_what_we_sent_was_not_received(bench: Bench) -> None:
    text = bench.outgoing()
    assert isinstance(await bench.carrier.send(text), Taken)
    for number in (AGENT, USER):
        listed = await bench.carrier.received(number, since=text.claimed_at - timedelta(hours=1))
        assert not isinstance(listed, TooMany | NoAnswer)
        assert list(listed) == []


async def test_receipts_come_signed_to_the_texts_own_address(bench: Bench) -> None:
    taken = await bench.carrier.send(bench.outgoing())
    assert isinstance(taken, Taken)
    requests = await bench.receiver.arrived(2)
    for request in requests:
        assert bench.hooks.account_sid(request) == bench.account.account_sid
        assert bench.hooks.verify(request, bench.account.auth_token)
    assert [bench.hooks.parse_status(request) for request in requests] == [
        Receipt(carrier_message_id=taken.carrier_message_id, message_id=MESSAGE_ID, status=status)
        for status in ("sent", "delivered")
    ]


async def test_a_users_text_arrives_signed(bench: Bench) -> None:
    request = bench.user_texts("https://x.example/hooks/x/inbound", "Yes, 3pm 👍")
    assert bench.hooks.account_sid(request) == bench.account.account_sid
    assert bench.hooks.verify(request, bench.account.auth_token)
    assert bench.hooks.parse_inbound(request) == Inbound(
        carrier_message_id="SM1", agent_number=AGENT, user_number=USER, text="Yes, 3pm 👍"
    )


async def test_a_webhook_that_was_changed_does_not_verify(bench: Bench) -> None:
    url = "https://x.example/hooks/x/inbound"
    request = bench.user_texts(url, "Yes")
    token = bench.account.auth_token
    for changed in (
        replace(request, url=url + "?more=1"),
        replace(request, body=request.body.replace(b"Yes", b"Nay")),
        replace(request, headers={}),
        replace(request, headers=dict.fromkeys(request.headers, "é")),
    ):
        assert not bench.hooks.verify(changed, token)
    assert not bench.hooks.verify(request, "another token")
    assert not bench.hooks.verify(request, "")


async def test_a_webhook_of_garbage_is_no_error(bench: Bench) -> None:
    for body in (b"", b"\xff\x00", b"[1]", b"null", b"{", b"=" * 1000, b"[" * 100_000):
        request = HookRequest(url="https://x.example/h?message_id=%00", headers={}, body=body)
        assert bench.hooks.account_sid(request) is None
        assert not bench.hooks.verify(request, "token")
        assert not isinstance(bench.hooks.parse_inbound(request), Inbound)
        assert not isinstance(bench.hooks.parse_status(request), Receipt)


async def test_what_a_database_cannot_hold_is_replaced_and_the_text_kept(bench: Bench) -> None:
    found = bench.hooks.parse_inbound(bench.user_texts("https://x.example/h", "a\x00b"))
    assert isinstance(found, Inbound)
    assert found.text == "a\ufffdb"


async def test_a_good_account_and_number_pass_the_check(bench: Bench) -> None:
    findings = await bench.carrier.check([(AGENT, "https://x.example/inbound")])
    assert findings
    assert all(finding.ok for finding in findings)
    assert bench.account.auth_token not in str(findings)
