"""What agents may use: turns, tokens, money; by the conversation, and by the project's day."""

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo

from textback.core.engine import Usage
from textback.core.frozen import frozen
from textback.core.policy import Budget, Budgets

Scope = Literal["conversation", "day"]
What = Literal["turns", "tokens", "cost_usd"]

_IN_WORDS: dict[What, str] = {"turns": "turns", "tokens": "tokens", "cost_usd": "US dollars"}


@frozen
class Spent:
    """A turn counts as often as an engine was asked for it."""

    turns: int = 0
    tokens: int = 0
    cost_usd: float = 0.0


@frozen
class Reached:
    """A budget is used up: the engine is not to be asked."""

    scope: Scope
    what: What
    limit: float
    until: datetime | None
    """Until when a day's budget is used up; None for a conversation's, which stays so."""

    @property
    def why(self) -> str:
        whose = "the conversation's" if self.scope == "conversation" else "the project's daily"
        return f"{whose} budget of {self.limit:g} {_IN_WORDS[self.what]} is used up"


def reached(
    budgets: Budgets, *, conversation: Spent, day: Spent, now: datetime, timezone: str
) -> Reached | None:
    """The budget that keeps the next turn from its engine; the conversation's is looked at first.

    What is under way is not known yet: as many turns as run at once may go beyond a budget.
    """
    found = _over(budgets.conversation, conversation)
    if found is not None:
        what, limit = found
        return Reached(scope="conversation", what=what, limit=limit, until=None)
    found = _over(budgets.day, day)
    if found is not None:
        what, limit = found
        return Reached(scope="day", what=what, limit=limit, until=midnight_after(now, timezone))
    return None


def spent(used: Usage, *, turns: int) -> Spent:
    tokens = used.input_tokens + used.output_tokens
    return Spent(turns=turns, tokens=tokens, cost_usd=used.cost_usd)


def day_of(now: datetime, timezone: str) -> date:
    return now.astimezone(_zone(timezone)).date()


def midnight_after(now: datetime, timezone: str) -> datetime:
    """When the next day begins there, in UTC; it need not be at 00:00 where clocks skip that."""
    zone = _zone(timezone)
    tomorrow = now.astimezone(zone).date() + timedelta(days=1)
    # Of a time that is skipped, fold=0 names the moment of the leap; of one that comes twice, the
    # first (PEP 495).
    return datetime.combine(tomorrow, time.min, zone).astimezone(UTC)


def _over(budget: Budget, spent: Spent) -> tuple[What, float] | None:
    limits: tuple[tuple[What, float | None, float], ...] = (
        ("turns", budget.turns, spent.turns),
        ("tokens", budget.tokens, spent.tokens),
        ("cost_usd", budget.cost_usd, spent.cost_usd),
    )
    return next(
        ((what, limit) for what, limit, used in limits if limit is not None and used >= limit), None
    )


def _zone(timezone: str) -> tzinfo:
    try:
        return ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        # `apply` knew it and this machine does not: no reason to let no turn run.
        return UTC
