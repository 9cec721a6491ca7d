"""The outbound text: its states, and the only moves between them.

A transition accepts the states it is legal from and no other; `hear` is total, because what a
carrier reports may come in any order, repeated or late.
"""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeAlias, TypeVar

from textback.core import retry
from textback.core.conversation import Conversation
from textback.core.frozen import frozen
from textback.core.ids import CarrierId, ConversationId, MessageId, by_hand
from textback.core.phone import Phone
from textback.core.policy import SendPolicy
from textback.core.ports import Receipt, SendError
from textback.core.template import Template

Kind = Literal["opener", "reply", "warning", "closing", "notice", "person"]
"""What made an outbound text: the caller or agent that opens, a turn, idleness (before and at the
close), a keyword's confirmation, or one of our people."""

NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""When a text is due that has no words yet."""

DropReason = Literal["opted_out", "cancelled", "expired"]


@frozen
class _Text:
    id: MessageId
    conversation_id: ConversationId
    carrier_id: CarrierId
    agent_number: Phone
    user_number: Phone
    kind: Kind
    text: str
    created_at: datetime
    expires_at: datetime
    """A text that has not left by then is dropped rather than sent late."""
    attempts: int
    """Refusals that may pass, counted; being told to slow down is none."""
    template: Template | None = None
    """Sent instead of the text, which then only stands for it."""


@frozen
class Queued(_Text):
    """Waiting to be sent. `send` claims it when due; an opt-out or its validity's end drops it.

    One that the agent has yet to write is never due: it holds its place until `written`.
    """

    due_at: datetime

    @property
    def is_promise(self) -> bool:
        return self.due_at == NEVER


@frozen
class Sending(_Text):
    """A worker holds it. Intent is on disk before the network call: from here on it may be out.

    The worker that claimed it records what came of it; when the lease runs out, `rescue` makes it
    Uncertain. A receipt settles it at any time.
    """

    claimed_at: datetime
    lease_until: datetime


@frozen
class Uncertain(_Text):
    """No answer came. Never re-sent blindly: a receipt or the carrier's own list settles it.

    While `look_up_at` is set, `send` keeps asking, and texts behind it to the same number wait.
    """

    claimed_at: datetime
    uncertain_at: datetime
    look_up_at: datetime | None
    look_ups: int
    """How many times the carrier's list has answered that it does not have it."""


@frozen
class Sent(_Text):
    """The carrier has it. Receipts move it on; for some networks none ever comes."""

    carrier_message_id: str
    sent_at: datetime


@frozen
class Delivered(_Text):
    """The network reported it on the handset. Final."""

    carrier_message_id: str
    sent_at: datetime
    delivered_at: datetime


@frozen
class Failed(_Text):
    """Refused, or reported undelivered. Final. `error_code` is the carrier's own."""

    carrier_message_id: str | None
    sent_at: datetime | None
    failed_at: datetime
    error_code: str
    error: str | None


@frozen
class Suppressed(_Text):
    """Dropped before it left, on purpose. Final."""

    dropped_at: datetime
    reason: DropReason


Message: TypeAlias = Queued | Sending | Uncertain | Sent | Delivered | Failed | Suppressed

_S = TypeVar("_S", bound=_Text)


def write(
    talk: Conversation,
    kind: Kind,
    text: str | None,
    *,
    id: MessageId,  # noqa: A002 - the field's name
    carrier_id: CarrierId,
    validity: timedelta,
    template: Template | None = None,
    now: datetime,
) -> Queued:
    """A new text of ours in a conversation, due at once.

    With None the agent has yet to write it: its id and its place in the order are given out.
    """
    return Queued(
        id=id,
        conversation_id=talk.id,
        carrier_id=carrier_id,
        agent_number=talk.agent_number,
        user_number=talk.user_number,
        kind=kind,
        text=text or "",
        created_at=now,
        expires_at=now + validity,
        attempts=0,
        template=template,
        due_at=NEVER if text is None else now,
    )


def written(m: Queued, text: str, *, now: datetime) -> Queued:
    return replace(m, text=text, due_at=now)


def unwritten(m: Queued, *, now: datetime) -> Failed:
    """A promised text which the agent could not write."""
    return _never_sent(m, "agent_failed", "The agent wrote no opener.", now=now)


def claim(m: Queued, *, now: datetime, lease: timedelta) -> Sending:
    return _as(Sending, m, claimed_at=now, lease_until=now + lease)


def dropped(m: Queued, *, reason: DropReason, now: datetime) -> Suppressed:
    return _as(Suppressed, m, dropped_at=now, reason=reason)


def snoozed(m: Sending | Uncertain, *, until: datetime) -> Queued:
    """It did not go out and that was nobody's failure: no attempt is counted.

    Uncertain, when its own worker says so after all, late.
    """
    return _as(Queued, m, due_at=until)


