"""Two machines that answer each other: how much we say before we fall silent, and how fast.

A text tells nothing about who wrote it, so the rules are about our replies alone.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from textback.core.gcra import Rate

IN_A_ROW = 12
QUICK = timedelta(seconds=45)
"""After so many replies that quickly after each other comes a breather of that length.

Twilio counts replies between two numbers that are less than 30 s apart, and beyond 15 fails every
text for 30 s (error 14107; its page says 30 since about 2024, and 15 before). It counts when they
leave, we when they are written: the longer gap is for what lies between, and the lower number for
turns that say several texts.
"""
LOOK_BACK = IN_A_ROW * QUICK
"""Replies before that have no part in it."""


def over(replies: Sequence[datetime], budget: Rate, *, now: datetime) -> datetime | None:
    """Until when to pause; None when there is room for another reply.

    The pause is as long as the budget's span: less would let a loop go on at the permitted pace.
    """
    span = timedelta(seconds=budget.seconds)
    spent = sum(1 for at in replies if at > now - span)
    return now + span if spent >= budget.amount else None


def breather(replies: Sequence[datetime], *, now: datetime) -> datetime:
    """When the next reply may be made; `replies` are the latest ones, oldest first."""
    quick, after = 0, now
    for at in reversed(replies):
        if after - at >= QUICK:
            break
        quick, after = quick + 1, at
    return now if quick < IN_A_ROW else max(now, replies[-1] + QUICK)
