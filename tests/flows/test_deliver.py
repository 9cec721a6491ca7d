"""Events to the endpoints that want them: once each if all is well, again if not, in order."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from sqlalchemy import CursorResult, Executable
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.support.deployment import ACME, NEIGHBOUR, NOW, USER, hour, minute, second
from tests.support.managed import managing
from tests.support.plans import send
from tests.support.provision import VAULT
from tests.support.webhooks import BROKEN, OK, SILENT, URL, Postman, answered
from tests.support.world import World
from textback.core import signing
from textback.core.commands import Notify
from textback.core.events import Event
from textback.core.ids import ConversationId, MessageId
from textback.core.phone import Phone
from textback.core.webhook import LADDER, Answered
from textback.db import erasing, webhook_claim_queries, webhook_deliveries
from textback.db.webhook_deliveries import Round
from textback.flows import deliver, manage_account, redeliver, webhooks
from textback.flows.deliver import Recorded
from textback.wiring import FORMATS


@pytest.fixture
def postman(world: World) -> Postman:
    return Postman(world)


async def test_an_event_goes_to_every_endpoint_that_wants_it_and_to_no_other(
    world: World, postman: Postman
) -> None:
    await world.accept()
    assert await postman.deliveries() == []  # nobody wanted it

    first = await world.accept("First", user=NEIGHBOUR)
    at = "https://receiver.example/"
    await postman.endpoint(url=at + "everything")
    await postman.endpoint(url=at + "project", project_id="reminders")
    await postman.endpoint(url=at + "conversation", conversation_id=first.conversation_id)
    await postman.endpoint(url=at + "kinds", kinds=["message.queued"])
    await world.accept("Hello.")
    await world.hear("Thanks", user=NEIGHBOUR)
    await postman.run()
    got = [(p.url.removeprefix(at), p.type) for p in postman.posted]
    told = {url: [kind for to, kind in got if to == url] for url, _ in got}
    opened = ["conversation.closed", "conversation.opened", "message.accepted"]
    heard = ["conversation.engaged", "message.received"]
    assert sorted(told["everything"]) == sorted([*opened, *heard])
    assert sorted(told["project"]) == sorted([*opened, *heard])
    assert sorted(told["conversation"]) == sorted(heard)
    assert told["kinds"] == ["message.accepted"]
    assert await postman.run() == []


async def test_what_is_told_is_signed_and_says_what_happened(
    world: World, postman: Postman
) -> None:
    made = await postman.endpoint(kinds=["message.queued"])
    accepted = await world.accept("Your table is ready.")
    await postman.run(now=second(3))
    (posted,) = postman.posted
    assert posted.url == URL
    assert signing.fault(made.secret, posted.headers, posted.body, now=second(3)) is None
    assert posted.headers["content-type"] == "application/json"
    assert posted.headers["webhook-id"].startswith("evt_")
    told = posted.json()
    assert set(told) == {"type", "timestamp", "data"}
    assert told["timestamp"] == "2026-03-02T09:00:00.000Z"
    assert told["data"]["message"]["id"] == accepted.message_id
    assert told["data"]["message"]["text"] == "Your table is ready."
    assert told["data"]["conversation"]["id"] == accepted.conversation_id
    assert told["data"]["conversation"]["user_number"] == USER
    assert told["data"]["project_id"] == "reminders"


async def test_a_failed_delivery_is_tried_again_on_the_ladder_with_the_same_words_and_id(
    world: World, postman: Postman
) -> None:
    await postman.endpoint(kinds=["message.queued"])
    await world.accept()
    postman.answer = SILENT
    at = NOW
    for tries, wait in enumerate(LADDER):
        if wait:
            assert await postman.round(now=at + wait - timedelta(seconds=1)) == []
        at += wait
        assert await postman.round(now=at) == ["failed" if tries == 5 else "again"]
    assert await postman.round(now=at + timedelta(days=3)) == []
    assert await postman.deliveries() == [("failed", 6)]
    assert len({(p.body, p.headers["webhook-id"]) for p in postman.posted}) == 1
    assert len({p.headers["webhook-timestamp"] for p in postman.posted}) == 6
    attempts = await postman.rows("select * from webhook_attempts order by number")
    assert [row["number"] for row in attempts] == [1, 2, 3, 4, 5, 6]
    assert {row["error"] for row in attempts} == {"no answer in time"}


@pytest.mark.parametrize(
    ("status", "state"),
    [(204, "delivered"), (301, "failed"), (404, "failed"), (408, "waiting"), (503, "waiting")],
)
async def test_an_answer_decides_whether_it_is_tried_again(
    world: World, postman: Postman, status: int, state: str
) -> None:
    await postman.endpoint(kinds=["message.queued"])
    await world.accept()
    postman.answer = answered(status)
    await postman.round()
    assert await postman.deliveries() == [(state, 1)]
    (attempt,) = await postman.rows("select * from webhook_attempts")
    assert (attempt["status"], attempt["milliseconds"]) == (status, 3)


async def test_a_receiver_that_asks_for_time_gets_it_within_reason(
    world: World, postman: Postman
) -> None:
    await postman.endpoint(kinds=["message.queued"])
    await world.accept()
    postman.answers = [answered(429, retry_after=timedelta(minutes=10))]
    assert await postman.round() == ["again"]
    assert await postman.round(now=minute(9.9)) == []
    postman.answers = [answered(503, retry_after=timedelta(days=10))]
    assert await postman.round(now=minute(10)) == ["again"]
    assert await postman.round(now=minute(69)) == []
    assert await postman.round(now=minute(70)) == ["delivered"]


async def test_one_conversation_is_told_of_in_order_whatever_fails(
    world: World, postman: Postman
) -> None:
    await postman.endpoint(kinds=["message.queued", "message.received", "conversation.engaged"])
    await world.accept()
    await world.hear("one")
    await world.accept("To somebody else", user=NEIGHBOUR)
    postman.answers = [BROKEN]
    assert await postman.run() == ["message.accepted", "message.accepted"]
    # The neighbour's went; of the first conversation nothing overtakes what failed.
    assert [state for state, _ in await postman.deliveries()] == [
        "waiting",
        "waiting",
        "waiting",
        "delivered",
    ]
    later = await postman.run(now=minute(1))
    assert sorted(later[1:]) == ["conversation.engaged", "message.received"]
    assert later[0] == "message.accepted"
    order = await postman.rows("select id, ended_at from webhook_deliveries order by id")
    assert all(row["ended_at"] is not None for row in order)


async def test_two_workers_never_have_two_of_one_conversation(
    world: World, postman: Postman
) -> None:
    await postman.endpoint()
    await world.accept()
    await world.accept("Hello", user=NEIGHBOUR)
    mine = await postman.claim()
    theirs = await postman.claim()
    assert len(mine) == 2  # one of each conversation
    assert theirs == []
    assert (await postman.handle(mine[0])).came == "delivered"
    theirs = await postman.claim()
    assert len(theirs) == 1
    assert theirs[0].event_id == mine[0].event_id + 1


@dataclass
class Meanwhile:
    """A claim's connection: between what it finds and what it locks, somebody else does this."""

    c: AsyncConnection
    act: Callable[[], Awaitable[None]]

    async def execute(self, statement: Executable, given: Any = None) -> CursorResult[Any]:
        if statement is webhook_claim_queries.LOCK:
            await self.act()
        return await self.c.execute(statement, given)


