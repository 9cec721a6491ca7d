import json
from collections.abc import Mapping
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textback.core.storable import is_json, is_text


@pytest.mark.parametrize("text", ["", "\\u0000", "\\", "🎉", "\uffff", "\r\n\t\x01"])
def test_words_are_kept(text: str) -> None:
    assert is_text(text)
    for value in ({text: 1}, {"a": [text]}, text):
        assert is_json(value, longest=100)


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\\\x00", "\\\\\x00", "\ud800", "a\udfff"])
def test_words_that_postgres_cannot_hold_are_not_kept(text: str) -> None:
    assert not is_text(text)
    for value in ({text: 1}, {"a": [text]}, text):
        assert not is_json(value, longest=100)


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), 10**5000, object(), {1, 2}, b"a", {(1, 2): 3}],
    ids=range(7),
)
def test_what_is_no_json_is_not_kept(value: object) -> None:
    assert not is_json({"a": value}, longest=10_000)


def test_json_that_holds_itself_or_has_no_end_in_sight_is_not_kept() -> None:
    value: dict[str, Any] = {}
    value["a"] = value
    assert not is_json(value, longest=100)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert not is_json(deep, longest=10**6)


def test_what_is_longer_in_bytes_is_not_kept() -> None:
    assert is_json({"a": "ü"}, longest=11)
    assert not is_json({"a": "ü"}, longest=10)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("\x00"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(json_values)
def test_a_nul_is_found_wherever_it_is(value: object) -> None:
    def holds(inner: object) -> bool:
        match inner:
            case str():
                return "\x00" in inner
            case list():
                return any(map(holds, cast("list[object]", inner)))
            case Mapping():
                pairs = cast("Mapping[str, object]", inner).items()
                return any(holds(k) or holds(v) for k, v in pairs)
            case _:
                return False

    assert is_json(value, longest=10**6) is not holds(value)
    assert json.dumps(value)
