"""Migrations lead from nothing to what `db/tables.py` declares, and back."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import cast

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from textback.db import address, migrate
from textback.db.tables import metadata

# All that Postgres knows of our tables, as it writes it itself. Alembic's comparison sees neither
# CHECKs nor the conditions of indexes.
CATALOG = """
    SELECT 'column', table_name, column_name,
        concat_ws(' ', data_type, is_nullable, column_default, is_identity)
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL
    SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
"""

Catalog = set[tuple[str, ...]]


@pytest.fixture
def config(empty_database_url: str) -> Config:
    return migrate.config(empty_database_url)


def catalog(database_url: str) -> Catalog:
    async def look() -> Catalog:
        connection = await asyncpg.connect(database_url)
        try:
            rows = await connection.fetch(CATALOG)
        finally:
            await connection.close()
        found = {cast("tuple[str, ...]", tuple(row)) for row in rows}
        return {row for row in found if row[1] != "alembic_version"}

    return asyncio.run(look())


def create_as_declared(database_url: str) -> None:
    def create(connection: Connection) -> None:
        metadata.create_all(connection)

    async def run() -> None:
        engine = create_async_engine(address.read(database_url)[0])
        async with engine.begin() as connection:
            await connection.run_sync(create)
        await engine.dispose()

    asyncio.run(run())


def test_migrations_follow_one_another_as_their_files_names_do() -> None:
    script = ScriptDirectory.from_config(migrate.config(""))
    assert len(script.get_heads()) == 1
    chain = [known.revision for known in script.walk_revisions()]
    assert migrate.revisions() == tuple(reversed(chain))


def test_whether_a_schema_fits_is_known_without_alembic() -> None:
    code = (
        "import sys\nfrom textback import wiring\nfrom textback.api import app\n"
        "from textback.db import migrate\nassert migrate.fits(migrate.head())\n"
        "print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def test_migrating_an_empty_database_leaves_nothing_to_do(config: Config) -> None:
    command.upgrade(config, "head")
    command.check(config)  # raises, naming the difference


def test_a_migrated_database_is_the_declared_one_to_the_last_check(
    config: Config, empty_database_url: str
) -> None:
    create_as_declared(empty_database_url)
    declared = catalog(empty_database_url)
    asyncio.run(drop_all(empty_database_url))
    command.upgrade(config, "head")
    assert catalog(empty_database_url) == declared


def test_migrating_down_leaves_nothing_behind(config: Config, empty_database_url: str) -> None:
    command.upgrade(config, "head")
    command.downgrade(config, "base")
    assert catalog(empty_database_url) == set()


def test_a_database_that_was_migrated_down_can_be_migrated_up_again(config: Config) -> None:
    command.upgrade(config, "head")
    command.downgrade(config, "base")
    command.upgrade(config, "head")
    command.check(config)


def test_migrating_twice_changes_nothing(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    once = catalog(empty_database_url)
    migrate.upgrade(empty_database_url)
    assert catalog(empty_database_url) == once != set()


async def drop_all(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await connection.close()


BEFORE_VERSIONS = """
    insert into accounts (id, name) values ('acme', 'Acme');
    insert into agents (id, account_id, greeting, fallback, engine, can_open, deadline_seconds)
    values ('plain', 'acme', 'Hello!', null, '{"kind": "scripted"}', false, 5),
        ('far', 'acme', null, 'Sorry.', '{"kind": "http", "secret": "sealed"}', true, 40);
    insert into projects (id, account_id, name, agent_id, policy)
    values ('reminders', 'acme', 'R', 'far', '{}');
    insert into conversations (id, account_id, project_id, agent_id, agent_number, user_number,
        state, opened_at, active_at)
    values ('conv_1', 'acme', 'reminders', 'far', '+14155550100', '+14155550123', 'engaged',
        now(), now());
    insert into turns (id, conversation_id, state, first_text_at, lease_until, upto_seq, attempts)
    values ('turn_1', 'conv_1', 'thinking', now(), now(), 1, 1);
"""
SINCE_VERSIONS = """
    update conversations set state = 'handed_off', handed_off_at = now(), why_handed_off = 'asked';
    update turns set state = 'awaiting';
    insert into agent_versions select agent_id, 2, created_at, 'Hi!', fallback,
        engine, secrets, can_open, deadline_seconds from agent_versions where agent_id = 'plain';
    update agents set production = 2 where id = 'plain';
