from typing import get_args

import pytest

from tests import make
from textback.core.conversation import NAMES, Conversation
from textback.core.events import Kind, caused, of_conversation, of_message
from textback.core.message import Message

talks: list[Conversation] = [*make.lives(), make.closed()]


@pytest.mark.parametrize("m", make.messages())
def test_a_texts_event_names_its_state_and_whose_it_is(m: Message) -> None:
    event = of_message(m)
    assert event.kind == f"message.{type(m).__name__.lower()}"
    assert (event.message_id, event.conversation_id) == (m.id, m.conversation_id)


@pytest.mark.parametrize("c", talks)
def test_a_conversations_event_names_its_state(c: Conversation) -> None:
    event = of_conversation(c)
    assert event.kind == f"conversation.{NAMES[type(c)]}"
    assert (event.message_id, event.conversation_id) == (None, c.id)


def test_the_end_of_a_conversation_says_why() -> None:
    assert of_conversation(make.closed(reason="superseded")).data == {"reason": "superseded"}


def test_a_hand_off_says_why_and_who_wanted_it_and_what_they_added() -> None:
    event = of_conversation(make.handed_off(why="a refund"))
    told = caused(event, by="caller", more={"metadata": {"ticket": 7}})
    assert told.data == {"reason": "a refund", "by": "caller", "metadata": {"ticket": 7}}


def test_what_time_alone_did_was_done_by_nobody() -> None:
    event = of_conversation(make.warned())
    assert caused(event, by=None, more={}) == event


def test_a_failed_text_says_the_carriers_code() -> None:
    assert of_message(make.failed(error_code="30003")).data == {"error_code": "30003"}


def test_a_suppressed_text_says_why() -> None:
    assert of_message(make.suppressed(reason="expired")).data == {"reason": "expired"}


@pytest.mark.parametrize("m", make.messages())
def test_no_event_holds_a_text_or_a_number(m: Message) -> None:
    said = str(of_message(m))
    assert m.text not in said
    assert m.user_number not in said


def test_every_state_has_its_kind_of_event() -> None:
    told = [*map(of_message, make.messages()), *map(of_conversation, talks)]
    assert {event.kind for event in told} <= set(get_args(Kind))
