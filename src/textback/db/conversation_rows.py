"""Conversations: row <-> state."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Final

import asyncpg
from pydantic import TypeAdapter
from sqlalchemy import RowMapping

from textback.core.commands import Notify, nothing
from textback.core.conversation import (
    NAMES,
    Closed,
    Conversation,
    Engaged,
    HandedOff,
    Opened,
    Paused,
    Warned,
    deadline,
)
from textback.core.frozen import frozen
from textback.core.policy import IdlePolicy

IDLE = TypeAdapter(IdlePolicy)

STATE: Final = """
        id, account_id, project_id, connector_id, agent_id, agent_version, agent_number,
        user_number, state, opened_at, active_at, warned_at, paused_until, handed_off_at,
        why_handed_off, closed_at, reason, idle
"""
"""The columns that `state_of` needs."""

LIVE: Final = """
    from conversations
    where agent_number = :agent and user_number = :user and state <> 'closed'
"""
# Not against key shares, which writing an event or a text takes: whoever holds a text and tells
# about it would wait for us here, while we wait for the text.
LOCK_LIVE: Final = f"select {STATE} {LIVE} for no key update"


@frozen
class Brief:
    """What a caller told the agent about the conversation it opened."""

    objective: str | None = None
    variables: Mapping[str, object] = field(default_factory=nothing)
    start_node: str | None = None
    metadata: Mapping[str, object] = field(default_factory=nothing)
    reopens: bool = True
    dialect: str | None = None
    extra: Mapping[str, object] = field(default_factory=nothing)
    notify: Notify | None = None


def columns_of(brief: Brief) -> dict[str, Any]:
    return {
        "objective": brief.objective,
        "variables": dict(brief.variables),
        "start_node": brief.start_node,
        "metadata": dict(brief.metadata),
        "reopens": brief.reopens,
        "dialect": brief.dialect,
        "extra": dict(brief.extra),
    }


def row_of(state: Conversation, policy: IdlePolicy) -> dict[str, Any]:
    return {
        "id": state.id,
        "account_id": state.account_id,
        "project_id": state.project_id,
        "connector_id": state.connector_id,
        "agent_id": state.agent_id,
        "agent_version": state.agent_version,
        "agent_number": state.agent_number,
        "user_number": state.user_number,
        "state": NAMES[type(state)],
        "opened_at": state.opened_at,
        "active_at": state.active_at,
        "warned_at": state.warned_at if isinstance(state, Warned) else None,
        "paused_until": state.paused_until if isinstance(state, Paused) else None,
        "handed_off_at": state.handed_off_at if isinstance(state, HandedOff) else None,
        "why_handed_off": state.why if isinstance(state, HandedOff) else None,
        "closed_at": state.closed_at if isinstance(state, Closed) else None,
        "reason": state.reason if isinstance(state, Closed) else None,
        "deadline_at": deadline(state, policy),
        "idle": None if state.idle is None else IDLE.dump_python(state.idle, mode="json"),
    }


def state_of(row: RowMapping | asyncpg.Record) -> Conversation:
    shared: dict[str, Any] = {
        name: row[name]
        for name in (
            "id",
            "account_id",
            "project_id",
            "connector_id",
            "agent_id",
            "agent_version",
            "agent_number",
            "user_number",
            "opened_at",
            "active_at",
        )
    }
    shared["idle"] = None if row["idle"] is None else IDLE.validate_python(row["idle"])
    match row["state"]:
        case "opened":
            return Opened(**shared)
        case "engaged":
            return Engaged(**shared)
        case "warned":
            return Warned(**shared, warned_at=row["warned_at"])
        case "paused":
            return Paused(**shared, paused_until=row["paused_until"])
        case "handed_off":
            return HandedOff(
                **shared, handed_off_at=row["handed_off_at"], why=row["why_handed_off"]
            )
        case _:
            return Closed(**shared, closed_at=row["closed_at"], reason=row["reason"])
