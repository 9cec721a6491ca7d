"""A user asks what is held about them, or that it be erased -> told, or gone.

Opt-outs stay: without them the next send would text somebody who said STOP.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core.errors import Conflict, UnknownConversation, UnknownResource
from textback.core.frozen import frozen
from textback.core.ids import AccountId, ConversationId
from textback.core.phone import Phone
from textback.db import user_data
from textback.db.session import transaction
from textback.flows import planning
from textback.flows.erase import erase_conversation, hush
from textback.flows.say import OPERATOR

FORMAT: Final = "textback.user.1"
ROUNDS: Final = 5
"""A user who texts meanwhile opens another conversation; somebody who never stops is told of."""


@frozen
class Erased:
    removed: Mapping[str, int]
    """How many, by name: `conversations`, `texts`, `planned_sends`, `events`, `uploads`, and
    `idempotency_keys`."""
    opt_outs: Sequence[tuple[str, str]]
    """That stand, and stay: an agent's number, or `project:ID`, and the user's address."""
    in_the_way: Sequence[str]
    """Why something is still there, in sentences. Asked again later, it goes."""


def addresses(user: Phone) -> list[Phone]:
    """A number is its user's on every channel; with a channel, or a chat, it is that alone."""
    if ":" in user:
        return [user]
    return [user, Phone(f"whatsapp:{user}"), Phone(f"rcs:{user}")]


async def export(
    db: AsyncEngine, user: Phone, account_id: AccountId | None, *, now: datetime
) -> dict[str, Any]:
    """All that is held (docs/retention.md). `account_id` None: by every account.

    Raises UnknownResource (no such account), Unavailable.
    """
    users = addresses(user)
    async with transaction(db) as c:
        await _check(c, account_id)
        found = await user_data.whole(c, users, account_id)
    return {
        "format": FORMAT,
        "user_number": user,
        "addresses": users,
        "account": account_id,
        "exported_at": now,
        **found,
    }


async def count(db: AsyncEngine, user: Phone, account_id: AccountId | None) -> dict[str, int]:
    """What there is. Raises as `export`."""
    async with transaction(db) as c:
        await _check(c, account_id)
        return await user_data.count(c, addresses(user), account_id)


async def erase_user(
    db: AsyncEngine, user: Phone, account_id: AccountId | None, *, now: datetime
) -> Erased:
    """Plans are cancelled, and conversations closed, before they go. Raises as `export`.

    First nobody texts the user any more, whatever can be erased by now; then one conversation goes
    after the other. Who stops it half-way begins again, so what leads to one goes before it.
    """

    def quiet(talk: ConversationId) -> Awaitable[None]:
        return hush(db, talk, who=OPERATOR, now=now)

    def forget(talk: ConversationId) -> Awaitable[None]:
        return erase_conversation(db, talk, who=OPERATOR, now=now)

    users = addresses(user)
    before = await count(db, user, account_id)
    in_the_way: dict[ConversationId, str] = {}
    gone = keys = 0
    for _ in range(ROUNDS):
        async with transaction(db) as c:
            plans = await user_data.planned(c, users, account_id)
            talks = await user_data.conversations_of(c, users, account_id)
        if not plans and not set(talks) - set(in_the_way):
            break
        for owner, send_id in plans:
            await _cancel(db, owner, send_id, now=now)
        silent = await _each(talks, quiet, in_the_way)
        keys += await _forget_keys(db, users, account_id, gone=silent, kept=in_the_way)
        gone += len(await _each(silent, forget, in_the_way))
    keys += await _forget_keys(db, users, account_id, gone=[], kept=in_the_way)
    async with transaction(db) as c:
        removed = await user_data.erase(c, users, account_id)
        opt_outs = await user_data.standing_opt_outs(c, users, account_id)
    left = await count(db, user, account_id)
    # Also what went together with its conversation.
    both = {name: max(0, before[name] - left[name]) for name in ("texts", "planned_sends")}
    return Erased(
        removed={"conversations": gone, **both, **removed, "idempotency_keys": keys},
        opt_outs=opt_outs,
        in_the_way=list(in_the_way.values()),
    )


async def _each(
    talks: Collection[ConversationId],
    do: Callable[[ConversationId], Awaitable[None]],
    in_the_way: dict[ConversationId, str],
) -> list[ConversationId]:
    """Those to which it was done; why it cannot be done to others now is noted."""
    done: list[ConversationId] = []
    for talk in talks:
        in_the_way.pop(talk, None)
        try:
            await do(talk)
        except Conflict as why:
            in_the_way[talk] = f"{talk}: {why.sentence}"
        except UnknownConversation:  # somebody else erases it, too
            continue
        else:
            done.append(talk)
    return done


async def _forget_keys(
    db: AsyncEngine,
    users: Sequence[Phone],
    account_id: AccountId | None,
    *,
    gone: Collection[ConversationId],
    kept: Collection[ConversationId],
) -> int:
    async with transaction(db) as c:
        found = await user_data.keys(c, users, account_id, gone=gone, kept=kept)
    forgotten = 0
    for key in found:
        async with transaction(db) as c:
            forgotten += await user_data.forget_key(c, key)
    return forgotten


async def _check(c: AsyncConnection, account_id: AccountId | None) -> None:
    if account_id is not None and not await user_data.has_account(c, account_id):
        raise UnknownResource(f"There is no account {account_id}.")


async def _cancel(db: AsyncEngine, account_id: AccountId, send_id: str, *, now: datetime) -> None:
    try:
        await planning.cancel(db, account_id, send_id, now=now)
    except (Conflict, UnknownResource):  # it has become a conversation, or somebody was faster
        return
