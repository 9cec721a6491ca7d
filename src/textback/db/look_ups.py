"""Which of the carrier's messages a text that is looked up cannot be."""

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.message import Uncertain
from textback.core.phone import Phone, bare
from textback.db.tables import messages as t
from textback.db.tables import numbers

_MOST = 1000


async def known_ids(c: AsyncConnection, m: Uncertain, *, of_service: bool) -> frozenset[str]:
    """The carrier's ids of other texts to the same person: a look-up must not take them.

    `of_service`: what goes through a Messaging Service is listed by it, and not by its sender, so
    that the texts of all our numbers at that carrier count; else those of the pair.
    """
    found = await c.scalars(
        select(t.c.carrier_message_id)
        .where(
            t.c.carrier_id == m.carrier_id,
            t.c.carrier_message_id.is_not(None),
            _to_person(m) if of_service else _of_pair(m),
        )
        .order_by(t.c.seq.desc())
        .limit(_MOST)
    )
    return frozenset(found)


def _of_pair(m: Uncertain) -> ColumnElement[bool]:
    return and_(t.c.agent_number == m.agent_number, t.c.user_number == m.user_number)


def _to_person(m: Uncertain) -> ColumnElement[bool]:
    plain = bare(m.user_number)
    ours = select(numbers.c.number).where(numbers.c.carrier_id == m.carrier_id)
    return or_(
        _of_pair(m),
        and_(
            t.c.agent_number.in_(ours),
            t.c.user_number.in_([plain, Phone(f"rcs:{plain}")]),
        ),
    )
