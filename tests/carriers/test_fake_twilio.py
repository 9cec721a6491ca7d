"""The fake keeps to what is known of the real one: other tests rely on it."""

import asyncio
import math
from base64 import b64encode

import httpx
import pytest

from tests.support.fake_twilio import Account, FakeTwilio, Number, Receipts, reset, slow
from tests.support.fake_twilio.fake import NO_RECEIPTS
from tests.support.receiver import Receiver
from tests.support.texts import AGENT, USER
from textback.carriers.twilio.hooks import TwilioHooks
from textback.core.ports import Inbound, Receipt

HOOKS = TwilioHooks()


async def asked(
    twilio: FakeTwilio, path: str, *, form: dict[str, str] | None = None, token: str | None = None
) -> httpx.Response:
    pair = f"{twilio.account.sid}:{token or twilio.account.auth_token}"
    async with httpx.AsyncClient(base_url=twilio.base_url, trust_env=False) as http:
        return await http.request(
            "GET" if form is None else "POST",
            f"/2010-04-01/Accounts/{twilio.account.sid}{path}",
            data=form,
            headers={"authorization": "Basic " + b64encode(pair.encode()).decode()},
        )


async def create(twilio: FakeTwilio, **changes: str) -> httpx.Response:
    form = {"To": USER, "From": AGENT, "Body": "Hello"} | changes
    return await asked(twilio, "/Messages.json", form=form)


async def test_a_created_message_looks_like_twilios(twilio: FakeTwilio) -> None:
    answer = await create(twilio)
    assert answer.status_code == 201
    assert answer.headers["twilio-request-id"].startswith("RQ")
    message = answer.json()
    assert (message["status"], message["direction"]) == ("queued", "outbound-api")
    assert (message["num_segments"], message["error_code"]) == ("1", None)
    assert (message["date_sent"], message["price"]) == (None, None)
    assert message["date_created"].endswith(" +0000")
    assert (await asked(twilio, f"/Messages/{message['sid']}.json")).json() == message


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"To": ""}, 21604),
        ({"From": ""}, 21603),
        ({"Body": ""}, 21602),
        ({"To": "5550100"}, 21211),
        ({"Body": "x" * 1601}, 21617),
        ({"StatusCallback": "ftp://x"}, 21609),
        ({"ValidityPeriod": "0"}, 21624),
    ],
)
async def test_refusals_carry_twilios_codes(
    twilio: FakeTwilio, changes: dict[str, str], code: int
) -> None:
    answer = await create(twilio, **changes)
    assert (answer.status_code, answer.json()["code"], answer.json()["status"]) == (400, code, 400)
    assert answer.json()["more_info"].endswith(str(code))
    assert twilio.created == []


async def test_only_the_accounts_own_numbers_may_send(twilio: FakeTwilio) -> None:
    twilio.account.numbers = [Number(phone_number="+14155550177")]
    assert (await create(twilio)).json()["code"] == 21659
    assert (await create(twilio, From="+14155550177")).status_code == 201


async def test_a_wrong_token_is_401_and_a_suspended_account_is_not_active(
    twilio: FakeTwilio,
) -> None:
    answer = await asked(twilio, "/Messages.json", token="another")
    assert (answer.status_code, answer.json()["code"]) == (401, 20003)
    twilio.account.status = "suspended"
    assert (await create(twilio)).json()["code"] == 20005
    assert (await asked(twilio, ".json")).json()["status"] == "suspended"


async def test_the_list_is_paged_newest_first(twilio: FakeTwilio) -> None:
    for n in range(5):
        await create(twilio, Body=f"text {n}")
    path, bodies = "/Messages.json?PageSize=2&To=%2B14155550111", list[str]()
    while path:
        page = (await asked(twilio, path)).json()
        bodies += [message["body"] for message in page["messages"]]
        path = (page["next_page_uri"] or "").partition(twilio.account.sid)[2]
    assert bodies == [f"text {n}" for n in (4, 3, 2, 1, 0)]


