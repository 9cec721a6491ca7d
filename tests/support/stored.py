"""All that is written of one conversation, for comparing two ways to write the same."""

from sqlalchemy import text

from tests.support.world import World

OWN = {"id", "conversation_id", "message_id", "event_id", "seq", "user_number", "at"}
"""What no two rows have in common."""

_OF_IT = {"messages": "seq", "events": "id", "webhook_deliveries": "id", "turns": "due_at"}


async def stored(world: World, conversation_id: str) -> dict[str, list[dict[str, object]]]:
    """Its rows by table, in order, but for what is their own."""
    queries = {
        "conversations": "select * from conversations where id = :of",
        **{
            table: f"select * from {table} where conversation_id = :of order by {order}"  # noqa: S608
            for table, order in _OF_IT.items()
        },
    }
    async with world.transaction() as c:
        return {
            table: [
                {name: value for name, value in row.items() if name not in OWN}
                for row in (await c.execute(text(query), {"of": conversation_id})).mappings()
            ]
            for table, query in queries.items()
        }
