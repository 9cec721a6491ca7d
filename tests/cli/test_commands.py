"""What an operator meets first: help that teaches, and one clear sentence when something lacks."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import typer
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from tests.support.ports import free_port
from tests.support.processes import Textback
from tests.support.provision import SECRET_KEY, provision
from textback import __version__
from textback.cli.main import app
from textback.db import migrate

GROUP = typer.main.get_group(app)
COMMANDS = sorted(GROUP.commands)
NEEDED = {
    "apply": ["DATABASE_URL", "SECRET_KEY"],
    "conversations": ["DATABASE_URL"],
    "doctor": ["DATABASE_URL", "REDIS_URL", "PUBLIC_URL", "SECRET_KEY"],
    "doubt": ["DATABASE_URL"],
    "end": ["DATABASE_URL"],
    "erase": ["DATABASE_URL"],
    "export": ["DATABASE_URL"],
    "handoff": ["DATABASE_URL"],
    "migrate": ["DATABASE_URL"],
    "phone": ["DATABASE_URL", "PUBLIC_URL", "SECRET_KEY"],
    "reseal": ["DATABASE_URL", "SECRET_KEY"],
    "resume": ["DATABASE_URL"],
    "say": ["DATABASE_URL"],
    "serve": ["DATABASE_URL", "REDIS_URL", "PUBLIC_URL", "SECRET_KEY"],
    "tail": ["DATABASE_URL"],
    "uncertain": ["DATABASE_URL"],
    "work": ["DATABASE_URL", "REDIS_URL", "PUBLIC_URL", "SECRET_KEY"],
}
"""Every command but `demo`, which brings all it needs, `agent`, `key` and `listen`."""

GOOD = {
    "TEXTBACK_DATABASE_URL": "postgresql://postgres@127.0.0.1:9/textback",
    "TEXTBACK_REDIS_URL": "redis://127.0.0.1:9",
    "TEXTBACK_PUBLIC_URL": "https://sms.example.com",
    "TEXTBACK_SECRET_KEY": SECRET_KEY,
}


@pytest.fixture(autouse=True)
def _nothing_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine's, and no `.env` of the folder."""
    for name in os.environ:
        if name.startswith("TEXTBACK_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")
    (tmp_path / "file.yaml").write_text("accounts: []")


def invoke(*arguments: str, **environment: str) -> Result:
    needed = {
        "apply": ["file.yaml"],
        "end": ["conv_1"],
        "erase": ["+14155550123", "--yes"],
        "export": ["+14155550123"],
        "handoff": ["conv_1"],
        "resume": ["conv_1"],
        "say": ["conv_1", "Hi"],
    }
    given = needed.get(arguments[0], []) if len(arguments) == 1 else []
    return CliRunner().invoke(app, [*arguments, *given], env=environment)


def failed(result: Result) -> list[str]:
    """Exit code 1, nothing on standard output, and its sentences on standard error."""
    assert isinstance(result.exception, SystemExit), result.exception
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Traceback" not in result.stderr
    return result.stderr.splitlines()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m|[\u2500-\u257f]", "", text)


# --- Help --------------------------------------------------------------------------------------


def test_these_are_the_commands() -> None:
    assert set(COMMANDS) >= {
        "demo",
        "phone",
        "migrate",
        "serve",
        "work",
        "apply",
        "conversations",
        "doctor",
    }
    assert set(COMMANDS) == {"demo", "agent", "key", "listen", *NEEDED}


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_names_every_command_with_what_it_does_and_where_to_begin(
    arguments: list[str],
) -> None:
    said = plain(invoke(*arguments).output)
    for name in COMMANDS:
        found = re.search(rf"^\s*{name} {{2,}}(\S.{{20,}})$", said, re.MULTILINE)
        assert found, name
    for wanted in ("textback demo", "textback migrate", "textback apply FILE", ".env.example"):
        assert wanted in said


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command_teaches(name: str) -> None:
    result = invoke(name, "--help")
    assert result.exit_code == 0
    assert result.stderr == ""
    command = GROUP.commands[name]
    assert command.help
    first = command.help.splitlines()[0]
    assert len(first) > 40
    assert first.endswith(".")
    said = " ".join(plain(result.stdout).split())
    assert first.replace("`", "") in said.replace("`", "")
    for option in _options(name):
        assert option in said


def _options(name: str) -> Iterator[str]:
    """The names of its options, each of which says what it is for."""
    for parameter in GROUP.commands[name].params:
        said = getattr(parameter, "help", None)
        assert said, f"{name} {parameter.name}"
        if parameter.param_type_name == "option":
            yield parameter.opts[0]


