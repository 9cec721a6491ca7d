"""Keys, pairs and apps: made, shown once, changed over, revoked."""

from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.managed import managing
from tests.support.provision import ACME_KEY, NOW, VAULT, provision
from tests.support.provisioned import everything
from textback.core.errors import BadKey, BadRequest, Conflict, MissingScope, UnknownResource
from textback.db.book import Book
from textback.flows import admit, manage_apps, manage_keys
from textback.flows.manage import Managing

DAY = timedelta(days=1)


@pytest.fixture
async def m(engine: AsyncEngine) -> Managing:
    await provision(engine)
    return managing(engine)


async def opens(m: Managing, key: str, after: timedelta = timedelta(0)) -> bool:
    try:
        found = await admit.holder(Book(m.db), key=key, scope="read", now=NOW + after)
    except BadKey:
        return False
    return found.account_id == m.account_id


async def test_a_key_that_is_changed_works_both_ways_in_the_time_of_grace_and_not_after(
    m: Managing,
) -> None:
    first = await manage_keys.create(m, name="crm", scopes=["read"])
    then = await manage_keys.rotate(m, first.key.id, grace=timedelta(hours=1))
    assert then.key.id == first.key.id
    assert then.key.previous_until == NOW + timedelta(hours=1)
    just_before, just_after = timedelta(minutes=59), timedelta(hours=1)
    assert await opens(m, first.secret, just_before)
    assert await opens(m, then.secret, just_before)
    assert not await opens(m, first.secret, just_after)
    assert await opens(m, then.secret, just_after)
    # The latest two work, and no third.
    last = await manage_keys.rotate(m, first.key.id, again=True)
    assert last.key.previous_until == NOW + DAY
    assert [await opens(m, each.secret) for each in (first, then, last)] == [False, True, True]
    at_once = await manage_keys.rotate(m, first.key.id, grace=timedelta(0), again=True)
    assert [await opens(m, each.secret) for each in (then, last, at_once)] == [False, False, True]
    for grace in (timedelta(days=31), timedelta(seconds=-1)):
        with pytest.raises(BadRequest, match="30 days at most"):
            await manage_keys.rotate(m, first.key.id, grace=grace)


async def test_a_key_that_was_promised_to_work_on_is_not_cut_off_by_another_change_unasked(
    m: Managing,
) -> None:
    for first in (await manage_keys.create(m, name="crm"), await manage_keys.create_pair(m)):
        then = await manage_keys.rotate(m, first.key.id, grace=timedelta(hours=1))
        for grace in (None, timedelta(0), DAY):
            with pytest.raises(Conflict, match="works until 2026-03-02 10:00:00 UTC"):
                await manage_keys.rotate(m, first.key.id, grace=grace)
        assert await manage_keys.get(m, first.key.id) == then.key
        # When it works no more there is nobody to cut off.
        later = managing(m.db, now=NOW + timedelta(hours=1))
        assert (await manage_keys.rotate(later, first.key.id)).secret != then.secret


async def test_a_key_ends_when_it_expires_or_is_revoked_with_the_one_before(m: Managing) -> None:
    made = await manage_keys.create(m, name="crm", expires_at=NOW + DAY)
    then = await manage_keys.rotate(m, made.key.id, grace=2 * DAY)
    assert [await opens(m, each.secret) for each in (made, then)] == [True, True]
    assert [await opens(m, each.secret, DAY) for each in (made, then)] == [False, False]
    later = managing(m.db, now=NOW + DAY)
    with pytest.raises(Conflict, match="expired"):
        await manage_keys.rotate(later, made.key.id)
    longer = await manage_keys.update(later, made.key.id, expires_at=None, name="new", scopes=None)
    assert (longer.name, longer.expires_at) == ("new", None)
    assert [await opens(m, each.secret, DAY) for each in (made, then)] == [True, True]
    await manage_keys.revoke(m, made.key.id)
    await manage_keys.revoke(m, made.key.id)
    assert [await opens(m, each.secret) for each in (made, then)] == [False, False]
    for change in (manage_keys.rotate(m, made.key.id), manage_keys.update(m, made.key.id)):
        with pytest.raises(Conflict, match="revoked"):
            await change
    with pytest.raises(Conflict, match="or there was one"):
        await manage_keys.create(m, name="new")
    with pytest.raises(BadRequest, match="over already"):
        await manage_keys.create(m, name="late", expires_at=NOW)


async def test_a_pairs_token_is_id_and_secret_and_changes_at_once(
    m: Managing, engine: AsyncEngine
) -> None:
    made = await manage_keys.create_pair(m)
    assert made.key.name == made.key.id
    token = f"{made.key.id}:{made.secret}"
    found = await admit.holder(Book(engine), key=token, scope="send", now=NOW)
    assert (found.key_id, found.scopes) == (made.key.id, None)
    assert not await opens(m, made.secret)
    then = await manage_keys.rotate(m, made.key.id)
    assert (then.key.id, then.key.previous_until) == (made.key.id, None)
    assert not await opens(m, token)
    assert await opens(m, f"{made.key.id}:{then.secret}")
    assert [each.id for each in await manage_keys.listed(m, pairs=True)] == [made.key.id]
    assert made.key.id not in [each.id for each in await manage_keys.listed(m, pairs=False)]


