"""A reply whose webhook never comes is found by a worker, and answered once: real processes."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import AGENT, ROUTE, USER, headers, is_accepted, rows, until
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
from tests.support.texts import utc_now

QUICK = STANDARD_YAML.replace(
    "        agent: bookings\n", "        agent: bookings\n        reply_delay_seconds: 0.1\n"
).replace("carrier: acme-twilio}", "carrier: acme-twilio, segments_per_second: 100}")
AGO = timedelta(minutes=5)


async def test_a_reply_whose_webhook_never_came_is_found_and_answered_once(
    engine: AsyncEngine, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    port = free_port()
    given = {
        "TEXTBACK_DATABASE_URL": database_url,
        "TEXTBACK_REDIS_URL": redis_url,
        "TEXTBACK_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "TEXTBACK_SECRET_KEY": SECRET_KEY,
        "TEXTBACK_SWEEP_SECONDS": "0.5",
        "TEXTBACK_POLL_SECONDS": "0.2",
        "TEXTBACK_LOG_FORMAT": "json",
    }
    async with FakeTwilio(ACME_SID, TOKEN) as twilio, Textback(tmp_path, given) as textback:
        # We have had the number for an hour, and were down for a while.
        before = utc_now() - timedelta(hours=1)
        await provision(engine, QUICK, environment(twilio.base_url), now=before)
        await textback.serve(port)
        async with httpx.AsyncClient(trust_env=False) as http:
            body = {"user_number": USER, "message": "When shall we meet?"}
            url = f"http://127.0.0.1:{port}{ROUTE}"
            is_accepted(await http.post(url, json=body, headers=headers()))
        reply = twilio.unheard(USER, AGENT, "At 3pm")
        reply.date_created = reply.date_sent = utc_now() - AGO

        working = [await textback.start("work") for _ in range(2)]

        async def answered() -> bool:
            return "Done: 3pm tomorrow." in [m.body for m in twilio.created]

        await until(answered)
        asked = len(twilio.asked("list"))

        async def swept_again() -> bool:
            return len(twilio.asked("list")) >= asked + 6

        await until(swept_again)
        await twilio.idle()
        assert [m.body for m in twilio.created] == ["When shall we meet?", "Done: 3pm tomorrow."]

        logs = "".join(worker.log for worker in working)
        found = [json.loads(line) for line in logs.splitlines() if "inbound.recovered" in line]
        assert [line["level"] for line in found] == ["error"]
        assert found[0]["age_seconds"] >= AGO.total_seconds()
        stored = await rows(
            engine, "select id, note from messages where carrier_message_id = :sid", sid=reply.sid
        )
        assert stored == [{"id": found[0]["message_id"], "note": "recovered"}]
        assert USER not in logs
        for worker in working:
            worker.ask_to_stop()
        async with asyncio.TaskGroup() as group:
            for worker in working:
                group.create_task(worker.ended(20))
