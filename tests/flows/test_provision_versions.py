"""Versions of agents: content stays under its number, labels move, secrets follow."""

from collections.abc import Mapping
from functools import cache, partial
from typing import Any, cast

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from tests import make
from tests.support.provision import NOW, VAULT
from tests.support.provisioned import row, versions
from textback.cli.apply import sentence
from textback.core.ids import AgentId
from textback.core.plan import AgentContent
from textback.core.policy import IdlePolicy
from textback.core.ports import Vault
from textback.db import conversations, tables
from textback.db.session import transaction
from textback.engine_kinds import KINDS
from textback.flows import provision as flow
from textback.flows.provision_agents import Versions
from textback.flows.provision_report import Report
from textback.provisioning_file import read, reread
from textback.vault import FernetVault

OTHER = FernetVault("b" * 43 + "=")
Entry = Mapping[str, Any]


def scripted(says: str) -> dict[str, Any]:
    return {"kind": "scripted", "default": says}


def whsec(letter: str) -> str:
    return "whsec_" + (letter * 4) * 10


def http(secret: str | None, url: str = "http://127.0.0.1:9/turn") -> dict[str, Any]:
    return {"kind": "http", "url": url} | ({} if secret is None else {"secret": whsec(secret)})


def tool(name: str, key: str, url: str | None = None) -> dict[str, Any]:
    where = url or f"http://127.0.0.1:9/{name}"
    return {"name": name, "description": "d", "url": where, "headers": {"X-Key": key}}


def llm(*tools: Mapping[str, Any], key: str = "sk-1", prompt: str = "p") -> dict[str, Any]:
    model = {"provider": "openai", "name": "m", "api_key": key}
    return {"kind": "llm", "model": model, "prompt": prompt, "tools": list(tools)}


async def apply(
    db: AsyncEngine,
    engine: Entry,
    draft: Entry | None = None,
    *,
    vault: Vault = VAULT,
    prune: bool = False,
    dry_run: bool = False,
    **more: object,
) -> Report:
    """An agent `bookings` with this engine; `draft`: of its draft, `{}` as in production."""
    entry: dict[str, Any] = {"id": "bookings", "engine": dict(engine)} | more
    if draft is not None:
        entry["draft"] = {"engine": dict(draft)} if draft else {}
    return await apply_file(db, [entry], vault=vault, prune=prune, dry_run=dry_run)


async def apply_file(
    db: AsyncEngine,
    entries: list[dict[str, Any]],
    *,
    vault: Vault = VAULT,
    prune: bool = False,
    dry_run: bool = False,
) -> Report:
    file = read(
        yaml.safe_dump({"accounts": [{"id": "acme", "agents": entries}]}), {}, engines=KINDS
    )
    return await flow.apply(
        db,
        file.plan,
        vault=vault,
        now=NOW,
        reread=partial(reread, KINDS),
        prune=prune,
        dry_run=dry_run,
    )


async def labels(db: AsyncEngine) -> tuple[int, int | None]:
    agent = await row(db, "agent", "bookings")
    return agent["production"], agent["draft"]


async def numbers(db: AsyncEngine) -> list[int]:
    return [version.number for version in await versions(db, "bookings")]


async def secrets(db: AsyncEngine, vault: Vault = VAULT) -> dict[int, dict[str, str]]:
    """All that are stored, opened, by version and path."""
    return {
        version.number: {path: vault.open(s) for path, s in version.secrets.items()}
        for version in await versions(db, "bookings")
    }


# --- Numbers --------------------------------------------------------------------------------------


async def test_the_same_content_keeps_its_number_and_other_content_gets_the_next(
    engine: AsyncEngine,
) -> None:
    await apply(engine, scripted("One"))
    await apply(engine, scripted("One"))
    assert (await labels(engine), await numbers(engine)) == ((1, None), [1])
    await apply(engine, scripted("Two"))
    assert (await labels(engine), await numbers(engine)) == ((2, None), [1, 2])
    one, two = await versions(engine, "bookings")
    assert (one.engine["default"], two.engine["default"]) == ("One", "Two")


async def test_every_part_of_the_content_makes_a_version_of_its_own(engine: AsyncEngine) -> None:
    remote = http(None)
    await apply(engine, remote)
    others: list[dict[str, Any]] = [
        {"greeting": "Hi!"},
        {"fallback": None},
        {"analysis": {"summary": True}},
        {"analysis": {"outcomes": [{"name": "booked"}]}},
    ]
    for more in others:
        await apply(engine, remote, **more)
    await apply(engine, remote | {"timeout_seconds": 7})
    assert await numbers(engine) == [1, 2, 3, 4, 5, 6]
    await apply(engine, remote, analysis={"summary": True})
    assert await labels(engine) == (4, None)


