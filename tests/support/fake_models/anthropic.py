"""Answers in the words of Anthropic's messages."""

import json
from collections.abc import Iterator
from typing import Any

from tests.support.fake_models.answers import Says

NAME = "fake-1"


def whole(answer: Says) -> str:
    blocks: list[dict[str, object]] = []
    if answer.text:
        blocks.append({"type": "text", "text": answer.text})
    for n, call in enumerate(answer.calls):
        # This API gives arguments as JSON, so bad ones are of another type than an object.
        given: object = call.arguments if call.raw is None else call.raw
        blocks.append({"type": "tool_use", "id": f"toolu_{n}", "name": call.name, "input": given})
    message = _message() | {"content": blocks, "stop_reason": _stop(answer)}
    return json.dumps(message | {"usage": _usage(answer)})


def streamed(answer: Says) -> Iterator[str]:
    begun = _message()
    begun |= {"content": [], "stop_reason": None, "usage": _usage(answer) | {"output_tokens": 1}}
    yield _event("message_start", message=begun)
    index = 0
    if answer.text:
        half = len(answer.text) // 2
        block: dict[str, object] = {"type": "text", "text": ""}
        yield _event("content_block_start", index=index, content_block=block)
        for part in (answer.text[:half], answer.text[half:]):
            delta = {"type": "text_delta", "text": part}
            yield _event("content_block_delta", index=index, delta=delta)
        if answer.breaks_off:
            return
        yield _event("content_block_stop", index=index)
        index += 1
    for n, call in enumerate(answer.calls):
        block = {"type": "tool_use", "id": f"toolu_{n}", "name": call.name, "input": {}}
        yield _event("content_block_start", index=index, content_block=block)
        delta = {"type": "input_json_delta", "partial_json": call.written}
        yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)
        index += 1
    end = {"stop_reason": _stop(answer), "stop_sequence": None}
    yield _event("message_delta", delta=end, usage={"output_tokens": answer.output_tokens})
    yield _event("message_stop")


def _message() -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": NAME,
        "stop_sequence": None,
    }


def _event(kind: str, **fields: object) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | fields)}\n\n"


def _stop(answer: Says) -> str:
    if answer.refused:
        return "refusal"
    if answer.cut:
        return "max_tokens"
    return "tool_use" if answer.calls else "end_turn"


def _usage(answer: Says) -> dict[str, int]:
    return {"input_tokens": answer.input_tokens, "output_tokens": answer.output_tokens}
