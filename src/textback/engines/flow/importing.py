"""A pathway of Bland's -> a graph, or what about it cannot be run here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from textback.engines.flow.graph import (
    Condition,
    Edge,
    Graph,
    Judged,
    Node,
    Place,
    Variable,
    VariableType,
)
from textback.engines.flow.pathway import Data, Pathway, PathwayEdge, PathwayNode
from textback.engines.flow.webhooks import webhook, without_choice

TYPES: Final[Mapping[str, VariableType]] = {
    "string": "string",
    "text": "string",
    "integer": "integer",
    "int": "integer",
    "number": "number",
    "float": "number",
    "boolean": "boolean",
    "bool": "boolean",
    "date": "date",
}


class Refused(Exception):  # noqa: N818 - an answer
    """`problems`: each with its place."""

    def __init__(self, problems: Sequence[tuple[Place, str]]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = problems


def built(
    pathway: Pathway, *, labels: Mapping[str, Condition], texts: Mapping[str, Sequence[str]]
) -> Graph:
    """Raises Refused.

    `labels`: what a label stands for, where no model is to judge it; `texts`: what is said in
    place of the prompt of the node with that id.
    """
    return _Import(pathway, labels, texts).made()


class _Import:
    def __init__(
        self,
        pathway: Pathway,
        labels: Mapping[str, Condition],
        texts: Mapping[str, Sequence[str]],
    ) -> None:
        self._labels, self._texts = labels, texts
        self._problems: list[tuple[Place, str]] = []
        self._nodes: dict[str, tuple[PathwayNode, Data, Place]] = {}
        self._prompts: list[str] = []
        self._used: set[str] = set()
        for i, node in enumerate(pathway.nodes):
            at = ("pathway", "nodes", i)
            if node.globalConfig is not None and node.globalConfig.globalPrompt:
                self._prompts.append(node.globalConfig.globalPrompt)
            if node.id is None or node.data is None:
                continue
            if node.id in self._nodes:
                self._wrong((*at, "id"), f'node "{node.id}": there are two with this id')
            self._nodes[node.id] = (node, node.data, at)
        self._edges: dict[str, list[tuple[PathwayEdge, Place]]] = {}
        for i, edge in enumerate(pathway.edges):
            at = ("pathway", "edges", i)
            if edge.source not in self._nodes:
                said = (
                    f'edge "{edge.id or i}": comes from "{edge.source}", and there is no such node'
                )
                self._wrong((*at, "source"), said)
            self._edges.setdefault(edge.source, []).append((edge, at))

    def made(self) -> Graph:
        starts = [id_ for id_, (_, data, _) in self._nodes.items() if data.isStart]
        if not starts:
            self._wrong(("pathway", "nodes"), "no node has isStart: true; the flow begins at it")
        for id_ in starts[1:]:
            said = f'node "{id_}": is a second start, beside "{starts[0]}"'
            self._wrong(self._nodes[id_][2], said)
        nodes = {id_: self._node(id_) for id_ in self._nodes}
        for label in self._labels.keys() - self._used:
            said = "no edge, condition or global label of the pathway reads so"
            self._wrong(("labels", label), said)
        for id_ in self._texts.keys() - self._nodes.keys():
            self._wrong(("texts", id_), f'there is no node "{id_}"')
        if self._problems:
            raise Refused(self._problems)
        return Graph(start=starts[0], nodes=nodes, prompt="\n\n".join(self._prompts))

    def _wrong(self, place: Place, said: str) -> None:
        self._problems.append((place, said))

    def _judged(self, label: str, title: str | None = None) -> Condition:
        """What was given for the label, or the model's judgement."""
        for known in (title, label):
            if known is not None and known in self._labels:
                self._used.add(known)
                return self._labels[known]
        return Judged(label)

    def _node(self, id_: str) -> Node:
        node, data, at = self._nodes[id_]
        who, inside = f'node "{id_}"', (*at, "data")
        fixed = data.text or (data.smsBody if data.prompt is None else None)
        texts = self._texts.get(id_, (fixed,) if fixed else ())
        for name, what in (("kb", "a knowledge base"), ("tools", "tools"), ("tool", "a tool")):
            if getattr(data, name):
                self._wrong((*inside, name), f"{who}: has {what}, which is not run here")
        if data.isGlobal and data.globalLabel is None:
            said = f"{who}: is global, and has no globalLabel to be reached by"
            self._wrong((*inside, "isGlobal"), said)
        made = Node(
            id=id_,
            name=data.name or id_,
            texts=texts,
            prompt=None if texts else data.prompt,
            extract=[
                variable
                for i, given in enumerate(data.extractVars)
                for variable in self._extract(
                    who, given.name, given.type, given.description, (*inside, "extractVars", i)
                )
            ],
            until=None if data.condition is None else self._judged(data.condition),
            globally=self._judged(data.globalLabel)
            if data.isGlobal and data.globalLabel is not None
            else None,
            at=inside,
        )
        match node.kind:
            case "end":
                return replace(made, ends=True, waits=False, until=None, extract=())
            case "hand_off":
                why = data.name or "the flow says so"
                return replace(made, hand_off=why, waits=False, until=None, extract=())
            case "webhook":
                made = self._with_edges(replace(made, waits=False, until=None))
                return webhook(made, data, self._wrong)
            case "say":
                made = self._with_edges(made)
                if not data.modelOptions.skipUserResponse:
                    return made
                return without_choice(replace(made, waits=False, until=None))

    def _extract(
        self, who: str, name: str, type_: str, description: str, at: Place
    ) -> Iterator[Variable]:
        wanted = TYPES.get(type_.strip().lower())
        if wanted is None:
            known = "string, integer, number, boolean, date"
            self._wrong(at, f'{who}: "{name}" is of type "{type_}"; known here: {known}')
        else:
            yield Variable(name=name, type=wanted, description=description, at=at)

    def _with_edges(self, made: Node) -> Node:
        """Its edges as they are drawn; one without a label is for when no other fits."""
        edges: list[Edge] = []
        for edge, at in self._edges.get(made.id, []):
            if (label := edge.when) is not None:
                edges.append(Edge(edge.target, self._judged(label, edge.title), at))
            elif made.then is None or made.then == edge.target:
                made = replace(made, then=edge.target, then_at=at)
            else:
                said = f'node "{made.id}": has several edges without a label; which to take?'
                self._wrong(at, said)
        return replace(made, edges=edges)
