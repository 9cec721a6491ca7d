"""Whatever the graph and whatever is said: a walk ends, is bounded, and can be taken up again."""

import json
from collections.abc import Mapping
from typing import cast

import pytest
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.flows import A_MODEL
from tests.support.model import ModelDouble
from tests.support.talk import Talk
from tests.support.turns import NOON
from textback.core.engine import TurnReply
from textback.core.language import ModelFailed
from textback.engines.flow import FlowConfig, FlowEngine
from textback.engines.flow.graph import MAX_TEXTS
from textback.engines.flow.matching import as_type, compare, has_word
from textback.engines.flow.templates import at_path, filled_url, storable

IDS = ["a", "b", "c", "d", "e", "f"]
WORDS = ["yes", "no", "human", "3pm", "hm", ""]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)

conditions = st.sampled_from(
    [
        {"keywords": ["yes"]},
        {"matches": "^n"},
        {"variable": "hour", "at_least": 3},
        {"variables": ["hour"]},
        {"label": "agrees"},
        {"label": "asks for {{hour}}"},
    ]
)
ids = st.sampled_from(IDS)
maybe = st.booleans()


@st.composite
def nodes(draw: st.DrawFn, number: int, count: int) -> dict[str, object]:
    """Those that do not wait lead forwards, so that most graphs are valid."""
    speaks = draw(st.sampled_from(["say", "prompt", None, "say"]))
    made: dict[str, object] = {"id": IDS[number], "entry": True}
    if speaks:
        made[speaks] = f"Text of {IDS[number]} {{{{hour}}}}"
    if draw(st.integers(0, 3)) == 0:
        made["globally"] = draw(conditions)
    does = draw(st.sampled_from(["wait", "wait", "go on", "end", "hand_off"]))
    last = number == count - 1
    if does == "end":
        return {**made, "end": True}
    if does == "hand_off":
        then = draw(st.none() | st.sampled_from(IDS[:count]))
        return {**made, "hand_off": "help", **({} if then is None else {"then": then})}
    waits = last or does == "wait"
    targets = st.sampled_from(IDS[:count] if waits else IDS[number + 1 : count])
    edges = draw(st.lists(st.tuples(conditions, targets), max_size=3))
    made |= {"wait": waits, "edges": [{**when, "to": to} for when, to in edges]}
    if not waits or not edges or draw(maybe):
        made["then"] = draw(targets)
    if waits and draw(maybe):
        made["until"] = draw(conditions)
    if draw(maybe):
        made["extract"] = [{"name": "hour", "type": "integer", "pattern": "(\\d)pm"}]
    return made


@st.composite
def flows(draw: st.DrawFn) -> FlowConfig:
    count = draw(st.integers(1, len(IDS)))
    made = [draw(nodes(number, count)) for number in range(count)]
    unclear = draw(st.sampled_from([{}, {"say": "Hm?", "times": 1}, {"times": 0, "to": "a"}]))
    try:
        return FlowConfig.model_validate({"nodes": made, "unclear": unclear, "model": A_MODEL})
    except ValidationError:
        reject()


def model(choices: list[int]) -> ModelDouble:
    """Chooses as told, in turn, and at times not at all; now and then it fails."""
    left = iter(choices)

    def choose(options: object, _: str) -> int | ModelFailed | None:
        n = next(left, -1)
        if n == 9:
            return ModelFailed(reason="slow")
        return n % len(cast("list[str]", options)) if n >= 0 else None

    return ModelDouble(choose_by=choose, write_by=lambda _, __: "Written.")


@settings(max_examples=150, deadline=None)
@given(
    flow=flows(),
    said=st.lists(st.sampled_from(WORDS), max_size=8),
    choices=st.lists(st.integers(-1, 9), max_size=12),
    start=st.none() | ids,
)
async def test_a_walk_through_any_valid_graph_ends_and_says_little(
    flow: FlowConfig, said: list[str], choices: list[int], start: str | None
) -> None:
    engine = FlowEngine(flow, model=model(choices), clock=lambda: NOON)
    talking = Talk(engine, start_node=start)
    for heard in ["", *said]:
        answer = await engine.reply(talking.request(heard))
        if not isinstance(answer, TurnReply):
            assert answer.reason.endswith(("slow", "the model repeats itself"))
            continue
        assert len(answer.texts) <= MAX_TEXTS
        assert all(text.strip() for text in answer.texts)
        assert answer.state is not None
        talking.state = cast("Mapping[str, object]", json.loads(json.dumps(answer.state)))
        assert talking.state == answer.state
        assert talking.state["node"] in flow.graph().nodes
        assert not (answer.end_conversation and answer.hand_off)


