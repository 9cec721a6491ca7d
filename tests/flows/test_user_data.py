"""What is held about a user is told whole, and goes whole; only opt-outs stay."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import text as sql
from typer.testing import CliRunner, Result

from tests.support import plans
from tests.support.deployment import (
    ACME,
    AGENT,
    NEIGHBOUR,
    NOW,
    NUMBERS,
    USER,
    hour,
    number,
    second,
)
from tests.support.doubles import NO_ANSWER, CarrierDouble
from tests.support.webhooks import BROKEN, Postman
from tests.support.world import World
from textback.cli.main import app
from textback.core.commands import Idempotency, Notify
from textback.core.ids import AccountId, new_file_id
from textback.core.phone import Phone
from textback.db import uploads, webhook_deliveries
from textback.db.uploads import Upload
from textback.db.user_data import OF_CONVERSATION, OF_USER, UNTOLD
from textback.flows import consent, planning, user_data
from textback.flows.consent import Wish

DIGITS = USER.removeprefix("+")
ON_WHATSAPP = Phone("whatsapp:+14155550103")


async def everywhere(world: World) -> None:
    """The user in every table in which one can be; and a neighbour beside them."""
    await world.provision(numbers=[*NUMBERS, number(ON_WHATSAPP)])
    told = Notify(url="https://example.com/hook", format="native")
    await plans.send(world, text="Hi Ann", notify=told)
    await world.send_all()
    await world.hear("Hello", now=second(1))
    await world.think(now=second(2))
    theirs = f"whatsapp:{USER}"
    await world.hear("On WhatsApp", user=theirs, agent_number=ON_WHATSAPP, now=second(3))
    await plans.create(world, [USER, NEIGHBOUR], text="Hi.", send_at=hour(48), now=second(4))
    await plans.send(world, text="Tomorrow then.", send_at=hour(24), now=second(5))
    over = await plans.send(world, text="Not any more.", send_at=hour(25), now=second(5))
    await planning.cancel(world.db, ACME, plans.id_of(over), now=second(6))
    await consent.opt_out_user(
        world.db, ACME, Wish(user_number=USER, project="reminders"), now=second(7)
    )
    written = f"name,phone\nAnn,+{DIGITS[0]} ({DIGITS[1:4]}) {DIGITS[4:7]}-{DIGITS[7:]}\n"
    async with world.transaction() as c:
        for content in (written, f"name,phone\nBob,{NEIGHBOUR}\n"):
            file = Upload(id=new_file_id(NOW), name="a.csv", kind="batches", content=content)
            await uploads.add(c, ACME, file, now=NOW)
        await c.execute(
            sql(
                "insert into tool_calls (id, conversation_id, turn_id, name, arguments, began_at)"
                " select 'call', conversation_id, id, 'look', '{}', now() from turns limit 1"
            )
        )
    await world.accept("Hi Bob", user=NEIGHBOUR, now=second(8))


async def mentions(world: World, number: str) -> set[str]:
    """The tables that hold it in any column, in any way of writing it."""
    found: set[str] = set()
    async with world.transaction() as c:
        tables = "select relname from pg_class where relkind = 'r' and relnamespace ="
        for table in await c.scalars(sql(f"{tables} 'public'::regnamespace")):
            rows = f"select regexp_replace(t::text, '[ ().-]', '', 'g') from {table} t"  # noqa: S608
            if any(number in row for row in await c.scalars(sql(rows))):
                found.add(table)
    return found


async def test_everything_about_a_user_is_exported_and_nothing_about_another(
    world: World,
) -> None:
    await everywhere(world)
    told = await user_data.export(world.db, USER, ACME, now=hour(1))
    assert {name: len(told[name]) for name in OF_USER} == {
        "conversations": 2,
        "planned_sends": 3,
        "events": 1,
        "opt_outs": 1,
        "uploads": 1,
    }
    assert {each["command"]["text"] for each in told["planned_sends"]} == {
        *("Hi.", "Tomorrow then.", "Not any more.")
    }
    first, second_ = told["conversations"]
    assert [each["text"] for each in first["messages"]] == ["Hi Ann", "Hello", "You said: Hello"]
    assert all(first[name] for name in OF_CONVERSATION)
    assert second_["user_number"] == f"whatsapp:{USER}"
    assert "content" not in told["uploads"][0]
    assert "secrets" not in first["webhooks"][0]
    assert NEIGHBOUR not in str(told)
    # One address, or another account: only what is theirs.
    alone = await user_data.export(world.db, Phone(f"whatsapp:{USER}"), None, now=hour(1))
    assert [each["id"] for each in alone["conversations"]] == [second_["id"]]
    assert (await user_data.count(world.db, NEIGHBOUR, ACME))["conversations"] == 1


async def test_a_planned_send_that_goes_with_its_conversation_is_counted_too(world: World) -> None:
    await world.provision()
    await plans.create(world, [USER], text="Hi.", send_at=hour(1))
    assert await plans.batch_turns(world, now=hour(1)) == [["accepted"]]
    await world.send_all(now=hour(1))

    done = await user_data.erase_user(world.db, USER, ACME, now=hour(2))

    assert (done.removed["conversations"], done.removed["planned_sends"]) == (1, 1)


async def test_what_is_erased_is_nowhere_any_more_and_who_opted_out_still_has(
    world: World,
) -> None:
    await everywhere(world)
    before = await mentions(world, NEIGHBOUR)
    assert await mentions(world, DIGITS) > {"conversations", "messages", "planned_sends", "uploads"}

    done = await user_data.erase_user(world.db, USER, ACME, now=hour(1))

    assert await mentions(world, DIGITS) == {"opt_outs"}
    assert await mentions(world, NEIGHBOUR) == before
    assert done.removed == {
        "conversations": 2,
        "texts": 4,
        "planned_sends": 3,
        "events": 1,
        "uploads": 1,
        "idempotency_keys": 0,
    }
    assert (done.opt_outs, done.in_the_way) == ([("project:reminders", USER)], [])
    assert (await world.accept(now=hour(2))).suppressed
    # Nothing of it is sent, the neighbour's row is, and the carrier brings nothing back.
    assert await plans.singles(world, now=hour(49)) == []
    assert await plans.batch_turns(world, now=hour(49)) == [["accepted"]]
    assert (await world.hear("Hello", sid="IN0001", now=hour(50))).outcome == "duplicate"


async def test_what_may_be_on_its_way_stays_until_that_is_known(world: World) -> None:
    doubted = await world.accept()
    await world.send(carrier=CarrierDouble(NO_ANSWER))
    done = await user_data.erase_user(world.db, USER, None, now=second(1))
    assert done.removed["conversations"] == 0
    assert [each.partition(":")[0] for each in done.in_the_way] == [doubted.conversation_id]
    await world.receipt("delivered", sid="SM1", message_id=doubted.message_id, now=second(2))
    done = await user_data.erase_user(world.db, USER, None, now=second(3))
    assert (done.removed["conversations"], done.in_the_way) == (1, [])


async def test_a_webhook_that_is_recorded_meanwhile_goes_too(world: World) -> None:
    await Postman(world).endpoint()
    await consent.opt_out_user(
        world.db, ACME, Wish(user_number=USER, project="reminders"), now=second(5)
    )
    mine = "select d.id from webhook_deliveries d join events e on e.id = d.event_id"
    async with asyncio.TaskGroup() as group, world.transaction() as c:
        told = await c.scalar(sql(f"{mine} where e.data->>'user_number' = :user"), {"user": USER})
        assert await webhook_deliveries.lock(c, told)
        await webhook_deliveries.note_attempt(c, told, BROKEN, now=second(8))
        erasing = group.create_task(user_data.erase_user(world.db, USER, ACME, now=second(8)))
        await world.blocked(1)
    assert erasing.result().removed["events"] > 0
    assert await mentions(world, DIGITS) == {"opt_outs"}
    async with world.transaction() as c:
        assert await c.scalar(sql("select count(*) from webhook_attempts")) == 0


def run(database_url: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"TEXTBACK_DATABASE_URL": database_url})


async def away(world: World, database_url: str, *arguments: str) -> Result:
    """A command has an event loop of its own."""
    await world.db.dispose()
    return await asyncio.to_thread(run, database_url, *arguments)


async def test_an_operator_exports_and_erases_from_the_command_line(
    world: World, database_url: str, tmp_path: Path
) -> None:
    await everywhere(world)
    file = tmp_path / "ann.json"
    printed = await away(world, database_url, "export", USER, "--account", "acme")
    written = await away(world, database_url, "export", USER, "--output", str(file))
    assert written.exit_code == 0, written.stderr
    told: dict[str, Any] = json.loads(file.read_text())
    assert {**told, "exported_at": ""} == {
        **json.loads(printed.stdout),
        "exported_at": "",
        "account": None,
    }
    assert (told["format"], told["user_number"]) == ("textback.user.1", USER)
    assert file.stat().st_mode & 0o077 == 0

    asked = await away(world, database_url, "erase", USER)
    assert asked.exit_code == 1
    assert "2 conversations, 4 texts" in asked.stderr
    assert "--yes" in asked.stderr
    for wrong in (["erase", "415", "--yes"], ["erase", USER, "--yes", "--account", "nobody"]):
        refused = await away(world, database_url, *wrong)
        assert (refused.exit_code, refused.stdout) == (1, "")
    assert len(await world.talks()) == 3

    done = await away(world, database_url, "erase", USER, "--yes")
    assert done.exit_code == 0, done.stderr
    assert "Erased: 2 conversations, 4 texts" in done.stdout
    assert f"Kept: {USER} opted out of project:reminders" in done.stdout
    again = await away(world, database_url, "erase", USER, "--yes", "--json")
    assert json.loads(again.stdout)["erased"]["conversations"] == 0


def test_the_document_names_every_field_of_an_export() -> None:
    page = (Path(__file__).parents[2] / "docs/retention.md").read_text()
    tables = [*OF_USER.items(), *OF_CONVERSATION.items()]
    names: Sequence[str] = [
        f"`{column.name}`"
        for name, table in tables
        for column in table.c
        if (name, column.name) not in UNTOLD
    ]
    assert [each for each in sorted({*names}) if each not in page] == []


async def test_another_accounts_conversation_with_the_same_user_stays(world: World) -> None:
    await world.accept()
    done = await user_data.erase_user(world.db, USER, AccountId("acme"), now=second(1))
    assert done.removed["conversations"] == 1
    await world.accept(now=second(2))
    async with world.transaction() as c:
        await c.execute(sql("insert into accounts (id, name) values ('globex', 'Globex')"))
        await c.execute(sql("update conversations set account_id = 'globex'"))
    done = await user_data.erase_user(world.db, USER, ACME, now=second(3))
    assert done.removed["conversations"] == 0
    assert len(await world.talks()) == 1
    assert await world.may_text(agent_number=AGENT)


async def test_what_another_account_holds_beside_conversations_stays(world: World) -> None:
    await everywhere(world)
    name = Idempotency(route="/v1/messages", key=f"key-{USER}", fingerprint=b"")
    await plans.send(world, idempotency=name, send_at=hour(24), now=second(9))
    kept = {
        "planned_sends": "user_number <> ''",
        "events": "account_id is not null",
        "uploads": "true",
        "idempotency_keys": "true",
    }

    async def there() -> dict[str, int]:
        async with world.transaction() as c:
            count = "select count(*) from {} where {}"
            return {t: await c.scalar(sql(count.format(t, w))) or 0 for t, w in kept.items()}

    before = await there()
    assert all(before.values())
    async with world.transaction() as c:
        await c.execute(sql("insert into accounts (id, name) values ('globex', 'Globex')"))
    done = await user_data.erase_user(world.db, USER, AccountId("globex"), now=hour(1))
    assert set(done.removed.values()) == {0}
    assert await there() == before
    told = await user_data.export(world.db, USER, AccountId("globex"), now=hour(1))
    assert not any(told[table] for table in OF_USER)
    assert await plans.singles(world, now=hour(24)) != []  # nothing was cancelled
