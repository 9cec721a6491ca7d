"""A form that is uploaded (multipart/form-data, RFC 7578): its fields. No HTTP, no database.

Python's own parser is one of e-mails: it takes minutes for a megabyte of parts, and fails in ways
of its own for headers that no form has.
"""

import re
from collections.abc import Mapping
from typing import Final

from textback.core.frozen import frozen
from textback.dialects.bland.wire import Wrong

MOST_PARTS: Final = 50
LONGEST_HEAD: Final = 4096
"""Bytes of a part's headers."""

_BOUNDARY: Final = re.compile(
    r';\s*boundary="?([0-9A-Za-z\'()+_,\-./:=? ]{1,70})"?', re.IGNORECASE | re.ASCII
)
_DISPOSITION: Final = re.compile(
    r"^content-disposition:(.*)$", re.IGNORECASE | re.MULTILINE | re.ASCII
)
_PARAMETER: Final = re.compile(
    r';[ \t]*(name|filename)=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))', re.IGNORECASE | re.ASCII
)


@frozen(kw_only=False)
class Field:
    filename: str
    """As it was given; "" without any."""
    content: bytes


def fields(content_type: str, body: bytes) -> Mapping[str, Field]:
    """By their names; of two with one name the last. Raises Wrong."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise _bad("its Content-Type names no boundary")
    mark = b"\r\n--" + found[1].rstrip().encode()
    _, *parts = (b"\r\n" + body).split(mark, MOST_PARTS + 1)
    by_name: dict[str, Field] = {}
    for number, part in enumerate(parts, start=1):
        if part.startswith(b"--"):
            return by_name
        head, _, content = part.partition(b"\r\n\r\n")
        if number > MOST_PARTS or len(head) > LONGEST_HEAD:
            raise _bad(f"it may have {MOST_PARTS} fields, and each {LONGEST_HEAD} bytes of headers")
        said = _said(head.decode("utf-8", "replace"))
        if "name" in said:
            by_name[said["name"]] = Field(said.get("filename", ""), content)
    if parts:
        raise _bad("it does not end with its boundary: it may have been cut short")
    return by_name


def _said(head: str) -> dict[str, str]:
    disposition = _DISPOSITION.search(head.replace("\r\n", "\n"))
    given = _PARAMETER.findall("" if disposition is None else disposition[1])
    return {name.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare for name, quoted, bare in given}


def _bad(why: str) -> Wrong:
    return Wrong("INVALID_REQUEST", f"The form cannot be read: {why}.")
