"""How Nixflex told of a text's delivery in May 2026: `sms.delivered`, signed. Pure.

https://docs.nixflex.com/advanced/webhooks; the signature as its SDKs verify it (300 s tolerance).
"""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from textback.core.told import Told

EVENT: Final = "sms.delivered"

_STATUS: Final[Mapping[str, str]] = {"message.delivered": "delivered", "message.failed": "failed"}


class NixflexFormat:
    """A `core.told.WebhookFormat`."""

    name = "nixflex"
    kinds = frozenset(_STATUS)
    wants_history = False

    def render(self, told: Told) -> bytes | None:
        m, c = told.message, told.conversation
        if m is None or c is None or told.kind not in _STATUS:
            return None
        body = {
            "event": EVENT,
            "message_id": m.id,
            "twilio_sid": m.carrier_message_id,
            "agent_id": c.agent_id,
            "from_number": c.agent_number,
            "to_number": c.user_number,
            "status": _STATUS[told.kind],
            "error_code": m.error_code,
            "error_message": m.error,
            "sent_at": _time(m.sent_at),
            "delivered_at": _time(m.delivered_at),
            "metadata": dict(c.metadata),
        }
        return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()

    def headers(
        self, secrets: Sequence[str], *, webhook_id: str, timestamp: int, body: bytes
    ) -> Mapping[str, str]:
        """The newest secret signs last: of several `v1`s its SDKs read that one."""
        headers = {"content-type": "application/json", "X-Nixflex-Delivery": webhook_id}
        signed = [_signature(secret, timestamp, body) for secret in reversed(secrets)]
        if signed:
            parts = [f"t={timestamp}", *(f"v1={each}" for each in signed)]
            headers["X-Nixflex-Signature"] = ",".join(parts)
        return headers


def _signature(secret: str, timestamp: int, body: bytes) -> str:
    return hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


def _time(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
