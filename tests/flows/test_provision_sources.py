"""What is the file's and what the API's: pruning, taking over; what a file gives access to."""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.support.managed import OTHER_SECRET, SECRET, managing
from tests.support.provision import ACME_KEY, NOW, STANDARD_YAML, VAULT, provision
from tests.support.provisioned import everything, names, refused, row, without_globex
from textback.core.ids import AccountId
from textback.db import callers, webhooks
from textback.db.session import transaction
from textback.flows import manage, manage_account, manage_apps, manage_keys

LATER = NOW + timedelta(days=2)
PAIR = "nxf_" + "0a" * 16
CLIENT = "cs-01927c3a-7b2e-4c4d-8e5f-0123456789ab"
NUMBER = "+14155550155"

ACCESS = STANDARD_YAML.replace(
    "    name: Acme Dental\n",
    f"""\
    name: Acme Dental
    agent_template: bookings
    webhook_secret: "{SECRET}"
    key_pairs: [{{id: {PAIR}, name: nixflex, secret: nxfs_secret, scopes: [send]}}]
    jwt_apps: [{{client_id: {CLIENT}, name: kore, secret: signs-tokens}}]
    webhooks:
      - {{id: all, url: "https://example.com/all", secret: "${{HOOK}}"}}
""",
).replace(
    "        agent: bookings\n",
    """\
        agent: bookings
        quiet_hours: {start: "21:00", end: "08:00"}
        retention_days: 90
        webhooks: [{id: some, url: "https://example.com/some", kinds: [message.failed]}]
""",
)


async def find_key(c: AsyncConnection, key: str) -> callers.KeyRow | None:
    return await callers.find_key(c, callers.key_hash(key))


async def test_what_a_file_gives_access_to_is_there_and_applied_again_the_same(
    engine: AsyncEngine,
) -> None:
    env = {"HOOK": SECRET}
    await provision(engine, ACCESS, env)
    before = await everything(engine)
    again = await provision(engine, ACCESS, env, now=LATER)
    assert (again.created, again.updated, again.removed, again.unchanged) == ([], [], [], 19)
    assert await everything(engine) == before
    async with transaction(engine) as c:
        key = await find_key(c, f"{PAIR}:nxfs_secret")
    assert key is not None
    assert (key.id, key.scopes) == (PAIR, {"send"})
    account, app = before["account"]["acme",], before["jwt_app"][CLIENT,]
    assert account["agent_template"] == "bookings"
    assert (VAULT.open(account["webhook_secret"]), VAULT.open(app["secret"])) == (
        SECRET,
        "signs-tokens",
    )
    every, some = before["webhook"]["all",], before["webhook"]["some",]
    assert (every["project_id"], every["kinds"], every["source"]) == (None, [], "file")
    assert (some["project_id"], some["kinds"], some["secrets"]) == (
        "reminders",
        ["message.failed"],
        [],
    )


async def test_a_webhooks_old_secret_signs_for_a_day_beside_the_new_one(
    engine: AsyncEngine,
) -> None:
    await provision(engine, ACCESS, {"HOOK": SECRET})
    await provision(engine, ACCESS, {"HOOK": OTHER_SECRET})
    found = await row(engine, "webhook", "all")
    until = (NOW + timedelta(days=1)).isoformat()
    assert [(VAULT.open(each["sealed"]), each["until"]) for each in found["secrets"]] == [
        (OTHER_SECRET, None),
        (SECRET, until),
    ]
    await provision(engine, ACCESS, {"HOOK": SECRET}, now=LATER)
    found = await row(engine, "webhook", "all")
    assert [VAULT.open(each["sealed"]) for each in found["secrets"]] == [SECRET, OTHER_SECRET]