async def test_what_was_before_comes_back_under_its_old_number(engine: AsyncEngine) -> None:
    for says in ("One", "Two", "One"):
        await apply(engine, scripted(says))
    assert (await labels(engine), await numbers(engine)) == ((1, None), [1, 2])


async def test_a_draft_that_is_promoted_keeps_its_number(engine: AsyncEngine) -> None:
    await apply(engine, scripted("One"), scripted("Two"))
    assert await labels(engine) == (1, 2)
    await apply(engine, scripted("Two"))
    assert (await labels(engine), await numbers(engine)) == ((2, None), [1, 2])


async def test_a_draft_that_changes_nothing_is_production(engine: AsyncEngine) -> None:
    await apply(engine, scripted("One"), {})
    assert (await labels(engine), await numbers(engine)) == ((1, 1), [1])
    await apply(engine, scripted("One"))
    assert await labels(engine) == (1, None)


async def test_an_agent_that_was_removed_comes_back_as_it_was(engine: AsyncEngine) -> None:
    await apply(engine, scripted("One"), scripted("Two"))
    await apply_file(engine, [{"id": "other", "engine": scripted("x")}], prune=True)
    assert (await row(engine, "agent", "bookings"))["removed_at"] == NOW
    await apply(engine, scripted("One"), scripted("Two"))
    agent = await row(engine, "agent", "bookings")
    assert (agent["production"], agent["draft"], agent["removed_at"]) == (1, 2, None)
    assert await numbers(engine) == [1, 2]


async def test_a_dry_run_makes_no_version_and_says_which_there_would_be(
    engine: AsyncEngine,
) -> None:
    await apply(engine, http("a"))
    report = await apply(engine, http("b", "http://127.0.0.1:9/v2"), http("c"), dry_run=True)
    assert (await labels(engine), await numbers(engine)) == ((1, None), [1])
    assert await secrets(engine) == {1: {"secret": whsec("a")}}
    assert [(v.change.label, v.change.number, v.change.was) for v in report.versions] == [
        ("production", 2, 1),
        ("draft", 3, None),
    ]


async def test_what_an_older_release_stored_is_the_same_content(engine: AsyncEngine) -> None:
    await apply(engine, http("a"))
    t = tables.agent_versions
    old = {"kind": "http", "url": "http://127.0.0.1:9/turn", "timeout_seconds": 20}
    async with transaction(engine) as c:
        await c.execute(update(t).values(engine=old, deadline_seconds=7))
    report = await apply(engine, http("a"))
    assert (await labels(engine), await numbers(engine), report.versions) == ((1, None), [1], [])
    async with transaction(engine) as c:  # how long it may take is for today's engine to say
        assert (await c.execute(t.select())).one().deadline_seconds == 40
    assert (await apply(engine, http("a"))).unchanged == 2


# --- Secrets --------------------------------------------------------------------------------------


async def test_a_rotated_secret_is_no_new_version(engine: AsyncEngine) -> None:
    await apply(engine, http("a"))
    report = await apply(engine, http("b"))
    assert (await labels(engine), await numbers(engine), report.versions) == ((1, None), [1], [])
    assert [thing.id for thing in report.updated] == ["bookings"]
    assert await secrets(engine) == {1: {"secret": whsec("b")}}


async def test_a_rotated_secret_reaches_the_versions_that_conversations_stay_on(
    engine: AsyncEngine,
) -> None:
    for n in range(3):
        await apply(engine, llm(prompt=f"v{n}", key="sk-1"))
    await apply(engine, llm(prompt="v3", key="sk-2"))  # with a new version at once
    assert await secrets(engine) == {n: {"model.api_key": "sk-2"} for n in [1, 2, 3, 4]}
    await apply(engine, llm(prompt="v3", key="sk-3"))  # and alone
    assert await secrets(engine) == {n: {"model.api_key": "sk-3"} for n in [1, 2, 3, 4]}
    assert await numbers(engine) == [1, 2, 3, 4]


async def test_going_back_to_an_old_version_with_a_rotated_secret_is_no_new_version(
    engine: AsyncEngine,
) -> None:
    await apply(engine, llm(prompt="v1", key="sk-1"))
    await apply(engine, llm(prompt="v2", key="sk-1"))
    await apply(engine, llm(prompt="v1", key="sk-2"))
    assert (await labels(engine), await numbers(engine)) == ((1, None), [1, 2])
    assert await secrets(engine) == {n: {"model.api_key": "sk-2"} for n in [1, 2]}


async def test_a_tool_that_is_put_before_another_does_not_lend_it_its_secret(
    engine: AsyncEngine,
) -> None:
    # By their places in the list alone, the old version's tool got the new tool's key: its calls
    # would have been refused, and a stranger's server told a key that is not its own.
    await apply(engine, llm(tool("book", "key-of-book")))
    await apply(engine, llm(tool("pay", "key-of-pay"), tool("book", "key-of-book")))
    assert (await secrets(engine))[1] == {
        "model.api_key": "sk-1",
        "tools.0.headers.X-Key": "key-of-book",
    }
    await apply(engine, llm(tool("pay", "key-of-pay"), tool("book", "another")))
    assert (await secrets(engine))[1]["tools.0.headers.X-Key"] == "another"


