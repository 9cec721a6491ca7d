"""To Postgres and Redis over TLS: who is not who the authority says is not talked to."""

import asyncio
import contextlib
import shutil
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from tests.support.tls import AUTHORITY, vouched_for
from textback.core.errors import Unavailable
from textback.core.gcra import Granted, Rate
from textback.core.ports import Unreachable
from textback.db import address, migrate
from textback.db.listen import listen
from textback.db.session import create_engine, transaction
from textback.limiter import RedisLimiter

NAME = "localhost"

Open = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """The authority's certificate, and the server that it calls `NAME`."""
    folder = tmp_path_factory.mktemp("trusted")
    _, serving = vouched_for(NAME, folder)
    return folder / AUTHORITY, serving


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another authority."""
    folder = tmp_path_factory.mktemp("stranger")
    vouched_for(NAME, folder)
    return folder / AUTHORITY


@asynccontextmanager
async def in_front_of(
    open_: Open, serving: ssl.SSLContext, *, asks_first: bool
) -> AsyncGenerator[int]:
    """TLS up to here and plain behind, as by stunnel; gives the port.

    `asks_first`: as Postgres has it, the client asks in the clear whether there is TLS.
    """
    pumps = set[asyncio.Task[None]]()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while read := await reader.read(65_536):
                writer.write(read)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if asks_first:
                assert await reader.readexactly(8) == bytes.fromhex("0000000804d2162f")
                writer.write(b"S")
                await writer.start_tls(serving)
            there, back = await open_()
        except (OSError, asyncio.IncompleteReadError):
            writer.close()
            return
        for way in (pump(reader, back), pump(there, writer)):
            task = asyncio.create_task(way)
            pumps.add(task)
            task.add_done_callback(pumps.discard)

    tls = None if asks_first else serving
    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]
    for each in list(pumps):
        each.cancel()
    if pumps:
        await asyncio.wait(pumps)


@asynccontextmanager
async def tls_postgres(database_url: str, serving: ssl.SSLContext) -> AsyncGenerator[int]:
    query = make_url(database_url).query
    path = f"{query['host']}/.s.PGSQL.{query['port']}"
    async with in_front_of(
        lambda: asyncio.open_unix_connection(path), serving, asks_first=True
    ) as port:
        yield port


async def is_reached(url: str) -> bool:
    """Whether both connections that we make, the pooled one and the one that listens, are made."""
    db = create_engine(url)
    try:
        async with transaction(db) as c:
            assert await c.scalar(text("select 1")) == 1
    except Unavailable:
        pooled = False
    else:
        pooled = True
    finally:
        await db.dispose()
    heard = asyncio.Event()
    listening = asyncio.create_task(listen(url, lambda _: None, alive=lambda _: heard.set()))
    try:
        async with asyncio.timeout(5 if pooled else 0.1):
            await heard.wait()
    except TimeoutError:
        pass
    finally:
        listening.cancel()
        await asyncio.wait([listening])
    assert heard.is_set() is pooled
    return pooled


async def test_postgres_is_talked_to_as_sslmode_says(
    database_url: str, trusted: tuple[Path, ssl.SSLContext], stranger: Path
) -> None:
    authority, serving = trusted
    async with tls_postgres(database_url, serving) as port:

        def url(host: str, mode: str, root: Path | None = None) -> str:
            of_root = f"&sslrootcert={quote(str(root))}" if root else ""
            return f"postgresql://postgres@{host}:{port}/textback?sslmode={mode}{of_root}"

        assert await is_reached(url(NAME, "require"))
        assert await is_reached(url(NAME, "verify-full", authority))
        assert await is_reached(url("127.0.0.1", "verify-ca", authority))
        assert not await is_reached(url("127.0.0.1", "verify-full", authority))
        assert not await is_reached(url(NAME, "verify-full", stranger))
        assert not await is_reached(url(NAME, "verify-ca", stranger))
        assert not await is_reached(url(NAME, "verify-full", authority.with_name("nowhere")))
        assert not await is_reached(url(NAME, "disable"))

        good = url(NAME, "verify-full", authority)
        await asyncio.to_thread(migrate.upgrade, good)
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.to_thread(migrate.upgrade, url(NAME, "verify-full", stranger))


async def why_not(url: str) -> str:
    """What the last connection that we make, the one of a migration, ends with; empty: nothing."""
    try:
        await asyncio.to_thread(migrate.upgrade, url)
    except (OSError, asyncpg.ClientConfigurationError) as error:
        return str(error)
    return ""


async def test_who_names_no_authority_goes_by_those_of_the_system(
    database_url: str,
    trusted: tuple[Path, ssl.SSLContext],
    stranger: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority, serving = trusted
    own = tmp_path / ".postgresql" / "root.crt"
    monkeypatch.setenv("HOME", str(tmp_path))
    async with tls_postgres(database_url, serving) as port:

        def url(host: str, tls: str) -> str:
            return f"postgresql://postgres@{host}:{port}/textback?{tls}"

        asked = url(NAME, "sslmode=verify-full")
        monkeypatch.setenv("SSL_CERT_FILE", str(stranger))  # by which OpenSSL knows the system's
        assert "certificate verify failed" in await why_not(asked)
        assert "certificate verify failed" in await why_not(url(NAME, "sslmode=verify-ca"))
        assert await why_not(f"{asked}&sslrootcert={quote(str(authority))}") == ""

        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        assert await why_not(asked) == ""
        assert await is_reached(asked)
        assert await why_not(url("127.0.0.1", "sslmode=verify-ca")) == ""
        assert "is not valid for '127.0.0.1'" in await why_not(
            url("127.0.0.1", "sslmode=verify-full")
        )
        # As newer versions of psql have it; anything but verify-full is no way to ask for it.
        assert await why_not(url(NAME, "sslrootcert=system")) == ""
        assert await why_not(url("127.0.0.1", "sslrootcert=system")) != ""
        assert await why_not(url(NAME, "sslrootcert=system&sslmode=require")) != ""

        # Whoever said before which authority is theirs, as one does to libpq, is believed.
        monkeypatch.setenv("PGSSLROOTCERT", str(stranger))
        assert await why_not(asked) != ""
        monkeypatch.delenv("PGSSLROOTCERT")
        own.parent.mkdir()
        shutil.copy(stranger, own)
        assert await why_not(asked) != ""


def test_asyncpg_is_told_the_same_by_its_own_url(
    trusted: tuple[Path, ssl.SSLContext], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted[0]))
    found = make_url(
        address.plain(
            "postgres://u:p%40ss@db:5433/x?sslmode=verify-full&prepared_statement_cache_size=0"
        )
    )
    assert found.drivername == "postgresql"
    assert (found.username, found.password, found.host, found.port) == ("u", "p@ss", "db", 5433)
    assert dict(found.query) == {"sslmode": "verify-full", "sslrootcert": str(trusted[0])}
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    found = make_url(address.plain("postgres://db/x"))
    assert dict(found.query) == {"sslrootcert": str(trusted[0])}


async def test_a_postgres_without_tls_is_not_talked_to_where_tls_is_wanted() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"N")  # "no TLS here": also what somebody between would say
        assert await reader.read() == b""  # and nothing is said in the clear
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        url = f"postgresql://postgres:planted@127.0.0.1:{port}/textback?sslmode=require"
        assert not await is_reached(url)


def test_what_the_url_says_of_tls_is_kept_from_sqlalchemy_and_the_rest_is_not() -> None:
    url, arguments = address.read(
        "postgresql://u:p%40ss@db:5433/x?sslmode=verify-full&sslrootcert=/a b.pem&passfile=/c"
    )
    assert url.drivername == "postgresql+asyncpg"
    assert (url.username, url.password, url.host, url.port) == ("u", "p@ss", "db", 5433)
    assert dict(url.query) == {"passfile": "/c"}
    assert arguments == {"dsn": "postgresql://?sslmode=verify-full&sslrootcert=%2Fa+b.pem"}
    assert address.read("postgres://db/x")[1] == {}


@pytest.mark.parametrize(
    "name",
    [
        *("sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl"),
        *("sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version"),
    ],
)
def test_each_parameter_of_tls_reaches_asyncpg_and_of_two_the_last_one(name: str) -> None:
    url, arguments = address.read(f"postgresql://db/x?{name}=no&{name}=yes")
    assert (dict(url.query), arguments) == ({}, {"dsn": f"postgresql://?{name}=yes"})


async def test_redis_is_talked_to_only_as_who_the_authority_says(
    redis_url: str, trusted: tuple[Path, ssl.SSLContext], stranger: Path
) -> None:
    authority, serving = trusted
    path = redis_url.removeprefix("unix://")

    async def is_there(url: str) -> bool:
        limiter = RedisLimiter(url)
        try:
            return isinstance(await limiter.take("tls", Rate(10, 1)), Granted)
        except Unreachable:
            return False
        finally:
            await limiter.close()

    async with in_front_of(
        lambda: asyncio.open_unix_connection(path), serving, asks_first=False
    ) as port:
        assert await is_there(f"rediss://{NAME}:{port}?ssl_ca_certs={authority}")
        assert not await is_there(f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority}")
        assert not await is_there(f"rediss://{NAME}:{port}?ssl_ca_certs={stranger}")
        assert not await is_there(f"rediss://{NAME}:{port}")
        assert not await is_there(f"redis://{NAME}:{port}")
