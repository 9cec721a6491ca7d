"""Webhooks, deliveries and events in our own shapes."""

from collections.abc import Sequence
from typing import Any, cast

from textback.core.told import Told
from textback.db.webhook_reads import AttemptRecord, DeliveryRecord, Endpoint
from textback.dialects.native import events
from textback.dialects.native import webhook_wire as wire
from textback.flows.deliver import public_id


def webhook(e: Endpoint) -> wire.Webhook:
    return wire.Webhook(**_webhook(e))


def with_secret(e: Endpoint, secret: str) -> wire.WithSecret:
    return wire.WithSecret(**_webhook(e), secret=secret)


def with_queue(e: Endpoint, waiting: int) -> wire.WithQueue:
    return wire.WithQueue(**_webhook(e), waiting=waiting)


def delivery(d: DeliveryRecord) -> wire.Delivery:
    return wire.Delivery(**_delivery(d))


def whole_delivery(d: DeliveryRecord, tries: Sequence[AttemptRecord]) -> wire.WholeDelivery:
    return wire.WholeDelivery(
        **_delivery(d),
        body=d.body,
        tries=[
            wire.Attempt(
                number=each.number,
                at=each.at,
                status=each.status,
                milliseconds=each.milliseconds,
                error=each.error,
                answer=each.answer,
            )
            for each in tries
        ],
    )


def event(told: Told) -> wire.Event | None:
    """None: it has no public name, or is no news."""
    found = events.event(told)
    return None if found is None else wire.Event(id=public_id(told.event_id), **found)


def delivery_id(number: int) -> str:
    return f"dlv_{number}"


def _webhook(e: Endpoint) -> dict[str, Any]:
    return {
        "id": e.id,
        "url": e.url,
        "kinds": events.names(e.kinds or sorted(events.NAMES)),
        "format": e.format,
        "project": e.project_id,
        "conversation": e.conversation_id,
        "description": e.description,
        "state": cast("wire.State", e.state),
        "reason": e.why_paused,
        "paused_at": e.paused_at,
        "failures": e.health.failures,
        "failing_since": e.health.failing_since,
        "created_at": e.created_at,
        "secrets": len(e.secrets),
        "source": "file" if e.source == "file" else "api",
    }


def _delivery(d: DeliveryRecord) -> dict[str, Any]:
    return {
        "id": delivery_id(d.id),
        "webhook_id": d.endpoint_id,
        "event_id": public_id(d.event_id),
        "type": events.NAMES.get(d.kind),
        "conversation_id": d.conversation_id,
        "message_id": d.message_id,
        "state": cast("wire.DeliveryState", d.state),
        "attempts": d.attempts,
        "created_at": d.created_at,
        "next_attempt_at": d.due_at,
        "ended_at": d.ended_at,
    }
