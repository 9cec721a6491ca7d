"""`textback doctor` against a Twilio on this machine: what is wrong, and what to do about it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Final

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import captured_logs, execute, rows, served, settings, started, stored
from tests.support.deployment import hour
from tests.support.doubles import NO_ANSWER, CarrierDouble
from tests.support.fake_twilio import Account, FakeTwilio, Number
from tests.support.ports import free_port
from tests.support.provision import (
    ACME_SID,
    GLOBEX_SID,
    environment,
    provision,
)
from tests.support.tls import vouched_for
from tests.support.world import World
from textback.cli import doctor
from textback.core.ports import NoAnswer
from textback.settings import Settings

VERSION: Final = "select version_num from alembic_version"
TOKEN: Final = "planted-token-0123456789"


@pytest.fixture(autouse=True)
def _logged() -> Generator[StringIO]:
    """Apart from what the command says."""
    with captured_logs() as found:
        yield found


@dataclass(slots=True)
class Clinic:
    """A deployment in which all is well, until a test spoils something."""

    found: Settings
    serving: Settings
    twilio: FakeTwilio
    acme: list[Number]
    said: list[str] = field(default_factory=list[str])

    async def examine(self, capsys: pytest.CaptureFixture[str]) -> int:
        """Run it beside the serving process; gives the exit code and keeps what it said."""
        async with started(self.serving) as rt, served(rt, port_of(self.found)):
            code = await doctor.run(self.found)
        printed = capsys.readouterr()
        assert TOKEN not in printed.out
        self.said = printed.out.splitlines()
        return code

    def to_fix(self) -> list[tuple[str, str]]:
        """Each finding, with what to do about it."""
        pairs = zip(self.said, [*self.said[1:], ""], strict=True)
        return [
            (what.removeprefix("FIX").strip(), fix.strip())
            for what, fix in pairs
            if what.startswith("FIX")
        ]


def port_of(found: Settings) -> int:
    return int(found.public_url.rpartition(":")[2]) if found.public_url else 0


@pytest.fixture
async def twilio() -> AsyncGenerator[FakeTwilio]:
    async with FakeTwilio(ACME_SID, TOKEN) as fake:
        yield fake


@pytest.fixture
def _durable(database_url: str) -> Generator[None]:
    """As in any deployment, and unlike in the other tests."""
    with_postgres(database_url, "ALTER SYSTEM SET fsync = on", fsync="on")
    yield
    with_postgres(database_url, "ALTER SYSTEM SET fsync = off", fsync="off")


async def looked(engine: AsyncEngine, ago: str) -> None:
    """As a worker notes it: when to look again."""
    due = f"now() - interval '{ago}' + interval '60 seconds'"
    await execute(engine, f"update numbers set sweep_at = {due}")  # noqa: S608 - ours


def with_postgres(database_url: str, statement: str, **expected: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute(statement)
        await connection.execute("SELECT pg_reload_conf()")
        for name, value in expected.items():
            while await connection.fetchval(f"SHOW {name}") != value:  # noqa: ASYNC110 - its own time
                await asyncio.sleep(0.01)
        await connection.close()

    asyncio.run(run())


@pytest.fixture
async def clinic(
    _durable: None, engine: AsyncEngine, database_url: str, redis_url: str, twilio: FakeTwilio
) -> Clinic:
    await provision(engine, env=environment(twilio.base_url) | {"TWILIO_TOKEN": TOKEN})
    await looked(engine, "10 seconds")  # as if a worker ran
    found = settings(database_url, redis_url, public_url=f"http://127.0.0.1:{free_port()}")
    url = f"{found.public_url}/hooks/twilio/inbound#rc=5&rp=all"
    acme = [Number(phone_number=f"+1415555010{n}", sms_url=url) for n in (0, 1)]
    twilio.account.numbers = acme
    other = Number(phone_number="+14155550199", sms_url=url)
    twilio.accounts[GLOBEX_SID] = Account(sid=GLOBEX_SID, auth_token=TOKEN, numbers=[other])
    return Clinic(found, found, twilio, acme)


async def test_all_is_well(
    clinic: Clinic, engine: AsyncEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    before = await stored(engine)
    assert await clinic.examine(capsys) == 0
    assert clinic.to_fix() == []
    assert clinic.said[-1] == "All is well."
    said = "\n".join(clinic.said)
    for wanted in (
        "database reached",
        "Redis reached",
        "connection to Postgres does not leave this machine",
        "connections to Postgres are in use; a process takes up to 7",
        "nothing that is due waits",
        "a worker looked for lost replies",
        "the first key of TEXTBACK_SECRET_KEY opens every secret",
        f"acme-twilio: Twilio account {ACME_SID} is active",
        "+14155550100: inbound texts come here",
        "+14155550101: inbound texts come here",
        f"globex-twilio: Twilio account {GLOBEX_SID} is active",
        f"acme-twilio: a webhook signed for {clinic.found.public_url} arrives and verifies",
        f"globex-twilio: a webhook signed for {clinic.found.public_url} arrives and verifies",
    ):
        assert wanted in said
    # It looked, and left nothing behind: neither here nor at Twilio.
    assert await stored(engine) == before
    assert clinic.twilio.asked("create") == []


async def test_a_postgres_that_may_lose_what_it_confirmed_is_found(
    clinic: Clinic, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    off = "ALTER ROLE postgres SET synchronous_commit = off"
    await asyncio.to_thread(with_postgres, database_url, off)
    assert await clinic.examine(capsys) == 1
    on = "ALTER ROLE postgres RESET synchronous_commit"
    await asyncio.to_thread(with_postgres, database_url, on)
    [(what, fix)] = clinic.to_fix()
    assert what == "Postgres may lose what it confirmed: synchronous_commit is off"
    assert "textback's role" in fix


async def test_texts_that_wait_for_an_operator_are_found(
    clinic: Clinic, engine: AsyncEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(engine)
    await world.provision()
    await world.accept()
    await world.send(carrier=CarrierDouble(NO_ANSWER))
    await world.settle(now=hour(5), carrier=CarrierDouble(listed=[NoAnswer("away")]))
    assert await clinic.examine(capsys) == 1
    assert clinic.to_fix()[0] == (
        "texts that may be out or not, and cannot be looked up any more: 1",
        "Run textback uncertain.",
    )
    await world.close()


async def test_work_that_nobody_does_and_old_keys_are_found_by_a_program_too(
    clinic: Clinic, engine: AsyncEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(engine)
    await world.provision()
    await world.accept()  # in March, and never sent
    await world.close()
    await looked(engine, "3 hours")
    both = f"{'b' * 43}=,{clinic.found.secret_key}"
    found = clinic.found.model_copy(update={"secret_key": both})
    async with started(found) as rt, served(rt, port_of(found)):
        assert await doctor.run(found, as_json=True) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    wrong = [each["what"] for each in told["findings"] if not each["ok"]]
    assert wrong[0].startswith("texts have been due for")
    assert "no worker seems to run: nobody has looked for lost replies for 3 h" in wrong
    known = {each["what"]: each["fix"] for each in told["findings"] if each["ok"]}
    [sealed] = [what for what in known if "an older key of TEXTBACK_SECRET_KEY" in what]
    assert int(sealed.rpartition(" ")[2]) >= 2
    assert known[sealed].startswith("Run textback reseal")


@pytest.mark.parametrize(
    ("ago", "said"),
    [
        ("50 seconds", "ok   a worker looked for lost replies"),
        ("70 seconds", "ok   lost replies should have been looked for 1"),
        ("2 minutes 5 seconds", "FIX  no worker seems to run"),
    ],
)
async def test_whether_a_worker_runs_is_said_as_surely_as_it_is_known(
    clinic: Clinic,
    engine: AsyncEngine,
    capsys: pytest.CaptureFixture[str],
    ago: str,
    said: str,
) -> None:
    await looked(engine, ago)
    assert await clinic.examine(capsys) == said.startswith("FIX")
    assert said in "\n".join(clinic.said)


async def test_a_number_that_nobody_has_looked_at_yet_shows_no_worker(
    clinic: Clinic, engine: AsyncEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    await execute(engine, "update numbers set sweep_at = now()")  # as apply leaves it
    assert await clinic.examine(capsys) == 0
    assert "a worker" not in "\n".join(clinic.said)


async def test_a_wrong_token_is_found(clinic: Clinic, capsys: pytest.CaptureFixture[str]) -> None:
    clinic.twilio.account.auth_token = "rotated"
    assert await clinic.examine(capsys) == 1
    [(what, fix)] = clinic.to_fix()
    assert what.startswith("acme-twilio:")
    assert "refuses the credentials" in what
    assert "auth token" in fix
    assert clinic.said[-1] == "1 to fix."


async def test_a_webhook_that_points_elsewhere_is_found_for_each_number(
    clinic: Clinic, capsys: pytest.CaptureFixture[str]
) -> None:
    clinic.acme[0].sms_url = "https://old.example.com/sms"
    clinic.acme[1].sms_url = ""
    assert await clinic.examine(capsys) == 1
    (first, fix), (second, _) = clinic.to_fix()
    assert "+14155550100: inbound texts go to https://old.example.com/sms, not here" in first
    assert "+14155550101: inbound texts go to nowhere" in second
    assert f"{clinic.found.public_url}/hooks/twilio/inbound" in fix


async def test_a_number_that_is_not_the_accounts_is_found(
    clinic: Clinic, capsys: pytest.CaptureFixture[str]
) -> None:
    clinic.acme.pop()
    assert await clinic.examine(capsys) == 1
    [(what, _)] = clinic.to_fix()
    assert f"+14155550101 is not a number of Twilio account {ACME_SID}" in what


async def test_a_signature_that_does_not_verify_where_it_arrives_is_found(
    clinic: Clinic, capsys: pytest.CaptureFixture[str]
) -> None:
    """The serving process has another public URL than the operator thinks."""
    clinic.serving = clinic.found.model_copy(update={"public_url": "https://sms.example.com"})
    assert await clinic.examine(capsys) == 1
    found = clinic.to_fix()
    assert len(found) == 2
    for what, fix in found:
        assert "its signature does not verify there" in what
        assert "TEXTBACK_PUBLIC_URL" in fix


async def test_a_serving_process_with_another_secret_key_is_found(
    clinic: Clinic, capsys: pytest.CaptureFixture[str]
) -> None:
    clinic.serving = clinic.found.model_copy(update={"secret_key": "b" * 43 + "="})
    assert await clinic.examine(capsys) == 1
    assert ["is answered 503" in what for what, _ in clinic.to_fix()] == [True, True]


async def test_a_token_sealed_with_a_key_that_is_gone_is_found(
    clinic: Clinic, capsys: pytest.CaptureFixture[str]
) -> None:
    clinic.found = clinic.found.model_copy(update={"secret_key": "b" * 43 + "="})
    assert await clinic.examine(capsys) == 1
    assert ["TEXTBACK_SECRET_KEY" in what for what, _ in clinic.to_fix()] == [True, True]


async def test_nobody_at_the_public_url_is_found(
    clinic: Clinic, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await doctor.run(clinic.found) == 1
    clinic.said = capsys.readouterr().out.splitlines()
    assert ["does not arrive" in what for what, _ in clinic.to_fix()] == [True, True]


async def test_something_else_at_the_public_url_is_found(
    clinic: Clinic, capsys: pytest.CaptureFixture[str]
) -> None:
    clinic.found = clinic.found.model_copy(update={"public_url": clinic.twilio.base_url})
    assert await doctor.run(clinic.found) == 1
    clinic.said = capsys.readouterr().out.splitlines()
    assert any("Something other than textback" in fix for _, fix in clinic.to_fix())


async def test_a_database_that_is_away_and_a_redis_that_is_away_are_found(
    clinic: Clinic, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    away = {"database_url": f"postgresql://postgres@{nobody}/x", "redis_url": f"redis://{nobody}"}
    assert await doctor.run(clinic.found.model_copy(update=away)) == 1
    clinic.said = capsys.readouterr().out.splitlines()
    (database, fix), (redis, _) = clinic.to_fix()
    assert "database cannot be reached" in database
    assert "TEXTBACK_DATABASE_URL" in fix
    assert "Redis cannot be reached" in redis


async def why(found: Settings, url: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What it says of a database that is not reached, and what to do about it."""
    assert await doctor.run(found.model_copy(update={"database_url": url})) == 1
    return capsys.readouterr().out.splitlines()[:2]


