"""The scripted engine: from regular expressions to replies; deterministic, nothing from outside."""

import asyncio
import re
import time
from datetime import timedelta
from typing import Annotated, Literal

import regex
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from textback.core.engine import Analysis, AnalysisRequest, TurnFailed, TurnReply, TurnRequest
from textback.core.policy import MAX_TEXT
from textback.patterns import Matching

_PLACEHOLDER = re.compile(r"\{([0-9]+|[^\W0-9]\w*)\}")


def compiled(pattern: str) -> regex.Pattern[str]:
    """Compile; raise a ValueError that names the pattern, what is wrong and where."""
    try:
        return regex.compile(pattern)
    except (regex.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error


def _compiles(pattern: str) -> str:
    compiled(pattern)
    return pattern


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("holds a NUL")
    return text


Pattern = Annotated[str, StringConstraints(min_length=1), AfterValidator(_compiles)]
Template = Annotated[str, StringConstraints(max_length=MAX_TEXT), AfterValidator(_without_nul)]


class Rule(BaseModel):
    """If `match` is found anywhere in what the user said, say `reply`; blank: stay silent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    match: Pattern
    reply: Template
    end_conversation: bool = False


class ScriptedConfig(BaseModel):
    """`engine: {kind: scripted, ...}` of an agent. No rule matches and no default: silence.

    In `reply` and `default`, `{text}` stands for all the user said; in `reply`, `{0}` for what the
    pattern found and `{1}` or `{name}` for its groups (empty if a group took no part). Other braces
    stay as they are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["scripted"] = "scripted"
    rules: tuple[Rule, ...] = ()
    default: Template | None = None


class ScriptedEngine:
    """Rules are tried in order; the first that matches answers."""

    can_open: bool = False
    can_analyse: bool = False
    deadline: timedelta

    def __init__(
        self, config: ScriptedConfig, *, match_budget: timedelta = timedelta(seconds=1)
    ) -> None:
        """`match_budget` is for all rules of a turn: a pattern that backtracks for ever ends there.

        Raises ValueError on a pattern that does not compile.
        """
        self._budget = match_budget.total_seconds()
        # Much more, because `regex` counts processor time, which a busy machine gives slowly.
        self.deadline = 5 * match_budget
        self._rules = tuple((compiled(rule.match), rule) for rule in config.rules)
        self._default = config.default
        self._matching = Matching()

    async def reply(self, request: TurnRequest) -> TurnReply | TurnFailed:
        # In a thread that lets go of the interpreter while it matches: however bad a pattern is,
        # the worker's other turns go on.
        try:
            async with asyncio.timeout(self.deadline.total_seconds()):
                return await self._matching.run(self._decide, request.heard)
        except TimeoutError:
            return TurnFailed("matching got too little processor time")

    async def analyse(self, request: AnalysisRequest) -> Analysis | TurnFailed:
        del request
        return TurnFailed("this kind of engine does not analyse")

    async def close(self) -> None:
        """Nothing is held."""

    def _decide(self, heard: str) -> TurnReply | TurnFailed:
        ends = time.process_time() + self._budget
        for pattern, rule in self._rules:
            left = max(0.001, ends - time.process_time())
            try:
                found = pattern.search(heard, concurrent=True, timeout=left)
            except TimeoutError:
                return TurnFailed(f"matching took over {self._budget:g} s, last {rule.match!r}")
            if found:
                said = _filled(rule.reply, heard, found)
                return TurnReply(texts=said, end_conversation=rule.end_conversation)
        return TurnReply(texts=_filled(self._default or "", heard, None))


def _filled(template: str, heard: str, found: regex.Match[str] | None) -> tuple[str, ...]:
    """Give the one text to say, or none. What users said is put in as it is, not expanded again."""

    def value(placeholder: re.Match[str]) -> str:
        name = placeholder[1]
        if name == "text":
            return heard
        if found is None:
            return placeholder[0]
        try:
            return found[int(name) if name.isdecimal() else name] or ""
        except IndexError:  # no such group: the operator's own braces
            return placeholder[0]

    # Cut only because the user's words may be repeated here: several texts in one turn, or {text}
    # twice, can pass the limit of one text. What the operator wrote was checked.
    said = _PLACEHOLDER.sub(value, template)[:MAX_TEXT]
    return (said,) if said.strip() else ()
