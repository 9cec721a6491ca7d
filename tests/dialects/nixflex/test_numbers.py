"""`/v1/phone-numbers`: imported from Twilio, configured, given back; every documented refusal."""

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.dialects.nixflex.deployment import (
    AGENT,
    KEY,
    NUMBER,
    OTHER,
    READER,
    SMS,
    THEIR_AGENT,
    is_refused,
    told,
)
from tests.support import hooks
from tests.support.api import PUBLIC_URL, captured_logs, client, rows
from tests.support.fake_twilio import FakeTwilio, Number, html_error, reset, webhooks
from tests.support.provision import VAULT
from textback.core.phone import Phone
from textback.core.ports import CarrierAccount, FoundNumber, NotDone
from textback.runtime import Runtime

MINE = "+447700900123"
INBOUND = f"{PUBLIC_URL}/hooks/twilio/inbound"


@pytest.fixture
def twilio_number(twilio: FakeTwilio) -> Number:
    number = Number(phone_number=MINE, sms_url="https://old.example.com", sms_application_sid="AP1")
    twilio.account.numbers.append(number)
    return number


@pytest.fixture
def wanted(twilio: FakeTwilio) -> dict[str, Any]:
    return {
        "phone_number": MINE,
        "twilio_sid": twilio.account.sid,
        "twilio_token": twilio.account.auth_token,
        "agent_id": AGENT,
    }


async def test_an_import_checks_at_twilio_and_lets_the_texts_come_here(
    http: httpx.AsyncClient,
    engine: AsyncEngine,
    twilio: FakeTwilio,
    twilio_number: Number,
    wanted: dict[str, Any],
) -> None:
    camel = {
        "phoneNumber": wanted["phone_number"],
        "twilioSid": wanted["twilio_sid"],
        "twilioToken": wanted["twilio_token"],
        "agentId": AGENT,
    }
    answer = await http.post("/v1/phone-numbers", json=camel)
    assert answer.status_code == 201, answer.text
    found = answer.json()["phone_number"]
    assert list(found.items())[:5] == [
        ("phone_number", MINE),
        ("agent_id", AGENT),
        ("twilio_number_sid", twilio_number.sid),
        ("inbound_enabled", True),
        ("outbound_enabled", True),
    ]
    assert found["sms_reply_enabled"] is True
    assert found["provider"] == "twilio"
    assert twilio_number.sms_url == f"{INBOUND}#rc=5&rp=all"
    assert (twilio_number.sms_method, twilio_number.sms_application_sid) == ("POST", "")
    [carrier] = await rows(engine, "select * from carriers where kind = 'twilio'")
    assert carrier["account_sid"] == twilio.account.sid
    assert twilio.account.auth_token not in str(carrier["auth_token"])
    assert VAULT.open(str(carrier["auth_token"])) == twilio.account.auth_token
    sent = await http.post("/v1/sms", json={**SMS, "from_number": MINE})
    assert sent.status_code == 201, sent.text
    is_refused(await http.post("/v1/phone-numbers", json=wanted), "number_already_imported")
    # A user's text is verified by the token that came with the import, and answered by the agent.
    user = "+447386172399"
    form = webhooks.inbound(twilio.account, "SM" + "9" * 32, user, MINE, "Are you open?")
    forged = await hooks.post(http, hooks.INBOUND, form, token="another")
    assert forged.status_code == 403
    heard = await hooks.post(http, hooks.INBOUND, form, token=twilio.account.auth_token)
    assert heard.status_code == 200
    [turn] = await rows(
        engine,
        "select agent_id from turns join conversations c on c.id = conversation_id"
        " where user_number = '+447386172399'",
    )
    assert turn["agent_id"] == AGENT


async def test_every_documented_refusal_of_an_import_has_its_code(
    http: httpx.AsyncClient,
    engine: AsyncEngine,
    twilio: FakeTwilio,
    twilio_number: Number,
    wanted: dict[str, Any],
) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"phone_number": ""}, "missing_field"),
        ({"twilio_sid": None}, "missing_field"),
        ({"twilio_token": " "}, "missing_field"),
        ({"agent_id": None}, "missing_field"),
        ({"phone_number": "07700900123"}, "invalid_phone_format"),
        ({"twilio_sid": "AC123"}, "invalid_twilio_sid"),
        ({"twilio_sid": "AC" + "A" * 32}, "invalid_twilio_sid"),
        ({"custom_prompt": "x" * 8001}, "custom_prompt_too_long"),
        ({"agent_id": "agent_ffffffffffffffff"}, "agent_not_found"),
        ({"agent_id": THEIR_AGENT}, "agent_not_owned"),
        ({"phone_number": "+447700900124"}, "number_not_in_twilio"),
        ({"twilio_token": "wrong"}, "twilio_invalid_credentials"),
        ({"twilio_sid": "AC" + "e" * 32}, "twilio_invalid_credentials"),
        ({"phone_number": NUMBER}, "number_already_imported"),
        ({"telnyx_api_key": "KEY"}, "telnyx_not_supported"),
        ({"twilio_token": 7}, "invalid_field"),
    ]
    for changes, code in wrong:
        is_refused(await http.post("/v1/phone-numbers", json={**wanted, **changes}), code)
    twilio.account.status = "suspended"
    is_refused(await http.post("/v1/phone-numbers", json=wanted), "twilio_auth_failed")
    twilio.account.status = "active"
    for fault in (reset(), html_error()):
        twilio.next(fault, on="number")
        is_refused(await http.post("/v1/phone-numbers", json=wanted), "twilio_unreachable")
    assert twilio_number.sms_url == "https://old.example.com"
    reader = {"Authorization": f"Bearer {READER}"}
    refused = await http.post("/v1/phone-numbers", json=wanted, headers=reader)
    is_refused(refused, "permission_denied")
    assert await rows(engine, "select 1 from carriers where kind = 'twilio'") == []
    assert (await http.post("/v1/phone-numbers", json=wanted)).status_code == 201


