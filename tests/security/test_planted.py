"""Secrets are planted wherever one can be, all is driven, and none may come out anywhere.

What does come out by design: a key or a secret that was made by us, once, to who asked for it.
"""

import base64
import json
import re
import sys
from collections.abc import AsyncGenerator, Generator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Final

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner

from tests.support.api import captured_logs, client, log_to, settings, worked
from tests.support.doubles import EngineDouble
from tests.support.fake_models import Fails, ModelServer
from tests.support.fake_models import serving as models_serving
from tests.support.fake_twilio import FakeTwilio, refused
from tests.support.fake_twilio.fake import NO_RECEIPTS
from tests.support.hooks import INBOUND, STATUS, TEXT, post
from tests.support.kore import token as kore_token
from tests.support.ports import free_port
from tests.support.provision import ACME_SID
from tests.support.turn_server import Answer, Received, TurnServer, serving
from textback import logs, wiring
from textback.cli import context
from textback.cli.apply import provision as apply
from textback.cli.main import app
from textback.core.engine import Engine, TurnFailed, TurnRequest
from textback.db.agents import AgentVersion
from textback.db.tables import metadata
from textback.runtime import Engines, Runtime
from textback.settings import Settings
from textback.vault import FernetVault


def whsec(words: str) -> str:
    return "whsec_" + base64.b64encode(words.encode()).decode()


API_KEY: Final = "tb_planted-api-key-9f1c"
PAIR_ID: Final = f"nxf_{'c3' * 16}"
PAIR: Final = "nxfs_" + "PlantedPairSecret0" * 3 + "0123456789"
APP: Final = "cs-0a0a0a0a-0000-4000-8000-0000000000cc"
APP_SECRET: Final = "planted-app-secret-planted-app-secret-0="
TWILIO: Final = "badc0ffee0ddf00dbadc0ffee0ddf00d"
ACCOUNT_WEBHOOK: Final = whsec("planted-account-webhook-secret")
WEBHOOK: Final = whsec("planted-endpoint-webhook-secret")
ENGINE: Final = whsec("planted-engine-signing-secret")
MODEL: Final = "sk-planted-model-key-5ab1"
HEADER: Final = "planted-header-of-a-tool-77e2"
SECRET_KEY: Final = "PlantedSecretKey0123456789PlantedSecretKey0="
DATABASE: Final = "planted-database-password"
REDIS: Final = "planted-redis-password"
METRICS: Final = "planted-metrics-token-0001"
MISTAKEN: Final = "planted-in-a-refused-entry-31"

SECRETS: Final = (
    *(API_KEY, PAIR, APP_SECRET, TWILIO, ACCOUNT_WEBHOOK, WEBHOOK, ENGINE, MODEL, HEADER),
    *(SECRET_KEY, DATABASE, REDIS, METRICS, MISTAKEN),
)
WORDS: Final = "planted words of a text"
USERS: Final = ("+14155550121", "+14155550122", "+14155550123")

YAML: Final = """\
accounts:
  - id: acme
    webhook_secret: "${ACCOUNT_WEBHOOK}"
    api_keys: [{name: ci, key: "${API_KEY}"}]
    key_pairs: [{id: "${PAIR_ID}", name: pair, secret: "${PAIR}"}]
    jwt_apps: [{client_id: "${APP}", name: app, secret: "${APP_SECRET}"}]
    webhooks: [{id: all, url: "${URL}", secret: "${WEBHOOK}"}]
    carriers:
      - {id: acme-twilio, kind: twilio, account_sid: "${SID}", auth_token: "${TWILIO}",
         base_url: "${TWILIO_URL}"}
    agents:
      - {id: asks, fallback: "Sorry.", engine: {kind: http, url: "${URL}", secret: "${ENGINE}",
         timeout_seconds: 1}}
      - id: talks
        fallback: "Sorry."
        engine:
          kind: llm
          model: {provider: openai, name: m, base_url: "${MODELS}", api_key: "${MODEL}", retries: 0}
          prompt: Talk.
          tools: [{name: look, description: Looks., url: "${URL}",
                   headers: {X-Key: "${HEADER}"}}]
      - id: raises
        fallback: "Sorry."
        engine:
          kind: llm
          model: {provider: openai, name: n, base_url: "${MODELS}", api_key: "${MODEL}"}
          prompt: Talk.
    projects:
      - {id: asking, agent: asks, reply_delay_seconds: 0,
         connectors: [{id: conn-asking, environment: live}],
         numbers: [{number: "+14155550101", environment: live, carrier: acme-twilio}]}
      - {id: talking, agent: talks, reply_delay_seconds: 0,
         connectors: [{id: conn-talking, environment: live}],
         numbers: [{number: "+14155550102", environment: live, carrier: acme-twilio}]}
      - {id: raising, agent: raises, reply_delay_seconds: 0,
         connectors: [{id: conn-raising, environment: live}],
         numbers: [{number: "+14155550103", environment: live, carrier: acme-twilio}]}
"""
AGENTS: Final = ("+14155550101", "+14155550102", "+14155550103")

