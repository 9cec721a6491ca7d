"""`textback agent try`: a conversation in the terminal, with nobody at the other end."""

import json
import signal
import sys
import threading
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from tests.cli.test_agent import in_world
from tests.support.fake_models import calls, says, serving
from tests.support.world import World
from textback.cli.agent_words import cost, readable, size
from textback.cli.main import app
from textback.core.engine import Usage

RULES = [
    {"match": "^bye$", "reply": "Bye.", "end_conversation": True},
    {"match": "^hush$", "reply": ""},
    {"match": "^long$", "reply": "This is a sentence. " * 30},
]
SCRIPTED = {"kind": "scripted", "rules": RULES, "default": "You said: {text}"}
AGENT: dict[str, Any] = {"id": "bookings", "engine": SCRIPTED}


def flow(url: str) -> dict[str, Any]:
    """Opens by itself; calls a tool, and hands over if that fails."""
    call = {"url": url, "arguments": {"day": "{{day}}"}, "save": {"slot": "$.slot"}}
    return {
        "kind": "flow",
        "nodes": [
            {"id": "ask", "say": "Hello {{name}}, any day?", "then": "look"},
            {
                "id": "look",
                "call": call,
                "edges": [{"to": "no", "result": "failure"}],
                "then": "offer",
            },
            {"id": "offer", "say": "There is {{slot}}.", "then": "ask"},
            {"id": "no", "hand_off": "the calendar does not answer"},
        ],
    }


