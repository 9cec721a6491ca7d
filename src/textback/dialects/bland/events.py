"""How Bland AI's webhooks tell of a conversation: one body per text, and one per turn of its fate.

https://docs.bland.ai/tutorials/post-call-webhooks (SMS),
https://docs.bland.ai/tutorials/webhook-signing
"""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from textback.core import phone
from textback.core.ids import to_uuid
from textback.core.phone import Phone
from textback.core.told import Told, ToldConversation, ToldMessage
from textback.core.webhook import MOST_BODY

TEXTS: Final[Mapping[str, str | None]] = {
    "message.received": None,
    "message.delivered": "delivered",
    "message.failed": "failed",
    "message.suppressed": "failed",
}
"""What is told of a text, and with which status: of ours only once its fate is known, as Bland has
done since December 2025."""

_ENDED: Final[Mapping[str, str]] = {
    "idle": "timeout",
    "opted_out": "blacklisted",
    "superseded": "inactive",
    "unanswered": "inactive",
}
"""By the reason it is closed; every other is `ended`."""

_KINDS: Final = frozenset(
    {
        *TEXTS,
        "message.read",
        "conversation.closed",
        "conversation.analysed",
        "conversation.not_analysed",
        "conversation.handed_off",
        "conversation.resumed",
    }
)


class BlandFormat:
    """A `core.told.WebhookFormat`."""

    name = "bland"
    kinds = _KINDS
    wants_history = True

    def render(self, told: Told) -> bytes | None:
        body = _body(told)
        if body is None:
            return None
        written = _json(body)
        if len(written) <= MOST_BODY:
            return written
        # A long history is the only thing that makes it large.
        return _json(_body(_shorter(told, by=len(written) - MOST_BODY)))

    def headers(
        self, secrets: Sequence[str], *, webhook_id: str, timestamp: int, body: bytes
    ) -> Mapping[str, str]:
        """The signature has no time in it, and room for one secret: the newest."""
        del timestamp
        headers = {"content-type": "application/json", "webhook-id": webhook_id}
        if secrets:
            digest = hmac.digest(secrets[0].encode(), body, hashlib.sha256)
            headers["x-webhook-signature"] = digest.hex()
        return headers


def _body(told: Told) -> dict[str, Any] | None:
    c, m = told.conversation, told.message
    if c is None or told.kind not in _KINDS:
        return None
    if told.kind in TEXTS:
        return None if m is None else _of_text(told, c, m)
    status = _status(told, c)
    return None if status is None else _of_status(told, c, status)


def _shorter(told: Told, *, by: int) -> Told:
    """Without as many of its oldest texts as make that many bytes of its body, or a few more."""
    oldest = 0
    while by > 0 and oldest < len(told.history):
        each = told.history[oldest]
        by -= len(_json(_said(each)) + b",")
        if told.kind not in TEXTS:  # then it is in the transcript, too
            by -= len(_json(_line(each)))  # its quotation marks are as long as a line's end
        oldest += 1
    return replace(told, history=told.history[oldest:])


def _of_text(told: Told, c: ToldConversation, m: ToldMessage) -> dict[str, Any]:
    body = {"type": "message", **_context(told, c)}
    body |= {"message": m.text, "sender": _sender(m), "created_at": _iso(m.created_at)}
    body["message_id"] = m.id
    if m.media:
        body["media"] = [dict(each) for each in m.media]
    if (status := TEXTS[told.kind]) is not None:
        body |= {"status": status, "error_code": m.error_code or m.reason}
    return body


def _of_status(told: Told, c: ToldConversation, status: str) -> dict[str, Any]:
    found = c.analysis or {}
    outcome = found.get("outcome")
    # The event's own: by now an agent may have it again.
    reason = told.data.get("reason" if status == "human_handoff" else "why")
    return {
        "type": "status",
        **_context(told, c),
        "status": status,
        "status_reason": reason,
        "message_count": c.message_count,
        "concatenated_transcript": "\n".join(_line(each) for each in told.history),
        "summary": found.get("summary"),
        "citations": found.get("values") or {},
        "dispositions": [] if outcome is None else [outcome],
        "created_at": _iso(told.at),
    }


def _status(told: Told, c: ToldConversation) -> str | None:
    """None: Bland has no word for it, or says it later."""
    match told.kind:
        case "message.read":
            return "read"
        case "conversation.handed_off":
            return "human_handoff"
        case "conversation.resumed":
            # After a pause nobody had it.
            return "human_handoff_ended" if told.data.get("by") else None
        case "conversation.closed" if c.is_analysed:
            return None  # told once, with what the analysis finds
        case _:
            return None if c.reason == "ignored" else _ENDED.get(c.reason or "", "ended")


def _context(told: Told, c: ToldConversation) -> dict[str, Any]:
    """What both webhooks say."""
    return {
        "conversation_id": to_uuid(c.id),
        "phone_number": phone.bare(Phone(c.user_number)),
        "agent_number": phone.bare(Phone(c.agent_number)),
        "channel": phone.channel(Phone(c.user_number)),
        "pathway_id": c.agent_id,
        "pathway_version": c.agent_version,
        "chat_history": [_said(each) for each in told.history],
        "variables": dict(c.variables),
        "metadata": dict(c.metadata),
        "pathway_tags": [],
    }


def _said(m: ToldMessage) -> dict[str, str]:
    return {"sender": _sender(m), "message": m.text, "created_at": _iso(m.created_at)}


def _line(m: ToldMessage) -> str:
    return f"{_sender(m)}: {m.text}"


def _sender(m: ToldMessage) -> str:
    if m.direction == "inbound":
        return "USER"
    return "HUMAN" if m.kind == "person" else "AGENT"


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
