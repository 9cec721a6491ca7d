"""A conversation in other hands: a person's message, hand-off, resume, end."""

from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import rows
from tests.support.bland import (
    AGENT,
    NEIGHBOUR,
    OTHERS,
    READER,
    USER,
    good,
    hear,
    post,
    refused,
    send,
)

TEXTS = "select * from messages order by seq"
SHOWN_NOW = "2026-03-02T09:00:00.000Z"


async def opened(http: httpx.AsyncClient, **more: object) -> tuple[str, str]:
    """Its id as shown, and its path."""
    shown = str((await send(http, **more))["conversation_id"])
    return shown, f"/conversations/{shown}"


def conversation(shown: str, **changed: object) -> dict[str, object]:
    return {
        "id": shown,
        "is_active": True,
        "updated_at": SHOWN_NOW,
        "human_handoff_at": None,
        "human_handoff_reason": None,
        "human_handoff_metadata": None,
    } | changed


async def test_a_message_is_a_persons_or_the_agents_and_is_said_once(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    shown, path = await opened(http)
    first = await post(http, f"{path}/messages", {"message": "Bob here."}, idempotency_key="k")
    data = good(first, 202)
    assert data == {
        "status": "processing",
        "message": "Message accepted for delivery",
        "conversation_id": shown,
        "sender": "HUMAN",
        "message_id": data["message_id"],
        "human_handoff_active": False,
    }
    other = {"message": "Other words.", "sender": "AGENT"}
    again = await post(http, f"{path}/messages", other, idempotency_key="k")
    assert (again.status_code, again.content) == (202, first.content)
    data = good(await post(http, f"{path}/messages", other), 202)
    assert data["sender"] == "AGENT"
    # Of another conversation, it is another key.
    _, elsewhere = await opened(http, user_number=NEIGHBOUR)
    good(await post(http, f"{elsewhere}/messages", other, idempotency_key="k"), 202)
    said = await rows(engine, TEXTS)
    assert [text["kind"] for text in said] == ["opener", "person", "reply", "opener", "reply"]


async def test_a_person_takes_it_and_gives_it_back(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    shown, path = await opened(http, time_out=60)
    asked = {
        "reason": "A refund.",
        "metadata": {"ticket": 7},
        "actor": "ivr",
        "webhook": "https://hooks.example.com/desk",
    }
    data = good(await post(http, f"{path}/handoff", asked))
    held = conversation(
        shown,
        human_handoff_at=SHOWN_NOW,
        human_handoff_reason="A refund.",
        human_handoff_metadata={"ticket": 7},
    )
    assert data == {
        "message": "Conversation handed off to a human",
        "already_active": False,
        "conversation": held,
    }
    again = good(await post(http, f"{path}/handoff", {"reason": "Another."}))
    assert (again["already_active"], again["conversation"]) == (True, held)
    [event] = await rows(engine, "select data from events where kind = 'conversation.handed_off'")
    assert event["data"] == {
        "reason": "A refund.",
        "by": "caller",
        "metadata": {"ticket": 7},
        "actor": "ivr",
    }
    told = "select e.kind from webhook_deliveries d join events e on e.id = d.event_id"
    assert await rows(engine, told) == [{"kind": "conversation.handed_off"}]
    assert (await hear(engine, "Hello?")).why == "handed_off"
    assert good(await post(http, f"{path}/messages", {"message": "Hi."}), 202)[
        "human_handoff_active"
    ]
    [talk] = await rows(engine, "select * from conversations")
    assert (talk["state"], talk["deadline_at"]) == ("handed_off", None)

    data = good(await post(http, f"{path}/resume", {"message": "Mia again.", "actor": "bob"}))
    said = (await rows(engine, TEXTS))[-1]
    assert data == {
        "message": "Conversation resumed",
        "was_active": True,
        "status": "processing",
        "message_id": said["id"],
        "conversation": conversation(shown),
    }
    assert (said["kind"], said["text"]) == ("reply", "Mia again.")
    idle = good(await post(http, f"{path}/resume"))
    assert (idle["was_active"], idle["status"], idle["message_id"]) == (False, "resumed", None)


async def test_the_agent_goes_on_where_and_how_it_is_told(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    shown, path = await opened(http, pathway_id="intake")
    good(await post(http, f"{path}/handoff"))
    await hear(engine, "Hello?")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"message": "Hi.", "generate_reply": True}, "INVALID_REQUEST"),
        ({"message": "x" * 1601}, "INVALID_REQUEST"),
        ({"node_id": "nowhere"}, "INVALID_AGENT"),
        ({"generate_reply": "yes"}, "INVALID_REQUEST"),
    ]
    for body, code in wrong:
        refused(await post(http, f"{path}/resume", body), 400, code)
    asked = {"generate_reply": True, "node_id": "goodbye"}
    data = good(await post(http, f"{path}/resume", asked))
    assert (data["status"], data["message_id"]) == ("processing", None)
    assert len(await rows(engine, "select 1 from turns where state = 'waiting'")) == 1
    [talk] = await rows(engine, "select * from conversations")
    assert (talk["start_node"], talk["state"]) == ("goodbye", "engaged")
    # What is asked of an agent that has it already is no silence.
    for body in ({"generate_reply": True}, {"node_id": "hello"}, {"message": "Hi."}):
        refused(await post(http, f"{path}/resume", body), 409, "INVALID_CONVERSATION_STATE")
    assert shown


