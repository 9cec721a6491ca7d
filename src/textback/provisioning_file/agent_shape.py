"""The shape of an agent in a provisioning file. Its engines are checked on their own."""

from typing import Annotated

from pydantic import AfterValidator, Field, field_validator, model_validator

from textback.core.policy import DEFAULT_FALLBACK
from textback.provisioning_file.values import Entry, Id, Shape, Text, is_said


class Outcome(Shape):
    name: Annotated[str, AfterValidator(is_said), Field(max_length=100)]
    description: Annotated[str, Field(max_length=1000)] = ""


def _is_object_schema(value: dict[str, object]) -> dict[str, object]:
    from textback.llm.schema import object_schema  # noqa: PLC0415 - few agents have one

    return object_schema(value)


class Analysis(Shape):
    summary: bool = True
    values: Annotated[Entry, AfterValidator(_is_object_schema)] | None = None
    """JSON Schema of an object."""
    outcomes: Annotated[tuple[Outcome, ...], Field(max_length=50)] = ()
    instructions: Annotated[str, AfterValidator(is_said), Field(max_length=20_000)] | None = None

    @field_validator("outcomes")
    @classmethod
    def _differ(cls, value: tuple[Outcome, ...]) -> tuple[Outcome, ...]:
        names = [outcome.name for outcome in value]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f'has "{twice}" twice')
        return value

    @model_validator(mode="after")
    def _asks_for_something(self) -> "Analysis":
        if not (self.summary or self.values or self.outcomes):
            raise ValueError("asks for nothing: it needs a summary, values or outcomes")
        return self


class Draft(Shape):
    """What is left out is as in production."""

    greeting: Text | None = None
    fallback: Text | None = None
    engine: Entry | None = None
    analysis: Analysis | None = None

    @field_validator("engine", mode="before")
    @classmethod
    def _not_null(cls, value: object) -> object:
        if value is None:
            raise ValueError("must be fields (name: value); leave it out to use production's")
        return value


class Agent(Shape):
    id: Id
    greeting: Text | None = None
    fallback: Text | None = DEFAULT_FALLBACK
    """Null: nothing is sent when the engine fails."""
    engine: Entry
    analysis: Analysis | None = None
    draft: Draft | None = None
