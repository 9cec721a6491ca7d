"""Our own shapes of lists of conversations, and of what can be changed about one. No HTTP."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from textback.core.conversation import CloseReason
from textback.core.policy import Environment
from textback.dialects.native.fields import AgentNumber, Json, Moment, Name, UserNumber
from textback.dialects.native.paging import Query
from textback.dialects.native.wire import State

METADATA = "metadata."
"""How a filter on a key of the metadata begins."""
MOST_METADATA = 5


class Conversations(Query):
    """The filters of the list, beside `metadata.KEY=VALUE`."""

    project: Name | None = None
    connector: Name | None = None
    environment: Annotated[Environment | None, Field(description="Of its agent number.")] = None
    state: State | None = None
    reason: Annotated[CloseReason | None, Field(description="Why it is closed.")] = None
    user_number: UserNumber | None = None
    agent_number: AgentNumber | None = None
    agent: Name | None = None
    dialect: Annotated[
        Literal["polyai", "bland", "kore", "nixflex", "native"] | None,
        Field(description="Through which it was opened."),
    ] = None
    since: Annotated[Moment | None, Field(description="Opened then or later.")] = None
    until: Annotated[Moment | None, Field(description="Opened before then.")] = None
    q: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=200,
            description='Words in one of its texts: all; "a phrase"; this or that; -not this.',
        ),
    ] = None


class Change(BaseModel):
    """What is left out stays as it is."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={"example": {"metadata": {"appointment": "A-18"}}},
    )

    metadata: Annotated[Json | None, Field(description="Instead of what there was.")] = None
    variables: Annotated[Json | None, Field(description="Instead of what there were.")] = None
    objective: Annotated[
        str | None, Field(min_length=1, max_length=4000, description="null: none any more.")
    ] = None