async def test_what_others_have_is_learned_only_with_their_credentials(
    http: httpx.AsyncClient, twilio: FakeTwilio, twilio_number: Number, wanted: dict[str, Any]
) -> None:
    assert (await http.post("/v1/phone-numbers", json=wanted)).status_code == 201
    before = twilio_number.sms_url
    others = {"Authorization": f"Bearer {OTHER}"}
    theirs = {**wanted, "agent_id": THEIR_AGENT}
    without = {**theirs, "twilio_token": "wrong"}
    refused = await http.post("/v1/phone-numbers", json=without, headers=others)
    is_refused(refused, "twilio_invalid_credentials")
    refused = await http.post("/v1/phone-numbers", json=theirs, headers=others)
    is_refused(refused, "number_already_imported")
    twilio.account.numbers.append(Number(phone_number="+447700900125"))
    another = {**theirs, "phone_number": "+447700900125"}
    refused = await http.post("/v1/phone-numbers", json=another, headers=others)
    is_refused(refused, "twilio_account_taken")
    assert twilio_number.sms_url == before
    assert twilio.account.numbers[1].sms_url == ""


async def test_of_two_imports_at_once_one_is_told_that_the_other_was_faster(
    http: httpx.AsyncClient, engine: AsyncEngine, twilio_number: Number, wanted: dict[str, Any]
) -> None:
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(http.post("/v1/phone-numbers", json=wanted)) for _ in range(2)]
    answers = sorted((each.result() for each in asked), key=lambda answer: answer.status_code)
    assert answers[0].status_code == 201
    is_refused(answers[1], "number_already_imported")
    assert len(await rows(engine, "select 1 from carriers where kind = 'twilio'")) == 1
    assert twilio_number.sms_url.startswith(INBOUND)


class Broken:
    """An importer with a mistake in it."""

    async def find(self, account: CarrierAccount, number: Phone) -> FoundNumber | NotDone:
        msg = f"{account.kind} {number[:2]}"
        raise RuntimeError(msg)

    async def point(
        self, account: CarrierAccount, number_sid: str, inbound_url: str
    ) -> NotDone | None:
        raise AssertionError(account.kind, number_sid, inbound_url)


async def test_a_mistake_of_ours_is_told_in_the_same_shape(
    rt: Runtime, wanted: dict[str, Any]
) -> None:
    broken = replace(rt, importers={"twilio": Broken()})
    with captured_logs() as logged:
        async with client(broken) as http:
            key = {"Authorization": f"Bearer {KEY}"}
            answer = await http.post("/v1/phone-numbers", json=wanted, headers=key)
    assert "RuntimeError" in logged.getvalue()
    assert wanted["twilio_token"] not in logged.getvalue()
    is_refused(answer, "internal_error")
    assert told(answer)[0] == 120


async def test_a_token_that_was_changed_at_twilio_comes_with_the_next_import(
    http: httpx.AsyncClient,
    engine: AsyncEngine,
    twilio: FakeTwilio,
    twilio_number: Number,
    wanted: dict[str, Any],
) -> None:
    assert (await http.post("/v1/phone-numbers", json=wanted)).status_code == 201
    twilio.account.auth_token = "another-token"
    twilio.account.numbers.append(Number(phone_number="+447700900125"))
    more = {**wanted, "phone_number": "+447700900125", "twilio_token": "another-token"}
    assert (await http.post("/v1/phone-numbers", json=more)).status_code == 201
    [carrier] = await rows(engine, "select auth_token from carriers where kind = 'twilio'")
    assert VAULT.open(str(carrier["auth_token"])) == "another-token"
    assert twilio_number.sms_url