@contextmanager
def calendar(calls: list[Any]) -> Generator[str]:
    """A tool's server on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            calls.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            body = b'{"slot": "9:00"}'
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            """Nothing on standard error."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/slots"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """With an agent from a file, without any setting of the machine's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TEXTBACK_DATABASE_URL", raising=False)

    def run(typed: str, *arguments: str, agent: Any = AGENT, **project: Any) -> Result:
        projects = [{"id": "p", "agent": "bookings", **project}]
        carrier = {"id": "t", "kind": "twilio", "account_sid": "${NOT}", "auth_token": "${SET}"}
        acme = {"id": "acme", "carriers": [carrier], "agents": [agent], "projects": projects}
        Path("p.yaml").write_text(yaml.safe_dump({"accounts": [acme]}))
        given = ["agent", "try", "bookings", "--file", "p.yaml", *arguments]
        return CliRunner().invoke(app, given, input=typed)

    return run


def said(result: Result, who: str = "agent") -> list[str]:
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    return [line.removeprefix(f"{who}> ") for line in lines if line.startswith(f"{who}> ")]


def told(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_line_is_a_text_and_a_turn_until_the_input_ends(talk: Callable[..., Result]) -> None:
    result = talk("hi\n\n  \nagain")
    assert said(result, "you") == ["hi", "again"]
    assert said(result) == ["You said: hi", "You said: again"]
    assert result.stderr == ""


def test_a_backslash_adds_a_text_to_the_turn(talk: Callable[..., Result]) -> None:
    found = told(talk("one\\\ntwo \\\nthree\n", "--json"))
    assert [text["text"] for text in found[0]["texts"]] == ["You said: one\ntwo\nthree"]


@pytest.mark.parametrize("last", ["/quit", "bye"])
def test_it_ends_when_the_user_quits_or_the_agent_does(
    talk: Callable[..., Result], last: str
) -> None:
    assert said(talk(f"hi\n{last}\nmore\n"), "you")[0] == "hi"
    assert "more" not in talk(f"hi\n{last}\nmore\n").stdout


def test_a_greeting_comes_first_or_the_callers_words(talk: Callable[..., Result]) -> None:
    agent = AGENT | {"greeting": "Hello!", "draft": {"greeting": "Hi from the draft."}}
    assert said(talk("", agent=agent)) == ["Hello!"]
    assert said(talk("", "--version", "draft", agent=agent)) == ["Hi from the draft."]
    assert said(talk("", "--opener", "Your appointment.", agent=agent)) == ["Your appointment."]


def test_an_agent_that_opens_speaks_first(talk: Callable[..., Result]) -> None:
    agent = AGENT | {"engine": flow("http://127.0.0.1:9/")}
    assert said(talk("", "--var", "name=Ada", agent=agent)) == ["Hello Ada, any day?"]
    result = talk("", "--start-node", "offer", "--var", "slot:=[1]", agent=agent)
    assert said(result) == ["There is [1]."]
    result = talk("", "--start-node", "nowhere", agent=agent)
    assert result.stderr == 'The agent has no node "nowhere" to start from.\n'


def test_what_each_text_would_cost_is_shown(talk: Callable[..., Result]) -> None:
    replies = {"longest_characters": 160}
    result = talk("long\n", replies=replies)
    assert said(result)[0] == " ".join(["This is a sentence."] * 8)
    assert "4 segments in 4 texts (GSM-7)" in result.stdout
    rules = [{"match": ".", "reply": "\u201cYes\u201d \u2014 " + "it is a long one " * 6}]
    result = talk("x\n", agent=AGENT | {"engine": SCRIPTED | {"rules": rules}})
    assert "1 segment (GSM-7), 1 saved by plain punctuation" in result.stdout


def test_calls_of_tools_are_made_and_shown_as_they_happen(talk: Callable[..., Result]) -> None:
    calls: list[Any] = []
    with calendar(calls) as url:
        result = talk("Monday\n", "--var", "day=Monday", agent=AGENT | {"engine": flow(url)})
    assert said(result)[1:] == ["There is 9:00."]
    assert calls[0]["arguments"] == {"day": "Monday"}
    shown = [line.strip() for line in result.stdout.splitlines()]
    assert shown.index('look {"day": "Monday"}') + 1 == shown.index('-> {"slot": "9:00"}')


def test_without_tools_each_call_fails_and_a_hand_over_is_shown(
    talk: Callable[..., Result],
) -> None:
    calls: list[Any] = []
    with calendar(calls) as url:
        agent = AGENT | {"engine": flow(url)}
        found = told(talk("Monday\nmore\n", "--no-tools", "--json", agent=agent))
    assert calls == []
    assert [line["kind"] for line in found] == ["answer", "tool", "answer", "end"]
    assert (found[1]["name"], found[1]["failed"]) == ("look", True)
    assert found[2]["handed_off"] == "the calendar does not answer"


def test_a_turn_that_fails_says_why_and_what_the_user_would_get(
    talk: Callable[..., Result],
) -> None:
    remote = {"kind": "http", "url": "http://127.0.0.1:9/turn", "timeout_seconds": 0.2}
    agent = {"id": "bookings", "engine": remote, "greeting": "Hi.", "fallback": "Sorry."}
    result = talk("hello\n", agent=agent)
    assert "failed: " in result.stdout
    assert said(result) == ["Hi.", "Sorry."]


def test_silence_is_shown(talk: Callable[..., Result]) -> None:
    assert "(the agent stays silent)" in talk("hush\n").stdout


@pytest.mark.parametrize(
    ("arguments", "agent", "sentence"),
    [
        (["--var", "name"], AGENT, "--var is name=value, or name:=JSON, and not 'name'."),
        (["--var", "n:=x"], AGENT, "--var n:= is not followed by JSON."),
        (["--version", "3"], AGENT, "A file has no numbered versions: --version is production"),
        (["--version", "draft"], AGENT, 'Agent "bookings" has no draft in p.yaml.'),
        ([], AGENT | {"id": "other"}, 'There is no agent "bookings" in the file; there is: other.'),
        (
            [],
            AGENT | {"engine": {"kind": "scripted", "default_": "x"}},
            "p.yaml:4: accounts[0].agents[0].engine.default_: unknown field; did you mean",
        ),
        (
            [],
            AGENT | {"engine": {"kind": "http", "url": "${URL_THAT_IS_NOT_SET}"}},
            "p.yaml:5: accounts[0].agents[0].engine.url: the environment variable URL_THAT_IS_NOT",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    talk: Callable[..., Result], arguments: list[str], agent: Any, sentence: str
) -> None:
    result = talk("hi\n", *arguments, agent=agent)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(sentence)
    assert "Traceback" not in result.stderr


def test_a_version_in_the_database_is_tried_and_nothing_is_stored(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEXTBACK_DATABASE_URL", database_url)

    async def provisioned(world: World) -> None:
        await world.provision()
        await world.provision(agent={"engine": SCRIPTED | {"default": "Newer: {text}"}})

    async def empty(world: World) -> None:
        assert (await world.talks(), await world.texts(), await world.turns()) == ([], [], [])

    in_world(database_url, provisioned)
    for version, answer in (("production", "Newer: hi"), ("1", "You said: hi")):
        result = CliRunner().invoke(
            app, ["agent", "try", "bookings", "--version", version], input="hi\n"
        )
        assert said(result) == ["Hello, how can I help?", answer]
    in_world(database_url, empty)


async def test_ctrl_c_leaves_without_a_word(tmp_path: Path) -> None:
    acme = {"id": "acme", "agents": [AGENT | {"greeting": "Hello!"}]}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({"accounts": [acme]}))
    process = await create_subprocess_exec(
        *(sys.executable, "-m", "textback", "agent", "try", "bookings", "--file", "p.yaml"),
        cwd=tmp_path,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"agent> Hello!\n"
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")


def test_what_a_model_writes_does_not_reach_the_terminal_as_orders() -> None:
    assert readable("a\x1b[2Jb\nc\u202e") == "a\ufffd[2Jb\nc\ufffd"


def test_sizes_and_costs_are_said_in_words() -> None:
    assert size([("a" * 161, 0), ("\u4f60", 2)]) == (
        "3 segments in 2 texts (GSM-7, UCS-2), 2 saved by plain punctuation"
    )
    assert cost(Usage(input_tokens=7, output_tokens=2, cost_usd=0.00123)) == "7 + 2 tokens, $0.0012"
    assert cost(Usage()) == ""


def test_a_models_agent_shows_its_calls_its_tokens_and_what_they_cost(
    talk: Callable[..., Result],
) -> None:
    calls_made: list[Any] = []
    with serving() as models, calendar(calls_made) as url:
        models.answers(says("Hello Ada!"), calls("slots", day="Monday"), says("9:00 is free."))
        engine = {
            "kind": "llm",
            "prompt": "You book for {{name}}.",
            "model": {
                "provider": "openai",
                "name": "m",
                "base_url": models.base_url("openai"),
                "api_key": "sk-very-secret",
                "prices": {"input": 10, "output": 100},
            },
            "tools": [{"name": "slots", "description": "Free times.", "url": url}],
        }
        given = ("--var", "name=Ada", "--objective", "A cleaning.")
        result = talk("Monday?\n", *given, agent=AGENT | {"engine": engine})
        assert said(result) == ["Hello Ada!", "9:00 is free."]
        shown = " ".join(result.stdout.split())
        assert '-> {"slot": "9:00"}' in shown
        assert "200 + 20 tokens, $0.0040" in shown
        assert "2 turns · 300 + 30 tokens, $0.0060" in shown
        assert "sk-very-secret" not in result.output
        assert "A cleaning." in models.asked[0].instructions
    assert len(calls_made) == 1