async def test_a_user_texts_with_a_signature_and_repeats_the_sid_when_told(
    twilio: FakeTwilio,
) -> None:
    async with Receiver() as receiver:
        url = receiver.url + "/hooks/twilio/inbound?a=1#rc=5"
        for _ in range(2):
            answer = await twilio.text(USER, AGENT, "Grüße ✨", url=url, message_sid="SM7")
            assert answer.status_code == 200
        for request in receiver.got:
            assert HOOKS.verify(request, twilio.account.auth_token)
            found = HOOKS.parse_inbound(request)
            assert isinstance(found, Inbound)
            assert (found.carrier_message_id, found.text) == ("SM7", "Grüße ✨")
            assert b"FromCity=&" in request.body
    assert [(m.sid, m.direction) for m in twilio.messages] == [("SM7", "inbound")]


async def test_each_account_signs_with_its_own_token(twilio: FakeTwilio) -> None:
    other = Account(sid="AC" + "9" * 32, auth_token="other")
    twilio.accounts[other.sid] = other
    async with Receiver() as receiver:
        await twilio.text(USER, AGENT, "Hi", url=receiver.url + "/", account=other)
        assert HOOKS.verify(receiver.got[0], "other")
        assert HOOKS.account_sid(receiver.got[0]) == other.sid


async def test_receipts_come_in_the_order_and_number_asked_for(twilio: FakeTwilio) -> None:
    plan = Receipts(statuses=("delivered", "sent", "undelivered"), copies=2, error_code=30003)
    twilio.receipts = plan
    async with Receiver() as receiver:
        await create(twilio, StatusCallback=receiver.url + "/s?message_id=msg_1")
        await twilio.idle()
        found = [HOOKS.parse_status(request) for request in receiver.got]
    receipts = [receipt for receipt in found if isinstance(receipt, Receipt)]
    assert [(r.status, r.error_code) for r in receipts] == [
        ("delivered", None),
        ("delivered", None),
        ("sent", None),
        ("sent", None),
        ("failed", "30003"),
        ("failed", "30003"),
    ]
    assert {posted.status for posted in twilio.callbacks} == {200}
    assert twilio.created[0].status == "delivered"


async def test_receipts_may_depend_on_the_message_and_fail_to_arrive(twilio: FakeTwilio) -> None:
    twilio.receipts = lambda m: Receipts() if m.body == "reported" else NO_RECEIPTS
    nobody = "http://127.0.0.1:9/s"
    await create(twilio, Body="reported", StatusCallback=nobody)
    await create(twilio, Body="not", StatusCallback=nobody)
    await twilio.idle()
    assert [posted.status for posted in twilio.callbacks] == [None, None]


async def test_stop_blocks_and_start_unblocks_the_pair(twilio: FakeTwilio) -> None:
    async with Receiver() as receiver:
        await twilio.text(USER, AGENT, " stop ", url=receiver.url + "/")
        assert (await create(twilio)).json()["code"] == 21610
        assert (await create(twilio, From="+14155550177")).status_code == 201
        await twilio.text(USER, AGENT, "START", url=receiver.url + "/")
        assert (await create(twilio)).status_code == 201
        await twilio.text(USER, AGENT, "stop please", url=receiver.url + "/")
        assert (await create(twilio)).status_code == 201
        await twilio.text(USER, "12345", "STOP", url=receiver.url + "/")
        assert (await create(twilio, From="12345")).status_code == 201
    assert len([m for m in twilio.messages if m.direction == "outbound-reply"]) == 2


async def test_faults_hit_what_they_are_meant_for_until_healed(twilio: FakeTwilio) -> None:
    twilio.next(reset(), times=math.inf, when=lambda request: request.form()["Body"] == "bad")
    assert (await create(twilio)).status_code == 201
    for _ in range(2):
        with pytest.raises(httpx.NetworkError):
            await create(twilio, Body="bad")
    twilio.heal()
    assert (await create(twilio, Body="bad")).status_code == 201
    assert len(twilio.asked("create")) == 4


async def test_requests_are_counted_while_they_last(twilio: FakeTwilio) -> None:
    twilio.next(slow(before=0.2), times=8)
    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(create(twilio))
    assert len(twilio.created) == 8
    assert twilio.most_concurrent == 8