async def test_a_number_is_listed_changed_and_given_back(
    http: httpx.AsyncClient,
    engine: AsyncEngine,
    twilio_number: Number,
    wanted: dict[str, Any],
) -> None:
    await http.post("/v1/phone-numbers", json={**wanted, "custom_prompt": "Smile Dental."})
    where = f"/v1/phone-numbers/{MINE.replace('+', '%2B')}"
    listed = (await http.get("/v1/phone-numbers")).json()
    assert listed["count"] == 3
    assert listed["phone_numbers"][0]["phone_number"] == MINE
    only = (await http.get("/v1/phone-numbers?agent_id=echo")).json()
    assert (only["count"], only["phone_numbers"][0]["phone_number"]) == (1, "+14155550100")
    assert (await http.get("/v1/phone-numbers?limit=1&offset=1")).json()["count"] == 3
    changed = await http.patch(
        where,
        json={"sms_prompt": "Be brief.", "voice_id": "Dennis", "outbound_enabled": False},
    )
    assert changed.status_code == 200, changed.text
    found = changed.json()["phone_number"]
    assert found == (await http.get(where)).json()["phone_number"]
    assert (found["custom_prompt"], found["sms_prompt"]) == ("Smile Dental.", "Be brief.")
    assert found["voice_id"] == "Dennis"
    refused = await http.post("/v1/sms", json={**SMS, "from_number": MINE})
    is_refused(refused, "outbound_disabled")
    moved = await http.patch(where, json={"agent_id": "echo", "sms_reply_enabled": False})
    assert moved.json()["phone_number"]["agent_id"] == "echo"
    cleared = await http.patch(where, json={"custom_prompt": "", "outbound_enabled": True})
    assert cleared.json()["phone_number"]["custom_prompt"] is None
    [row] = await rows(engine, "select config from numbers where number = :number", number=MINE)
    config: Any = row["config"]
    assert config["defaults"] == {"objective": "Be brief.", "replies": False}
    for body in ({}, {"nothing_known": 1}):
        is_refused(await http.patch(where, json=body), "missing_field")
    for body, code in (
        ({"custom_prompt": "x" * 8001}, "custom_prompt_too_long"),
        ({"sms_prompt": "x" * 20_001}, "sms_prompt_too_long"),
        ({"agent_id": "nobody"}, "agent_not_found"),
        ({"agent_id": THEIR_AGENT}, "agent_not_owned"),
        ({"sms_reply_enabled": "yes"}, "invalid_field"),
        ({"voicemail_leave_enabled": True}, "voicemail_message_required"),
    ):
        is_refused(await http.patch(where, json=body), code)
    for body in ({"voicemail_message": "Call us."}, {"voicemail_leave_enabled": True}):
        assert (await http.patch(where, json=body)).status_code == 200
    gone = await http.delete(where)
    assert gone.json() == {"phone_number": {"phone_number": MINE, "deleted": True}}
    assert twilio_number.sms_url == ""
    for answer in (await http.delete(where), await http.get(where), await http.patch(where)):
        is_refused(answer, "number_not_found")
    assert (await http.post("/v1/phone-numbers", json=wanted)).status_code == 201


async def test_of_changes_at_once_none_is_lost(http: httpx.AsyncClient) -> None:
    changes: dict[str, Any] = {
        "outbound_enabled": False,
        "sms_prompt": "Be brief.",
        "custom_prompt": "Open 9-5.",
        "sms_reply_enabled": False,
        "web_prompt": "Hm.",
    }
    where = f"/v1/phone-numbers/{NUMBER}"
    async with asyncio.TaskGroup() as group:
        for name, value in changes.items():
            group.create_task(http.patch(where, json={name: value}))
    found = (await http.get(where)).json()["phone_number"]
    assert {name: found[name] for name in changes} == changes


async def test_numbers_that_are_none_and_those_of_the_file_are_told_apart(
    http: httpx.AsyncClient,
) -> None:
    for name in ("nothing", "%00", "+447700900999", "+1415555"):
        is_refused(await http.get(f"/v1/phone-numbers/{name}"), "number_not_found")
    is_refused(await http.delete(f"/v1/phone-numbers/{NUMBER}"), "conflict")
    quiet = await http.patch(f"/v1/phone-numbers/{NUMBER}", json={"sms_reply_enabled": False})
    assert quiet.json()["phone_number"]["sms_reply_enabled"] is False


async def test_texts_on_a_number_hear_its_own_prompts_and_the_callers_beside_them(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await http.patch(
        f"/v1/phone-numbers/{NUMBER}", json={"custom_prompt": "Open 9-5.", "sms_prompt": "Be kind."}
    )
    await http.post("/v1/sms", json={**SMS, "context": {"reply_context": "It is about Tuesday."}})
    await http.post("/v1/sms", json={**SMS, "to": "+447386172393"})
    found = await rows(engine, "select objective from conversations order by user_number")
    usual = "Be kind.\n\n# Business profile of this number: it wins over everything else\nOpen 9-5."
    assert [c["objective"] for c in found] == [f"{usual}\n\nIt is about Tuesday.", usual]