async def test_a_secret_for_another_address_is_another_secret(engine: AsyncEngine) -> None:
    await apply(engine, http("a", "http://127.0.0.1:9/old"))
    await apply(engine, http("b", "http://127.0.0.1:9/new"))
    assert await secrets(engine) == {1: {"secret": whsec("a")}, 2: {"secret": whsec("b")}}
    await apply(engine, llm(tool("book", "one", "http://127.0.0.1:9/a")))
    await apply(engine, llm(tool("book", "two", "http://127.0.0.1:9/b")))
    assert (await secrets(engine))[3]["tools.0.headers.X-Key"] == "one"


async def test_production_and_draft_may_have_different_secrets_in_the_same_place(
    engine: AsyncEngine,
) -> None:
    await apply(engine, http("a"), http("b"))
    assert await labels(engine) == (1, 2)
    await apply(engine, http("a"), http("b"))
    assert (await labels(engine), await numbers(engine)) == ((1, 2), [1, 2])
    await apply(engine, http("a"), http("c"))
    assert await secrets(engine) == {1: {"secret": whsec("a")}, 2: {"secret": whsec("c")}}
    await apply(engine, http("d"), http("c"))
    assert await secrets(engine) == {1: {"secret": whsec("d")}, 2: {"secret": whsec("c")}}
    await apply(engine, http("c"), http("d"))  # traded
    assert (await labels(engine), await numbers(engine)) == ((2, 1), [1, 2])


async def test_an_old_version_follows_its_own_label_and_not_the_other(engine: AsyncEngine) -> None:
    # Production rotates, and the draft keeps the secret that both had.
    await apply(engine, llm(prompt="old", key="sk-1"))
    await apply(engine, llm(prompt="new", key="sk-1"), llm(prompt="draft", key="sk-1"))
    await apply(engine, llm(prompt="new", key="sk-2"), llm(prompt="draft", key="sk-1"))
    assert await labels(engine) == (2, 3)
    assert [key["model.api_key"] for key in (await secrets(engine)).values()] == [
        "sk-2",
        "sk-2",
        "sk-1",
    ]


async def test_a_secret_that_is_added_or_taken_away_is_no_new_version(engine: AsyncEngine) -> None:
    await apply(engine, http(None))
    await apply(engine, http("a"))
    assert await secrets(engine) == {1: {"secret": whsec("a")}}
    await apply(engine, http(None))
    assert await secrets(engine) == {1: {}}


async def test_secrets_that_no_key_opens_any_more_are_sealed_anew(engine: AsyncEngine) -> None:
    await apply(engine, llm(tool("book", "one"), prompt="v1"))
    await apply(engine, llm(tool("book", "one"), prompt="v2"))
    report = await apply(engine, llm(tool("book", "one"), prompt="v2"), vault=OTHER)
    assert (await labels(engine), await numbers(engine)) == ((2, None), [1, 2])
    assert [thing.id for thing in report.updated] == ["bookings"]
    _, two = await versions(engine, "bookings")
    assert {OTHER.open(sealed) for sealed in two.secrets.values()} == {"sk-1", "one"}
    assert (await apply(engine, llm(tool("book", "one"), prompt="v2"), vault=OTHER)).unchanged == 2


async def test_an_old_version_that_no_key_opens_is_left_until_it_is_wanted_again(
    engine: AsyncEngine,
) -> None:
    await apply(engine, http("a"))
    await apply(engine, http("a", "http://127.0.0.1:9/new"))
    await apply(engine, http("b", "http://127.0.0.1:9/new"), vault=OTHER)
    one, _two = await versions(engine, "bookings")
    assert VAULT.open(one.secrets["secret"]) == whsec("a")
    await apply(engine, http("b"), vault=OTHER)
    assert (await labels(engine), await numbers(engine)) == ((1, None), [1, 2])
    assert await secrets(engine, OTHER) == {n: {"secret": whsec("b")} for n in [1, 2]}


_SECRETS = st.sampled_from(["sk-1", "sk-2", "sk-3"])
_CONTENTS = st.tuples(st.sampled_from(["p", "q"]), _SECRETS)
_FILES = st.lists(st.tuples(_CONTENTS, st.none() | _CONTENTS), min_size=1, max_size=8)


