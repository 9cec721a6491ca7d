"""Standard Webhooks 1.0 signatures: how an agent's server knows us, and how we know it.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta

PREFIX = "whsec_"
TOLERANCE = timedelta(minutes=5)
"""How far off a timestamp may be: what was overheard is of no use after that."""

_NAMES = ("webhook-id", "webhook-timestamp", "webhook-signature")
_LONGEST_TIME = 20
_FEWEST, _MOST = 24, 64  # bytes of a key, by the specification


def secret_bytes(secret: str) -> bytes:
    """The key in `whsec_<base64>`. Raises ValueError on any other form, or under 24 bytes."""
    if not secret.startswith(PREFIX):
        msg = "a webhook secret starts with whsec_"
        raise ValueError(msg)
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError as error:  # not base64, or not even ASCII
        msg = "a webhook secret is whsec_ and base64"
        raise ValueError(msg) from error
    if not _FEWEST <= len(key) <= _MOST:
        msg = f"a webhook secret holds {_FEWEST} to {_MOST} bytes"
        raise ValueError(msg)
    return key


def headers(secret: str, *, webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers that sign `body`; `timestamp` in unix seconds."""
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": _signature(secret, f"{webhook_id}.{timestamp}.".encode() + body),
    }


def fault(secret: str, given: Mapping[str, str], body: bytes, *, now: datetime) -> str | None:
    """Say in a sentence why `given` does not sign `body`; None: it does.

    Headers by name in lower case, their values as HTTP has them, in Latin-1.
    """
    webhook_id, timestamp, signatures = (given.get(name, "") for name in _NAMES)
    if not (webhook_id and timestamp and signatures):
        return f"Sign the request: send {', '.join(_NAMES[:2])} and {_NAMES[2]}."
    is_time = timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= _LONGEST_TIME
    if not is_time or abs(int(timestamp) - now.timestamp()) > TOLERANCE.total_seconds():
        minutes = TOLERANCE // timedelta(minutes=1)
        return f"The webhook-timestamp must be the time in unix seconds, within {minutes} minutes."
    signed = f"{webhook_id}.{timestamp}.".encode("latin-1", "replace") + body
    right = _signature(secret, signed).encode()
    # Several are allowed, so that a secret can be changed; all are compared, whichever fits.
    fits = [
        hmac.compare_digest(one.encode("latin-1", "replace"), right) for one in signatures.split()
    ]
    if not any(fits):
        return "The webhook-signature is not that of this body by the agent's secret."
    return None


def same(one: str, other: str) -> bool:
    """Whether two secrets are equal, in a time that tells nothing of where they differ."""
    return hmac.compare_digest(*(each.encode("utf-8", "surrogatepass") for each in (one, other)))


def _signature(secret: str, signed: bytes) -> str:
    digest = hmac.digest(secret_bytes(secret), signed, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode()
