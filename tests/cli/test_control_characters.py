"""What users and servers say does not reach an operator's terminal as orders to it."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text as sql
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send
from typer.testing import CliRunner, Result

from tests.cli.test_agent import in_world
from tests.support.deployment import NOW, USER
from tests.support.in_thread import serving
from tests.support.provision import SECRET_KEY
from tests.support.tailed import happened
from tests.support.world import World
from textback.cli.listen import line
from textback.cli.main import app
from textback.cli.narrate import told
from textback.cli.tail import as_line, as_record
from textback.core.ids import ConversationId
from textback.db.reads import EventRecord
from textback.db.session import create_engine

ORDERS = "\x1b[2J\x9b31m\x7f\u202e\u2066"
WRITTEN = "\\x1b[2J\\x9b31m\\x7f\\u202e\\u2066"
IN_JSON = "\\u001b[2J\\u009b31m\\u007f\\u202e\\u2066"
ALLOWED = "\t\n\u00a0\u200d"
FAMILY = "Zo\u00eb\u00a0\U0001f469\u200d\U0001f467"
"""An emoji of two, joined by what is no letter either."""

FOUND = {
    "summary": ORDERS,
    "outcome": ORDERS,
    "values": {"name": ORDERS + FAMILY},
    "at": NOW.isoformat(),
}


def obeyed(printed: str) -> list[str]:
    return [c for c in printed if (not c.isprintable() and c not in ALLOWED) or c in "\x7f\x9b"]


def run(*arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(app, arguments, input=typed)


Arrange = Callable[..., ConversationId]


@pytest.fixture
def conversation(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Arrange:
    """With what an agent of ours and the user say, and what was made of it."""
    monkeypatch.setenv("TEXTBACK_DATABASE_URL", database_url)
    monkeypatch.setenv("TEXTBACK_SECRET_KEY", SECRET_KEY)
    monkeypatch.setenv("TEXTBACK_PUBLIC_URL", "http://127.0.0.1:9")

    async def arranged(said: str, heard: str, analysis: dict[str, Any] | None) -> ConversationId:
        db = create_engine(database_url)
        world = World(db)
        await world.provision()
        accepted = await world.accept(said)
        await world.send()
        await world.hear(heard)
        await world.hand_off(accepted.conversation_id, heard)
        if analysis is not None:
            statement = "update conversations set analysis = cast(:kept as jsonb)"
            async with world.transaction() as c:
                await c.execute(sql(statement), {"kept": json.dumps(analysis)})
        await world.close()
        await db.dispose()
        return accepted.conversation_id

    def arrange(said: str, heard: str, *, analysis: dict[str, Any] | None = None) -> ConversationId:
        return asyncio.run(arranged(said, heard, analysis))

    return arrange


def event(kind: str, text: str | None = None, **data: object) -> EventRecord:
    return EventRecord(
        id=7,
        at=datetime(2026, 3, 2, 9, tzinfo=UTC),
        kind=kind,
        conversation_id="conv_1",
        message_id="msg_1",
        data=data,
        agent_number="+14155550100",
        user_number="+14155550123",
        text=text,
    )


def heard(text: str, **why: object) -> dict[str, Any]:
    return {
        "id": "evt_1",
        "type": "message.failed",
        "timestamp": "2026-03-02T09:00:00.000Z",
        "data": {"message": {"text": text}, **why},
    }


# --- textback conversations --------------------------------------------------------------------


def test_conversations_are_listed_without_orders(conversation: Arrange) -> None:
    one = conversation("Hi", f"{ORDERS}{FAMILY}\nbye")

    listed = run("conversations").stdout

    assert obeyed(listed) == []
    assert f"{one}  handed_off: {WRITTEN}{FAMILY}" in listed
    assert "  " + f"{WRITTEN}{FAMILY} bye"[:40] in listed


def test_brackets_and_colons_of_a_text_are_no_markup(conversation: Arrange) -> None:
    conversation("Hi", "[bold]a[/x] :smile:")

    assert "[bold]a[/x] :smile:" in run("conversations").stdout


@pytest.mark.parametrize("analysis", [FOUND, {"error": ORDERS, "at": FOUND["at"]}])
def test_a_conversation_is_shown_without_orders(
    conversation: Arrange, analysis: dict[str, Any]
) -> None:
    one = conversation(f"{ORDERS}ours", f"{ORDERS}theirs", analysis=analysis)

    shown = run("conversations", one).stdout

    assert obeyed(shown) == []
    for each in (f"agent   {WRITTEN}ours\n", f"user    {WRITTEN}theirs\n"):
        assert each in shown
    if "error" in analysis:
        assert f"not analysed: {WRITTEN}\n" in shown
    else:
        assert f"summary: {WRITTEN}\noutcome: {WRITTEN}\n" in shown
        assert f'  "name": "{IN_JSON}{FAMILY}"\n' in shown


def test_an_ordinary_conversation_is_shown_as_it_was_written(conversation: Arrange) -> None:
    one = conversation("Hi", f"{FAMILY}\tand\nmore")

    assert f"user    {FAMILY}\tand\nmore\n" in run("conversations", one).stdout


def test_conversations_in_json_keep_their_letters_and_escape_orders(conversation: Arrange) -> None:
    one = conversation("Hi", ORDERS + FAMILY)

    for printed in (run("conversations", one, "--json"), run("conversations", "--json")):
        assert obeyed(printed.stdout) == []
        assert f'"{IN_JSON}{FAMILY}"' in printed.stdout
    assert json.loads(run("conversations", "--json").stdout)[0]["last_text"] == ORDERS + FAMILY


# --- textback phone ----------------------------------------------------------------------------


def test_a_handset_shows_texts_without_orders(
    conversation: Arrange, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation(f"{ORDERS}{FAMILY}\nbye", "Hello")
    got: list[bytes] = []

    async def server(scope: Scope, receive: Receive, send: Send) -> None:
        got.append(await Request(scope, receive).body())
        await Response()(scope, receive, send)

    with serving(server) as url:
        monkeypatch.setenv("TEXTBACK_PUBLIC_URL", url)
        result = run("phone", "--user", USER, "--wait", "0", typed=f"{ORDERS}{FAMILY}\n")

    assert result.exit_code == 0
    # The carriage return is ours: it goes to the beginning of the line being typed.
    assert obeyed(result.stdout) == ["\r"]
    assert f": {WRITTEN}{FAMILY}\nbye\n" in result.stdout
    assert f"me: {WRITTEN}{FAMILY}\n" in result.stdout
    assert json.loads(got[0])["text"] == ORDERS + FAMILY


def test_a_handset_says_what_the_server_answered_without_orders(
    conversation: Arrange, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation("Hi", "Hello")
    with serving(PlainTextResponse(ORDERS + FAMILY, 500)) as url:
        monkeypatch.setenv("TEXTBACK_PUBLIC_URL", url)
        result = run("phone", "--user", USER, "--wait", "0", typed="Hi\n")

    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert f"/hooks/sandbox/inbound answered 500: {WRITTEN}{FAMILY}\n" in result.stderr
    assert obeyed(result.stderr) == []


def test_a_handset_whose_server_is_away_says_so_in_a_sentence(conversation: Arrange) -> None:
    conversation("Hi", "Hello")

    result = run("phone", "--user", USER, "--wait", "0", typed="Hi\n")

    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stderr.startswith("http://127.0.0.1:9/hooks/sandbox/inbound cannot be reached: ")


# --- textback tail -----------------------------------------------------------------------------


def test_an_event_is_a_line_without_orders() -> None:
    shown = as_line(
        happened("message.sent", error=f"{ORDERS}{FAMILY}\nbye", several=[ORDERS + FAMILY])
    )

    assert obeyed(shown) == []
    assert shown.endswith(f'  error={WRITTEN}{FAMILY}\nbye  several=["{IN_JSON}{FAMILY}"]')


def test_an_event_in_json_keeps_its_letters_and_escapes_orders() -> None:
    record = as_record(happened("message.sent", error=ORDERS + FAMILY))

    assert obeyed(record) == []
    assert f'{{"error": "{IN_JSON}{FAMILY}"}}' in record
    assert json.loads(record)["data"] == {"error": ORDERS + FAMILY}


# --- textback demo -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["message.queued", "message.received"])
def test_the_demo_tells_what_is_said_without_orders(kind: str) -> None:
    shown = told(event(kind, f"{ORDERS}{FAMILY}\nbye"))

    assert shown is not None
    assert shown.plain.endswith(f"  {WRITTEN}{FAMILY} / bye")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("conversation.closed", "reason"),
        ("conversation.handed_off", "reason"),
        ("message.failed", "error_code"),
        ("turn.failed", "why"),
    ],
)
def test_the_demo_tells_why_without_orders(kind: str, name: str) -> None:
    shown = told(event(kind, **{name: ORDERS + FAMILY}))

    assert shown is not None
    assert f"{WRITTEN}{FAMILY}" in shown.plain
    assert obeyed(shown.plain) == []


# --- textback listen ---------------------------------------------------------------------------


def test_an_event_heard_is_a_line_without_orders() -> None:
    why = {"error_code": ORDERS, "error": ORDERS, "reason": ORDERS + FAMILY}
    shown = line(heard(ORDERS + FAMILY, **why))

    assert obeyed(shown) == []
    assert shown.endswith(
        f'  "{IN_JSON}{FAMILY}"  error_code={WRITTEN}  error={WRITTEN}  reason={WRITTEN}{FAMILY}'
    )


def test_what_a_server_refuses_is_said_without_orders() -> None:
    refusal = json.dumps({"detail": ORDERS + FAMILY})
    with serving(Response(refusal, 403)) as url:
        result = run("listen", "--server", url, "--key", "any")

    assert result.exit_code == 1
    assert result.stderr == f"The server says no: {WRITTEN}{FAMILY}\n"


# --- textback export, agent, apply -------------------------------------------------------------


def test_what_is_held_about_a_user_is_printed_without_orders(conversation: Arrange) -> None:
    conversation("Hi", ORDERS + FAMILY)

    shown = run("export", USER).stdout

    assert obeyed(shown) == []
    assert f'"{IN_JSON}{FAMILY}"' in shown


def test_conversations_are_recorded_without_orders(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTBACK_DATABASE_URL", database_url)

    async def answered(world: World) -> None:
        await world.provision()
        await world.accept("Hi")
        await world.hear(ORDERS + FAMILY)
        await world.think(now=NOW + timedelta(minutes=1))

    in_world(database_url, answered)
    shown = run("agent", "record", "bookings").stdout

    assert obeyed(shown) == []
    assert f'"{IN_JSON}{FAMILY}"' in shown


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With an agent whose words are orders."""
    monkeypatch.setenv("ORDERS", ORDERS + FAMILY)
    engine = {"kind": "scripted", "default": "${ORDERS} {text}"}
    agent = {"id": "bookings", "greeting": "${ORDERS}", "engine": engine}
    found = tmp_path / "textback.yaml"
    found.write_text(json.dumps({"accounts": [{"id": "shy", "name": "Shy", "agents": [agent]}]}))
    return found