async def test_somebody_is_texted_once_that_a_person_is_needed(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    shown, path = await opened(http)
    for number in ("Bob", USER, "+1415555012"):
        refused(
            await post(http, f"{path}/handoff", {"notify_number": number}), 400, "INVALID_REQUEST"
        )
    [talk] = await rows(engine, "select state from conversations")
    assert talk["state"] == "opened"
    asked = {"notify_number": NEIGHBOUR, "reason": "A refund."}
    for _ in range(2):
        good(await post(http, f"{path}/handoff", asked))
    _, alert = await rows(engine, TEXTS)
    assert (alert["agent_number"], alert["user_number"]) == (AGENT, NEIGHBOUR)
    assert alert["text"] == f"A person is needed for {USER}: A refund."
    [of_alert] = await rows(
        engine,
        f"select * from conversations where id = '{alert['conversation_id']}'",  # noqa: S608
    )
    assert of_alert["metadata"] == {"conversation_id": shown}


async def test_an_end_says_nothing_to_the_user(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    shown, path = await opened(http)
    good(await post(http, f"{path}/handoff"))
    asked = {"reason": "Settled.", "actor": "bob"}
    data = good(await post(http, f"{path}/end", asked))
    assert data == {
        "message": "Conversation ended",
        "was_active": True,
        "was_handed_off": True,
        "conversation": conversation(shown, is_active=False),
        "workflow_id": shown,
    }
    again = good(await post(http, f"{path}/end"))
    assert (again["was_active"], again["was_handed_off"]) == (False, False)
    [event] = await rows(engine, "select data from events where kind = 'conversation.closed'")
    assert event["data"] == {
        "reason": "operator",
        "by": "caller",
        "actor": "bob",
        "why": "Settled.",
    }
    assert len(await rows(engine, TEXTS)) == 1
    for act in ("messages", "handoff", "resume"):
        body = {"message": "Hi."} if act == "messages" else {}
        why = refused(await post(http, f"{path}/{act}", body), 409, "INVALID_CONVERSATION_STATE")
        assert f"{shown} is" in why


@pytest.mark.parametrize("act", ["messages", "handoff", "resume", "end"])
async def test_what_is_nobodys_or_somebody_elses_is_not_there(
    http: httpx.AsyncClient, engine: AsyncEngine, act: str
) -> None:
    shown, path = await opened(http)
    body = (
        {"message": "Hi.", "notify_number": NEIGHBOUR} if act == "handoff" else {"message": "Hi."}
    )
    [talk] = await rows(engine, "select id from conversations")
    nobodys = ("0" * 8 + shown[8:], shown.replace("-", ""), f"{{{shown}}}", str(talk["id"]), "x")
    for other in nobodys:
        refused(
            await post(http, f"/conversations/{other}/{act}", body), 404, "CONVERSATION_NOT_FOUND"
        )
    refused(await post(http, f"{path}/{act}", body, key=OTHERS), 404, "CONVERSATION_NOT_FOUND")
    refused(await post(http, f"{path}/{act}", body, key=READER), 403, "FORBIDDEN")
    for wrong in ({"message": 5, "reason": 5}, {"message": "Hi.", "actor": 5, "sender": "BOB"}):
        refused(await post(http, f"{path}/{act}", wrong), 400, "INVALID_REQUEST")
    assert len(await rows(engine, TEXTS)) == 1
