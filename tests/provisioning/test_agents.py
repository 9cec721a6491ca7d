"""Agents of every kind in a provisioning file: drafts, analysis, secrets, and what is wrong."""

import sys
from datetime import timedelta
from subprocess import run

import pytest

from tests.support.provisioning_file import parsed, problems
from textback.core import secret_paths
from textback.core.engine import AnalysisSettings, Possible
from textback.core.plan import Agent
from textback.engine_kinds import KINDS
from textback.provisioning_file import reread

SECRET = "whsec_" + "QUJD" * 10
LLM = """\
    engine:
      kind: llm
      model: {provider: openai, name: gpt-5-mini, api_key: "${OPENAI}"}
      prompt: You book appointments.
      memory: {earlier_conversations: 2}
      timeout_seconds: 45
      tools:
      - name: find_slots
        description: Free times.
        url: https://tools.example/slots
        secret: "${TOOLS}"
        headers: {X-Key: "${TOOL_KEY}"}
      mcp: [{name: shop, url: "https://mcp.example/", token: "${MCP}"}]
"""
FLOW = """\
    engine:
      kind: flow
      nodes:
      - {id: ask, say: "Which day?", then: look}
      - id: look
        call:
          {url: "https://tools.example/look", secret: "${TOOLS}", headers: {X-Key: "${TOOL_KEY}"}}
        then: done
      - {id: done, say: Booked., end: true}
"""
ENVIRONMENT = {
    "OPENAI": "sk-of-openai",
    "TOOLS": SECRET,
    "TOOL_KEY": "key-of-the-tool",
    "MCP": "token-of-mcp",
}


def file(more: str) -> str:
    """`more` begins in line 5, indented by four."""
    return "accounts:\n- id: acme\n  agents:\n  - id: bot\n" + more


def agent(more: str, **env: str) -> Agent:
    (found,) = parsed(file(more), **ENVIRONMENT | env).plan.agents
    return found


def wrong(more: str, **env: str) -> list[str]:
    """As `line: path: problem`, the path from the agent on."""
    said = problems(file(more), **ENVIRONMENT | env)
    return [each.replace("accounts[0].agents[0].", "") for each in said]


# --- Kinds of engines -----------------------------------------------------------------------------


def test_a_models_agent_is_read_with_all_that_the_worker_must_know() -> None:
    content = agent(LLM).production
    assert content.can_open
    assert content.deadline == timedelta(seconds=45)
    assert (content.earlier, content.nodes) == (2, ())


def test_a_flow_says_where_conversations_can_be_started() -> None:
    content = agent(FLOW).production
    assert content.can_open
    assert content.nodes == ("ask", "look", "done")


@pytest.mark.parametrize("engine", [LLM, FLOW])
def test_every_secret_is_taken_out_and_finds_its_way_back(engine: str) -> None:
    content = agent(engine).production
    assert not any(secret in str(content.engine) for secret in ENVIRONMENT.values())
    assert not any(secret in repr(content) for secret in ENVIRONMENT.values())
    kind = KINDS[str(content.engine["kind"])]
    settings = kind.model.model_validate(secret_paths.put(content.engine, content.secrets))
    again = parsed(file(engine), **ENVIRONMENT).plan.agents[0].production
    assert reread(KINDS, content.engine, content.secrets) == content.engine == again.engine
    assert kind.deadline(settings) == content.deadline
    wanted = set(ENVIRONMENT.values()) if engine is LLM else {SECRET, "key-of-the-tool"}
    assert set(content.secrets.values()) == wanted


def test_settings_that_a_release_before_stored_are_read_with_todays_defaults() -> None:
    stored = {"kind": "http", "url": "http://127.0.0.1:9/turn", "timeout_seconds": 20}
    content = agent(f"    engine: {stored}\n").production
    assert content.engine != stored
    assert reread(KINDS, stored, {}) == content.engine
    assert reread(KINDS, {"kind": "telepathy"}, {}) == {"kind": "telepathy"}


