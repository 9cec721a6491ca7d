"""What the Conversations API makes of a conversation: no database, no HTTP."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.provision import NOW
from textback.core.errors import BadRequest
from textback.db.transcripts import Said, Transcript
from textback.dialects.polyai import history

ID = "conv_01kk2v5m7xq1t8c9d0e2f3g4h5"


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def agent(text: str, seconds: float) -> Said:
    return Said(is_users=False, text=text, at=at(seconds))


def user(text: str, seconds: float) -> Said:
    return Said(is_users=True, text=text, at=at(seconds))


def talk(*texts: Said, **changed: Any) -> Transcript:
    given: dict[str, Any] = {
        "id": ID,
        "account_id": "acme",
        "project_id": "reminders",
        "agent_id": "bookings",
        "environment": "live",
        "agent_number": "+14155550100",
        "user_number": "+14155550123",
        "by_user": False,
        "state": "engaged",
        "opened_at": NOW,
        "active_at": at(90),
        "closed_at": None,
        "variables": {"name": "Jane"},
        "metadata": {},
        "analysis": None,
        "handed_off_at": None,
        "why_handed_off": None,
        "texts": texts,
    }
    return Transcript(**given | changed)


def test_an_opener_is_a_turn_that_answers_nothing() -> None:
    [turn] = history.listed(talk(agent("Is 3pm good?", 0)))["turns"]
    assert (turn["user_input"], turn["user_input_datetime"]) == ("", "")
    assert turn["agent_response"] == "Is 3pm good?"
    assert turn["agent_response_datetime"] == "2026-03-02T09:00:00Z"


def test_a_turn_is_all_that_the_user_said_and_all_that_was_answered() -> None:
    found = history.listed(
        talk(
            agent("Is 3pm good?", 0),
            user("hm", 10),
            user("4pm?", 12),
            agent("Done.", 15),
            agent("See you!", 16),
            user("thanks", 60),
        ),
        latency=True,
    )
    said = [(turn["user_input"], turn["agent_response"]) for turn in found["turns"]]
    assert said == [("", "Is 3pm good?"), ("hm\n4pm?", "Done.\nSee you!"), ("thanks", "")]
    assert [turn.get("latency", "none") for turn in found["turns"]] == ["none", 3.0, "none"]
    assert found["num_turns"] == 3


def test_the_list_writes_snake_case_with_empty_strings_for_what_there_is_not() -> None:
    found = history.listed(talk(agent("Hi", 0)))
    assert found["id"] == f"TW_SMS_{ID}"
    assert (found["from_number"], found["to_number"]) == ("+14155550100", "+14155550123")
    assert (found["channel"], found["in_progress"]) == ("SMS", True)
    assert found["state"] == {"name": "Jane"}
    assert (found["handoff"], found["handoff_reason"], found["variant_id"]) == (False, "", "")
    assert "latency" not in found["turns"][0]


def test_the_detail_writes_camel_case() -> None:
    found = history.detailed(
        talk(
            user("Hello?", 0),
            agent("Hi", 2),
            by_user=True,
            state="closed",
            closed_at=at(120),
            analysis={"summary": "Said hello.", "values": {}, "outcome": "greeted"},
            handed_off_at=at(30),
            why_handed_off="wants a person",
        )
    )
    assert (found["fromNumber"], found["direction"]) == ("+14155550123", "INBOUND")
    assert (found["inProgress"], found["finishedAt"]) == (False, "2026-03-02T09:02:00Z")
    assert (found["handoff"], found["handoffReason"]) == (True, "wants a person")
    assert found["shortSummary"] == "Said hello."
    assert found["turns"][0]["userInput"] == "Hello?"
    assert not [name for name in found if "_" in name]


def test_durations_are_whole_seconds() -> None:
    found = history.listed(talk(active_at=at(90.7), handed_off_at=at(30.2)))
    durations = (found["total_duration"], found["polyai_duration"])
    assert durations == (91, 30)
    assert {type(seconds) for seconds in durations} == {int}


def test_what_an_analysis_found_are_the_metrics_as_text() -> None:
    values = {
        "slot": "3pm",
        "guests": 2,
        "outdoors": True,
        "name": "Zoë",
        "who": ["Zoë"],
        "x": None,
    }
    analysis = {"summary": "S", "values": values | {"not": None}, "outcome": "booked"}
    found = history.listed(talk(agent("Hi", 0), analysis=analysis))
    assert found["metrics"] == {
        "slot": "3pm",
        "guests": "2",
        "outdoors": "true",
        "name": "Zoë",
        "who": '["Zoë"]',
        "outcome": "booked",
    }
    assert history.listed(talk(analysis={"summary": "S"}))["metrics"] == {}


def test_a_chat_and_rcs_have_labels_of_their_own() -> None:
    chat = history.listed(talk(user_number=f"chat:{ID}", agent_number="chat:reminders"))
    assert (chat["channel"], chat["id"]) == ("CHAT", ID)
    assert (chat["from_number"], chat["to_number"]) == ("", "")  # nobody has one there
    rcs = history.listed(talk(user_number="rcs:+14155550123", agent_number="MG" + "0" * 32))
    assert (rcs["channel"], rcs["to_number"]) == ("RCS", "+14155550123")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"limit": ["0"]}, "limit"),
        ({"limit": ["5001"]}, "limit"),
        ({"cursor": ["conv_1"]}, "cursor"),
        ({"start_time": ["yesterday"]}, "start_time"),
        ({"end_time": ["0.5"]}, "end_time"),
        ({"start_time": ["2026-03-02T09:00:00"]}, "start_time"),
        ({"start_time": ["0001-01-01T00:00:00+14:00"]}, "start_time"),
        ({"end_time": ["9999-12-31T23:59:59-14:00"]}, "end_time"),
        ({"query_type": ["semantic"]}, "query_type"),
        ({"query_type": ["transcript"]}, "query"),
        ({"query_type": ["transcript"], "query": ["a"], "sample": ["random"]}, "sample"),
        ({"query": ["a"], "turn_type": ["anybody"]}, "turn_type"),
        ({"client_env": ["production"]}, "client_env"),
        ({"query": ["a\0b"]}, "NUL"),
    ],
)
def test_a_wrong_query_is_told_its_field(given: dict[str, list[str]], field: str) -> None:
    with pytest.raises(BadRequest, match=field):
        history.read(given)


def test_a_cursor_wins_over_an_offset_and_unknown_fields_are_ignored() -> None:
    asked = history.read({"cursor": [ID], "offset": ["7"], "new": ["y"]})
    wanted = history.wanted("reminders", asked)
    assert (wanted.before, wanted.offset, wanted.limit) == (ID, 0, history.USUAL + 1)


def test_where_there_are_more_the_answer_says_how_to_go_on() -> None:
    found = [talk(agent("Hi", 0), id=f"conv_{n}") for n in range(3)]
    asked = history.read({"limit": ["2"], "offset": ["4"]})
    answer = history.page(found, asked)
    assert len(answer["conversations"]) == 2
    assert (answer["next_offset"], answer["cursor"]) == (6, "conv_1")
    last = history.page(found[:2], asked)
    assert (last.get("next_offset"), last["cursor"]) == (None, None)
