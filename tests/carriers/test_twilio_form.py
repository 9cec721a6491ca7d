"""Forms are read as Python's own library reads them."""

from urllib.parse import parse_qsl

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from textback.carriers.twilio import form

WRITTEN = st.text(alphabet="ab=&+%20fFcC3é\x00;", max_size=30) | st.text(max_size=30)


@given(WRITTEN)
@example("Body=a+b%2Bc%C3%A9&To=&&From")
@example("Body=%C3&x=%zz&=y&=")
def test_names_and_values_are_those_of_parse_qsl(written: str) -> None:
    there = parse_qsl(written, keep_blank_values=True, errors="surrogateescape")
    assert form.pairs(written, at_most=500, errors="surrogateescape") == there


@pytest.mark.parametrize(("many", "read"), [(3, True), (4, False)])
def test_more_than_so_many_are_not_read(many: int, read: bool) -> None:  # noqa: FBT001
    found = form.pairs("&".join(["a=1"] * many), at_most=3)
    assert found == ([("a", "1")] * many if read else None)
