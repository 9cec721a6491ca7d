"""What was planned, and batches: each sent once, or cancelled and never sent. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.record import Many, Plan, Record, Row


@dataclass(frozen=True, slots=True)
class Judged:
    figures: Mapping[str, object]
    violations: Sequence[str]


def judge(record: Record) -> Judged:
    return Judged(_figures(record), list(_violations(record)))


def _figures(r: Record) -> dict[str, object]:
    single = Counter(plan.state for plan in r.plans if plan.batch_id is None)
    rows = Counter(plan.state for plan in r.plans if plan.batch_id is not None)
    return {
        "planned": single.total(),
        "planned, then accepted once": single["accepted"],
        "planned, then cancelled": single["cancelled"],
        "batches": len(r.many),
        "rows of batches": rows.total(),
        "rows accepted once": rows["accepted"],
        "rows cancelled": rows["cancelled"],
    }


def _violations(r: Record) -> Iterator[str]:
    texts = {row.id: row for row in r.rows if row.direction == "outbound"}
    plans = {plan.id: plan for plan in r.plans}
    stopped = {promise.message_id for promise in r.planned if promise.is_stopped}
    for plan in r.plans:
        yield from _fate(plan, texts.get(plan.id))
        if plan.state == "cancelled" and plan.batch_id is None and plan.id not in stopped:
            yield f"cancelled, and nobody asked for it: {plan.id}"
    for promise in r.planned:
        plan, row = plans.get(promise.message_id), texts.get(promise.message_id)
        if plan is None:
            yield f"lost: {promise.text!r} was planned as {promise.message_id}"
        elif row is not None and (row.text, row.user) != (promise.text, promise.user):
            yield f"lost: {promise.text!r} was planned as {promise.message_id}: {row}"
        if promise.cancelled_at is not None and (plan is None or plan.state != "cancelled"):
            yield f"sent all the same: {promise.message_id} was cancelled, and is {plan}"
    for many in r.many:
        plans_of = [plan for plan in r.plans if plan.batch_id == many.id]
        yield from _rows(many.texts, plans_of, texts)
        yield from _stops(many, plans_of)


def _fate(plan: Plan, row: Row | None) -> Iterator[str]:
    match plan.state:
        case "accepted":
            if row is None:
                yield f"lost: {plan.id} was planned and accepted, and there is no text"
            elif row.conversation_id != plan.conversation_id:
                yield f"mixed up: {plan.id} is in {row.conversation_id}, not {plan.conversation_id}"
        case "cancelled":
            if row is not None:
                yield f"sent all the same: {plan.id} is cancelled, and there is {row}"
        case _:
            yield f"never sent: {plan.id} is {plan.state} ({plan.why})"


def _stops(many: Many, plans: Sequence[Plan]) -> Iterator[str]:
    for plan in plans:
        at = plan.ended or 0
        if plan.state == "cancelled" and not many.is_stopped:
            yield f"cancelled, and nobody asked for it: {plan.id}"
        if plan.state != "accepted":
            continue
        if many.cancelled_at is not None and at > many.cancelled_at:
            yield f"sent after its batch was cancelled: {plan.id}"
        if any(since < at < until for since, until in many.pauses):
            yield f"sent while its batch was paused: {plan.id}"


def _rows(
    wanted: Mapping[str, str], plans: Sequence[Plan], texts: Mapping[str, Row]
) -> Iterator[str]:
    by_user = Counter(plan.user for plan in plans)
    for user, text in wanted.items():
        if by_user[user] != 1:
            yield f"lost: the row of {user} is there {by_user[user]} times"
        for plan in plans:
            row = texts.get(plan.id)
            if plan.user == user and row is not None and (row.text, row.user) != (text, user):
                yield f"other words: the row of {user} became {row}"
