"""A send as it was asked for -> our command; what became of it -> the answer. No HTTP."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal

from textback.core import phone
from textback.core.commands import Accepted, AgentChoice, Idempotency, Notify, SendText
from textback.core.errors import BadRequest
from textback.core.ids import AgentId
from textback.core.phone import Phone
from textback.core.policy import IdlePolicy
from textback.core.template import Template
from textback.dialects.native import message_wire as wire

FORMAT = "native"
"""Of the events that go to a send's webhook."""


def user(asked: wire.Send) -> Phone:
    """Whom to text, on which channel. Raises BadRequest (`to` names another channel)."""
    to = Phone(asked.to)
    named = asked.channel
    if named is None or phone.channel(to) == named:
        return to
    if phone.channel(to) != "sms":
        raise BadRequest(f"to is on another channel than {named}, which channel names.")
    return Phone(f"{named}:{to}")


def agent_number(asked: wire.Send) -> Phone | None:
    """The number to text from, if one was named. Raises BadRequest."""
    travels_on = phone.channel(user(asked))
    if asked.messaging_service_sid is not None:
        if travels_on != "rcs":
            raise BadRequest(
                "messaging_service_sid is for channel rcs; otherwise name a number in from."
            )
        return Phone(asked.messaging_service_sid)
    if asked.from_ is None:
        return None
    named = Phone(asked.from_)
    if travels_on == "whatsapp" and phone.user_number(named) is not None:
        return Phone(f"whatsapp:{named}")
    return named


def command(
    asked: wire.Send, *, idle: IdlePolicy | None, notify: Notify | None, key: Idempotency | None
) -> SendText:
    """`idle`: the project's, if the send has some of its own. Raises BadRequest."""
    agent = asked.agent or wire.Agent()
    valid = asked.validity_seconds
    return SendText(
        user_number=user(asked),
        text=asked.text,
        agent_number=agent_number(asked),
        thread=asked.conversation,
        agent=AgentChoice(
            agent_id=None if agent.id is None else AgentId(agent.id),
            version=_version(agent.version),
            start_node=agent.start_node,
        ),
        objective=asked.objective,
        variables=asked.variables or {},
        metadata=asked.metadata or {},
        template=_template(asked.template),
        idle=_idle(asked.inactivity, idle),
        notify=notify,
        send_at=asked.send_at,
        ignores_quiet_hours=asked.quiet_hours == "ignore",
        validity=None if valid is None else timedelta(seconds=valid),
        refuses_opted_out=asked.if_opted_out == "refuse",
        dialect="native",
        idempotency=key,
    )


def accepted(done: Accepted, to: Phone, *, promised: bool) -> wire.Accepted:
    """`promised`: the agent is writing it."""
    state: Literal["queued", "promised", "suppressed", "planned"] = "queued"
    if done.planned_for is not None:
        state = "planned"
    elif done.suppressed:
        state = "suppressed"
    elif promised or done.message_id is None:
        state = "promised"
    return wire.Accepted(
        message_id=done.message_id,
        conversation_id=done.conversation_id,
        state=state,
        from_=done.agent_number,
        to=to,
        resumed=done.resumed,
        planned_for=done.planned_for,
    )


def _version(given: str | int | None) -> Literal["production", "draft"] | int | None:
    match given:
        case "production" | "draft" | int() | None:
            return given
        case _:
            raise BadRequest(f"agent.version is {given}, which is none.")


def _template(given: wire.Template | None) -> Template | None:
    if given is None:
        return None
    return Template(content_sid=given.content_sid, variables=given.variables)


_SPANS = {
    "warn_after_seconds": "warn_after",
    "close_after_seconds": "close_after",
    "unanswered_after_seconds": "unanswered_after",
    "end_after_seconds": "end_after",
}


def _idle(given: wire.Inactivity | None, project: IdlePolicy | None) -> IdlePolicy | None:
    if given is None:
        return None
    said = given.model_fields_set
    changed: dict[str, Any] = {}
    for name, ours in _SPANS.items():
        if name in said:
            seconds = getattr(given, name)
            changed[ours] = None if seconds is None else timedelta(seconds=seconds)
    for name in ("warning", "closing", "also_unanswered"):
        if name in said:
            changed[name] = getattr(given, name)
    return replace(project or IdlePolicy(), **changed)
