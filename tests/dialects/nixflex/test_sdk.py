"""Nixflex' own Python client against a started server, with nothing but the base URL changed."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import httpx
import nixflex
import pytest
from nixflex import Nixflex

from tests.dialects.nixflex.deployment import AGENT, KEY, NUMBER, SMS, USER
from tests.support.api import served
from tests.support.fake_twilio import FakeTwilio, Number
from textback.core.gcra import Rate
from textback.dialects.nixflex.events import NixflexFormat
from textback.runtime import Runtime

MINE = "+447700900123"


@pytest.fixture
async def url(rt: Runtime) -> AsyncGenerator[str]:
    async with served(rt) as found:
        yield found


def refused(ask: Callable[[], object]) -> nixflex.NixflexAuthenticationError:
    """A process hears of a change a moment after it was made, its own too."""
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        try:
            ask()
        except nixflex.NixflexAuthenticationError as refusal:
            return refusal
        time.sleep(0.01)
    pytest.fail("the old key is still good")


def use_all_that_is_served(url: str, twilio: FakeTwilio) -> None:
    """Each method of the client that touches what we serve, in a thread of its own."""
    client: Any  # its methods give whatever the JSON holds
    with Nixflex(api_key=KEY, base_url=url) as client:
        agent = client.agents.create(name="Front desk", system_prompt="Be kind.")
        agent_id = agent["agent_id"]
        assert client.agents.get(agent_id) == agent
        assert agent in client.agents.list(limit=100, offset=0)
        assert client.agents.update(agent_id, is_active=True)["is_active"] is True
        with pytest.raises(nixflex.NixflexNotFoundError) as unknown:
            client.agents.get("agent_ffffffffffffffff")
        assert unknown.value.code == "agent_not_found"
        imported = client.phone_numbers.import_(
            MINE,
            agent_id,
            twilio_account_sid=twilio.account.sid,
            twilio_auth_token=twilio.account.auth_token,
        )
        assert imported["phone_number"]["phone_number"] == MINE
        listed = client.phone_numbers.list(agent_id=agent_id)
        assert [each["phone_number"] for each in listed["phone_numbers"]] == [MINE]
        changed = client.phone_numbers.update(MINE, sms_prompt="Brief.", sms_reply_enabled=True)
        assert changed["phone_number"]["sms_prompt"] == "Brief."
        sent = client.sms.send(AGENT, NUMBER, USER, str(SMS["message"]))
        assert (sent["status"], sent["to"], sent["from"]) == ("sent", USER, NUMBER)
        with pytest.raises(nixflex.NixflexInvalidRequestError) as wrong:
            client.sms.send(AGENT, NUMBER, "0711", "Hi")
        assert (wrong.value.code, wrong.value.details["field"]) == ("invalid_phone_format", "to")
        people = [{"phone": "+447111000001", "variables": {"first_name": "Sarah"}}]
        campaign = client.sms.campaigns.create(AGENT, NUMBER, "Hi {{first_name}}", people)
        campaign_id = campaign["campaign_id"]
        found = client.sms.campaigns.list(status="running", limit=5)
        assert [each["campaign_id"] for each in found["campaigns"]] == [campaign_id]
        assert client.sms.campaigns.launch(campaign_id)["status"] == "running"
        assert client.sms.campaigns.get(campaign_id)["recipients"][0]["phone"] == "+447111000001"
        assert client.sms.campaigns.delete(campaign_id)["cancelled_count"] == 1
        assert client.phone_numbers.delete(MINE)["phone_number"]["deleted"] is True
        assert client.agents.delete(agent_id) == {"agent_id": agent_id, "deleted": True}
        rotated = client.keys.rotate()
        assert refused(client.agents.list).code == "invalid_api_key"
    key = f"{rotated['key_id']}:{rotated['key_secret']}"
    with Nixflex(api_key=key, base_url=url) as client:
        assert client.agents.list()


async def test_the_published_client_does_all_that_is_served(url: str, twilio: FakeTwilio) -> None:
    twilio.account.numbers.append(Number(phone_number=MINE))
    await asyncio.to_thread(use_all_that_is_served, url, twilio)


async def test_the_published_client_reads_the_limit(url: str, rt: Runtime) -> None:
    await rt.quota.take(f"nixflex:dental:{KEY.partition(':')[0]}:600", Rate(600, 60), 1200)
    client: Any
    async with nixflex.AsyncNixflex(api_key=KEY, base_url=url, max_retries=0) as client:
        with pytest.raises(nixflex.NixflexRateLimitError) as limited:
            await client.agents.list()
    assert limited.value.retry_after_seconds == limited.value.details["retry_after"] > 50
    assert limited.value.code == "rate_limit_exceeded"


def test_the_published_client_verifies_what_we_sign() -> None:
    body, at = '{"event":"sms.delivered","naïve":true}'.encode(), 1_772_442_000
    headers = NixflexFormat().headers(
        ["nxfs_new", "nxfs_old"], webhook_id="dlv_1", timestamp=at, body=body
    )
    signature = headers["X-Nixflex-Signature"]
    assert nixflex.verify_webhook_signature(body, signature, "nxfs_new", now=at + 299)
    assert not nixflex.verify_webhook_signature(body, signature, "nxfs_new", now=at + 301)
    assert not nixflex.verify_webhook_signature(body + b" ", signature, "nxfs_new", now=at)
    old = hmac.new(b"nxfs_old", f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    assert f"v1={old}," in signature


EXPECTED = {
    "agents.create": 201,
    "agents.delete": 404,
    "phoneNumbers.import": 201,
    "sms.send": 201,
    "sms.campaigns.create": 201,
    "sms.campaigns.get": 404,
    "sms.campaigns.launch": 404,
    "sms.campaigns.delete": 404,
}
"""What else than 200 is answered."""


async def test_what_the_node_client_sends_is_understood_byte_for_byte(
    http: httpx.AsyncClient, twilio: FakeTwilio
) -> None:
    """Recorded from its version 0.8.0: every method that touches what we serve."""
    twilio.account.numbers.append(Number(phone_number=MINE))
    recorded = json.loads((Path(__file__).parent / "golden" / "node-0.8.0.json").read_text())
    assert len({asked["call"] for asked in recorded}) == len(recorded) == 16
    assert EXPECTED.keys() <= {asked["call"] for asked in recorded}
    for asked in recorded:
        answer = await http.request(
            asked["method"], asked["path"], headers=asked["headers"], content=asked["body"]
        )
        assert answer.status_code == EXPECTED.get(asked["call"], 200), asked["call"]