async def test_why_a_database_is_not_reached_is_said(
    clinic: Clinic, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    what, fix = await why(clinic.found, f"postgresql://postgres@127.0.0.1:{port}/x", capsys)
    assert what.startswith("FIX  the database cannot be reached: ")
    assert str(port) in what
    assert "that Postgres runs" in fix

    missing = database_url.replace("/textback?", "/nowhere?")
    what, fix = await why(clinic.found, missing, capsys)
    assert what == 'FIX  the database cannot be reached: database "nowhere" does not exist'
    assert "TEXTBACK_DATABASE_URL" in fix


async def test_a_server_whose_authority_is_strange_is_told_from_one_that_is_away(
    clinic: Clinic, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, serving = vouched_for("localhost", tmp_path)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"S")
        with contextlib.suppress(OSError):
            await writer.start_tls(serving)
        writer.close()

    async with listening(talk) as port:
        url = f"postgresql://postgres@localhost:{port}/x?sslmode=verify-full"
        what, fix = await why(clinic.found, url, capsys)
    assert "certificate verify failed" in what
    assert "sslrootcert" in fix


async def test_what_a_server_says_of_our_password_is_not_repeated(
    clinic: Clinic, capsys: pytest.CaptureFixture[str]
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        said = b"SFATAL\0C28P01\0Mno: " + TOKEN.encode() + b"\nis wrong\0\0"
        writer.write(b"E" + (len(said) + 4).to_bytes(4) + said)
        writer.close()

    async with listening(talk) as port:
        url = f"postgresql://postgres:{TOKEN}@127.0.0.1:{port}/x?sslmode=disable"
        what, _ = await why(clinic.found, url, capsys)
    assert what == "FIX  the database cannot be reached: no: [hidden] is wrong"


@asynccontextmanager
async def listening(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncGenerator[int]:
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_schema_that_is_not_up_to_date_is_found(
    clinic: Clinic, engine: AsyncEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    [current] = [row["version_num"] for row in await rows(engine, VERSION)]
    await execute(engine, "update alembic_version set version_num = '0001'")
    try:
        assert await doctor.run(clinic.found) == 1
    finally:
        await execute(engine, f"update alembic_version set version_num = '{current}'")  # noqa: S608 - ours
    clinic.said = capsys.readouterr().out.splitlines()
    [(what, fix)] = clinic.to_fix()
    assert "0001" in what
    assert "textback migrate" in fix


async def test_a_deployment_without_numbers_is_found(
    engine: AsyncEngine, database_url: str, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert engine is not None
    assert await doctor.run(settings(database_url, redis_url)) == 1
    assert "no number is provisioned" in capsys.readouterr().out


async def test_a_public_url_that_twilio_cannot_reach_is_found(
    engine: AsyncEngine,
    database_url: str,
    redis_url: str,
    twilio: FakeTwilio,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Only for the real Twilio: its own address is what tells it from a double."""
    assert twilio
    await provision(engine, env=environment("http://127.0.0.1:9/api.twilio.com"))
    await doctor.run(settings(database_url, redis_url, public_url="http://127.0.0.1:9"))
    assert "Twilio cannot reach that safely" in capsys.readouterr().out
