"""What is told of a transaction is counted when it is committed, and only then."""

from contextlib import AbstractAsyncContextManager

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.events import Event
from textback.core.ids import ConversationId, MessageId
from textback.db.session import count_at_commit, savepoint, transaction


class Undone(Exception):  # noqa: N818 - ends a transaction
    pass


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def failed(code: str) -> Event:
    return Event(
        kind="message.failed",
        conversation_id=ConversationId("conv_1"),
        message_id=MessageId("msg_1"),
        data={"error_code": code},
    )


async def undone(doing: AbstractAsyncContextManager[object]) -> None:
    async with doing:
        count_at_commit([failed("30003")])
        raise Undone


async def test_what_is_undone_is_not_counted_and_strange_codes_are_counted_together(
    engine: AsyncEngine,
) -> None:
    def now() -> tuple[float, ...]:
        codes = [counted("textback_messages_failed_total", code=c) for c in ("30003", "other")]
        return (counted("textback_messages_total", state="failed"), *codes)

    before = now()
    with pytest.raises(Undone):
        await undone(transaction(engine))
    assert now() == before

    async with transaction(engine) as c:
        count_at_commit([failed("30003")])
        with pytest.raises(Undone):
            await undone(savepoint(c))
        async with savepoint(c):
            count_at_commit([failed("+14155550123"), failed("http-599")])
        assert now() == before
    assert now() == (before[0] + 3, before[1] + 1, before[2] + 2)
    assert counted("textback_messages_failed_total", code="http-599") == 0


async def test_who_has_a_connection_is_counted_until_it_is_given_back(engine: AsyncEngine) -> None:
    before = counted("textback_pool_in_use")
    async with transaction(engine) as c:
        assert counted("textback_pool_in_use") == before + 1
        await c.execute(text("select 1"))
    with pytest.raises(Undone):
        await undone(transaction(engine))
    assert counted("textback_pool_in_use") == before
    assert counted("textback_pool_waiting") == 0
