import asyncio
import threading
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.turns import turn
from textback.core.engine import TurnFailed, TurnReply
from textback.engines.scripted import Rule, ScriptedConfig, ScriptedEngine
from textback.patterns import AT_ONCE

sayable = st.characters(exclude_characters="{}\x00", exclude_categories=["Cs"])


async def said(heard: str, *rules: tuple[str, str], default: str | None = None) -> list[str]:
    """What an engine of these (match, reply) rules says."""
    config = ScriptedConfig(
        rules=tuple(Rule(match=match, reply=reply) for match, reply in rules), default=default
    )
    answer = await ScriptedEngine(config).reply(turn(heard))
    assert isinstance(answer, TurnReply)
    return list(answer.texts)


async def test_the_first_rule_that_matches_answers() -> None:
    rules = ("(?i)3pm", "Done: 3pm tomorrow."), ("pm", "Which hour?"), ("3", "Three?")
    assert await said("at 3PM please", *rules) == ["Done: 3pm tomorrow."]
    assert await said("some pm", *rules) == ["Which hour?"]
    assert await said("3", *rules) == ["Three?"]


async def test_the_default_answers_when_no_rule_does_and_without_one_there_is_silence() -> None:
    assert await said("hello", ("3pm", "Done."), default="You said: {text}") == ["You said: hello"]
    assert await said("hello", ("3pm", "Done.")) == []
    assert await said("hello") == []


@pytest.mark.parametrize("blank", ["", " ", "\n\t", "{1}"])
async def test_a_blank_reply_is_silence(blank: str) -> None:
    assert await said("hi", ("hi(x)?", blank), default="unused") == []


async def test_several_texts_of_one_turn_are_heard_together() -> None:
    assert await said("hi\n3pm\nplease", ("(?m)^3pm$", "Done: {text}")) == ["Done: hi\n3pm\nplease"]


async def test_a_reply_repeats_what_the_pattern_found() -> None:
    rule = (
        r"(?P<hour>\d+)(pm|am) (?:on )?(\w+)?",
        "{hour} or {1}, {2}, {3}; in all {0} of {text}",
    )
    assert await said("make it 3pm on Monday", rule) == [
        "3 or 3, pm, Monday; in all 3pm on Monday of make it 3pm on Monday"
    ]
    assert await said("3pm ", rule) == ["3 or 3, pm, ; in all 3pm  of 3pm "]


async def test_braces_that_name_no_group_stay_as_they_are() -> None:
    template = "{} {9} {nobody} {{text}} { text } {text!r} {0.__class__}"
    assert await said("hi", ("h", template)) == [
        "{} {9} {nobody} {hi} { text } {text!r} {0.__class__}"
    ]
    assert await said("hi", default="{0} {1} {text}") == ["{0} {1} hi"]


@pytest.mark.parametrize("heard", ["{text}", "{0}", "{1}{text}", r"\1 \g<0>", "%s", "{"])
async def test_what_the_user_wrote_is_never_expanded(heard: str) -> None:
    assert await said(heard, ("(.*)", "{1}|{text}")) == [f"{heard}|{heard}"]


@settings(deadline=None)
@given(st.text(max_size=200), st.text(sayable, max_size=50))
async def test_a_default_is_said_around_whatever_was_heard(heard: str, around: str) -> None:
    whole = around + heard + around
    expected = [whole] if whole.strip() else []
    assert await said(heard, default=around + "{text}" + around) == expected


async def test_a_text_repeated_past_the_limit_is_cut() -> None:
    assert await said("x" * 1590, default="You said: {text}") == ["You said: " + "x" * 1590]
    assert await said("🎉" * 1591, default="You said: {text}") == ["You said: " + "🎉" * 1590]


async def test_a_rule_may_end_the_conversation_with_or_without_a_word() -> None:
    rules = (
        Rule(match="bye", reply="Bye.", end_conversation=True),
        Rule(match="hush", reply="", end_conversation=True),
        Rule(match="hi", reply="Hi."),
    )
    engine = ScriptedEngine(ScriptedConfig(rules=rules))
    assert await engine.reply(turn("bye")) == TurnReply(texts=("Bye.",), end_conversation=True)
    assert await engine.reply(turn("hush")) == TurnReply(texts=(), end_conversation=True)
    assert await engine.reply(turn("hi")) == TurnReply(texts=("Hi.",))


