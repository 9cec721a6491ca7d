"""What a flow asks of the model, in words; and the model's failures, as an exception of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from textback.core.engine import Said, TurnRequest, Usage
from textback.core.language import LanguageModel, ModelFailed
from textback.engines.flow.graph import Graph, Node, Variable
from textback.engines.flow.matching import as_type
from textback.llm.guard import fault
from textback.llm.model import added
from textback.llm.prompt import Layers, fill, instructions
from textback.llm.talk import tokens

_TYPES: Final[Mapping[str, Mapping[str, object]]] = {
    "date": {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"},
}


MOST_TOKENS: Final = 4000
"""Of the conversation, that the model is shown."""


class Unusable(Exception):  # noqa: N818 - an outcome
    """The model failed; nothing of this turn counts."""


class Judge:
    """The model, over one turn. `usage` adds up what it cost."""

    def __init__(
        self,
        model: LanguageModel | None,
        graph: Graph,
        request: TurnRequest,
        *,
        style: str | None,
        seconds: float,
    ) -> None:
        """`seconds` is for one question."""
        self._model, self._graph, self._request = model, graph, request
        self._style, self._seconds = style, seconds
        self._said: list[Said] = []
        self.usage = Usage()

    def said(self, text: str) -> None:
        """Note what the agent said in this turn, for the model to know."""
        self._said.append(Said(role="agent", text=text, at=self._request.now))

    async def write(
        self, node: Node, variables: Mapping[str, object], known: Mapping[str, object]
    ) -> str:
        """Give the next text. `known`: the variables but those built in. Raises Unusable."""
        prompt = f"{self._graph.prompt}\n\n# What to do now\n{node.prompt or ''}".strip()
        # Filled here, with what is built in: no braces are left for a second time.
        layers = Layers(prompt=_flat(fill(prompt, variables)), style=self._style)
        told = instructions(layers, replace(self._request, variables=known))
        answer = await self._asked(node).write(told, self._transcript(), seconds=self._seconds)
        self._count(node, answer)
        if isinstance(answer, ModelFailed):
            raise Unusable(f'node "{node.id}": {answer.reason}')
        if why := fault(answer.text, prompt=prompt, transcript=self._transcript()):
            raise Unusable(f'node "{node.id}": {why}')
        return answer.text

    async def choose(
        self,
        node: Node,
        options: Sequence[str],
        variables: Mapping[str, object],
        *,
        only_if: str | None,
        restricted: int,
    ) -> int | None:
        """Give the place of the option that fits. The first `restricted` need `only_if` to hold.

        Raises Unusable.
        """
        task = fill(node.prompt or (node.texts[0] if node.texts else ""), variables)
        parts = [
            fill(self._graph.prompt, variables),
            "Decide how the conversation goes on. Which of these describes it best?",
            f"It is at the step {node.name!r}" + (f", whose task is: {task}" if task else "."),
        ]
        if only_if is not None:
            which = "1" if restricted == 1 else f"1 to {restricted}"
            parts.append(
                f"Choose {which} only if this is so: {fill(only_if, variables)}\n"
                "If it is not so yet, none of them fits."
            )
        answer = await self._asked(node).choose(
            "\n\n".join(part for part in parts if part),
            [fill(option, variables) for option in options],
            self._transcript(),
            seconds=self._seconds,
        )
        self._count(node, answer)
        if isinstance(answer, ModelFailed):
            raise Unusable(f'node "{node.id}": {answer.reason}')
        option = answer.option
        return option if option is not None and 0 <= option < len(options) else None

    async def extract(self, node: Node, wanted: Sequence[Variable]) -> dict[str, object]:
        """Give what was said of the variables. Raises Unusable."""
        schema = {
            "type": "object",
            "properties": {
                variable.name: {
                    **_TYPES.get(variable.type, {"type": variable.type}),
                    "description": variable.description or variable.name,
                }
                for variable in wanted
            },
            "additionalProperties": False,
        }
        now = _local_time(self._request)
        told = f"Take from the conversation what the user has said. It is {now}."
        answer = await self._asked(node).extract(
            told, schema, self._transcript(), seconds=self._seconds
        )
        self._count(node, answer)
        if isinstance(answer, ModelFailed):
            raise Unusable(f'node "{node.id}": {answer.reason}')
        found = {
            variable.name: as_type(answer.values[variable.name], variable.type)
            for variable in wanted
            if variable.name in answer.values
        }
        return {name: value for name, value in found.items() if value is not None}

    def _asked(self, node: Node) -> LanguageModel:
        if self._model is None:
            raise Unusable(f'node "{node.id}": needs a model, and the flow has none')
        return self._model

    def _count(self, _: Node, answer: object) -> None:
        usage = getattr(answer, "usage", None)
        if isinstance(usage, Usage):
            self.usage = added(self.usage, usage)

    def _transcript(self) -> Sequence[Said]:
        """The newest texts; a flow keeps in variables what it must not forget."""
        texts = [*self._request.transcript, *self._said]
        first, used = len(texts), 0
        while first and (used := used + tokens(texts[first - 1].text)) <= MOST_TOKENS:
            first -= 1
        return texts[min(first, len(texts) - 1) :] if texts else texts


def _local_time(request: TurnRequest) -> str:
    try:
        zone: tzinfo = ZoneInfo(request.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        zone = UTC
    return request.now.astimezone(zone).strftime("%A, %d %B %Y, %H:%M")


def _flat(words: str) -> str:
    return words.replace("{{", "{ {")
