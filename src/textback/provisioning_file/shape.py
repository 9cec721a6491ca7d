"""The shape of a provisioning file: its fields, their defaults and what each may hold.

Lengths of time are seconds and may have fractions. A carrier and an engine are checked on their
own, by their `kind`.
"""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from textback.core.gcra import Rate
from textback.core.plan import CarrierKind
from textback.core.policy import (
    MAX_TEXT,
    Environment,
    OptOutReplies,
    ProjectPolicy,
    Registration,
    UnknownUser,
    WhileThinking,
)
from textback.core.reach import TWILIO
from textback.provisioning_file.access_shape import ApiKey, JwtApp, KeyPair, QuietHours, Webhook
from textback.provisioning_file.agent_shape import Agent
from textback.provisioning_file.values import (
    Count,
    Credential,
    Dollars,
    Entry,
    Id,
    Name,
    Seconds,
    Shape,
    Text,
    Timezone,
    Tokens,
    Turns,
    Word,
    is_agent_number,
    is_base_url,
    is_messaging_service,
    is_number,
    is_twilio_sid,
)

_DEFAULT: Final = ProjectPolicy()


class TwilioCarrier(Shape):
    id: Id
    kind: Literal["twilio"]
    account_sid: Annotated[str, AfterValidator(is_twilio_sid)]
    auth_token: Credential
    base_url: Annotated[str, AfterValidator(is_base_url)] = TWILIO


class SandboxCarrier(Shape):
    id: Id
    kind: Literal["sandbox"]
    account_sid: Id | None = None
    auth_token: Credential | None = None


CARRIERS: Final[dict[CarrierKind, type[TwilioCarrier | SandboxCarrier]]] = {
    "twilio": TwilioCarrier,
    "sandbox": SandboxCarrier,
}


class RateLimit(Shape):
    """`requests` at once, refilled evenly over `per_seconds`."""

    requests: Count
    per_seconds: Seconds


def _rate(default: Rate) -> RateLimit:
    return RateLimit(requests=int(default.amount), per_seconds=default.seconds)


_DEFAULT_WARN: Final = (
    _DEFAULT.idle.warn_after.total_seconds() if _DEFAULT.idle.warn_after else None
)


class Inactivity(Shape):
    warn_after_seconds: Seconds | None = _DEFAULT_WARN
    """Null: never; then an engaged conversation is not closed for silence either."""
    close_after_seconds: Seconds = _DEFAULT.idle.close_after.total_seconds()
    unanswered_after_seconds: Seconds | None = None
    """Left out: as long as an engaged conversation may be silent; null: never."""
    warning: Text = _DEFAULT.idle.warning or ""
    closing: Text | None = _DEFAULT.idle.closing


class Repeats(Shape):
    count: Annotated[int, BeforeValidator(is_number), Field(ge=2, le=1000)] = (
        _DEFAULT.inbound.repeats.count
    )
    within_seconds: Seconds = _DEFAULT.inbound.repeats.within.total_seconds()
    block_seconds: Seconds = _DEFAULT.inbound.repeats.block.total_seconds()


class Inbound(Shape):
    per_sender: RateLimit = _rate(_DEFAULT.inbound.per_sender)
    per_project: RateLimit = _rate(_DEFAULT.inbound.per_project)
    repeats: Repeats = Repeats()


class ReplyBudget(Shape):
    """Cannot be switched off: it is what ends a talk between two machines."""

    replies: Annotated[int, BeforeValidator(is_number), Field(ge=1, le=1000)]
    per_seconds: Annotated[
        float, BeforeValidator(is_number), Field(ge=1, le=86_400, allow_inf_nan=False)
    ]


_DEFAULT_BUDGET: Final = ReplyBudget(
    replies=int(_DEFAULT.reply_budget.amount), per_seconds=_DEFAULT.reply_budget.seconds
)


class Replies(Shape):
    longest_characters: Annotated[int, BeforeValidator(is_number), Field(ge=70, le=MAX_TEXT)] = (
        _DEFAULT.replies.longest
    )
    fold: bool = _DEFAULT.replies.fold
    part_wait_seconds: Annotated[
        float, BeforeValidator(is_number), Field(ge=0, le=60, allow_inf_nan=False)
    ] = _DEFAULT.replies.part_wait.total_seconds()