async def test_an_accounts_old_webhook_secret_signs_for_a_day_beside_the_new_one(
    engine: AsyncEngine,
) -> None:
    env = {"HOOK": SECRET}
    await provision(engine, ACCESS, env)
    other = ACCESS.replace(f'webhook_secret: "{SECRET}"', f'webhook_secret: "{OTHER_SECRET}"')
    assert names(await provision(engine, other, env), "updated") == ["account acme"]
    found = await row(engine, "account", "acme")
    until = (NOW + timedelta(days=1)).isoformat()
    assert VAULT.open(found["webhook_secret"]) == OTHER_SECRET
    [before] = found["previous_webhook_secrets"]
    assert (VAULT.open(before["sealed"]), before["until"]) == (SECRET, until)
    again = await provision(engine, other, env, now=NOW + timedelta(hours=1))
    assert names(again, "updated") == []
    await provision(engine, ACCESS, env, now=LATER)
    found = await row(engine, "account", "acme")
    assert VAULT.open(found["webhook_secret"]) == SECRET
    assert [VAULT.open(each["sealed"]) for each in found["previous_webhook_secrets"]] == [
        OTHER_SECRET
    ]


async def test_what_gives_access_is_pruned_and_comes_back(engine: AsyncEngine) -> None:
    env = {"HOOK": SECRET}
    await provision(engine, ACCESS, env)
    async with transaction(engine) as c:
        endpoint = await webhooks.lock(c, "some")
        assert endpoint is not None
        await webhooks.pause(c, endpoint.id, "it failed", now=NOW)
    report = await provision(engine, prune=True)
    assert names(report, "removed") == [
        "api_key acme/nixflex",
        f"jwt_app {CLIENT}",
        "webhook all",
        "webhook some",
    ]
    assert (await row(engine, "webhook", "some"))["state"] == "removed"
    async with transaction(engine) as c:
        revoked = await find_key(c, f"{PAIR}:nxfs_secret")
    assert revoked is not None
    assert revoked.revoked_at == NOW
    await provision(engine, ACCESS, env)
    back = await everything(engine)
    assert back["webhook"]["some",]["state"] == "active"
    assert back["webhook"]["all",]["secrets"][0]["until"] is None
    assert back["jwt_app"][CLIENT,]["revoked_at"] is None
    assert back["api_key"]["acme", "nixflex"]["revoked_at"] is None


async def test_secrets_that_a_file_leaves_out_are_made_and_told_once(engine: AsyncEngine) -> None:
    file = STANDARD_YAML.replace(
        "    name: Acme Dental\n",
        f"    key_pairs: [{{id: {PAIR}, name: nixflex}}]\n"
        f"    jwt_apps: [{{client_id: {CLIENT}, name: kore}}]\n",
    )
    report = await provision(engine, file)
    token, secret = (made.key for made in report.api_keys)
    assert token.startswith(f"{PAIR}:nxfs_")
    assert len(token) == len(PAIR) + 1 + len("nxfs_") + 64
    assert VAULT.open((await row(engine, "jwt_app", CLIENT))["secret"]) == secret
    async with transaction(engine) as c:
        assert await find_key(c, token) is not None
    assert (await provision(engine, file)).api_keys == []


async def test_pruning_spares_what_an_api_made(engine: AsyncEngine) -> None:
    await provision(engine)
    m = managing(engine)
    await manage.create(m, "agent", {"id": "made", "engine": {"kind": "scripted"}})
    await manage.create(m, "project", {"id": "own", "agent": "made"})
    await manage.create(m, "connector", {"id": "c", "project": "own", "environment": "dev"})
    await manage.create(m, "number", {"number": NUMBER, "project": "own", "carrier": "acme-twilio"})
    key = await manage_keys.create(m, name="crm")
    app = await manage_apps.create(m, name="kore")
    report = await provision(engine, prune=True, now=LATER)
    assert (report.updated, report.removed) == ([], [])
    # Nor does it go with another account that the file lets go of.
    report = await provision(engine, without_globex(), prune=True, now=LATER)
    assert {thing.id.split("/")[0] for thing in report.removed} >= {"globex"}
    there = await everything(engine)
    gone = [there["agent"]["made",], there["project"]["own",], there["connector"]["c",]]
    assert {row["removed_at"] for row in [*gone, there["number"][NUMBER,]]} == {None}
    assert there["api_key"]["acme", key.key.name]["revoked_at"] is None
    assert there["jwt_app"][app.app.client_id,]["revoked_at"] is None