async def test_what_was_found_lets_an_older_one_go_first_that_is_asked_for_again_meanwhile(
    world: World, postman: Postman
) -> None:
    await postman.endpoint(kinds=["message.queued"])
    accepted = await world.accept("First")
    postman.answers = [answered(404)]
    assert await postman.round() == ["failed"]
    await world.say(accepted.conversation_id, "Second")
    (first, second) = await postman.rows("select id from webhook_deliveries order by id")

    async def replay() -> None:
        await redeliver.replay(postman.db, ACME, first["id"], now=NOW)

    async with world.transaction() as c:
        claiming = cast("AsyncConnection", Meanwhile(c, replay))
        held, _ = await webhook_deliveries.claim_due(
            claiming, Round(), now=NOW, lease=deliver.LEASE, limit=10, share=4, under_way={}
        )
    assert held == []
    again = await postman.claim()
    assert [each.id for each in again] == [first["id"]]
    assert await postman.claim() == []
    assert (await postman.handle(again[0])).came == "delivered"
    assert [each.id for each in await postman.claim()] == [second["id"]]


async def test_a_worker_that_dies_after_the_post_makes_it_come_twice_with_the_same_id(
    world: World, postman: Postman
) -> None:
    await postman.endpoint(kinds=["message.queued"])
    accepted = await world.accept("Before")
    (held,) = await postman.claim()
    await postman.post(held)  # and is killed
    await world.say(accepted.conversation_id, "Meanwhile")
    assert await postman.claim(now=second(44)) == []
    assert await deliver.rescue(postman.db, limit=10, now=second(45)) == 1
    assert await postman.run(now=minute(2)) == ["message.accepted", "message.accepted"]
    first, again, next_one = postman.posted
    assert first.body == again.body
    assert first.headers["webhook-id"] == again.headers["webhook-id"]
    assert next_one.headers["webhook-id"] != first.headers["webhook-id"]
    # It wakes up late: what it knows counts for nothing any more.
    assert (await deliver.record(postman.db, held, BROKEN, now=minute(3))).came == "lost"
    assert await postman.deliveries() == [("delivered", 2), ("delivered", 1)]


