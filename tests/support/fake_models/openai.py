"""Answers in the words of OpenAI's chat completions."""

import json
from collections.abc import Iterator
from typing import Any

from tests.support.fake_models.answers import Says

NAME = "fake-1"


def whole(answer: Says) -> str:
    message: dict[str, object] = {"role": "assistant", "content": answer.text or None}
    if answer.refused:
        message |= {"content": None, "refusal": answer.text or "No."}
    if answer.calls:
        message["tool_calls"] = [
            {
                "id": f"call_{n}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.written},
            }
            for n, call in enumerate(answer.calls)
        ]
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": NAME,
            "choices": [{"index": 0, "message": message, "finish_reason": _finish(answer)}],
            "usage": _usage(answer),
        }
    )


def streamed(answer: Says) -> Iterator[str]:
    half = len(answer.text) // 2
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if answer.refused:
        deltas.append({"refusal": answer.text or "No."})
    else:
        deltas += [{"content": part} for part in (answer.text[:half], answer.text[half:]) if part]
    for n, call in enumerate(answer.calls):
        begun = {"name": call.name, "arguments": ""}
        deltas.append(
            {"tool_calls": [{"index": n, "id": f"call_{n}", "type": "function", "function": begun}]}
        )
        deltas += [
            {"tool_calls": [{"index": n, "function": {"arguments": char}}]} for char in call.written
        ]
    for delta in deltas:
        yield _chunk([{"index": 0, "delta": delta, "finish_reason": None}])
    if answer.breaks_off:
        return
    yield _chunk([{"index": 0, "delta": {}, "finish_reason": _finish(answer)}])
    yield _chunk([], usage=_usage(answer))
    yield "data: [DONE]\n\n"


def _chunk(choices: list[dict[str, object]], **more: object) -> str:
    chunk = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": NAME,
        "choices": choices,
    }
    return f"data: {json.dumps(chunk | more)}\n\n"


def _finish(answer: Says) -> str:
    if answer.cut:
        return "length"
    return "tool_calls" if answer.calls else "stop"


def _usage(answer: Says) -> dict[str, int]:
    read, wrote = answer.input_tokens, answer.output_tokens
    return {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}
