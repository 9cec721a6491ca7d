"""STOP, START and HELP: what a whole message of the user's means before any agent sees it.

Words and matching: PolyAI's message-templates page (wire-compat 1.5), Twilio's defaults incl.
REVOKE and OPTOUT of 2025 (facts on opt-out), and "OPT OUT", which Twilio does not catch.
"""

from collections.abc import Set as AbstractSet
from typing import Literal

from textback.core.phone import Phone

Word = Literal["stop", "start", "help"]

STOP = frozenset(
    {"stop", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "optout", "opt out"}
)
START = frozenset({"start", "unstop"})
HELP = frozenset({"help", "info"})
YES = "yes"

STOP_REPLY = (
    "You have been unsubscribed and will not receive further messages. Reply START to resubscribe."
)
START_REPLY = "You have been resubscribed and will receive messages again."
HELP_REPLY = "Reply STOP to unsubscribe or START to resubscribe."


def word(
    text: str,
    *,
    opted_out: bool,
    stop_words: AbstractSet[str] = frozenset(),
    start_words: AbstractSet[str] = frozenset(),
    help_words: AbstractSet[str] = frozenset(),
) -> Word | None:
    """The keyword that `text` is as a whole, or None.

    Case and surrounding blanks do not matter, nor does one trailing mark. YES opts in only while
    opted out (D6): otherwise "Reply YES to confirm" could never reach the agent.
    """
    said = normal(text)
    if said in STOP or said in stop_words:
        return "stop"
    if said in START or said in start_words or (said == YES and opted_out):
        return "start"
    if said in HELP or said in help_words:
        return "help"
    return None


def normal(text: str) -> str:
    """How words are compared; a project's own words are stored like this too."""
    said = text.strip()
    if said and said[-1] in ".!?,;":
        said = said[:-1].rstrip()
    return " ".join(said.casefold().split())


_PROJECT = "project:"


def every_number_of(project_id: str) -> Phone:
    """What stands for the agent number where a user opted out of a whole project."""
    return Phone(_PROJECT + project_id)


def project_of(agent_number: str) -> str | None:
    """The project that is meant as a whole; None: it is a number."""
    return agent_number[len(_PROJECT) :] if agent_number.startswith(_PROJECT) else None
