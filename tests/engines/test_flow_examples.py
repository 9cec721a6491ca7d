"""The examples that ship, exactly as they are in `examples/`; and what `apply` says of mistakes."""

import importlib.util
import json
import threading
from collections.abc import Generator, Mapping
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from tests.support.provision import SECRET_KEY
from tests.support.talk import Talk
from tests.support.turns import NOON
from textback import engine_kinds
from textback.cli.apply import apply
from textback.core.engine import TurnReply
from textback.engine_kinds import KINDS
from textback.provisioning_file import FileRefused, read
from textback.settings import Settings

EXAMPLES = Path(__file__).parents[2] / "examples"
BOOKING, PATHWAY = EXAMPLES / "booking/textback.yaml", EXAMPLES / "pathway/textback.yaml"


@pytest.fixture(scope="module")
def calendar() -> Generator[str]:
    """The booking example's server, at the address that is given."""
    spec = importlib.util.spec_from_file_location("calendar_server", BOOKING.with_name("server.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    server: ThreadingHTTPServer = module.serve(0)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def environment(url: str = "http://127.0.0.1:9") -> Mapping[str, str]:
    return {"BOOKING_URL": url, "BOOKING_KEY": "k" * 20, "PATHWAY_KEY": "k" * 20}


def talk(file: Path, variables: Mapping[str, object], url: str = "http://127.0.0.1:9") -> Talk:
    """With the file's first agent: read, stored and made as a worker does."""
    found = read(file.read_bytes(), environment(url), engines=KINDS)
    assert found.warnings == ()
    agent = found.plan.agents[0].production
    stored = json.loads(json.dumps(dict(agent.engine)))
    engine = engine_kinds.make(stored, agent.secrets, clock=lambda: NOON)
    assert engine.can_open is agent.can_open is True
    return Talk(engine, variables=variables)


async def conversation(talking: Talk, *texts: str) -> TurnReply:
    reply = await talking.opens()
    for text in texts:
        reply = await talking.says(text)
    await talking.engine.close()
    return reply


ANA = {"first_name": "Ana", "slot": "Monday 9am", "appointment": "a-17"}
ASKS = (
    "agent: Hi Ana, your appointment at Acme Dental is Monday 9am. Reply YES to confirm, or CHANGE"
    " for another time.\n"
)


async def test_an_appointment_is_confirmed(calendar: str) -> None:
    talking = talk(BOOKING, ANA, calendar)
    reply = await conversation(talking, "Yes please \U0001f44d")
    assert reply.end_conversation
    assert talking.script == (
        f"{ASKS}user: Yes please \U0001f44d\nagent: Great, Monday 9am it is. See you then!"
    )
    assert talking.notebook.calls[0].arguments == {"appointment": "a-17"}


async def test_an_appointment_is_moved_by_day_and_time(calendar: str) -> None:
    talking = talk(BOOKING, ANA, calendar)
    reply = await conversation(
        talking, "Where are you again?", "can I change it?", "Tuesday", "at 5 pm", "10am thursday"
    )
    assert reply.end_conversation
    assert talking.script == (
        f"{ASKS}"
        "user: Where are you again?\n"
        "agent: We are at 12 Main Street, 2nd floor.\n"
        "user: can I change it?\n"
        "agent: Which day and time suit you? For example: Tuesday 3pm.\n"
        "user: Tuesday\n"
        "agent: I need a weekday and a time, such as Tuesday 3pm.\n"
        "user: at 5 pm\n"
        "agent: Tuesday 5 pm is taken. We have Friday 1pm, Thursday 10am, Tuesday 3pm. Which one?\n"
        "user: 10am thursday\n"
        "agent: Done: Thursday 10am. See you then!"
    )
    assert [(call.name, dict(call.arguments)) for call in talking.notebook.calls] == [
        ("book", {"appointment": "a-17", "day": "Tuesday", "time": "5 pm"}),
        ("book", {"appointment": "a-17", "day": "thursday", "time": "10am"}),
    ]


async def test_when_the_calendar_is_down_a_person_takes_over() -> None:
    talking = talk(BOOKING, ANA)
    reply = await conversation(talking, "ok")
    assert reply.texts == (
        "Our calendar does not answer just now.",
        "One of us will text you shortly.",
    )
    assert reply.hand_off == "Ana could not be helped by the booking flow"


async def test_who_is_not_understood_three_times_gets_a_person() -> None:
    talking = talk(BOOKING, ANA)
    reply = await conversation(talking, "dunno", "what", "eh")
    assert talking.script == (
        f"{ASKS}"
        "user: dunno\n"
        "agent: Please reply YES to confirm Monday 9am, or CHANGE for another time.\n"
        "user: what\n"
        "agent: Please reply YES to confirm Monday 9am, or CHANGE for another time.\n"
        "user: eh\n"
        "agent: One of us will text you shortly."
    )
    assert reply.hand_off is not None


async def test_who_asks_for_a_person_gets_one(calendar: str) -> None:
    talking = talk(BOOKING, ANA, calendar)
    reply = await conversation(talking, "change", "let me talk to a human")
    assert (reply.texts, bool(reply.hand_off)) == (("One of us will text you shortly.",), True)


async def test_blands_pathway_as_shipped() -> None:
    talking = talk(PATHWAY, {"first_name": "Ana"})
    reply = await conversation(talking, "hm?", "sure, see you")
    assert reply.end_conversation
    assert talking.script == (
        "agent: Hi Ana, still ok for 2pm?\n"
        "user: hm?\n"
        "agent: Hi Ana, still ok for 2pm?\n"
        "user: sure, see you\n"
        "agent: Thank you, see you at 2pm. Bye!"
    )


def test_the_shipped_pathway_is_the_published_one() -> None:
    published = json.loads((EXAMPLES / "pathway/pathway.json").read_text())
    shipped = yaml.safe_load(PATHWAY.read_text())
    assert shipped["accounts"][0]["agents"][0]["engine"]["pathway"] == published


@pytest.mark.parametrize("file", [BOOKING, PATHWAY], ids=["booking", "pathway"])
def test_apply_takes_an_example_and_taking_it_again_changes_nothing(
    file: Path,
    database_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    settings = Settings.model_validate({"database_url": database_url, "secret_key": SECRET_KEY})
    assert apply(settings, file, prune=False, dry_run=False) == 0
    first = json.loads(capsys.readouterr().out)
    assert {made["kind"] for made in first["created"]} >= {"agent", "number", "project"}
    assert apply(settings, file, prune=False, dry_run=False) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["created"], again["updated"]) == ([], [])


SECRETS = """\
accounts:
  - id: acme
    agents:
      - id: own
        engine:
          kind: flow
          nodes:
            - id: book
              call:
                url: "https://x.test/"
                secret: "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
                headers: {x-key: "hush-own"}
              then: bye
            - {id: bye, end: true}
      - id: blands
        engine:
          kind: flow
          pathway:
            nodes:
              - id: "1"
                type: Webhook
                data:
                  isStart: true
                  url: "https://x.test/"
                  headers: [{key: "X-Key", value: "hush-header"}]
                  auth: {type: Bearer, token: "hush-token"}
            edges: []
"""


def test_what_is_secret_is_kept_apart_and_put_back() -> None:
    plan = read(SECRETS, {}, engines=KINDS).plan
    for agent, secrets in zip(
        plan.agents,
        (
            {
                "nodes.0.call.secret": "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                "nodes.0.call.headers.x-key": "hush-own",
            },
            {
                "pathway.nodes.0.data.headers.X-Key": "hush-header",
                "pathway.nodes.0.data.auth.token": "hush-token",
            },
        ),
        strict=True,
    ):
        made = agent.production
        assert dict(made.secrets) == secrets
        assert "hush" not in json.dumps(made.engine)
        assert "whsec" not in json.dumps(made.engine)
        engine_kinds.make(made.engine, made.secrets, clock=lambda: NOON)


WRONG = """\
accounts:
  - id: acme
    agents:
      - id: bookings
        engine:
          kind: flow
          nodes:
            - id: hello
              say: "Hi"
              edges:
                - {keywords: ["yes"], to: bye}
                - {keywords: [no], to: hello}
            - {id: hello2, sey: "x"}
"""


def problems(file: str) -> list[tuple[int, str, str]]:
    with pytest.raises(FileRefused) as refused:
        read(file, {}, engines=KINDS)
    return [(found.line, found.path, found.problem) for found in refused.value.problems]


def test_apply_names_the_line_the_path_and_the_node() -> None:
    engine = "accounts[0].agents[0].engine"
    assert problems(WRONG) == [
        (12, f"{engine}.nodes[0].edges[1].keywords[0]", "must be text; put quotes around it"),
        (13, f"{engine}.nodes[1].sey", 'unknown field; did you mean "say"?'),
    ]
    assert problems(WRONG.replace("[no]", '["no"]').replace("sey", "say")) == [
        (
            11,
            f"{engine}.nodes[0].edges[0]",
            'node "hello": leads to "bye", and there is no such node',
        ),
        (
            13,
            f"{engine}.nodes[1]",
            'node "hello2": waits for the user, and has no edges to follow; or is it the end?',
        ),
    ]
