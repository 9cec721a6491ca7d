"""What came of a text that was handed to the carrier -> its state.

What comes at the same time is saved together, in one statement. What means more than that its
text moves on (an opt-out), or has been overtaken, is saved alone: it keeps no other waiting.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback import metrics
from textback.core import message as rule
from textback.core.errors import StaleError, Unavailable
from textback.core.frozen import frozen
from textback.core.ids import MessageId
from textback.core.message import Sending, Uncertain
from textback.core.policy import SendPolicy
from textback.core.ports import NoAnswer, Receipt, SendError, Taken
from textback.db import locks, messages, outcomes
from textback.db.session import transaction
from textback.flows import opt_out
from textback.group import Group

log = structlog.stdlib.get_logger()

MOST: Final = 100
"""Texts whose outcomes are saved together."""
GATHER: Final = timedelta(milliseconds=25)
"""To save costs about the same for one as for ten, and only what is behind a text waits for it."""


@frozen(kw_only=False)
class Wait:
    """It was not handed over: its number has no token left, or our lease is too short."""

    until: datetime
    pace_unknown: bool = False
    """Redis did not answer, so nobody knows the number's pace."""


Outcome = Taken | SendError | NoAnswer | Wait

Came: TypeAlias = tuple[Sending, Outcome, datetime]
"""What came of a claimed text, and when."""


class Recording:
    """Saves what came of texts, what comes at the same time together."""

    def __init__(self, db: AsyncEngine, policy: SendPolicy) -> None:
        self._db, self._policy = db, policy
        self._group = Group[Came, rule.Message | None](
            self._record_all,
            most=MOST,
            observe=metrics.GROUP.labels("outcomes").observe,
            gather=GATHER,
        )

    async def record(self, m: Sending, outcome: Outcome, *, now: datetime) -> rule.Message:
        """Save what came of it; if the text has moved meanwhile, fold in what we learned.

        Raises Unavailable: then the caller still knows the outcome and must try again.
        """
        after = await self._group.do((m, outcome, now))
        return after or await _record_alone(self._db, m, outcome, policy=self._policy, now=now)

    async def _record_all(self, several: Sequence[Came]) -> list[rule.Message | None]:
        try:
            return await record_all(self._db, several, policy=self._policy)
        except Unavailable:
            raise
        except Exception:
            if len(several) == 1:
                raise
            log.exception("send.not_together", texts=len(several))
            return [None] * len(several)  # the one that is to blame fails alone


async def record_all(
    db: AsyncEngine, several: Sequence[Came], *, policy: SendPolicy
) -> list[rule.Message | None]:
    """Save what came of each; None for each that has to be recorded alone. Raises Unavailable.

    That is one whose text has moved meanwhile, or is locked by somebody, or that means more than
    that its text moves on.
    """
    moves = [
        (m, _after(m, outcome, policy=policy, now=now))
        for m, outcome, now in several
        if not _opts_out(outcome)
    ]
    afters = dict[MessageId, rule.Message]()
    if moves:
        afters = await outcomes.save_all(db, moves, now=max(now for _, _, now in several))
    return [afters.get(m.id) for m, _, _ in several]


async def _record_alone(
    db: AsyncEngine, m: Sending, outcome: Outcome, *, policy: SendPolicy, now: datetime
) -> rule.Message:
    async with transaction(db) as c:
        if _opts_out(outcome):
            await locks.pair(c, m.agent_number, m.user_number)
            await opt_out.record(
                c,
                m.agent_number,
                m.user_number,
                conversation_id=m.conversation_id,
                source="carrier",
                words=None,
                carrier_message_id=None,
                now=now,
            )
        after = _after(m, outcome, policy=policy, now=now)
        try:
            await messages.save(c, m, after, now=now)
        except StaleError:
            return await _fold_in(c, m, outcome, policy=policy, now=now)
    return after


def _opts_out(outcome: Outcome) -> bool:
    return isinstance(outcome, SendError) and outcome.opted_out


def _after(
    m: Sending | Uncertain, outcome: Outcome, *, policy: SendPolicy, now: datetime
) -> rule.Message:
    match outcome:
        case Taken():
            return rule.accepted(m, carrier_message_id=outcome.carrier_message_id, now=now)
        case SendError():
            return rule.rejected(m, outcome, now=now, policy=policy)
        case NoAnswer():
            return rule.lost(m, now=now, policy=policy) if isinstance(m, Sending) else m
        case Wait():
            return rule.snoozed(m, until=outcome.until)


async def _fold_in(
    c: AsyncConnection, m: Sending, outcome: Outcome, *, policy: SendPolicy, now: datetime
) -> rule.Message:
    """A receipt or a rescuer was faster. What the carrier said is news all the same."""
    current = await messages.lock(c, m.id)
    if current is None:
        raise StaleError(m.id)
    after: rule.Message = current
    if isinstance(outcome, Taken):
        news = Receipt(
            carrier_message_id=outcome.carrier_message_id, message_id=m.id, status="accepted"
        )
        after = rule.hear(current, news, now=now)
    elif isinstance(current, Uncertain) and current.claimed_at == m.claimed_at:
        # In doubt over this very claim, and its worker was alive after all: nothing went out.
        after = _after(current, outcome, policy=policy, now=now)
    if after != current:
        await messages.save(c, current, after, now=now)
    return after
