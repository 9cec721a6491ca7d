"""What the account's webhook was told, against what happened: all of it, and in order. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from tests.chaos.planned import Judged
from tests.chaos.record import Arrival, Record

Fact: TypeAlias = tuple[str, str]
"""A type, and the text or conversation it is about."""

RANKS: Final = (
    {"message.accepted": 0, "message.sent": 1}
    | dict.fromkeys(("message.delivered", "message.failed", "message.suppressed"), 2),
    {"conversation.opened": 0, "conversation.closed": 1},
)
"""Of kinds of which one causes the next: a later one never arrives first."""

_NAMES: Final = {"message.queued": "message.accepted", "message.promised": "message.accepted"}
_UNDONE: Final = ("waiting", "delivering")


def judge(record: Record) -> Judged:
    if not record.has_webhook:
        return Judged({}, [])
    wrong: list[str] = []
    undone = {
        (_NAMES.get(d.kind, d.kind), d.message_id or d.conversation_id or "")
        for d in record.deliveries
        if d.state in _UNDONE
    }
    had = {_fact(arrival) for arrival in record.arrivals if arrival.taken}
    expected = set(_expected(record))
    missing = sorted(expected - had - undone)
    ids = {arrival.id for arrival in record.arrivals if arrival.taken}
    missing += [
        (d.kind, d.message_id or d.conversation_id or f"evt_{d.event_id}")
        for d in record.deliveries
        if d.state == "delivered" and f"evt_{d.event_id}" not in ids
    ]
    wrong += [f"webhook missing: {kind} of {of}" for kind, of in missing]
    wrong += [
        f"webhook given up: {d.kind} of {d.message_id or d.conversation_id}"
        for d in record.deliveries
        if d.state == "failed"
    ]
    if record.untold:
        wrong.append(f"webhooks never told: {record.untold}")
    taken = [arrival for arrival in record.arrivals if arrival.taken]
    inverted = list(dict.fromkeys([*_inverted(record.arrivals), *_inverted(taken)]))
    wrong += [f"webhooks out of order: {each}" for each in inverted]
    others = list(_other_bytes(record.arrivals))
    wrong += [f"webhook with other bytes: {each}" for each in others]
    wrong += [f"webhook not signed: {a.id}" for a in record.arrivals if not a.signed]
    known = {f"evt_{d.event_id}" for d in record.deliveries}
    invented = {a.id for a in record.arrivals} - known
    wrong += [f"webhook of nothing: {each}" for each in sorted(invented)]
    return Judged(
        {
            "webhooks to arrive": len(expected),
            "webhooks arrived": len(ids),
            "webhooks tried again": len(record.arrivals) - len({a.id for a in record.arrivals}),
            "webhooks under way at the end": len(undone),
            "webhooks missing": len(missing),
            "webhooks out of order": len(inverted),
            "webhooks with other bytes": len(others),
        },
        wrong,
    )


def _fact(arrival: Arrival) -> Fact:
    return arrival.type, arrival.message_id or arrival.conversation_id or ""


def _expected(r: Record) -> Iterator[Fact]:
    """From the rows, and not from the events: an event that was never written is missed too."""
    for row in r.rows:
        if row.direction == "inbound":
            yield "message.received", row.id
        else:
            if row.state in {"sent", "delivered", "failed", "suppressed"}:
                yield f"message.{row.state}", row.id
            if row.state != "suppressed":
                yield "message.accepted", row.id
    for accepted in r.accepted:
        yield "conversation.opened", accepted.conversation_id
    for conversation_id, reason in r.reasons.items():
        if reason is not None:
            yield "conversation.closed", conversation_id


def _inverted(arrivals: Iterable[Arrival]) -> Iterator[str]:
    """Only first arrivals count: what comes again may come late."""
    seen = set[Fact]()
    latest = defaultdict[str, tuple[int, str]](lambda: (0, ""))
    for arrival in arrivals:
        kind, of = _fact(arrival)
        rank = next((ranks[kind] for ranks in RANKS if kind in ranks), None)
        if rank is None or (kind, of) in seen:
            continue
        seen.add((kind, of))
        before, name = latest[of]
        if rank < before:
            yield f"{kind} of {of} after {name}"
        latest[of] = max((before, name), (rank, kind))


def _other_bytes(arrivals: Iterable[Arrival]) -> Iterator[str]:
    first: dict[str, bytes] = {}
    for arrival in arrivals:
        if first.setdefault(arrival.id, arrival.body) != arrival.body:
            yield arrival.id
