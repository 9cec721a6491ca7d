"""What is counted, for Prometheus; described in docs/metrics.md, name by name.

No label holds an id of anybody's, a number or words: each has a fixed set of values, or those of
our own code. What is the same for all processes is read from Postgres when somebody looks
(`exposition.py`); everything here is counted by each process for itself. `serve --workers` counts
in files that its processes share (`serve_with` in cli/serving.py), so each gauge says how those of
several processes become one.
"""

import os
from collections import Counter as Tally
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Final, get_args

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.multiprocess import (
    MultiProcessCollector,
    mark_process_dead,  # pyright: ignore[reportUnknownVariableType]
)

from textback import __version__
from textback.core import carrier_codes
from textback.core.errors import Refusal
from textback.core.events import Event, Kind
from textback.core.message import DropReason
from textback.core.turn import Outcome

disable_created_metrics()  # a time series for each counter that nobody asks for

MANY_PROCESSES: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable by which prometheus-client counts in files of that folder."""

# In seconds. Few: each is a time series for each combination of labels.
_FAST: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW: Final = (0.25, 0.5, 1, 2, 3, 5, 8, 13, 20, 30, 60, 120, 300)

# --- Requests ------------------------------------------------------------------------------------

HTTP: Final = Histogram(
    "textback_http_request_seconds",
    "Requests, and how long each took, by route template and class of status",
    ["dialect", "route", "method", "status"],
    buckets=_FAST,
)
ACCEPTED: Final = Counter("textback_accepted", "Texts accepted from callers", ["dialect"])
REPLAYED: Final = Counter(
    "textback_replayed", "Requests answered from their idempotency key", ["dialect"]
)
REFUSED: Final = Counter(
    "textback_refused", "Requests that callers were refused, by reason", ["dialect", "reason"]
)
BATCHES: Final = Counter("textback_batches", "Batches accepted from callers", ["dialect"])
HOOKS: Final = Counter(
    "textback_hooks", "Carrier webhooks, by what came of them", ["carrier", "kind", "outcome"]
)

# --- Texts and conversations ---------------------------------------------------------------------

MESSAGES: Final = Counter("textback_messages", "Texts that came to a state", ["state"])
FAILED: Final = Counter(
    "textback_messages_failed", "Texts that failed, by the carrier's code", ["code"]
)
SUPPRESSED: Final = Counter(
    "textback_messages_suppressed", "Texts dropped before they left, by reason", ["reason"]
)
CONVERSATIONS: Final = Counter(
    "textback_conversations", "Conversations that came to a state", ["state"]
)
OPT_OUTS: Final = Counter("textback_opt_outs", "Opt-outs (out) and their ends (in)", ["change"])
SENDS: Final = Counter("textback_sends", "What came of handing texts to a carrier", ["outcome"])
SEND_WAIT: Final = Histogram(
    "textback_send_wait_seconds",
    "From the moment a text was written until it was first handed to the carrier",
    buckets=(*_FAST, 30, 60, 300, 1800),
)
CARRIER: Final = Histogram(
    "textback_carrier_seconds",
    "Requests that hand over a text, and how long the carrier took to answer",
    ["carrier", "outcome"],
    buckets=_FAST,
)
SETTLED: Final = Counter("textback_look_ups", "Look-ups of uncertain texts", ["outcome"])
RECOVERED: Final = Counter(
    "textback_recovered", "Lost replies found at the carrier; 0 when all is well"
)
SWEEPS: Final = Counter("textback_sweeps", "What came of looking for lost replies", ["outcome"])
REPLICA_LOST: Final = Gauge(
    "textback_replica_lost",
    "1 while the replica does not answer, and the primary does",
    multiprocess_mode="livemax",
)
REPLICA_FALLBACKS: Final = Counter("textback_replica_fallbacks", "Times the replica was lost")
FORGOTTEN: Final = Counter(
    "textback_forgotten", "What projects do not keep any longer, as it was removed", ["what"]
)
EXPIRED: Final = Counter("textback_expired", "Texts dropped because their validity was over")
PLANS: Final = Counter("textback_plans", "What came of sends whose moment had come", ["outcome"])
DEADLINES: Final = Counter("textback_deadlines", "Conversations warned or closed by time")
RESCUED: Final = Counter("textback_rescued", "Claims taken back from dead workers", ["queue"])
SEGMENTS_SAVED: Final = Counter(
    "textback_segments_saved", "Segments saved by writing smart punctuation plainly"
)
SLOWED: Final = Gauge(
    "textback_carrier_accounts_slowed",
    "Carrier accounts that this worker sends to with less than all its room",
    multiprocess_mode="livesum",
)

# --- Agents --------------------------------------------------------------------------------------

TURNS: Final = Counter("textback_turns", "Agents' turns, by how they ended", ["outcome"])
TURN: Final = Histogram(
    "textback_turn_seconds",
    "From a user's text until its answer was queued, the wait for quiet included",
    buckets=_SLOW,
)
ENGINE: Final = Histogram(
    "textback_engine_seconds", "How long engines thought", ["engine"], buckets=_SLOW
)
ENGINE_ERRORS: Final = Counter(
    "textback_engine_errors", "Engines that gave no usable answer", ["engine", "kind"]
)
ANALYSES: Final = Counter(
    "textback_analyses", "Analyses of conversations that are over", ["outcome"]
)
TOKENS: Final = Counter(
    "textback_tokens", "Tokens that agents' models read and wrote", ["direction"]
)
TOOL_CALLS: Final = Counter(
    "textback_tool_calls", "Calls that agents made in their turns", ["outcome"]
)

# --- Webhooks out --------------------------------------------------------------------------------

WEBHOOKS: Final = Counter(
    "textback_webhooks", "What came of posting events to webhooks", ["outcome"]
)
WEBHOOK: Final = Histogram(
    "textback_webhook_seconds", "How long receivers of events took to answer", buckets=_FAST
)
WEBHOOKS_PAUSED: Final = Counter(
    "textback_webhooks_paused", "Webhooks paused because they kept failing"
)

# --- The process and what it needs ---------------------------------------------------------------

LIMITER_LOCAL: Final = Gauge(
    "textback_limiter_local",
    "1 while Redis is away and limits hold per process only",
    multiprocess_mode="livemax",
)
LIMITER_FALLBACKS: Final = Counter("textback_limiter_fallbacks", "Times Redis was lost")
POOL_SIZE: Final = Gauge(
    "textback_pool_size",
    "Connections to Postgres that the process may have",
    multiprocess_mode="livesum",
)
POOL_IN_USE: Final = Gauge(
    "textback_pool_in_use", "Connections to Postgres in use", multiprocess_mode="livesum"
)
POOL_WAITING: Final = Gauge(
    "textback_pool_waiting",
    "Who waits for a connection to Postgres",
    multiprocess_mode="livesum",
)
GROUP: Final = Histogram(
    "textback_group_size",
    "How many were done together, in one commit or one round trip",
    ["group"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
CLOCK_OFF: Final = Gauge(
    "textback_clock_off_seconds",
    "How far the machine's clock is from Postgres', which is gone by",
    multiprocess_mode="livemax",
)
BUILD: Final = Gauge(
    "textback_build_info",
    "1; the label says which version runs",
    ["version"],
    multiprocess_mode="livemax",
)
BUILD.labels(__version__).set(1)


_COUNTED: Final = {"message": MESSAGES, "conversation": CONVERSATIONS, "user": OPT_OUTS}
"""By what an event is about."""


_BY_KIND: Final[dict[str, Counter]] = {
    kind: _COUNTED[subject].labels(what.removeprefix("opted_"))
    for kind, (subject, _, what) in ((kind, kind.partition(".")) for kind in get_args(Kind))
    if subject in _COUNTED
}
"""All from the start: else the first of a kind would be no increase, and alerts would see the
second only. So are those below."""

_KNOWN: Final[tuple[tuple[Counter, Sequence[str]], ...]] = (
    (SUPPRESSED, get_args(DropReason)),
    (TURNS, get_args(Outcome)),
    (RESCUED, ("messages", "turns", "webhooks")),
    (BATCHES, ("native",)),
    (PLANS, ("accepted", "refused", "held", "failed")),
    (ANALYSES, ("analysed", "put_off", "not_analysed", "lost")),
    (TOOL_CALLS, ("done", "failed", "replayed")),
    (WEBHOOKS, ("delivered", "again", "failed", "skipped", "kept", "lost", "unsigned")),
    (FORGOTTEN, ("conversations", "texts", "batches", "sends", "events")),
)
for _counter, _values in _KNOWN:
    for _value in _values:
        _counter.labels(_value)
for _kind, _came in product(("inbound", "status"), ("unavailable", "forged")):
    HOOKS.labels("twilio", _kind, _came)


class Place:
    """Somebody's at the pool of connections: first they wait, then they have one."""

    __slots__ = ("_at",)

    def __init__(self) -> None:
        self._at = POOL_WAITING
        self._at.inc()

    def taken(self) -> None:
        self._at.dec()
        self._at = POOL_IN_USE
        self._at.inc()

    def left(self) -> None:
        self._at.dec()