@given(_FILES)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_was_applied_before_a_label_has_what_its_file_says(
    files: list[tuple[tuple[str, str], tuple[str, str] | None]],
) -> None:
    stored = dict[int, dict[str, Any]]()
    at: dict[Any, int | None] = {"production": None, "draft": None}
    for production, draft in files:
        contents = {"production": production, "draft": draft}
        wanted = {label: _content(c) if c else None for label, c in contents.items()}
        _settled(wanted, stored, at)
        found = _settled(wanted, stored, at)
        assert (found.new, found.changed) == ([], {})  # the second time
        for label, content in contents.items():
            number = at[label]
            if content is None:
                assert number is None
            else:
                assert stored[number or 0]["engine"]["prompt"] == content[0]
                assert stored[number or 0]["secrets"] == {"model.api_key": content[1]}


def _settled(
    wanted: dict[Any, AgentContent | None], stored: dict[int, dict[str, Any]], at: dict[Any, Any]
) -> Versions:
    """What `apply` does; `stored` and `at` are as they are after it."""
    found = Versions(
        AgentId("a"), stored, vault=_PlainVault(), reread=lambda engine, _: engine, now=NOW
    )
    at |= found.settle(wanted, at=at)
    for number, columns in found.changed.items():
        stored[number] |= columns
    for new in found.new:
        stored[cast("int", new["number"])] = dict(new)
    return found


class _PlainVault:
    def seal(self, secret: str) -> str:
        return secret

    def open(self, sealed: str) -> str:
        return sealed


@cache
def _content(content: tuple[str, str]) -> Any:
    engine = llm(prompt=content[0], key=content[1])
    text = yaml.safe_dump({"accounts": [{"id": "a", "agents": [{"id": "b", "engine": engine}]}]})
    return read(text, {}, engines=KINDS).plan.agents[0].production


# --- The report -----------------------------------------------------------------------------------


async def live_on(db: AsyncEngine, number: int, count: int) -> None:
    for n in range(count):
        talk = make.engaged(
            id=f"conv_{number}_{n}",
            agent_id="bookings",
            agent_version=number,
            user_number=f"+1415555{number}{n:03}",
        )
        async with transaction(db) as c:
            await conversations.add(c, talk, policy=IdlePolicy(), now=NOW)


async def test_a_new_version_says_who_stays_on_the_old_one(engine: AsyncEngine) -> None:
    project = {"id": "reminders", "agent": "bookings"}
    text = {"accounts": [{"id": "acme", "agents": [{"id": "bookings"}], "projects": [project]}]}

    async def put(says: str, draft: str | None = None) -> list[str]:
        agent: dict[str, Any] = {"id": "bookings", "engine": scripted(says)}
        if draft is not None:
            agent["draft"] = {"engine": scripted(draft)}
        text["accounts"][0]["agents"] = [agent]
        file = read(yaml.safe_dump(text), {}, engines=KINDS)
        report = await flow.apply(engine, file.plan, vault=VAULT, now=NOW)
        return [sentence(version) for version in report.versions]

    assert await put("One") == []
    await live_on(engine, 1, 17)
    [said] = await put("Two")
    assert said == (
        "agent bookings: version 2 is production now (was 1); 17 live conversations stay on"
        " version 1: `textback agent move bookings --from 1` moves them"
    )
    assert await put("Two", "Three") == ["agent bookings: version 3 is draft now (new)"]
    await live_on(engine, 3, 1)
    [said] = await put("Two", "Four")
    assert said == (
        "agent bookings: version 4 is draft now (was 3); 1 live conversation stays on"
        " version 3: `textback agent move bookings --to draft --from 3` moves them"
    )
    assert await put("Two") == ["agent bookings: there is no draft any more (it was version 4)"]
    assert await put("Two") == []


async def test_conversations_on_a_version_that_no_key_opens_are_warned_of(
    engine: AsyncEngine,
) -> None:
    with_project = {"accounts": [{"id": "acme", "projects": [{"id": "reminders"}]}]}

    async def put(url: str, secret: str, vault: Vault) -> list[str]:
        acme = with_project["accounts"][0]
        agents = [{"id": "bookings", "engine": http(secret, url)}]
        acme |= {"agents": agents, "projects": [{"id": "reminders", "agent": "bookings"}]}
        file = read(yaml.safe_dump(with_project), {}, engines=KINDS)
        report = await flow.apply(engine, file.plan, vault=vault, now=NOW)
        return [f"{warning.path}: {warning.problem}" for warning in report.warnings]

    await put("http://127.0.0.1:9/1", "a", VAULT)
    await live_on(engine, 1, 2)
    assert await put("http://127.0.0.1:9/2", "b", VAULT) == []
    await put("http://127.0.0.1:9/3", "b", VAULT)  # nobody is on version 2
    [said] = await put("http://127.0.0.1:9/3", "b", OTHER)
    assert said == (
        "('accounts', 0, 'agents', 0): no key opens the secrets of version 1, so its 2 live"
        " conversations fail; `textback agent move bookings --from 1` moves them"
    )
