"""One server on loopback that speaks as OpenAI's API does, and as Anthropic's."""

import asyncio
import importlib
import json
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.support import in_thread
from tests.support.fake_models import anthropic, openai
from tests.support.fake_models.answers import Answer, Fails, Says, says

Provider = Literal["openai", "anthropic"]

_LIBRARIES = (
    "textback.llm.backend",
    "pydantic_ai.models.openai",
    "pydantic_ai.models.anthropic",
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request as it arrived. Header names in lower case; `at` in seconds of a steady clock."""

    provider: Provider
    headers: dict[str, str]
    body: dict[str, Any]
    at: float

    @property
    def instructions(self) -> str:
        if self.provider == "openai":
            return "\n".join(m["content"] for m in self.body["messages"] if m["role"] == "system")
        system: object = self.body.get("system", "")
        return system if isinstance(system, str) else "\n".join(b["text"] for b in _list(system))

    @property
    def messages(self) -> list[dict[str, Any]]:
        """As they were sent, but for the instructions."""
        return [m for m in self.body["messages"] if m["role"] != "system"]

    @property
    def lines(self) -> list[tuple[str, str]]:
        """Who said what; calls as `name(arguments)`, results by `tool`: alike for both APIs."""
        return [line for message in self.messages for line in _lines(message)]

    @property
    def tools(self) -> list[str]:
        tools = self.body.get("tools", [])
        return [tool.get("function", tool)["name"] for tool in tools]

    @property
    def heard(self) -> str:
        """The user's last words."""
        return next((text for role, text in reversed(self.lines) if role == "user"), "")


class ModelServer:
    """`answer` is asked for each request; `asked` keeps what came, oldest first."""

    def __init__(self) -> None:
        self.address = ""
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked], Answer] = lambda _: says("ok")

    def base_url(self, provider: Provider) -> str:
        return f"{self.address}/v1" if provider == "openai" else self.address

    def answers(self, *answers: Answer) -> None:
        """Give these in turn, and the last for ever."""
        self.asked.clear()
        self.answer = lambda _: answers[min(len(self.asked), len(answers)) - 1]

    async def chat_completions(self, request: Request) -> Response:
        return await self._handle(request, "openai")

    async def anthropic_messages(self, request: Request) -> Response:
        return await self._handle(request, "anthropic")

    async def _handle(self, request: Request, provider: Provider) -> Response:
        body: dict[str, Any] = json.loads(await request.body())
        headers = dict(request.headers)
        asked = Asked(provider=provider, headers=headers, body=body, at=time.monotonic())
        self.asked.append(asked)
        answer = self.answer(asked)
        await asyncio.sleep(answer.delay)
        if isinstance(answer, Fails):
            text = json.dumps({"error": {"message": str(headers)}}) if answer.echo else answer.body
            return Response(text, answer.status, answer.headers, answer.content_type)
        speaks = openai if provider == "openai" else anthropic
        if body.get("stream"):
            return StreamingResponse(_sent(speaks.streamed(answer)), media_type="text/event-stream")
        return Response(speaks.whole(answer), media_type="application/json")


async def _sent(chunks: Iterator[str]) -> AsyncGenerator[str]:
    for chunk in chunks:
        yield chunk
        await asyncio.sleep(0)


def _list(value: object) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", value or [])


def _lines(message: dict[str, Any]) -> Iterator[tuple[str, str]]:
    role: str = message["role"]
    content: object = message.get("content")
    if isinstance(content, str):
        yield role, content
    else:
        for block in _list(content):
            yield _block(role, block)
    for call in message.get("tool_calls", []):
        function = call["function"]
        yield role, f"{function['name']}({function['arguments']})"


def _block(role: str, block: dict[str, Any]) -> tuple[str, str]:
    match block["type"]:
        case "tool_use":
            written = json.dumps(block["input"], separators=(",", ":"))
            return role, f"{block['name']}({written})"
        case "tool_result":
            content = block["content"]
            return "tool", content if isinstance(content, str) else content[0]["text"]
        case _:
            return role, block["text"]


@contextmanager
def serving() -> Generator[ModelServer]:
    """Run a server in a thread until the block ends.

    Loads the libraries first: no test's own time is to pay for these seconds.
    """
    for name in _LIBRARIES:
        importlib.import_module(name)
    models = ModelServer()
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", models.chat_completions, methods=["POST"]),
            Route("/v1/messages", models.anthropic_messages, methods=["POST"]),
        ]
    )
    with in_thread.serving(app) as models.address:
        yield models


__all__ = ["Asked", "ModelServer", "Provider", "Says", "serving"]
