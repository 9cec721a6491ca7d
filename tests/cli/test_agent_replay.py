"""`textback agent record` and `replay`: prompts can be tested like code."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from tests.cli.test_agent import in_world
from tests.cli.test_agent_try import AGENT, SCRIPTED, calendar, flow
from tests.support.deployment import AGENT as AGENT_NUMBER
from tests.support.deployment import USER, caller, minute
from tests.support.fake_models import calls, says, serving
from tests.support.provision import SECRET_KEY
from tests.support.world import World
from textback.cli.agent_compare import difference
from textback.cli.agent_recording import Call, Expect, Recording, Turn
from textback.cli.main import app
from textback.core.commands import SendText
from textback.core.engine import TurnFailed, TurnReply
from textback.flows import accept

Line = dict[str, Any]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TEXTBACK_DATABASE_URL", raising=False)


def replay(
    *conversations: Line, agent: Any = AGENT, arguments: list[str] | None = None
) -> tuple[Result, list[Line]]:
    """From files alone; the lines of JSON, the sum last."""
    acme = {"id": "acme", "agents": [agent], "projects": [{"id": "p", "agent": "bookings"}]}
    Path("p.yaml").write_text(yaml.safe_dump({"accounts": [acme]}))
    Path("c.jsonl").write_text("".join(json.dumps(each) + "\n" for each in conversations))
    given = ["agent", "replay", "bookings", "--file", "p.yaml", "--conversations", "c.jsonl"]
    result = CliRunner().invoke(app, [*given, "--json", *(arguments or [])])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result, [json.loads(line) for line in result.stdout.splitlines()]


def turn(heard: str, said: str | None = None, **more: Any) -> Line:
    return {"texts": [heard]} | ({} if said is None else {"said": [said]}) | more


# --- Comparing ------------------------------------------------------------------------------------


def test_every_turn_is_asked_again_and_compared() -> None:
    talk = {
        "id": "one",
        "turns": [
            turn("hi", "You said: hi"),
            turn("what", "You said so."),
            turn("bye", "Bye.", ended=True),
        ],
    }
    result, (*turns, whole) = replay(talk)
    assert [each["verdict"] for each in turns] == ["same", "changed", "same"]
    assert turns[1]["differences"] == ["You [-said so.-] {+said: what+}"]
    assert (whole["turns"], whole["same"], whole["changed"]) == (3, 2, 1)
    assert result.exit_code == 0


def test_a_change_is_1_only_when_asked_for() -> None:
    talk = {"turns": [turn("hi", "Hello.")]}
    assert replay(talk)[0].exit_code == 0
    assert replay(talk, arguments=["--fail-on-change"])[0].exit_code == 1
    same = {"turns": [turn("hi", "You said: hi")]}
    assert replay(same, arguments=["--fail-on-change"])[0].exit_code == 0


@pytest.mark.parametrize(
    ("recorded", "difference"),
    [
        (turn("bye", "Bye."), "ends the conversation now"),
        (turn("hi", "You said: hi", ended=True), "does not end the conversation now"),
        (turn("hi", "You said: hi", handed_off="x"), "does not hand over to a person now"),
        (turn("hi", "You said: hi", failed=True), "had failed, and does not now"),
        (
            turn("hi", "You said: hi", calls=[{"name": "f", "arguments": {"b": 1, "a": 2}}]),
            'does not call f {"a": 2, "b": 1} now',
        ),
    ],
)
def test_more_than_words_is_compared(recorded: Line, difference: str) -> None:
    _, (found, _) = replay({"turns": [recorded]})
    assert (found["verdict"], found["differences"]) == ("changed", [difference])


def test_how_an_answer_was_split_and_quoted_is_not_what_was_said() -> None:
    long = "This is the first of two parts, and says a good deal. " * 2
    rules = [{"match": ".", "reply": f"{long}\u201cThe second\u201d part."}]
    agent = AGENT | {"engine": SCRIPTED | {"rules": rules}}
    recorded = {"texts": ["x"], "said": [long.strip(), '"The second" part.']}
    _, (found, _) = replay({"turns": [recorded]}, agent=agent)
    assert (found["verdict"], found["segments_before"], found["segments"]) == ("same", 2, 1)


def test_a_failure_that_was_none_is_1_and_one_that_was_is_the_same() -> None:
    remote = {"kind": "http", "url": "http://127.0.0.1:9/turn", "timeout_seconds": 0.2}
    agent = {"id": "bookings", "engine": remote, "fallback": "Sorry."}
    result, (found, _) = replay({"turns": [turn("hi", "Hello.")]}, agent=agent)
    assert (result.exit_code, found["verdict"]) == (1, "failed")
    assert found["differences"][0].startswith("failed: ")
    result, (found, _) = replay({"turns": [turn("hi", "Sorry.", failed=True)]}, agent=agent)
    assert (result.exit_code, found["verdict"]) == (0, "same")


def test_the_order_of_what_is_printed_is_that_of_the_file() -> None:
    talks = [{"id": f"c{n}", "turns": [turn(f"{n}"), turn("x")]} for n in range(30)]
    _, (*turns, _) = replay(*talks, arguments=["--concurrency", "7"])
    expected = [(f"c{n}", number) for n in range(30) for number in (1, 2)]
    assert [(each["conversation"], each["turn"]) for each in turns] == expected


def test_people_read_the_turns_that_are_different_and_a_sum() -> None:
    talk = {"id": "one", "turns": [turn("hi", "You said: hi"), turn("what", "You said so.")]}
    replay(talk)
    given = ["agent", "replay", "bookings", "--file", "p.yaml", "--conversations", "c.jsonl"]
    assert CliRunner().invoke(app, given).stdout.splitlines() == [
        "bookings, production in p.yaml: 1 conversations",
        "",
        "one turn 2: changed (1 -> 1 segments)",
        "    user: what",
        "    You [-said so.-] {+said: what+}",
        "",
        "2 turns: 1 same, 1 changed; 2 -> 2 segments",
    ]


def test_a_difference_is_told_in_words() -> None:
    before = ["Your", "slot", "is", "at", "9:00", "on", "Monday."]
    now = ["The", "slot", "is", "on", "Monday.", "Fine?"]
    assert difference(before, now) == "[-Your-] {+The+} slot is [-at 9:00-] on Monday. {+Fine?+}"


# --- Expectations ---------------------------------------------------------------------------------


def test_what_is_expected_is_checked_whatever_was_recorded() -> None:
    good = {"contains": "SAID", "not_contains": ["bye"], "matches": "hi$", "ends": False}
    result, (found, whole) = replay({"turns": [turn("hi", expect=good)]})
    assert (result.exit_code, found["verdict"], found["unmet"]) == (0, "new", [])
    assert (whole["expected"], whole["unmet"]) == (4, 0)


@pytest.mark.parametrize(
    ("expect", "unmet"),
    [
        ({"contains": ["You", "3pm"]}, 'contains "3pm"'),
        ({"not_contains": "SAID"}, 'does not contain "SAID"'),
        ({"matches": "^said"}, 'matches "^said"'),
        ({"ends": True}, "ends the conversation"),
        ({"hands_off": True}, "hands over to a person"),
        ({"calls": ["book"]}, "calls book, and not none"),
    ],
)
def test_what_is_not_as_expected_is_1(expect: Line, unmet: str) -> None:
    result, (found, whole) = replay({"turns": [turn("hi", "You said: hi", expect=expect)]})
    assert (result.exit_code, found["unmet"], whole["unmet"]) == (1, [unmet], 1)
    assert found["verdict"] == "same"


# --- Tools, and what an engine keeps --------------------------------------------------------------


def booking(*calls: Line) -> Line:
    opened = {"said": ["Hello Ada, any day?"]}
    answered = turn("Monday", "There is 9:00.", calls=list(calls))
    return {"variables": {"name": "Ada", "day": "Monday"}, "turns": [opened, answered]}


LOOK = {"name": "look", "arguments": {"day": "Monday"}, "result": '{"slot": "9:00"}'}


def test_calls_get_the_results_that_were_recorded_and_nobody_is_called() -> None:
    agent = AGENT | {"engine": flow("http://127.0.0.1:9/")}
    _, (opened, answered, _) = replay(booking(LOOK), agent=agent)
    assert (opened["verdict"], answered["verdict"]) == ("same", "same")
    assert answered["calls"] == [
        {"name": "look", "arguments": {"day": "Monday"}, "how": "recorded"}
    ]


def test_calls_that_are_not_recorded_are_not_made_but_reported() -> None:
    calls: list[Any] = []
    other = LOOK | {"arguments": {"day": "Tuesday"}}
    with calendar(calls) as url:
        agent = AGENT | {"engine": flow(url)}
        _, (_, answered, whole) = replay(booking(other), agent=agent)
        assert calls == []
        assert (answered["verdict"], whole["calls_not_made"]) == ("changed", 1)
        assert answered["differences"][1:] == [
            "hands over to a person now: the calendar does not answer",
            'does not call look {"day": "Tuesday"} now',
            'calls look {"day": "Monday"} now (not recorded, so not made)',
        ]
        _, (_, answered, whole) = replay(booking(), agent=agent, arguments=["--live-tools"])
    assert [call["arguments"] for call in calls] == [{"day": "Monday"}]
    assert whole["calls_not_made"] == 0
    assert answered["now"] == ["There is 9:00."]


def test_a_call_that_failed_then_fails_again() -> None:
    agent = AGENT | {"engine": flow("http://127.0.0.1:9/")}
    failed = LOOK | {"result": "It could not be reached.", "failed": True}
    unknown = {"name": "look", "arguments": {"day": "Monday"}}
    for call in (failed, unknown):
        _, (_, answered, _) = replay(booking(call), agent=agent)
        assert answered["handed_off"] == "the calendar does not answer"


# --- Recording ------------------------------------------------------------------------------------


def recorded(database_url: str, happens: Callable[[World], Awaitable[None]]) -> list[Line]:
    in_world(database_url, happens)
    given = {"TEXTBACK_DATABASE_URL": database_url, "TEXTBACK_SECRET_KEY": SECRET_KEY}
    result = CliRunner().invoke(app, ["agent", "record", "bookings"], env=given)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    Path("r.jsonl").write_text(result.stdout)
    return [json.loads(line) for line in result.stdout.splitlines()]


def replayed(database_url: str, *arguments: str) -> tuple[int, list[Line]]:
    given = {"TEXTBACK_DATABASE_URL": database_url, "TEXTBACK_SECRET_KEY": SECRET_KEY}
    command = ["agent", "replay", "bookings", "--conversations", "r.jsonl", "--json", *arguments]
    result = CliRunner().invoke(app, command, env=given)
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]


async def two_conversations(world: World) -> None:
    await world.provision()
    await world.accept("Your appointment is at 3pm.")
    await world.hear("Fine", now=minute(1))
    await world.hear("and thanks", now=minute(1))
    await world.think(now=minute(2))
    await world.hear("hush", now=minute(10))
    await world.think(now=minute(11))
    await world.hear(f"call me at {USER}", now=minute(20))
    (thinking,) = await world.claim_turns(now=minute(21))
    await world.hear("or not", now=minute(21))
    await world.answer(thinking, f"You said: call me at {USER}", now=minute(22))
    await world.think(now=minute(30))
    await world.hear("bye", now=minute(40))
    await world.think(now=minute(41))
    await world.accept("Another one.", now=minute(50))
    await world.hear("Hello again", now=minute(51))
    await world.think(now=minute(52))
    await world.accept("Nobody answers this one.", now=minute(60))


def test_a_version_that_is_what_it_was_says_what_it_said(database_url: str) -> None:
    lines = recorded(database_url, two_conversations)
    assert [len(line["turns"]) for line in lines] == [4, 1]
    code, (*turns, whole) = replayed(database_url, "--fail-on-change")
    assert [each["differences"] for each in turns] == [[]] * 5
    assert (code, whole["same"], whole["turns"]) == (0, 5, 5)


def test_a_recording_has_the_turns_as_they_were_and_no_phone_numbers(database_url: str) -> None:
    whole, _ = recorded(database_url, two_conversations)
    first, second, third, last = whole["turns"]
    assert [(text.get("role", "user"), text["text"]) for text in first["texts"]] == [
        ("agent", "Your appointment is at 3pm."),
        ("user", "Fine"),
        ("user", "and thanks"),
    ]
    assert first["said"] == ["You said: Fine\nand thanks"]
    assert second["said"] == []
    # One turn ran again with what the user had added.
    assert [text["text"] for text in third["texts"]] == [
        "call me at [number of the user]",
        "or not",
    ]
    assert (last["said"], last["ended"]) == (["Bye."], True)
    text = Path("r.jsonl").read_text()
    assert USER not in text
    assert AGENT_NUMBER not in text


def test_another_version_is_run_on_what_was_recorded(database_url: str) -> None:
    recorded(database_url, two_conversations)

    async def draft(world: World) -> None:
        engine = SCRIPTED | {"default": "I heard: {text}"}
        await world.provision(agent={"draft": {"engine": engine}})

    in_world(database_url, draft)
    _, (*turns, whole) = replayed(database_url, "--version", "draft")
    assert (whole["same"], whole["changed"]) == (2, 3)
    assert turns[0]["differences"] == ["[-You said:-] {+I heard:+} Fine and thanks"]


def test_openers_failures_hand_overs_and_briefs_are_recorded(database_url: str) -> None:
    async def happens(world: World) -> None:
        await world.provision(agent={"engine": flow("http://127.0.0.1:9/"), "greeting": None})
        command = SendText(
            user_number=USER,
            text=None,
            agent_number=AGENT_NUMBER,
            objective="Book.",
            variables={"name": "Ada"},
            metadata={"crm": 7},
        )
        await accept.send_text(world.db, caller(), command, now=minute(0))
        (opening,) = await world.claim_turns(now=minute(1))
        await world.answer(opening, "Hello Ada, any day?", now=minute(1))
        await world.hear("Monday", now=minute(10))
        (failing,) = await world.claim_turns(now=minute(11))
        await world.answer(failing, TurnFailed("it broke"), fallback="Sorry.", now=minute(12))
        await world.hear("Hello?", now=minute(20))
        (giving_up,) = await world.claim_turns(now=minute(21))
        answer = TurnReply(texts=["A person will answer."], hand_off="it is all too much")
        await world.answer(giving_up, answer, now=minute(22))

    (line,) = recorded(database_url, happens)
    assert (line["objective"], line["variables"]) == ("Book.", {"name": "Ada"})
    assert (line["metadata"], line["agent_version"]) == ({"crm": 7}, 1)
    opener, failed, last = line["turns"]
    assert ("texts" not in opener, opener["said"]) == (True, ["Hello Ada, any day?"])
    assert (failed["failed"], failed["said"]) == (True, ["Sorry."])
    assert (last["handed_off"], last["said"]) == ("it is all too much", ["A person will answer."])


def test_only_so_many_and_only_since_then_are_recorded(database_url: str) -> None:
    recorded(database_url, two_conversations)
    given = {"TEXTBACK_DATABASE_URL": database_url}
    for arguments, count in (
        (["--limit", "1"], 1),
        (["--since", "2026-03-02T09:30:00Z"], 1),
        (["--since", "2027-01-01"], 0),
        (["--out", "o.jsonl"], 2),
    ):
        result = CliRunner().invoke(app, ["agent", "record", "bookings", *arguments], env=given)
        text = Path("o.jsonl").read_text() if "--out" in arguments else result.stdout
        assert len(text.splitlines()) == count, result.output


# --- A file that is wrong -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "c.jsonl holds no conversation."),
        ("{", "c.jsonl:1: is not JSON"),
        ("\n[]", "c.jsonl:2: the line: must be fields (name: value)"),
        ('{"turns": []}', "c.jsonl:1: turns: must have at least 1 entry"),
        (
            '{"turns": [{"texts": ["a"], "expekt": {}}]}',
            'c.jsonl:1: turns[0].expekt: unknown field; did you mean "expect"?',
        ),
        (
            '{"turns": [{"expect": {"matches": "("}}]}',
            "c.jsonl:1: turns[0].expect.matches: '(' is not a regular expression:",
        ),
    ],
)
def test_a_line_that_is_wrong_is_named(text: str, sentence: str) -> None:
    Path("c.jsonl").write_text(text)
    given = ["agent", "replay", "bookings", "--file", "p.yaml", "--conversations", "c.jsonl"]
    result = CliRunner().invoke(app, given)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(sentence)


def test_the_documented_example_can_be_replayed() -> None:
    text = (Path(__file__).parents[2] / "docs" / "agents-testing.md").read_text()
    example = text.split("```json\n")[1].split("```")[0]
    recording = Recording.model_validate_json(example.replace("\n", ""))
    assert recording.turns[0].expect is not None
    fields = {*Recording.model_fields, *Turn.model_fields, *Expect.model_fields, *Call.model_fields}
    assert {name for name in fields if f"`{name}" not in text and name not in text} == set()


def test_a_model_is_asked_about_what_was_said_and_told_what_was_recorded() -> None:
    with serving() as models:
        models.answers(calls("look", day="Monday"), says("There is 9:00."), says("Bye, Ada."))
        model = {"provider": "openai", "name": "m", "base_url": models.base_url("openai")}
        tool = {"name": "look", "description": "Free times.", "url": "http://127.0.0.1:9/"}
        engine = {"kind": "llm", "prompt": "p", "model": model, "tools": [tool]}
        talk = {
            "turns": [
                turn("Monday?", "There is 9:00.", calls=[LOOK], at="2026-03-02T09:00:00Z"),
                turn("Fine, bye", "Goodbye, Ada."),
            ]
        }
        _, (first, second, whole) = replay(talk, agent=AGENT | {"engine": engine})
        asked = [entry.lines for entry in models.asked]
    assert (first["verdict"], second["differences"]) == ("same", ["[-Goodbye,-] {+Bye,+} Ada."])
    assert ("tool", '{"slot": "9:00"}') in asked[1]
    assert "Goodbye, Ada." not in str(asked)
    assert "2 March 2026, 09:00" in models.asked[0].instructions
    assert (whole["input_tokens"], whole["output_tokens"]) == (300, 30)
