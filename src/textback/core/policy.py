"""The numbers of the house: defaults, and the settings a project may change."""

from dataclasses import field
from datetime import time, timedelta
from typing import Literal

from textback.core.frozen import frozen
from textback.core.gcra import Rate

MAX_TEXT = 1600
"""Code points in one text; Twilio refuses more (error 21617)."""

IDEMPOTENCY_TTL = timedelta(hours=24)

TURN_CAP = timedelta(seconds=30)
"""However fast the user keeps typing, a turn waits no longer than this."""

DEFAULT_FALLBACK = "Sorry, something went wrong. Please text us again in a few minutes."

AgentLabel = Literal["production", "draft"]
WhileThinking = Literal["restart", "queue", "ignore"]
"""What a text does that lands while the agent thinks: the turn runs again with it, or it waits for
a turn of its own, or it gets none."""

MOST_RESTARTS = 3
"""Of one turn; later texts wait for a turn of their own, so that a busy typist is answered."""

UnknownUser = Literal["answer", "greet", "ignore"]
OptOutReplies = Literal["carrier", "ours"]
Environment = Literal["dev", "sandbox", "pre-release", "live"]
Registration = Literal["registered", "pending", "unregistered"]
"""Of a US number, for A2P 10DLC: without it carriers block what it sends (Twilio 30034)."""


@frozen
class IdlePolicy:
    """When silence warns and closes. Usually only engaged conversations are warned (PolyAI 1.4)."""

    warn_after: timedelta | None = timedelta(hours=24)
    """None: never warn; and close an engaged conversation for silence only after `end_after`."""
    close_after: timedelta = timedelta(minutes=10)
    unanswered_after: timedelta | None = timedelta(hours=24, minutes=10)
    """A conversation nobody answered closes silently after this (D9)."""
    warning: str | None = "Are you still there?"
    """None: warned without a word."""
    closing: str | None = "I am going to end conversation now"
    end_after: timedelta | None = None
    """Where nobody is warned: silence of this length closes."""
    also_unanswered: bool = False
    """A conversation that the user has not answered is warned and closed like any other."""


@frozen
class QuietHours:
    """When nobody is texted of our own accord, by the recipient's clock. May cross midnight."""

    start: time
    end: time


@frozen
class RepeatLimit:
    """The same words `count` times within `within` block the sender for `block`."""

    count: int = 5
    within: timedelta = timedelta(minutes=5)
    block: timedelta = timedelta(minutes=10)


@frozen
class InboundLimits:
    """What users may send before texts are stored without an answer (PolyAI 1.6)."""

    per_sender: Rate = field(default_factory=lambda: Rate(10, 60))
    per_project: Rate = field(default_factory=lambda: Rate(100, 60))
    repeats: RepeatLimit = field(default_factory=RepeatLimit)


@frozen
class Replies:
    """How the agent's words become texts."""

    longest: int = 480
    """Characters; what is longer is split at a sentence's end."""
    fold: bool = True
    """Write smart punctuation plainly where that makes a text GSM-7, which is cheaper."""
    part_wait: timedelta = timedelta(seconds=5)
    """A part follows when the one before was reported as sent, or after this."""


@frozen
class Budget:
    """What agents may use; None: as much as they want."""

    turns: int | None = None
    tokens: int | None = None
    cost_usd: float | None = None


@frozen
class Budgets:
    conversation: Budget = field(default_factory=lambda: Budget(turns=200))
    """When one is hit, the conversation is closed."""
    day: Budget = field(default_factory=Budget)
    """Of the whole project, from midnight to midnight in its zone. When one is hit, whoever texts
    gets no answer until midnight."""


@frozen
class ProjectPolicy:
    rate_limit: Rate = field(default_factory=lambda: Rate(100, 60))
    """Sends accepted (D13)."""
    idle: IdlePolicy = field(default_factory=IdlePolicy)
    reply_delay: timedelta = timedelta(seconds=2)
    validity: timedelta = timedelta(hours=4)
    """A text not sent by then is not sent at all."""
    unknown_user: UnknownUser = "answer"
    stop_words: frozenset[str] = frozenset()
    start_words: frozenset[str] = frozenset()
    help_words: frozenset[str] = frozenset()
    inbound: InboundLimits = field(default_factory=InboundLimits)
    reply_budget: Rate = field(default_factory=lambda: Rate(30, 3600))
    """Replies per pair of numbers; beyond it the conversation pauses for as long as the span."""
    while_thinking: WhileThinking = "restart"
    replies: Replies = field(default_factory=Replies)
    budgets: Budgets = field(default_factory=Budgets)
    timezone: str = "UTC"
    """IANA name."""
    draft_environments: frozenset[Environment] = frozenset()
    """Where conversations begin on the agent's draft, if it has one."""
    quiet_hours: QuietHours | None = None
    """Openers are held until they are over; answers are not."""
    retention: timedelta | None = None
    """For how long a conversation is kept after its end; None: for ever."""


@frozen
class SendPolicy:
    """How the worker treats the carrier. Spans of time are the operator's settings."""

    carrier_timeout: timedelta = timedelta(seconds=10)
    lease: timedelta = timedelta(seconds=30)
    settle: tuple[timedelta, ...] = (
        timedelta(seconds=10),
        timedelta(seconds=60),
        timedelta(minutes=5),
    )
    """When an uncertain text is looked up, counted from the moment it became uncertain."""
    retry_first: timedelta = timedelta(seconds=1)
    retry_most: timedelta = timedelta(minutes=5)
    max_attempts: int = 10
    """Refusals that may pass (a queue overflow, a congested carrier) are tried this often."""