OTHER: Final = "other"
"""Instead of a label's value that is not one of a known few."""


def known_code(code: object) -> str:
    """The carrier's code, if we know it: others are many, and anybody's."""
    return code if isinstance(code, str) and carrier_codes.is_known(code) else OTHER


def refused(dialect: str, refusal: Refusal) -> None:
    REFUSED.labels(dialect, _reason(type(refusal))).inc()


def told(events: Sequence[Event]) -> None:
    """Count what was committed, by what is told of it."""
    for kind, times in Tally(event.kind for event in events).items():
        if (counter := _BY_KIND.get(kind)) is not None:
            counter.inc(times)
        if kind in _WITH_REASONS:
            for event in events:
                if event.kind == kind:
                    _WITH_REASONS[kind](event.data)


_WITH_REASONS: Final[Mapping[str, Callable[[Mapping[str, object]], None]]] = {
    "message.failed": lambda data: FAILED.labels(known_code(data.get("error_code"))).inc(),
    "message.suppressed": lambda data: SUPPRESSED.labels(data.get("reason")).inc(),
}


def registry() -> CollectorRegistry:
    """All that was counted: by this process, or by all that count in the same files."""
    if MANY_PROCESSES not in os.environ:
        return REGISTRY
    together = CollectorRegistry()
    MultiProcessCollector(together)
    return together


def gone(pid: int | None, folder: str) -> None:
    """A process that counted there has ended: it uses no connection any more, and so on."""
    mark_process_dead(pid, folder)


def _reason(kind: type[Refusal]) -> str:
    """RateLimited -> rate_limited."""
    words = "".join(f"_{c.lower()}" if c.isupper() else c for c in kind.__name__)
    return words.removeprefix("_")
