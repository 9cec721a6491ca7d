"""What an operator does to one conversation: hands it over and back, writes in it, ends it."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from textback import wiring
from textback.cli.context import fail
from textback.core.conversation import NAMES, Closed, HandedOff
from textback.core.errors import BadRequest, UnknownAgent, UnknownConversation, WrongState
from textback.core.ids import ConversationId
from textback.db.session import create_engine
from textback.flows import hand
from textback.flows.hand import Done
from textback.flows.say import OPERATOR, Sender, say
from textback.settings import Settings

T = TypeVar("T")


async def hand_off(found: Settings, conversation_id: str, *, reason: str) -> None:
    which, now = ConversationId(conversation_id), wiring.clock()
    done = await _do(found, lambda db: hand.off(db, which, reason, who=OPERATOR, now=now))
    if done.changed:
        print(f"{which} is handed to a person: its agent is silent until textback resume.")
    elif isinstance(done.after, HandedOff):
        print(f"{which} was handed off before ({done.after.why}); nothing is changed.")


async def write(found: Settings, conversation_id: str, text: str, *, sender: Sender) -> None:
    which, now = ConversationId(conversation_id), wiring.clock()
    said = await _do(found, lambda db: say(db, which, text, sender=sender, who=OPERATOR, now=now))
    state = NAMES[type(said.conversation)]
    print(f"{said.message_id} is queued; {which} is {state}.")


async def resume(
    found: Settings, conversation_id: str, *, reply: bool, message: str | None, node: str | None
) -> None:
    which, now = ConversationId(conversation_id), wiring.clock()
    done = await _do(
        found,
        lambda db: hand.resume(
            db, which, who=OPERATOR, message=message, reply=reply, node=node, now=now
        ),
    )
    print(f"{which} is resumed; {_then(done, reply=reply)}")


async def end(found: Settings, conversation_id: str, *, reason: str | None) -> None:
    which, now = ConversationId(conversation_id), wiring.clock()
    done = await _do(found, lambda db: hand.end(db, which, reason, who=OPERATOR, now=now))
    if done.changed:
        print(f"{which} is closed; the user is told nothing.")
    elif isinstance(done.after, Closed):
        print(f"{which} was closed before ({done.after.reason}); nothing is changed.")


def _then(done: Done, *, reply: bool) -> str:
    if done.message_id is not None:
        return f"the agent's message is queued ({done.message_id})."
    if done.answers:
        texts = "1 text" if done.answers == 1 else f"{done.answers} texts"
        return f"the agent answers {texts} that it kept."
    if reply:
        return "nothing is open, so the agent goes on by itself."
    return "the agent waits for the user."


async def _do(found: Settings, act: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    db = create_engine(found.need("database_url")["database_url"], pool_size=2)
    try:
        return await act(db)
    except (BadRequest, UnknownAgent, UnknownConversation, WrongState) as refusal:
        raise fail(refusal.sentence) from None
    finally:
        await db.dispose()
