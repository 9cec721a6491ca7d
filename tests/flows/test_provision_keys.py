"""API keys: made once, shown once, stored as hashes; and what pruning takes away and gives back."""

from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.provision import (
    ACME_KEY,
    GLOBEX_KEY,
    NOW,
    apply_file,
)
from tests.support.provisioned import (
    changed,
    everything,
    names,
    refused,
    row,
    without_globex,
)
from textback.db import callers
from textback.db.callers import KeyRow
from textback.db.session import transaction

LATER = NOW + timedelta(days=1)


def keys(*entries: str) -> str:
    return f"accounts:\n- id: acme\n  api_keys: [{', '.join(entries)}]\n"


async def found(engine: AsyncEngine, key: str) -> KeyRow | None:
    async with transaction(engine) as c:
        return await callers.find_key(c, callers.key_hash(key))


async def works(engine: AsyncEngine, key: str) -> bool:
    known = await found(engine, key)
    return known is not None and known.revoked_at is None


async def test_a_key_left_out_is_made_once_and_kept(engine: AsyncEngine) -> None:
    file = keys("{name: made}")
    (made,) = (await apply_file(engine, file)).api_keys
    assert (made.account_id, made.name) == ("acme", "made")
    assert made.key.startswith("tb_")
    assert len(made.key) == len("tb_") + 43
    assert await works(engine, made.key)
    assert made.key not in str(await everything(engine))
    again = await apply_file(engine, file, now=LATER)
    assert (again.api_keys, again.unchanged) == ([], 2)
    assert await works(engine, made.key)


async def test_every_key_made_is_another(engine: AsyncEngine) -> None:
    report = await apply_file(engine, keys("{name: a}", "{name: b}"))
    assert len({made.key for made in report.api_keys}) == 2


async def test_another_key_under_the_same_name_replaces_it(engine: AsyncEngine) -> None:
    await apply_file(engine)
    report = await apply_file(engine, env={"ACME_API_KEY": "the-next-key-of-acme"})
    assert names(report, "updated") == ["api_key acme/ci"]
    assert await works(engine, "the-next-key-of-acme")
    assert await found(engine, ACME_KEY) is None
    assert await works(engine, GLOBEX_KEY)


async def test_keys_are_rotated_by_moving_them_to_another_name(engine: AsyncEngine) -> None:
    first, second, third = (f"{name}-key-0123456789" for name in ("first", "second", "third"))
    await apply_file(engine, keys(f"{{name: current, key: {first}}}"))
    for current, previous in [(second, first), (third, second)]:
        file = keys(f"{{name: current, key: {current}}}", f"{{name: previous, key: {previous}}}")
        await apply_file(engine, file)
        assert await works(engine, current)
        assert await works(engine, previous)
    assert await found(engine, first) is None
    swapped = keys(f"{{name: current, key: {second}}}", f"{{name: previous, key: {third}}}")
    assert len((await apply_file(engine, swapped)).updated) == 2


async def test_a_key_of_another_entry_is_refused(engine: AsyncEngine) -> None:
    await apply_file(engine)
    assert await refused(engine, keys("{name: other, key: '${ACME_API_KEY}'}")) == [
        '3: accounts[0].api_keys[0].key: is that of api_key "acme/ci" already; use its name'
    ]
    two = keys("{name: ci}", "{name: other, key: '${ACME_API_KEY}'}")
    assert await refused(engine, two) == [
        '3: accounts[0].api_keys[1].key: is that of api_key "acme/ci" already; use its name'
    ]


async def test_a_key_is_revoked_and_comes_back(engine: AsyncEngine) -> None:
    await apply_file(engine)
    revoked = changed(('{name: ci, key: "${ACME_API_KEY}"}', "{name: ci, revoked: true}"))
    await apply_file(engine, revoked, now=LATER)
    known = await found(engine, ACME_KEY)
    assert known is not None
    assert known.revoked_at == LATER
    again = await apply_file(engine, revoked, now=LATER + timedelta(days=1))
    assert again.unchanged == 15
    await apply_file(engine)
    assert await works(engine, ACME_KEY)


async def test_a_key_expires_when_the_file_says(engine: AsyncEngine) -> None:
    file = changed(('key: "${ACME_API_KEY}"', "expires_at: 2027-01-31"))
    await apply_file(engine)
    assert names(await apply_file(engine, file), "updated") == ["api_key acme/ci"]
    known = await found(engine, ACME_KEY)
    assert known is not None
    assert known.expires_at == datetime(2027, 1, 31, tzinfo=UTC)
    assert (await apply_file(engine, file)).unchanged == 15


# --- Pruning --------------------------------------------------------------------------------------


async def test_pruning_removes_what_the_file_does_not_name(engine: AsyncEngine) -> None:
    await apply_file(engine)
    before = await everything(engine)
    report = await apply_file(engine, without_globex(), prune=True, now=LATER)
    assert names(report, "removed") == [
        "account globex",
        "agent globex-agent",
        "api_key globex/ci",
        "carrier globex-twilio",
        "connector conn-globex",
        "number +14155550199",
        "project globex-project",
    ]
    assert report.unchanged == 8
    assert not await works(engine, GLOBEX_KEY)
    assert (await row(engine, "number", "+14155550199"))["removed_at"] == LATER
    again = await apply_file(engine, without_globex(), prune=True)
    assert (again.removed, again.unchanged) == ([], 8)
    back = await apply_file(engine)
    assert len(back.updated) == 7
    assert await everything(engine) == before


async def test_a_pruned_key_comes_back_without_its_value(engine: AsyncEngine) -> None:
    await apply_file(engine, keys("{name: a, key: a-key-0123456789}", "{name: b}"))
    await apply_file(engine, keys("{name: b}"), prune=True)
    assert not await works(engine, "a-key-0123456789")
    report = await apply_file(engine, keys("{name: a}", "{name: b}"))
    assert report.api_keys == []
    assert await works(engine, "a-key-0123456789")


async def test_key_pairs_trade_their_names(engine: AsyncEngine) -> None:
    one, other = "nxf_" + "0a" * 16, "nxf_" + "0b" * 16
    for trade in (("first", "second"), ("second", "first")):
        named = zip((one, other), trade, strict=True)
        pairs = [f"{{id: {each}, name: {name}, secret: s-{each[-1]}}}" for each, name in named]
        await apply_file(engine, f"accounts: [{{id: acme, key_pairs: [{', '.join(pairs)}]}}]")
        assert await works(engine, f"{one}:s-a")
        assert await works(engine, f"{other}:s-b")
    moved = f"key_pairs: [{{id: {one}, name: first, secret: s-a}}]"
    await apply_file(engine, f"accounts: [{{id: acme, api_keys: [{{name: second}}], {moved}}}]")
    assert await works(engine, f"{one}:s-a")
    assert not await works(engine, f"{other}:s-b")


async def test_a_secret_that_was_made_is_not_that_of_another_pair_or_key(
    engine: AsyncEngine,
) -> None:
    made: list[str] = []
    for entry in (
        f"key_pairs: [{{id: nxf_{'0a' * 16}, name: crm}}]",
        f"key_pairs: [{{id: nxf_{'0b' * 16}, name: crm}}]",
        "api_keys: [{name: crm}]",
        f"key_pairs: [{{id: nxf_{'0a' * 16}, name: crm}}]",
    ):
        report = await apply_file(engine, f"accounts: [{{id: acme, {entry}}}]")
        [new] = report.api_keys
        for before in made:
            assert not await works(engine, before)
        assert await works(engine, new.key)
        made.append(new.key)
