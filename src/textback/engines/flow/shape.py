"""Our own shape of a flow: a list of nodes, each with the edges that lead on from it."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)

from textback.core.policy import MAX_TEXT
from textback.engines.flow import graph
from textback.engines.flow.graph import Place, VariableType
from textback.engines.flow.matching import compiled
from textback.llm.settings import ToolSettings, Words

SETTINGS: Final = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
MAX_NODES: Final = 500

_COMPARISONS: Final[Sequence[graph.Comparison]] = (
    *("equals", "differs", "contains", "more_than", "at_least", "less_than", "at_most"),
    "known",
)


def _is_text(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty or blank")
    if "\x00" in text:
        raise ValueError("holds a NUL")
    return text


def _has_some(values: tuple[str, ...]) -> tuple[str, ...]:
    # Not min_length, which also complains when there are some and they are wrong.
    if not values:
        raise ValueError("must have at least 1 entry")
    return values


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _compiles(pattern: str) -> str:
    compiled(pattern)
    return pattern


Id = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_is_text)]
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT), AfterValidator(_is_text)]
Texts = Annotated[
    tuple[Text, ...], BeforeValidator(_listed), Field(max_length=20), AfterValidator(_has_some)
]
"""One text, or several of which one is said."""
Name = Annotated[str, StringConstraints(max_length=100, pattern=r"^[^\W\d][\w-]*$")]
Known = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\W\d][\w-]*(\.[\w-]+)*$")]
"""The name of a variable, or of a part of one: `customer.tier`."""
Keyword = Annotated[str, StringConstraints(max_length=100), AfterValidator(_is_text)]
Pattern = Annotated[
    str, StringConstraints(min_length=1, max_length=2000), AfterValidator(_compiles)
]
Label = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_is_text)]
Value = bool | int | float | Annotated[str, StringConstraints(max_length=1000)]


class When(BaseModel):
    """One condition, and only one."""

    model_config = SETTINGS

    keywords: (
        Annotated[tuple[Keyword, ...], Field(max_length=200), AfterValidator(_has_some)] | None
    ) = None
    matches: Pattern | None = None
    label: Label | None = None
    variables: Annotated[tuple[Known, ...], AfterValidator(_has_some)] | None = None
    """All of them have values."""
    result: Literal["success", "failure"] | None = None
    """Of the node's call."""
    variable: Known | None = None
    equals: Value | None = None
    differs: Value | None = None
    contains: Value | None = None
    more_than: float | None = None
    at_least: float | None = None
    less_than: float | None = None
    at_most: float | None = None
    known: bool | None = None

    @model_validator(mode="after")
    def _is_one(self) -> "When":
        whole = (self.keywords, self.matches, self.label, self.variables, self.result)
        conditions = sum(part is not None for part in (*whole, self.variable))
        compared = [how for how in _COMPARISONS if getattr(self, how) is not None]
        if conditions != 1:
            raise ValueError(
                "needs exactly one condition: keywords, matches, label, variable, variables"
                " or result"
            )
        if len(compared) != (self.variable is not None):
            raise ValueError(f"variable goes with exactly one of {', '.join(_COMPARISONS)}")
        return self

    @property
    def condition(self) -> graph.Condition:
        if self.keywords is not None:
            return graph.Keywords(self.keywords)
        if self.matches is not None:
            return graph.Matches(self.matches)
        if self.label is not None:
            return graph.Judged(self.label)
        if self.variables is not None:
            return graph.AllKnown(self.variables)
        if self.result is not None:
            return graph.Called(self.result == "success")
        how: graph.Comparison = next(how for how in _COMPARISONS if getattr(self, how) is not None)
        return graph.Compared(self.variable or "", how, getattr(self, how))


class Edge(When):
    to: Id


class Extract(BaseModel):
    """A variable that is taken from what the user says; without a `pattern`, by the model."""

    model_config = SETTINGS

    name: Name
    type: VariableType = "string"
    description: Annotated[str, StringConstraints(max_length=1000)] = ""
    pattern: Pattern | None = None


