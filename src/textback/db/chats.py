"""Chats: conversations that no carrier moves, in the same tables as all others."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.frozen import frozen
from textback.core.ids import AccountId, CarrierId, ConversationId, ProjectId
from textback.core.phone import Phone
from textback.core.policy import Environment
from textback.db.tables import carriers, messages, numbers


@frozen
class Line:
    """The agent's end of a project's chats."""

    address: Phone
    carrier_id: CarrierId


async def line(
    c: AsyncConnection,
    account_id: AccountId,
    project_id: ProjectId,
    environment: Environment,
    *,
    sealed: str,
    now: datetime,
) -> Line:
    """Made at the first chat. Its rows count as removed: nobody is ever texted from there."""
    # No id of a file or an API begins with chat: (`provisioning_file/values.py`).
    made = Line(address=Phone(f"chat:{project_id}"), carrier_id=CarrierId(f"chat:{account_id}"))
    removed = {"removed_at": now, "source": "chat"}
    await c.execute(
        insert(carriers)
        .values(
            id=made.carrier_id,
            account_id=account_id,
            kind="chat",
            account_sid=made.carrier_id,
            auth_token=sealed,
            base_url="",
            **removed,
        )
        .on_conflict_do_nothing()
    )
    await c.execute(
        insert(numbers)
        .values(
            number=made.address,
            project_id=project_id,
            environment=environment,
            carrier_id=made.carrier_id,
            segments_per_second=1000.0,
            opt_out_replies="carrier",
            **removed,
        )
        .on_conflict_do_nothing()
    )
    return made


async def said_since(
    c: AsyncConnection, conversation_id: ConversationId, seq: int
) -> Sequence[str]:
    """What was said to the user after that place, oldest first."""
    m = messages.c
    found = await c.scalars(
        select(m.text)
        .where(m.conversation_id == conversation_id, m.direction == "outbound", m.seq > seq)
        .where(m.text != "", m.state != "suppressed")
        .order_by(m.seq)
    )
    return list(found)


async def latest(c: AsyncConnection, conversation_id: ConversationId) -> int:
    """The place of its last text; 0 without any."""
    m = messages.c
    query = select(m.seq).where(m.conversation_id == conversation_id).order_by(m.seq.desc())
    return int(await c.scalar(query.limit(1)) or 0)