class BudgetOfConversation(Shape):
    """Null: as much as it wants."""

    turns: Turns | None = _DEFAULT.budgets.conversation.turns
    tokens: Tokens | None = _DEFAULT.budgets.conversation.tokens
    cost_usd: Dollars | None = _DEFAULT.budgets.conversation.cost_usd


class BudgetOfDay(Shape):
    """Null: as much as they want."""

    turns: Turns | None = _DEFAULT.budgets.day.turns
    tokens: Tokens | None = _DEFAULT.budgets.day.tokens
    cost_usd: Dollars | None = _DEFAULT.budgets.day.cost_usd


class Budgets(Shape):
    conversation: BudgetOfConversation = BudgetOfConversation()
    day: BudgetOfDay = BudgetOfDay()


class OptOutWords(Shape):
    """Whole messages, beside the usual words; case, blanks and one trailing mark do not matter."""

    stop: tuple[Word, ...] = ()
    start: tuple[Word, ...] = ()
    help: tuple[Word, ...] = ()


class Connector(Shape):
    id: Id
    environment: Environment


class Number(Shape):
    number: Annotated[str, AfterValidator(is_agent_number)]
    environment: Environment = "live"
    carrier: Id
    segments_per_second: (
        Annotated[float, BeforeValidator(is_number), Field(gt=0, le=10_000, allow_inf_nan=False)]
        | None
    ) = None
    opt_out_replies: OptOutReplies | None = None
    agent: Id | None = None
    """Who answers there; null: the project's."""
    replies: bool = True
    """False: what users say is kept, and the agent does not answer."""
    registration: Registration | None = None
    """Of a US number, for A2P 10DLC; null: not said, and nothing is refused for it."""
    messaging_service_sid: Annotated[str, AfterValidator(is_messaging_service)] | None = None


class Project(Shape):
    id: Id
    name: Name | None = None
    agent: Id
    rate_limit: RateLimit = _rate(_DEFAULT.rate_limit)
    inactivity: Inactivity = Inactivity()
    reply_delay_seconds: Annotated[
        float, BeforeValidator(is_number), Field(ge=0, le=30, allow_inf_nan=False)
    ] = _DEFAULT.reply_delay.total_seconds()
    """At most the 30 s that a turn ever waits (`core.policy.TURN_CAP`)."""
    validity_seconds: Annotated[
        float, BeforeValidator(is_number), Field(ge=1, le=604_800, allow_inf_nan=False)
    ] = _DEFAULT.validity.total_seconds()
    """Up to a week in our own queue; Twilio holds a text for at most 36,000 s of what is left."""
    unknown_user: UnknownUser = _DEFAULT.unknown_user
    opt_out_words: OptOutWords = OptOutWords()
    inbound_limits: Inbound = Inbound()
    reply_budget: ReplyBudget = _DEFAULT_BUDGET
    while_thinking: WhileThinking = _DEFAULT.while_thinking
    replies: Replies = Replies()
    budgets: Budgets = Budgets()
    timezone: Timezone = _DEFAULT.timezone
    draft_environments: tuple[Literal["dev", "sandbox"], ...] = ()
    """Where conversations begin on the agent's draft; users in the others never meet it."""
    quiet_hours: QuietHours | None = None
    """By the recipient's clock."""
    retention_days: Annotated[int, BeforeValidator(is_number), Field(ge=1, le=36_500)] | None = None
    """At least as long as an idempotency key is good (`core.policy.IDEMPOTENCY_TTL`)."""
    webhooks: tuple[Webhook, ...] = ()
    connectors: tuple[Connector, ...] = ()
    numbers: tuple[Number, ...] = ()


class Account(Shape):
    id: Id
    name: Name | None = None
    agent_template: Id | None = None
    """Agents that an API makes with a prompt alone run as this one does."""
    webhook_secret: Credential | None = None
    """Signs what dialects post to the URL of one conversation."""
    api_keys: tuple[ApiKey, ...] = ()
    key_pairs: tuple[KeyPair, ...] = ()
    jwt_apps: tuple[JwtApp, ...] = ()
    webhooks: tuple[Webhook, ...] = ()
    carriers: tuple[Entry, ...] = ()
    agents: tuple[Agent, ...] = ()
    projects: tuple[Project, ...] = ()


class File(Shape):
    accounts: Annotated[list[Account], Field(min_length=1)]
