"""Standard Webhooks 1.0 signatures: how an HTTP engine knows that a turn came from us.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac

PREFIX = "whsec_"
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
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    digest = hmac.digest(secret_bytes(secret), signed, hashlib.sha256)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