async def test_a_worker_that_is_stopped_gives_back_what_it_has(
    world: World, postman: Postman
) -> None:
    await postman.endpoint(kinds=["message.queued"])
    await world.accept()
    (held,) = await postman.claim()
    await deliver.give_back(postman.db, held, until=NOW)
    assert await postman.deliveries() == [("waiting", 0)]
    assert await postman.round() == ["delivered"]


async def test_a_dead_endpoint_is_probed_by_one_delivery_at_a_time_and_recovers_at_once(
    world: World, postman: Postman
) -> None:
    await postman.endpoint(kinds=["message.queued"])
    for n in range(10):
        await world.accept(user=type(USER)(f"+1415555{2000 + n}"))
    postman.answer = SILENT
    assert await postman.round() == ["again"] * 4  # a share; what was under way says nothing new
    assert await postman.round() == []
    assert await postman.round(now=second(1)) == ["again"]
    (row,) = await postman.rows("select failures, hold_until from webhook_endpoints")
    assert (row["failures"], row["hold_until"]) == (4, second(3))
    assert len(await postman.claim(now=second(3))) == 1
    assert await postman.claim(now=second(4)) == []  # while the probe is under way
    await deliver.rescue(postman.db, limit=10, now=minute(2))
    postman.answer = OK
    assert await postman.round(now=minute(2)) == ["delivered"]
    # What failed before was to wait for minutes, and goes at once, now that it answers.
    assert len(await postman.run(now=minute(2))) == 9
    (row,) = await postman.rows("select failures, hold_until from webhook_endpoints")
    assert (row["failures"], row["hold_until"]) == (0, None)


async def test_an_endpoint_that_fails_for_a_day_is_paused_and_its_owner_told(
    world: World, postman: Postman
) -> None:
    made = await postman.endpoint(kinds=["message.queued"])
    await postman.endpoint(url="https://other.example/", kinds=["webhook.paused"])
    for n in range(8):
        await world.accept(user=type(USER)(f"+1415555{2000 + n}"))
    postman.answer = BROKEN
    await postman.round()
    for hours in (6, 12, 18):
        await postman.round(now=hour(hours))
    assert not await postman.rows("select id from webhook_endpoints where state = 'paused'")
    (held,) = await postman.claim(now=hour(24))
    done = await postman.handle(held, now=hour(24))
    assert done.paused is not None
    assert "since 2026-03-02 09:00 UTC; the last one: HTTP 500" in done.paused
    postman.answer = OK
    assert await postman.run(now=hour(25)) == ["webhook.paused"]
    told = postman.posted[-1].json()["data"]
    assert told["webhook_id"] == made.endpoint.id
    assert told["host"] == "receiver.example"
    assert told["reason"] == done.paused


async def test_an_endpoint_that_says_it_is_gone_is_paused_at_once_and_loses_nothing(
    world: World, postman: Postman
) -> None:
    made = await postman.endpoint(kinds=["message.queued"])
    accepted = await world.accept()
    postman.answers = [answered(410)]
    assert await postman.round() == ["kept"]
    await world.say(accepted.conversation_id, "More")
    assert await postman.run(now=minute(5)) == []
    await webhooks.resume(postman.db, ACME, made.endpoint.id, now=minute(6))
    assert await postman.run(now=minute(6)) == ["message.accepted"] * 2
    texts = [p.json()["data"]["message"]["text"] for p in postman.posted[1:]]
    assert texts == ["Your appointment is at 3pm.", "More"]


async def test_an_endpoint_that_was_replaced_and_says_it_is_gone_is_let_alone(
    world: World, postman: Postman
) -> None:
    await send(world, thread="resume", notify=Notify(url=URL, format="native"))
    other = Notify(url="https://other.example/", format="native")
    await send(world, thread="resume", notify=other, now=second(1))
    postman.answer = answered(410)  # paused it cannot be: it is not used any more
    for at in range(2, 10):
        await postman.round(now=second(at))
    told = [posted.url for posted in postman.posted]
    assert (told.count(URL), told.count(other.url)) == (2, 1)
    states = [state for state, _ in await postman.deliveries()]
    assert states == ["failed", "failed", "waiting"]


