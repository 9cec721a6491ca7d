"""A form that is uploaded, read as browsers and other clients write it, and as nobody does."""

from contextlib import suppress
from time import process_time

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textback.dialects.bland import batching, form
from textback.dialects.bland.form import Field
from textback.dialects.bland.wire import Wrong

TYPE = "multipart/form-data; boundary=x"
TABLE = b"phone_number\r\n+14155551234\r\n"


def part(head: bytes, content: bytes) -> bytes:
    return b"--x\r\n" + head + b"\r\n\r\n" + content + b"\r\n"


def test_fields_come_with_their_names_and_contents_byte_by_byte() -> None:
    body = (
        b"a preamble\r\n"
        + part(b'Content-Disposition: form-data; name="file"; filename="a \\"b\\".csv"', TABLE)
        + part(b"content-type: text/plain\r\nCONTENT-DISPOSITION: form-data; NAME=kind", b"\r\n--y")
        + part(b"Content-Type: text/plain", b"nobody's")
        + b"--x--\r\nan epilogue"
    )
    assert form.fields('multipart/form-data; charset=utf-8; boundary="x"', body) == {
        "file": Field('a "b".csv', TABLE),
        "kind": Field("", b"\r\n--y"),
    }


@given(
    name=st.text(st.characters(codec="utf-8", exclude_categories=("Cc",)), min_size=1),
    content=st.binary(),
)
def test_what_httpx_writes_is_read_back(name: str, content: bytes) -> None:
    asked = httpx.Request("POST", "https://a.example", files={"file": ("people.csv", content)})
    found = form.fields(asked.headers["content-type"], asked.read())
    assert found == {"file": Field("people.csv", content)}
    asked = httpx.Request("POST", "https://a.example", files={"file": (name, content)})
    assert form.fields(asked.headers["content-type"], asked.read())["file"].content == content


@pytest.mark.parametrize(
    ("content_type", "body", "why"),
    [
        ("multipart/form-data", b"--x--", "no boundary"),
        (TYPE, part(b'Content-Disposition: form-data; name="file"', TABLE), "cut short"),
        (TYPE, b"--x\r\n\r\n\r\n" * 51 + b"--x--", "50 fields"),
        (TYPE, part(b"X: " + b"(" * 5000, b"") + b"--x--", "4096 bytes of headers"),
    ],
)
def test_what_cannot_be_a_form_is_told(content_type: str, body: bytes, why: str) -> None:
    with pytest.raises(Wrong, match=why):
        form.fields(content_type, body)


def test_a_megabyte_of_parts_costs_next_to_nothing() -> None:
    began = process_time()
    for body in (b"--x\r\n\r\n\r\n" * 120_000, b"--x\r\nContent-Type: multipart/a" * 40_000):
        with pytest.raises(Wrong):
            batching.uploaded(TYPE, body)
    assert process_time() - began < 1


@given(st.lists(st.sampled_from([b"--x", b"\r\n", b"--", b'name="', b";", b'"', b"\\", b"\xff"])))
def test_nothing_that_is_sent_makes_it_fail_otherwise(pieces: list[bytes]) -> None:
    with suppress(Wrong):
        form.fields(TYPE, b"Content-Disposition: form-data".join(pieces))
