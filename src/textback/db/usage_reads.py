"""What an account used: texts, conversations, turns; counted when asked, a week at a time.

Texts are counted by `ix_messages_project`, conversations by `ix_conversations_account`. Days are
those of each project's own zone, as its budgets have them.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Date, cast, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core.frozen import frozen
from textback.core.ids import AccountId, earliest
from textback.db.session import transaction
from textback.db.tables import conversations, messages, past_usage, projects, usage_days
from textback.db.tenants import POLICY

By = Literal["day", "project", "number"]

_STEP = timedelta(days=7)
_IDS_ARE_OLDER = timedelta(days=91)
"""Than the conversation, at most: a planned send has its ids when it is planned."""


@dataclass(slots=True, kw_only=True)
class Used:
    """Of one day, project or number."""

    received: int = 0
    """Texts from users."""
    written: int = 0
    """Texts of ours, whatever became of them."""
    states: Counter[str] = field(default_factory=Counter[str])
    """Of ours."""
    error_codes: Counter[str] = field(default_factory=Counter[str])
    segments: int = 0
    """Of ours that the carrier has, or may have."""
    segments_saved: int = 0
    opened: int = 0
    """Conversations."""
    closed: Counter[str] = field(default_factory=Counter[str])
    """Of those, how many are over by now, by reason."""
    turns: int = 0
    tokens: int = 0
    cost_usd: float = 0.0


@frozen(kw_only=False)
class _Span:
    """Whole days of one project."""

    account_id: AccountId
    project_id: str
    zone: str
    first: date
    last: date

    def moment(self, day: date) -> datetime:
        return datetime.combine(day, time(), ZoneInfo(self.zone))


async def used(
    db: AsyncEngine,
    account_id: AccountId,
    *,
    project: str | None,
    first: date,
    last: date,
    by: By,
) -> dict[str, Used]:
    """By day (ISO), project or number, in that order. What was not used is not there.

    What turns used is known by day and project, and not by number.
    """
    found: dict[str, Used] = {}
    async with transaction(db) as c:
        query = select(projects.c.id, projects.c.policy).where(projects.c.account_id == account_id)
        if project is not None:
            query = query.where(projects.c.id == project)
        rows = (await c.execute(query.order_by(projects.c.id))).all()
    for row in rows:
        zone = POLICY.validate_python(row.policy).timezone
        span = _Span(account_id, row.id, zone, first, last)
        for some in _steps(span):
            async with transaction(db) as c:
                await _texts(c, some, by, found)
                await _conversations(c, some, by, found)
        async with transaction(db) as c:
            await _past(c, span, by, found)
        if by != "number":
            async with transaction(db) as c:
                await _turns(c, span, by, found)
    return dict(sorted(found.items()))


def _steps(span: _Span) -> Iterator[_Span]:
    first = span.first
    while first <= span.last:
        last = min(first + _STEP - timedelta(days=1), span.last)
        yield _Span(span.account_id, span.project_id, span.zone, first, last)
        first = last + timedelta(days=1)


def _key(by: By, span: _Span, at: ColumnElement[datetime], number: ColumnElement[str]) -> Any:  # noqa: ANN401 - a column
    match by:
        case "day":
            return cast(func.timezone(span.zone, at), Date)
        case "project":
            return literal(span.project_id)
        case "number":
            return number


async def _texts(c: AsyncConnection, span: _Span, by: By, found: dict[str, Used]) -> None:
    t = messages.c
    key = _key(by, span, t.created_at, t.agent_number).label("key")
    groups = (key, t.direction, t.state, t.error_code)
    rows = await c.execute(
        select(
            *groups,
            func.count().label("texts"),
            func.coalesce(func.sum(t.segments), 0).label("segments"),
            func.coalesce(func.sum(t.segments_saved), 0).label("saved"),
        )
        .where(
            t.project_id == span.project_id,
            t.created_at >= span.moment(span.first),
            t.created_at < span.moment(span.last + timedelta(days=1)),
        )
        .group_by(*groups)
    )
    for row in rows:
        of = found.setdefault(str(row.key), Used())
        if row.direction == "inbound":
            of.received += row.texts
            continue
        of.written += row.texts
        of.states[row.state] += row.texts
        if row.error_code is not None:
            of.error_codes[row.error_code] += row.texts
        if row.state not in {"queued", "suppressed"}:
            of.segments += row.segments
            of.segments_saved += row.saved


async def _conversations(c: AsyncConnection, span: _Span, by: By, found: dict[str, Used]) -> None:
    t = conversations.c
    since, until = span.moment(span.first), span.moment(span.last + timedelta(days=1))
    key = _key(by, span, t.opened_at, t.agent_number).label("key")
    rows = await c.execute(
        select(key, t.reason, func.count().label("talks"))
        .where(
            t.account_id == span.account_id,
            t.id >= earliest("conv_", since - _IDS_ARE_OLDER),
            t.id < earliest("conv_", until + timedelta(seconds=1)),
            t.project_id == span.project_id,
            t.opened_at >= since,
            t.opened_at < until,
        )
        .group_by(key, t.reason)
    )
    for row in rows:
        of = found.setdefault(str(row.key), Used())
        of.opened += row.talks
        if row.reason is not None:
            of.closed[row.reason] += row.talks


async def _past(c: AsyncConnection, span: _Span, by: By, found: dict[str, Used]) -> None:
    """Of what is not there any more."""
    p = past_usage.c
    rows = await c.execute(
        select(past_usage).where(
            p.project_id == span.project_id, p.day >= span.first, p.day <= span.last
        )
    )
    for row in rows:
        keys = {"day": str(row.day), "project": span.project_id, "number": row.agent_number}
        of = found.setdefault(keys[by], Used())
        match row.kind:
            case "conversation":
                of.opened += row.times
                of.closed[row.state] += row.times
            case "inbound":
                of.received += row.times
            case _:
                of.written += row.times
                of.states[row.state] += row.times
                of.segments += row.segments
                of.segments_saved += row.segments_saved
                if row.error_code:
                    of.error_codes[row.error_code] += row.times


async def _turns(c: AsyncConnection, span: _Span, by: By, found: dict[str, Used]) -> None:
    d = usage_days.c
    rows = await c.execute(
        select(d.day, d.turns, d.tokens, d.cost_usd).where(
            d.project_id == span.project_id, d.day >= span.first, d.day <= span.last
        )
    )
    for row in rows:
        of = found.setdefault(str(row.day if by == "day" else span.project_id), Used())
        of.turns += row.turns
        of.tokens += row.tokens
        of.cost_usd += row.cost_usd