async def test_what_an_api_made_goes_with_the_account_or_project_it_is_in(
    engine: AsyncEngine,
) -> None:
    await provision(engine)
    theirs, ours = managing(engine, "globex"), managing(engine)
    await manage_keys.create(theirs, name="crm")
    await manage.create(
        theirs,
        "number",
        {"number": NUMBER, "project": "globex-project", "carrier": "globex-twilio"},
    )
    await manage.create(ours, "project", {"id": "own", "agent": "bookings"})
    report = await provision(engine, without_globex(), prune=True)
    assert {"api_key globex/crm", f"number {NUMBER}"} <= set(names(report, "removed"))
    assert (await row(engine, "project", "own"))["removed_at"] is None


async def test_pruning_does_not_take_away_what_the_apis_entries_need(engine: AsyncEngine) -> None:
    two = STANDARD_YAML.replace(
        "    agents:\n      - id: bookings\n",
        "    agents:\n      - {id: spare, engine: {kind: scripted}}\n      - id: bookings\n",
        1,
    )
    await provision(engine, two)
    await manage.create(managing(engine), "project", {"id": "own", "agent": "spare"})
    assert await refused(engine, STANDARD_YAML, prune=True) == [
        (
            '1: : --prune would remove agent "spare", which project "own" needs: that was made'
            " through the API; remove it there first, or name the agent in the file"
        )
    ]
    await manage.remove(managing(engine), "project", "own")
    assert names(await provision(engine, prune=True), "removed") == ["agent spare"]


async def test_what_a_file_names_becomes_the_files(engine: AsyncEngine) -> None:
    await provision(engine)
    m = managing(engine)
    await manage.create(
        m,
        "number",
        {"number": NUMBER, "project": "reminders", "carrier": "acme-twilio"},
        own={"kept": 1},
    )
    named = STANDARD_YAML.replace(
        '          - {number: "+14155550101"',
        f'          - {{number: "{NUMBER}", carrier: acme-twilio}}\n'
        '          - {number: "+14155550101"',
    )
    report = await provision(engine, named)
    assert names(report, "updated") == [f"number {NUMBER}"]
    found = await row(engine, "number", NUMBER)
    assert (found["source"], found["config"]) == ("file", {"kept": 1})
    assert names(await provision(engine, prune=True), "removed") == [f"number {NUMBER}"]
    back = await manage.create(
        m, "number", {"number": NUMBER, "project": "reminders", "carrier": "acme-twilio"}
    )
    assert (back.managed_by, back.own) == ("api", {})


async def test_an_apply_puts_back_what_an_api_changed(engine: AsyncEngine) -> None:
    await provision(engine)
    m = managing(engine)
    await manage.update(m, "project", "reminders", {"timezone": "Europe/Berlin"})
    await manage.update(m, "agent", "bookings", {"greeting": "Hi"})
    await manage_account.update(m, agent_template="bookings")
    key = await manage_keys.called(m, "ci")
    rotated = await manage_keys.rotate(m, key.id)
    report = await provision(engine)
    assert names(report, "updated") == [
        "account acme",
        "agent bookings",
        "api_key acme/ci",
        "project reminders",
    ]
    assert (await row(engine, "agent", "bookings"))["production"] == 1
    async with transaction(engine) as c:
        assert await find_key(c, rotated.secret) is None
        assert await find_key(c, ACME_KEY) is not None


async def test_a_key_in_its_time_of_grace_is_nobody_elses(engine: AsyncEngine) -> None:
    await provision(engine)
    m = managing(engine)
    await manage_keys.rotate(m, (await manage_keys.called(m, "ci")).id)
    other = STANDARD_YAML.replace('{name: ci, key: "${ACME_API_KEY}"}', "{name: ci}").replace(
        '{name: ci, key: "${GLOBEX_API_KEY}"}', '{name: new, key: "${ACME_API_KEY}"}'
    )
    [said] = await refused(engine, other)
    assert said.endswith('is that of api_key "acme/ci" already; use its name')
    await provision(engine, other, now=LATER)
    async with transaction(engine) as c:
        found = await find_key(c, ACME_KEY)
    assert found is not None
    assert found.account_id == AccountId("globex")
