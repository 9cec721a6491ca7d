"""How our own webhooks tell of events: Standard Webhooks 1.0, `{type, timestamp, data}`.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
Every name has an example in docs/webhooks.md.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from textback.core import carrier_codes, signing
from textback.core.told import Told, ToldConversation, ToldMessage
from textback.core.webhook import MOST_BODY

ACCEPTED: Final = "message.accepted"

NAMES: Final[Mapping[str, str]] = {
    "message.queued": ACCEPTED,
    "message.promised": ACCEPTED,
} | {
    name: name
    for name in (
        "message.sent",
        "message.delivered",
        "message.read",
        "message.failed",
        "message.suppressed",
        "message.uncertain",
        "message.unsettled",
        "message.received",
        "conversation.opened",
        "conversation.engaged",
        "conversation.warned",
        "conversation.paused",
        "conversation.handed_off",
        "conversation.resumed",
        "conversation.closed",
        "conversation.analysed",
        "conversation.not_analysed",
        "turn.failed",
        "budget.reached",
        "user.opted_out",
        "user.opted_in",
        "send.planned",
        "send.refused",
        "send.cancelled",
        "batch.started",
        "batch.paused",
        "batch.resumed",
        "batch.cancelled",
        "batch.done",
        "limit.reached",
        "webhook.paused",
        "webhook.resumed",
        "webhook.tested",
    )
}
"""What an event is called outside, by `core.events.Kind`. Others are nobody else's business."""

PUBLIC: Final = tuple(dict.fromkeys(NAMES.values()))


def kinds(names: Sequence[str]) -> list[str]:
    """`core.events.Kind`s of public names."""
    return [kind for kind, name in NAMES.items() if name in names]


def names(of: Sequence[str]) -> list[str]:
    """`kinds` turned back."""
    return list(dict.fromkeys(NAMES[kind] for kind in of if kind in NAMES))


class NativeFormat:
    """A `core.told.WebhookFormat`."""

    name = "native"
    kinds = frozenset(NAMES)
    wants_history = False

    def render(self, told: Told) -> bytes | None:
        found = event(told)
        if found is None:
            return None
        body = _json(found)
        if (
            len(body) > MOST_BODY and told.conversation is not None
        ):  # what the caller knows anyway is left out, and that is said
            found["data"]["conversation"] |= {"metadata": None, "metadata_omitted": True}
            body = _json(found)
        return body

    def headers(
        self, secrets: Sequence[str], *, webhook_id: str, timestamp: int, body: bytes
    ) -> Mapping[str, str]:
        headers = {
            "content-type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(timestamp),
        }
        signed = [
            signing.headers(each, webhook_id=webhook_id, timestamp=timestamp, body=body)
            for each in secrets
            if _is_ours(each)
        ]
        if signed:
            signatures = " ".join(each["webhook-signature"] for each in signed)
            headers["webhook-signature"] = signatures
        return headers


def event(told: Told) -> dict[str, Any] | None:
    """`{type, timestamp, data}`; None for what has no public name, or is no news."""
    name = NAMES.get(told.kind)
    is_again = told.message is not None and told.at > told.message.created_at
    if name is None or (name == ACCEPTED and is_again):  # it went back into the queue
        return None
    data: dict[str, Any] = {"account_id": told.account_id, "project_id": told.project_id}
    if told.conversation is not None:
        data["conversation"] = _conversation(told.conversation)
    if told.message is not None:
        data["message"] = _message(told.message, told.kind)
    return {"type": name, "timestamp": time(told.at), "data": data | _own(told)}


def time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _conversation(c: ToldConversation) -> dict[str, Any]:
    return {
        "id": c.id,
        "connector_id": c.connector_id,
        "agent_id": c.agent_id,
        "agent_version": c.agent_version,
        "agent_number": c.agent_number,
        "user_number": c.user_number,
        "metadata": dict(c.metadata),
    }


def _message(m: ToldMessage, kind: str) -> dict[str, Any]:
    """The text itself does not change, but for one that the agent had yet to write."""
    return {
        "id": m.id,
        "direction": m.direction,
        "kind": m.kind,
        "text": None if kind == "message.promised" else m.text,
        "media": [dict(each) for each in m.media],
        "created_at": time(m.created_at),
    }


def _own(told: Told) -> dict[str, Any]:
    """What the event says of itself; why a text failed, in words; what an analysis found."""
    own = dict(told.data)
    if told.kind == "message.failed" and told.message is not None:
        # A receipt brings its code alone.
        own["error"] = told.message.error or _meaning(own.get("error_code"))
    found = told.conversation.analysis if told.conversation is not None else None
    if told.kind == "conversation.analysed" and found is not None:
        own |= {name: found.get(name) for name in ("summary", "values", "outcome")}
    return own


def _meaning(code: object) -> str | None:
    return carrier_codes.meaning(code).sentence if isinstance(code, str) else None


def _is_ours(secret: str) -> bool:
    """An account's secret for another dialect may have any form, and signs nothing here."""
    try:
        signing.secret_bytes(secret)
    except ValueError:
        return False
    return True


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
