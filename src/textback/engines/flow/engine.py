"""The flow engine: walks a graph, one turn at a time; what it must know is in the turn's state."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import httpx

from textback.core.engine import (
    Analysis,
    AnalysisRequest,
    TurnFailed,
    TurnReply,
    TurnRequest,
)
from textback.core.language import LanguageModel
from textback.engines.flow.config import FlowConfig
from textback.engines.flow.judge import Judge, Unusable
from textback.engines.flow.matching import Matcher, TooSlow
from textback.engines.flow.state import position
from textback.engines.flow.walk import Walk
from textback.llm.analysis import analysed
from textback.llm.tools import HttpTool
from textback.patterns import Matching
from textback.public_network import ANY_WAY, Way


class FlowEngine:
    """One flow. Holds the model, and a pool of connections for each node that calls."""

    can_open: bool
    can_analyse: bool
    deadline: timedelta

    def __init__(
        self,
        config: FlowConfig,
        *,
        model: LanguageModel | None,
        clock: Callable[[], datetime],
        transport: httpx.AsyncBaseTransport | None = None,
        way: Way = ANY_WAY,
        match_budget: timedelta = timedelta(seconds=1),
    ) -> None:
        """`model` is closed with the engine. `clock` dates the signatures of calls.

        Calls go by `transport`, or else by `way`.
        `match_budget` is for all patterns of a turn: one that backtracks for ever ends there.
        """
        self._match_seconds, self._matching = match_budget.total_seconds(), Matching()
        self._graph = config.graph()
        self._model = model
        self._config = config
        self._tools = {
            node.id: HttpTool(
                node.call.tool, clock, transport=transport or way.transport(node.call.tool.url)
            )
            for node in self._graph.nodes.values()
            if node.call is not None
        }
        self.can_open = config.can_open
        self.can_analyse = model is not None
        self.deadline = timedelta(seconds=config.deadline_seconds)

    async def reply(self, request: TurnRequest) -> TurnReply | TurnFailed:
        """What failed has changed nothing: the turn can be run again."""
        seconds = self.deadline.total_seconds()
        judge = Judge(self._model, self._graph, request, style=self._config.style, seconds=seconds)
        walk = Walk(
            graph=self._graph,
            request=request,
            judge=judge,
            matcher=Matcher(self._match_seconds, self._matching),
            tool=self._tools.__getitem__,
            at=position(request, self._graph),
        )
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await walk.run()
        except TimeoutError:
            if not limit.expired():  # somebody else's
                raise
            return TurnFailed(f"the flow took over {seconds:g} s", judge.usage)
        except (Unusable, TooSlow) as why:
            return TurnFailed(str(why), judge.usage)

    async def analyse(self, request: AnalysisRequest) -> Analysis | TurnFailed:
        if self._model is None:
            return TurnFailed("this flow has no model to analyse with")
        return await analysed(self._model, request, seconds=self.deadline.total_seconds())

    async def close(self) -> None:
        for tool in self._tools.values():
            await tool.close()
        if self._model is not None:
            await self._model.close()
