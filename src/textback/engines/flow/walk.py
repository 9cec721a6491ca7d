"""One turn's walk through a graph: from the node that waited to the next one that waits."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from textback.core.engine import TurnReply, TurnRequest
from textback.engines.flow.calling import call
from textback.engines.flow.graph import Condition, Graph, Judged, Keywords, Matches, Node
from textback.engines.flow.judge import Judge, Unusable
from textback.engines.flow.matching import Matcher
from textback.engines.flow.state import Position
from textback.engines.flow.templates import storable
from textback.llm.prompt import fill
from textback.llm.tools import HttpTool

LONGEST = 4_000
"""Characters; what is longer than a text is split before it is sent."""
MOST_UNCLEAR = 2
"""How often a fixed text is repeated, if the settings do not say."""
MOST_UNCLEAR_PROMPTED = 10
"""A prompt can go on talking: to be still at its node is not yet to be stuck."""


@dataclass(kw_only=True)
class Walk:
    """`finish` gives the answer. Raises Unusable, TooSlow, TurnLost; then nothing counts."""

    graph: Graph
    request: TurnRequest
    judge: Judge
    matcher: Matcher
    tool: Callable[[str], HttpTool]
    """By the node's id."""
    at: Position
    texts: list[str] = field(default_factory=list[str])
    pending: str | None = None
    """What the user said and nothing has answered yet."""

    async def run(self) -> TurnReply:
        node = self._where()
        heard = self.request.heard
        if node is None:
            return await self._begin(heard)
        if node.waits and heard:
            return await self._answered(node, heard)
        self.pending = heard or None
        if node.ends or node.hand_off is not None:  # it was over, and somebody took it up again
            return await self._enter(node.then or self.graph.start)
        return await self._enter(node.id, silently=bool(heard))

    def _where(self) -> Node | None:
        return None if self.at.node is None else self.graph.nodes[self.at.node]

    async def _begin(self, heard: str) -> TurnReply:
        start = self.at.entry or self.graph.start
        opened = next((said.role for said in self.request.transcript), None) in {"agent", "person"}
        if not heard:
            return await self._enter(start)
        self.pending = heard
        # Words of the caller's opened: they stand for the start's own (Bland's agent_message).
        return await self._enter(start, silently=opened)

    # --- What the user said ---------------------------------------------------------------------

    async def _answered(self, node: Node, heard: str) -> TurnReply:
        self.pending = None
        await self._extract(node, heard)
        to = await self._next(node, heard)
        if to is None:
            return await self._unclear(node)
        return await self._enter(to)

    async def _next(self, node: Node, heard: str, *, called: bool | None = None) -> str | None:
        """Where to: what can be decided without the model goes first, then one question to it.

        `until` holds the node's own edges back; the way to a global node is always open.
        """
        until = node.until
        gate = until.label if isinstance(until, Judged) else None
        is_open = until is None or gate is not None or await self._first([(until, "")], heard) == ""
        own = [(edge.when, edge.to) for edge in node.edges] if is_open else []
        to = await self._first(own, heard, called=called)
        if to is not None and gate is None:
            return to
        others = [(n.globally, n.id) for n in self.graph.globals if n.id != node.id and n.globally]
        others = others if node.waits else []
        elsewhere = await self._first(others, heard, called=called)
        if elsewhere is not None:
            return elsewhere
        options = [(when.label, to) for when, to in own if isinstance(when, Judged)]
        if gate is not None and (to or node.then):
            # Its edge is found already: what is left to judge is whether it is time to go.
            options = [(gate, to)] if to else [*options, (gate, node.then or "")]
        restricted = len(options)
        options += [(when.label, to) for when, to in others if isinstance(when, Judged)]
        if options:
            chosen = await self.judge.choose(
                node,
                [label for label, _ in options],
                self.told,
                only_if=gate if restricted else None,
                restricted=restricted,
            )
            if chosen is not None:
                self.pending = None
                return options[chosen][1]
        return node.then if is_open and gate is None else None

    async def _first(
        self, ways: Sequence[tuple[Condition, str]], heard: str, *, called: bool | None = None
    ) -> str | None:
        """Where the first leads that fits; those that the model is to judge are passed over."""
        for when, to in ways:
            if not isinstance(when, Judged) and await self.matcher.fits(
                when, heard, self.variables, called=called
            ):
                if isinstance(when, Keywords | Matches):
                    self.pending = None  # it has done its work
                return to
        return None

    async def _extract(self, node: Node, heard: str) -> None:
        if not node.extract:
            return
        found: dict[str, object] = {}
        for variable in node.extract:
            value = await self.matcher.extract(variable, heard)
            if value is not None:
                found[variable.name] = value
        asked = [variable for variable in node.extract if variable.pattern is None]
        if asked:
            answered = await self.judge.extract(node, asked)
            found |= {name: storable(value) for name, value in answered.items()}
        self.at = replace(self.at, variables={**self.at.variables, **found})

    async def _unclear(self, node: Node) -> TurnReply:
        """No edge fits: stay and say so, a few times."""
        unclear = node.unclear or self.graph.unclear
        if not unclear.texts and not node.speaks:
            return self._waiting(node)
        times = unclear.times
        if times is None:
            prompted = node.prompt is not None and not unclear.texts
            times = MOST_UNCLEAR_PROMPTED if prompted else MOST_UNCLEAR
        if self.at.unclear >= times:
            if unclear.to is not None:
                return await self._enter(unclear.to)
            why = f'the user said {times + 1} times what fits no edge of "{node.name}"'
            self.at = replace(self.at, unclear=0)
            if unclear.then == "end":
                return self._reply(end=True)
            return self._reply(hand_off=why)
        self.at = replace(self.at, unclear=self.at.unclear + 1)
        if unclear.texts:
            self._say(self._one_of(node, unclear.texts))
        else:
            await self._speak(node)
        return self._reply()

    # --- On to the next node --------------------------------------------------------------------

    async def _enter(self, node_id: str, *, silently: bool = False) -> TurnReply:
        """Go there, and on to the next that waits. Nodes that do not wait form no circle."""
        for _ in range(len(self.graph.nodes) + 1):
            node = self.graph.nodes[node_id]
            origin = self._where()
            if node.is_aside and origin is not None and origin.waits and origin.id != node.id:
                await self._speak(node)
                self.at = replace(self.at, unclear=0)
                return self._reply()
            came_from = self.at.came_from if self.at.node == node.id else self.at.node
            self.at = replace(self.at, node=node.id, came_from=came_from, unclear=0)
            if not silently:
                await self._speak(node)
            silently = False
            if node.ends or node.hand_off is not None:
                why = None if node.hand_off is None else fill(node.hand_off, self.variables)
                return self._reply(end=node.ends, hand_off=why)
            if node.waits:
                if self.pending is None:
                    return self._waiting(node)
                return await self._answered(node, self.pending)
            to = await self._through(node)
            if to is None:
                return self._waiting(node)
            node_id = to
        raise Unusable(f'node "{node_id}": the flow went on and on without waiting')

    async def _through(self, node: Node) -> str | None:
        """A node that does not wait: take its variables, make its call, decide."""
        heard = self.request.heard
        await self._extract(node, heard)
        if node.call is None:
            return await self._next(node, heard)
        outcome = await call(node, node.call, self.tool(node.id), self.request, self.variables)
        known = {**self.at.variables, **outcome.values}
        self.at = replace(self.at, variables=known, note=outcome.note or self.at.note)
        return await self._next(node, heard, called=outcome.well)

    async def _speak(self, node: Node) -> None:
        if node.texts:
            self._say(self._one_of(node, node.texts))
        elif node.prompt is not None:
            self._say(await self.judge.write(node, self.told, self.known))

    def _one_of(self, node: Node, texts: Sequence[str]) -> str:
        """The same one, however often this turn is run."""
        picked = hashlib.sha256(f"{self.request.turn_id} {node.id}".encode()).digest()
        chosen = texts[int.from_bytes(picked[:8]) % len(texts)]
        return fill(chosen, self.variables)

    def _say(self, text: str) -> None:
        # Cut only because values can be long: what the operator wrote was checked.
        text = text[:LONGEST]
        if text.strip():
            self.texts.append(text)
            self.judge.said(text)
            self.pending = None

    def _waiting(self, node: Node) -> TurnReply:
        self.at = replace(self.at, node=node.id)
        return self._reply()

    def _reply(self, *, end: bool = False, hand_off: str | None = None) -> TurnReply:
        return TurnReply(
            texts=tuple(self.texts),
            end_conversation=end,
            hand_off=hand_off,
            state=self.at.as_json(),
            usage=self.judge.usage,
        )

    @property
    def variables(self) -> Mapping[str, object]:
        """What `{{name}}` stands for: what was taken here, else the caller's, else the built-in."""
        before = self.graph.nodes.get(self.at.came_from or "")
        words = "" if before is None else before.prompt or (before.texts[0] if before.texts else "")
        return {
            "lastUserMessage": self._last_heard(),
            "prevNodePrompt": words,
            "now_utc": self.request.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "from": "",
            "to": "",
            "call_id": self.request.conversation_id,
            "objective": self.request.objective or "",
            **self.known,
        }

    @property
    def known(self) -> Mapping[str, object]:
        return {**self.request.variables, **self.at.variables}

    @property
    def told(self) -> Mapping[str, object]:
        """For prompts: what users and servers said is in quotes there, as the data that it is."""
        theirs = {"lastUserMessage": self._last_heard(), **self.at.variables}
        quoted = {
            name: json.dumps(value, ensure_ascii=False) if isinstance(value, str) else value
            for name, value in theirs.items()
        }
        return {**self.variables, **quoted}

    def _last_heard(self) -> str:
        if self.request.heard:
            return self.request.heard
        said = (s.text for s in reversed(self.request.transcript) if s.role == "user")
        return next(said, "")
