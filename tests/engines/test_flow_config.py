"""What is wrong with a flow is said when it is applied, by the node's name and its place."""

import json
from typing import Final

import pytest
import yaml
from pydantic import ValidationError

from tests.support.flows import A_MODEL, config
from textback.engines.flow import FlowConfig

BYE: Final = "{id: bye, say: Bye, end: true}"


def wrong(text: str) -> list[tuple[str, str]]:
    """Where, and what."""
    with pytest.raises(ValidationError) as refused:
        FlowConfig.model_validate(yaml.safe_load(text))
    return [
        (".".join(map(str, error["loc"])), str(error.get("ctx", {}).get("problem", error["msg"])))
        for error in refused.value.errors()
    ]


def wrong_nodes(*nodes: str) -> list[tuple[str, str]]:
    return wrong("nodes:\n" + "".join(f"  - {node}\n" for node in nodes))


ONE_CONDITION = (
    "needs exactly one condition: keywords, matches, label, variable, variables or result"
)
NO_MODEL = "and the flow has no model"

WRONG: Final = [
    (
        ["{id: a, say: Hi, edges: [{keywords: [x], to: b}]}"],
        "nodes.0.edges.0",
        'leads to "b", and there is no such node',
    ),
    (["{id: a, say: Hi, then: b}"], "nodes.0.then", 'leads to "b", and there is no such node'),
    (
        ["{id: a, say: Hi, then: a, unclear: {to: b}}"],
        "nodes.0.unclear.to",
        'leads to "b", and there is no such node',
    ),
    (
        ["{id: b, end: true}", "{id: a, end: true}", "{id: a, end: true}"],
        "nodes.2.id",
        "there are two with this id",
    ),
    (
        [BYE, "{id: a, say: Hi, then: a}"],
        "nodes.1",
        "nothing leads here; `entry: true` if a caller is to start conversations here",
    ),
    (
        ["{id: a, then: b}", "{id: b, then: a}"],
        "nodes.0",
        'goes round in a circle without waiting for the user: "a" -> "b" -> "a"',
    ),
    (
        ["{id: a, say: Hi, wait: false, then: a}"],
        "nodes.0",
        'goes round in a circle without waiting for the user: "a" -> "a"',
    ),
    (
        ["{id: a, say: Hi}"],
        "nodes.0",
        "waits for the user, and has no edges to follow; or is it the end?",
    ),
    (
        ["{id: a, say: Hi, globally: {keywords: [x]}}"],
        "nodes.0",
        "waits for the user, and has no edges to follow; or is it the end?",
    ),
    (
        ["{id: a, edges: [{keywords: [x], to: bye}]}", BYE],
        "nodes.0",
        "does not wait for the user, so it needs `then`, for when no edge fits",
    ),
    (
        ["{id: a, call: {url: 'http://x.test'}, edges: [{result: success, to: bye}]}", BYE],
        "nodes.0",
        "calls, so it needs `then`, or an edge for each result: success and failure",
    ),
    (
        ["{id: a, say: Hi, then: bye, edges: [{result: failure, to: bye}]}", BYE],
        "nodes.0.edges.0",
        "goes by the result of a call, and makes none",
    ),
    (
        ["{id: a, say: Hi, until: {result: success}, then: bye}", BYE],
        "nodes.0",
        "only an edge can go by a call's result",
    ),
    (
        ["{id: a, until: {keywords: [x]}, then: bye}", BYE],
        "nodes.0",
        "does not wait for the user, so `until` could never be met",
    ),
    (
        ["{id: a, say: Hi, wait: false, then: b}", "{id: b, say: X, globally: {keywords: [b]}}"],
        "nodes.0",
        'leads to "b", which is an aside, and nothing waits to be gone back to',
    ),
    (["{id: a, prompt: Greet, then: a}"], "nodes.0.prompt", f"has a prompt, {NO_MODEL}"),
    (
        ["{id: a, say: Hi, then: bye, edges: [{label: agrees, to: bye}]}", BYE],
        "nodes.0.edges.0",
        f'has the edge "agrees", which is a matter of judgement, {NO_MODEL}',
    ),
    (
        ["{id: a, say: Hi, then: a, extract: [{name: day}]}"],
        "nodes.0.extract.0",
        f'extracts "day" without a pattern, {NO_MODEL}',
    ),
    (
        ["{id: a, say: Hi, then: a, until: {label: agreed}}"],
        "nodes.0.until",
        f'stays until "agreed", a matter of judgement, {NO_MODEL}',
    ),
    (
        ["{id: b, say: Hi, then: b}", "{id: a, say: X, globally: {label: asks}}"],
        "nodes.1.globally",
        f'is global for "asks", {NO_MODEL}',
    ),
    (
        ["{id: a, say: Hi, edges: [{matches: '(', to: a}]}"],
        "nodes.0.edges.0.matches",
        "'(' is not a regular expression: missing ) at position 1",
    ),
    (
        ["{id: a, say: Hi, then: a, extract: [{name: x, pattern: '[z-a]'}]}"],
        "nodes.0.extract.0.pattern",
        "'[z-a]' is not a regular expression: bad character range at position 4",
    ),
    (["{id: a, say: Hi, edges: [{to: a}]}"], "nodes.0.edges.0", ONE_CONDITION),
    (
        ["{id: a, say: Hi, edges: [{keywords: [x], matches: y, to: a}]}"],
        "nodes.0.edges.0",
        ONE_CONDITION,
    ),
    (
        ["{id: a, say: Hi, edges: [{variable: x, to: a}]}"],
        "nodes.0.edges.0",
        (
            "variable goes with exactly one of equals, differs, contains, more_than, at_least,"
            " less_than, at_most, known"
        ),
    ),
    (
        ["{id: a, say: Hi, edges: [{keywords: [], to: a}]}"],
        "nodes.0.edges.0.keywords",
        "must have at least 1 entry",
    ),
    (
        ["{id: a, say: Hi, prompt: Greet, then: a}"],
        "nodes.0",
        "has both say and prompt; it can speak in one way",
    ),
    (
        ["{id: a, end: true, hand_off: help}"],
        "nodes.0",
        "has hand_off and end; it can do one thing",
    ),
    (["{id: a, end: true, then: a}"], "nodes.0", "ends the conversation, so nothing can follow it"),
    (
        ["{id: a, hand_off: x, edges: [{keywords: [x], to: a}]}"],
        "nodes.0",
        "hands off, so it has no edges; `then` says where to go on once it is resumed",
    ),
    (
        ["{id: a, hand_off: x, until: {keywords: [x]}}"],
        "nodes.0",
        "has hand_off, so nobody answers it: extract and until are for other nodes",
    ),
    (
        ["{id: a, end: true, wait: true}"],
        "nodes.0",
        "has end and wait; put the wait into a node of its own",
    ),
    (["{id: a, say: ' ', then: a}"], "nodes.0.say.0", "must not be empty or blank"),
    (
        ["{id: a, call: {url: 'ftp://x'}, then: a}"],
        "nodes.0.call.url",
        "must be an address such as https://example.com/path",
    ),
]


