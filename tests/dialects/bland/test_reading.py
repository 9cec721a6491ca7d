"""How Bland's lists are asked, and their words for what became of a text."""

import json
from typing import Any

import pytest

from tests.support.provision import NOW
from textback.core.ids import to_uuid
from textback.db.listing import Filter
from textback.db.reads import MessageRecord
from textback.dialects.bland import reading
from textback.dialects.bland.wire import Wrong

ID = "conv_01kk2v5m7xq1t8c9d0e2f3g4h5"


def filters(*some: object) -> dict[str, str]:
    return {"filters": json.dumps(list(some))}


def one(field: str, operator: str, value: object) -> dict[str, str]:
    return filters({"field": field, "operator": operator, "value": value})


def text(**changed: Any) -> MessageRecord:
    given: dict[str, Any] = dict.fromkeys(MessageRecord.__dataclass_fields__)
    given |= {"text": "Hi", "created_at": NOW, "media": ()}
    given |= changed
    return MessageRecord(**given)


def test_a_list_has_25_of_the_newest_unless_told_otherwise() -> None:
    page = reading.page({"unknown": "x"})
    assert (page.number, page.size, page.sort_by, page.descending) == (1, 25, "created_at", True)
    asked = {"page": "3", "pageSize": "10", "sortBy": "message_count", "sortDir": "ASC"}
    page = reading.page(asked)
    assert (page.number, page.size, page.sort_by, page.descending) == (
        3,
        10,
        "message_count",
        False,
    )


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (one("is_active", "eq", value=True), Filter(field="is_active", operator="eq", value=True)),
        (one("message_count", "gte", 2), Filter(field="message_count", operator="gte", value=2)),
        (one("created_at", "lt", "2026-03-02T09:00:00Z"),
         Filter(field="created_at", operator="lt", value=NOW)),
        (one("id", "eq", to_uuid(ID)), Filter(field="id", operator="eq", value=ID)),
        (one("id", "eq", ID), Filter(field="id", operator="eq", value="nobody's")),
        (one("user_number", "contains", "555"),
         Filter(field="user_number", operator="contains", value="555")),
    ],
)  # fmt: skip
def test_a_filter_is_read_as_its_field_is(given: dict[str, str], meant: Filter) -> None:
    assert reading.page(given).filters == [meant]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"page": "0"}, "INVALID_PAGINATION"),
        ({"page": "-1"}, "INVALID_PAGINATION"),
        ({"page": "9" * 30}, "INVALID_PAGINATION"),
        ({"pageSize": "101"}, "INVALID_PAGINATION"),
        ({"sortBy": "password"}, "INVALID_SORT"),
        ({"sortDir": "up"}, "INVALID_SORT"),
        ({"filters": "["}, "INVALID_FILTERS"),
        ({"filters": "[" * 100_000}, "INVALID_FILTERS"),
        ({"filters": "{}"}, "INVALID_FILTERS"),
        (filters("x"), "INVALID_FILTERS"),
        (filters(*["x"] * 21), "INVALID_FILTERS"),
        (one("password", "eq", "x"), "INVALID_FILTERS"),
        (one("user_number", "hasSome", "x"), "INVALID_FILTERS"),
        (one("user_number", "eq", 7), "INVALID_FILTERS"),
        (one("user_number", "eq", "a\0"), "INVALID_FILTERS"),
        (one("user_number", "eq", "\ud800"), "INVALID_FILTERS"),
        (one("is_active", "gt", value=True), "INVALID_FILTERS"),
        (one("is_active", "eq", "true"), "INVALID_FILTERS"),
        (one("message_count", "contains", 2), "INVALID_FILTERS"),
        (one("created_at", "gt", "0001-01-01T00:00:00+14:00"), "INVALID_FILTERS"),
        (one("created_at", "gt", "9999-12-31T23:59:59-14:00"), "INVALID_FILTERS"),
        (one("message_count", "eq", 1 << 40), "INVALID_FILTERS"),
        (one("message_count", "eq", value=True), "INVALID_FILTERS"),
        (one("created_at", "gt", "yesterday"), "INVALID_FILTERS"),
        (one("created_at", "gt", "2026-03-02T09:00:00"), "INVALID_FILTERS"),
        (one("id", "startsWith", "0"), "INVALID_FILTERS"),
    ],
)
def test_what_cannot_be_meant_is_told_with_a_code(given: dict[str, str], code: str) -> None:
    with pytest.raises(Wrong) as error:
        reading.page(given)
    assert error.value.code == code


@pytest.mark.parametrize(
    ("of", "status"),
    [
        ({"state": "queued", "text": ""}, "pending"),
        ({"state": "queued"}, "queued"),
        ({"state": "sending"}, "queued"),
        ({"state": "uncertain"}, "queued"),
        ({"state": "sent"}, "sent"),
        ({"state": "delivered"}, "delivered"),
        ({"state": "failed"}, "failed"),
        ({"state": "failed", "carrier_message_id": "SM1"}, "undelivered"),
        ({"state": "suppressed"}, "failed"),
    ],
)
def test_a_text_of_ours_has_a_status_in_their_words(of: dict[str, str], status: str) -> None:
    assert reading.status(text(**of)) == status
