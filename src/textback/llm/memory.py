"""What an agent remembers of a long conversation: its latest texts, and a summary of the rest.

The summary is kept in the engine's state, with the place of the last text that it covers.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Final

from textback.core.engine import Said, ToolCall, TurnRequest, Usage
from textback.core.frozen import frozen
from textback.core.language import ModelFailed
from textback.llm.model import JUDGE, PydanticAiModel
from textback.llm.talk import LONGEST_EARLIER_RESULT, UNKNOWN_RESULT, Line, quoted, tokens

_SUMMARY_TOKENS: Final = 600
_LONGEST_SUMMARY: Final = 3_000
_MOST_TO_READ: Final = 20_000
"""Tokens that are summarised at once; of more, the newest."""

_SUMMARISE: Final = f"""\
{JUDGE}

Summarise it for the agent who goes on with it, in at most 150 words: what the user wants, names,
dates, numbers, what was agreed or promised, what is open. Only what was said. Plain text."""


@frozen
class Remembered:
    summary: str | None
    transcript: Sequence[Said]
    calls: Sequence[ToolCall]
    state: Mapping[str, object] | None
    """To be kept; None: as it was."""
    usage: Usage = field(default_factory=Usage)


async def remember(
    model: PydanticAiModel, request: TurnRequest, budget: int, *, seconds: float
) -> Remembered:
    """Cut the conversation to about `budget` tokens.

    What is over it is summarised until half of the budget is free again, so that not every turn
    pays for that. Without a summary older texts are left out, and the next turn tries again.
    """
    summary, upto = _read(request.state)
    texts = [said for said in request.transcript if upto is None or said.seq > upto]
    calls = _since(texts, request.calls)
    if sum(map(_weight, texts)) + sum(map(_call_weight, calls)) <= budget:
        return Remembered(summary=summary, transcript=texts, calls=calls, state=None)
    first = _first_kept(texts, calls, budget // 2)
    older, kept = texts[:first], texts[first:]
    left_out = Remembered(summary=summary, transcript=kept, calls=_since(kept, calls), state=None)
    if not older or older[-1].seq >= kept[0].seq:  # without places there is nothing to go by
        return left_out
    gone = [call for call in calls if call not in left_out.calls]
    written = await _summarised(model, summary, older, gone, seconds)
    if isinstance(written, ModelFailed):
        return Remembered(
            summary=summary,
            transcript=kept,
            calls=left_out.calls,
            state=None,
            usage=written.usage,
        )
    text, usage = written
    return Remembered(
        summary=text,
        transcript=kept,
        calls=left_out.calls,
        state={"summary": text, "upto": older[-1].seq},
        usage=usage,
    )


def _read(state: Mapping[str, object]) -> tuple[str | None, int | None]:
    summary, upto = state.get("summary"), state.get("upto")
    if isinstance(summary, str) and isinstance(upto, int):
        return summary, upto
    return None, None


def _since(texts: Sequence[Said], calls: Sequence[ToolCall]) -> Sequence[ToolCall]:
    return [call for call in calls if not texts or call.at >= texts[0].at]


def _weight(said: Said) -> int:
    return tokens(said.text)


def _call_weight(call: ToolCall) -> int:
    result = call.result.text[:LONGEST_EARLIER_RESULT] if call.result else ""
    return tokens(f"{dict(call.arguments)}{result}")


def _first_kept(texts: Sequence[Said], calls: Sequence[ToolCall], budget: int) -> int:
    """The newest that fit; at least all that the user said last."""
    first, used = len(texts), 0
    for n in range(len(texts) - 1, -1, -1):
        upper = texts[n + 1].at if n + 1 < len(texts) else None
        used += _weight(texts[n]) + sum(
            _call_weight(call)
            for call in calls
            if call.at >= texts[n].at and (upper is None or call.at < upper)
        )
        newest = all(said.role == "user" for said in texts[n:])
        if used > budget and not newest:
            break
        first = n
    return min(first, len(texts) - 1)


async def _summarised(
    model: PydanticAiModel,
    before: str | None,
    older: Sequence[Said],
    calls: Sequence[ToolCall],
    seconds: float,
) -> tuple[str, Usage] | ModelFailed:
    found: list[Said] = []
    used = 0
    for said in reversed(older):
        used += _weight(said)
        if used > _MOST_TO_READ and found:
            break
        found.insert(0, said)
    parts = [f"What was said before, in short: {before}"] if before else []
    parts.append(quoted(found))
    if calls:
        parts.append("The agent used these tools:\n" + "\n".join(map(_told, calls)))
    reply = await model.ask(
        _SUMMARISE,
        [Line("user", "\n\n".join(parts))],
        most_tokens=_SUMMARY_TOKENS,
        seconds=seconds,
    )
    if isinstance(reply, ModelFailed):
        return reply
    if not reply.text:
        return ModelFailed(reason="the summary is empty", usage=reply.usage)
    return reply.text[:_LONGEST_SUMMARY], reply.usage


def _told(call: ToolCall) -> str:
    result = call.result.text[:LONGEST_EARLIER_RESULT] if call.result else UNKNOWN_RESULT
    called = {"tool": call.name, "arguments": dict(call.arguments), "result": result}
    return json.dumps(called, ensure_ascii=False, default=str)
