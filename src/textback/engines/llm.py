"""The llm engine: a language model writes the turn, and calls tools while it thinks."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from textback.core.engine import (
    Analysis,
    AnalysisRequest,
    ToolCall,
    ToolResult,
    TurnFailed,
    TurnReply,
    TurnRequest,
    Usage,
)
from textback.core.language import ModelFailed
from textback.llm.analysis import analysed
from textback.llm.guard import fault
from textback.llm.memory import Remembered, remember
from textback.llm.model import PAUSES, PydanticAiModel, Reply, added
from textback.llm.prompt import Layers, fill, instructions
from textback.llm.settings import LlmConfig
from textback.llm.talk import (
    LONGEST_RESULT,
    Asked,
    Entry,
    NoAnswerError,
    Step,
    Tool,
    shortened,
    talk,
)
from textback.llm.toolbox import Toolbox
from textback.public_network import ANY_WAY, Way

__all__ = ["LlmConfig", "LlmEngine"]

LONGEST: Final = 4_000
"""Characters: no answer by SMS is longer."""

_LONGEST_REASON: Final = 500
_FOR_MEMORY: Final = 0.4
"""Of the turn's time, at most, for summarising."""
_TO_NOTE: Final = 0.5
"""Seconds."""
_NOTED: Final = "Noted. Write your last text to the user now, or nothing."

_END: Final = Tool(
    "end_conversation",
    "End this conversation, after your text: all is done, or the user wants no more of it.",
)
_HAND_OFF: Final = Tool(
    "hand_off",
    "Give this conversation to a person of ours: the user asks for one, or you cannot help.",
    {
        "type": "object",
        "properties": {"reason": {"type": "string", "description": "For the person, short."}},
        "required": ["reason"],
    },
)
_SILENT: Final = Tool(
    "stay_silent", "Write nothing this time: no answer is called for, as after a plain thanks."
)


class LlmEngine:
    """One agent that speaks through a model. Keys and connections are inside, until `close`."""

    can_open: bool = True
    can_analyse: bool = True
    deadline: timedelta

    def __init__(
        self,
        config: LlmConfig,
        *,
        clock: Callable[[], datetime],
        pauses: Sequence[float] = PAUSES,
        way: Way = ANY_WAY,
    ) -> None:
        """`clock` dates signatures; `pauses`: seconds before a model is asked again."""
        self._config = config
        self._model = PydanticAiModel(config.model, pauses=pauses, way=way)
        self._toolbox = Toolbox(config.tools, config.mcp, clock, way)
        self.deadline = timedelta(seconds=config.timeout_seconds)

    async def reply(self, request: TurnRequest) -> TurnReply | TurnFailed:
        turn = _Turn(self._config, self._model, self._toolbox, request)
        limit = asyncio.timeout(self._config.timeout_seconds)
        try:
            async with limit:
                return await turn.run()
        except TimeoutError:
            if not limit.expired():  # somebody else's
                raise
            return TurnFailed(turn.too_late, turn.usage)
        except NoAnswerError as failed:
            return TurnFailed(failed.reason, turn.usage)

    async def analyse(self, request: AnalysisRequest) -> Analysis | TurnFailed:
        return await analysed(self._model, request, seconds=self._config.timeout_seconds)

    async def close(self) -> None:
        await self._model.close()
        await self._toolbox.close()


