"""What is wrong with a graph: each problem names its node."""

from collections.abc import Iterator

from textback.engines.flow.graph import MAX_TEXTS, Called, Graph, Judged, Node, Place

Problems = Iterator[tuple[Place, str]]


def problems(graph: Graph, *, has_model: bool, strict: bool) -> Problems:
    """`strict`: nothing may be left over, as it may be in what another vendor's editor made.

    Its targets are checked first: what else is wrong can only be said of a graph that hangs
    together.
    """
    lost = list(_without_target(graph))
    yield from lost
    for node in graph.nodes.values():
        yield from _of_one(graph, node, has_model=has_model, strict=strict)
    if lost or graph.start not in graph.nodes:
        return
    if strict:
        yield from _unreachable(graph)
    yield from _endless(graph)


def _without_target(graph: Graph) -> Problems:
    for node in graph.nodes.values():
        for to, place in node.targets:
            if to not in graph.nodes:
                yield place, f'node "{node.id}": leads to "{to}", and there is no such node'
    to = graph.unclear.to
    if to is not None and to not in graph.nodes:
        yield ("unclear", "to"), f'leads to "{to}", and there is no such node'


def _of_one(graph: Graph, node: Node, *, has_model: bool, strict: bool) -> Problems:
    who = f'node "{node.id}"'
    if not has_model:
        for place, need in _needs_model(node):
            yield place, f"{who}: {need}, and the flow has no model"
    for edge in node.edges:
        if isinstance(edge.when, Called) and node.call is None:
            yield edge.at, f"{who}: goes by the result of a call, and makes none"
    if isinstance(node.globally, Called) or isinstance(node.until, Called):
        yield node.at, f"{who}: only an edge can go by a call's result"
    if strict:
        for lack in (*_lacks(graph, node), *_cannot_wait(graph, node)):
            yield node.at, f"{who}: {lack}"


def _lacks(graph: Graph, node: Node) -> Iterator[str]:
    """What keeps the flow from going on after this node."""
    if node.ends or node.hand_off is not None:
        return
    if node.is_aside and node.id != graph.start:
        pass
    elif node.call is not None:
        results = {edge.when.well for edge in node.edges if isinstance(edge.when, Called)}
        if node.then is None and results != {True, False}:
            yield "calls, so it needs `then`, or an edge for each result: success and failure"
    elif node.waits and not node.edges and node.then is None:
        yield "waits for the user, and has no edges to follow; or is it the end?"
    elif not node.waits and node.then is None:
        yield "does not wait for the user, so it needs `then`, for when no edge fits"


def _cannot_wait(graph: Graph, node: Node) -> Iterator[str]:
    if node.waits:
        return
    if node.until is not None:
        yield "does not wait for the user, so `until` could never be met"
    for to, _ in node.targets:
        if to in graph.nodes and graph.nodes[to].is_aside:
            yield f'leads to "{to}", which is an aside, and nothing waits to be gone back to'


def _needs_model(node: Node) -> Problems:
    """Where, and what for."""
    if node.prompt is not None:
        yield (*node.at, "prompt"), "has a prompt"
    for variable in node.extract:
        if variable.pattern is None:
            yield variable.at, f'extracts "{variable.name}" without a pattern'
    for edge in node.edges:
        if isinstance(edge.when, Judged):
            yield edge.at, f'has the edge "{edge.when.label}", which is a matter of judgement'
    if isinstance(node.until, Judged):
        yield (*node.at, "until"), f'stays until "{node.until.label}", a matter of judgement'
    if isinstance(node.globally, Judged):
        yield (*node.at, "globally"), f'is global for "{node.globally.label}"'


def _unreachable(graph: Graph) -> Problems:
    reached: set[str] = set()
    entries = [node.id for node in graph.nodes.values() if node.entry or node.globally is not None]
    found = [graph.start, *entries, *([graph.unclear.to] if graph.unclear.to else [])]
    while found:
        here = found.pop()
        if here not in reached:
            reached.add(here)
            found += [to for to, _ in graph.nodes[here].targets]
    for node in graph.nodes.values():
        if node.id not in reached:
            said = "nothing leads here; `entry: true` if a caller is to start conversations here"
            yield node.at, f'node "{node.id}": {said}'


def straight_on(node: Node) -> list[str]:
    """Where it can lead before the user says anything more."""
    if node.waits or node.ends or node.hand_off is not None or node.is_aside:
        return []
    return [to for to in (*(edge.to for edge in node.edges), node.then) if to is not None]


def _inside_out(graph: Graph) -> tuple[list[str], list[str]]:
    """The nodes, each after those that it leads straight on to; or, second, a circle of them."""
    order: list[str] = []
    done: set[str] = set()
    for first in graph.nodes:
        path: list[str] = []
        todo: list[tuple[str, bool]] = [(first, False)]
        while todo:
            here, left = todo.pop()
            if left:
                order.append(path.pop())
                done.add(here)
            elif here in path:
                return order, [*path[path.index(here) :], here]
            elif here not in done:
                path.append(here)
                todo.append((here, True))
                todo += [(to, False) for to in straight_on(graph.nodes[here])]
    return order, []


def _endless(graph: Graph) -> Problems:
    """What would run for ever, or say too much, before the user can say a word."""
    order, circle = _inside_out(graph)
    if circle:
        shown = " -> ".join(f'"{id_}"' for id_ in circle)
        said = f"goes round in a circle without waiting for the user: {shown}"
        yield graph.nodes[circle[0]].at, f'node "{circle[0]}": {said}'
        return
    most: dict[str, int] = {}
    for id_ in order:
        node = graph.nodes[id_]
        most[id_] = node.speaks + max((most[to] for to in straight_on(node)), default=0)
        if most[id_] > MAX_TEXTS:
            said = f"from here on it says more than {MAX_TEXTS} texts without waiting for the user"
            yield node.at, f'node "{id_}": {said}'
            return
