"""What is said of a number, and that conversations there follow it, whoever opens them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import Clock, rows
from tests.support.bland import (
    AGENT,
    ENVIRONMENT,
    KEY,
    NEIGHBOUR,
    READER,
    SEND,
    THEIRS,
    TIGHT,
    USER,
    YAML,
    ask,
    good,
    hear,
    post,
    refused,
    send,
    talks,
)
from tests.support.provision import provision
from textback.core.commands import SendText
from textback.core.ids import AccountId
from textback.core.phone import Phone
from textback.db import tenants
from textback.db.book import Book
from textback.db.session import transaction
from textback.flows import accept, admit, expire

SERVICE = "MG" + "0a" * 16
UPDATE = "/number/update"

TOLD = {
    "webhook": "https://hooks.example.com/number",
    "request_data": {"shop": "Main St"},
    "time_out": 600,
    "timeout_action": "send_sms",
    "timeout_message": "Bye.",
    "warning_time": 60,
    "warning_message": "There?",
    "messaging_service_sid": SERVICE,
    "objective": "Sell.",
    "tools": ["lookup"],
    "temperature": 0.7,
    "pathway_id": "intake",
    "pathway_version": "latest",
    "start_node_id": "goodbye",
    "restart_after_end_call": False,
    "timezone": "America/New_York",
    "summary_prompt": "Summarize.",
    "disposition_ids": ["d1"],
    "citation_schema_ids": ["c1"],
}


async def told(http: httpx.AsyncClient, **said: object) -> dict[str, Any]:
    """Gives the number's sms_config."""
    data = good(await post(http, UPDATE, {"phone_number": AGENT, **said}))
    assert data["message"] == f"SMS config updated for number {AGENT}"
    return data["sms_config"]


async def latest(engine: AsyncEngine) -> dict[str, object]:
    return (await talks(engine))[-1]


async def test_what_is_said_of_a_number_is_shown_and_taken_back(
    http: httpx.AsyncClient,
) -> None:
    fresh = await told(http)
    assert list(fresh) == list(TOLD)
    assert fresh["restart_after_end_call"] is True
    assert await told(http, **TOLD) == TOLD
    assert (await told(http, objective="Help.", colour="blue"))["objective"] == "Help."
    listed = good(await ask(http, "GET", "/numbers"))
    assert [each["phone_number"] for each in listed] == [AGENT, TIGHT]
    assert listed[0]["sms_config"] == TOLD | {"objective": "Help."}
    assert listed[1]["sms_config"] == fresh
    assert listed[0]["conversation_count"] == 0
    await send(http)
    assert good(await ask(http, "GET", "/numbers", key=READER))[0]["conversation_count"] == 1
    assert await told(http, **dict.fromkeys(TOLD)) == fresh
    on_whatsapp = good(await ask(http, "GET", "/numbers?channel=whatsapp"))
    assert [each["phone_number"] for each in on_whatsapp] == [AGENT]
    refused(await ask(http, "GET", "/numbers?channel=imessage"), 400, "UNSUPPORTED_CHANNEL")


async def test_a_conversation_that_the_user_opens_begins_as_the_number_says(
    http: httpx.AsyncClient, engine: AsyncEngine, clock: Clock
) -> None:
    await told(http, **TOLD)
    await hear(engine, "Hello?", now=clock())
    talk = await latest(engine)
    names = ("agent_id", "start_node", "objective", "variables", "reopens", "extra")
    assert [talk[name] for name in names] == [
        *("intake", "goodbye", "Sell.", {"shop": "Main St"}, False),
        {"disposition_ids": ["d1"], "citation_schema_ids": ["c1"]},
    ]
    assert talk["deadline_at"] == clock() + timedelta(seconds=60)
    [endpoint] = await rows(engine, "select * from webhook_endpoints")
    assert endpoint["url"] == TOLD["webhook"]
    assert (endpoint["format"], endpoint["conversation_id"]) == ("bland", talk["id"])
    # And that it was opened is told there.
    told_of = "select 1 from webhook_deliveries d join events e on e.id = d.event_id"
    assert len(await rows(engine, f"{told_of} where e.kind = 'conversation.opened'")) == 1