def accepted(m: Sending | Uncertain, *, carrier_message_id: str, now: datetime) -> Sent:
    """The carrier has it: it said so, its list does, or an operator saw it there."""
    return _as(Sent, m, carrier_message_id=carrier_message_id, sent_at=now)


def rejected(
    m: Sending | Uncertain, error: SendError, *, now: datetime, policy: SendPolicy
) -> Queued | Failed:
    """The carrier said no. Uncertain, when that answer came late but for this very claim."""
    if error.retry == "slow_down":
        return snoozed(m, until=now + (error.retry_after or policy.retry_first))
    attempts = m.attempts + 1
    if error.retry == "later" and attempts < policy.max_attempts:
        wait = error.retry_after or retry.backoff(
            attempts, first=policy.retry_first, most=policy.retry_most
        )
        return _as(Queued, replace(m, attempts=attempts), due_at=now + wait)
    return _never_sent(replace(m, attempts=attempts), error.code, error.reason, now=now)


def lost(m: Sending, *, now: datetime, policy: SendPolicy) -> Uncertain:
    """No answer, or the worker that held it is gone."""
    return _as(
        Uncertain,
        m,
        claimed_at=m.claimed_at,
        uncertain_at=now,
        look_up_at=now + policy.settle[0],
        look_ups=0,
    )


def doubted(m: Queued, *, now: datetime, policy: SendPolicy) -> Uncertain:
    """The database lost its latest moments: what it calls queued may have been sent in them.

    That is long ago for the carrier, so one look into its list is enough.
    """
    return _as(
        Uncertain,
        m,
        claimed_at=m.created_at,
        uncertain_at=now,
        look_up_at=now,
        look_ups=len(policy.settle) - 1,
    )


def mistaken(m: Sent, *, now: datetime) -> Uncertain:
    """The carrier's id that a look-up, or an operator, found for it is another text's after all."""
    return _as(Uncertain, m, claimed_at=m.created_at, uncertain_at=now, look_up_at=now, look_ups=0)


def not_listed(m: Uncertain, *, now: datetime, policy: SendPolicy) -> Uncertain | Queued:
    """The carrier's list answered and does not have it. The last such answer puts it back."""
    look_ups = m.look_ups + 1
    if look_ups >= len(policy.settle):
        return _as(Queued, m, due_at=now)
    gap = policy.settle[look_ups] - policy.settle[look_ups - 1]
    return replace(m, look_ups=look_ups, look_up_at=now + gap)


def not_asked(m: Uncertain, *, now: datetime, policy: SendPolicy) -> Uncertain:
    """The list could not be asked. Ask again; past the text's validity leave it to an operator."""
    if now >= m.expires_at:
        return replace(m, look_up_at=None)
    # Soon at first, later once a minute: but a list that is known to answer is asked soon again.
    since = timedelta(0) if m.look_ups else now - m.uncertain_at
    wait = min(max(since, policy.settle[0]), timedelta(minutes=1))
    return replace(m, look_up_at=now + wait)


def settled_not_sent(m: Uncertain, *, now: datetime) -> Queued | Suppressed:
    """An operator knows that the carrier never had it: it is sent, if it still may be."""
    if now >= m.expires_at:
        return _as(Suppressed, m, dropped_at=now, reason="expired")
    return _as(Queued, m, due_at=now)


def hear(m: Message, receipt: Receipt, *, now: datetime) -> Message:
    """Fold a receipt in. Total and monotone: late, repeated or reordered ones change nothing.

    A receipt for a text that is still Queued proves that an earlier attempt did get through: it
    must not be sent again.
    """
    match m:
        case Delivered() | Failed() | Suppressed():
            return m
        case Queued() | Sending() | Uncertain():
            before = _as(Sent, m, carrier_message_id=receipt.carrier_message_id, sent_at=now)
        case Sent(carrier_message_id=known):
            if known not in {receipt.carrier_message_id, by_hand(m.id)}:
                return m
            before = replace(m, carrier_message_id=receipt.carrier_message_id)
    was = {"carrier_message_id": before.carrier_message_id, "sent_at": before.sent_at}
    if receipt.status == "delivered":
        return _as(Delivered, before, **was, delivered_at=now)
    if receipt.status == "failed":
        code = receipt.error_code or "unknown"
        return _as(Failed, before, **was, failed_at=now, error_code=code, error=None)
    return before


def _never_sent(m: _Text, code: str, reason: str, *, now: datetime) -> Failed:
    own = {"carrier_message_id": None, "sent_at": None, "failed_at": now}
    return _as(Failed, m, **own, error_code=code, error=reason)


def _as(state: type[_S], m: _Text, **own: Any) -> _S:  # noqa: ANN401 - the state's own fields
    """`m` in another state: what every text has, and what only that state has."""
    return state(**{name: getattr(m, name) for name in _SHARED}, **own)


_SHARED: Final = tuple(f.name for f in fields(_Text))
