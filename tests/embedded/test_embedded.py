import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest
from redis import Redis

from textback.embedded import EmbeddedError, Servers, running

HOLDER = """
import sys, time, pathlib
from textback.embedded import running
with running(pathlib.Path(sys.argv[1])) as servers:
    print(servers.database_url, flush=True)
    time.sleep(60)
"""


@contextmanager
def other_process(folder: Path) -> Generator[tuple[subprocess.Popen[str], str]]:
    """Run the servers in a process of its own; give it and its database's URL."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.terminate()


def query(database_url: str, sql: str) -> object:
    async def run() -> object:
        connection = await asyncpg.connect(database_url)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(run())


def remember(database_url: str) -> None:
    query(database_url, "DROP TABLE IF EXISTS remembered")
    query(database_url, "CREATE TABLE remembered AS SELECT 42 AS value")


def remembered(servers: Servers) -> object:
    return query(servers.database_url, "SELECT value FROM remembered")


def servers_on(folder: Path) -> set[int]:
    """Pids of the servers (not of their children) that run on a data folder."""
    found: set[int] = set()
    for process in psutil.process_iter():
        try:
            if process.name() in {"postgres", "valkey-server"} and any(
                argument.startswith(f"{folder}/") for argument in process.cmdline()
            ):
                found.add(process.pid)
        except psutil.Error:
            continue
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for many tests: making a database takes longer than what they are about."""
    return tmp_path_factory.mktemp("data")


def test_what_postgres_stores_is_there_after_a_restart(folder: Path) -> None:
    with running(folder) as servers:
        remember(servers.database_url)
    with running(folder) as servers:
        assert remembered(servers) == 42


def test_both_servers_are_gone_when_the_block_ends_in_an_error(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError), running(folder):
        raise ZeroDivisionError
    assert servers_on(folder) == set()


def test_a_start_recovers_when_the_process_before_was_killed(folder: Path) -> None:
    with other_process(folder) as (process, database_url):
        remember(database_url)
        process.kill()
        process.wait()
    orphans = servers_on(folder)
    assert len(orphans) == 2
    with running(folder) as servers:
        assert remembered(servers) == 42
        assert servers_on(folder).isdisjoint(orphans)


def test_a_start_recovers_when_everything_was_killed(folder: Path) -> None:
    with other_process(folder) as (process, database_url):
        remember(database_url)
        killed = servers_on(folder)
        for pid in (process.pid, *killed):
            os.kill(pid, signal.SIGKILL)
    # As after a restart of the machine, when the pid in the file may be anybody's.
    pid_file = folder / "postgres" / "postmaster.pid"
    pid_file.write_text(pid_file.read_text().replace(pid_file.read_text().split()[0], "1", 1))
    with running(folder) as servers:
        assert remembered(servers) == 42


def test_a_first_start_that_was_killed_half_way_is_begun_anew(tmp_path: Path) -> None:
    half_made = tmp_path / "postgres.new"
    half_made.mkdir()
    (half_made / "PG_VERSION").write_text("18")
    with running(tmp_path) as servers:
        assert query(servers.database_url, "SELECT 1") == 1


def test_a_fresh_start_forgets_also_what_orphans_still_have_open(folder: Path) -> None:
    # Once `--fresh` removed files under a Postgres that had outlived its demo: half a database.
    with other_process(folder) as (process, database_url):
        remember(database_url)
        process.kill()
        process.wait()
    assert len(servers_on(folder)) == 2
    with running(folder, fresh=True) as servers:
        assert query(servers.database_url, "SELECT to_regclass('remembered')") is None
    with running(folder) as servers:
        assert query(servers.database_url, "SELECT 1") == 1


@pytest.mark.parametrize("name", ["long" * 50, "with space, comma and : colon"])
def test_any_folder_name_will_do(tmp_path: Path, name: str) -> None:
    with running(tmp_path / name) as servers:
        assert query(servers.database_url, "SELECT 1") == 1
        client = Redis(unix_socket_path=servers.redis_url.removeprefix("unix://"))
        client.set("key", "value")
        client.close()


def test_a_second_start_on_the_same_folder_is_refused(folder: Path) -> None:
    with running(folder) as servers:
        with pytest.raises(EmbeddedError, match="in use by another textback"), running(folder):
            pass
        assert query(servers.database_url, "SELECT 1") == 1


def test_what_was_committed_is_on_disk(folder: Path) -> None:
    with running(folder) as servers:
        assert query(servers.database_url, "SHOW fsync") == "on"
        assert query(servers.database_url, "SHOW synchronous_commit") == "on"


def test_ctrl_c_in_the_terminal_does_not_reach_the_servers(folder: Path) -> None:
    with running(folder):
        assert {os.getsid(pid) for pid in servers_on(folder)}.isdisjoint({os.getsid(0)})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_stop_stops_the_servers_too(folder: Path, number: signal.Signals) -> None:
    with other_process(folder) as (process, _):
        process.send_signal(number)
        process.wait()
    assert servers_on(folder) == set()


def test_the_servers_heed_no_settings_of_our_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("LC_ALL", "tlh_QO.UTF-8")
    with running(folder) as servers:
        assert query(servers.database_url, "SELECT lower('ÄÖ')") == "äö"
