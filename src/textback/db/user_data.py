"""All that is held about one user: found for who exports it, and for who erases it.

It looks through whole tables where no index helps: for a person at a command line, who waits.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, Table, delete, false, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core import written
from textback.core.ids import AccountId, ConversationId
from textback.core.optout import every_number_of
from textback.core.phone import Phone, bare
from textback.db import erasing, plans
from textback.db.tables import (
    accounts,
    batches,
    conversations,
    events,
    idempotency_keys,
    messages,
    numbers,
    opt_outs,
    planned_sends,
    projects,
    tool_calls,
    turns,
    uploads,
    webhook_deliveries,
    webhook_endpoints,
)

OF_CONVERSATION: Final[Mapping[str, Table]] = {
    "messages": messages,
    "turns": turns,
    "tool_calls": tool_calls,
    "events": events,
    "webhooks": webhook_endpoints,
    "deliveries": webhook_deliveries,
}
"""What an export has within each conversation, and where that is kept."""

OF_USER: Final[Mapping[str, Table]] = {
    "conversations": conversations,
    "planned_sends": planned_sends,
    "events": events,
    "opt_outs": opt_outs,
    "uploads": uploads,
}
"""What it has of the user beside them."""

UNTOLD: Final = frozenset({("webhooks", "secrets"), ("uploads", "content")})
"""Ours, or others'."""

_WELL_WRITTEN: Final = "^((rcs|whatsapp):)?[+][0-9]+$"


async def has_account(c: AsyncConnection, account_id: AccountId) -> bool:
    """Also one that was removed: its conversations are there."""
    return await c.scalar(select(accounts.c.id).where(accounts.c.id == account_id)) is not None


async def conversations_of(
    c: AsyncConnection, users: Sequence[Phone], account_id: AccountId | None
) -> list[ConversationId]:
    """The oldest first. `account_id` None: of every account's."""
    t = conversations.c
    mine = t.project_id.in_(select(projects.c.id)) & t.user_number.in_(users)
    query = select(t.id).where(mine, *_of(t.account_id, account_id)).order_by(t.opened_at, t.id)
    return [ConversationId(each) for each in await c.scalars(query)]


async def planned(
    c: AsyncConnection, users: Sequence[Phone], account_id: AccountId | None
) -> list[tuple[AccountId, str]]:
    """Sends that are not due yet, rows of batches too: whose, and their ids."""
    p = planned_sends.c
    which = (p.user_number.in_(users), p.state == "planned", *_of(p.account_id, account_id))
    rows = await c.execute(select(p.account_id, p.id).where(*which).order_by(p.id))
    return [(AccountId(row.account_id), row.id) for row in rows]


async def whole(
    c: AsyncConnection, users: Sequence[Phone], account_id: AccountId | None
) -> dict[str, list[dict[str, Any]]]:
    """The rows of `OF_USER`; each conversation with its own of `OF_CONVERSATION`."""
    ids = await conversations_of(c, users, account_id)
    found = {
        "conversations": await _rows(c, "conversations", conversations, conversations.c.id.in_(ids))
    }
    for talk in found["conversations"]:
        for name, table in OF_CONVERSATION.items():
            talk[name] = await _rows(c, name, table, table.c.conversation_id == talk["id"])
    for name, which in _beside(users, account_id).items():
        found[name] = await _rows(c, name, OF_USER[name], which)
    b = batches.c
    named = {send["batch_id"] for send in found["planned_sends"]}
    rows = await c.execute(select(b.id, b.command).where(b.id.in_(named)))
    shared = {row.id: row.command for row in rows}
    for send in found["planned_sends"]:  # a row of a batch has only what is its own
        send["command"] = plans.whole(shared.get(send["batch_id"]), send["command"])
    return found


async def standing_opt_outs(
    c: AsyncConnection, users: Sequence[Phone], account_id: AccountId | None
) -> list[tuple[str, str]]:
    """Which number, or project as a whole, may not text which of the user's addresses."""
    t = opt_outs.c
    which = (_opt_outs(users, account_id), t.opted_in_at.is_(None))
    rows = await c.execute(select(t.agent_number, t.user_number).where(*which).order_by(t.id))
    return [(row.agent_number, row.user_number) for row in rows]


async def count(
    c: AsyncConnection, users: Sequence[Phone], account_id: AccountId | None
) -> dict[str, int]:
    """As `erase` and its flow would remove it; of conversations also how many texts they have."""
    ids = await conversations_of(c, users, account_id)
    texts = select(func.count()).where(messages.c.conversation_id.in_(ids))
    found = {"conversations": len(ids), "texts": await c.scalar(texts) or 0}
    for name, which in _beside(users, account_id).items():
        found[name] = (
            await c.scalar(select(func.count()).select_from(OF_USER[name]).where(which)) or 0
        )
    return found


