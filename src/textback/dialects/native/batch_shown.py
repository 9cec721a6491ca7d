"""Batches and planned sends in our own shapes."""

from collections.abc import Sequence
from typing import Any, cast

from textback.core.commands import Planned
from textback.db.plans import BatchRecord, PlannedSend, Progress
from textback.dialects.native import batch_answers as wire
from textback.dialects.native.wire import problem_type
from textback.flows.batches import RowError


def summary(found: BatchRecord) -> wire.Summary:
    return wire.Summary(**_summary(found))


def batch(found: BatchRecord, progress: Progress) -> wire.Batch:
    return wire.Batch(**_summary(found), progress=_counts(progress))


def made(found: BatchRecord, progress: Progress, errors: Sequence[RowError]) -> wire.Made:
    return wire.Made(
        **_summary(found),
        progress=_counts(progress),
        error_count=len(errors),
        errors=[
            wire.WrongRow(row=e.row, to=e.to, problem=problem_type(e.problem), detail=e.error)
            for e in errors[: wire.MOST_ERRORS]
        ],
    )


def send(found: PlannedSend) -> wire.Send:
    became = None
    if found.message_state is not None:
        became = wire.Became(
            state=found.message_state,
            sent_at=found.sent_at,
            error_code=found.message_error_code,
            error=found.message_error,
        )
    return wire.Send(
        id=found.id,
        conversation_id=found.conversation_id,
        state=cast("wire.SendState", found.state),
        planned_for=found.planned_for,
        why=cast("Planned | None", found.why),
        to=found.user_number,
        from_=found.agent_number,
        text=found.text,
        variables=dict(found.variables),
        metadata=dict(found.metadata),
        send_at=found.send_at,
        quiet_hours="ignore" if found.ignores_quiet_hours else "hold",
        project_id=found.project_id,
        connector_id=found.connector_id,
        environment=found.environment,
        batch_id=found.batch_id,
        row=found.row,
        created_at=found.created_at,
        ended_at=found.ended_at,
        problem=None if found.problem is None else problem_type(found.problem),
        detail=found.error,
        message=became,
    )


def _summary(found: BatchRecord) -> dict[str, Any]:
    own = {name: getattr(found, name) for name in wire.Summary.model_fields if name != "from_"}
    return own | {"from_": found.agent_number}


def _counts(found: Progress) -> wire.Counts:
    return wire.Counts(**{name: getattr(found, name) for name in wire.Counts.model_fields})
