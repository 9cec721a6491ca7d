"""The carrier said what became of a text -> the text's state.

Receipts that come at the same time are taken in together. What they usually say, of a text that is
known as sent, takes one statement. Of the others: one look at their texts, and one statement that
moves those that still are what was looked at. One that means more than that its text
moves on (an opt-out, an id that is known as another text's), or whose text has moved meanwhile or
is locked by somebody, is taken in alone, so that it keeps no other waiting.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, TypeGuard

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback import metrics
from textback.core import message as rule
from textback.core import receipts
from textback.core.errors import Unavailable
from textback.core.frozen import frozen
from textback.core.ids import CarrierId, MessageId
from textback.core.message import Delivered, Message, Sent
from textback.core.ports import Receipt
from textback.db import locks, messages, parts, reported
from textback.db.reported import About, Found, Usual
from textback.db.session import transaction
from textback.flows import opt_out
from textback.group import Group

log = structlog.stdlib.get_logger()

Outcome = Literal["changed", "unchanged", "unknown", "contradiction"]

MOST: Final = 100
"""Receipts that are taken in together."""
GATHER: Final = timedelta(milliseconds=25)
"""A look and a move cost about the same for one receipt as for ten; a carrier is in no hurry."""


@frozen(kw_only=False)
class Reported:
    """A verified receipt."""

    carrier_id: CarrierId
    receipt: Receipt
    now: datetime


class Receipts:
    """Takes receipts in, those that come at the same time together."""

    def __init__(self, db: AsyncEngine) -> None:
        self._db = db
        # Of one text one after the other, as they came.
        self._group = Group(
            self._hear_all,
            most=MOST,
            key=lambda r: r.receipt.carrier_message_id,
            observe=metrics.GROUP.labels("receipts").observe,
            gather=GATHER,
        )

    async def hear(self, carrier_id: CarrierId, receipt: Receipt, *, now: datetime) -> Outcome:
        """Fold a verified receipt in. `unknown`: no text of this carrier account is meant.

        `contradiction`: it means one text, and the carrier's id is known as another's, which is
        final. Raises Unavailable.
        """
        outcome = await self._group.do(Reported(carrier_id, receipt, now))
        return outcome or await _hear_alone(self._db, carrier_id, receipt, now=now)

    async def _hear_all(self, several: Sequence[Reported]) -> list[Outcome | None]:
        try:
            return await hear_all(self._db, several)
        except Unavailable:
            raise
        except Exception:
            if len(several) == 1:
                raise
            log.exception("receipt.not_together", receipts=len(several))
            return [None] * len(several)  # the one that is to blame fails alone


async def hear_all(db: AsyncEngine, several: Sequence[Reported]) -> list[Outcome | None]:
    """Fold verified receipts in; None for each that has to be taken in alone. Raises Unavailable.

    Waits for no text that somebody has locked.
    """
    outcomes = await _hear_usual(db, several)
    rest = [n for n, outcome in enumerate(outcomes) if outcome is None]
    if rest:
        looked_at = await _look_and_hear(db, [several[n] for n in rest])
        for n, outcome in zip(rest, looked_at, strict=True):
            outcomes[n] = outcome
    return outcomes


async def _hear_usual(db: AsyncEngine, several: Sequence[Reported]) -> list[Outcome | None]:
    """None for each whose text has to be looked at. Of two about one text, one comes later."""
    outcomes: list[Outcome | None] = [None] * len(several)
    texts = set[MessageId | None]()
    usual = dict[int, Usual]()
    for n, each in enumerate(several):
        after, text_id = receipts.usually(each.receipt), each.receipt.message_id
        if after is not None and text_id not in texts:
            delivered_at = each.now if after is Delivered else None
            usual[n] = Usual(about=_about(each), delivered_at=delivered_at)
        texts.add(text_id)
    if usual:
        now = max(each.now for each in several)
        known = await reported.save_usual(db, list(usual.values()), now=now)
        for (n, each), is_known in zip(usual.items(), known, strict=True):
            if is_known:
                outcomes[n] = "unchanged" if each.delivered_at is None else "changed"
    return outcomes


async def _look_and_hear(db: AsyncEngine, several: Sequence[Reported]) -> list[Outcome | None]:
    found = await reported.find(db, [_about(each) for each in several])
    after = [
        None if f.text is None else rule.hear(f.text, each.receipt, now=each.now)
        for each, f in zip(several, found, strict=True)
    ]
    outcomes: list[Outcome | None] = [
        _foreseen(each, f, then) for each, f, then in zip(several, found, after, strict=True)
    ]
    places = _of_each_text(outcomes, found)
    moves = dict[MessageId, tuple[Message, Message]]()
    for text_id, n in places.items():
        before, then = found[n].text, after[n]
        assert before is not None and then is not None  # noqa: S101, PT018 - it has an id
        moves[text_id] = before, then
    goes = _goes(several, found, outcomes, moves)
    done = set[MessageId]()
    if moves or goes:
        now = max(each.now for each in several)
        done = await reported.save(db, list(moves.values()), goes, now=now)
    moved = {places[text_id] for text_id in done}
    return [
        None if outcome == "changed" and n not in moved else outcome
        for n, outcome in enumerate(outcomes)
    ]


def _of_each_text(
    outcomes: Sequence[Outcome | None], found: Sequence[Found]
) -> dict[MessageId, int]:
    """Where the receipt stands that moves it: of two about one text, the first."""
    places = dict[MessageId, int]()
    for n, (outcome, f) in enumerate(zip(outcomes, found, strict=True)):
        if outcome == "changed" and f.text is not None:
            places.setdefault(f.text.id, n)
    return places


def _goes(
    several: Sequence[Reported],
    found: Sequence[Found],
    outcomes: Sequence[Outcome | None],
    moves: Mapping[MessageId, tuple[Message, Message]],
) -> dict[MessageId, bool]:
    """Of which texts what is behind them goes: at once, or when it has waited."""
    goes = dict[MessageId, bool]()
    for each, f, outcome in zip(several, found, outcomes, strict=True):
        if f.text is None or not f.has_next or outcome not in {"changed", "unchanged"}:
            continue
        before, after = moves.get(f.text.id, (f.text, f.text))
        at_once = parts.goes_at_once(before, after)
        if _is_reported_sent(after, each.receipt):
            at_once = True
        if at_once is not None:
            goes[f.text.id] = at_once
    return goes


def _about(each: Reported) -> About:
    return About(
        message_id=each.receipt.message_id,
        carrier_id=each.carrier_id,
        carrier_message_id=each.receipt.carrier_message_id,
    )


def _foreseen(each: Reported, found: Found, after: Message | None) -> Outcome | None:
    """What comes of it, if nobody else moves its text; None: it takes more than to move that.

    `after`: what the text would become.
    """
    receipt, seen = each.receipt, found.text
    if seen is None or seen.carrier_id != each.carrier_id:
        return "unknown"
    if receipt.read:
        return None
    if after == seen:
        return "unchanged"
    if receipt.opted_out or found.owner not in {None, seen.id}:
        return None
    return "changed"


async def _hear_alone(
    db: AsyncEngine, carrier_id: CarrierId, receipt: Receipt, *, now: datetime
) -> Outcome:
    async with transaction(db) as c:
        message_id = receipt.message_id or await messages.id_of(
            c, carrier_id, receipt.carrier_message_id
        )
        seen = await messages.find(c, message_id) if message_id else None
        if message_id is None or seen is None or seen.carrier_id != carrier_id:
            return "unknown"
        # Also an opt-out, which START has since ended.
        is_news = receipt.read and _is_of(seen, receipt)
        if not is_news and rule.hear(seen, receipt, now=now) == seen:
            await _let_next_go(c, seen, receipt)
            return "unchanged"
        other = await messages.id_of(c, carrier_id, receipt.carrier_message_id)
        if other not in {None, message_id} and not await _took_by_mistake(c, other, now=now):
            return "contradiction"
        if receipt.opted_out:  # lock order: pair and conversation come before the message
            await locks.pair(c, seen.agent_number, seen.user_number)
            await opt_out.record(
                c,
                seen.agent_number,
                seen.user_number,
                conversation_id=seen.conversation_id,
                source="carrier",
                words=None,
                carrier_message_id=receipt.carrier_message_id,
                now=now,
            )
        before = await messages.lock(c, message_id)
        if before is None:
            return "unknown"
        after = rule.hear(before, receipt, now=now)
        if after != before:
            await messages.save(c, before, after, now=now)
        await _let_next_go(c, after, receipt)
        if receipt.read and _is_of(after, receipt):
            await messages.note_read(c, after, now=now)
    return "unchanged" if after == before else "changed"


def _is_of(m: Message, receipt: Receipt) -> TypeGuard[Delivered]:
    return isinstance(m, Delivered) and m.carrier_message_id == receipt.carrier_message_id


async def _let_next_go(c: AsyncConnection, m: Message, receipt: Receipt) -> None:
    """What follows a text of the same answer waits until the carrier says that this is sent.

    It may say so before its answer to our request, or a text may be known as sent from its answer.
    """
    if _is_reported_sent(m, receipt):
        await parts.release(c, m.id)


def _is_reported_sent(m: Message, receipt: Receipt) -> bool:
    known = isinstance(m, Sent) and m.carrier_message_id == receipt.carrier_message_id
    return known and receipt.status == "sent"


async def _took_by_mistake(c: AsyncConnection, other: MessageId | None, *, now: datetime) -> bool:
    """Take the carrier's id from a text to which only a look-up gave it.

    The receipt's address, which we wrote and the carrier signed, proves whose it is. Of two texts
    with the same words the list could not tell; the other one is in doubt again.
    """
    found = None if other is None else await messages.lock(c, other)
    if not isinstance(found, Sent):
        return False
    await messages.save(c, found, rule.mistaken(found, now=now), now=now)
    return True