class _Turn:
    """One run of one turn."""

    def __init__(
        self, config: LlmConfig, model: PydanticAiModel, toolbox: Toolbox, request: TurnRequest
    ) -> None:
        self._config, self._model, self._toolbox = config, model, toolbox
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._ends = self._loop.time() + config.timeout_seconds
        self.too_late = f"no answer within {config.timeout_seconds:g} s"
        self._calls_made = 0
        self._end = self._silent = False
        self._hand_off: str | None = None
        self.usage = Usage()

    async def run(self) -> TurnReply | TurnFailed:
        """Raises NoAnswerError, or TurnLost."""
        config, request = self._config, self._request
        tools = self._own_tools() + await self._toolbox.tools(seconds=self._left())
        request = self._request = await self._finished(request)
        memory = await remember(
            self._model,
            request,
            config.memory.tokens,
            seconds=self._left() * _FOR_MEMORY,
        )
        self.usage = added(self.usage, memory.usage)
        told = instructions(
            Layers(
                prompt=config.prompt, style=config.style, business_profile=config.business_profile
            ),
            request,
            summary=memory.summary,
        )
        entries = talk(memory.transcript, memory.calls, tools=[tool.name for tool in tools])
        text = await self._answer(told, entries, tools)
        return self._reply(text, memory)

    async def _finished(self, request: TurnRequest) -> TurnRequest:
        """End what an earlier run of this turn began, and whose worker died over it.

        The call is made again under its first id, by which the tool can tell.
        """
        calls: list[ToolCall] = []
        for call in request.calls:
            if call.result is None and call.turn_id == request.turn_id:
                asked = Asked(call.call_id, call.name, call.arguments)
                calls.append(replace(call, result=await self._call(asked)))
            else:
                calls.append(call)
        return replace(request, calls=calls)

    async def _answer(self, told: str, entries: list[Entry], tools: Sequence[Tool]) -> str:
        """Ask, call and ask again until there is a text, or the model decided on none."""
        for _ in range(self._config.most_calls + 2):
            spent = self._calls_made >= self._config.most_calls
            reply = await self._model.ask(
                told, entries, tools, choice="none" if spent else "auto", seconds=self._left()
            )
            if isinstance(reply, ModelFailed):
                self.usage = added(self.usage, reply.usage)
                raise NoAnswerError(reply.reason)
            self.usage = added(self.usage, reply.usage)
            decided = self._decide(reply)
            if all(decided) and (reply.text or self._silent or not decided):
                return "" if self._silent else reply.text
            results = [
                noted or await self._call(asked)
                for asked, noted in zip(reply.calls, decided, strict=True)
            ]
            entries.append(Step(text=reply.text, calls=reply.calls, results=results, raw=reply.raw))
        raise NoAnswerError("the model called tools and never came to an answer")

    def _own_tools(self) -> list[Tool]:
        config = self._config
        allowed = (
            (_END, config.may_end),
            (_HAND_OFF, config.may_hand_off),
            (_SILENT, config.may_stay_silent),
        )
        return [tool for tool, may in allowed if may]

    def _decide(self, reply: Reply) -> list[ToolResult | None]:
        """Note what the model decided by tools of ours; a result for each call, None for others."""
        names = {tool.name for tool in self._own_tools()}
        found: list[ToolResult | None] = []
        for asked in reply.calls:
            if asked.name not in names:
                found.append(None)
                continue
            found.append(ToolResult(_NOTED))
            if asked.name == _END.name:
                self._end = True
            elif asked.name == _HAND_OFF.name:
                reason = str((asked.arguments or {}).get("reason") or "").strip()
                self._hand_off = reason[:_LONGEST_REASON] or "the agent asked for a person"
            else:
                self._silent = True
        return found

    async def _call(self, asked: Asked) -> ToolResult:
        if self._calls_made >= self._config.most_calls:
            return ToolResult("Not done: that is enough for now. Answer the user.", failed=True)
        self._calls_made += 1
        # Ends before the turn does, so that its result is noted and the next run has it.
        seconds = max(self._left() - _TO_NOTE, _TO_NOTE / 10)
        result = await self._toolbox.call(asked, self._request, seconds=seconds)
        return shortened(result, LONGEST_RESULT)

    def _reply(self, text: str, memory: Remembered) -> TurnReply | TurnFailed:
        if text or not (self._silent or self._end or self._hand_off):
            wrong = fault(text, prompt=self._secret_words(), transcript=self._request.transcript)
            if wrong is None and len(text) > LONGEST:
                wrong = f"the model wrote over {LONGEST} characters"
            if wrong is not None and self._hand_off is None:
                return TurnFailed(wrong, self.usage)
            if wrong is not None:  # a person finds better words
                text = ""
        return TurnReply(
            texts=(text,) if text else (),
            end_conversation=self._end,
            hand_off=self._hand_off,
            state=memory.state,
            usage=self.usage,
        )

    def _secret_words(self) -> str:
        config = self._config
        own = [config.prompt, config.business_profile or "", config.style or ""]
        return fill("\n".join(own), self._request.variables)

    def _left(self) -> float:
        left = self._ends - self._loop.time()
        if left <= 0:
            raise NoAnswerError(self.too_late)
        return left
