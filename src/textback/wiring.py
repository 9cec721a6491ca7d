"""The composition root: settings in, a runtime out. Only here is anything chosen."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog
from starlette.types import ASGIApp

from textback import engine_kinds, metrics
from textback.carriers.sandbox.client import SandboxCarrier
from textback.carriers.sandbox.hooks import SandboxHooks
from textback.carriers.twilio.hooks import TwilioHooks
from textback.core.engine import Engine
from textback.core.policy import SendPolicy
from textback.core.ports import Carrier, CarrierAccount, Hooks, Vault
from textback.db.agents import AgentVersion
from textback.db.clock import SharedClock
from textback.db.session import create_engine
from textback.limiter import FallbackLimiter, LocalLimiter, RedisLimiter
from textback.runtime import Carriers, Engines, Runtime
from textback.settings import Settings
from textback.vault import FernetVault

log = structlog.stdlib.get_logger()

# Linux's CLOCK_MONOTONIC stands still while the machine is suspended.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

NOTABLE = timedelta(seconds=1)

HOOKS: dict[str, Hooks] = {"twilio": TwilioHooks(), "sandbox": SandboxHooks()}


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
        poll=timedelta(seconds=settings.poll_seconds),
        sweep=timedelta(seconds=settings.sweep_seconds),
        drain=timedelta(seconds=settings.drain_seconds),
        now=shared,
        steady=stopwatch,
        set_clock=set_clock,
    )


def application(rt: Runtime, *, owns: bool = True) -> ASGIApp:
    """The web application, with every dialect; `owns`: it closes the runtime when it stops."""
    # Here and not above: a worker runs without a web framework.
    from textback.api.app import create_app  # noqa: PLC0415
    from textback.dialects.native import routes as native  # noqa: PLC0415
    from textback.dialects.polyai import routes as polyai  # noqa: PLC0415

    return create_app(rt, [polyai.router, native.router], owns=owns)


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
