"""Where a conversation is in its flow: what is kept between turns, as JSON."""

from collections.abc import Mapping
from dataclasses import field, replace
from typing import cast

from textback.core.engine import TurnRequest
from textback.core.frozen import frozen
from textback.engines.flow.graph import Graph


@frozen
class Position:
    node: str | None = None
    """The node that waits for the user; None: the flow has not begun."""
    variables: Mapping[str, object] = field(default_factory=dict[str, object])
    """What was taken from what was said and from calls."""
    unclear: int = 0
    """How often in a row the user said what fits no edge of the node."""
    came_from: str | None = None
    """The node before."""
    entry: str | None = None
    """The `start_node` that it began with."""
    note: str | None = None
    """What was odd when it was read."""

    def as_json(self) -> dict[str, object]:
        kept: dict[str, object] = {
            "node": self.node,
            "variables": dict(self.variables),
            "unclear": self.unclear,
            "came_from": self.came_from,
            "entry": self.entry,
            "note": self.note,
        }
        return {name: value for name, value in kept.items() if value not in (None, 0, {})}


def position(request: TurnRequest, graph: Graph) -> Position:
    """Read what was kept. What is not ours, or names a node that is gone, begins again."""
    wanted = request.start_node
    entry = wanted if wanted in graph.nodes else None
    gone = None
    if wanted is not None and entry is None:
        gone = f'there is no node "{wanted}" to start at'
    kept = request.state
    if not kept:
        return Position(entry=entry, note=gone)
    node, variables = kept.get("node"), kept.get("variables", {})
    if node is None and "variables" in kept and isinstance(variables, Mapping):
        known = dict(cast("Mapping[str, object]", variables))  # what was taken outlives the place
        return Position(variables=known, entry=entry, note=gone)
    if not isinstance(node, str) or not isinstance(variables, Mapping):
        return Position(entry=entry, note="what was kept is not this flow's: began again")
    known = dict(cast("Mapping[str, object]", variables))
    if node not in graph.nodes:
        return Position(
            variables=known, entry=entry, note=f'the node "{node}" is gone: began again'
        )
    if entry is not None and entry != kept.get("entry"):  # sent there anew
        return Position(variables=known, entry=entry)
    unclear, came_from = kept.get("unclear", 0), kept.get("came_from")
    found = Position(
        node=node,
        variables=known,
        unclear=unclear if isinstance(unclear, int) else 0,
        came_from=came_from if isinstance(came_from, str) else None,
        entry=entry,
    )
    note = kept.get("note")
    return replace(found, note=gone or (note if isinstance(note, str) else None))