def test_a_version_of_an_agent_is_shown_without_orders(
    file: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTBACK_DATABASE_URL", database_url)
    monkeypatch.setenv("TEXTBACK_SECRET_KEY", SECRET_KEY)
    applied = run("apply", str(file))
    assert applied.exit_code == 0, applied.stderr

    shown = run("agent", "show", "bookings").stdout

    assert obeyed(shown) == []
    assert f'"{IN_JSON}{FAMILY}"' in shown


def test_what_is_wrong_with_a_file_is_said_without_orders(
    file: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTBACK_DATABASE_URL", database_url)
    monkeypatch.setenv("TEXTBACK_SECRET_KEY", SECRET_KEY)
    file.write_text(json.dumps({"accounts": [{"id": "${ORDERS}", "agents": [{"id": ORDERS}]}]}))

    said = run("apply", str(file))

    assert said.exit_code == 1
    assert obeyed(said.stdout + said.stderr) == []


@pytest.mark.parametrize("way", [(), ("--json",)])
def test_an_agent_is_tried_without_orders(file: Path, way: tuple[str, ...]) -> None:
    given = ("agent", "try", "bookings", "--file", str(file), *way)
    shown = run(*given, typed=f"{ORDERS}\n").stdout

    assert obeyed(shown) == []
    assert ("\ufffd[2J" if not way else IN_JSON) in shown


def test_a_replay_is_told_without_orders(file: Path, tmp_path: Path) -> None:
    recorded = tmp_path / "talks.jsonl"
    recorded.write_text(json.dumps({"turns": [{"texts": [ORDERS], "said": [ORDERS + FAMILY]}]}))
    given = ("agent", "replay", "bookings", "--file", str(file), "--conversations", str(recorded))

    shown = run(*given, "--json").stdout

    assert obeyed(shown) == []
    assert f'"before": ["{IN_JSON}{FAMILY}"]' in shown