async def test_what_has_no_public_name_is_skipped_and_what_is_too_large_is_not_sent(
    world: World, postman: Postman
) -> None:
    await postman.endpoint(kinds=["message.queued"])
    await postman.rows("update webhook_endpoints set kinds = '[]' returning id")
    accepted = await world.accept()
    await postman.run()
    conversation, message = accepted.conversation_id, MessageId(str(accepted.message_id))
    again = Event(kind="message.queued", conversation_id=conversation, message_id=message)
    await postman.tell(
        again, Event(kind="message.sending", conversation_id=conversation), now=second(1)
    )
    huge = {"x": "y" * 300_000}
    await postman.tell(
        Event(kind="turn.failed", conversation_id=conversation, data=huge), now=second(1)
    )
    assert await postman.run(now=second(2)) == []
    states = [state for state, _ in await postman.deliveries()]
    assert states == ["delivered", "delivered", "skipped", "skipped", "failed"]
    (attempt,) = await postman.rows("select error from webhook_attempts where error is not null")
    assert attempt["error"] == "nothing was sent: its body has over 262144 bytes"


async def test_metadata_is_left_out_of_a_body_that_would_be_too_large(
    world: World, postman: Postman
) -> None:
    await postman.endpoint(kinds=["message.queued"])
    accepted = await world.accept()
    metadata = json.dumps({"note": "x" * 300_000})
    await postman.rows(
        "update conversations set metadata = cast(:m as jsonb) where id = :id returning id",
        m=metadata,
        id=accepted.conversation_id,
    )
    assert await postman.run() == ["message.accepted"]
    told = postman.posted[0].json()["data"]["conversation"]
    assert (told["metadata"], told["metadata_omitted"]) == (None, True)


async def test_one_slow_host_has_its_share_and_no_more(world: World, postman: Postman) -> None:
    await world.accept()
    for n in range(6):
        await postman.endpoint(url=f"https://slow.example/{n}", kinds=["user.opted_in"])
    await postman.endpoint(url="https://quick.example/", kinds=["user.opted_in"])
    (talk,) = await postman.rows("select id from conversations")
    await postman.tell(Event(kind="user.opted_in", conversation_id=ConversationId(talk["id"])))
    held = await postman.claim()
    assert sorted(h.target for h in held) == ["acme quick.example", *["acme slow.example"] * 4]
    assert await postman.claim(under_way={"acme slow.example": 4}) == []
    assert len(await postman.claim(under_way={"acme slow.example": 2})) == 2


async def test_events_of_no_conversation_wait_for_nobody(world: World, postman: Postman) -> None:
    assert world
    await postman.endpoint(kinds=["limit.reached"])
    await postman.endpoint(kinds=["limit.reached"], project_id="reminders")  # they are not its
    await postman.tell(*[Event(kind="limit.reached", account_id=ACME)] * 3)
    postman.answers = [BROKEN]
    assert sorted(await postman.round()) == ["again", "delivered", "delivered"]


async def url_of(conversation: ConversationId, postman: Postman) -> None:
    """Its own, as a send gave it."""
    await postman.rows(
        "insert into webhook_endpoints (id, account_id, conversation_id, url, format, state,"
        " created_at, source) values ('whe_1', 'acme', :c, 'https://a.example/', 'native',"
        " 'active', :now, 'send') returning id",
        c=conversation,
        now=NOW,
    )


async def test_a_conversations_own_url_hears_of_it_signed_with_its_accounts_secret(
    world: World, postman: Postman
) -> None:
    accepted = await world.accept()
    secret = "whsec_" + "c2VjcmV0LW9mLXRoZS1hY2NvdW50LTEyMw=="
    await postman.rows(
        "update accounts set webhook_secret = :s where id = 'acme' returning id",
        s=VAULT.seal(secret),
    )
    await url_of(accepted.conversation_id, postman)
    await world.say(accepted.conversation_id, "For you")
    # A newer send names another URL: what happened before still goes to this one.
    await postman.rows(
        "update webhook_endpoints set state = 'removed', removed_at = :now returning id", now=NOW
    )
    await world.say(accepted.conversation_id, "Not for you")
    assert await postman.run() == ["message.accepted"]
    (posted,) = postman.posted
    assert signing.fault(secret, posted.headers, posted.body, now=NOW) is None


