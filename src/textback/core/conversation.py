"""The conversation: its states, and the one deadline that follows from each.

There are no timers. What time alone will do next is a function of the state, and `tick` does it.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias

from textback.core.frozen import frozen
from textback.core.ids import AccountId, AgentId, ConnectorId, ConversationId, ProjectId
from textback.core.phone import Phone
from textback.core.policy import IdlePolicy

CloseReason = Literal[
    "superseded",  # a new send to the same user
    "opted_out",
    "idle",  # warned, and still silent
    "unanswered",  # the user never replied
    "agent_ended",
    "agent_failed",  # the agent was to write the opener, and could not
    "operator",
    "budget",  # its turns, tokens or cost are used up
    "ignored",  # the project does not answer unknown users
]


@frozen
class _Talk:
    id: ConversationId
    account_id: AccountId
    project_id: ProjectId
    connector_id: ConnectorId | None
    """None when the user opened it."""
    agent_id: AgentId
    agent_version: int
    """The one it began with; it stays, whatever is provisioned meanwhile."""
    agent_number: Phone
    user_number: Phone
    opened_at: datetime
    active_at: datetime
    """When the last text was said, in either direction."""
    idle: IdlePolicy | None = None
    """Its own lengths of silence, instead of the project's."""


@frozen
class Opened(_Talk):
    """The user has not said anything yet. Closes silently, by a new send, or by an opt-out."""


@frozen
class Engaged(_Talk):
    """The user has replied. Silence for long enough warns."""


@frozen
class Warned(_Talk):
    """The warning is on its way. A text keeps it open; silence closes it."""

    warned_at: datetime


@frozen
class Paused(_Talk):
    """The agent is silent on purpose: what the user says is kept without an answer."""

    paused_until: datetime


@frozen
class HandedOff(_Talk):
    """A person has it: the agent is silent, what the user says is kept, and no time runs."""

    handed_off_at: datetime
    why: str


@frozen
class Closed(_Talk):
    """Over. The user's next text, or the next send, opens a new one."""

    closed_at: datetime
    reason: CloseReason


Live: TypeAlias = Opened | Engaged | Warned | Paused | HandedOff
Conversation: TypeAlias = Live | Closed

NAMES: Final[Mapping[type[Conversation], str]] = {
    Opened: "opened",
    Engaged: "engaged",
    Warned: "warned",
    Paused: "paused",
    HandedOff: "handed_off",
    Closed: "closed",
}
"""What a state is called in the database, in events and in answers."""


@frozen(kw_only=False)
class Wait:
    """Nothing is due yet."""


@frozen(kw_only=False)
class Warn:
    after: Warned
    text: str | None
    """What to say, if anything."""


@frozen(kw_only=False)
class Close:
    after: Closed
    text: str | None
    """What to say in parting, if anything."""


@frozen(kw_only=False)
class Resume:
    after: Engaged


def user_texted(c: Live, *, now: datetime) -> Engaged | Paused | HandedOff:
    if isinstance(c, Paused | HandedOff):
        return replace(c, active_at=now)
    return Engaged(**_talk(c, active_at=now))


def agent_texted(c: Live, *, now: datetime) -> Opened | Engaged | Paused | HandedOff:
    """A text of ours, a person's too, also restarts the clock; a warning does not count as one."""
    # Paused, handed off: what was owed before may still be said, and a person may write.
    if isinstance(c, Opened | Paused | HandedOff):
        return replace(c, active_at=now)
    return Engaged(**_talk(c, active_at=now))


def paused(c: Engaged, *, until: datetime) -> Paused:
    return Paused(**_talk(c), paused_until=until)


def handed_off(c: Opened | Engaged | Warned | Paused, why: str, *, now: datetime) -> HandedOff:
    return HandedOff(**_talk(c), handed_off_at=now, why=why)


def resumed(c: Paused | HandedOff, *, now: datetime) -> Engaged:
    """The agent has it again. The user's time to say something begins now: the silence was ours."""
    return Engaged(**_talk(c, active_at=now))


def close(c: Live, reason: CloseReason, *, now: datetime) -> Closed:
    return Closed(**_talk(c), closed_at=now, reason=reason)


def deadline(c: Conversation, policy: IdlePolicy) -> datetime | None:
    """When time alone changes it next. `policy`: the project's, for one without its own."""
    idle = c.idle or policy
    match c:
        case Opened() if not idle.also_unanswered:
            return _after(c, idle.unanswered_after)
        case Opened() | Engaged():
            return _after(c, idle.end_after if idle.warn_after is None else idle.warn_after)
        case Warned():
            return c.warned_at + idle.close_after
        case Paused():
            return c.paused_until
        case HandedOff() | Closed():
            return None


def tick(c: Live, *, now: datetime, policy: IdlePolicy) -> Wait | Warn | Close | Resume:
    """What time alone does to `c` at `now`. A deadline missed while we were down is done now."""
    due, idle = deadline(c, policy), c.idle or policy
    if due is None or now < due:
        return Wait()
    match c:
        case Opened() if not idle.also_unanswered:
            return Close(close(c, "unanswered", now=now), None)
        case Opened() | Engaged() if idle.warn_after is not None:
            return Warn(Warned(**_talk(c), warned_at=now), idle.warning)
        case Opened() | Engaged() | Warned():
            return Close(close(c, "idle", now=now), idle.closing)
        case Paused():
            return Resume(resumed(c, now=now))
        case HandedOff():  # has no deadline
            return Wait()


def _after(c: Conversation, span: timedelta | None) -> datetime | None:
    return None if span is None else c.active_at + span


def _talk(c: Conversation, **changed: object) -> dict[str, Any]:
    return {f.name: getattr(c, f.name) for f in fields(_Talk)} | changed