@settings(max_examples=60, deadline=None)
@given(flow=flows(), heard=st.sampled_from(WORDS), choices=st.lists(st.integers(-1, 8), max_size=5))
async def test_a_turn_run_again_from_the_same_state_gives_the_same(
    flow: FlowConfig, heard: str, choices: list[int]
) -> None:
    def engine() -> FlowEngine:
        return FlowEngine(flow, model=model(choices), clock=lambda: NOON)

    request = Talk(engine()).request(heard)
    assert await engine().reply(request) == await engine().reply(request)


@settings(max_examples=100, deadline=None)
@given(
    state=st.dictionaries(
        st.sampled_from(["node", "variables", "unclear", "entry", "note"]), anything
    )
)
@example(state={"node": "a", "variables": {"hour": {"x": [1]}}, "unclear": -5})
@example(state={"node": "gone"})
async def test_no_state_breaks_a_flow(state: dict[str, object]) -> None:
    flow = FlowConfig.model_validate(
        {
            "nodes": [
                {"id": "a", "say": "Hi {{hour.x}}", "edges": [{"matches": "x", "to": "b"}]},
                {"id": "b", "say": "Bye", "end": True},
            ]
        }
    )
    engine = FlowEngine(flow, model=None, clock=lambda: NOON)
    talking = Talk(engine, state=state)
    assert isinstance(await engine.reply(talking.request("hello")), TurnReply)
    assert isinstance(await engine.reply(talking.request("")), TurnReply)


@given(value=anything)
def test_what_is_kept_of_an_answer_can_be_stored(value: object) -> None:
    kept = storable(value)
    written = json.dumps(kept, allow_nan=False)
    assert "\\u0000" not in written.replace("\\\\", "")
    written.encode()


@given(value=anything, path=st.text(alphabet="$.[]abc012'\"", max_size=12))
def test_a_path_into_anything_finds_something_or_nothing(value: object, path: str) -> None:
    at_path(value, path)


@given(value=st.text())
@example(value="\ud800/../?#&")
def test_a_value_never_leaves_its_part_of_an_address(value: str) -> None:
    url = filled_url("https://api.test/x/{{v}}/y?q={{v}}", {"v": value})
    assert url.startswith("https://api.test/x/")
    assert url.count("/") == 5
    assert url.count("?") == 1
    assert "#" not in url
    assert "&" not in url


@pytest.mark.parametrize(
    ("text", "word", "found"),
    [
        ("Yes!", "yes", True),
        ("yesterday", "yes", False),
        ("oh yes, please", "YES", True),
        ("don\u2019t", "don't", True),
        ("call  me\nnow", "call me", True),
        ("recall me", "call me", False),
        ("\U0001f44d\U0001f3fd", "\U0001f44d", True),
        ("\u597d\u7684\u8c22\u8c22", "\u597d\u7684", True),
        ("\uff39\uff45\uff53", "yes", True),
        ("STRASSE", "straße", True),
        ("", "yes", False),
        ("no. 3", "3", True),
        ("13", "3", False),
    ],
)
def test_a_keyword_is_found_as_a_word(text: str, word: str, *, found: bool) -> None:
    assert has_word(text, word) is found


@pytest.mark.parametrize(
    ("value", "how", "other", "fits"),
    [
        ("3", "equals", 3, True),
        (3.0, "equals", "3", True),
        ("Ana", "equals", "ana", True),
        (True, "equals", "true", True),
        (True, "equals", 1, False),
        (None, "equals", "", True),
        (None, "equals", False, False),
        (None, "differs", "x", True),
        ("10", "more_than", 9, True),
        (9, "at_least", 9, True),
        (8, "less_than", 9, True),
        ("x", "at_most", 9, False),
        (None, "at_most", 9, False),
        ("on Tuesday", "contains", "tuesday", True),
        (["3pm", "4pm"], "contains", "4PM", True),
        (None, "contains", "", False),
        (0, "known", True, True),
        ("", "known", True, False),
        (None, "known", False, True),
    ],
)
def test_values_are_compared_as_people_mean_it(
    value: object, how: str, other: object, *, fits: bool
) -> None:
    assert compare(value, how, other) is fits


@pytest.mark.parametrize(
    ("value", "wanted", "made"),
    [
        (" Ana ", "string", "Ana"),
        ("", "string", None),
        ([], "string", None),
        ("41", "integer", 41),
        ("41.5", "integer", None),
        (41.0, "integer", 41),
        ("1,250", "integer", 1250),
        ("41.5", "number", 41.5),
        ("9" * 400, "number", None),
        (True, "number", None),
        ("Yes", "boolean", True),
        ("no", "boolean", False),
        ("perhaps", "boolean", None),
        ("2026-03-01", "date", "2026-03-01"),
        ("tomorrow", "date", None),
    ],
)
def test_a_value_has_the_type_that_was_asked_for_or_is_none(
    value: object, wanted: str, made: object
) -> None:
    found = as_type(value, wanted)  # pyright: ignore[reportArgumentType]
    assert found == made
    assert type(found) is type(made)
