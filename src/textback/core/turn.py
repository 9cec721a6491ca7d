"""When the agent's turn is due, and what its reply may still do when it arrives."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from textback.core.conversation import Closed, Conversation
from textback.core.engine import TurnFailed, TurnReply
from textback.core.policy import MAX_TEXT, TURN_CAP


def due_at(*, now: datetime, first_text_at: datetime, delay: timedelta) -> datetime:
    """Each text restarts the quiet time; the cap keeps a busy typist from waiting for ever."""
    return max(now, min(now + delay, first_text_at + TURN_CAP))


OPTED_OUT = "the user has opted out"

MOST_TEXTS = 10
"""That one turn may say."""

_LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Drop:
    """Too late: what the agent says must not go out any more."""

    why: str


def admit(conversation: Conversation, *, opted_out: bool = False) -> Drop | None:
    """What the reply may still do: None lets it go out.

    Who asked is answered, and an opener that was accepted is sent, although a newer send has opened
    another conversation meanwhile.
    """
    if opted_out:
        return Drop(OPTED_OUT)
    if not isinstance(conversation, Closed) or conversation.reason == "superseded":
        return None
    return Drop(f"the conversation was closed: {conversation.reason}")


def usable(answer: object) -> TurnReply | TurnFailed:
    """What an engine gave, if it keeps to its contract; else why not, without quoting it."""
    match answer:
        case TurnFailed():
            reason = str(answer.reason).encode(errors="replace").decode().replace("\x00", "?")
            return TurnFailed(reason[:_LONGEST_REASON])
        case TurnReply():
            wrong = _wrong(answer)
            return answer if wrong is None else TurnFailed(f"the engine's answer {wrong}")
        case _:
            return TurnFailed("the engine's answer is none")


def _wrong(answer: TurnReply) -> str | None:
    # An engine may be anybody's code: its values need not be what their types say.
    texts: object = answer.texts
    if not isinstance(texts, list | tuple):
        return "has no list of texts"
    if cast("object", answer.end_conversation) not in {True, False}:
        return "does not say whether the conversation ends"
    if len(cast("Sequence[object]", texts)) > MOST_TEXTS:
        return f"has over {MOST_TEXTS} texts"
    problems = (_unsayable(text) for text in cast("Sequence[object]", texts))
    return next((problem for problem in problems if problem is not None), None)


def _unsayable(text: object) -> str | None:
    if not isinstance(text, str):
        return "has a text that is none"
    if not text.strip():
        return "has a blank text"
    if len(text) > MAX_TEXT:
        return f"has a text of over {MAX_TEXT} characters"
    if "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):
        return "has a text that cannot be stored"
    return None