class Call(BaseModel):
    """A signed POST, as for every tool: `docs/agents.md`."""

    model_config = SETTINGS

    url: Annotated[str, StringConstraints(min_length=1)]
    secret: SecretStr | None = None
    headers: Annotated[dict[str, SecretStr], Field(max_length=50)] = Field(
        default_factory=dict[str, SecretStr]
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 10
    arguments: dict[str, object] = Field(default_factory=dict[str, object])
    save: Annotated[dict[Name, str], Field(max_length=100)] = Field(default_factory=dict[str, str])

    @model_validator(mode="after")
    def _is_a_tool(self) -> "Call":
        self.tool("call")
        return self

    def tool(self, name: str) -> ToolSettings:
        """Raises ValidationError on an address or a secret that is none."""
        return ToolSettings(
            name=name,
            description=name,
            url=self.url,
            secret=self.secret,
            headers=self.headers,
            timeout_seconds=self.timeout_seconds,
        )


class Unclear(BaseModel):
    """What happens when the user says what fits no edge."""

    model_config = SETTINGS

    say: Texts | None = None
    times: Annotated[int, Field(ge=0, le=100)] | None = None
    to: Id | None = None
    then: Literal["hand_off", "end"] = "hand_off"

    def built(self, at: Place) -> graph.Unclear:
        return graph.Unclear(
            texts=self.say or (), times=self.times, to=self.to, then=self.then, at=at
        )


class Node(BaseModel):
    model_config = SETTINGS

    id: Id
    name: Id | None = None
    """For people and for the model; the id, if there is none."""
    say: Texts | None = None
    prompt: Words | None = None
    wait: bool | None = None
    """Left out: as long as it speaks and does not call, hand off or end."""
    extract: Annotated[tuple[Extract, ...], Field(max_length=50)] = ()
    until: When | None = None
    call: Call | None = None
    hand_off: (
        Annotated[str, StringConstraints(max_length=1000), AfterValidator(_is_text)] | None
    ) = None
    end: bool = False
    edges: Annotated[tuple[Edge, ...], Field(max_length=100)] = ()
    then: Id | None = None
    globally: When | None = None
    unclear: Unclear | None = None
    entry: bool = False

    @model_validator(mode="after")
    def _is_possible(self) -> "Node":
        for wrong in self._contradictions():
            raise ValueError(wrong)
        return self

    def _contradictions(self) -> Iterator[str]:
        if self.say is not None and self.prompt is not None:
            yield "has both say and prompt; it can speak in one way"
        acts = [
            name
            for name, does in (
                ("call", self.call is not None),
                ("hand_off", self.hand_off is not None),
                ("end", self.end),
            )
            if does
        ]
        if len(acts) > 1:
            yield f"has {' and '.join(acts)}; it can do one thing"
        if acts and self.wait:
            yield f"has {acts[0]} and wait; put the wait into a node of its own"
        if self.end and (self.edges or self.then is not None):
            yield "ends the conversation, so nothing can follow it"
        if self.hand_off is not None and self.edges:
            yield "hands off, so it has no edges; `then` says where to go on once it is resumed"
        if (self.end or self.hand_off is not None) and (self.extract or self.until):
            yield f"has {acts[0]}, so nobody answers it: extract and until are for other nodes"

    def built(self, at: Place) -> graph.Node:
        acts = self.call is not None or self.hand_off is not None or self.end
        speaks = self.say is not None or self.prompt is not None
        return graph.Node(
            id=self.id,
            name=self.name or self.id,
            texts=self.say or (),
            prompt=self.prompt,
            waits=(speaks and not acts) if self.wait is None else self.wait,
            extract=[
                graph.Variable(
                    name=variable.name,
                    type=variable.type,
                    description=variable.description,
                    pattern=variable.pattern,
                    at=(*at, "extract", i),
                )
                for i, variable in enumerate(self.extract)
            ],
            until=None if self.until is None else self.until.condition,
            call=None if self.call is None else self._built_call(self.call, at),
            ends=self.end,
            hand_off=self.hand_off,
            edges=[
                graph.Edge(edge.to, edge.condition, (*at, "edges", i))
                for i, edge in enumerate(self.edges)
            ],
            then=self.then,
            then_at=(*at, "then"),
            globally=None if self.globally is None else self.globally.condition,
            unclear=None if self.unclear is None else self.unclear.built((*at, "unclear")),
            entry=self.entry,
            at=at,
        )

    def _built_call(self, call: Call, at: Place) -> graph.Call:
        return graph.Call(
            tool=call.tool(tool_name(self.id)),
            arguments=call.arguments,
            save=call.save,
            at=(*at, "call"),
        )


def tool_name(node_id: str) -> str:
    """Make a name that the record of calls accepts; begins with a letter."""
    name = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in node_id)[:48]
    return name if name[:1].isalpha() else f"call_{name}"[:48]
