"""Shapes of what is asked about batches and planned sends. No HTTP."""

from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from textback.core import template as templates
from textback.core.batch import MOST_BYTES, MOST_ROWS, Row
from textback.core.commands import AgentChoice, Idempotency, SendText
from textback.core.errors import BadRequest
from textback.core.ids import AgentId
from textback.core.phone import Phone
from textback.core.policy import AgentLabel, Environment
from textback.dialects.native import reading
from textback.dialects.native.fields import AgentNumber, Json, Moment, Name, Said, Whole
from textback.dialects.native.message_wire import Agent, Template
from textback.dialects.native.paging import Query

BATCHES = "/v1/batches"
SENDS = "/v1/sends"
BATCH_ID = r"^batch_[0-9a-z]{26}$"
SEND_ID = r"^msg_[0-9a-z]{26}$"
MAX_BODY = MOST_BYTES + 64 * 1024
"""Of a CSV `MOST_BYTES`, and of JSON a little more."""

BatchState = Literal["draft", "running", "paused", "cancelled", "done"]
SendState = Literal["planned", "accepted", "refused", "cancelled"]


_LONGEST = 7 * 24 * 3600
"""Seconds."""

_FLAGS = {"true": True, "false": False}
_Flag = Annotated[bool, BeforeValidator(lambda value: _FLAGS.get(value, value))]
"""A query's values are texts."""

# --- What is asked ------------------------------------------------------------------------------


class Common(BaseModel):
    """What a batch has, whether it comes as JSON or with a CSV."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=False)

    project: Annotated[Name | None, Field(description="Or else connector, or from.")] = None
    connector: Annotated[Name | None, Field(description="Or else project, or from.")] = None
    environment: Annotated[
        Environment | None,
        Field(
            description="Of the numbers to pick from, with project. Left out: live, or the one "
            "that all of its numbers have."
        ),
    ] = None
    name: Annotated[Name | None, Field(description="For you to know it by.")] = None
    from_: Annotated[
        AgentNumber | None,
        Field(alias="from", description="One of the project's numbers; else one is picked."),
    ] = None
    text: Annotated[
        Said | None,
        Field(
            description="For rows that have none of their own. `{{name}}` stands for a row's "
            "variable. Without any text, the agent greets or writes.",
        ),
    ] = None
    objective: Annotated[
        str | None, Field(min_length=1, max_length=4000, description="For the agent to pursue.")
    ] = None
    send_at: Annotated[Moment | None, Field(description="Not before; up to 90 days ahead.")] = None
    quiet_hours: Annotated[
        Literal["hold", "ignore"],
        Field(description="Whether the project's quiet hours hold rows, where their users are."),
    ] = "hold"
    validity_seconds: Annotated[
        int | None,
        Field(
            ge=1,
            le=_LONGEST,
            description="From when a row is due: not sent by then, it is dropped.",
        ),
    ] = None
    draft: Annotated[bool, Field(description="Nothing is sent before it is started.")] = False
    missing_variables: Annotated[
        Literal["refuse", "empty"],
        Field(description="What becomes of a row that lacks a variable of its text."),
    ] = "refuse"
    duplicates: Annotated[
        Literal["refuse", "send"],
        Field(description="What becomes of a second row for the same user."),
    ] = "refuse"

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.project is not None and self.connector is not None:
            raise ValueError("may have project or connector, not both")
        if self.environment is not None and self.connector is not None:
            raise ValueError("may have no environment beside connector, which has one")
        return self

    def shared(self, key: Idempotency | None) -> SendText:
        """What every row has."""
        seconds = self.validity_seconds
        return SendText(
            user_number=Phone(""),
            text=self.text,
            agent_number=None if self.from_ is None else Phone(self.from_),
            objective=self.objective,
            send_at=self.send_at,
            ignores_quiet_hours=self.quiet_hours == "ignore",
            validity=None if seconds is None else timedelta(seconds=seconds),
            idempotency=key,
        )


class OfCsv(Common):
    """The query of a batch whose body is a CSV."""

    draft: Annotated[_Flag, Field(description="Nothing is sent before it is started.")] = False
    validity_seconds: Annotated[
        Whole | None, Field(ge=1, le=_LONGEST, description="As in JSON.")
    ] = None
    agent: Annotated[
        Name | None, Field(description="Its id; else the number's, or the project's.")
    ] = None

    def shared(self, key: Idempotency | None) -> SendText:
        agent = AgentChoice(agent_id=None if self.agent is None else AgentId(self.agent))
        return replace(super().shared(key), agent=agent)


class OfJson(Common):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "project": "reminders",
                "name": "Tuesday's visits",
                "text": "Hi {{name}}, see you at {{time}} tomorrow. Reply C to cancel.",
                "rows": [
                    {"to": "+14155550123", "variables": {"name": "Ann", "time": "3pm"}},
                    {"to": "+14155550124", "variables": {"name": "Bo", "time": "4pm"}},
                ],
                "send_at": "2027-01-31T16:00:00Z",
            }
        }
    )

    agent: Agent | None = None
    template: Annotated[
        Template | None,
        Field(description="What the carrier has approved; its variables may hold `{{name}}`."),
    ] = None
    variables: Annotated[Json | None, Field(description="For rows that lack them.")] = None
    metadata: Annotated[Json | None, Field(description="Yours: of every row.")] = None
    rows: Annotated[
        list[Any],
        Field(
            min_length=1,
            max_length=MOST_ROWS,
            description="Objects of `to`, and perhaps `text`, `variables` and `metadata` of their "
            "own. One that is wrong is refused by itself.",
        ),
    ]

    def shared(self, key: Idempotency | None) -> SendText:
        agent, approved = self.agent or Agent(), self.template
        template = None
        if approved is not None:
            template = templates.Template(
                content_sid=approved.content_sid, variables=approved.variables
            )
        return replace(
            super().shared(key),
            agent=AgentChoice(
                agent_id=None if agent.id is None else AgentId(agent.id),
                version=cast("AgentLabel | int | None", agent.version),
                start_node=agent.start_node,
            ),
            template=template,
            variables=self.variables or {},
            metadata=self.metadata or {},
        )


class Recipient(BaseModel):
    """One row of a JSON batch."""

    model_config = ConfigDict(extra="forbid", strict=True)

    to: str
    text: str | None = None
    variables: dict[str, Any] = {}
    metadata: dict[str, Any] = {}


def row_of(given: object, *, wrong: str | None = None) -> Row:
    """Whatever was given for a row; one that cannot be read says why. `wrong`: known already."""
    if not isinstance(given, dict):
        return Row(to="", wrong="A row is an object, with to in it.")
    fields = cast("dict[str, Any]", given)
    to = fields.get("to")
    shown = to if isinstance(to, str) else ""
    if wrong is not None:
        return Row(to=shown, wrong=wrong)
    try:
        it = reading.read(Recipient, fields)
    except BadRequest as refusal:
        return Row(to=shown, wrong=refusal.sentence)
    return Row(to=it.to, text=it.text, variables=it.variables, metadata=it.metadata)


class Listing(Query):
    """Which batches."""

    state: BatchState | None = None
    project: Name | None = None


class RowListing(Query):
    """Which rows of a batch."""

    state: SendState | None = None


class SendListing(Query):
    """Which planned sends; not those of batches."""

    state: SendState | None = None
    project: Name | None = None


class Reschedule(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"example": {"send_at": "2027-01-31T16:00:00Z"}},
    )

    send_at: Annotated[Moment, Field(description="Up to 90 days ahead; one that is past is now.")]
