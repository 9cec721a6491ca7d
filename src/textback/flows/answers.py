"""What agents answered, as usual with one text and nothing else, queued together.

Answers that come at the same time take one look at their turns, and one statement that writes those
of which all still is what was looked at. Where that is not so, where somebody has locked what it
takes, or where more comes of an answer, it is recorded alone, so that it keeps no other waiting.
"""

from collections.abc import Sequence
from dataclasses import field
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from textback import metrics, tracing
from textback.core.engine import TurnReply
from textback.core.errors import Unavailable
from textback.core.frozen import frozen
from textback.db import answering
from textback.db.thinking import Thinking
from textback.flows.saying import Saying
from textback.group import Group

log = structlog.stdlib.get_logger()

MOST: Final = 50
"""Answers that are written together."""
GATHER: Final = timedelta(milliseconds=25)
"""All answers of a project wait for its day's row: rather a few together than each for itself."""


@frozen(kw_only=False)
class Answered:
    """What an engine said to a claimed turn."""

    turn: Thinking
    reply: TurnReply
    now: datetime
    traceparent: str | None = field(default_factory=tracing.current)


class Answers:
    """Writes answers, those that come at the same time together."""

    def __init__(self, db: AsyncEngine) -> None:
        self._db = db
        self._group = Group(
            self._write_all,
            most=MOST,
            key=lambda each: each.turn.conversation_id,
            observe=metrics.GROUP.labels("answers").observe,
            gather=GATHER,
        )

    async def write(self, turn: Thinking, reply: TurnReply, *, now: datetime) -> Saying | None:
        """What was said; None: it is to be recorded alone. Raises Unavailable."""
        return await self._group.do(Answered(turn, reply, now))

    async def _write_all(self, several: Sequence[Answered]) -> list[Saying | None]:
        try:
            return await write_all(self._db, several)
        except Unavailable:
            raise
        except Exception:  # what is wrong with one must not be the others' error
            log.exception("turn.not_together", turns=len(several))
            return [None] * len(several)


async def write_all(db: AsyncEngine, several: Sequence[Answered]) -> list[Saying | None]:
    """Those that were written; None for each that is to be recorded alone. Raises Unavailable.

    No two are of one conversation. They have one moment, that of the last: a text is written when
    its event says so, and one that is queued later is queued again.
    """
    now = max(each.now for each in several)
    found = await answering.look(
        db, [(each.turn.conversation_id, each.turn.id) for each in several]
    )
    said = [
        _said(each, opened, now) if opened is not None and is_ours(opened, each.turn) else None
        for each, opened in zip(several, found, strict=True)
    ]
    usual = [
        (n, answer)
        for n, (each, saying) in enumerate(zip(several, said, strict=True))
        if saying is not None and (answer := saying.usual(each.reply)) is not None
    ]
    done = set[int]()
    if usual:
        written = await answering.answer_at_once(db, [answer for _, answer in usual])
        done = {n for (n, _), is_done in zip(usual, written, strict=True) if is_done}
    return [saying if n in done else None for n, saying in enumerate(said)]


def is_ours(opened: answering.Opened, turn: Thinking) -> bool:
    """Whether that run of the turn still thinks."""
    return (opened.held.run, opened.held.state) == (turn.run, "thinking")


def _said(each: Answered, opened: answering.Opened, now: datetime) -> Saying:
    return Saying(turn=opened, fallback=None, now=now, traceparent=each.traceparent)
