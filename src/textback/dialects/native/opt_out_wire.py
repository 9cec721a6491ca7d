"""Our own shapes of opt-outs. No HTTP."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from textback.dialects.native.fields import AgentNumber, Name, Recipient, UserNumber
from textback.dialects.native.paging import Query

ROUTE = "/v1/opt-outs"
ID = r"^opt_[0-9a-z]{26}$"
MAX_CSV = 1024 * 1024
MOST_ROWS = 2000
MAX_REASON = 500

Reason = Annotated[
    str,
    Field(min_length=1, max_length=MAX_REASON, description="For the record, in your words."),
]
_Flag = Annotated[
    bool | None, BeforeValidator(lambda given: {"true": True, "false": False}.get(given, given))
]


class OptOut(BaseModel):
    id: str
    user_number: str
    agent_number: Annotated[str | None, Field(description="null: every number of the project.")]
    project: str
    standing: Annotated[bool, Field(description="The user may not be texted from there.")]
    opted_out_at: datetime
    source: Annotated[str, Field(description="keyword, carrier, caller or import.")]
    words: Annotated[str | None, Field(description="The user's own.")]
    reason: str | None
    opted_in_at: datetime | None
    opted_in_source: Annotated[str | None, Field(description="keyword or caller.")]
    opted_in_words: str | None
    opted_in_reason: str | None


class Recorded(OptOut):
    already_opted_out: Annotated[bool, Field(description="Then nothing was changed.")]


class Create(BaseModel):
    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={
            "example": {
                "user_number": "+14155550123",
                "project": "reminders",
                "reason": "Asked for it by phone.",
            }
        },
    )

    user_number: Recipient
    agent_number: Annotated[
        AgentNumber | None, Field(description="Of yours: only this number; or else project.")
    ] = None
    project: Annotated[Name | None, Field(description="Every number of it.")] = None
    reason: Reason


class End(BaseModel):
    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={"example": {"reason": "Opted in again on our web form."}},
    )

    reason: Reason


class OptOuts(Query):
    """The filters of the list."""

    user_number: UserNumber | None = None
    agent_number: AgentNumber | None = None
    project: Annotated[Name | None, Field(description="Of its numbers, and as a whole.")] = None
    standing: Annotated[
        _Flag, Field(description="true: those that hold now; false: those that ended.")
    ] = None


class Export(BaseModel):
    """The filters of the export."""

    model_config = ConfigDict(extra="forbid")

    project: Name | None = None
    standing: Annotated[_Flag, Field(description="As in the list.")] = None


class Import(BaseModel):
    """Where the rows count that do not say it themselves."""

    model_config = ConfigDict(extra="forbid")

    project: Name | None = None
    agent_number: AgentNumber | None = None


class Row(BaseModel):
    row: Annotated[int, Field(description="From 1, without the line that names the columns.")]
    user_number: str
    state: Literal["recorded", "already", "refused"]
    detail: Annotated[str | None, Field(description="Why it was refused.")]


class Imported(BaseModel):
    recorded: int
    already: int
    refused: int
    rows: list[Row]