@pytest.mark.parametrize(
    ("engine", "problem"),
    [
        (
            "kind: llm, prompt: p, model: {provider: opanai, name: m}",
            "5: engine.model.provider: must be openai or anthropic",
        ),
        (
            "kind: llm, prompt: p, model: {provider: openai, name: m, temperature_: 1, api_key: k}",
            '5: engine.model.temperature_: unknown field; did you mean "temperature"?',
        ),
        (
            "kind: llm, prompt: p, model: {provider: openai, name: m}",
            "5: engine.model: api_key: is needed, but for a server of your own (base_url)",
        ),
        (
            'kind: llm, prompt: p, model: {provider: openai, name: m, api_key: "${NONE}"}',
            "5: engine.model.api_key: must not be empty; the environment variable NONE is",
        ),
        (
            "kind: llm, prompt: p, model: {provider: openai, name: m, api_key: }",
            "5: engine.model.api_key: must not be empty",
        ),
        ("kind: flow", "5: engine.nodes: is missing; a flow has nodes, or a pathway"),
        (
            "kind: flow, nodes: [{id: a, say: hi, then: b}]",
            '5: engine.nodes[0].then: node "a": leads to "b", and there is no such node',
        ),
        (
            "kind: flow, nodes: [{id: a, say: hi, edges: [{to: a, variable: x, equals: [1]}]}]",
            "5: engine.nodes[0].edges[0].equals: must be true or false, or a whole number, or a",
        ),
        (
            "kind: flow, nodes: [{id: a, call: {url: 'http://x', arguments: {n: .nan}}, then: a}]",
            "5: engine.nodes[0].call.arguments.n: must be a finite number",
        ),
    ],
)
def test_a_mistake_deep_within_an_engine_is_named(engine: str, problem: str) -> None:
    found = wrong(f"    engine: {{{engine}}}\n", NONE="")
    assert any(each.startswith(problem) for each in found), found


def test_what_may_be_the_rest_of_a_secret_is_not_repeated() -> None:
    tool = "{name: t, description: d, url: 'http://x', headers: {Authorization: Bearer a, b}}"
    model = "model: {provider: openai, name: m, api_key: k, l}"
    found = wrong(
        f"    engine:\n      kind: llm\n      {model}\n      prompt: p\n      tools: [{tool}]\n"
    )
    quotes = "without a value; put quotes around text that has a comma"
    assert found == [
        f"7: engine.model: has an unknown field {quotes}",
        f"9: engine.tools[0].headers: has a header {quotes}",
    ]


def test_a_name_that_cannot_be_stored_is_refused() -> None:
    schema = 'values: {type: object, properties: {"a\\0b": {type: string}}}'
    [said] = wrong(f"    engine: {{kind: http, url: 'http://x'}}\n    analysis: {{{schema}}}\n")
    unstorable = "a field's name has a character that cannot be stored (NUL, or half a surrogate"
    assert said.startswith(f"6: analysis.values.properties: {unstorable}")


def test_only_what_a_file_names_is_loaded() -> None:
    script = (
        "import sys; from textback.cli import apply; from textback.engine_kinds import KINDS;"
        "from textback.provisioning_file import read;"
        "agent = '{id: b, engine: {kind: scripted}}';"
        "read(f'accounts: [{{id: a, agents: [{agent}]}}]', {}, engines=KINDS);"
        "print({m.partition('.')[0] for m in sys.modules} & {'pydantic_ai', 'openai', 'jsonschema',"
        " 'anthropic', 'mcp'}, 'textback.engines.flow' in sys.modules)"
    )
    ran = run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set() False"


# --- Drafts ---------------------------------------------------------------------------------------


def test_a_draft_has_from_production_what_it_leaves_out() -> None:
    more = "    greeting: Hi!\n    fallback: Sorry.\n    analysis: {outcomes: [{name: booked}]}\n"
    found = agent(LLM + more + "    draft: {greeting: Hello!}\n")
    assert found.draft is not None
    assert (found.production.greeting, found.draft.greeting) == ("Hi!", "Hello!")
    assert (found.draft.fallback, found.draft.engine) == ("Sorry.", found.production.engine)
    assert found.draft.secrets == found.production.secrets
    assert found.draft.analysis == AnalysisSettings(outcomes=(Possible("booked"),))


