"""What a run leaves behind, to be judged. Times are seconds of the wall clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.chronicle import Fault
from tests.chaos.parts import Exit


@dataclass(frozen=True, slots=True)
class Accepted:
    """One 202."""

    text: str
    message_id: str
    conversation_id: str
    user: str
    at: float
    resumed: bool = False
    """It goes on with a conversation."""


@dataclass(frozen=True, slots=True)
class Row:
    """One of `messages`."""

    id: str
    seq: int
    conversation_id: str
    agent: str
    user: str
    direction: str
    kind: str
    text: str
    state: str
    why: str | None = None
    """Why it was suppressed or failed."""
    sid: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Created:
    """A text that the carrier took, in this order. `message_id`: the row its receipts name."""

    sid: str
    message_id: str
    agent: str
    user: str
    text: str
    at: float


@dataclass(frozen=True, slots=True)
class Said:
    """A user's text."""

    sid: str
    user: str
    agent: str
    text: str
    acknowledged: bool
    """Whether a webhook was answered 2xx."""


@dataclass(frozen=True, slots=True)
class Turn:
    conversation_id: str
    state: str
    outcome: str | None
    upto_seq: int | None


@dataclass(frozen=True, slots=True)
class Event:
    conversation_id: str
    kind: str


@dataclass(frozen=True, slots=True)
class Planned:
    """One 202 that holds a text until its time."""

    text: str
    message_id: str
    user: str
    is_stopped: bool = False
    """Whether anybody asked for it to be cancelled."""
    cancelled_at: float | None = None
    """When it was answered that it will not be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Many:
    """One 201: a batch, and what was answered about it since."""

    id: str
    texts: Mapping[str, str]
    """By its user."""
    is_stopped: bool = False
    """Whether anybody asked for it to be cancelled."""
    cancelled_at: float | None = None
    pauses: Sequence[tuple[float, float]] = ()
    """From the answer to `pause` until `resume` was asked for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One of `planned_sends`."""

    id: str
    batch_id: str | None
    user: str
    conversation_id: str
    state: str
    why: str | None
    """Why it was refused."""
    ended: float | None


@dataclass(frozen=True, slots=True)
class Arrival:
    """One post that the receiver read to its end, whatever it answered."""

    id: str
    type: str
    conversation_id: str | None
    message_id: str | None
    body: bytes
    signed: bool
    """Whether it is as ours are signed."""
    taken: bool
    """Whether it was answered 2xx."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One of `webhook_deliveries`, with what its event is about."""

    event_id: int
    kind: str
    conversation_id: str | None
    message_id: str | None
    state: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status of 400 or more, and from when to when it was waited for."""

    part: str
    path: str
    status: int
    asked: float
    at: float
    by_log: bool = True
    """Told by the log of who answered; else by who asked. What callers got is told by both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    seed: int
    accepted: Sequence[Accepted] = ()
    never_accepted: Sequence[str] = ()
    """Texts whose callers gave up."""
    rows: Sequence[Row] = ()
    created: Sequence[Created] = ()
    said: Sequence[Said] = ()
    turns: Sequence[Turn] = ()
    events: Sequence[Event] = ()
    """Oldest first."""
    reasons: Mapping[str, str | None] = field(default_factory=dict[str, str | None])
    """Of each conversation, why it is closed; None: it is not."""
    answers: Sequence[Answer] = ()
    exits: Sequence[Exit] = ()
    """Of our processes."""
    tracebacks: Sequence[str] = ()
    faults: Sequence[Fault] = ()
    did: Mapping[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    """How often each thing was done to each kind of part."""
    drain: float = 5
    can_sweep: bool = True
    """Whether a text whose webhook never came has to be found."""
    planned: Sequence[Planned] = ()
    many: Sequence[Many] = ()
    plans: Sequence[Plan] = ()
    arrivals: Sequence[Arrival] = ()
    """At the receiver of the account's webhook, in their order."""
    deliveries: Sequence[Delivery] = ()
    has_webhook: bool = False
    untold: int = 0
    """What was under way to it when nothing became less any more."""