async def test_no_key_makes_one_that_may_do_more_than_itself(m: Managing) -> None:
    little = managing(m.db, scopes=frozenset({"manage", "read"}))
    mine = await manage_keys.create(little, name="mine", scopes=["read"])
    app = await manage_apps.create(little, name="mine", scopes=["manage"])
    whole = await manage_keys.create(m, name="whole")
    bigger = await manage_apps.create(m, name="bigger", scopes=["send"])
    for too_much in (
        manage_keys.create(little, name="more"),
        manage_keys.create(little, name="more", scopes=["read", "send"]),
        manage_keys.create_pair(little),
        manage_keys.rotate(little, whole.key.id),
        manage_keys.update(little, whole.key.id, name="x"),
        manage_keys.update(little, mine.key.id, scopes=None),
        manage_apps.create(little, name="more"),
        manage_apps.rotate(little, bigger.app.client_id),
        manage_apps.update(little, bigger.app.client_id, scopes=["read"]),
        manage_apps.update(little, app.app.client_id, scopes=None),
    ):
        with pytest.raises(MissingScope, match="more than itself: manage, read"):
            await too_much
    await manage_keys.revoke(little, whole.key.id)
    assert not await opens(m, whole.secret)


async def test_no_key_makes_or_changes_one_that_works_longer_than_itself(m: Managing) -> None:
    passing = managing(m.db, expires_at=NOW + DAY)
    mine = await manage_keys.create(passing, name="mine", expires_at=NOW + DAY)
    lasting = await manage_keys.create(m, name="lasting")
    pair, app = await manage_keys.create_pair(m), await manage_apps.create(m, name="kore")
    for too_long in (
        manage_keys.create(passing, name="more"),
        manage_keys.create(passing, name="more", expires_at=NOW + DAY + timedelta(seconds=1)),
        manage_keys.create_pair(passing),
        manage_keys.rotate(passing, lasting.key.id),
        manage_keys.rotate(passing, pair.key.id),
        manage_keys.update(passing, mine.key.id, expires_at=None),
        manage_keys.update(passing, mine.key.id, expires_at=NOW + 2 * DAY),
        manage_keys.update(passing, lasting.key.id, scopes=None),
        manage_apps.create(passing, name="more"),
        manage_apps.rotate(passing, app.app.client_id),
        manage_apps.update(passing, app.app.client_id, scopes=None),
    ):
        with pytest.raises(MissingScope, match="works longer than itself: until 2026-03-03 09:00"):
            await too_long
    then = await manage_keys.rotate(passing, mine.key.id)
    assert then.key.expires_at == NOW + DAY
    assert not await opens(m, then.secret, DAY)
    sooner = NOW + timedelta(hours=1)
    for each in (mine, lasting):  # that a longer one ends is no more than revoking it
        after = await manage_keys.update(passing, each.key.id, expires_at=sooner)
        assert after.expires_at == sooner
    await manage_keys.revoke(passing, pair.key.id)
    assert (await manage_keys.update(m, mine.key.id, expires_at=None)).expires_at is None


async def test_the_files_keys_are_changed_over_and_not_revoked(m: Managing) -> None:
    ci = await manage_keys.called(m, "ci")
    assert ci.managed_by == "file"
    with pytest.raises(Conflict, match="revoked: true"):
        await manage_keys.revoke(m, ci.id)
    with pytest.raises(Conflict, match="knows it by"):
        await manage_keys.update(m, ci.id, name="other")
    rotated = await manage_keys.rotate(m, ci.id)
    assert await opens(m, rotated.secret)
    assert await opens(m, ACME_KEY)


async def test_an_apps_secret_is_sealed_and_replaced(m: Managing, engine: AsyncEngine) -> None:
    made = await manage_apps.create(m, name="kore", scopes=["send"], require_jti=True)
    client_id = made.app.client_id
    stored = (await everything(engine))["jwt_app"][client_id,]
    assert VAULT.open(stored["secret"]) == made.secret
    then = await manage_apps.rotate(m, client_id)
    assert then.secret != made.secret
    after = await manage_apps.update(m, client_id, require_jti=False)
    assert (after.name, after.scopes, after.require_jti) == ("kore", {"send"}, False)
    assert await manage_apps.listed(m) == [after]
    await manage_apps.revoke(m, client_id)
    for change in (manage_apps.rotate(m, client_id), manage_apps.update(m, client_id)):
        with pytest.raises(Conflict, match="revoked"):
            await change
    assert (await manage_apps.get(m, client_id)).revoked_at == NOW


async def test_another_accounts_keys_are_not_there(m: Managing) -> None:
    key, pair = await manage_keys.create(m, name="a"), await manage_keys.create_pair(m)
    app = (await manage_apps.create(m, name="a")).app.client_id
    theirs = managing(m.db, "globex")
    for asked in (
        manage_keys.get(theirs, key.key.id),
        manage_keys.called(theirs, "a"),
        manage_keys.update(theirs, key.key.id, name="b"),
        manage_keys.rotate(theirs, pair.key.id),
        manage_keys.revoke(theirs, key.key.id),
        manage_apps.get(theirs, app),
        manage_apps.update(theirs, app, name="b"),
        manage_apps.rotate(theirs, app),
        manage_apps.revoke(theirs, app),
    ):
        with pytest.raises(UnknownResource):
            await asked
    assert await manage_keys.listed(theirs, pairs=True) == []
    assert await manage_apps.listed(theirs) == []
