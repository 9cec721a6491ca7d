"""What tests are provisioned with from memory is what apply writes."""

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.deployment import deployment
from tests.support.keeper import Keeper
from tests.support.provision import apply_file, provision
from tests.support.provisioned import everything
from textback.db.tables import metadata

HERE = {"name": "Appointments of this test alone"}


async def dump(database_url: str) -> dict[str, list[asyncpg.Record]]:
    connection = await asyncpg.connect(database_url)
    try:
        return {
            name: sorted(await connection.fetch(f"select * from {name}"), key=repr)  # noqa: S608
            for name in metadata.tables
        }
    finally:
        await connection.close()


async def test_remembered_rows_are_those_that_apply_wrote(
    engine: AsyncEngine, database_url: str, keeper: Keeper
):
    file = deployment(project=HERE)
    wrote = await provision(engine, file)
    applied, meant = await dump(database_url), await everything(engine)
    keeper.wipe()
    assert not any((await dump(database_url)).values())
    assert await provision(engine, file) is wrote, "it was not remembered"
    assert await dump(database_url) == applied
    assert await everything(engine) == meant
    again = await apply_file(engine, file)
    assert not [*again.created, *again.updated, *again.removed, *again.api_keys]
    assert again.unchanged == len(wrote.created)


async def test_only_into_an_empty_database_is_anything_written_from_memory(engine: AsyncEngine):
    before, after = deployment(project=HERE), deployment(project={"name": "Another name"})
    await provision(engine, before)
    assert [thing.kind for thing in (await provision(engine, after)).updated] == ["project"]
    assert [thing.kind for thing in (await provision(engine, before)).updated] == ["project"]


async def test_whoever_ends_every_connection_to_postgres_does_not_end_the_keeper(
    engine: AsyncEngine, database_url: str, keeper: Keeper
):
    await provision(engine, deployment())
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where backend_type = 'client backend' and pid <> pg_backend_pid()"
    )
    await connection.close()
    keeper.wipe()
    assert not any((await dump(database_url)).values())