"""


async def run(database_url: str, script: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(script)
    await connection.close()


async def row(database_url: str, query: str) -> tuple[object, ...]:
    connection = await asyncpg.connect(database_url)
    found = await connection.fetchrow(query)
    await connection.close()
    assert found is not None
    return tuple(found)


def test_agents_become_first_versions_and_back(config: Config, empty_database_url: str) -> None:
    url = empty_database_url
    command.upgrade(config, "0002")
    asyncio.run(run(url, BEFORE_VERSIONS))
    command.upgrade(config, "0003")
    far = "select number, fallback, engine::text, secrets::text from agent_versions"
    assert asyncio.run(row(url, f"{far} where agent_id = 'far'")) == (
        1,
        "Sorry.",
        '{"kind": "http"}',
        '{"secret": "sealed"}',
    )
    talk = "select agent_version, variables::text, turns_taken from conversations"
    assert asyncio.run(row(url, talk)) == (1, "{}", 0)
    asyncio.run(run(url, SINCE_VERSIONS))
    command.downgrade(config, "0002")
    agent = "select greeting, engine::text, can_open from agents where id = "
    assert asyncio.run(row(url, f"{agent} 'plain'")) == ("Hi!", '{"kind": "scripted"}', False)
    found = asyncio.run(row(url, f"{agent} 'far'"))
    assert found == (None, '{"kind": "http", "secret": "sealed"}', True)
    assert asyncio.run(row(url, "select state from conversations")) == ("engaged",)
    assert asyncio.run(row(url, "select state, due_at is null from turns")) == ("waiting", False)


def test_what_an_api_said_before_0010_is_limited_but_for_what_the_file_says_too(
    config: Config, empty_database_url: str
) -> None:
    command.upgrade(config, "0009")
    agents = {
        "template": ("file", {"model": {"base_url": "http://10.0.0.5/v1"}}),
        "copy": (
            "api",
            {
                "model": {"base_url": "http://10.0.0.5/v1"},
                "tools": [{"url": "https://a.example/"}, {"url": "https://b.example/"}],
            },
        ),
        "alone": ("api", {"url": "https://a.example/"}),
        "scripted": ("api", {"kind": "scripted"}),
    }
    found = asyncio.run(_limited(config, empty_database_url, agents))
    assert found["agents"] == {
        "alone": "[]",
        "copy": '["http://10.0.0.5/v1"]',
        "scripted": "[]",
        "template": None,
    }
    assert found["carriers"] == {
        "file": False,
        "own": True,
        "sandbox": False,
        "twilio": False,
    }


async def _limited(
    config: Config, database_url: str, agents: Mapping[str, tuple[str, object]]
) -> dict[str, dict[str, object]]:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("insert into accounts (id, name) values ('acme', 'Acme')")
        async with connection.transaction():
            for name, (source, engine) in agents.items():
                await connection.execute(
                    "insert into agents (id, account_id, production, source)"
                    " values ($1, 'acme', 1, $2)",
                    *(name, source),
                )
                await connection.execute(
                    "insert into agent_versions"
                    " (agent_id, number, created_at, engine, can_open, deadline_seconds)"
                    " values ($1, 1, now(), $2, false, 1)",
                    *(name, json.dumps(engine)),
                )
        for name, source, base_url in (
            ("file", "file", "https://gateway.example/"),
            ("own", "api", "https://gateway.example/"),
            ("sandbox", "api", ""),
            ("twilio", "api", "https://api.twilio.com"),
        ):
            await connection.execute(
                "insert into carriers (id, account_id, kind, account_sid, auth_token, base_url,"
                " source) values ($1, 'acme', 'twilio', $1, 't', $3, $2)",
                *(name, source, base_url),
            )
        await asyncio.to_thread(command.upgrade, config, "0010")
        return {
            "agents": {
                row["agent_id"]: row["private_urls"]
                for row in await connection.fetch(
                    "select agent_id, private_urls::text from agent_versions"
                )
            },
            "carriers": {
                row["id"]: row["public_only"]
                for row in await connection.fetch("select id, public_only from carriers")
            },
        }
    finally:
        await connection.close()
