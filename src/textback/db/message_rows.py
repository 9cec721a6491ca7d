"""Outbound texts: row <-> state."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final, TypeAlias

import asyncpg
from pydantic import TypeAdapter
from sqlalchemy import RowMapping

from textback.core import segments
from textback.core.ids import ProjectId
from textback.core.message import (
    Delivered,
    Failed,
    Message,
    Queued,
    Sending,
    Sent,
    Suppressed,
    Uncertain,
)
from textback.core.template import Template

TEMPLATE = TypeAdapter(Template)

_STATES: dict[type[Message], str] = {
    Queued: "queued",
    Sending: "sending",
    Uncertain: "uncertain",
    Sent: "sent",
    Delivered: "delivered",
    Failed: "failed",
    Suppressed: "suppressed",
}
_TYPES = {name: state for state, name in _STATES.items()}
_SHARED = ("id", "conversation_id", "carrier_id", "agent_number", "user_number", "kind", "text",
           "created_at", "expires_at", "attempts")  # fmt: skip
_OWN = ("due_at", "claimed_at", "lease_until", "uncertain_at", "look_up_at", "look_ups",
        "carrier_message_id", "sent_at", "delivered_at", "failed_at", "error_code", "error",
        "dropped_at", "drop_reason")  # fmt: skip
COLUMNS: Final = ", ".join(("state", "direction", *_SHARED, *_OWN, "template"))
"""Those that `message_of` needs."""
_COLUMNS = {
    state: [(f.name, "drop_reason" if f.name == "reason" else f.name) for f in fields(state)]
    for state in _STATES
}
_HAS = {state: [f.name for f in fields(state) if f.name in _OWN] for state in _STATES}


def word_of(m: Message) -> str:
    return _STATES[type(m)]


def row_of(m: Message) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(m, name) for name in _SHARED}
    row |= dict.fromkeys(_OWN)
    for name in _HAS[type(m)]:
        row[name] = getattr(m, name)
    row["template"] = None if m.template is None else TEMPLATE.dump_python(m.template, mode="json")
    row["look_ups"] = m.look_ups if isinstance(m, Uncertain) else 0
    row["drop_reason"] = m.reason if isinstance(m, Suppressed) else None
    row["state"] = word_of(m)
    return row


def size_of(m: Message, *, saved: int) -> Mapping[str, int | None]:
    """What its words cost; nothing is known of one that has none yet."""
    words = segments.of_ours(m.text, m.agent_number, m.template) if m.text else None
    return {"segments": words, "segments_saved": saved}


def new_row(new: Queued, project_id: ProjectId) -> dict[str, Any]:
    """What `add` inserts of one that follows no other."""
    return {
        **row_of(new),
        **size_of(new, saved=0),
        "project_id": project_id,
        "direction": "outbound",
        "priority": priority_of(new),
    }


OPENERS: Final = 1
"""Their priority. A person waiting beats a campaign."""


def priority_of(m: Message) -> int:
    return OPENERS if m.kind == "opener" else 0


Row: TypeAlias = RowMapping | asyncpg.Record


def message_of(row: Row | None) -> Message | None:
    """None also for what a user said."""
    return None if row is None or row["direction"] != "outbound" else state_of(row)


def state_of(row: Row) -> Message:
    state = _TYPES[row["state"]]
    found = {name: row[column] for name, column in _COLUMNS[state]}
    if (template := found["template"]) is not None:
        found["template"] = TEMPLATE.validate_python(template)
    return state(**found)