def test_version_is_printed() -> None:
    assert invoke("--version").stdout.strip() == __version__


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["serve", "--port", "x"], ["apply"], ["work", "--concurrency", "0"]]
)
def test_a_wrong_command_line_is_2_and_points_to_the_help(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "--help" in result.stderr.replace("-h'", "--help'")


# --- Settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NEEDED)
def test_missing_settings_are_named_all_at_once_with_what_they_are_for(name: str) -> None:
    lines = failed(invoke(name))
    assert [line.partition(":")[0] for line in lines] == [
        f"TEXTBACK_{setting} is not set" for setting in NEEDED[name]
    ]
    assert all(len(line.partition(": ")[2]) > 20 for line in lines)


@pytest.mark.parametrize("name", ["serve", "work", "doctor"])
def test_an_empty_setting_is_a_missing_one(name: str) -> None:
    [line] = failed(invoke(name, **GOOD | {"TEXTBACK_PUBLIC_URL": ""}))
    assert line.startswith("TEXTBACK_PUBLIC_URL is not set")


WRONG = [
    ("DATABASE_URL", "nonsense"),
    ("DATABASE_URL", "mysql://root@db/textback"),
    ("DATABASE_URL", "postgresql://db:port/textback"),
    ("DIRECT_URL", "nonsense"),
    ("REPLICA_URL", "mysql://root@db/textback"),
    ("REDIS_URL", "nonsense"),
    ("REDIS_URL", "http://redis"),
    ("PUBLIC_URL", "sms.example.com"),
    ("PUBLIC_URL", "ftp://sms.example.com"),
    ("PUBLIC_URL", "https://"),
    ("PUBLIC_URL", "https://sms.example.com/?a=1"),
    ("SECRET_KEY", "short"),
    ("SECRET_KEY", f"{SECRET_KEY},short"),
    ("PORT", "http"),
    ("PORT", "65536"),
    ("LOG_LEVEL", "loud"),
    ("SETTLE_SECONDS", "60,10"),
    ("SETTLE_SECONDS", "soon"),
    ("SETTLE_SECONDS", "10,19"),  # a request may be on its way for longer
    ("METRICS_PORT", "65536"),
    ("CARRIER_TIMEOUT_SECONDS", "0"),
    ("CARRIER_TIMEOUT_SECONDS", "nan"),
]


@pytest.mark.parametrize(("setting", "value"), WRONG, ids=[f"{s}={v}" for s, v in WRONG])
def test_a_wrong_setting_is_named_in_one_sentence_that_tells_no_secret(
    setting: str, value: str
) -> None:
    # By a command that ends even if it takes the setting.
    [line] = failed(invoke("doctor", **GOOD | {f"TEXTBACK_{setting}": value}))
    assert f"TEXTBACK_{setting}" in line
    secret = {"SECRET_KEY", "DATABASE_URL", "DIRECT_URL", "REPLICA_URL", "REDIS_URL"}
    if setting in secret:  # they hold secrets
        assert value not in line


def test_settings_come_from_a_file_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TEXTBACK_DATABASE_URL=postgresql://postgres@127.0.0.1:9/x\n")
    [line] = failed(invoke("conversations"))
    assert line == "The database cannot be reached; check TEXTBACK_DATABASE_URL."


# --- Servers that are away ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["migrate", "conversations", "apply", "phone"])
def test_a_database_that_is_away_is_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "file.yaml").write_text("accounts: [{id: acme}]")
    [line] = failed(invoke(name, **GOOD))
    assert "database cannot be reached" in line
    assert "TEXTBACK_DATABASE_URL" in line


@pytest.mark.parametrize("name", ["migrate", "conversations", "apply", "doctor"])
def test_a_database_that_is_not_there_is_one_sentence(
    name: str, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "file.yaml").write_text("accounts: [{id: acme}]")
    nowhere = database_url.replace("/textback?", "/nowhere?")
    given = {"TEXTBACK_DATABASE_URL": nowhere, "TEXTBACK_REDIS_URL": redis_url}
    result = invoke(name, **GOOD | given)
    assert isinstance(result.exception, SystemExit)
    assert "TEXTBACK_DATABASE_URL" in result.output


