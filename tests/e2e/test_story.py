"""The main job from end to end: real processes, real servers, and a Twilio on this machine."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import AGENT, ROUTE, USER, headers, is_accepted, rows, until
from tests.support.fake_twilio import FakeTwilio, Number, slow
from tests.support.log_lines import errors
from tests.support.ports import free_port
from tests.support.processes import Running, Textback
from tests.support.provision import ACME_SID, SECRET_KEY, STANDARD_YAML, TOKEN, environment

WARNING = "Still there?"
CLOSING = "Goodbye then."
# Numbers as fast as short codes: at one text a second the stories would mostly wait.
USUAL = STANDARD_YAML.replace(
    "        agent: bookings\n", "        agent: bookings\n        reply_delay_seconds: 0.1\n"
).replace("carrier: acme-twilio}", "carrier: acme-twilio, segments_per_second: 100}")
IMPATIENT = USUAL.replace(
    "        agent: bookings\n",
    f"""\
        agent: bookings
        inactivity:
          warn_after_seconds: 1.5
          close_after_seconds: 5
          unanswered_after_seconds: 600
          warning: "{WARNING}"
          closing: "{CLOSING}"
""",
)
DRAIN = 10


@dataclass(frozen=True, slots=True)
class Deployment:
    """Two processes that serve, two that work. Twilio reaches the first one only."""

    textback: Textback
    twilio: FakeTwilio
    urls: list[str]
    serving: list[Running]
    working: list[Running]
    http: httpx.AsyncClient

    async def send(self, nth: int, **body: str) -> tuple[str, str]:
        """Through one or the other process."""
        return is_accepted(
            await self.http.post(self.urls[nth % 2] + ROUTE, json=body, headers=headers())
        )

    async def texts(self, user: str, count: int) -> list[str]:
        """What Twilio was asked to send to `user`, once it is so many texts."""

        async def so_many() -> bool:
            return len(self.sent_to(user)) >= count

        await until(so_many)
        return self.sent_to(user)

    def sent_to(self, user: str) -> list[str]:
        return [message.body for message in self.twilio.created if message.to == user]

    async def conversations(self, *arguments: str) -> Any:
        ran = await self.textback.run("conversations", "--json", *arguments)
        assert (ran.code, ran.err) == (0, "")
        return json.loads(ran.out)


@pytest.fixture
async def twilio() -> AsyncGenerator[FakeTwilio]:
    async with FakeTwilio(ACME_SID, TOKEN) as fake:
        yield fake


@pytest.fixture
def provisioned() -> str:
    return USUAL


@pytest.fixture
async def deployment(
    provisioned: str,
    database_url: str,
    redis_url: str,
    twilio: FakeTwilio,
    tmp_path: Path,
) -> AsyncGenerator[Deployment]:
    ports = [free_port(), free_port()]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    twilio.account.numbers = [
        Number(phone_number=number, sms_url=f"{urls[0]}/hooks/twilio/inbound#rc=5&rp=all")
        for number in (AGENT, "+14155550101")
    ]
    (tmp_path / "deployment.yaml").write_text(provisioned)
    given = {
        "TEXTBACK_DATABASE_URL": database_url,
        "TEXTBACK_REDIS_URL": redis_url,
        "TEXTBACK_PUBLIC_URL": urls[0],
        "TEXTBACK_SECRET_KEY": SECRET_KEY,
        "TEXTBACK_LOG_LEVEL": "debug",
        "TEXTBACK_DRAIN_SECONDS": str(DRAIN),
    }
    async with (
        Textback(tmp_path, given) as textback,
        httpx.AsyncClient(trust_env=False, timeout=20) as http,
    ):
        migrated = await textback.run("migrate")
        assert migrated.code == 0, migrated.err
        applied = await textback.run("apply", "deployment.yaml", more=environment(twilio.base_url))
        assert applied.code == 0, applied.err
        assert json.loads(applied.out)["applied"] is True
        async with asyncio.TaskGroup() as group:
            serving = [group.create_task(textback.serve(port)) for port in ports]
            working = [group.create_task(textback.start("work")) for _ in ports]
        yield Deployment(
            textback,
            twilio,
            urls,
            [task.result() for task in serving],
            [task.result() for task in working],
            http,
        )


@pytest.mark.parametrize("provisioned", [IMPATIENT], ids=["impatient"])
async def test_a_text_is_sent_answered_by_the_user_and_the_agent_warned_kept_open_and_closed(
    deployment: Deployment,
) -> None:
    d, twilio = deployment, deployment.twilio
    opener = "Acme Dental here. Is 2pm tomorrow good?"
    conversation_id, message_id = await d.send(
        0, user_number=USER, message=opener, agent_number=AGENT
    )
    assert await d.texts(USER, 1) == [opener]
    await twilio.idle()
    [posted] = [p.url for p in twilio.callbacks if p.form["MessageStatus"] == "delivered"]
    assert posted == f"{d.urls[0]}/hooks/twilio/status?message_id={message_id}"
    [opened] = await d.conversations()
    assert (opened["id"], opened["state"], opened["message_count"]) == (
        conversation_id,
        "opened",
        1,
    )

    for repetition in range(2):  # Twilio brings a text again when it is unsure of our answer
        answer = await twilio.text(USER, AGENT, "Rather 3pm", message_sid="SM1")
        assert (answer.status_code, answer.headers["content-type"][:8]) == (200, "text/xml"), (
            repetition
        )
    assert await d.texts(USER, 2) == [opener, "Done: 3pm tomorrow."]

    assert (await d.texts(USER, 3))[2] == WARNING
    await twilio.text(USER, AGENT, "Yes, I am")  # at once: it has 5 seconds
    assert (await d.texts(USER, 4))[3] == "You said: Yes, I am"
    assert (await d.texts(USER, 6))[4:] == [WARNING, CLOSING]
    await twilio.idle()
    [closed] = await d.conversations("--state", "closed", "--user", USER)  # it is the only one
    assert closed["id"] == conversation_id
    transcript = await d.conversations(conversation_id)
    assert (transcript["state"], transcript["reason"]) == ("closed", "idle")
    said = [(m["direction"], m["kind"], m["state"], m["text"]) for m in transcript["messages"]]
    assert said == [
        ("outbound", "opener", "delivered", opener),
        ("inbound", "text", "received", "Rather 3pm"),
        ("outbound", "reply", "delivered", "Done: 3pm tomorrow."),
        ("outbound", "warning", "delivered", WARNING),
        ("inbound", "text", "received", "Yes, I am"),
        ("outbound", "reply", "delivered", "You said: Yes, I am"),
        ("outbound", "warning", "delivered", WARNING),
        ("outbound", "closing", "delivered", CLOSING),
    ]
    sids = {message.sid for message in twilio.created}
    assert {
        m["carrier_message_id"] for m in transcript["messages"] if m["direction"] == "outbound"
    } == sids
    assert len(twilio.asked("create")) == len(transcript["messages"]) - 2
    await stop_all(d)


async def test_many_users_at_once_each_get_each_text_once(deployment: Deployment) -> None:
    d, twilio = deployment, deployment.twilio
    users = [f"+1415555{n:04}" for n in range(200, 224)]
    async with asyncio.TaskGroup() as group:
        for n, user in enumerate(users):
            group.create_task(d.send(n, user_number=user, message=f"Hello {user}"))
    for user in users:
        assert await d.texts(user, 1) == [f"Hello {user}"]
    numbers = {message.to: message.from_ for message in twilio.created}
    async with asyncio.TaskGroup() as group:
        for user in users:
            for word in ("one", "two"):
                group.create_task(twilio.text(user, numbers[user], word))
    for user in users:
        [_, answer, *_rest] = await d.texts(user, 2)
        assert answer in {
            "You said: one\ntwo",
            "You said: two\none",
            "You said: one",
            "You said: two",
        }
    # Each text that Twilio was given was asked for once: nothing was retried behind our back.
    assert len(twilio.asked("create")) == len(twilio.created)
    callbacks = Counter(message.status_callback for message in twilio.created)
    assert set(callbacks.values()) == {1}


async def test_a_process_that_is_stopped_finishes_what_it_began(
    deployment: Deployment, engine: AsyncEngine
) -> None:
    d = deployment
    await d.send(0, user_number=USER, message="first", agent_number=AGENT)
    await d.texts(USER, 1)
    d.twilio.next(slow(after=1.5))
    _, slow_id = await d.send(1, user_number="+14155550125", message="slow")
    await d.twilio.arrived(2)
    async with engine.begin() as c:
        # A request that waits for its conversation while its process is asked to stop.
        await c.execute(text("select * from conversations for update"))
        waiting = asyncio.create_task(
            d.send(1, user_number=USER, message="second", agent_number=AGENT)
        )
        await asyncio.sleep(0.5)
        for process in (*d.serving, *d.working):
            process.ask_to_stop()
        await asyncio.sleep(0.5)
        assert not waiting.done()
    await waiting
    await has_stopped(d)
    found = await rows(engine, "select id, state from messages")
    # Its receipt came if its process still served when it did.
    assert {row["id"]: row["state"] for row in found}[slow_id] in {"sent", "delivered"}
    assert "uncertain" not in {row["state"] for row in found}
    assert "sending" not in {row["state"] for row in found}


async def stop_all(d: Deployment) -> None:
    for process in (*d.serving, *d.working):
        process.ask_to_stop()
    await has_stopped(d)


async def has_stopped(d: Deployment) -> None:
    """Each by itself, in time and with 0; and no log holds a whole number, a text or a secret."""
    for process in (*d.serving, *d.working):
        code, seconds = await process.ended(within=DRAIN + 5)
        assert code == 0, process.log
        assert seconds < DRAIN
        assert not re.search(r"(\+|%2B)1415555\d{4}", process.log)
        for secret in (TOKEN, SECRET_KEY, "test-key-acme", WARNING, "3pm"):
            assert secret not in process.log
        assert errors(process.log) == []