@pytest.mark.parametrize(("nodes", "where", "what"), WRONG)
def test_what_is_wrong_with_a_node_names_it(nodes: list[str], where: str, what: str) -> None:
    found = wrong_nodes(*nodes)
    assert (where, f'node "a": {what}') in found
    assert all(said.startswith('node "') for _, said in found)


def test_eleven_texts_in_a_row_are_too_many() -> None:
    nodes = [f"{{id: n{i}, say: Hi, wait: false, then: n{i + 1}}}" for i in range(10)]
    assert wrong_nodes(*nodes, "{id: n10, say: Hi, then: n0}") == [
        (
            "nodes.0",
            'node "n0": from here on it says more than 10 texts without waiting for the user',
        )
    ]
    fewer = [*nodes[1:], "{id: n10, say: Hi, then: n1}"]
    config("nodes:\n" + "".join(f"  - {node}\n" for node in fewer))


def test_the_longest_of_chains_is_checked_too() -> None:
    nodes = [{"id": f"n{i}", "then": f"n{i + 1}"} for i in range(499)]
    last: dict[str, object] = {"id": "n499", "say": "Hi", "then": "n0"}
    FlowConfig.model_validate({"nodes": [*nodes, last]})
    with pytest.raises(ValidationError, match="goes round in a circle"):
        FlowConfig.model_validate({"nodes": [*nodes, {"id": "n499", "then": "n0"}]})


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("{}", "nodes", "is missing; a flow has nodes, or a pathway"),
        (f"{{start: x, nodes: [{BYE}]}}", "start", 'there is no node "x" to start at'),
        (
            f"{{nodes: [{BYE}], unclear: {{to: x}}}}",
            "unclear.to",
            'leads to "x", and there is no such node',
        ),
        (f"{{nodes: [{BYE}], texts: {{bye: x}}}}", "texts", "is for a pathway"),
        (f"{{nodes: [{BYE}], labels: {{x: {{matches: x}}}}}}", "labels", "is for a pathway"),
    ],
)
def test_what_is_wrong_with_the_flow_as_a_whole_is_said(text: str, where: str, what: str) -> None:
    assert (where, what) in wrong(text)


