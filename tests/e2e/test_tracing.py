"""One conversation is one trace, over real processes that tell a collector on this machine."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.api import AGENT, ROUTE, USER, headers, is_accepted, until
from tests.support.collector import Collector, Span, collecting, tree
from tests.support.fake_twilio import FakeTwilio, Number
from tests.support.ports import free_port
from tests.support.processes import Running, Textback
from tests.support.provision import ACME_SID, SECRET_KEY, STANDARD_YAML, TOKEN, environment

CALLERS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""The trace of whoever asks us to text somebody."""

TOLD = Counter(
    {f"POST {ROUTE}": 1, "accept": 1, "send": 2, "carrier.send": 2, "receipt": 4}
    | {"POST /hooks/{carrier}/status": 4, "POST /hooks/{carrier}/inbound": 1}
    | {"inbound": 1, "turn": 1, "engine.reply": 1}
)
"""How many spans of which name a text, its reply and the agent's answer to that come to."""

YAML = STANDARD_YAML.replace(
    "        agent: bookings\n", "        agent: bookings\n        reply_delay_seconds: 0\n"
).replace("carrier: acme-twilio}", "carrier: acme-twilio, segments_per_second: 100}")


@dataclass(frozen=True, slots=True)
class Deployment:
    url: str
    twilio: FakeTwilio
    collector: Collector
    processes: list[Running]

    async def all_heard(self, trace_id: str) -> None:
        """Until the logs tell of four receipts: lines come a little late."""
        async with asyncio.timeout(60):
            while True:
                events = [line["event"] for line in self.logged("trace_id", trace_id)]
                if events.count("receipt.heard") >= 4:
                    return
                await asyncio.sleep(0.05)

    def logged(self, field: str, value: str) -> list[dict[str, object]]:
        """The lines of all processes that say so, by their time."""
        lines = [line for each in self.processes for line in each.log.splitlines()]
        found = [json.loads(line) for line in lines]
        return sorted(
            (line for line in found if line.get(field) == value), key=lambda x: str(x["timestamp"])
        )


@pytest.fixture
async def deployment(
    database_url: str, redis_url: str, tmp_path: Path
) -> AsyncGenerator[Deployment]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    (tmp_path / "deployment.yaml").write_text(YAML)
    async with FakeTwilio(ACME_SID, TOKEN) as twilio:
        twilio.account.numbers = [
            Number(phone_number=number, sms_url=f"{url}/hooks/twilio/inbound")
            for number in (AGENT, "+14155550101")
        ]
        with collecting() as collector:
            given = {
                "TEXTBACK_DATABASE_URL": database_url,
                "TEXTBACK_REDIS_URL": redis_url,
                "TEXTBACK_PUBLIC_URL": url,
                "TEXTBACK_SECRET_KEY": SECRET_KEY,
                "TEXTBACK_LAME_DUCK_SECONDS": "0",
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                "OTEL_BSP_SCHEDULE_DELAY": "100",
            }
            async with Textback(tmp_path, given) as textback:
                fake = environment(twilio.base_url)
                applied = await textback.run("apply", "deployment.yaml", more=fake)
                assert applied.code == 0, applied.err
                working = await textback.start("work")
                serving = await textback.serve(port)
                yield Deployment(url, twilio, collector, [serving, working])


async def happens(condition: Callable[[], object]) -> None:
    async def now() -> object:
        return condition()

    await until(now, within=60)


async def test_a_conversation_is_one_trace_and_its_ids_lead_through_all_logs(
    deployment: Deployment,
) -> None:
    d, twilio, collector = deployment, deployment.twilio, deployment.collector
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        body = {"user_number": USER, "message": "Is 2pm good?", "agent_number": AGENT}
        asked = headers(traceparent=CALLERS)
        answer = await http.post(d.url + ROUTE, json=body, headers=asked)
    conversation_id, message_id = is_accepted(answer)
    await happens(lambda: len(collector.named("receipt")) == 2)
    await happens(lambda: len(collector.named("send")) == 1)
    collector.status = 503  # nothing waits for a collector
    assert (await twilio.text(USER, AGENT, "Rather 3pm")).status_code == 200
    collector.status = 200
    await happens(lambda: len(twilio.created) == 2)
    await twilio.idle()
    # Each process tells of its spans when it comes to it, and again where it was refused.
    await happens(lambda: Counter(span.name for span in collector.spans) >= TOLD)

    def of(name: str, **attributes: object) -> list[Span]:
        wanted = {f"textback.{key}": value for key, value in attributes.items()}.items()
        return [span for span in collector.named(name) if wanted <= span.attributes.items()]

    (post,) = of(f"POST {ROUTE}")
    assert (post.trace_id, post.parent_id) == tuple(CALLERS.split("-")[1:3])
    assert (post.service, post.kind) == ("textback-api", "server")
    assert post.attributes["http.response.status_code"] == 202
    (accept,) = of("accept", message_id=message_id, account_id="acme", dialect="polyai")
    (send,) = of("send", message_id=message_id, outcome="taken")
    (inbound,) = of("inbound", outcome="heard")
    (turn,) = of("turn", outcome="answered")
    (engine,) = of("engine.reply")
    (reply,) = [span for span in of("send", outcome="taken") if span != send]
    calls = of("carrier.send", carrier="twilio")
    receipts = of("receipt")
    chain = [(post, accept), (accept, send), (send, calls[0]), (accept, inbound), (inbound, turn)]
    chain += [(turn, engine), (turn, reply), (reply, calls[1])]
    chain += [(accept, r) for r in receipts[:2]] + [(turn, r) for r in receipts[2:]]
    for parent, child in chain:
        story = tree(collector.spans)
        assert (child.parent_id, child.trace_id) == (parent.id, post.trace_id), story
    assert {span.service for span in (send, turn, reply)} == {"textback-worker"}
    of_conversation = (send, inbound, turn, reply, accept)
    assert {s.attributes["textback.conversation_id"] for s in of_conversation} == {conversation_id}
    hooks = [*of("POST /hooks/{carrier}/status"), *of("POST /hooks/{carrier}/inbound")]
    # What the carrier asks is no part of what the caller asked, and leads to it.
    assert post.trace_id not in {span.trace_id for span in hooks}
    linked = [link for span in [*receipts, inbound] for link in span.links]
    assert sorted(linked) == sorted(span.trace_id for span in hooks)
    assert not re.search(r"1415555\d{4}|2pm|3pm", tree(collector.spans))

    # The same, by the ids in the logs of both processes.
    await d.all_heard(post.trace_id)
    events = [str(line["event"]) for line in d.logged("message_id", message_id)]
    assert sorted(events) == ["http.answered", "receipt.heard", "receipt.heard", "send.taken"]
    talk = [line["event"] for line in d.logged("conversation_id", conversation_id)]
    assert {"http.answered", "send.taken", "inbound.heard", "turn.ended"} <= {*talk}
    in_trace = [line["event"] for line in d.logged("trace_id", post.trace_id)]
    assert in_trace.count("receipt.heard") == 4
    assert {*talk} <= {*in_trace}