async def test_a_send_goes_before_its_number_and_the_number_before_the_project(
    http: httpx.AsyncClient, engine: AsyncEngine, clock: Clock
) -> None:
    await told(http, **TOLD)
    await send(http, request_data={"name": "Ada"}, webhook="https://hooks.example.com/own")
    talk = await latest(engine)
    assert (talk["agent_id"], talk["start_node"]) == ("intake", "goodbye")
    assert talk["variables"] == {"shop": "Main St", "name": "Ada"}
    assert (talk["reopens"], talk["objective"]) == (False, "Sell.")
    assert talk["deadline_at"] == clock() + timedelta(seconds=60)
    [endpoint] = await rows(engine, "select url from webhook_endpoints")
    assert endpoint["url"] == "https://hooks.example.com/own"
    await send(http, new_conversation=True, persona_id="mia", objective="Ask.", time_out=90)
    await send(http, user_number=NEIGHBOUR, warning_time=0)
    assert (await latest(engine))["deadline_at"] == clock() + timedelta(seconds=600)
    mine = (await talks(engine))[1]
    assert (mine["agent_id"], mine["start_node"], mine["objective"]) == ("mia", None, "Ask.")
    # A node of the number's agent is none of the one that has the conversation.
    elsewhere = await post(http, "/send", SEND | {"start_node_id": "goodbye"})
    refused(elsewhere, 400, "INVALID_AGENT")
    why = "warning_time must be less than time_out"
    answer = await post(http, "/send", SEND | {"time_out": 40})
    assert why in refused(answer, 400, "INVALID_TIMEOUT_CONFIG")
    async with transaction(engine) as c:
        senders = await tenants.senders(c, [Phone(AGENT)])
    assert senders[Phone(AGENT)].messaging_service_sid == SERVICE


async def test_a_send_in_another_dialect_begins_as_the_number_says_too(
    http: httpx.AsyncClient, engine: AsyncEngine, clock: Clock
) -> None:
    await told(http, **TOLD)
    caller = await admit.sender(Book(engine), AccountId("acme"), agent_number=AGENT)
    command = SendText(user_number=Phone(USER), text="Hi.", agent_number=Phone(AGENT))
    for again in (command, replace(command, thread="resume")):
        await accept.send_text(engine, caller, again, now=clock())
    [talk] = await rows(engine, "select * from conversations")
    assert (talk["agent_id"], talk["objective"], talk["reopens"]) == ("intake", "Sell.", False)


@pytest.mark.parametrize("restarts", [True, False])
async def test_a_text_after_the_timeout_restarts_it_or_is_only_kept(
    http: httpx.AsyncClient, engine: AsyncEngine, clock: Clock, *, restarts: bool
) -> None:
    await told(http, time_out=60, timeout_message="Bye.", restart_after_end_call=restarts)
    await send(http)
    clock.pass_(timedelta(seconds=61))
    await expire.expire_due(engine, limit=10, now=clock())
    texts = await rows(engine, "select text from messages order by seq")
    assert texts[-1]["text"] == "Bye."
    heard = await hear(engine, "Sorry, here I am.", now=clock())
    found = await talks(engine)
    assert (found[0]["state"], found[0]["reason"]) == ("closed", "idle")
    assert len(found) == (2 if restarts else 1)
    assert (heard.outcome, heard.why) == (
        ("heard", None) if restarts else ("unanswered", "timed_out")
    )


