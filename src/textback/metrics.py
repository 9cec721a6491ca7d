"""What is counted, for Prometheus. No label holds a number or an id of a message."""

from prometheus_client import Counter, Gauge

ANSWERED = Counter("textback_http_answers", "HTTP answers", ["route", "status"])
ACCEPTED = Counter("textback_accepted", "Texts accepted from callers", ["dialect"])
REPLAYED = Counter("textback_replayed", "Requests answered from their idempotency key", ["dialect"])
HOOKS = Counter("textback_hooks", "Carrier webhooks", ["carrier", "kind", "outcome"])
SENDS = Counter("textback_sends", "What came of handing texts to a carrier", ["outcome"])
BATCHES = Counter("textback_batches", "Batches accepted from callers", ["dialect"])
PLANS = Counter("textback_plans", "What came of sends whose moment had come", ["outcome"])
SETTLED = Counter("textback_look_ups", "Look-ups of uncertain texts", ["outcome"])
RECOVERED = Counter("textback_recovered", "Lost replies found at the carrier; 0 when all is well")
SWEEPS = Counter("textback_sweeps", "What came of looking for lost replies", ["outcome"])
WEBHOOKS = Counter("textback_webhooks", "What came of posting events to webhooks", ["outcome"])
WEBHOOKS_PAUSED = Counter("textback_webhooks_paused", "Webhooks paused because they kept failing")
RESCUED = Counter("textback_rescued", "Claims taken back from dead workers", ["queue"])
TURNS = Counter("textback_turns", "Agents' turns", ["outcome"])
ANALYSES = Counter("textback_analyses", "Analyses of conversations that are over", ["outcome"])
TOKENS = Counter("textback_tokens", "Tokens that agents' models read and wrote", ["direction"])
TOOL_CALLS = Counter("textback_tool_calls", "Calls that agents made in their turns", ["outcome"])
SEGMENTS_SAVED = Counter(
    "textback_segments_saved", "Segments saved by writing smart punctuation plainly"
)
EXPIRED = Counter("textback_expired", "Texts dropped because their validity was over")
ACCOUNT_LIMIT = Gauge(
    "textback_account_limit", "Requests at once that this worker gives a carrier", ["carrier"]
)
DEADLINES = Counter("textback_deadlines", "Conversations warned or closed by time")
LIMITER_LOCAL = Gauge(
    "textback_limiter_local", "1 while Redis is away and limits hold per process only"
)
LIMITER_FALLBACKS = Counter("textback_limiter_fallbacks", "Times Redis was lost")
REFUSED_BY_LIMIT = Counter("textback_rate_limited", "Requests over a project's limit", ["dialect"])
UNCERTAIN = Gauge(
    "textback_uncertain",
    "Texts that may be out or not: still looked up, or left to an operator",
    ["waits_for"],
)
OLDEST_DUE = Gauge(
    "textback_oldest_due_seconds", "How long the oldest due row of a queue has been due", ["queue"]
)
SWEPT = Gauge(
    "textback_swept_seconds", "How long ago the number longest unswept was swept for lost replies"
)
