"""Shapes of what is answered about batches and planned sends. No HTTP."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from textback.core.commands import Planned
from textback.dialects.native.batch_wire import BatchState, SendState

MOST_ERRORS = 100
"""Wrong rows that are told with the batch; GET .../rows?state=refused has them all."""


class Summary(BaseModel):
    id: str
    name: str | None
    state: BatchState
    project_id: str
    connector_id: str | None
    environment: str
    from_: Annotated[str | None, Field(serialization_alias="from")]
    text: str | None
    total: Annotated[int, Field(description="Rows, also the refused ones.", ge=0)]
    created_at: datetime
    send_at: datetime | None
    ended_at: datetime | None


class Counts(BaseModel):
    planned: Annotated[int, Field(description="Yet to be sent.")]
    held: Annotated[
        int, Field(description="Of the planned ones: scheduled, or in their user's quiet hours.")
    ]
    refused: int
    cancelled: int
    accepted: Annotated[int, Field(description="The sum of what follows.")]
    queued: int
    sent: int
    delivered: int
    failed: int
    suppressed: Annotated[int, Field(description="Opted out, or not sent within their validity.")]


class Batch(Summary):
    progress: Counts


class WrongRow(BaseModel):
    row: Annotated[int, Field(description="From 1, in the order given.", ge=1)]
    to: str
    problem: str
    detail: str


class Made(Batch):
    error_count: Annotated[int, Field(description="Rows that are refused.", ge=0)]
    errors: Annotated[
        list[WrongRow],
        Field(description=f"The first {MOST_ERRORS}; all are at /rows?state=refused."),
    ]


class Became(BaseModel):
    state: str
    sent_at: datetime | None
    error_code: Annotated[str | None, Field(description="The carrier's.")]
    error: str | None


class Send(BaseModel):
    id: Annotated[str, Field(description="Of the plan, and of the message it becomes.")]
    conversation_id: Annotated[
        str, Field(description="The one it opens; once accepted, the one it is in.")
    ]
    state: SendState
    planned_for: Annotated[datetime | None, Field(description="While it is planned.")]
    why: Annotated[
        Planned | None,
        Field(description="Why it was not sent at once."),
    ]
    to: str
    from_: Annotated[str | None, Field(serialization_alias="from")]
    text: str | None
    variables: dict[str, Any]
    metadata: dict[str, Any]
    send_at: datetime | None
    quiet_hours: Literal["hold", "ignore"]
    project_id: str
    connector_id: str | None
    environment: str
    batch_id: str | None
    row: int | None
    created_at: datetime
    ended_at: datetime | None
    problem: Annotated[str | None, Field(description="Why it is refused.")]
    detail: Annotated[str | None, Field(description="The same in one sentence.")]
    message: Annotated[Became | None, Field(description="Of an accepted one: its text.")]