def test_all_that_is_wrong_is_said_at_once() -> None:
    found = wrong_nodes("{id: a, say: Hi, then: b}", "{id: c, prompt: Hi, then: d}")
    assert [where for where, _ in found] == ["nodes.0.then", "nodes.1.then", "nodes.1.prompt"]


def test_no_message_repeats_a_secret() -> None:
    with pytest.raises(ValidationError) as refused:
        FlowConfig.model_validate(
            {"nodes": [{"id": "a", "call": {"url": "x", "secret": "hush-hush", "headers": 7}}]}
        )
    assert "hush" not in str(refused.value)


def test_an_unknown_field_of_a_node_is_refused() -> None:
    assert ("nodes.0.sya", "Extra inputs are not permitted") in wrong_nodes("{id: a, sya: Hi}")


WHOLE: Final = """
kind: flow
start: a
prompt: "Be kind."
timeout_seconds: 20
unclear: {say: ["Hm?", "What?"], times: 1, then: end}
nodes:
  - id: a
    name: Ask
    say: ["Hi", "Hello"]
    extract: [{name: day, type: date, description: "when"}]
    until: {variable: day, known: true}
    edges:
      - {keywords: ["yes"], to: b}
      - {matches: "^x", to: b}
      - {label: "agrees", to: b}
      - {variable: day, equals: true, to: b}
      - {variable: day, at_least: 2.5, to: b}
    then: b
  - id: b
    call:
      url: "https://x.test/y"
      secret: "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
      headers: {authorization: "Bearer 123456"}
      arguments: {day: "{{day}}", n: [1, {deep: "{{x.y}}"}]}
      save: {slot: "$.slots[0]"}
    edges: [{result: success, to: c}, {result: failure, to: d}]
  - {id: c, prompt: "Say bye", end: true}
  - {id: d, hand_off: "help", globally: {keywords: ["human"]}, then: a}
"""


def whole() -> FlowConfig:
    return FlowConfig.model_validate({**yaml.safe_load(WHOLE), "model": A_MODEL})


def test_a_flow_that_was_stored_is_the_same_flow() -> None:
    made = whole()
    stored = json.loads(json.dumps(made.model_dump(mode="json")))
    stored["nodes"][1]["call"]["secret"] = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    stored["nodes"][1]["call"]["headers"]["authorization"] = "Bearer 123456"
    stored["model"]["api_key"] = "k" * 20
    read_again = FlowConfig.model_validate(stored)
    assert read_again == made
    assert read_again.graph() == made.graph()
    assert made.deadline_seconds == 20
    assert made.can_open


def test_what_is_secret_is_not_shown() -> None:
    made = whole()
    for shown in (repr(made), made.model_dump_json(), str(made.graph())):
        assert "123456" not in shown
        assert "AAAAAAAA" not in shown
        assert "kkkk" not in shown
