"""`POST /v1/sms/create`: on record, and never sent or answered."""

from datetime import timedelta
from typing import Final

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import rows, stored
from tests.support.bland import (
    NEIGHBOUR,
    SEND,
    THEIRS,
    good,
    hear,
    post,
    refused,
    send,
    talks,
)
from tests.support.provision import NOW
from textback.core import ids
from textback.core.ports import Receipt
from textback.db.claims import Round, Scope, claim_due
from textback.db.session import transaction
from textback.flows.receipt import Receipts

TEXTS = "select * from messages order by seq"
SAID = SEND | {"message": "I moved it to 4pm.", "sender": "AGENT"}
HEARD = SEND | {"message": "Can we do 4pm?"}


async def nothing_is_sent(engine: AsyncEngine) -> bool:
    """No worker, however late, finds a text to send."""
    async with transaction(engine) as c:
        at = NOW + timedelta(days=1)
        found = await claim_due(c, Scope(limit=10), Round(), now=at, lease=timedelta(minutes=1))
    return not found.sending and not found.late


async def test_what_was_said_is_stored_in_its_order_and_nothing_goes_out(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    told = {
        "curr_pathway_id": "intake",
        "curr_pathway_version": "v1.0",
        "current_node_id": "goodbye",
        "request_data": {"name": "Ada"},
        "time_out": 60,
    }
    data = good(await post(http, "/create", HEARD | told))
    assert good(await post(http, "/create", SAID)) == data
    [talk] = await rows(engine, "select * from conversations")
    assert data == {
        "message": "SMS conversation created successfully",
        "conversation_id": ids.to_uuid(str(talk["id"])),
        "workflow_id": ids.to_uuid(str(talk["id"])),
    }
    names = ("agent_id", "agent_version", "start_node", "variables", "state")
    assert [talk[n] for n in names] == ["intake", 1, "goodbye", {"name": "Ada"}, "engaged"]
    assert talk["deadline_at"] == NOW + timedelta(seconds=60)
    heard, said = await rows(engine, TEXTS)
    assert [heard[n] for n in ("direction", "state", "kind", "note", "text")] == [
        *("inbound", "received", "unanswered", "recorded", "Can we do 4pm?"),
    ]
    assert [said[n] for n in ("direction", "state", "kind", "sent_at", "text")] == [
        *("outbound", "sent", "opener", NOW, "I moved it to 4pm."),
    ]
    assert heard["carrier_message_id"] != said["carrier_message_id"]
    assert await nothing_is_sent(engine)
    assert await rows(engine, "select 1 from turns") == []


async def test_a_new_conversation_ends_the_one_there_was(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    sent = await send(http)
    data = good(await post(http, "/create", SAID | {"new_conversation": True}))
    assert data["conversation_id"] != sent["conversation_id"]
    older, newer = await talks(engine)
    assert (older["reason"], newer["state"]) == ("superseded", "opened")


async def test_twilios_id_is_stored_once(http: httpx.AsyncClient, engine: AsyncEngine) -> None:
    sid = "SM" + "0a" * 16
    data = good(await post(http, "/create", SAID | {"message_sid": sid}))
    again = SAID | {"message_sid": sid, "new_conversation": True, "message": "Other words."}
    assert good(await post(http, "/create", again)) == data
    [said] = await rows(engine, TEXTS)
    assert said["carrier_message_id"] == f"on-record:{sid}"
    assert said["text"] == "I moved it to 4pm."
    # Also one that came by webhook, and a webhook of one that is on record.
    heard = await hear(engine, "Can we do 4pm?", sid="SM1")
    assert good(await post(http, "/create", HEARD | {"message_sid": "SM1"})) == data
    assert (heard.conversation_id, (await hear(engine, "x", sid=sid)).outcome) == (
        said["conversation_id"],
        "duplicate",
    )
    assert len(await rows(engine, TEXTS)) == 2
    others = SAID | {"message_sid": sid, "user_number": NEIGHBOUR}
    assert "message_sid" in refused(await post(http, "/create", others), 409, "CONFLICT")


@pytest.mark.parametrize("sayer", ["AGENT", "USER"])
async def test_twilios_id_of_a_text_of_ours_in_flight_makes_nobody_texted_twice(
    http: httpx.AsyncClient, engine: AsyncEngine, sayer: str
) -> None:
    """The text goes out, and before anybody here knows its id, a caller puts that on record."""
    sid = "SM" + "0a" * 16
    sent = await send(http)
    async with transaction(engine) as c:
        found = await claim_due(c, Scope(limit=10), Round(), now=NOW, lease=timedelta(minutes=1))
    [(sending, _)] = found.sending
    good(await post(http, "/create", HEARD | {"message_sid": sid, "sender": sayer}))
    reported = Receipt(carrier_message_id=sid, message_id=sending.id, status="delivered")
    assert await Receipts(engine).hear(sending.carrier_id, reported, now=NOW) == "changed"
    ours, theirs = await rows(engine, TEXTS)
    assert (ours["id"], ours["state"], ours["carrier_message_id"]) == (
        *(sent["message_id"], "delivered"),
        sid,
    )
    assert theirs["state"] == ("sent" if sayer == "AGENT" else "received")
    assert await nothing_is_sent(engine)


async def test_on_record_a_keyword_is_words_and_an_opt_out_stands(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    good(await post(http, "/create", HEARD | {"message": "STOP"}))
    assert await rows(engine, "select 1 from opt_outs") == []
    assert (await send(http))["status"] == "processing"
    await hear(engine, "STOP")
    for body in (SAID, HEARD):
        good(await post(http, "/create", body | {"new_conversation": True}))
    states = await rows(engine, "select distinct state from conversations")
    assert states == [{"state": "closed"}]
    said = await rows(engine, "select distinct state from messages where text like 'I moved%'")
    assert said == [{"state": "sent"}]


CANNOT: Final[list[tuple[dict[str, object], int, str]]] = [
    ({"message": None}, 400, "MISSING_REQUIRED_FIELDS"),
    ({"message": " "}, 400, "MISSING_REQUIRED_FIELDS"),
    ({"message": "x" * 1601}, 400, "INVALID_REQUEST"),
    ({"sender": "HUMAN"}, 400, "INVALID_REQUEST"),
    ({"message_sid": "S M"}, 400, "INVALID_REQUEST"),
    ({"time_out": 60, "warning_time": 90}, 400, "INVALID_TIMEOUT_CONFIG"),
    ({"channel": "imessage"}, 400, "UNSUPPORTED_CHANNEL"),
    ({"curr_pathway_id": "nobody"}, 400, "INVALID_AGENT"),
    ({"curr_pathway_id": "mia", "curr_pathway_version": "v2"}, 400, "INVALID_AGENT"),
    ({"current_node_id": "nowhere"}, 400, "INVALID_AGENT"),
    ({"agent_number": THEIRS}, 404, "INBOUND_NUMBER_NOT_FOUND"),
    ({"agent_number": "+14155550190"}, 404, "INBOUND_NUMBER_NOT_FOUND"),
]


async def test_what_cannot_be_put_on_record_is_refused_and_nothing_is_stored(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    for body, status, code in CANNOT:
        refused(await post(http, "/create", SAID | body), status, code)
    assert await stored(engine) == {}
