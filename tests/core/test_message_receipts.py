"""What a carrier reports comes in any order, repeated and late: `hear` must not care."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import make
from tests.make import NOW
from textback.core.message import (
    Delivered,
    Failed,
    Message,
    Queued,
    Sending,
    Sent,
    Suppressed,
    Uncertain,
    hear,
)
from textback.core.ports import Receipt, ReceiptStatus
from textback.core.receipts import usually

SECOND = timedelta(seconds=1)

RANK: dict[type[Message], int] = {
    Queued: 0,
    Sending: 0,
    Uncertain: 0,
    Sent: 1,
    Delivered: 2,
    Failed: 2,
    Suppressed: 2,
}

texts = st.sampled_from(make.messages())
receipts = st.builds(
    Receipt,
    carrier_message_id=st.sampled_from(["SM1", "SM2"]),
    message_id=st.none() | st.just(make.SHARED["id"]),
    status=st.sampled_from(get_args(ReceiptStatus)),
    error_code=st.none() | st.just("30003"),
    opted_out=st.booleans(),
)
histories = st.lists(receipts, max_size=8)


def hear_all(m: Message, history: Sequence[Receipt]) -> list[Message]:
    """The states it went through, the first included; each receipt a second after the last."""
    states = [m]
    for i, receipt in enumerate(history, start=1):
        states.append(hear(states[-1], receipt, now=NOW + i * SECOND))
    return states


@given(texts, histories)
def test_no_receipt_moves_a_text_back(m: Message, history: Sequence[Receipt]) -> None:
    ranks = [RANK[type(state)] for state in hear_all(m, history)]
    assert ranks == sorted(ranks)


@given(texts, histories)
def test_a_final_state_is_never_left_or_changed(m: Message, history: Sequence[Receipt]) -> None:
    states = hear_all(m, history)
    final = [state for state in states if RANK[type(state)] == 2]
    assert all(state == final[0] for state in final)


@given(texts, histories, st.data())
def test_what_was_heard_before_changes_nothing_when_heard_again(
    m: Message, history: Sequence[Receipt], data: st.DataObject
) -> None:
    after = hear_all(m, history)[-1]
    again = data.draw(st.lists(st.sampled_from(history), max_size=8)) if history else []
    assert hear_all(after, again)[-1] == after


@given(texts, histories)
def test_the_carriers_id_of_a_text_never_changes_once_known(
    m: Message, history: Sequence[Receipt]
) -> None:
    states = hear_all(m, history)
    known = [s.carrier_message_id for s in states if isinstance(s, Sent | Delivered | Failed)]
    assert len(set(known)) <= 1


@given(texts, histories)
def test_receipts_change_neither_what_the_text_is_nor_its_attempts(
    m: Message, history: Sequence[Receipt]
) -> None:
    after = hear_all(m, history)[-1]
    assert {name: getattr(after, name) for name in make.SHARED} == make.SHARED


@given(texts, st.permutations(["accepted", "sent", "sent", "delivered", "delivered"]))
def test_a_delivered_text_ends_as_delivered_in_whatever_order_its_receipts_come(
    m: Message, order: Sequence[ReceiptStatus]
) -> None:
    after = hear_all(m, [make.receipt(status) for status in order])[-1]
    assert isinstance(after, Delivered if RANK[type(m)] < 2 else type(m))


@given(texts, st.permutations(["accepted", "sent", "sent", "failed", "failed"]))
def test_an_undelivered_text_ends_as_failed_in_whatever_order_its_receipts_come(
    m: Message, order: Sequence[ReceiptStatus]
) -> None:
    after = hear_all(m, [make.receipt(status) for status in order])[-1]
    assert isinstance(after, Failed if RANK[type(m)] < 2 else type(m))


@pytest.mark.parametrize("status", ["accepted", "sent"])
@pytest.mark.parametrize("m", [make.queued(), make.sending(), make.uncertain()])
def test_a_receipt_proves_that_the_carrier_has_the_text(m: Message, status: ReceiptStatus) -> None:
    after = hear(m, make.receipt(status, "SM9"), now=NOW + SECOND)
    assert after == make.sent(carrier_message_id="SM9", sent_at=NOW + SECOND)


@pytest.mark.parametrize("m", [make.queued(), make.sending(), make.uncertain()])
def test_a_text_may_be_delivered_before_we_know_that_it_was_taken(m: Message) -> None:
    now = NOW + SECOND
    assert hear(m, make.receipt("delivered"), now=now) == make.delivered(
        sent_at=now, delivered_at=now
    )


@pytest.mark.parametrize("m", [make.queued(), make.sending(), make.uncertain()])
def test_a_text_may_fail_before_we_know_that_it_was_taken(m: Message) -> None:
    now = NOW + SECOND
    after = hear(m, make.receipt("failed", error_code="30005"), now=now)
    assert after == make.failed(error_code="30005", sent_at=now, failed_at=now)


def test_a_delivered_text_keeps_when_it_was_sent() -> None:
    after = hear(make.sent(), make.receipt("delivered"), now=NOW + SECOND)
    assert after == make.delivered(sent_at=NOW, delivered_at=NOW + SECOND)


def test_an_undelivered_text_keeps_when_it_was_sent_and_the_carriers_code() -> None:
    after = hear(make.sent(), make.receipt("failed", error_code="30003"), now=NOW + SECOND)
    assert after == make.failed(sent_at=NOW, failed_at=NOW + SECOND, error_code="30003")


def test_a_failure_without_a_code_says_that_nobody_knows_why() -> None:
    after = hear(make.sent(), make.receipt("failed"), now=NOW)
    assert isinstance(after, Failed)
    assert after.error_code == "unknown"


@pytest.mark.parametrize("status", get_args(ReceiptStatus))
def test_a_sent_text_does_not_listen_to_receipts_of_another(status: ReceiptStatus) -> None:
    m = make.sent(carrier_message_id="SM1")
    assert hear(m, make.receipt(status, "SM2"), now=NOW + SECOND) == m


def test_whether_our_id_came_with_a_receipt_makes_no_difference_to_its_text() -> None:
    receipt = make.receipt("delivered")
    named = replace(receipt, message_id=make.SHARED["id"])
    assert hear(make.sent(), receipt, now=NOW) == hear(make.sent(), named, now=NOW)


@given(st.sampled_from([m for m in make.messages() if isinstance(m, Sent)]), receipts)
def test_what_a_receipt_usually_means_is_what_it_means_to_any_text_sent_as_that(
    m: Sent, receipt: Receipt
) -> None:
    m = replace(m, carrier_message_id=receipt.carrier_message_id)
    after = hear(m, receipt, now=NOW)
    match usually(receipt):
        case None:
            assert receipt.message_id is None or receipt.opted_out or isinstance(after, Failed)
        case of_kind:
            assert type(after) is of_kind
            shared = {name: getattr(m, name) for name in (*make.SHARED, "sent_at")}
            assert {name: getattr(after, name) for name in shared} == shared
            assert getattr(after, "delivered_at", NOW) == NOW
