"""When the agent's turn is due, and what its reply may still do when it arrives."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import isfinite
from typing import Literal, cast

from textback.core import storable
from textback.core.conversation import Closed, Conversation, HandedOff
from textback.core.engine import NOTHING, Later, TurnFailed, TurnReply, Usage
from textback.core.frozen import frozen
from textback.core.policy import MOST_RESTARTS, TURN_CAP, WhileThinking


def due_at(*, now: datetime, first_text_at: datetime, delay: timedelta) -> datetime:
    """Each text restarts the quiet time; the cap keeps a busy typist from waiting for ever."""
    return max(now, min(now + delay, first_text_at + TURN_CAP))


UnderWay = Literal["thinking", "awaiting"]
"""The states of a turn that has begun: an engine is at it, or its answer is to be posted."""

Landing = Literal["put off", "again", "restart", "nothing", "new"]
"""What a text does to its conversation's turns: it puts the waiting one off; makes the one that
thinks run again with it, or the one whose answer is awaited, at once; nothing; or it begins one."""


def landing(
    *,
    waits: bool,
    under_way: UnderWay | None,
    again: bool,
    restarts: int,
    policy: WhileThinking,
) -> Landing:
    """`again`: what is being thought will not count anyway."""
    if waits:
        return "put off"
    if under_way is None:
        return "new"
    if again:
        return "again"
    if policy == "ignore":
        return "nothing"
    if policy == "restart" and restarts < MOST_RESTARTS:
        return "again" if under_way == "thinking" else "restart"
    return "new"


Outcome = Literal["answered", "silent", "failed", "dropped", "merged"]
"""How a turn ended."""
Recorded = Outcome | Literal["restarted", "awaiting"]
"""What became of it with an answer: it may not have ended yet."""

OPTED_OUT = "the user has opted out"
HANDED_OFF = "a person has the conversation"

MOST_TEXTS = 10
"""In one answer of an engine's."""

LONGEST_TEXT = 4000
"""Code points in one text of an engine's, before it is split."""

LONGEST_STATE = 64_000
"""Bytes of JSON that an engine may have kept for its next turn."""

SOONEST, LATEST = timedelta(seconds=1), timedelta(hours=24)
"""Within which an answer may be posted later."""

_LONGEST_REASON = 500
_MOST_TOKENS = 10**12
_MOST_DOLLARS = 10**6


@frozen(kw_only=False)
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
    if isinstance(conversation, HandedOff):
        return Drop(HANDED_OFF)
    if not isinstance(conversation, Closed) or conversation.reason == "superseded":
        return None
    return Drop(f"the conversation was closed: {conversation.reason}")


def answer_by(within: timedelta, *, now: datetime) -> datetime:
    """Until when an answer that is to be posted later is taken."""
    return now + min(max(within, SOONEST), LATEST)


def usable(answer: object) -> TurnReply | Later | TurnFailed:
    """What an engine gave, if it keeps to its contract; else why not, without quoting it."""
    match answer:
        case TurnFailed():
            reason = str(answer.reason).encode(errors="replace").decode().replace("\x00", "?")
            usage = answer.usage if _is_usage(answer.usage) else NOTHING
            return TurnFailed(reason[:_LONGEST_REASON], usage)
        case Later():
            if isinstance(cast("object", answer.within), timedelta):
                return answer
            return TurnFailed("the engine's answer does not say how late it will be")
        case TurnReply():
            wrong = _wrong(answer)
            if wrong is None:
                return answer
            usage = answer.usage if _is_usage(answer.usage) else NOTHING
            return TurnFailed(f"the engine's answer {wrong}", usage)
        case _:
            return TurnFailed("the engine's answer is none")


def _wrong(answer: TurnReply) -> str | None:
    # An engine may be anybody's code: its values need not be what their types say.
    texts: object = answer.texts
    if not isinstance(texts, list | tuple):
        return "has no list of texts"
    many = cast("Sequence[object]", texts)
    problems = (
        f"has over {MOST_TEXTS} texts" if len(many) > MOST_TEXTS else None,
        *(_unsayable(text) for text in many[:MOST_TEXTS]),
        _wrong_beside_the_texts(answer),
    )
    return next((problem for problem in problems if problem is not None), None)


def _wrong_beside_the_texts(answer: TurnReply) -> str | None:
    if not isinstance(cast("object", answer.end_conversation), bool):
        return "does not say whether the conversation ends"
    if answer.hand_off is not None and not _is_reason(answer.hand_off):
        return f"does not say in {_LONGEST_REASON} characters why a person is to take over"
    if answer.state is not None and not _is_state(answer.state):
        return f"has a state that is no JSON of up to {LONGEST_STATE} bytes"
    if not _is_usage(answer.usage):
        return "does not say what it used"
    return None


def _unsayable(text: object) -> str | None:
    if not isinstance(text, str):
        return "has a text that is none"
    if not text.strip():
        return "has a blank text"
    if len(text) > LONGEST_TEXT:
        return f"has a text of over {LONGEST_TEXT} characters"
    if not storable.is_text(text):
        return "has a text that cannot be stored"
    return None


def _is_reason(reason: object) -> bool:
    return (
        isinstance(reason, str)
        and bool(reason.strip())
        and len(reason) <= _LONGEST_REASON
        and storable.is_text(reason)
    )


def _is_state(state: object) -> bool:
    return isinstance(state, Mapping) and storable.is_json(
        dict(cast("Mapping[object, object]", state)), longest=LONGEST_STATE
    )


def _is_usage(usage: object) -> bool:
    if not isinstance(usage, Usage):
        return False
    tokens = cast("tuple[object, ...]", (usage.input_tokens, usage.output_tokens))
    cost = cast("object", usage.cost_usd)
    return all(
        isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= _MOST_TOKENS for n in tokens
    ) and (isinstance(cost, int | float) and isfinite(cost) and 0 <= cost <= _MOST_DOLLARS)
