"""Sends whose moment has come: each opens its conversation, or is refused, once.

Marking plans and opening their conversations is one transaction: whatever dies on the way, a plan
is either still planned or there is its text. What is usual goes together, as sends that callers
bring at the same time do; what is not, and what somebody else has to do with, goes alone.
"""

from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Literal, TypeVar, cast

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core.commands import Accepted, SendText
from textback.core.errors import Refusal, Unavailable, UnknownResource
from textback.core.frozen import frozen
from textback.core.ids import MessageId, ProjectId
from textback.core.numbers import Candidate
from textback.core.phone import Phone
from textback.db import batches, events, pairs, planning, tenants
from textback.db.batch_rows import EXPIRED
from textback.db.planning import Plan
from textback.db.session import savepoint, transaction
from textback.db.tenants import NumberRow
from textback.flows import choosing, opening, picking, together
from textback.flows.due import Turn
from textback.flows.planning import fact, held, put_off
from textback.flows.together import Ask

log = structlog.stdlib.get_logger()

MOST_TRIES: Final = 10
TRY_AGAIN: Final = timedelta(seconds=2)
"""After a mistake of ours; then twice as long each time, up to `TRY_MOST`."""
TRY_MOST: Final = timedelta(minutes=5)

Outcome = Literal["accepted", "refused", "held", "failed"]

_TOO_LATE: Final = ("Expired", EXPIRED)

T = TypeVar("T")


@frozen
class Sent:
    outcomes: Sequence[Outcome]
    rest: Turn | None
    """What is left of the turn; None: nothing, or it is others' turn."""


async def send_some(db: AsyncEngine, turn: Turn, *, now: datetime) -> Sent:
    """What is due of whose turn it is, each user's next; nothing, if its batch does not run.

    What fails by a mistake of ours is tried again later, a few times. Raises Unavailable.
    """
    outcomes, others = await _together(db, turn, now=now)
    for each in others[: turn.alone]:
        try:
            came = await _alone(db, turn, each, now=now)
        except Unavailable:
            if not outcomes:
                raise
            return Sent(outcomes=outcomes, rest=None)  # what was done is done
        if came is not None:
            outcomes.append(came)
    rest = replace(turn, most=turn.most - len(outcomes), alone=turn.alone - len(others))
    is_over = not outcomes or rest.most <= 0 or rest.alone <= 0
    return Sent(outcomes=outcomes, rest=None if is_over else rest)


async def _together(
    db: AsyncEngine, turn: Turn, *, now: datetime
) -> tuple[list[Outcome], list[MessageId]]:
    """What came of those that are usual, and which others are due."""
    taken: Sequence[Plan] = []
    try:
        async with transaction(db) as c:
            taken = await _take(c, turn, limit=turn.most, now=now)
            usual, refused = await _usual(c, taken, now=now)
            opened = await together.open_all(c, usual) if usual else {}
            done = {each.ids.message_id for each in usual if each.pair in opened}
            accepted = [plan.id for plan in taken if plan.id in done]
            if accepted:
                await planning.all_accepted(c, accepted, now=now)
            await _refuse(c, refused, now=now)
    except Unavailable:
        raise
    except Exception:  # what is wrong with one must not stop the others
        if not taken:
            raise
        log.exception("plans.not_together", sends=len(taken), batch_id=turn.batch_id)
        return [], [plan.id for plan in taken]
    over = {*accepted, *(plan.id for plan, _, _ in refused)}
    outcomes = list[Outcome]()
    outcomes.extend("accepted" for _ in accepted)
    outcomes.extend("refused" for _ in refused)
    return outcomes, [plan.id for plan in taken if plan.id not in over]


async def _take(
    c: AsyncConnection, turn: Turn, *, only: MessageId | None = None, limit: int, now: datetime
) -> list[Plan]:
    if turn.batch_id is not None and not await batches.stays_running(c, turn.batch_id):
        return []
    return await planning.take_due(
        c, account_id=turn.account_id, batch_id=turn.batch_id, only=only, limit=limit, now=now
    )


_Refused = tuple[Plan, str, str]
"""The refusal's name, and its sentence."""


async def _usual(
    c: AsyncConnection, taken: Sequence[Plan], *, now: datetime
) -> tuple[list[Ask], list[_Refused]]:
    """What can be asked for together, of different pairs; and what is refused anyway."""
    look, refused = _Once(c), list[_Refused]()
    found = list[tuple[Plan, SendText, NumberRow | Sequence[NumberRow]]]()
    for plan in taken:
        # What failed before is tried alone, and what cannot be read fails there.
        if plan.tries or not _is_readable(plan):
            continue
        command = _due(plan, now=now)
        if command is None:
            refused.append((plan, *_TOO_LATE))
            continue
        try:
            await _check_project(look, plan.caller.project_id)
            found.append((plan, command, await choosing.usable(look, plan.caller, command)))
        except Refusal as refusal:
            refused.append((plan, *_said(refusal)))
    asks = dict[tuple[Phone, Phone], Ask]()
    users = [(p.caller.project_id, s.user_number) for p, s, n in found if _has_choice(n)]
    histories = iter(await pairs.histories(c, users) if users else [])
    for plan, command, among in found:
        number, history = among, None
        if not isinstance(number, NumberRow):
            history, busy = next(histories), await _busy(look, number)
            picked = picking.as_usual(command, number, history, busy, now=now)
            if picked is None:
                continue
            number = picked.number
        try:
            chosen = await choosing.with_number(look, plan.caller, command, number)
        except Refusal as refusal:
            refused.append((plan, *_said(refusal)))
            continue
        ids = Accepted(
            conversation_id=plan.conversation_id, message_id=plan.id, agent_number=number.number
        )
        ask = Ask(
            caller=plan.caller, command=command, ids=ids, found=chosen, now=now, history=history
        )
        if together.is_usual(command, chosen, now=now):
            asks.setdefault(ask.pair, ask)
    return list(asks.values()), refused


