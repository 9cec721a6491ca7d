"""The worker posts what happens, to real receivers, and nothing stands in anything's way."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from tests.support.api import captured_logs
from tests.support.deployment import ACME, second
from tests.support.fake_twilio.server import Answer, LoopbackServer, Request
from tests.support.provision import VAULT
from tests.support.receiver import Receiver
from tests.support.running import Shop
from tests.support.webhooks import Postman
from textback import tracing
from textback.core import signing
from textback.core.errors import Unavailable
from textback.core.phone import Phone
from textback.core.told import Told
from textback.dialects.native.events import NativeFormat
from textback.flows import webhooks
from textback.flows.webhooks import Made, Wanted
from textback.otel import OtelTracer
from textback.wiring import FORMATS
from textback.worker.deliveries import SHARE


async def to(shop: Shop, url: str, *kinds: str) -> Made:
    return await webhooks.create(
        shop.rt.db,
        ACME,
        Wanted(url=url, kinds=kinds),
        formats=FORMATS,
        vault=VAULT,
        private=True,
        now=shop.clock(),
    )


async def test_what_happens_to_a_text_is_posted_in_order_as_it_happens(shop: Shop) -> None:
    async with Receiver() as receiver:
        made = await to(shop, receiver.url)
        async with shop.working():
            await shop.until_listening()
            await shop.world.accept("Your appointment is at 3pm.", now=shop.clock())
            got = await receiver.arrived(4)
    told = [json.loads(each.body)["type"] for each in got]
    assert told == [
        "conversation.opened",
        "message.accepted",
        "message.sent",
        "message.delivered",
    ]
    assert len({each.headers["webhook-id"] for each in got}) == 4
    for each in got:
        assert signing.fault(made.secret, each.headers, each.body, now=shop.clock()) is None


async def test_a_receiver_that_hangs_keeps_nobody_elses_events_and_no_worker_from_stopping(
    shop: Shop,
) -> None:
    got, here = list[Request](), asyncio.Event()

    async def hang(request: Request) -> Answer:
        got.append(request)
        if len(got) == SHARE:
            here.set()
        await asyncio.sleep(3600)
        return Answer(200)

    bad = LoopbackServer(hang)
    await bad.start()
    shop.rt = replace(shop.rt, drain=timedelta(milliseconds=50))
    async with Receiver() as good:
        await to(shop, f"http://127.0.0.1:{bad.port}/", "message.queued")
        await to(shop, good.url, "message.queued")
        for n in range(SHARE + 2):
            await shop.world.accept(user=Phone(f"+1415555{3000 + n}"))

        async def told() -> bool:
            states = await Postman(shop.world).deliveries()
            return states.count(("delivered", 1)) == SHARE + 2

        async with shop.working():
            await good.arrived(SHARE + 2)
            await here.wait()
            await shop.until(told)  # it has little time to stop in
    await bad.stop()
    assert len(got) == SHARE
    # What the worker held is given back, and no attempt is counted: the next one goes on.
    states = await Postman(shop.world).deliveries()
    assert sorted(states) == [("delivered", 1)] * (SHARE + 2) + [("waiting", 0)] * (SHARE + 2)


async def put_off(shop: Shop, receiver: Receiver) -> None:
    """Once a delivery has failed, the receiver is well and the time has come to try again."""

    async def failed() -> bool:
        return await Postman(shop.world).deliveries() == [("waiting", 1)]

    await shop.until(failed)
    receiver.status = 200
    shop.clock.now += timedelta(minutes=1)


async def test_what_failed_is_tried_again_in_time(shop: Shop) -> None:
    async with Receiver() as receiver:
        receiver.status = 500
        await to(shop, receiver.url, "message.queued")
        async with shop.working():
            await shop.world.accept()
            await put_off(shop, receiver)
            got = await receiver.arrived(2)
    assert got[0].body == got[1].body
    assert got[0].headers["webhook-id"] == got[1].headers["webhook-id"]
    assert int(got[1].headers["webhook-timestamp"]) == int(second(60).timestamp())


async def test_the_log_of_a_post_says_its_trace_and_why_it_is_to_be_made_again(
    shop: Shop,
) -> None:
    kept = InMemorySpanExporter()
    with captured_logs() as logged, tracing.using(OtelTracer("textback", exporter=kept)):
        async with Receiver() as receiver:
            receiver.status = 500
            await to(shop, receiver.url, "message.queued")
            async with shop.working():
                accepted = await shop.world.accept()
                await put_off(shop, receiver)
                await receiver.arrived(2)
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    posted = [line for line in lines if line["event"] == "webhook.posted"]
    assert [(line["came"], line["status"], line["why"]) for line in posted] == [
        ("again", 500, "HTTP 500"),
        ("delivered", 200, None),
    ]
    ids = {(line["conversation_id"], line["message_id"]) for line in posted}
    assert ids == {(accepted.conversation_id, accepted.message_id)}
    contexts = [s.context for s in kept.get_finished_spans() if s.name == "webhook.post"]
    spans = [(f"{c.trace_id:032x}", f"{c.span_id:016x}") for c in contexts if c is not None]
    assert [(line["trace_id"], line["span_id"]) for line in posted] == spans


def unsigned() -> float:
    return REGISTRY.get_sample_value("textback_webhooks_total", {"outcome": "unsigned"}) or 0


class Keyring:
    """As `VAULT`, while it has its key."""

    has_key = True

    def seal(self, secret: str) -> str:
        return VAULT.seal(secret)

    def open(self, sealed: str) -> str:
        if not self.has_key:
            raise ValueError("no key fits")
        return VAULT.open(sealed)


async def test_an_endpoint_whose_secret_no_key_opens_is_told_of_once_until_one_does(
    shop: Shop,
) -> None:
    keys = Keyring()
    shop.rt = replace(shop.rt, vault=keys)
    postman = Postman(shop.world)

    async def put_off() -> bool:
        rows = await postman.rows("select due_at from webhook_deliveries where state = 'waiting'")
        return bool(rows) and all(row["due_at"] > shop.clock() for row in rows)

    before = unsigned()
    with captured_logs() as logged:
        async with Receiver() as receiver:
            made = await to(shop, receiver.url, "message.queued")
            async with shop.working():
                keys.has_key = False
                for n in range(3):
                    await shop.world.accept(user=Phone(f"+1415555020{n}"))
                await shop.until(put_off)
                shop.clock.now += timedelta(seconds=30)
                await shop.until(put_off)
                keys.has_key = True
                shop.clock.now += timedelta(seconds=30)
                await receiver.arrived(3)
                keys.has_key = False
                await shop.world.accept(user=Phone("+14155550203"))
                await shop.until(put_off)
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    told = [line for line in lines if line["event"] == "webhook.unsigned"]
    assert [(line["endpoint_id"], line["level"]) for line in told] == 2 * [
        (made.endpoint.id, "error")
    ]
    assert {line["why"] for line in told} == {"no key of ours opens its secret"}
    assert not any("exception" in line for line in told)
    assert unsigned() - before >= 3


class LosesTheDatabase(NativeFormat):
    """The database goes while the first body is written."""

    def __init__(self) -> None:
        self.asked = 0

    def render(self, told: Told) -> bytes | None:
        self.asked += 1
        if self.asked == 1:
            raise Unavailable
        return super().render(told)


async def test_a_body_whose_writing_lost_the_database_is_written_when_it_is_back(
    shop: Shop,
) -> None:
    native = LosesTheDatabase()
    shop.rt = replace(shop.rt, formats={**shop.rt.formats, "native": native})
    with capture_logs() as logged:
        async with Receiver() as receiver:
            await to(shop, receiver.url, "message.queued")
            async with shop.working():
                await shop.world.accept()
                [got] = await receiver.arrived(1)
    assert native.asked == 2
    assert json.loads(got.body)["type"] == "message.accepted"
    assert [each for each in logged if each["log_level"] == "error"] == []