async def test_the_older_routes_say_the_same_in_their_own_shapes(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    async def asked(path: str, **body: object) -> object:
        answer = await post(http, path, {"phone_number": AGENT, **body})
        assert answer.status_code == 200
        return answer.json()

    assert await asked("/update", prompt="Sell.", ignore_keywords=["lol"], temperature=0.2) == {
        "status": "Prompt updated"
    }
    assert await asked("/webhook/update", webhook="https://hooks.example.com/x") == {
        "status": "success"
    }
    assert await asked("/toggle", on=True) == {"status": "Turned human mode on"}
    assert await asked("/webhook/update") == {"status": "success"}  # what is absent stays
    assert await asked("/update") == {"status": "Prompt updated"}
    config = await told(http)
    assert (config["objective"], config["temperature"]) == ("Sell.", 0.2)
    assert config["webhook"] == "https://hooks.example.com/x"
    assert (await hear(engine, "Hi?", sid="SM1")).why == "replies_off"
    assert await asked("/toggle", on=False) == {"status": "Turned human mode off"}
    assert (await hear(engine, "LOL ok", sid="SM2")).why == "ignored_words"
    assert (await hear(engine, "Hi?", sid="SM3")).outcome == "heard"
    await asked("/update", ignore_keywords=None)
    assert (await hear(engine, "lol", sid="SM4")).outcome == "heard"
    await asked("/webhook/update", webhook=None)
    assert (await told(http))["webhook"] is None
    for path, body in (("/toggle", {}), ("/update", {"ignore_keywords": "lol"})):
        answer = await post(http, path, {"phone_number": AGENT, **body})
        assert answer.status_code == 400
    refused(
        await post(http, "/toggle", {"phone_number": THEIRS, "on": True}),
        404,
        "INBOUND_NUMBER_NOT_FOUND",
    )


CANNOT: Final[list[tuple[dict[str, object], int, str]]] = [
    ({"phone_number": None}, 400, "MISSING_REQUIRED_FIELDS"),
    ({"phone_number": "Acme"}, 400, "INVALID_REQUEST"),
    ({"phone_number": "+14155550190"}, 404, "INBOUND_NUMBER_NOT_FOUND"),
    ({"phone_number": THEIRS}, 404, "INBOUND_NUMBER_NOT_FOUND"),
    ({"channel": "imessage"}, 400, "UNSUPPORTED_CHANNEL"),
    ({"pathway_id": "theirs"}, 400, "INVALID_AGENT"),
    ({"pathway_id": "mia", "pathway_version": "9"}, 400, "INVALID_AGENT"),
    ({"pathway_id": "intake", "start_node_id": "x"}, 400, "INVALID_AGENT"),
    ({"pathway_version": "newest"}, 400, "INVALID_REQUEST"),
    ({"time_out": 60, "warning_time": 61}, 400, "INVALID_TIMEOUT_CONFIG"),
    ({"time_out": "soon"}, 400, "INVALID_TIMEOUT_CONFIG"),
    ({"webhook": "https://10.0.0.1/"}, 400, "INVALID_WEBHOOK"),
    ({"messaging_service_sid": "MG1"}, 400, "INVALID_REQUEST"),
    ({"objective": 5}, 400, "INVALID_OBJECTIVE"),
    ({"tools": "lookup"}, 400, "INVALID_REQUEST"),
    ({"temperature": 3}, 400, "INVALID_REQUEST"),
    ({"request_data": "x"}, 400, "INVALID_REQUEST"),
]


async def test_what_cannot_be_said_of_a_number_changes_nothing(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    for said, status, code in CANNOT:
        body = {"phone_number": AGENT, "objective": "x"} | said
        refused(await post(http, UPDATE, body), status, code)
    assert await rows(engine, "select 1 from numbers where config <> '{}'") == []


async def test_a_value_of_no_kind_that_it_may_have_is_told_by_its_field(
    http: httpx.AsyncClient,
) -> None:
    answer = await post(http, UPDATE, {"phone_number": AGENT, "request_data": 5})
    assert refused(answer, 400, "INVALID_REQUEST") == "request_data must be an object or an array."


async def test_only_who_may_manage_says_something_of_numbers(http: httpx.AsyncClient) -> None:
    for path in (UPDATE, "/update", "/webhook/update", "/toggle"):
        body = {"phone_number": AGENT, "on": True}
        refused(await post(http, path, body, key=READER), 403, "FORBIDDEN")
    refused(await ask(http, "GET", "/numbers", key=None), 401, "AUTH_FAILURE")
    good(await ask(http, "GET", "/numbers", key=f"Bearer {KEY}"))


async def test_who_has_a_number_next_hears_nothing_of_what_was_said_of_it(
    http: httpx.AsyncClient, engine: AsyncEngine, clock: Clock
) -> None:
    await told(http, **TOLD)
    hands = YAML.replace('{number: "+14155550100"', '{number: "+14155550106"', 1)
    hands = hands.replace(
        'numbers: [{number: "+14155550199", environment: live, carrier: others-sandbox}]',
        'numbers: [{number: "+14155550100", environment: live, carrier: others-sandbox}]',
    )
    await provision(engine, hands, ENVIRONMENT, prune=True)
    await hear(engine, "Hello?", carrier="others-sandbox", now=clock())
    talk = await latest(engine)
    assert (talk["account_id"], talk["agent_id"], talk["objective"]) == ("others", "theirs", None)
    assert await rows(engine, "select 1 from webhook_endpoints") == []
