"""When nobody knows whether Twilio has the text, and when it certainly never left."""

import asyncio
import math
import socket
import ssl
import time
from collections.abc import AsyncGenerator
from datetime import timedelta

import httpx
import pytest

from tests.support.fake_twilio import (
    FakeTwilio,
    Fault,
    accepted_then_500,
    accepted_then_dropped,
    accepted_then_silent,
    answered,
    cut_short,
    dripping,
    garbage_201,
    html_error,
    redirected,
    reset,
    silent,
    slow,
    unavailable,
)
from tests.support.fake_twilio.server import Answer, HangUp
from tests.support.texts import account_at, account_of, outgoing
from textback.carriers.twilio.client import TwilioCarrier
from textback.core.ports import NoAnswer, SendError, Taken

UNKNOWN = {
    "accepted, then dropped": accepted_then_dropped(),
    "accepted, then reset": accepted_then_dropped(reset=True),
    "reset before": reset(),
    "accepted, then 500": accepted_then_500(),
    "503": unavailable(),
    "a page of a gateway": html_error(502),
    "a page of a gateway that says it is Twilio's": answered(
        Answer.of_json(500, {"type": "x", "title": "x", "status": 400, "code": 21211})
    ),
    "408 of a proxy": html_error(408, accept=True),
    "a redirect": redirected("/elsewhere"),
    "cut short": cut_short(),
    "not JSON": garbage_201(b"<ok/>"),
    "not UTF-8": garbage_201(b'{"sid": "\xff"}'),
    "empty": garbage_201(b""),
    "a string": garbage_201("ok"),
    "a list": garbage_201([]),
    "no sid": garbage_201({"status": "queued"}),
    "a blank sid": garbage_201({"sid": ""}),
    "a sid that is none": garbage_201({"sid": ["SM1"]}),
    "a sid with spaces": garbage_201({"sid": "SM 1"}),
    "a date that is none": garbage_201({"sid": "SM1", "date_created": 5}),
    "not HTTP": answered(HangUp(after=b"220 mail.example.com ESMTP\r\n")),
}


@pytest.mark.parametrize("fault", UNKNOWN.values(), ids=UNKNOWN.keys())
async def test_anything_but_a_clear_answer_is_no_answer_and_is_asked_once(
    twilio: FakeTwilio, carrier: TwilioCarrier, fault: Fault
) -> None:
    twilio.next(fault, times=math.inf)
    outcome = await carrier.send(outgoing("a secret"))
    assert isinstance(outcome, NoAnswer)
    assert "secret" not in outcome.reason
    await asyncio.sleep(0.05)
    assert len(twilio.requests) == 1


@pytest.mark.parametrize("fault", [silent(), accepted_then_silent()], ids=["lost", "accepted"])
async def test_silence_ends_with_the_timeout_as_no_answer(
    twilio: FakeTwilio, hasty: TwilioCarrier, fault: Fault
) -> None:
    twilio.next(fault)
    began = time.monotonic()
    assert await hasty.send(outgoing()) == NoAnswer("timed out")
    assert 0.39 < time.monotonic() - began < 2
    await asyncio.sleep(0.3)
    assert len(twilio.requests) == 1


async def test_an_answer_that_drips_ends_with_the_timeout_too(
    twilio: FakeTwilio, hasty: TwilioCarrier
) -> None:
    twilio.next(dripping(4))
    began = time.monotonic()
    assert await hasty.send(outgoing()) == NoAnswer("timed out")
    assert 0.39 < time.monotonic() - began < 2


