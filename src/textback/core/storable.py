"""What Postgres can keep of words and JSON that come from outside."""

import json
import re
from datetime import MAXYEAR, MINYEAR, datetime

# In JSON as Python writes it, a NUL and not a backslash that somebody wrote before "u0000".
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def is_text(text: str) -> bool:
    """No NUL, no lone surrogate."""
    return _NO_TEXT.search(text) is None


def is_moment(at: datetime) -> bool:
    """Whether it can be turned into UTC, whatever its zone."""
    return MINYEAR < at.year < MAXYEAR


def is_json(value: object, *, longest: int) -> bool:
    """JSON of up to `longest` bytes, without NUL, lone surrogates, NaN or infinity."""
    try:
        written = json.dumps(value, ensure_ascii=False, allow_nan=False)
        return len(written.encode()) <= longest and not _NUL.search(written)
    except (TypeError, ValueError, RecursionError):  # a lone surrogate is a ValueError
        return False
