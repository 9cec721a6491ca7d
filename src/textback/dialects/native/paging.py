"""Lists in pages: `{"data": [...], "next_cursor": ...}`, `?limit=` and `?cursor=`. No HTTP.

A cursor names the list it is of and the place of the last row given. What is in it is nobody's
business, so it carries a check: one that was made up or cut short is refused, not misread.
"""

import base64
import binascii
import json
from hashlib import blake2b
from typing import Annotated, Final, Generic, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field

from textback.core import errors
from textback.core.storable import is_text
from textback.dialects.native.fields import Whole

MOST: Final = 200
USUAL: Final = 50
LONGEST_CURSOR: Final = 2000
"""A place of 200 characters, written at its longest, in base64."""

_CHECK_BYTES: Final = 6

Row = TypeVar("Row")


class Query(BaseModel):
    """What every list may be asked. Subclasses add their filters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[Whole, Field(ge=1, le=MOST, description="How many at most.")] = USUAL
    cursor: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=LONGEST_CURSOR,
            description="`next_cursor` of the page before; with the same filters.",
        ),
    ] = None


class Page(BaseModel, Generic[Row]):
    """One page of a list."""

    data: list[Row]
    next_cursor: Annotated[
        str | None, Field(description="For the next page; null: this is the last one.")
    ]


def after_text(query: Query, of: str) -> str | None:
    """The place the page begins behind, where places are texts. Raises BadRequest."""
    if query.cursor is None:
        return None
    found = _place(query.cursor, of)
    if not isinstance(found, str) or not is_text(found):
        raise wrong()
    return found


def after_number(query: Query, of: str) -> int | None:
    """As `after_text`, where places are whole numbers that a bigint holds."""
    if query.cursor is None:
        return None
    found = _place(query.cursor, of)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < 1 << 63:
        raise wrong()
    return found


def next_cursor(query: Query, of: str, places: list[str] | list[int]) -> str | None:
    """`places` of the rows found; `limit` + 1 were asked for, so that one more says: go on."""
    return cursor(of, places[query.limit - 1]) if len(places) > query.limit else None


def cursor(of: str, place: str | int) -> str:
    """What `after_text` and `after_number` read. `of`: the list's name."""
    said = json.dumps([of, place], separators=(",", ":"), ensure_ascii=False).encode()
    return base64.urlsafe_b64encode(check(said) + said).decode().rstrip("=")


def _place(given: str, of: str) -> object:
    try:
        raw = base64.b64decode(given + "=" * (-len(given) % 4), altchars=b"-_", validate=True)
        given_check, said = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
        if given_check != check(said):
            raise wrong()
        found: object = json.loads(said)
    except (ValueError, RecursionError, binascii.Error):
        raise wrong() from None
    parts = cast("list[object]", found) if isinstance(found, list) else []
    if len(parts) != 2 or parts[0] != of:  # noqa: PLR2004 - the list's name, and the place
        raise wrong()
    return parts[1]


def check(said: bytes) -> bytes:
    """What a cursor that says this begins with."""
    return blake2b(said, digest_size=_CHECK_BYTES, person=b"textback-cursor").digest()


def wrong() -> errors.BadRequest:
    """For a cursor whose place is none of the list's."""
    return errors.BadRequest(
        "cursor is not one of this list's; leave it out to begin at the first page."
    )
