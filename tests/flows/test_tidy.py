"""Housekeeping forgets what nobody needs any more, and nothing else."""

from datetime import timedelta

from tests.support.deployment import ACME, NOW
from tests.support.world import World
from textback.core.ids import new_file_id
from textback.db import uploads
from textback.db.uploads import Upload
from textback.flows import tidy


async def test_a_file_is_forgotten_a_month_after_it_was_uploaded(world: World) -> None:
    file = Upload(id=new_file_id(NOW), name="people.csv", kind="batches", content="phone_number")
    async with world.transaction() as c:
        await uploads.add(c, ACME, file, now=NOW)
    assert await tidy.tidy(world.db, now=NOW + timedelta(days=29)) == 0
    assert await tidy.tidy(world.db, now=NOW + timedelta(days=31)) == 1
    async with world.transaction() as c:
        assert await uploads.find(c, ACME, file.id) is None
