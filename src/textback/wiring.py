"""The composition root: settings in, a runtime out. Only here is anything chosen."""

import importlib
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from textback import engine_kinds, logs, metrics, tracing
from textback.carriers.chat import ChatCarrier
from textback.carriers.sandbox.client import SandboxCarrier
from textback.carriers.sandbox.hooks import SandboxHooks
from textback.carriers.sandbox.importing import SandboxNumbers
from textback.carriers.twilio.hooks import TwilioHooks
from textback.carriers.twilio.importing import TwilioNumbers
from textback.core import ids, reach
from textback.core.engine import Engine
from textback.core.policy import SendPolicy
from textback.core.ports import Carrier, CarrierAccount, Hooks, Vault
from textback.core.throttle import Lately
from textback.core.told import WebhookFormat
from textback.db.agents import AgentVersion
from textback.db.book import Book
from textback.db.clock import SharedClock
from textback.db.replica import Reading
from textback.db.session import create_engine
from textback.dialects.bland.events import BlandFormat
from textback.dialects.native.events import NativeFormat
from textback.dialects.nixflex.events import NixflexFormat
from textback.flows.accept import Accepting
from textback.flows.receipt import Receipts
from textback.limiter import FallbackLimiter, LocalLimiter, RedisLimiter
from textback.limiter_ahead import AheadLimiter
from textback.provisioning_file.single import OneEntry
from textback.public_network import CarrierWay, PublicNetwork, Way
from textback.runtime import Carriers, Engines, Runtime
from textback.settings import Settings
from textback.vault import FernetVault
from textback.webhook_sender import HttpSender

if TYPE_CHECKING:  # a worker runs without a web framework
    from textback.api.dialect import Dialect
    from textback.api.direct import Direct

log = structlog.stdlib.get_logger()

# Linux's CLOCK_MONOTONIC stands still while the machine is suspended.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

NOTABLE = timedelta(seconds=1)

os.register_at_fork(after_in_child=ids.begin_anew)