async def test_an_accounts_old_secret_signs_beside_the_new_one_until_its_grace_is_over(
    world: World, postman: Postman
) -> None:
    m = managing(world.db)
    first = await manage_account.new_webhook_secret(m)
    accepted = await world.accept()
    await url_of(accepted.conversation_id, postman)

    async def signs(*secrets: str, at: datetime) -> list[bool]:
        await world.say(accepted.conversation_id, "For you")
        assert await postman.run(now=at) == ["message.accepted"]
        p = postman.posted[-1]
        return [signing.fault(each, p.headers, p.body, now=at) is None for each in secrets]

    second = await manage_account.new_webhook_secret(m, grace=timedelta(hours=1))
    assert await signs(first, second, at=minute(59)) == [True, True]
    third = await manage_account.new_webhook_secret(m)  # as long as was promised, and no longer
    assert await signs(first, second, third, at=minute(59)) == [True, True, True]
    assert await signs(first, second, third, at=minute(60)) == [False, True, True]
    assert await signs(second, third, at=hour(24)) == [False, True]
    own = "whsec_" + "b3VyIG93biBzZWNyZXQsIHRvbGQgYmVmb3JlIQ=="
    assert await manage_account.new_webhook_secret(m, own, grace=timedelta(0)) == own
    assert await signs(third, own, at=NOW) == [False, True]


async def test_an_accounts_secret_signs_beside_the_first_that_an_endpoint_has_of_its_own(
    world: World, postman: Postman
) -> None:
    accounts = await manage_account.new_webhook_secret(managing(world.db))
    await postman.rows(
        "insert into webhook_endpoints (id, account_id, url, format, created_at)"
        " values ('whe_1', 'acme', 'https://a.example/', 'native', :now) returning id",
        now=NOW,
    )
    made = await webhooks.rotate(
        world.db, ACME, "whe_1", secret=None, grace=timedelta(hours=1), vault=VAULT, now=NOW
    )
    for at, old in ((minute(59), True), (minute(60), False)):
        await world.accept(user=Phone(f"+1415555030{old:d}"))
        await postman.run(now=at)
        p = postman.posted[-1]
        signs = [
            signing.fault(s, p.headers, p.body, now=at) is None for s in (accounts, made.secret)
        ]
        assert signs == [old, True]


async def test_an_accounts_secret_that_no_key_opens_stops_nothing_once_it_is_replaced(
    world: World, postman: Postman
) -> None:
    await postman.rows(
        "update accounts set webhook_secret = 'sealed by another key' where id = 'acme'"
        " returning id"
    )
    await manage_account.new_webhook_secret(managing(world.db))
    (found,) = await postman.rows(
        "select previous_webhook_secrets as p from accounts where id = 'acme'"
    )
    assert found["p"] == []


async def test_old_deliveries_and_what_was_only_listened_by_are_removed(
    world: World, postman: Postman
) -> None:
    await postman.endpoint(kinds=["message.queued"])
    listening = await postman.endpoint(url=None, temporary=True)
    await world.accept()
    await postman.run()
    await postman.poll(listening, now=minute(30))
    assert await deliver.tidy(postman.db, limit=2, now=hour(1)) == 0
    assert await deliver.tidy(postman.db, limit=2, now=hour(2)) == 2
    assert len(await postman.rows("select id from webhook_endpoints")) == 1
    assert len(await postman.deliveries()) == 1
    assert await deliver.tidy(postman.db, limit=2, now=NOW + timedelta(days=31)) == 1
    assert await postman.rows("select id from webhook_attempts") == []
    assert len(await postman.rows("select id from webhook_endpoints")) == 1


async def test_what_is_erased_while_a_worker_has_it_is_nobodys_trouble(
    world: World, postman: Postman
) -> None:
    await postman.endpoint(kinds=["message.queued"])
    accepted = await world.accept()
    await world.accept("Hello", user=NEIGHBOUR)
    before, other = await postman.claim()
    came = await postman.post(other)
    await world.end(accepted.conversation_id)
    async with world.transaction() as c:
        await erasing.lock_texts(c, accepted.conversation_id)
        await erasing.whole(c, accepted.conversation_id, now=NOW)
    assert await deliver.write(postman.db, before, FORMATS, now=NOW) == Recorded(came="lost")
    assert isinstance(came, Answered)
    assert (await deliver.record(postman.db, before, came, now=NOW)).came == "lost"
    assert (await deliver.record(postman.db, other, came, now=NOW)).came == "delivered"
