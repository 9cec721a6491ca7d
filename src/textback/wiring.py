"""The composition root: settings in, a runtime out. Only here is anything chosen."""

import importlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog
from starlette.types import ASGIApp

from textback import engine_kinds, metrics
from textback.carriers.chat import ChatCarrier
from textback.carriers.sandbox.client import SandboxCarrier
from textback.carriers.sandbox.hooks import SandboxHooks
from textback.carriers.sandbox.importing import SandboxNumbers
from textback.carriers.twilio.hooks import TwilioHooks
from textback.carriers.twilio.importing import TwilioNumbers
from textback.core.engine import Engine
from textback.core.policy import SendPolicy
from textback.core.ports import Carrier, CarrierAccount, Hooks, Vault
from textback.core.told import WebhookFormat
from textback.db.agents import AgentVersion
from textback.db.clock import SharedClock
from textback.db.session import create_engine
from textback.dialects.bland.events import BlandFormat
from textback.dialects.native.events import NativeFormat
from textback.dialects.nixflex.events import NixflexFormat
from textback.limiter import FallbackLimiter, LocalLimiter, RedisLimiter
from textback.provisioning_file.single import OneEntry
from textback.runtime import Carriers, Engines, Runtime
from textback.settings import Settings
from textback.vault import FernetVault
from textback.webhook_sender import HttpSender

if TYPE_CHECKING:  # a worker runs without a web framework
    from textback.api.dialect import Dialect

log = structlog.stdlib.get_logger()

# Linux's CLOCK_MONOTONIC stands still while the machine is suspended.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

NOTABLE = timedelta(seconds=1)

HOOKS: dict[str, Hooks] = {"twilio": TwilioHooks(), "sandbox": SandboxHooks()}

# Also of a dialect that is switched off: what it promised to tell is told.
FORMATS: dict[str, WebhookFormat] = {
    each.name: each for each in (NativeFormat(), BlandFormat(), NixflexFormat())
}


def clock() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - here, and nowhere else


class Stopwatch:
    """Seconds that have passed, by whichever clock says more: no pause may look shorter.

    One stands still while a virtual machine is paused, the other may be set back.
    """

    def __init__(self, clocks: Callable[[], tuple[float, float]]) -> None:
        self._read = clocks
        self._total = 0.0
        self._clocks = clocks()

    def __call__(self) -> float:
        before, self._clocks = self._clocks, self._read()
        passed = max(now - then for now, then in zip(self._clocks, before, strict=True))
        self._total += max(0.0, passed)
        return self._total


def steady() -> float:
    return time.clock_gettime(_STEADY)


def runtime(settings: Settings) -> Runtime:
    """Raises MissingSettings, ValueError. Nothing connects yet."""
    given = settings.need("database_url", "redis_url", "public_url", "secret_key")
    policy = settings.send_policy()
    vault = FernetVault(given["secret_key"])
    db = create_engine(given["database_url"], pool_size=settings.database_pool)
    redis = RedisLimiter(given["redis_url"])
    shared, stopwatch = SharedClock(clock, steady), Stopwatch(lambda: (steady(), time.time()))

    async def set_clock() -> None:
        ahead = await shared.look(db)
        if abs(ahead) > NOTABLE:
            log.warning("clock.set", ahead_of_postgres_seconds=ahead.total_seconds())

    return Runtime(
        db=db,
        database_url=given["database_url"],
        carriers=Carriers(db, vault, carrier_maker(policy, shared, stopwatch)),
        engines=Engines(db, engine_maker(vault)),
        hooks=HOOKS,
        vault=vault,
        quota=FallbackLimiter(
            redis,
            LocalLimiter(time.monotonic),
            on_change=_redis_changed,
            clock=time.monotonic,
        ),
        pace=redis,
        policy=policy,
        public_url=given["public_url"],
        webhooks=HttpSender(private=settings.private_webhooks),
        formats=FORMATS,
        provisioner=OneEntry(engine_kinds.KINDS, private=settings.private_webhooks),
        private_webhooks=settings.private_webhooks,
        dialects=settings.dialects,
        importers={
            "twilio": TwilioNumbers(timeout=policy.carrier_timeout),
            "sandbox": SandboxNumbers(),
        },
        twilio_url=settings.twilio_url,
        poll=timedelta(seconds=settings.poll_seconds),
        sweep=timedelta(seconds=settings.sweep_seconds),
        drain=timedelta(seconds=settings.drain_seconds),
        now=shared,
        steady=stopwatch,
        set_clock=set_clock,
    )


def application(rt: Runtime, *, owns: bool = True) -> ASGIApp:
    """The web application, with its dialects; `owns`: it closes the runtime when it stops."""
    # Here and not above: a worker runs without a web framework.
    from textback.api.app import create_app  # noqa: PLC0415

    return create_app(rt, [dialect(name) for name in rt.dialects], owns=owns)


def dialect(name: str) -> "Dialect":
    """Only what is switched on is loaded."""
    module = importlib.import_module(f"textback.dialects.{name}.routes")
    found: Dialect = module.DIALECT
    return found


def carrier_maker(
    policy: SendPolicy, now: Callable[[], datetime], stopwatch: Callable[[], float]
) -> Callable[[CarrierAccount], Carrier]:
    def make(account: CarrierAccount) -> Carrier:
        match account.kind:
            case "twilio":
                # Here and not above: the API never sends, and the SDK is heavy.
                from textback.carriers.twilio.client import TwilioCarrier  # noqa: PLC0415

                return TwilioCarrier(account, timeout=policy.carrier_timeout, steady=stopwatch)
            case "sandbox":
                return SandboxCarrier(account, clock=now)
            case "chat":
                return ChatCarrier()
            case _:
                raise ValueError(f"carrier {account.carrier_id} is of unknown kind {account.kind}")

    return make


def engine_maker(vault: Vault) -> Callable[[AgentVersion], Engine]:
    def make(agent: AgentVersion) -> Engine:
        opened = {path: vault.open(sealed) for path, sealed in agent.secrets.items()}
        return engine_kinds.make(agent.engine, opened, clock=clock)

    return make


def _redis_changed(lost: bool) -> None:  # noqa: FBT001 - the limiter's callback
    metrics.LIMITER_LOCAL.set(int(lost))
    if lost:
        metrics.LIMITER_FALLBACKS.inc()
        log.error("limiter.local", why="Redis does not answer; limits hold per process")
    else:
        log.warning("limiter.shared", why="Redis answers again")
