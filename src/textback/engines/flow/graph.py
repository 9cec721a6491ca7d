"""What a flow is, in whichever shape it was written: nodes, and the edges between them. Frozen.

`at` is the place of a thing in the settings: names and positions, as pydantic gives them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Final, Literal, TypeAlias

from textback.core.frozen import frozen
from textback.llm.settings import ToolSettings

Place: TypeAlias = tuple[str | int, ...]
Comparison = Literal[
    "equals", "differs", "contains", "more_than", "at_least", "less_than", "at_most", "known"
]
VariableType = Literal["string", "integer", "number", "boolean", "date"]

MAX_TEXTS: Final = 10
"""Texts in a row, without waiting for the user."""


@frozen(kw_only=False)
class Keywords:
    """Fits if one of these words or phrases is among what the user said."""

    words: Sequence[str]


@frozen(kw_only=False)
class Matches:
    """Fits if this regular expression is found anywhere in what the user said."""

    pattern: str


@frozen(kw_only=False)
class Compared:
    variable: str
    how: Comparison
    value: object


@frozen(kw_only=False)
class AllKnown:
    """Fits if every one of these variables has a value."""

    variables: Sequence[str]


@frozen(kw_only=False)
class Called:
    """Fits if the node's call went well, or if it failed."""

    well: bool


@frozen(kw_only=False)
class Judged:
    """Fits if the model says that this describes what the user said."""

    label: str


Fixed: TypeAlias = Keywords | Matches | Compared | AllKnown | Called
"""Decided without a model."""
Condition: TypeAlias = Fixed | Judged


@frozen(kw_only=False)
class Edge:
    to: str
    when: Condition
    at: Place = field(default=(), compare=False)


@frozen
class Variable:
    """Something to be taken from what the user said."""

    name: str
    type: VariableType = "string"
    description: str = ""
    pattern: str | None = None
    """Its first group, or all it found, is the value; None: the model finds it."""
    at: Place = field(default=(), compare=False)


@frozen(kw_only=False)
class Webhook:
    """A request in another vendor's words, in place of ours."""

    method: str
    body: object
    """JSON, in whose texts `{{name}}` is filled; None: no body."""


@frozen
class Call:
    """An HTTP endpoint. `{{name}}` is filled in the arguments; of a webhook, in its address too."""

    tool: ToolSettings
    arguments: Mapping[str, object]
    save: Mapping[str, str]
    """By the variable, the path of its value in the answer: `$.slots[0].start`."""
    webhook: Webhook | None = None
    at: Place = field(default=(), compare=False)


@frozen
class Unclear:
    """What happens when the user says what fits no edge."""

    texts: Sequence[str] = ()
    """None: the node's own text again, or a new one for its prompt."""
    times: int | None = None
    """How often that is said before `to` or `then`; None: by the kind of node."""
    to: str | None = None
    then: Literal["hand_off", "end"] = "hand_off"
    at: Place = field(default=(), compare=False)


@frozen
class Node:
    """On entering it speaks, if it has words; calls, if it has a call; then waits, or goes on.

    Once the user has answered (or at once, if it does not wait): variables are taken, `until` is
    checked, and the first edge that fits is followed, else `then`.
    """

    id: str
    name: str
    texts: Sequence[str] = ()
    """Said as they are; of several, one."""
    prompt: str | None = None
    """What the model is to say here."""
    waits: bool = True
    extract: Sequence[Variable] = ()
    until: Condition | None = None
    call: Call | None = None
    ends: bool = False
    hand_off: str | None = None
    """Why a person is to take over."""
    edges: Sequence[Edge] = ()
    then: str | None = None
    then_at: Place = field(default=(), compare=False)
    globally: Condition | None = None
    """When the flow comes here from wherever it is."""
    unclear: Unclear | None = None
    entry: bool = False
    """A conversation may be started here by name, so nothing needs to lead here."""
    at: Place = field(default=(), compare=False)

    @property
    def speaks(self) -> bool:
        return bool(self.texts) or self.prompt is not None

    @property
    def is_aside(self) -> bool:
        """Whether the flow goes on where it was, once this is said."""
        leads_nowhere = not self.edges and self.then is None
        acts = self.ends or self.hand_off is not None or self.call is not None
        return self.globally is not None and leads_nowhere and not acts

    @property
    def targets(self) -> Iterator[tuple[str, Place]]:
        """Where it leads to, and where that is written."""
        for edge in self.edges:
            yield edge.to, edge.at
        if self.then is not None:
            yield self.then, self.then_at
        if self.unclear is not None and self.unclear.to is not None:
            yield self.unclear.to, (*self.unclear.at, "to")


@frozen
class Graph:
    start: str
    nodes: Mapping[str, Node]
    prompt: str = ""
    """What all that the model says or decides keeps to."""
    unclear: Unclear = Unclear()

    @property
    def globals(self) -> Sequence[Node]:
        return [node for node in self.nodes.values() if node.globally is not None]
