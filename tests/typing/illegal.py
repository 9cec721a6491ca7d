"""What must not type-check. Never run: `test_typing.py` has the checker read it.

Each line says which error it must be. If such a move becomes legal, its comment is unnecessary,
and that is an error too.
"""
# pyright: reportUnknownMemberType=false

from datetime import datetime, timedelta

from textback.core import conversation as talk
from textback.core import message as rule
from textback.core.conversation import (
    Closed,
    Conversation,
    Engaged,
    HandedOff,
    Opened,
    Paused,
    Warned,
)
from textback.core.ids import ConversationId, MessageId
from textback.core.message import (
    Delivered,
    Failed,
    Message,
    Queued,
    Sending,
    Sent,
    Suppressed,
    Uncertain,
)
from textback.core.phone import Phone
from textback.core.policy import IdlePolicy, SendPolicy
from textback.core.ports import SendError


def only_a_queued_text_is_claimed(
    *,
    sending: Sending,
    uncertain: Uncertain,
    sent: Sent,
    delivered: Delivered,
    failed: Failed,
    suppressed: Suppressed,
    now: datetime,
    lease: timedelta,
) -> None:
    rule.claim(sending, now=now, lease=lease)  # pyright: ignore[reportArgumentType]
    rule.claim(uncertain, now=now, lease=lease)  # pyright: ignore[reportArgumentType]
    rule.claim(sent, now=now, lease=lease)  # pyright: ignore[reportArgumentType]
    rule.claim(delivered, now=now, lease=lease)  # pyright: ignore[reportArgumentType]
    rule.claim(failed, now=now, lease=lease)  # pyright: ignore[reportArgumentType]
    rule.claim(suppressed, now=now, lease=lease)  # pyright: ignore[reportArgumentType]


def what_may_be_out_is_not_dropped(
    sending: Sending, uncertain: Uncertain, sent: Sent, now: datetime
) -> None:
    rule.dropped(sending, reason="opted_out", now=now)  # pyright: ignore[reportArgumentType]
    rule.dropped(uncertain, reason="cancelled", now=now)  # pyright: ignore[reportArgumentType]
    rule.dropped(sent, reason="expired", now=now)  # pyright: ignore[reportArgumentType]
    rule.unwritten(sending, now=now)  # pyright: ignore[reportArgumentType]


def a_drop_has_one_of_our_reasons(queued: Queued, now: datetime) -> None:
    rule.dropped(queued, reason="bored", now=now)  # pyright: ignore[reportArgumentType]


def what_may_be_out_is_not_queued_again(
    sending: Sending, sent: Sent, error: SendError, now: datetime, policy: SendPolicy
) -> None:
    rule.snoozed(sent, until=now)  # pyright: ignore[reportArgumentType]
    rule.settled_not_sent(sending, now=now)  # pyright: ignore[reportArgumentType]
    rule.settled_not_sent(sent, now=now)  # pyright: ignore[reportArgumentType]
    rule.rejected(sent, error, now=now, policy=policy)  # pyright: ignore[reportArgumentType]


def nothing_is_accepted_that_was_not_handed_over(
    queued: Queued, failed: Failed, suppressed: Suppressed, now: datetime
) -> None:
    rule.accepted(queued, carrier_message_id="SM1", now=now)  # pyright: ignore[reportArgumentType]
    rule.accepted(failed, carrier_message_id="SM1", now=now)  # pyright: ignore[reportArgumentType]
    rule.accepted(suppressed, carrier_message_id="SM1", now=now)  # pyright: ignore[reportArgumentType]


def only_a_claimed_text_becomes_uncertain(
    queued: Queued, sent: Sent, now: datetime, policy: SendPolicy
) -> None:
    rule.lost(queued, now=now, policy=policy)  # pyright: ignore[reportArgumentType]
    rule.lost(sent, now=now, policy=policy)  # pyright: ignore[reportArgumentType]


def only_an_uncertain_text_is_looked_up(
    sending: Sending, sent: Sent, now: datetime, policy: SendPolicy
) -> None:
    rule.not_listed(sending, now=now, policy=policy)  # pyright: ignore[reportArgumentType]
    rule.not_listed(sent, now=now, policy=policy)  # pyright: ignore[reportArgumentType]
    rule.not_asked(sending, now=now, policy=policy)  # pyright: ignore[reportArgumentType]


def a_state_has_only_its_own_data(
    queued: Queued, sending: Sending, uncertain: Uncertain, sent: Sent, m: Message
) -> list[object]:
    return [
        queued.carrier_message_id,  # pyright: ignore[reportAttributeAccessIssue]
        queued.lease_until,  # pyright: ignore[reportAttributeAccessIssue]
        sending.due_at,  # pyright: ignore[reportAttributeAccessIssue]
        sending.carrier_message_id,  # pyright: ignore[reportAttributeAccessIssue]
        uncertain.carrier_message_id,  # pyright: ignore[reportAttributeAccessIssue]
        sent.delivered_at,  # pyright: ignore[reportAttributeAccessIssue]
        m.carrier_message_id,  # pyright: ignore[reportAttributeAccessIssue]
    ]