LISTS: Final = (
    *("/v1/messages", "/v1/conversations", "/v1/events", "/v1/webhooks", "/v1/usage", "/v1/me"),
    *(f"/v1/admin/{name}" for name in ("projects", "connectors", "carriers", "numbers", "agents")),
    *(f"/v1/admin/{name}" for name in ("api-keys", "key-pairs", "jwt-apps", "account")),
    *("/v1/admin/carriers/acme-twilio", "/v1/admin/agents/talks", "/v1/admin/agents/asks"),
    *("/v1/webhooks/all", "/v1/webhooks/all/deliveries", f"/v1/admin/jwt-apps/{APP}"),
    *("/v1/sms/conversations", "/v1/sms/numbers", "/v1/agents", "/v1/phone-numbers"),
    *("/health/ready", "/metrics", "/docs", "/openapi.json", "/nothing"),
)

POSTED: Final = "select 1 where not exists (select from webhook_deliveries where tries > 0)"
"""No row: something was. It fails, and will be posted again for long."""

KEYED: Final = {"authorization": f"Bearer {API_KEY}"}


def are_not_in(said: str, *, where: str = "") -> None:
    for secret in SECRETS:
        bare = secret.removeprefix("whsec_").removeprefix("nxfs_")
        assert bare not in said, (secret, where)


def is_anonymous(said: str) -> None:
    """Neither a text nor a whole number of a user's."""
    assert WORDS not in said
    assert not re.search(r"(\+|%2B)1415555\d{4}", said, re.IGNORECASE)


@pytest.fixture(scope="module")
def echo() -> Generator[TurnServer]:
    """Engine, tool and webhook receiver: says what it was sent, as an error."""

    def answer(received: Received) -> Answer:
        return Answer(status=401, body=f"{received.headers} {received.body!r}".encode())

    with serving() as server:
        server.answer = answer
        yield server


@pytest.fixture(scope="module")
def models() -> Generator[ModelServer]:
    """As `echo`."""
    with models_serving() as server:
        server.answers(Fails(status=401, echo=True))
        yield server


@pytest.fixture
async def twilio() -> AsyncGenerator[FakeTwilio]:
    async with FakeTwilio(ACME_SID, TWILIO) as fake:
        fake.receipts = NO_RECEIPTS
        yield fake


@pytest.fixture
def environment(echo: TurnServer, models: ModelServer, twilio: FakeTwilio) -> dict[str, str]:
    return {
        "API_KEY": API_KEY,
        "PAIR_ID": PAIR_ID,
        "PAIR": PAIR,
        "APP": APP,
        "APP_SECRET": APP_SECRET,
        "TWILIO": TWILIO,
        "ACCOUNT_WEBHOOK": ACCOUNT_WEBHOOK,
        "WEBHOOK": WEBHOOK,
        "ENGINE": ENGINE,
        "MODEL": MODEL,
        "HEADER": HEADER,
        "SID": ACME_SID,
        "TWILIO_URL": twilio.base_url,
        "URL": echo.url,
        "MODELS": models.base_url("openai"),
    }


@pytest.fixture
def found(database_url: str, redis_url: str) -> Settings:
    return settings(
        database_url.replace("postgres@", f"postgres:{DATABASE}@"),
        redis_url,
        secret_key=SECRET_KEY,
        metrics_token=METRICS,
        private_webhooks=True,
        carrier_timeout_seconds=1,
        lease_seconds=2,
        settle_seconds="0.05,2",
    )


@pytest.fixture
def logged() -> Generator[StringIO]:
    """At the level that tells most."""
    with captured_logs() as to:
        log_to(to, "debug")
        yield to


def raising(rt: Runtime) -> Engines:
    """Of one agent the engine quotes its key, and what it was told, when it fails."""
    make = wiring.engine_maker(rt.vault, None)

    def made(row: AgentVersion) -> Engine:
        real = make(row)
        if row.agent_id != "raises":
            return real
        double = EngineDouble()

        def fail(turn: TurnRequest) -> TurnFailed:
            raise RuntimeError(f"no login with {MODEL} for {USERS[2]}: {turn.turn_id}")

        double.on_reply = fail
        return double

    return Engines(rt.db, made)


