"""Conversations by any of their fields, in any order, with a total: for those who page by number.

It looks at every conversation of the account: for lists that people read. Programs follow cursors
(`db/conversation_reads.py`).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, case, func, literal, select
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.frozen import frozen
from textback.core.ids import AccountId
from textback.db.session import transaction
from textback.db.tables import conversations, messages

Operator = Literal["eq", "contains", "startsWith", "endsWith", "gt", "gte", "lt", "lte"]

t, m = conversations.c, messages.c


@frozen
class Filter:
    field: str
    """A key of `FIELDS`."""
    operator: Operator
    value: str | bool | int | datetime
    """As the field is."""


@frozen
class Listed:
    id: str
    created_at: datetime
    updated_at: datetime
    user_number: str
    agent_number: str
    variables: Mapping[str, Any]
    current_node_id: str | None
    agent_id: str
    agent_version: int
    is_active: bool
    message_count: int
    last_message: str | None
    last_message_at: datetime | None
    reason: str | None
    closed_at: datetime | None
    handed_off_at: datetime | None
    why_handed_off: str | None
    analysis: Mapping[str, Any] | None
    metadata: Mapping[str, Any]
    account_id: str


def _last(column: ColumnElement[Any]) -> ColumnElement[Any]:
    latest = select(column).where(m.conversation_id == t.id).order_by(m.seq.desc()).limit(1)
    return latest.scalar_subquery()


FIELDS: Mapping[str, ColumnElement[Any]] = {
    "id": t.id,
    "created_at": t.opened_at,
    "updated_at": func.greatest(t.active_at, t.closed_at),
    "user_number": func.regexp_replace(t.user_number, "^[a-z]+:", ""),
    "agent_number": func.regexp_replace(t.agent_number, "^[a-z]+:", ""),
    # Until it has begun: where it will.
    "current_node_id": func.coalesce(t.engine_state["node"].astext, t.start_node),
    "curr_pathway_id": t.agent_id,
    "is_active": t.state != "closed",
    "message_count": select(func.count())
    .where(m.conversation_id == t.id)
    .correlate(conversations)
    .scalar_subquery(),
    "last_message": _last(m.text),
    "last_message_at": _last(m.created_at),
    "effective_channel": func.coalesce(func.substring(t.user_number, "^([a-z]+):"), "sms"),
    "summary": t.analysis["summary"].astext,
    "disposition_tag": t.analysis["outcome"].astext,
}
"""What can be filtered and sorted by."""


async def some(
    db: AsyncEngine,
    account_id: AccountId,
    filters: Sequence[Filter],
    *,
    sort_by: str,
    descending: bool,
    offset: int,
    limit: int,
) -> tuple[list[Listed], int]:
    """One page, and how many there are in all. Raises Unavailable."""
    which = [t.account_id == account_id, *map(_condition, filters)]
    order = FIELDS[sort_by]
    query = _listed().where(*which)
    query = query.order_by(order.desc().nulls_last() if descending else order, t.id)
    async with transaction(db) as c:
        total = await c.scalar(select(func.count()).select_from(conversations).where(*which))
        rows = await c.execute(query.offset(offset).limit(limit))
        return [Listed(**row) for row in rows.mappings()], total or 0


async def one(db: AsyncEngine, account_id: AccountId, conversation_id: str) -> Listed | None:
    query = _listed().where(t.account_id == account_id, t.id == conversation_id)
    async with transaction(db) as c:
        row = (await c.execute(query)).mappings().one_or_none()
    return None if row is None else Listed(**row)


def _listed() -> Select[Any, Any, Any]:
    own = "id user_number agent_number variables agent_id agent_version reason closed_at"
    own += " handed_off_at why_handed_off analysis metadata account_id"
    made = "created_at updated_at current_node_id is_active message_count last_message"
    made += " last_message_at"
    return select(
        *[t[name] for name in own.split()], *[FIELDS[name].label(name) for name in made.split()]
    )


def _condition(asked: Filter) -> ColumnElement[bool]:
    field, value = FIELDS[asked.field], asked.value
    match asked.operator:
        case "eq":
            return field == value
        case "gt":
            return field > value
        case "gte":
            return field >= value
        case "lt":
            return field < value
        case "lte":
            return field <= value
        case _:
            place = func.strpos(func.lower(field), func.lower(literal(str(value))))
            length = func.length(field) - len(str(value)) + 1
            at = {"contains": place > 0, "startsWith": place == 1}
            ends = func.lower(func.right(field, len(str(value)))) == str(value).lower()
            return at.get(asked.operator, case((length > 0, ends), else_=literal(value=False)))
