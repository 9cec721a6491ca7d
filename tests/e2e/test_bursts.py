"""People text in bursts while a slow agent thinks: one answer each, to everything."""

import asyncio
import json
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import AGENT, rows, until
from tests.support.fake_twilio import FakeTwilio
from tests.support.ports import free_port
from tests.support.processes import Textback
from tests.support.provision import (
    ACME_SID,
    SECRET_KEY,
    STANDARD_YAML,
    TOKEN,
    environment,
    provision,
)
from tests.support.turn_server import Answer, Received, TurnServer, says, serving

USERS = [f"+1415555030{n}" for n in range(5)]
NEVER = 60.0
"""Seconds that the agent takes over a burst that is not whole: longer than this test."""

SCRIPTED = """\
          kind: scripted
          rules: [{match: "(?i)3pm", reply: "Done: 3pm tomorrow."}]
          default: "You said: {text}"
"""
HTTP = """\
          kind: http
          url: "%s"
          timeout_seconds: 60
"""
QUICK = STANDARD_YAML.replace(
    "        agent: bookings\n", "        agent: bookings\n        reply_delay_seconds: 0.2\n"
).replace("carrier: acme-twilio}", "carrier: acme-twilio, segments_per_second: 100}")


def burst(n: int) -> list[str]:
    """Three to five texts."""
    return [f"user {n}, text {m}" for m in range(3 + n % 3)]


def heard(received: Received) -> list[str]:
    transcript = json.loads(received.body)["messages"]
    return [said["text"] for said in transcript if said["role"] == "user"]


def think(received: Received) -> Answer:
    texts = heard(received)
    whole = texts == burst(int(texts[0].split()[1].rstrip(",")))
    answer = says(" + ".join(texts))
    return answer if whole else Answer(body=answer.body, delay=NEVER)


async def test_bursts_of_texts_to_an_agent_that_thinks_get_one_answer_each(
    engine: AsyncEngine, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    port = free_port()
    hook = f"http://127.0.0.1:{port}/hooks/twilio/inbound"
    given = {
        "TEXTBACK_DATABASE_URL": database_url,
        "TEXTBACK_REDIS_URL": redis_url,
        "TEXTBACK_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "TEXTBACK_SECRET_KEY": SECRET_KEY,
    }
    with serving() as agent:
        agent.answer = think
        async with FakeTwilio(ACME_SID, TOKEN) as twilio, Textback(tmp_path, given) as textback:
            file = QUICK.replace(SCRIPTED, HTTP % agent.url)
            await provision(engine, file, environment(twilio.base_url))
            await textback.serve(port)
            working = [await textback.start("work") for _ in range(2)]

            async with asyncio.timeout(NEVER / 2), asyncio.TaskGroup() as group:
                for n, user in enumerate(USERS):
                    group.create_task(_texts(twilio, agent, hook, user, burst(n)))

            async def all_answered() -> bool:
                return len(twilio.created) >= len(USERS)

            await until(all_answered)
            await asyncio.sleep(1)  # for whatever should not come
            for worker in working:
                worker.ask_to_stop()
            async with asyncio.TaskGroup() as group:
                for worker in working:
                    group.create_task(worker.ended(20))

    answers = {user: [m.body for m in twilio.created if m.to == user] for user in USERS}
    assert answers == {user: [" + ".join(burst(n))] for n, user in enumerate(USERS)}
    turns = await rows(engine, "select outcome, run - restarts as first, restarts from turns")
    assert [turn["outcome"] for turn in turns] == ["answered"] * len(USERS)
    assert {turn["first"] for turn in turns} == {1}
    assert {turn["restarts"] for turn in turns} <= {1, 2, 3}


async def _texts(
    twilio: FakeTwilio, agent: TurnServer, hook: str, user: str, texts: list[str]
) -> None:
    """The first; two more once the agent thinks; and what is left when it does so again."""

    async def thinks() -> bool:
        return any(heard(received) == said for received in list(agent.received))

    said = list[str]()
    for some in (texts[:1], texts[1:3], texts[3:]):
        for text in some:
            answer = await twilio.text(user, AGENT, text, url=hook)
            assert answer.status_code == 200
            said.append(text)
        if said != texts:
            await until(thinks)