async def everything_stored(engine: AsyncEngine) -> str:
    async with engine.connect() as c:
        await c.execute(text("set local bytea_output = 'escape'"))  # else hex
        found = [
            str(row)
            for table in metadata.tables
            for row in await c.scalars(text(f"select t::text from {table} t"))  # noqa: S608 - ours
        ]
    return "\n".join(found)


async def refused_entries(http: httpx.AsyncClient) -> list[httpx.Response]:
    """Each has a secret, and something wrong beside it, or in its place."""
    sid = ACME_SID.replace("0", "1")
    model = {"provider": "openai", "name": "m", "api_key": MISTAKEN, "wrong": 1}
    entries: list[tuple[str, object]] = [
        ("carriers", {"id": "c", "kind": "twilio", "account_sid": sid, "auth_token": [MISTAKEN]}),
        ("carriers", {"id": "c", "kind": "twilio", "auth_token": MISTAKEN}),
        ("carriers", {"id": "c", "kind": MISTAKEN, "account_sid": sid}),
        ("agents", {"id": "a", "engine": {"kind": "llm", "model": model, "prompt": "Talk."}}),
        ("agents", {"id": "a", "engine": {"kind": "http", "url": "x", "secret": MISTAKEN}}),
        ("jwt-apps", {"client_id": APP, "name": "app", "secret": {"is": MISTAKEN}}),
        ("key-pairs", {"id": "nxf_x", "name": "pair", "secret": MISTAKEN}),
        ("api-keys", {"name": "k", "key": [MISTAKEN]}),
    ]
    answers = [
        await http.post(f"/v1/admin/{kind}", json=entry, headers=KEYED) for kind, entry in entries
    ]
    hook = {"url": "https://h.example", "secret": f"whsec_{MISTAKEN}"}
    answers.append(await http.post("/v1/webhooks", json=hook, headers=KEYED))
    return answers


async def test_no_planted_secret_comes_out_of_a_deployment(  # noqa: PLR0917 - fixtures
    engine: AsyncEngine,
    found: Settings,
    environment: dict[str, str],
    twilio: FakeTwilio,
    echo: TurnServer,
    logged: StringIO,
) -> None:
    """Not of answers, logs, webhooks, metrics or the database, whatever fails."""
    vault = FernetVault(SECRET_KEY)
    await apply(engine, vault, YAML, environment, now=wiring.clock())
    answers: list[httpx.Response] = []
    twilio.next(refused(21211, f"{TWILIO} may not text {USERS[0]}: {WORDS}"))
    rt = wiring.runtime(found)
    rt = replace(rt, engines=raising(rt))
    try:
        async with client(rt) as http:
            for user, agent in zip(USERS, AGENTS, strict=True):
                body = {"to": user, "from": agent, "text": WORDS}
                answers.append(await http.post("/v1/messages", json=body, headers=KEYED))
                form = TEXT | {"From": user, "To": agent, "Body": WORDS}
                form["MessageSid"] = f"SM{user[1:]:0>32}"
                said = await post(http, INBOUND, form, token=TWILIO)
                assert (answers[-1].status_code, said.status_code) == (202, 200), logged.getvalue()
            await worked(rt, engine, POSTED)

            answers += await refused_entries(http)
            assert all(answer.is_client_error for answer in answers[3:]), answers
            wrong = {"authorization": f"Bearer {API_KEY}x"}
            forged = kore_token(APP, secret=APP_SECRET + "x")
            answers += [
                await http.get("/v1/messages", headers=wrong),
                await http.get(
                    "/v1/agents", headers={"authorization": f"Bearer {PAIR_ID}:{PAIR}x"}
                ),
                await http.post(
                    "/api/public/bot/conn-asking/outboundsms", json={}, headers={"auth": forged}
                ),
                await post(http, STATUS, TEXT, token=TWILIO + "x"),
                await post(http, INBOUND, {"AccountSid": ACME_SID, "Body": WORDS}, token=TWILIO),
                await http.get("/metrics", headers={"authorization": f"Bearer {METRICS}x"}),
            ]
            for answer in answers[-6:]:
                assert answer.is_client_error, (answer.url, answer.text)
            for path in LISTS:
                answers.append(await http.get(path, headers=KEYED))
            counted = await http.get("/metrics", headers={"authorization": f"Bearer {METRICS}"})
            assert counted.status_code == 200
    finally:
        await rt.close()

    for answer in (*answers, counted):
        are_not_in(f"{answer.headers} {answer.text}", where=str(answer.url))
    are_not_in(await everything_stored(engine), where="the database")
    for received in echo.received:
        are_not_in(received.body.decode(), where="what was posted")
    said = logged.getvalue()
    are_not_in(said, where="the log")
    is_anonymous(said)
    is_anonymous(counted.text)
    for event in ("send.refused", "turn.engine_failed", "no login with [hidden]", "webhook."):
        assert event in said, event


