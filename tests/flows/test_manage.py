"""Entries managed one at a time: by the rules of the file, for one account, with secrets kept."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.deployment import ACME, CARRIER
from tests.support.managed import OTHER_SECRET, SECRET, managing
from tests.support.provision import NOW, STANDARD_YAML, VAULT, provision
from tests.support.provisioned import changed, everything, row, versions
from tests.support.world import World
from textback.core.entries import EntryKind
from textback.core.errors import BadRequest, Conflict, NumberNotProvisioned, UnknownResource
from textback.core.phone import Phone
from textback.db.book import Book
from textback.flows import admit, manage, manage_account, manage_agents
from textback.flows.manage import Managing

NUMBER = "+14155550155"
OURS = {"number": NUMBER, "project": "reminders", "carrier": "acme-twilio"}
TOOL = {"name": "t", "description": "d", "url": "https://tools.example.com/t"}
MODEL = {"provider": "openai", "name": "m", "base_url": "https://models.example.com/v1"}


def llm(**more: object) -> dict[str, Any]:
    return {
        "kind": "llm",
        "prompt": "Be kind.",
        "model": {**MODEL, "api_key": "sk-model"},
        "tools": [{**TOOL, "secret": SECRET, "headers": {"X-Key": "header-key"}}],
        **more,
    }


async def secrets(engine: AsyncEngine, agent_id: str, number: int) -> dict[str, str]:
    found = {each.number: each for each in await versions(engine, agent_id)}[number]
    return {path: VAULT.open(sealed) for path, sealed in found.secrets.items()}


@pytest.fixture
async def m(engine: AsyncEngine) -> Managing:
    await provision(engine)
    return managing(engine)


async def test_each_kind_of_entry_is_made_changed_and_removed(
    m: Managing, engine: AsyncEngine
) -> None:
    made: list[tuple[EntryKind, dict[str, Any], dict[str, Any]]] = [
        ("carrier", {"id": "box", "kind": "sandbox"}, {"account_sid": "SANDBOX-2"}),
        ("agent", {"id": "bot", "engine": {"kind": "scripted"}}, {"greeting": "Hi"}),
        ("project", {"id": "own", "agent": "bot"}, {"reply_delay_seconds": 5.0}),
        ("connector", {"id": "c", "project": "own", "environment": "dev"}, {"environment": "live"}),
        ("number", {"number": NUMBER, "project": "own", "carrier": "box"}, {"agent": "bookings"}),
    ]
    for kind, entry, patch in made:
        entry_id = str(entry.get("id", NUMBER))
        first = await manage.create(m, kind, entry)
        assert (first.id, first.managed_by, first.warnings) == (entry_id, "api", ())
        assert entry.keys() <= first.entry.keys()
        with pytest.raises(Conflict, match="is there already"):
            await manage.create(m, kind, entry)
        after = await manage.update(m, kind, entry_id, patch)
        assert after.entry == {**first.entry, **patch}
        assert await manage.get(m, kind, entry_id) == after
        assert after in await manage.listed(m, kind)
    for kind, entry, _ in made[:3]:
        with pytest.raises(Conflict, match="is in use"):
            await manage.remove(m, kind, str(entry["id"]))
    for kind, entry, _ in reversed(made):
        entry_id = str(entry.get("id", NUMBER))
        await manage.remove(m, kind, entry_id)
        with pytest.raises(UnknownResource):
            await manage.get(m, kind, entry_id)
        with pytest.raises(UnknownResource):
            await manage.remove(m, kind, entry_id)
        assert entry_id not in [each.id for each in await manage.listed(m, kind)]
    back = await manage.create(m, "agent", {"id": "bot", "engine": {"kind": "scripted"}})
    assert (back.managed_by, back.production) == ("api", 1)
    assert (await row(engine, "agent", "bot"))["removed_at"] is None


async def test_what_is_the_files_is_changed_with_a_warning_and_not_removed(m: Managing) -> None:
    entries: list[tuple[EntryKind, str]] = [
        ("carrier", "acme-twilio"),
        ("agent", "bookings"),
        ("project", "reminders"),
        ("connector", "conn-live"),
        ("number", "+14155550100"),
    ]
    for kind, entry_id in entries:
        after = await manage.update(m, kind, entry_id, {})
        assert after.managed_by == "file"
        assert "provisioning file" in after.warnings[0]
        with pytest.raises(Conflict, match="--prune"):
            await manage.remove(m, kind, entry_id)


async def test_another_accounts_entries_are_not_there(engine: AsyncEngine) -> None:
    await provision(engine)
    theirs = managing(engine, "globex")
    before = await everything(engine)
    entries: list[tuple[EntryKind, str]] = [
        ("carrier", "acme-twilio"),
        ("agent", "bookings"),
        ("project", "reminders"),
        ("connector", "conn-live"),
        ("number", "+14155550100"),
    ]
    for kind, entry_id in entries:
        unknown = [
            manage.get(theirs, kind, entry_id),
            manage.update(theirs, kind, entry_id, {}),
            manage.remove(theirs, kind, entry_id),
        ]
        for asked in unknown:
            with pytest.raises(UnknownResource):
                await asked
        assert entry_id not in [each.id for each in await manage.listed(theirs, kind)]
    wrong: list[tuple[EntryKind, dict[str, Any], str]] = [
        ("agent", {"id": "bookings", "engine": {"kind": "scripted"}}, "taken"),
        ("project", {"id": "reminders", "agent": "globex-agent"}, "taken"),
        ("carrier", {"id": "acme-twilio", "kind": "sandbox"}, "taken"),
        ("connector", {"id": "conn-live", "project": "globex-project", "environment": "dev"}, "ta"),
        (
            "number",
            {"number": "+14155550100", "project": "globex-project", "carrier": "globex-twilio"},
            "taken",
        ),
    ]
    for kind, entry, said in wrong:
        with pytest.raises(Conflict, match=said):
            await manage.create(theirs, kind, entry)
    elsewhere: list[tuple[EntryKind, dict[str, Any], str]] = [
        ("project", {"id": "x", "agent": "bookings"}, 'no agent "bookings"'),
        ("connector", {"id": "x", "project": "reminders", "environment": "dev"}, "no project"),
        ("number", {**OURS, "carrier": "globex-twilio"}, 'no project "reminders"'),
        ("number", {**OURS, "project": "globex-project"}, 'no carrier "acme-twilio"'),
        (
            "number",
            {**OURS, "project": "globex-project", "carrier": "globex-twilio", "agent": "bookings"},
            'no agent "bookings"',
        ),
    ]
    for kind, entry, said in elsewhere:
        with pytest.raises(BadRequest, match=said):
            await manage.create(theirs, kind, entry)
    assert await everything(engine) == before


async def test_a_twilio_account_is_in_one_entry(m: Managing, engine: AsyncEngine) -> None:
    sid = (await manage.get(m, "carrier", "acme-twilio")).entry["account_sid"]
    entry = {"id": "second", "kind": "twilio", "account_sid": sid, "auth_token": "x"}
    with pytest.raises(Conflict, match='that of carrier "acme-twilio" already'):
        await manage.create(m, "carrier", entry)
    with pytest.raises(Conflict, match="that of somebody already"):
        await manage.create(managing(engine, "globex"), "carrier", entry)


async def test_a_carriers_token_goes_nowhere_else(m: Managing, engine: AsyncEngine) -> None:
    before = (await row(engine, "carrier", "acme-twilio"))["auth_token"]
    assert "auth_token" not in (await manage.update(m, "carrier", "acme-twilio", {})).entry
    assert (await row(engine, "carrier", "acme-twilio"))["auth_token"] == before
    for patch in ({"base_url": "https://elsewhere.example.com"}, {"account_sid": "AC1"}):
        with pytest.raises(BadRequest, match="auth_token must be given again"):
            await manage.update(m, "carrier", "acme-twilio", patch)
    moved = {"base_url": "https://elsewhere.example.com", "auth_token": "new-token"}
    await manage.update(m, "carrier", "acme-twilio", moved)
    assert VAULT.open((await row(engine, "carrier", "acme-twilio"))["auth_token"]) == "new-token"
    with pytest.raises(BadRequest, match="private address"):
        await manage.update(m, "carrier", "acme-twilio", {**moved, "base_url": "https://10.1.1.1"})
    assert "new-token" not in repr(await manage.listed(m, "carrier"))


async def test_secrets_that_a_change_does_not_name_stay(m: Managing, engine: AsyncEngine) -> None:
    made = await manage.create(m, "agent", {"id": "bot", "engine": llm()})
    assert made.entry["engine"]["model"]["api_key"] is None
    whole = await secrets(engine, "bot", 1)
    assert set(whole.values()) == {"sk-model", SECRET, "header-key"}
    assert not any(each in repr(made) for each in whole.values())
    await manage.update(m, "agent", "bot", {"greeting": "Hi", "draft": {"greeting": "Hello"}})
    assert await secrets(engine, "bot", 2) == whole == await secrets(engine, "bot", 3)
    # What is in a list is given as a whole, with null for what stays.
    shown = (await manage.get(m, "agent", "bot")).entry
    tools = [{**shown["engine"]["tools"][0], "description": "another"}]
    after = await manage.update(m, "agent", "bot", {"engine": {"tools": tools}, "draft": None})
    assert await secrets(engine, "bot", after.production or 0) == whole
    after = await manage.update(m, "agent", "bot", {"engine": {"tools": [TOOL]}})
    assert await secrets(engine, "bot", after.production or 0) == {"model.api_key": "sk-model"}


@pytest.mark.parametrize(
    ("patch", "place"),
    [
        ({"engine": {"model": {"base_url": "https://x.example.com"}}}, "engine.model.api_key"),
        (
            {"engine": {"tools": [{**TOOL, "url": "https://x.example.com", "secret": None}]}},
            "engine.tools[0].secret",
        ),
    ],
)
async def test_a_secret_is_not_sent_to_another_address_than_it_was_given_for(
    m: Managing, engine: AsyncEngine, patch: dict[str, Any], place: str
) -> None:
    await manage.create(m, "agent", {"id": "bot", "engine": llm()})
    before = await everything(engine)
    with pytest.raises(BadRequest) as refused:
        await manage.update(m, "agent", "bot", patch)
    assert list(refused.value.faults) == [place]
    assert "give it again" in refused.value.sentence
    assert await everything(engine) == before


async def test_null_takes_a_secret_away_and_another_kind_of_engine_takes_all(
    m: Managing, engine: AsyncEngine
) -> None:
    remote = {"kind": "http", "url": "https://example.com/turn", "secret": SECRET}
    await manage.create(m, "agent", {"id": "bot", "engine": llm()})
    after = await manage.update(m, "agent", "bot", {"engine": remote})
    assert after.entry["engine"].get("model") is None
    assert await secrets(engine, "bot", 2) == {"secret": SECRET}
    await manage.update(m, "agent", "bot", {"engine": {"secret": OTHER_SECRET}})
    assert await secrets(engine, "bot", 2) == {"secret": OTHER_SECRET}
    await manage.update(m, "agent", "bot", {"engine": {"secret": None}})
    assert await secrets(engine, "bot", 2) == {}


async def test_versions_are_made_by_the_same_rules(m: Managing) -> None:
    async def now_on(patch: dict[str, Any]) -> tuple[int | None, int | None]:
        after = await manage.update(m, "agent", "bookings", patch)
        return after.production, after.draft

    assert await now_on({}) == (1, None)
    assert await now_on({"greeting": "Hi"}) == (2, None)
    assert await now_on({"draft": {"greeting": "Hello"}}) == (2, 3)
    assert await now_on({"greeting": "Hello, how can I help?"}) == (1, 3)
    assert await now_on({"greeting": "Hello", "draft": None}) == (3, None)
    assert await now_on({"fallback": None}) == (4, None)
    found = await manage_agents.versions(m, "bookings")
    assert [(each.number, each.is_production) for each in found] == [
        (1, False),
        (2, False),
        (3, False),
        (4, True),
    ]
    assert (found[1].content["greeting"], found[3].content["fallback"]) == ("Hi", None)
    [last] = await manage_agents.versions(m, "bookings", after=3)
    assert last.number == 4
    with pytest.raises(UnknownResource):
        await manage_agents.versions(m, "globex-agent")


async def test_what_follows_from_a_numbers_carrier_follows_from_another(m: Managing) -> None:
    await manage.create(m, "carrier", {"id": "box", "kind": "sandbox"})
    made = await manage.create(m, "number", {**OURS, "carrier": "box"}, own={"a": 1, "b": 2})
    assert (made.entry["segments_per_second"], made.entry["opt_out_replies"]) == (100, "ours")
    moved = await manage.update(m, "number", NUMBER, {"carrier": "acme-twilio"}, own={"a": None})
    assert (moved.entry["segments_per_second"], moved.entry["opt_out_replies"]) == (1, "carrier")
    assert moved.own == {"b": 2}
    faster = await manage.update(m, "number", NUMBER, {"segments_per_second": 7})
    back = await manage.update(m, "number", NUMBER, {"carrier": "box"})
    assert faster.entry["segments_per_second"] == back.entry["segments_per_second"] == 7
    with pytest.raises(BadRequest, match="cannot be changed"):
        await manage.update(m, "number", NUMBER, {"number": "+14155550156"})


async def test_an_agent_with_a_prompt_alone_runs_as_the_template_does(engine: AsyncEngine) -> None:
    model = "{provider: openai, name: m, base_url: 'http://10.0.0.9/v1', api_key: sk-local}"
    file = changed(
        (
            "    agents:\n      - id: bookings\n",
            (
                "    agents:\n      - {id: like, engine: {kind: llm, prompt: Hm,"
                f" model: {model}}}}}\n      - id: bookings\n"
            ),
        )
    )
    await provision(engine, file)
    m = managing(engine)
    with pytest.raises(Conflict, match="agent_template"):
        await manage_agents.create_from_template(m, agent_id="new", prompt="Sell.")
    with pytest.raises(BadRequest, match="names no agent"):
        await manage_account.update(m, agent_template="globex-agent")
    await manage_account.update(m, agent_template="like")
    made = await manage_agents.create_from_template(m, agent_id="new", prompt="Sell.", own={"x": 1})
    assert (made.entry["engine"]["prompt"], made.entry["greeting"]) == ("Sell.", None)
    assert (made.managed_by, made.own) == ("api", {"x": 1})
    assert await secrets(engine, "new", 1) == {"model.api_key": "sk-local"}
    # What the file gave may be at a private address; what is asked for may not.
    after = await manage.update(m, "agent", "new", {"engine": {"prompt": "Help."}}, own={"y": 2})
    assert (after.production, after.own) == (2, {"x": 1, "y": 2})
    with pytest.raises(BadRequest, match="https"):
        await manage.update(
            m,
            "agent",
            "new",
            {"engine": {"model": {"base_url": "http://10.0.0.8", "api_key": "k"}}},
        )
    await manage_account.update(m, agent_template="new")
    with pytest.raises(Conflict, match='account "acme" needs it'):
        await manage.remove(m, "agent", "new")
    await manage_account.update(m, agent_template="bookings")
    with pytest.raises(Conflict, match="takes no prompt"):
        await manage_agents.create_from_template(m, agent_id="other", prompt="Sell.")


async def test_a_removed_numbers_texts_go_out_and_nobody_else_gets_its_conversations(
    world: World,
) -> None:
    m = managing(world.db)
    await provision(world.db, without_acme(), now=NOW)
    number = await manage.create(m, "number", {**OURS, "carrier": CARRIER})
    accepted = await world.accept(agent_number=Phone(NUMBER))
    await manage.remove(m, "number", number.id)

    await world.send_all()
    assert await world.state(accepted.message_id) == "sent"
    assert (await world.hear("Yes", agent_number=NUMBER)).outcome == "unknown_number"
    with pytest.raises(NumberNotProvisioned):
        await admit.sender(Book(world.db), ACME, agent_number=NUMBER)

    theirs = {"number": NUMBER, "project": "globex-project", "carrier": "globex-twilio"}
    with pytest.raises(Conflict, match="former owner"):
        await manage.create(managing(world.db, "globex"), "number", theirs)
    await world.end(accepted.conversation_id)
    assert (await manage.create(managing(world.db, "globex"), "number", theirs)).id == NUMBER


async def test_idle_times_that_are_changed_count_for_live_conversations(world: World) -> None:
    accepted = await world.accept()
    before = (await world.talk(accepted.conversation_id)).deadline_at
    idle = {"inactivity": {"unanswered_after_seconds": 60}}
    await manage.update(managing(world.db), "project", "reminders", idle)
    after = (await world.talk(accepted.conversation_id)).deadline_at
    assert (before, after) == (NOW + timedelta(hours=24, minutes=10), NOW + timedelta(minutes=1))


def without_acme() -> str:
    """Of the standard file what is globex'."""
    return "accounts:\n" + STANDARD_YAML[STANDARD_YAML.index("  - id: globex") :]
