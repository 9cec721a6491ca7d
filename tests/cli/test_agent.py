"""`textback agent list`, `show`, `move`: what an operator sees of versions, and does with them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.support.deployment import HTTP, NEIGHBOUR, SCRIPTED, second
from tests.support.provision import SECRET_KEY
from tests.support.world import World
from textback.cli.main import app
from textback.db.session import create_engine

SECRET = "whsec_" + "QUJD" * 10
DRAFT = {"engine": HTTP | {"secret": SECRET}, "analysis": {"outcomes": [{"name": "booked"}]}}


def in_world(database_url: str, happens: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        engine = create_engine(database_url)
        world = World(engine)
        try:
            await happens(world)
        finally:
            await world.close()
            await engine.dispose()

    asyncio.run(run())


async def two_versions(world: World) -> None:
    """Two users on version 1, one on version 2, which is production; 3 is the draft."""
    await world.provision()
    await world.accept()
    await world.accept(user=NEIGHBOUR)
    await world.provision(agent={"engine": SCRIPTED | {"default": "Newer"}, "draft": DRAFT})
    await world.accept(user=NEIGHBOUR, now=second(1))


@pytest.fixture
def textback(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEXTBACK_DATABASE_URL", database_url)
    monkeypatch.setenv("TEXTBACK_SECRET_KEY", SECRET_KEY)

    def run(*arguments: str, typed: str | None = None) -> Result:
        return CliRunner().invoke(app, ["agent", *arguments], input=typed)

    return run


def failed(result: Result) -> str:
    """Its one sentence."""
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1
    assert result.stdout == ""
    [sentence] = result.stderr.splitlines()
    return sentence


def test_agents_are_listed_with_their_versions_and_who_is_on_them(
    textback: Callable[..., Result], database_url: str
) -> None:
    assert textback("list").stdout.strip() == "No agents."
    in_world(database_url, two_versions)
    rows = [line.split() for line in textback("list").stdout.splitlines()[1:]]
    assert rows == [
        ["bookings", "acme", "1", "scripted", "1"],
        ["bookings", "acme", "2", "production", "scripted", "1"],
        ["bookings", "acme", "3", "draft", "http", "0"],
    ]
    listed: list[dict[str, Any]] = json.loads(textback("list", "--json").stdout)
    assert [(row["version"], row["labels"], row["live"]) for row in listed] == [
        (1, [], 1),
        (2, ["production"], 1),
        (3, ["draft"], 0),
    ]


def test_a_version_is_shown_with_all_but_its_secrets(
    textback: Callable[..., Result], database_url: str
) -> None:
    in_world(database_url, two_versions)
    result = textback("show", "bookings", "--version", "draft")
    shown: dict[str, Any] = json.loads(result.stdout)
    assert (shown["version"], shown["labels"], shown["live"]) == (3, ["draft"], 0)
    assert (shown["engine"]["kind"], shown["engine"]["secret"]) == ("http", None)
    assert shown["secrets"] == ["secret"]
    assert shown["analysis"]["outcomes"] == [{"name": "booked", "description": ""}]
    assert SECRET not in result.output
    assert json.loads(textback("show", "bookings").stdout)["version"] == 2
    assert json.loads(textback("show", "bookings", "--version", "1").stdout)["live"] == 1


def test_live_conversations_are_moved_and_the_rest_is_reported(
    textback: Callable[..., Result], database_url: str
) -> None:
    in_world(database_url, two_versions)
    result = textback("move", "bookings", "--from", "1")
    assert (result.exit_code, result.stdout) == (
        0,
        "1 live conversation is moved to version 2 of bookings.\n",
    )
    result = textback("move", "bookings", "--to", "draft")
    assert result.stdout.startswith("2 live conversations are moved to version 3 of bookings.\n")
    assert "Of them 2 begin anew" not in result.stdout  # nothing was kept that is lost


def test_what_is_in_the_middle_of_a_turn_is_said_and_is_1(
    textback: Callable[..., Result], database_url: str
) -> None:
    async def thinking(world: World) -> None:
        await two_versions(world)
        await world.hear("Hello", now=second(2))
        await world.claim_turns(now=second(3))

    in_world(database_url, thinking)
    result = textback("move", "bookings", "--wait", "0")
    assert (result.exit_code, result.stdout.splitlines()) == (
        1,
        [
            "0 live conversations are moved to version 2 of bookings.",
            "1 live conversation is left, in the middle of a turn; move again in a while.",
        ],
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["show", "nobody"], 'There is no agent "nobody"; textback agent list has them.'),
        (["show", "bookings", "--version", "draft"], 'Agent "bookings" has no draft.'),
        (["show", "bookings", "--version", "7"], 'Agent "bookings" has no version 7.'),
        (
            ["show", "bookings", "--version", "live"],
            "A version is production, draft or a number, and not 'live'.",
        ),
        (["move", "nobody"], 'There is no agent "nobody".'),
        (["move", "bookings", "--to", "draft"], 'Agent "bookings" has no draft.'),
        (["try", "nobody"], 'There is no agent "nobody"; textback agent list has them.'),
        (["try", "bookings", "--version", "9"], 'Agent "bookings" has no version 9.'),
        (["record", "nobody"], 'There is no agent "nobody"; textback agent list has them.'),
        (
            ["record", "bookings", "--since", "soon"],
            "--since must be a date (2027-01-31) or a time with its zone (2027-01-31T12:00:00Z).",
        ),
    ],
)
def test_what_is_not_there_is_one_sentence(
    textback: Callable[..., Result], database_url: str, arguments: list[str], sentence: str
) -> None:
    in_world(database_url, World.provision)
    assert failed(textback(*arguments)) == sentence


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["show", "a"], ["move", "a"], ["try", "a"], ["record", "a"]],
)
def test_without_a_database_each_says_what_to_set(
    textback: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.delenv("TEXTBACK_DATABASE_URL")
    assert failed(textback(*arguments)).startswith("TEXTBACK_DATABASE_URL is not set")


@pytest.mark.parametrize("name", ["list", "show", "move", "try", "record", "replay"])
def test_help_of_each_teaches(textback: Callable[..., Result], name: str) -> None:
    said = textback(name, "--help").stdout
    assert len(said) > 300