async def test_a_pattern_that_never_ends_fails_the_turn_and_holds_up_nobody() -> None:
    config = ScriptedConfig(rules=(Rule(match="(a|aa)+$", reply="Done."),))
    engine = ScriptedEngine(config, match_budget=timedelta(seconds=0.2))
    replying = asyncio.create_task(engine.reply(turn("a" * 60 + "b")))
    ticks = 0
    while not replying.done():
        await asyncio.sleep(0.005)
        ticks += 1
    answer = await replying
    assert isinstance(answer, TurnFailed)
    assert "matching" in answer.reason
    assert ticks > 5


async def test_an_agent_whose_patterns_never_end_holds_up_no_other_agent() -> None:
    config = ScriptedConfig(rules=(Rule(match="(a|aa)+$", reply="Done."),))
    endless = ScriptedEngine(config, match_budget=timedelta(seconds=0.6))
    other = ScriptedEngine(ScriptedConfig(default="Hi."))
    replying = [asyncio.create_task(endless.reply(turn("a" * 60 + "b"))) for _ in range(64)]
    await asyncio.sleep(0)
    assert await other.reply(turn("Hello")) == TurnReply(texts=("Hi.",))
    await asyncio.to_thread(str)  # as names are looked up, for whoever connects
    assert sum(task.done() for task in replying) < 32
    await asyncio.wait(replying)
    assert all(isinstance(task.result(), TurnFailed) for task in replying)


async def test_who_gave_up_a_pattern_that_never_ends_makes_no_room_for_another() -> None:
    config = ScriptedConfig(rules=(Rule(match="(a|aa)+$", reply="Done."),))
    endless = ScriptedEngine(config, match_budget=timedelta(seconds=0.2))
    before = threading.active_count()
    for _ in range(4 * AT_ONCE):
        replying = asyncio.create_task(endless.reply(turn("a" * 60 + "b")))
        await asyncio.sleep(0)
        replying.cancel()
        await asyncio.wait([replying])
    assert threading.active_count() <= before + AT_ONCE
    assert isinstance(await endless.reply(turn("a" * 60 + "b")), TurnFailed)


def test_a_scripted_agent_does_not_open() -> None:
    assert not ScriptedEngine(ScriptedConfig()).can_open


def test_a_config_is_read_as_it_is_written_in_a_file() -> None:
    config = ScriptedConfig.model_validate(
        {
            "kind": "scripted",
            "rules": [{"match": "(?i)3pm", "reply": "Done: 3pm tomorrow."}],
            "default": "You said: {text}",
        }
    )
    assert config.rules == (Rule(match="(?i)3pm", reply="Done: 3pm tomorrow."),)
    assert ScriptedConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(3pm", "missing )"),
        ("[3", "unterminated"),
        ("(?P<1>x)", "group name"),
        ("a{99999999999999999999}", "repeat count"),
        ("(" * 10_000 + ")" * 10_000, "recursion"),
        ("", "at least 1"),
    ],
)
def test_a_bad_pattern_is_refused_with_the_reason_and_where_it_stands(
    pattern: str, why: str
) -> None:
    good = {"match": "x", "reply": "x"}
    with pytest.raises(ValidationError) as caught:
        ScriptedConfig.model_validate({"rules": [good, {"match": pattern, "reply": "x"}]})
    (error,) = caught.value.errors()
    assert error["loc"] == ("rules", 1, "match")
    assert why in error["msg"]
    assert pattern in error["msg"]


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"rules": [{"match": "x"}]}, ("rules", 0, "reply")),
        ({"rules": [{"match": "x", "reply": "x", "ends": True}]}, ("rules", 0, "ends")),
        ({"rules": [{"match": "x", "reply": "x" * 1601}]}, ("rules", 0, "reply")),
        ({"default": "x" * 1601}, ("default",)),
        ({"default": "x\x00"}, ("default",)),
        ({"default": 3}, ("default",)),
        ({"kind": "http"}, ("kind",)),
        ({"url": "http://x"}, ("url",)),
    ],
)
def test_anything_else_wrong_is_refused_where_it_stands(
    wrong: dict[str, object], where: tuple[str | int, ...]
) -> None:
    with pytest.raises(ValidationError) as caught:
        ScriptedConfig.model_validate(wrong)
    assert [error["loc"] for error in caught.value.errors()] == [where]