def _has_choice(among: NumberRow | Sequence[NumberRow]) -> bool:
    return not isinstance(among, NumberRow)


class _Once:
    """In a transaction: each question is asked once."""

    def __init__(self, c: AsyncConnection) -> None:
        self._c = c
        self._known = dict[Hashable, object]()

    async def get(self, key: Hashable, load: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        if key not in self._known:
            self._known[key] = await load(self._c)
        return cast("T", self._known[key])


async def _busy(look: _Once, numbers: Sequence[NumberRow]) -> dict[Phone, Candidate]:
    async def load(c: AsyncConnection) -> dict[Phone, Candidate]:
        return {each.number: each for each in await tenants.candidates(c, numbers)}

    return await look.get(("busy", *(each.number for each in numbers)), load)


async def _check_project(look: choosing.Look, project_id: ProjectId) -> None:
    """Raises UnknownResource."""
    is_there = partial(planning.is_provisioned, project_id=project_id)
    if not await look.get(("is there", project_id), is_there):
        raise UnknownResource("The project is not there any more.")


def _is_readable(plan: Plan) -> bool:
    try:
        _ = plan.command
    except ValueError:
        return False
    return True


def _due(plan: Plan, *, now: datetime) -> SendText | None:
    """Its command, with what is left of its validity; None: it is too late."""
    ends_at = _ends_at(plan)
    if ends_at is None:
        return replace(plan.command, send_at=None)
    return None if ends_at <= now else replace(plan.command, send_at=None, validity=ends_at - now)


def _ends_at(plan: Plan) -> datetime | None:
    """When it is too late for it. None: a row's time comes with its turn, however late that is."""
    if plan.batch_id is None:
        return plan.due_at + (plan.command.validity or plan.policy.validity)
    return None if plan.command.validity is None else plan.due_at + plan.command.validity


async def _alone(
    db: AsyncEngine, turn: Turn, plan_id: MessageId, *, now: datetime
) -> Outcome | None:
    """None: it is not due any more, or somebody else has it."""
    taken: Sequence[Plan] = []
    try:
        async with transaction(db) as c:
            taken = await _take(c, turn, only=plan_id, limit=1, now=now)
            return await _send(c, taken[0], now=now) if taken else None
    except Unavailable:
        raise
    except Exception:  # one that cannot be sent stops no other
        if not taken:
            raise
        log.exception("plan.failed", account_id=turn.account_id, batch_id=turn.batch_id)
        await _try_later(db, taken[0], now=now)
        return "failed"


async def _send(c: AsyncConnection, plan: Plan, *, now: datetime) -> Outcome:
    command = _due(plan, now=now)
    if command is None:
        await _refuse(c, [(plan, *_TOO_LATE)], now=now)
        return "refused"
    try:
        async with savepoint(c):
            return await _open(c, plan, command, now=now)
    except Unavailable:
        raise
    except Refusal as refusal:
        await _refuse(c, [(plan, *_said(refusal))], now=now)
        return "refused"


async def _open(c: AsyncConnection, plan: Plan, command: SendText, *, now: datetime) -> Outcome:
    await _check_project(_Once(c), plan.caller.project_id)
    found = await choosing.choose(c, plan.caller, command)
    # Asked again: we may be late, and the project's quiet hours may have been changed.
    if (again := held(found.project.policy, command, now=now)) is not None:
        await put_off(c, plan, due=again[0], why=again[1], now=now)
        return "held"
    ids = Accepted(conversation_id=plan.conversation_id, message_id=plan.id)
    done = await opening.text_user(c, plan.caller, command, ids, found=found, now=now)
    await planning.accepted(c, plan, done, now=now)
    return "accepted"


def _said(refusal: Refusal) -> tuple[str, str]:
    return type(refusal).__name__, refusal.sentence


async def _refuse(c: AsyncConnection, those: Sequence[_Refused], *, now: datetime) -> None:
    if not those:
        return
    await planning.refused(
        c, [(plan.id, problem, error) for plan, problem, error in those], now=now
    )
    told = [
        fact(
            "send.refused",
            plan.caller,
            plan.id,
            problem=problem,
            error=error,
            **({} if plan.batch_id is None else {"batch_id": plan.batch_id, "row": plan.row}),
        )
        for plan, problem, error in those
    ]
    await events.append(c, told, now=now)


async def _try_later(db: AsyncEngine, plan: Plan, *, now: datetime) -> None:
    """A mistake of ours, or two who stood in each other's way."""
    async with transaction(db) as c:
        found = await planning.lock(c, plan.caller.account_id, plan.id)
        if found is None or found.state != "planned":
            return
        if found.tries >= MOST_TRIES:
            sentence = "Something went wrong on our side, each time it was tried; it was logged."
            await _refuse(c, [(found, "ServerError", sentence)], now=now)
            return
        wait = min(TRY_MOST, TRY_AGAIN * 2**found.tries)
        await planning.hold(c, found, due=now + wait, tries=found.tries + 1)
