"""Cursors: what one was made of is what is read, and nothing else is read at all."""

import base64
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from textback.core.errors import BadRequest
from textback.dialects.native import paging
from textback.dialects.native.paging import Query


def page(cursor: str | None, limit: int = 2) -> Query:
    return Query(limit=limit, cursor=cursor)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200))
@example("\x01" * 200)
@example("\U0001f600" * 200)
def test_a_text_comes_back(place: str) -> None:
    assert paging.after_text(page(paging.cursor("list", place)), "list") == place


@given(st.integers(0, (1 << 63) - 1))
def test_a_number_comes_back(place: int) -> None:
    assert paging.after_number(page(paging.cursor("list", place)), "list") == place


def test_without_a_cursor_a_list_begins_at_its_beginning() -> None:
    assert paging.after_text(page(None), "list") is None
    assert paging.after_number(page(None), "list") is None


@given(st.text(min_size=1, max_size=60) | st.binary(max_size=40).map(lambda b: b.hex() or "0"))
def test_what_was_made_up_is_refused(cursor: str) -> None:
    with pytest.raises(BadRequest, match="cursor is not one of this list's"):
        paging.after_text(page(cursor), "list")


@pytest.mark.parametrize("place", [-1, 1 << 63, True, None, 1.5, [1], "x"])
def test_what_is_no_place_is_refused_even_if_the_check_is_right(place: object) -> None:
    made = json.dumps(["list", place], separators=(",", ":")).encode()
    cursor = base64.urlsafe_b64encode(paging.check(made) + made).decode().rstrip("=")
    with pytest.raises(BadRequest):
        paging.after_number(page(cursor), "list")


@pytest.mark.parametrize("place", ["a\0", "\ud800", 7, None])
def test_what_no_text_can_be_is_refused_even_if_the_check_is_right(place: object) -> None:
    made = json.dumps(["list", place], separators=(",", ":")).encode()
    cursor = base64.urlsafe_b64encode(paging.check(made) + made).decode().rstrip("=")
    with pytest.raises(BadRequest):
        paging.after_text(page(cursor), "list")


def test_a_cursor_of_another_list_or_of_another_kind_is_refused() -> None:
    with pytest.raises(BadRequest):
        paging.after_text(page(paging.cursor("other", "x")), "list")
    with pytest.raises(BadRequest):
        paging.after_text(page(paging.cursor("list", 7)), "list")
    with pytest.raises(BadRequest):
        paging.after_text(page(paging.cursor("list", "x")[:-2]), "list")


def test_there_is_a_next_page_only_if_there_is_one_more_row() -> None:
    assert paging.next_cursor(page(None), "list", ["a", "b"]) is None
    assert paging.next_cursor(page(None), "list", list[str]()) is None
    more = paging.next_cursor(page(None), "list", ["a", "b", "c"])
    assert paging.after_text(page(more), "list") == "b"