# --- The command line --------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.yaml").write_text(YAML)
    (tmp_path / "wrong.yaml").write_text(
        YAML.replace("kind: twilio", "kind: ${TWILIO}").replace("provider: openai", "provider: x")
    )
    return tmp_path


@pytest.mark.parametrize("redis", ["there", "refuses", "away"])
def test_no_planted_secret_is_printed_by_a_command(
    folder: Path, database_url: str, redis_url: str, environment: dict[str, str], redis: str
) -> None:
    url = {
        "there": redis_url,
        "refuses": f"{redis_url}?password={REDIS}",  # it has none, and says that this is wrong
        "away": f"redis://:{REDIS}@127.0.0.1:{free_port()}",
    }[redis]
    given = environment | {
        "TEXTBACK_DATABASE_URL": database_url.replace("postgres@", f"postgres:{DATABASE}@"),
        "TEXTBACK_REDIS_URL": url,
        "TEXTBACK_PUBLIC_URL": "https://127.0.0.1:9",
        "TEXTBACK_SECRET_KEY": SECRET_KEY,
        "TEXTBACK_METRICS_TOKEN": METRICS,
    }
    away = f"postgresql://textback:{DATABASE}@127.0.0.1:{free_port()}/textback"
    asked: list[tuple[list[str], dict[str, str]]] = [(["doctor"], {})]
    if redis == "there":
        asked = [
            (["apply", "wrong.yaml"], {}),
            (["apply", "good.yaml"], {}),
            (["doctor"], {}),
            (["doctor"], {"TEXTBACK_SECRET_KEY": "x" * 43 + "="}),
            (["conversations", "--json"], {}),
            (["key", "list"], {}),
            (["migrate"], {"TEXTBACK_DATABASE_URL": away}),
            (["conversations"], {"TEXTBACK_DATABASE_URL": away}),
            (["conversations"], {"TEXTBACK_DATABASE_URL": f"postgresql://u:{DATABASE}@h:port/x"}),
            (["doctor"], {"TEXTBACK_REDIS_URL": f"redis://:{REDIS}@h:port"}),
            (["doctor"], {"TEXTBACK_SECRET_KEY": f"{SECRET_KEY},{MISTAKEN}"}),
        ]
    assert folder.exists()
    for arguments, more in asked:
        result = CliRunner().invoke(app, arguments, env=given | more)
        assert result.exception is None or isinstance(result.exception, SystemExit), arguments
        assert result.output.strip(), arguments
        are_not_in(result.output, where=" ".join(arguments))


# --- The log -----------------------------------------------------------------------------------


def test_what_was_opened_is_hidden_from_what_fails_and_from_tracebacks(logged: StringIO) -> None:
    sealed = FernetVault(SECRET_KEY).seal(opened := "planted-and-opened")
    assert FernetVault(SECRET_KEY).open(sealed) == opened
    try:
        raise RuntimeError(f"{opened} for {USERS[0]}") from ValueError(opened)  # noqa: TRY301
    except RuntimeError:
        wiring.log.exception("it.failed", why=f"{opened}!")
        wiring.log.warning("it.worried", url=f"https://x/{opened}")
    assert opened not in logged.getvalue()
    assert logged.getvalue().count("[hidden]") >= 4
    is_anonymous(logged.getvalue())


def test_short_words_are_no_secrets(logged: StringIO) -> None:
    logs.conceal("", "a", "text")
    wiring.log.warning("it.failed", why="a text")
    assert "a text" in logged.getvalue()


def test_what_a_process_dies_of_goes_to_its_log_without_numbers_and_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # put back at the end
    logs.conceal(METRICS)
    context.configure_logs(Settings.model_validate({"log_format": "json"}))
    with captured_logs() as said:
        error = RuntimeError(f"no way to {USERS[0]} by {METRICS}")
        sys.excepthook(RuntimeError, error, None)
    [line] = said.getvalue().splitlines()
    assert json.loads(line)["event"] == "process.failed"
    assert json.loads(line)["level"] == "critical"
    is_anonymous(line)
    are_not_in(line)
    printed = capsys.readouterr()
    assert "no way" not in printed.out + printed.err
