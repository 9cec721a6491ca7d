"""Twilio's ids."""

import re
from typing import Final, TypeGuard

_SID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Wider than Twilio's 2 letters and 32 hex digits, narrower than what cannot be an id."""


def is_sid(sid: object) -> TypeGuard[str]:
    return isinstance(sid, str) and _SID.fullmatch(sid) is not None
