"""`engine: {kind: flow, ...}` of an agent."""

from typing import Annotated, Literal, cast

from pydantic import (
    BaseModel,
    Field,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from textback.core.policy import MAX_TEXT
from textback.engines.flow import graph, shape
from textback.engines.flow.checks import problems
from textback.engines.flow.graph import Graph
from textback.engines.flow.importing import Refused, built
from textback.engines.flow.named import naming, refused
from textback.engines.flow.pathway import Pathway
from textback.llm.settings import DEFAULT_STYLE, ModelSettings, Words

MATCHING_DEADLINE = 5.0
"""Seconds that a turn may take which asks nobody outside: see `matching`."""


def _named(value: object, handler: ValidatorFunctionWrapHandler) -> shape.Node:
    try:
        return cast("shape.Node", handler(value))
    except ValidationError as errors:
        raise naming(errors, value) from None


Label = Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class FlowConfig(BaseModel):
    """A flow in our own shape (`start`, `nodes`), or a `pathway` as Bland publishes it.

    `prompt`, `style`: what all that the model writes keeps to. `labels` and `texts` are for a
    pathway: how to decide by a label, and what to say at a node, without asking the model.
    `timeout_seconds` is for a whole turn.
    """

    model_config = shape.SETTINGS

    kind: Literal["flow"] = "flow"
    start: shape.Id | None = None
    nodes: Annotated[
        tuple[Annotated[shape.Node, WrapValidator(_named)], ...], Field(max_length=shape.MAX_NODES)
    ] = ()
    pathway: Pathway | None = None
    labels: dict[Label, shape.When] = Field(default_factory=dict[str, shape.When])
    texts: dict[shape.Id, shape.Texts] = Field(default_factory=dict[str, tuple[str, ...]])
    prompt: Words | None = None
    style: Words | None = DEFAULT_STYLE
    model: ModelSettings | None = None
    unclear: shape.Unclear = shape.Unclear()
    timeout_seconds: Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)] = 60

    @model_validator(mode="after")
    def _can_be_run(self) -> "FlowConfig":
        made = self.graph()
        found = list(problems(made, has_model=self.model is not None, strict=self.pathway is None))
        if found:
            raise refused(found)
        return self

    def graph(self) -> Graph:
        """Raises ValidationError when the parts make no graph."""
        if self.pathway is not None:
            return self._imported(self.pathway)
        if not self.nodes:
            raise refused([(("nodes",), "is missing; a flow has nodes, or a pathway")])
        found: list[tuple[graph.Place, str]] = [
            ((name,), "is for a pathway") for name in ("labels", "texts") if getattr(self, name)
        ]
        nodes: dict[str, graph.Node] = {}
        for i, node in enumerate(self.nodes):
            if node.id in nodes:
                found.append((("nodes", i, "id"), f'node "{node.id}": there are two with this id'))
            nodes[node.id] = node.built(("nodes", i))
        start = self.start or self.nodes[0].id
        if start not in nodes:
            found.append((("start",), f'there is no node "{start}" to start at'))
        if found:
            raise refused(found)
        return Graph(
            start=start,
            nodes=nodes,
            prompt=self.prompt or "",
            unclear=self.unclear.built(("unclear",)),
        )

    def _imported(self, pathway: Pathway) -> Graph:
        found: list[tuple[graph.Place, str]] = [
            ((name,), "is in the pathway already; leave it out")
            for name in ("start", "nodes")
            if getattr(self, name)
        ]
        for label, when in self.labels.items():
            if isinstance(when.condition, graph.Judged | graph.Called):
                said = "decides by keywords, matches or variables, not by a label or a result"
                found.append((("labels", label), said))
        for id_, texts in self.texts.items():
            if any(len(text) > MAX_TEXT for text in texts):
                found.append((("texts", id_), f"must be at most {MAX_TEXT} characters"))
        if found:
            raise refused(found)
        labels = {label: when.condition for label, when in self.labels.items()}
        try:
            made = built(pathway, labels=labels, texts=self.texts)
        except Refused as wrong:
            raise refused(wrong.problems) from None
        prompts = [words for words in (self.prompt, made.prompt) if words]
        return Graph(
            start=made.start,
            nodes=made.nodes,
            prompt="\n\n".join(prompts),
            unclear=self.unclear.built(("unclear",)),
        )

    @property
    def deadline_seconds(self) -> float:
        """How long a turn may take in all."""
        calls = any(node.call is not None for node in self.graph().nodes.values())
        return self.timeout_seconds if calls or self.model is not None else MATCHING_DEADLINE

    @property
    def can_open(self) -> bool:
        """Whether the flow says something before the user does."""
        made = self.graph()
        todo, seen = [made.start], set[str]()
        while todo:
            node = made.nodes[todo.pop()]
            if node.speaks:
                return True
            if node.id not in seen and not node.waits:
                seen.add(node.id)
                todo += [to for to in (*(e.to for e in node.edges), node.then) if to is not None]
        return False