async def test_a_port_that_is_taken_is_one_sentence(
    engine: AsyncEngine, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    await provision(engine)
    given = GOOD | {"TEXTBACK_DATABASE_URL": database_url, "TEXTBACK_REDIS_URL": redis_url}
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Textback(tmp_path, given) as textback:
        ran = await textback.run("serve", "--port", str(port))
    assert ran.code == 1
    said = ran.out + ran.err
    assert str(port) in said
    assert "Traceback" not in said


def test_an_address_that_is_not_this_machines_is_not_the_ports_fault() -> None:
    for host in ("nowhere.invalid", "192.0.2.1"):
        [line] = failed(invoke("serve", **GOOD | {"TEXTBACK_HOST": host}))
        assert line.startswith(f"Cannot listen on {host}:8000 (")
        assert line.endswith("; set TEXTBACK_HOST to an address of this machine.")


async def test_processes_told_to_stop_before_they_have_begun_stop_with_0_too(
    engine: AsyncEngine, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    # One that came late to its signal handler was counted as one that had crashed.
    await provision(engine)
    given = GOOD | {"TEXTBACK_DATABASE_URL": database_url, "TEXTBACK_REDIS_URL": redis_url}
    given |= {"TEXTBACK_PORT": str(free_port())}
    async with Textback(tmp_path, given) as textback:
        running = await textback.start("serve", "--workers", "2")
        async with asyncio.timeout(60):
            while not running.children():  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.005)
        running.ask_to_stop()
        code, _seconds = await running.ended(within=60)
    assert code == 0, running.log


async def test_a_worker_serves_what_it_counted_on_a_port_of_its_own(
    engine: AsyncEngine, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    await provision(engine)
    port = free_port()
    given = GOOD | {
        "TEXTBACK_DATABASE_URL": database_url,
        "TEXTBACK_REDIS_URL": redis_url,
        "TEXTBACK_METRICS_PORT": str(port),
    }
    async with Textback(tmp_path, given) as textback:
        running = await textback.start("work")
        async with asyncio.timeout(90), httpx.AsyncClient(trust_env=False, timeout=30) as http:
            while "worker.started" not in running.log:  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.05)
            answer = await http.get(f"http://127.0.0.1:{port}/metrics")
            second = await textback.run("work")
    assert "textback_recovered_total 0.0" in answer.text
    assert second.code == 1
    assert second.err.strip() == (
        f"Cannot listen on 127.0.0.1:{port} (Address already in use); set TEXTBACK_METRICS_PORT."
    )


# --- migrate, conversations --------------------------------------------------------------------


def test_migrate_may_be_repeated(empty_database_url: str) -> None:
    for _ in range(2):
        result = invoke("migrate", TEXTBACK_DATABASE_URL=empty_database_url)
        assert (result.exit_code, result.stderr) == (0, "")
        assert migrate.head() in result.stdout


def test_without_conversations_there_is_an_empty_list(database_url: str) -> None:
    given = {"TEXTBACK_DATABASE_URL": database_url}
    assert json.loads(invoke("conversations", "--json", **given).stdout) == []
    assert invoke("conversations", **given).stdout.strip() == "No conversations."
    [line] = failed(invoke("conversations", "conv_none", **given))
    assert "conv_none" in line


def test_before_the_first_migration_a_command_says_to_migrate(empty_database_url: str) -> None:
    [line] = failed(invoke("conversations", TEXTBACK_DATABASE_URL=empty_database_url))
    assert "textback migrate" in line


# --- Streams -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1], ids=["input", "output"])
def test_a_standard_stream_that_is_closed_is_no_reason_to_abort(
    number: int, database_url: str
) -> None:
    given = {**os.environ, "TEXTBACK_DATABASE_URL": database_url}
    command = (sys.executable, "-m", "textback", "conversations")
    shell = ("sh", "-c", f'exec "$@" {number}>&-', "sh", *command)

    done = subprocess.run(shell, env=given, stderr=subprocess.PIPE, check=False)

    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("arguments", "unbuffered"), [("--help", ""), ("--version", "1"), ("conversations --json", "")]
)
def test_what_cannot_be_written_is_said_in_a_sentence(
    arguments: str, unbuffered: str, database_url: str
) -> None:
    more = {"TEXTBACK_DATABASE_URL": database_url, "PYTHONUNBUFFERED": unbuffered}
    given = {**os.environ, **more}
    command = [sys.executable, "-m", "textback", *arguments.split()]

    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, env=given, stdout=full, stderr=subprocess.PIPE, check=False)

    assert done.stderr.decode() == "Standard output cannot be written: No space left on device.\n"
    assert done.returncode == 1


def test_who_reads_no_further_is_told_nothing(database_url: str) -> None:
    given = {**os.environ, "TEXTBACK_DATABASE_URL": database_url}
    nobody, writes = os.pipe()
    os.close(nobody)

    command = (sys.executable, "-m", "textback", "conversations", "--json")
    done = subprocess.run(command, env=given, stdout=writes, stderr=subprocess.PIPE, check=False)
    os.close(writes)

    assert (done.returncode, done.stderr) == (1, b"")
