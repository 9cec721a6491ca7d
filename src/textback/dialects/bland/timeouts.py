"""`time_out`, `timeout_message`, `warning_time`, `warning_message` -> what silence does.

Silence is counted from the last text of either side, also before the user's first (D21). The four
are merged with the number's own before they are judged; nothing means: never.
https://docs.bland.ai/api-v1/post/sms-update, https://docs.bland.ai/tutorials/messaging/whatsapp
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import Field

from textback.core.policy import MAX_TEXT, IdlePolicy
from textback.dialects.bland.wire import Body, Wrong

CODE: Final = "INVALID_TIMEOUT_CONFIG"
NAMES: Final = ("time_out", "timeout_message", "warning_time", "warning_message")
CODES: Final[dict[str, str]] = dict.fromkeys(NAMES, CODE)

SHORTEST: Final = 30
"""Seconds; what is positive and less is raised to it."""
LONGEST: Final = 365 * 24 * 60 * 60

_EVER: Final = timedelta(days=3650)
"""From a warning to an end that nobody asked for."""

NEVER: Final = IdlePolicy(warn_after=None, unanswered_after=None, also_unanswered=True)

Seconds = Annotated[float | None, Field(ge=0, le=LONGEST)]


class Timeouts(Body):
    """What both sends and numbers have. 0 and null are off."""

    time_out: Annotated[
        Seconds,
        Field(
            description="Seconds of silence that end the conversation; less than 30 count as 30. "
            "0: never."
        ),
    ] = None
    timeout_message: Annotated[
        str | None, Field(max_length=MAX_TEXT, description="Said with the end; blank: nothing.")
    ] = None
    warning_time: Annotated[
        Seconds, Field(description="Seconds of silence before the warning; less than `time_out`.")
    ] = None
    warning_message: Annotated[
        str | None, Field(max_length=MAX_TEXT, description="The warning; blank: nothing is said.")
    ] = None


def given(body: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the four that a body names; null and "" switch off."""
    return {name: body[name] or None for name in NAMES if name in body}


def merged(of_the_send: Mapping[str, Any], of_the_number: Mapping[str, Any]) -> IdlePolicy | None:
    """None: the send says nothing of it. Raises Wrong."""
    if not of_the_send:
        return None
    return idle({**given(of_the_number), **of_the_send})


def idle(four: Mapping[str, Any]) -> IdlePolicy:
    """The four, checked already each for itself. Raises Wrong: INVALID_TIMEOUT_CONFIG."""
    end, warn = _seconds(four.get("time_out")), _seconds(four.get("warning_time"))
    closing, warning = _words(four.get("timeout_message")), _words(four.get("warning_message"))
    if warn is None:
        return replace(NEVER, end_after=end, closing=closing)
    if end is not None and warn >= end:
        raise Wrong(
            CODE, "warning_time must be less than time_out (of which less than 30 counts as 30)."
        )
    wait = _EVER if end is None else end - warn
    return replace(NEVER, warn_after=warn, close_after=wait, warning=warning, closing=closing)


def _seconds(value: float | None) -> timedelta | None:
    return timedelta(seconds=max(SHORTEST, value)) if value else None


def _words(value: str | None) -> str | None:
    return value if value and value.strip() else None
