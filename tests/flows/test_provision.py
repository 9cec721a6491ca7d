"""Applying a file: all or nothing, and twice is as good as once."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from tests import make
from tests.support.provision import (
    NOW,
    SECRET_KEY,
    STANDARD_YAML,
    TOKEN,
    VAULT,
    apply_file,
    environment,
)
from tests.support.provisioned import changed, everything, names, row, versions
from textback.core.conversation import Live, close, deadline
from textback.core.ids import ConversationId
from textback.core.phone import Phone
from textback.core.policy import IdlePolicy, ProjectPolicy
from textback.db import agents, callers, conversations, tables, tenants
from textback.db.session import transaction
from textback.engine_kinds import KINDS
from textback.flows import provision as flow
from textback.provisioning_file import read
from textback.vault import FernetVault

LATER = NOW + timedelta(days=1)
SECRET = "whsec_" + "QUJD" * 10
REMOTE = '{kind: http, url: "http://127.0.0.1:9/turn", secret: "${TURN_SECRET}"}'
SCRIPTED = '{kind: scripted, default: "You said: {text}"}'


async def test_everything_in_the_file_is_there_afterwards(engine: AsyncEngine) -> None:
    report = await apply_file(engine)
    assert len(report.created) == 15
    assert (report.updated, report.removed, report.unchanged, report.api_keys) == ([], [], 0, [])
    async with transaction(engine) as c:
        connector = await callers.find_connector(c, "conn-live")
        assert connector is not None
        assert (connector.account_id, connector.project_id) == ("acme", "reminders")
        assert connector.policy == ProjectPolicy()
        project = await tenants.get_project(c, connector.project_id)
        ours = await tenants.numbers_of(c, connector.project_id)
        assert [n.number for n in ours] == ["+14155550100", "+14155550101"]
        assert {(n.segments_per_second, n.opt_out_replies) for n in ours} == {(1, "carrier")}
        carrier = await tenants.find_carrier(c, ours[0].carrier_id)
        assert carrier is not None
        assert TOKEN not in carrier.auth_token
        assert tenants.opened(carrier, VAULT).auth_token == TOKEN
        agent = await agents.current(c, project.agent_id, project.label("live"))
        assert (agent.number, agent.greeting, agent.can_open) == (
            1,
            "Hello, how can I help?",
            False,
        )
        config = KINDS["scripted"].model.model_validate(agent.engine)
        assert config.model_dump(mode="json") == agent.engine


async def test_the_same_file_again_changes_nothing(engine: AsyncEngine) -> None:
    words = "agent: bookings\n        opt_out_words: {stop: [basta, no mas, jamais, genug]}"
    file = changed(("agent: bookings", words), (SCRIPTED, REMOTE))
    env = {"TURN_SECRET": SECRET}
    await apply_file(engine, file, env)
    before = await everything(engine)
    report = await apply_file(engine, file, env, now=LATER)
    assert (report.created, report.updated, report.removed) == ([], [], [])
    assert report.unchanged == 15
    assert await everything(engine) == before


async def test_only_what_differs_is_updated(engine: AsyncEngine) -> None:
    await apply_file(engine)
    before = await everything(engine)
    file = changed(
        ("Acme Dental", "Acme"),
        ('"Hello, how can I help?"', "Hi!"),
        ("- {id: conn-live, environment: live}", "- {id: conn-live, environment: dev}"),
        ('"+14155550101", environment: live', '"+14155550101", segments_per_second: 4'),
    )
    report = await apply_file(engine, file)
    assert names(report, "updated") == [
        "account acme",
        "agent bookings",
        "connector conn-live",
        "number +14155550101",
    ]
    assert report.unchanged == 11
    before["account"]["acme",]["name"] = "Acme"
    before["agent"]["bookings",]["production"] = 2
    before["connector"]["conn-live",]["environment"] = "dev"
    before["number"]["+14155550101",]["segments_per_second"] = 4
    assert await everything(engine) == before


async def test_what_the_file_no_longer_names_stays(engine: AsyncEngine) -> None:
    await apply_file(engine)
    before = await everything(engine)
    report = await apply_file(engine, "accounts: [{id: acme, name: Acme Dental}]")
    assert report.unchanged == 1
    assert await everything(engine) == before


async def test_a_dry_run_says_what_would_change_and_changes_nothing(engine: AsyncEngine) -> None:
    before = await everything(engine)
    file = read(changed((', key: "${ACME_API_KEY}"', "")), environment(), engines=KINDS)
    report = await flow.apply(engine, file.plan, vault=VAULT, now=NOW, dry_run=True)
    assert len(report.created) == 15
    assert report.api_keys == ()  # one that was shown, but does not work, would be a trap
    assert await everything(engine) == before


async def test_two_applies_at_once_are_one_after_the_other(engine: AsyncEngine) -> None:
    async with asyncio.TaskGroup() as group:
        applies = [group.create_task(apply_file(engine)) for _ in range(4)]
    reports = [apply.result() for apply in applies]
    assert sorted(len(report.created) for report in reports) == [0, 0, 0, 15]
    assert sorted(report.unchanged for report in reports) == [0, 15, 15, 15]


# --- Secrets --------------------------------------------------------------------------------------


async def test_an_engines_secret_is_sealed(engine: AsyncEngine) -> None:
    file = changed((SCRIPTED, REMOTE))
    await apply_file(engine, file, {"TURN_SECRET": SECRET})
    (version,) = await versions(engine, "globex-agent")
    assert (version.can_open, version.engine["secret"]) == (True, None)
    assert SECRET not in str(version)
    assert VAULT.open(version.secrets["secret"]) == SECRET
    other = "whsec_" + "WFla" * 10
    report = await apply_file(engine, file, {"TURN_SECRET": other})
    assert names(report, "updated") == ["agent globex-agent"]
    (version,) = await versions(engine, "globex-agent")
    assert VAULT.open(version.secrets["secret"]) == other


async def test_a_token_that_no_key_opens_any_more_is_sealed_anew(engine: AsyncEngine) -> None:
    await apply_file(engine)
    new = FernetVault("b" * 43 + "=")
    file = read(STANDARD_YAML, environment(), engines=KINDS)
    report = await flow.apply(engine, file.plan, vault=new, now=NOW)
    assert names(report, "updated") == ["carrier acme-twilio", "carrier globex-twilio"]
    assert new.open((await row(engine, "carrier", "acme-twilio"))["auth_token"]) == TOKEN
    both = FernetVault(f"{SECRET_KEY},{'b' * 43}=")
    report = await flow.apply(engine, file.plan, vault=both, now=NOW)
    assert report.unchanged == 15


async def test_a_sandbox_without_a_token_gets_one_and_keeps_it(engine: AsyncEngine) -> None:
    file = "accounts: [{id: acme, carriers: [{id: box, kind: sandbox}]}]"
    await apply_file(engine, file)
    first = await row(engine, "carrier", "box")
    assert (first["account_sid"], first["base_url"]) == ("SANDBOX-box", "")
    assert len(VAULT.open(first["auth_token"])) == 43
    assert (await apply_file(engine, file)).unchanged == 2
    assert await row(engine, "carrier", "box") == first


async def test_a_twilio_token_does_not_become_the_sandboxs(engine: AsyncEngine) -> None:
    carrier = "{id: box, kind: twilio, account_sid: ACx, auth_token: the-twilio-token}"
    await apply_file(engine, f"accounts: [{{id: acme, carriers: [{carrier}]}}]")
    await apply_file(engine, "accounts: [{id: acme, carriers: [{id: box, kind: sandbox}]}]")
    box = await row(engine, "carrier", "box")
    assert box["kind"] == "sandbox"
    assert VAULT.open(box["auth_token"]) != "the-twilio-token"


# --- Live conversations ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inactivity", "idle"),
    [
        (
            "{warn_after_seconds: 60, close_after_seconds: 1.5}",
            IdlePolicy(
                warn_after=timedelta(seconds=60),
                close_after=timedelta(seconds=1.5),
                unanswered_after=timedelta(seconds=61.5),
            ),
        ),
        (
            "{warn_after_seconds: null}",
            IdlePolicy(warn_after=None, unanswered_after=None),
        ),
    ],
)
async def test_live_conversations_follow_new_lengths_of_silence(
    engine: AsyncEngine, inactivity: str, idle: IdlePolicy
) -> None:
    await apply_file(engine)
    lives = [
        replace(live, id=ConversationId(f"conv_{i}"), user_number=Phone(f"+1415555012{i}"))
        for i, live in enumerate(make.lives())
    ]
    over = close(replace(lives[0], id=ConversationId("conv_over")), "idle", now=NOW)
    async with transaction(engine) as c:
        for conversation in [*lives, over]:
            await conversations.add(c, conversation, policy=IdlePolicy(), now=NOW)
    file = changed(("agent: bookings", f"agent: bookings\n        inactivity: {inactivity}"))
    assert names(await apply_file(engine, file), "updated") == ["project reminders"]
    t = tables.conversations
    async with transaction(engine) as c:
        rows = (await c.execute(select(t.c.id, t.c.deadline_at))).all()
    expected: dict[str, object] = {live.id: deadline(live, idle) for live in lives}
    assert {row.id: row.deadline_at for row in rows} == expected | {over.id: None}


async def test_other_changes_leave_deadlines_alone(engine: AsyncEngine) -> None:
    await apply_file(engine)
    live: Live = make.engaged()
    odd = IdlePolicy(warn_after=timedelta(seconds=7))
    async with transaction(engine) as c:
        await conversations.add(c, live, policy=odd, now=NOW)
    await apply_file(
        engine, changed(("agent: bookings", "agent: bookings\n        unknown_user: greet"))
    )
    t = tables.conversations
    async with transaction(engine) as c:
        assert await c.scalar(select(t.c.deadline_at)) == deadline(live, odd)