def a_state_is_not_edited_into_another(queued: Queued, sent: Sent, now: datetime) -> None:
    queued.due_at = now  # pyright: ignore[reportAttributeAccessIssue]
    sent.carrier_message_id = "SM2"  # pyright: ignore[reportAttributeAccessIssue]


def nothing_happens_in_a_closed_conversation(
    closed: Closed, now: datetime, policy: IdlePolicy
) -> None:
    talk.user_texted(closed, now=now)  # pyright: ignore[reportArgumentType]
    talk.agent_texted(closed, now=now)  # pyright: ignore[reportArgumentType]
    talk.close(closed, "operator", now=now)  # pyright: ignore[reportArgumentType]
    talk.tick(closed, now=now, policy=policy)  # pyright: ignore[reportArgumentType]


def a_conversation_that_may_be_closed_is_not_taken_for_a_live_one(
    c: Conversation, now: datetime
) -> None:
    talk.user_texted(c, now=now)  # pyright: ignore[reportArgumentType]


def only_a_talk_that_goes_on_is_paused(
    opened: Opened, warned: Warned, paused: Paused, closed: Closed, now: datetime
) -> None:
    talk.paused(opened, until=now)  # pyright: ignore[reportArgumentType]
    talk.paused(warned, until=now)  # pyright: ignore[reportArgumentType]
    talk.paused(paused, until=now)  # pyright: ignore[reportArgumentType]
    talk.paused(closed, until=now)  # pyright: ignore[reportArgumentType]


def what_a_person_has_or_is_over_is_not_handed_off(
    handed_off: HandedOff, closed: Closed, now: datetime
) -> None:
    talk.handed_off(handed_off, "a refund", now=now)  # pyright: ignore[reportArgumentType]
    talk.handed_off(closed, "a refund", now=now)  # pyright: ignore[reportArgumentType]


def only_what_its_agent_does_not_have_is_resumed(
    opened: Opened, engaged: Engaged, warned: Warned, closed: Closed, now: datetime
) -> None:
    talk.resumed(opened, now=now)  # pyright: ignore[reportArgumentType]
    talk.resumed(engaged, now=now)  # pyright: ignore[reportArgumentType]
    talk.resumed(warned, now=now)  # pyright: ignore[reportArgumentType]
    talk.resumed(closed, now=now)  # pyright: ignore[reportArgumentType]


def a_conversation_closes_for_one_of_our_reasons(engaged: Engaged, now: datetime) -> None:
    talk.close(engaged, "bored", now=now)  # pyright: ignore[reportArgumentType]


def only_a_warned_conversation_has_a_warning(opened: Opened, engaged: Engaged) -> list[object]:
    return [
        opened.warned_at,  # pyright: ignore[reportAttributeAccessIssue]
        engaged.warned_at,  # pyright: ignore[reportAttributeAccessIssue]
        engaged.paused_until,  # pyright: ignore[reportAttributeAccessIssue]
    ]


def ids_and_numbers_are_not_mixed_up(
    id_: MessageId, number: Phone, m: Queued, now: datetime
) -> tuple[ConversationId, Phone]:
    rule.write(
        m,  # pyright: ignore[reportArgumentType]
        "reply",
        "Hello",
        id=m.conversation_id,  # pyright: ignore[reportArgumentType]
        carrier_id=number,  # pyright: ignore[reportArgumentType]
        validity=timedelta(hours=4),
        now=now,
    )
    return id_, "+14155550100"  # pyright: ignore[reportReturnType]


def a_forgotten_state_of_a_text_is_found(m: Message) -> str:
    word = ""
    match m:  # pyright: ignore[reportMatchNotExhaustive]
        case Queued() | Sending():
            word = "waits"
        case Sent() | Delivered() | Failed() | Suppressed():
            word = "left"
    return word


def a_forgotten_state_of_a_conversation_is_found(c: Conversation) -> str:
    word = ""
    match c:  # pyright: ignore[reportMatchNotExhaustive]
        case Opened() | Engaged():
            word = "goes on"
        case Paused() | HandedOff():
            word = "is quiet"
        case Closed():
            word = "is over"
    return word


# And what must: without a default, because every state is there.


def every_state_of_a_text(m: Message) -> str:
    match m:
        case Queued() | Sending():
            return "waits"
        case Uncertain():
            return "may have left"
        case Sent() | Delivered():
            return m.carrier_message_id
        case Failed():
            return m.error_code
        case Suppressed():
            return m.reason


def every_state_of_a_conversation(c: Conversation) -> datetime:
    match c:
        case Opened() | Engaged():
            return c.active_at
        case Warned():
            return c.warned_at
        case Paused():
            return c.paused_until
        case HandedOff():
            return c.handed_off_at
        case Closed():
            return c.closed_at