async def erase(
    c: AsyncConnection, users: Sequence[Phone], account_id: AccountId | None
) -> dict[str, int]:
    """What is not in conversations; plans are over by now. Opt-outs stay.

    Gives how many there were of what is counted nowhere else.
    """
    which = _beside(users, account_id)
    await erasing.blank_plans(c, which["planned_sends"])
    told = list(await c.scalars(select(events.c.id).where(which["events"])))
    await erasing.deliveries(c, webhook_deliveries.c.event_id.in_(told))
    await c.execute(delete(events).where(events.c.id.in_(told)))
    files = (await c.execute(delete(uploads).where(which["uploads"]))).rowcount
    return {"events": len(told), "uploads": files}


async def keys(
    c: AsyncConnection,
    users: Sequence[Phone],
    account_id: AccountId | None,
    *,
    gone: Collection[ConversationId],
    kept: Collection[ConversationId],
) -> list[tuple[str, str, str]]:
    """Idempotency keys that lead to `gone` or to the users' plans, or are named after them.

    Not those that lead to `kept`: said again, such a request would text the user once more.
    """
    k, m, p = idempotency_keys.c, messages.c, planned_sends.c
    talk = func.coalesce(k.answer["conversation_id"].astext, k.conversation_id, "")
    text = func.coalesce(k.answer["message_id"].astext, k.message_id, "")
    held = select(m.id).where(m.conversation_id.in_(kept))
    plans_of = select(p.id).where(_beside(users, account_id)["planned_sends"])
    named = func.substring(k.key, "conv_[0-9a-z]+")  # a request of ours
    leads = or_(
        talk.in_(gone),
        named.in_(gone),
        text.in_(select(m.id).where(m.conversation_id.in_(gone))),
        text.in_(plans_of),
        *(_written(column, users, shortest=written.TOLD_APART) for column in (k.key, k.route)),
    )
    which = (leads, talk.not_in(kept), text.not_in(held), *_of(k.account_id, account_id))
    rows = await c.execute(select(k.account_id, k.route, k.key).where(*which))
    return [(row.account_id, row.route, row.key) for row in rows]


async def forget_key(c: AsyncConnection, key: tuple[str, str, str]) -> int:
    """Alone in its transaction: who says its request again holds it before all else."""
    k = idempotency_keys.c
    its = tuple_(k.account_id, k.route, k.key) == key
    return (await c.execute(delete(idempotency_keys).where(its))).rowcount


def _beside(users: Sequence[Phone], account_id: AccountId | None) -> dict[str, ColumnElement[bool]]:
    p, e, u = planned_sends.c, events.c, uploads.c
    # A file may write a number with spaces, dots, dashes and brackets; it is kept for a month.
    digits = {bare(user).removeprefix("+") for user in users}
    content = func.regexp_replace(u.content, "[ ().-]", "", "g")
    # A row of a batch was refused for it.
    miswritten = (
        (p.state == "refused")
        & p.user_number.regexp_match(_WELL_WRITTEN).is_(False)
        & _written(p.user_number, users)
    )
    of_error = func.split_part(e.data["error"].astext, " ", 1)
    found = {
        "planned_sends": [
            or_(p.user_number.in_(users), miswritten),
            *_of(p.account_id, account_id),
        ],
        "events": [
            e.account_id.is_not(None),
            or_(e.data["user_number"].astext.in_(users), of_error.in_(users)),
            *_of(e.account_id, account_id),
        ],
        "opt_outs": [_opt_outs(users, account_id)],
        "uploads": [
            or_(
                *(content.contains(each, autoescape=True) for each in digits),
                _written(u.content, users, shortest=written.TOLD_APART),
            ),
            *_of(u.account_id, account_id),
        ],
    }
    return {name: _all(each) for name, each in found.items()}


def _written(
    column: ColumnElement[str], users: Sequence[Phone], *, shortest: int = 0
) -> ColumnElement[bool]:
    """Whether it holds one of their numbers, however that is written."""
    found = {written.pattern(user, shortest=shortest) for user in users} - {None}
    return or_(false(), *(column.regexp_match(each) for each in found if each is not None))


def _all(which: Sequence[ColumnElement[bool]]) -> ColumnElement[bool]:
    first, *others = which
    for other in others:
        first &= other
    return first


def _of(column: ColumnElement[Any], account_id: AccountId | None) -> list[ColumnElement[bool]]:
    return [] if account_id is None else [column == account_id]


def _opt_outs(users: Sequence[Phone], account_id: AccountId | None) -> ColumnElement[bool]:
    t = opt_outs.c
    mine = t.user_number.in_(users)
    if account_id is None:
        return mine
    ours = select(projects.c.id).where(projects.c.account_id == account_id)
    of_numbers = select(numbers.c.number).where(numbers.c.project_id.in_(ours))
    of_projects = select(every_number_of("") + projects.c.id).where(
        projects.c.account_id == account_id
    )
    return mine & (t.agent_number.in_(of_numbers) | t.agent_number.in_(of_projects))


async def _rows(
    c: AsyncConnection, name: str, table: Table, which: ColumnElement[bool]
) -> list[dict[str, Any]]:
    columns = [each for each in table.c if (name, each.name) not in UNTOLD]
    order = table.c.seq if "seq" in table.c else table.c.id
    rows: Sequence[RowMapping] = (
        (await c.execute(select(*columns).where(which).order_by(order))).mappings().all()
    )
    return [dict(row) for row in rows]
