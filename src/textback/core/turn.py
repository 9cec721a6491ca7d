"""When the agent's turn is due, and what its reply may still do when it arrives."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from textback.core.conversation import Closed, Conversation
from textback.core.policy import TURN_CAP


def due_at(*, now: datetime, first_text_at: datetime, delay: timedelta) -> datetime:
    """Each text restarts the quiet time; the cap keeps a busy typist from waiting for ever."""
    return max(now, min(now + delay, first_text_at + TURN_CAP))


@dataclass(frozen=True, slots=True)
class Drop:
    """Too late: the conversation ended while the agent was thinking."""

    why: str


def admit(conversation: Conversation, *, opener: bool) -> Drop | None:
    """What the reply may still do: None lets it go out.

    An opener was accepted from a caller, so a newer send does not take it back.
    """
    if not isinstance(conversation, Closed) or (opener and conversation.reason == "superseded"):
        return None
    return Drop(f"the conversation was closed: {conversation.reason}")
