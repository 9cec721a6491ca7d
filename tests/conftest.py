"""Real Postgres and Redis for every test that asks, and no way out of this machine for any.

Each worker of pytest-xdist runs its own pair of servers, started by its first test that needs one:
under a second, and nothing has to be shared, counted or named apart.
"""

import asyncio
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator
from ipaddress import ip_address
from pathlib import Path
from typing import cast

import asyncpg
import pytest
from hypothesis import settings
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.keeper import Keeper
from tests.support.valkey import Valkey
from textback.db.migrate import upgrade
from textback.db.session import create_engine
from textback.embedded import Servers, running

# Two loaded cores are slower than any one deadline allows.
settings.register_profile("textback", deadline=None)
settings.load_profile("textback")

# What a shell starts in the background ignores Ctrl-C, and so would all that tests start and press
# it for.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def servers() -> Generator[Servers]:
    """Postgres, migrated, and Redis, for as long as this worker lives."""
    with (
        tempfile.TemporaryDirectory(prefix="textback-tests-") as folder,
        running(Path(folder)) as found,
    ):
        # Nothing here has to survive a loss of power, and the disk of a busy machine is slow.
        on_database(found.database_url, "ALTER SYSTEM SET fsync = off")
        # Nor does Postgres count rows while a test asks what it does without having done so.
        on_database(found.database_url, "ALTER SYSTEM SET autovacuum_naptime = '1h'")
        on_database(found.database_url, "SELECT pg_reload_conf()")
        upgrade(found.database_url)
        yield found


@pytest.fixture(scope="session")
def keeper(servers: Servers) -> Generator[Keeper]:
    """Who provisions and wipes, for as long as this worker lives."""
    with Keeper(servers.database_url) as made:
        yield made


@pytest.fixture(scope="session")
def kept_engine(servers: Servers) -> AsyncEngine:
    """It has compiled what earlier tests asked, and holds no connection between tests."""
    return create_engine(servers.database_url)


@pytest.fixture
def database_url(servers: Servers, keeper: Keeper) -> Generator[str]:
    """A migrated database without rows."""
    yield servers.database_url
    keeper.wipe()


@pytest.fixture
def empty_database_url(servers: Servers) -> Generator[str]:
    """A database without any table: for tests of the migrations."""
    on_database(servers.database_url, "CREATE DATABASE empty")
    yield servers.database_url.replace("/textback?", "/empty?")
    on_database(servers.database_url, "DROP DATABASE empty WITH (FORCE)")


@pytest.fixture
async def engine(
    database_url: str,  # noqa: ARG001 - what it asks for
    kept_engine: AsyncEngine,
) -> AsyncGenerator[AsyncEngine]:
    yield kept_engine
    await kept_engine.dispose()  # its connections belong to this test's loop


@pytest.fixture
def redis_url(servers: Servers) -> Generator[str]:
    """A Redis without keys."""
    yield servers.redis_url
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(servers.redis_url.removeprefix("unix://"))
        client.sendall(b"FLUSHALL\r\n")
        assert client.recv(100) == b"+OK\r\n"


@pytest.fixture
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Generator[Valkey]:
    """A Redis of a test's own, to kill."""
    valkey = Valkey(tmp_path_factory.mktemp("mortal"))
    valkey.start()
    yield valkey
    valkey.kill()


def on_database(database_url: str, statement: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(database_url)
        try:
            # A test that left a transaction open fails here instead of hanging.
            await connection.execute("SET lock_timeout = '5s'")
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def _stay_on_this_machine(event: str, arguments: tuple[object, ...]) -> None:
    if event in {"socket.connect", "socket.sendto"}:
        address = arguments[1]  # a path, for a Unix socket
        host = cast("tuple[object]", address)[0] if isinstance(address, tuple) else None
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if isinstance(host, bytes):
        host = host.decode()
    if isinstance(host, str) and not _is_here(host):
        # Not an Exception, which the code under test might take for a lost connection.
        pytest.fail(f"a test tried to reach {host}")


def _is_here(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host in {"", "localhost"}
    return address.is_loopback or address.is_unspecified


sys.addaudithook(_stay_on_this_machine)