def test_a_draft_can_do_without_what_production_has() -> None:
    more = "    greeting: Hi!\n    fallback: Sorry.\n    analysis: {}\n"
    found = agent(LLM + more + "    draft: {greeting: null, fallback: null, analysis: null}\n")
    assert found.draft is not None
    assert (found.draft.greeting, found.draft.fallback, found.draft.analysis) == (None,) * 3
    assert found.production.analysis == AnalysisSettings()


def test_a_drafts_engine_is_wholly_its_own() -> None:
    found = agent(LLM + "    draft: {engine: {kind: scripted, default: Hm.}}\n")
    assert found.draft is not None
    assert (found.draft.engine["kind"], found.draft.can_open, found.draft.earlier) == (
        "scripted",
        False,
        0,
    )


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("draft: {greting: x}", '6: draft.greting: unknown field; did you mean "greeting"?'),
        (
            "draft: {engine: }",
            "6: draft.engine: must be fields (name: value); leave it out to use production's",
        ),
        (
            "draft: {engine: {kind: skripted}}",
            '6: draft.engine.kind: unknown kind; did you mean "scripted"?',
        ),
        ("draft: {engine: {kind: http}}", "6: draft.engine.url: is missing"),
        ("draft: []", "6: draft: must be fields (name: value)"),
        (
            "analysis: {}",
            "6: analysis: cannot be made: this engine (kind: scripted) does not analyse",
        ),
        (
            "draft: {analysis: {summary: true}}",
            "6: draft.analysis: cannot be made: this engine (kind: scripted) does not analyse",
        ),
        (
            "analysis: {summary: false}",
            "6: analysis: asks for nothing: it needs a summary, values or outcomes",
        ),
        (
            "analysis: {outcomes: [{name: a}, {name: a}]}",
            '6: analysis.outcomes: has "a" twice',
        ),
        ("analysis: {outcomes: [{name: ' '}]}", "6: analysis.outcomes[0].name: must not be empty"),
        (
            "analysis: {values: {type: array}}",
            "6: analysis.values: must be a JSON Schema of an object: type: object",
        ),
        (
            "analysis: {values: {type: object, properties: {n: {minimum: .inf}}}}",
            "6: analysis.values.properties.n.minimum: must be a finite number",
        ),
    ],
)
def test_a_mistake_in_a_draft_or_an_analysis_is_named(more: str, problem: str) -> None:
    found = wrong(f"    engine: {{kind: scripted}}\n    {more}\n")
    assert any(each.startswith(problem) for each in found), found


def test_a_draft_that_cannot_make_the_agents_analysis_says_how_to_do_without() -> None:
    draft = "    analysis: {}\n    draft: {engine: {kind: scripted}}\n"
    engine = "    engine: {kind: http, url: 'http://127.0.0.1:9/'}\n"
    assert wrong(engine + draft) == [
        "7: draft.engine: does not analyse, as the agent does; put `analysis: null` into the draft"
    ]
    assert agent(engine + draft.replace("scripted}", "scripted}, analysis: null")).draft


def test_an_analysis_is_what_the_agents_settings_want_to_know() -> None:
    analysis = (
        "    analysis:\n"
        "      summary: false\n"
        "      values: {type: object, properties: {day: {type: string}}}\n"
        "      outcomes: [{name: booked, description: A time was agreed.}, {name: not}]\n"
        "      instructions: In German.\n"
    )
    assert agent(LLM + analysis).production.analysis == AnalysisSettings(
        summary=False,
        values={"type": "object", "properties": {"day": {"type": "string"}}},
        outcomes=(Possible("booked", "A time was agreed."), Possible("not")),
        instructions="In German.",
    )
