"""The rows of a batch as files give them, and their words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textback.core.batch import (
    MOST_BYTES,
    MOST_COLUMNS,
    MOST_ROWS,
    MissingVariable,
    Row,
    read_csv,
    render,
)
from textback.core.errors import BadRequest


def test_other_columns_are_variables():
    content = b"to,name,Day\r\n+14155550111,Ann,Monday\r\n+14155550112,Bo,\r\n"
    assert read_csv(content) == [
        Row(to="+14155550111", variables={"name": "Ann", "Day": "Monday"}),
        Row(to="+14155550112", variables={"name": "Bo", "Day": ""}),
    ]


@pytest.mark.parametrize(
    "name", ["to", "phone_number", "user_number", "phone", "To", "PHONE_NUMBER"]
)
@pytest.mark.parametrize("words", ["text", "message", "Message"])
def test_numbers_and_texts_are_found_by_their_columns(name: str, words: str):
    (row,) = read_csv(f"{words},{name}\nHi,+14155550111\n".encode())
    assert row == Row(to="+14155550111", text="Hi")


def test_a_text_that_is_empty_is_the_batchs():
    (row,) = read_csv(b"to,text\n+14155550111,\n")
    assert row.text is None


def test_quotes_commas_and_lines_within_values_are_kept():
    (row,) = read_csv(b'to,text\n+14155550111,"Hi ""Ann"",\nsee you"\n')
    assert row.text == 'Hi "Ann",\nsee you'


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_is_no_part_of_a_name(before: bytes):
    (row,) = read_csv(before + "to,name\n+14155550111,Zoë\n".encode())
    assert row.variables == {"name": "Zoë"}


def test_lines_without_a_value_are_passed_over_and_short_ones_lack_variables():
    rows = read_csv(b"to,name\n\n,\n+14155550111\n  , \n")
    assert rows == [Row(to="+14155550111")]


def test_a_row_with_more_values_than_columns_is_wrong_by_itself():
    rows = read_csv(b"to,name\n+14155550111,Ann,Smith\n+14155550112,Bo,\n")
    assert [row.wrong for row in rows] == ["The row has 3 values for 2 columns.", None]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "The file is empty"),
        (b"\n\n", "The file is empty"),
        (b"name\nAnn\n", "names no column to, phone_number"),
        (b"to,phone\n+1,+1\n", "both a column to and a column phone"),
        (b"to,text,message\n+1,a,b\n", "both a column text and a column message"),
        (b"to,name,name\n+1,a,b\n", 'two columns "name"'),
        (b"to\n+14155550111\n\xff\n", "Line 3 of the file is not UTF-8"),
        (b"to,name\n+14155550111,a\0b\n", "Line 2 of the file holds a NUL"),
        (b'to,name\n+14155550111,"a\n', "is no CSV"),
        (b'to,name\n+14155550111,"a"b\n', "Line 2 of the file is no CSV"),
        (b"to," + b",".join(b"c%d" % n for n in range(MOST_COLUMNS)), "more than 100 columns"),
        (b"to\n" + b"+14155550111\n" * (MOST_ROWS + 1), "more than 10000 rows"),
        (b"a" * (MOST_BYTES + 1), "5 MB at most"),
    ],
)
def test_what_is_no_table_is_refused_with_its_line(content: bytes, says: str):
    with pytest.raises(BadRequest) as error:
        read_csv(content)
    assert says in error.value.sentence


@given(st.binary(max_size=200))
def test_whatever_a_file_holds_it_is_rows_or_a_refusal(content: bytes):
    try:
        rows = read_csv(b"to,text,name\n" + content)
    except BadRequest:
        return
    assert all(isinstance(row.to, str) for row in rows)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("Hi {{name}}!", "Hi Ann!"),
        ("Hi {{ name }}!", "Hi Ann!"),
        ("{{n}} left, {{none}}{{yes}}", "3 left, true"),
        ("{{order.id}} {{order.items}} {{a.b}}", 'A1 ["x"] dotted'),
        ("{{braces}}", "{{name}}"),
        ("{{first name}} {{ 1 }} {{Größe}} {{a-b}}", "Ada one L x"),
        ("{name} {{}} {{ }} {{a{b}} {{\0}}", "{name} {{}} {{ }} {{a{b}} {{\0}}"),
    ],
)
def test_variables_take_their_places(template: str, words: str):
    variables = {
        "name": "Ann",
        "n": 3,
        "none": None,
        "yes": True,
        "order": {"id": "A1", "items": ["x"]},
        "a.b": "dotted",
        "braces": "{{name}}",
        "first name": "Ada",
        "1": "one",
        "Größe": "L",
        "a-b": "x",
    }
    assert render(template, variables, "refused") == words


@pytest.mark.parametrize("name", ["nobody", "name.first", "order.nothing", "last name", "2"])
def test_a_name_that_is_unknown_is_refused_or_empty(name: str):
    variables: dict[str, object] = {"name": "Ann", "order": {}}
    with pytest.raises(MissingVariable, match=name):
        render(f"Hi {{{{{name}}}}}.", variables, "refused")
    assert render(f"Hi {{{{{name}}}}}.", variables, "empty") == "Hi ."


@given(st.text(), st.dictionaries(st.text(), st.text()))
def test_any_text_can_be_rendered(template: str, variables: dict[str, str]):
    assert isinstance(render(template, variables, "empty"), str)