_OTEL = (
    "EXPORTER_OTLP_ENDPOINT",
    "EXPORTER_OTLP_TRACES_ENDPOINT",
    "SDK_DISABLED",
    "TRACES_EXPORTER",
)

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
    logs.conceal(*settings.secrets())
    policy = settings.send_policy()
    vault = FernetVault(given["secret_key"])
    db = create_engine(given["database_url"], pool_size=settings.database_pool)
    metrics.POOL_SIZE.set(settings.database_pool * (2 if settings.replica_url else 1))
    book = Book(db)
    replica = (
        create_engine(settings.replica_url, pool_size=settings.database_pool, read_only=True)
        if settings.replica_url
        else None
    )
    redis = RedisLimiter(given["redis_url"])
    public = None if settings.private_webhooks else PublicNetwork()
    way = CarrierWay(public, settings.twilio_url)
    shared, stopwatch = SharedClock(clock, steady), Stopwatch(lambda: (steady(), time.time()))

    async def set_clock() -> None:
        ahead = await shared.look(db)
        metrics.CLOCK_OFF.set(abs((clock() - shared()).total_seconds()))
        if abs(ahead) > NOTABLE:
            log.warning("clock.set", ahead_of_postgres_seconds=ahead.total_seconds())

    return Runtime(
        db=db,
        reading=Reading(db, replica, clock=time.monotonic, on_change=_replica_changed),
        database_url=given["database_url"],
        direct_url=settings.direct(),
        book=book,
        accepting=Accepting(db, book, observe=metrics.GROUP.labels("accept").observe),
        receipts=Receipts(db),
        lately=Lately(),
        carriers=Carriers(db, vault, carrier_maker(policy, shared, stopwatch, way)),
        engines=Engines(db, engine_maker(vault, public)),
        hooks=HOOKS,
        vault=vault,
        quota=AheadLimiter(
            FallbackLimiter(
                redis,
                LocalLimiter(time.monotonic),
                on_change=_redis_changed,
                clock=time.monotonic,
            ),
            clock=time.monotonic,
        ),
        pace=redis,
        policy=policy,
        public_url=given["public_url"],
        webhooks=HttpSender(private=settings.private_webhooks),
        formats=FORMATS,
        provisioner=OneEntry(engine_kinds.KINDS, private=settings.private_webhooks),
        metrics_token=settings.metrics_token,
        private_webhooks=settings.private_webhooks,
        dialects=settings.dialects,
        importers={
            "twilio": TwilioNumbers(timeout=policy.carrier_timeout, way=way),
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


def application(rt: Runtime, *, owns: bool = True) -> "Direct":
    """The web application, with its dialects; `owns`: it closes the runtime when it stops."""
    # Here and not above: a worker runs without a web framework.
    from textback.api.app import create_app  # noqa: PLC0415

    return create_app(rt, [dialect(name) for name in rt.dialects], owns=owns)


def traced(service: str) -> AbstractContextManager[None]:
    """Traces meanwhile, if OpenTelemetry's own variables say where they go (docs/tracing.md).

    `service`: its name, unless they say another.
    """
    given = {name: os.environ.get(f"OTEL_{name}", "").lower() for name in _OTEL}
    wanted = given["EXPORTER_OTLP_ENDPOINT"] or given["EXPORTER_OTLP_TRACES_ENDPOINT"]
    if not wanted or given["SDK_DISABLED"] == "true" or given["TRACES_EXPORTER"] == "none":
        return nullcontext()
    try:
        # Here and not above: an extra, and nobody else's business.
        from textback.otel import OtelTracer  # noqa: PLC0415
    except ImportError:
        log.warning("tracing.off", why="install textback[otel]")
        return nullcontext()
    return tracing.using(OtelTracer(service))


def dialect(name: str) -> "Dialect":
    """Only what is switched on is loaded."""
    module = importlib.import_module(f"textback.dialects.{name}.routes")
    found: Dialect = module.DIALECT
    return found


def carrier_maker(
    policy: SendPolicy,
    now: Callable[[], datetime],
    stopwatch: Callable[[], float],
    way: CarrierWay,
) -> Callable[[CarrierAccount], Carrier]:
    def make(account: CarrierAccount) -> Carrier:
        match account.kind:
            case "twilio":
                # Here and not above: the API never sends, and the SDK is heavy.
                from textback.carriers.twilio.client import TwilioCarrier  # noqa: PLC0415

                return TwilioCarrier(
                    account,
                    timeout=policy.carrier_timeout,
                    steady=stopwatch,
                    transport=way.transport(account),
                )
            case "sandbox":
                return SandboxCarrier(account, clock=now)
            case "chat":
                return ChatCarrier()
            case _:
                raise ValueError(f"carrier {account.carrier_id} is of unknown kind {account.kind}")

    return make


def engine_maker(vault: Vault, public: PublicNetwork | None) -> Callable[[AgentVersion], Engine]:
    """`public`: the way to what an API said; None: the same as to what the file said."""

    def make(agent: AgentVersion) -> Engine:
        opened = {path: vault.open(sealed) for path, sealed in agent.secrets.items()}
        way = Way(public, reach.open_origins(agent.engine, agent.private_urls))
        return engine_kinds.make(agent.engine, opened, clock=clock, way=way)

    return make


def _redis_changed(lost: bool) -> None:  # noqa: FBT001 - the limiter's callback
    metrics.LIMITER_LOCAL.set(int(lost))
    if lost:
        metrics.LIMITER_FALLBACKS.inc()
        log.error("limiter.local", why="Redis does not answer; limits hold per process")
    else:
        log.warning("limiter.shared", why="Redis answers again")


def _replica_changed(lost: bool) -> None:  # noqa: FBT001 - called so
    metrics.REPLICA_LOST.set(int(lost))
    if lost:
        metrics.REPLICA_FALLBACKS.inc()
        log.error("replica.lost", why="it does not answer; the primary does")
    else:
        log.warning("replica.again", why="it answers again")
