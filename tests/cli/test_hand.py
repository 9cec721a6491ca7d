"""`textback handoff`, `say`, `resume` and `end`, and where an operator sees who has what."""

import asyncio
import json

import pytest
from typer.testing import CliRunner, Result

from tests.support.world import World
from textback import wiring
from textback.cli.main import app
from textback.cli.narrate import told
from textback.core.ids import ConversationId
from textback.db import reads
from textback.db.session import create_engine


@pytest.fixture
def conversation(database_url: str, monkeypatch: pytest.MonkeyPatch) -> ConversationId:
    """The user said something, and nobody has answered yet."""
    monkeypatch.setenv("TEXTBACK_DATABASE_URL", database_url)

    async def arrange() -> ConversationId:
        db = create_engine(database_url)
        world = World(db)
        await world.provision()
        heard = await world.hear("Hello", now=wiring.clock())
        await world.close()
        await db.dispose()
        assert heard.conversation_id is not None
        return heard.conversation_id

    return asyncio.run(arrange())


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def said(*arguments: str) -> str:
    result = run(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def refused(*arguments: str) -> str:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_a_conversation_goes_to_a_person_and_back(conversation: ConversationId):
    assert said("handoff", conversation, "--reason", "a refund") == (
        f"{conversation} is handed to a person: its agent is silent until textback resume.\n"
    )
    assert said("handoff", conversation, "--reason", "other") == (
        f"{conversation} was handed off before (a refund); nothing is changed.\n"
    )
    assert said("say", conversation, "Bob here.").endswith(
        f" is queued; {conversation} is handed_off.\n"
    )
    assert said("resume", conversation) == (
        f"{conversation} is resumed; the agent waits for the user.\n"
    )
    assert said("end", conversation, "--reason", "settled") == (
        f"{conversation} is closed; the user is told nothing.\n"
    )
    assert said("end", conversation) == (
        f"{conversation} was closed before (operator); nothing is changed.\n"
    )


def test_an_agent_is_told_how_to_go_on(conversation: ConversationId):
    said("handoff", conversation)
    assert said("resume", conversation, "--reply").endswith(
        "the agent answers 1 text that it kept.\n"
    )
    said("handoff", conversation)
    message = said("resume", conversation, "--message", "I am back.")
    assert "the agent's message is queued (msg_" in message
    said("handoff", conversation)
    assert said("resume", conversation, "--reply").endswith(
        "nothing is open, so the agent goes on by itself.\n"
    )


def test_who_has_a_conversation_and_why_is_shown(conversation: ConversationId):
    said("handoff", conversation, "--reason", "a refund")
    said("say", conversation, "Bob here.")
    said("say", conversation, "And I.", "--as", "agent")

    listed = said("conversations", "--state", "handed_off")
    shown = said("conversations", conversation)

    assert f"{conversation}  handed_off: a refund" in listed
    assert f"{conversation}  handed_off: a refund" in shown
    assert "  user    Hello\n" in shown
    assert "  person  Bob here.\n" in shown
    assert "  agent   And I.\n" in shown
    (record,) = json.loads(said("conversations", "--json"))
    assert (record["state"], record["why_handed_off"]) == ("handed_off", "a refund")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("handoff", "conv_none"), "There is no conversation conv_none."),
        (("say", "conv_none", "Hi"), "There is no conversation conv_none."),
        (("resume", "conv_none"), "There is no conversation conv_none."),
        (("end", "conv_none"), "There is no conversation conv_none."),
        (("say", "it", " "), "A text has 1 to 1600 characters, not all blank, and no NUL."),
        (("handoff", "it", "--reason", ""), "A reason has 1 to 500 characters"),
        (("end", "it", "--reason", "x" * 501), "A reason has 1 to 500 characters"),
        (("resume", "it"), "is not paused or handed off, it is engaged"),
        (("resume", "it", "--reply", "--message", "Hi"), "but not both"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    conversation: ConversationId, arguments: tuple[str, ...], sentence: str
):
    assert sentence in refused(*(conversation if a == "it" else a for a in arguments))


def test_a_node_that_the_agent_does_not_have_is_one_sentence(conversation: ConversationId):
    said("handoff", conversation)

    assert refused("resume", conversation, "--node", "pay") == (
        'Agent "bookings" has no node "pay" to go on from.\n'
    )


def test_nothing_is_said_in_what_is_over(conversation: ConversationId):
    said("end", conversation)

    assert "is closed (operator): nothing more is said in it." in refused("say", conversation, "Hi")
    assert "there is nothing to hand over." in refused("handoff", conversation)


def test_nobody_else_may_say_something(conversation: ConversationId):
    result = run("say", conversation, "Hi", "--as", "user")
    assert result.exit_code == 2
    assert "person" in result.stderr


def test_the_demo_tells_of_the_hand_off(conversation: ConversationId, database_url: str):
    said("handoff", conversation, "--reason", "a refund")

    async def lines() -> list[str]:
        db = create_engine(database_url)
        happened = await reads.events_after(db, 0)
        await db.dispose()
        return [line.plain for line in map(told, happened) if line is not None]

    shown = "\n".join(asyncio.run(lines()))
    assert "the agent is silent: a person is to take over (a refund)" in shown
