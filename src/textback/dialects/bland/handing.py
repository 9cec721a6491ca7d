"""A conversation in other hands: what is asked, and how it is shown. No HTTP, no database.

https://docs.bland.ai/api-v1/post/sms-conversations-handoff, -resume, -messages, -end
"""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import Field, JsonValue

from textback.core import phone
from textback.core.commands import Idempotency, SendText
from textback.core.conversation import Closed, Conversation, HandedOff
from textback.core.phone import Phone
from textback.core.policy import MAX_TEXT, IdlePolicy
from textback.dialects.bland import wire
from textback.dialects.bland.wire import Body

MAX_REASON: Final = 500

Actor = Annotated[
    str | None, Field(max_length=200, description="Who asks for it; told with the event.")
]


class Message(Body):
    message: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
    sender: Annotated[Literal["HUMAN", "AGENT"] | None, Field(description="HUMAN, if absent.")] = (
        None
    )


class HandOff(Body):
    reason: Annotated[str | None, Field(max_length=MAX_REASON)] = None
    metadata: Annotated[dict[str, Any] | None, Field(description="Told with the hand-off.")] = None
    actor: Actor = None
    webhook: Annotated[
        str | None, Field(description="Where the conversation's events go from now on.")
    ] = None
    notify_number: Annotated[
        str | None,
        Field(description="Who is texted that a person is needed, from the same agent number."),
    ] = None


class Resume(Body):
    node_id: Annotated[
        str | None, Field(max_length=200, description="Where the agent's flow goes on.")
    ] = None
    message: Annotated[
        str | None, Field(max_length=MAX_TEXT, description="What the agent says first.")
    ] = None
    generate_reply: Annotated[
        bool | None, Field(description="The agent goes on now. Not together with message.")
    ] = None
    actor: Actor = None


class End(Body):
    reason: Annotated[str | None, Field(max_length=MAX_REASON)] = None
    actor: Actor = None


def shown(c: Conversation, metadata: dict[str, Any] | None = None, *, now: datetime) -> JsonValue:
    held = c if isinstance(c, HandedOff) else None
    changed_at = c.closed_at if isinstance(c, Closed) else now
    return {
        "id": wire.shown_id(c.id),
        "is_active": not isinstance(c, Closed),
        "updated_at": wire.shown_time(changed_at),
        "human_handoff_at": None if held is None else wire.shown_time(held.handed_off_at),
        "human_handoff_reason": None if held is None else held.why,
        "human_handoff_metadata": None if held is None else metadata,
    }


_OF_A_COLLEAGUE: Final = IdlePolicy(warn_after=None)
"""Who is told is not asked whether they are still there."""


def alert(held: HandedOff, number: str) -> SendText:
    """One text for each hand-off, however often it is asked for."""
    on = phone.channel(held.agent_number)
    words = f"A person is needed for {phone.bare(held.user_number)}: {held.why}"
    return SendText(
        user_number=Phone(number if on == "sms" else f"{on}:{number}"),
        text=words,
        agent_number=held.agent_number,
        thread="resume",
        idle=_OF_A_COLLEAGUE,
        metadata={"conversation_id": wire.shown_id(held.id)},
        dialect="bland",
        idempotency=Idempotency(
            route=f"bland:notify_number:{number}",
            key=f"{held.id}:{held.handed_off_at.isoformat()}",
            fingerprint=b"bland",
        ),
    )