async def test_a_slow_answer_within_the_timeout_is_taken(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    twilio.next(slow(before=0.1, after=0.1))
    assert isinstance(await carrier.send(outgoing()), Taken)


async def test_a_connection_that_is_closed_while_idle_is_not_mistaken_for_a_lost_text(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    # The second request goes out on a new connection: the first one's end is seen before use.
    twilio.next(answered(Answer.of_json(201, {"sid": "SM1"}, {"connection": "close"})))
    assert await carrier.send(outgoing()) == Taken("SM1")
    await asyncio.sleep(0.05)
    assert isinstance(await carrier.send(outgoing()), Taken)
    assert len(twilio.requests) == 2


async def test_a_cancelled_send_stays_cancelled_and_is_not_repeated(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    twilio.next(silent())
    sending = asyncio.create_task(carrier.send(outgoing()))
    await twilio.arrived(1)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await asyncio.sleep(0.1)
    assert len(twilio.requests) == 1
    assert isinstance(await carrier.send(outgoing()), Taken)


async def test_texts_sent_together_each_leave_once(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    async with asyncio.TaskGroup() as group:
        sends = [group.create_task(carrier.send(outgoing(f"text {n}"))) for n in range(60)]
    assert {send.result() for send in sends} == {Taken(m.sid) for m in twilio.created}
    assert sorted(m.body for m in twilio.created) == sorted(f"text {n}" for n in range(60))


# --- it never left ---


async def test_a_refused_connection_costs_no_attempt() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        base_url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        carrier = TwilioCarrier(account_at(base_url), timeout=timedelta(seconds=5))
        outcome = await carrier.send(outgoing())
        await carrier.close()
    assert isinstance(outcome, SendError)
    assert (outcome.code, outcome.retry) == ("connection", "slow_down")


async def test_a_failed_handshake_costs_no_attempt(twilio: FakeTwilio) -> None:
    carrier = TwilioCarrier(
        account_at(twilio.base_url.replace("http:", "https:")),
        timeout=timedelta(seconds=5),
        transport=httpx.AsyncHTTPTransport(verify=ssl.create_default_context()),
    )
    outcome = await carrier.send(outgoing())
    await carrier.close()
    assert isinstance(outcome, SendError)
    assert (outcome.code, outcome.retry) == ("connection", "slow_down")
    assert twilio.requests == []


async def test_a_handshake_that_hangs_costs_no_attempt() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections and says nothing
        carrier = TwilioCarrier(
            account_at(f"https://127.0.0.1:{mute.getsockname()[1]}"),
            timeout=timedelta(seconds=6),
            transport=httpx.AsyncHTTPTransport(verify=ssl.create_default_context()),
        )
        began = time.monotonic()
        outcome = await carrier.send(outgoing())
        assert time.monotonic() - began < 6
        await carrier.close()
    assert isinstance(outcome, SendError)
    assert (outcome.code, outcome.retry) == ("connection", "slow_down")


@pytest.fixture
async def narrow(twilio: FakeTwilio) -> AsyncGenerator[TwilioCarrier]:
    """One connection at a time."""
    made = TwilioCarrier(
        account_at(twilio.base_url),
        timeout=timedelta(seconds=0.8),
        transport=httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=1)),
    )
    yield made
    await made.close()


async def test_a_wait_for_a_free_connection_costs_no_attempt(
    twilio: FakeTwilio, narrow: TwilioCarrier
) -> None:
    twilio.next(silent())
    first = asyncio.create_task(narrow.send(outgoing("first")))
    await twilio.arrived(1)
    second = await narrow.send(outgoing("second"))
    assert isinstance(second, SendError)
    assert (second.code, second.retry) == ("connection", "slow_down")
    assert await first == NoAnswer("timed out")
    assert len(twilio.requests) == 1


class Breaking(httpx.AsyncBaseTransport):
    def __init__(self, error: httpx.TransportError) -> None:
        self.error = error
        self.requests = 0

    async def handle_async_request(
        self,
        request: httpx.Request,  # noqa: ARG002 - a transport is given one
    ) -> httpx.Response:
        self.requests += 1
        raise self.error


async def sent_through(transport: Breaking) -> Taken | SendError | NoAnswer:
    carrier = TwilioCarrier(
        account_at("http://127.0.0.1:9"), timeout=timedelta(seconds=5), transport=transport
    )
    outcome = await carrier.send(outgoing())
    await carrier.close()
    assert transport.requests == 1
    return outcome


@pytest.mark.parametrize(
    "error",
    [
        httpx.ReadTimeout,
        httpx.WriteTimeout,
        httpx.ReadError,
        httpx.WriteError,
        httpx.CloseError,
        httpx.LocalProtocolError,
        httpx.RemoteProtocolError,
        httpx.DecodingError,
    ],
)
async def test_every_error_after_the_connection_stands_is_no_answer(
    error: type[httpx.TransportError],
) -> None:
    assert isinstance(await sent_through(Breaking(error("broken"))), NoAnswer)


@pytest.mark.parametrize(
    "error", [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError]
)
async def test_every_error_before_the_connection_stands_costs_no_attempt(
    error: type[httpx.TransportError],
) -> None:
    outcome = await sent_through(Breaking(error("no way there")))
    assert outcome == SendError("connection", "could not connect: no way there", "slow_down")


@pytest.mark.parametrize("connected", [False, True])
async def test_a_process_that_stalled_on_the_way_to_the_wire_sends_nothing_any_more(
    twilio: FakeTwilio, *, connected: bool
) -> None:
    # Frozen while it connected, it goes on before its timeout strikes: others may have sent it.
    seconds = [0.0]
    stalled = TwilioCarrier(
        account_of(twilio), timeout=timedelta(seconds=5), steady=lambda: seconds.pop(0)
    )
    if connected:
        seconds[:] = [0.0, 0.0, 0.0]
        await stalled.look_up(outgoing(), known=frozenset())
    seconds[:] = [100.0, 105.0]

    answer = await stalled.send(outgoing())

    await stalled.close()
    assert isinstance(answer, SendError)
    assert (answer.code, answer.retry) == ("connection", "slow_down")
    assert twilio.asked("create") == []


async def test_a_process_that_stalled_within_a_request_does_not_end_it(twilio: FakeTwilio) -> None:
    # Its head has left; what is to be sent, and to whom, has not. That is not for us to judge.
    seconds = [100.0, 100.0, 105.0]
    stalled = TwilioCarrier(
        account_of(twilio), timeout=timedelta(seconds=5), steady=lambda: seconds.pop(0)
    )

    answer = await stalled.send(outgoing())

    await stalled.close()
    assert answer == NoAnswer("timed out")
    assert twilio.asked("create") == []
