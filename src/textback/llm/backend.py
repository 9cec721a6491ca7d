"""pydantic-ai, and nothing of it elsewhere. Costs seconds and 80 MB to import: `model` does, late.

What its errors say may quote prompts, keys and bodies; only kinds and numbers leave this file.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
from genai_prices import calc_price
from pydantic_ai import exceptions
from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.settings import ModelSettings as RequestSettings
from pydantic_ai.tools import ToolDefinition

from textback.core.engine import Usage
from textback.llm import public
from textback.llm.settings import ModelSettings
from textback.llm.talk import (
    Answer,
    Asked,
    Choice,
    Entry,
    Line,
    NoAnswerError,
    Tool,
    read_object,
    storable,
)
from textback.llm.tools import tls
from textback.public_network import Way, refusal

_VENDORS: Final = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}
_THEIR_FAULT: Final = 500


class Backend:
    """One model over pydantic-ai. Holds a pool of connections until `close`."""

    def __init__(self, settings: ModelSettings, way: Way) -> None:
        self._settings = settings
        self._base_url = settings.base_url or _VENDORS[settings.provider]
        self._client = httpx2.AsyncClient(
            timeout=None,  # `model` bounds each request
            follow_redirects=False,  # the key goes where it was addressed, nowhere else
            trust_env=False,
            verify=tls(),
            transport=public.transport(way, settings.base_url, tls()),
            event_hooks={"request": [_say_no_more]},
        )
        self._model = _model(settings, self._base_url, self._client)

    async def request(
        self,
        instructions: str,
        entries: Sequence[Entry],
        tools: Sequence[Tool] = (),
        *,
        choice: Choice = "auto",
        most_tokens: int | None = None,
    ) -> Answer:
        """One request. `most_tokens`: in place of the setting, if more. Raises NoAnswerError."""
        messages = _messages(instructions, entries)
        parameters = ModelRequestParameters(
            function_tools=[
                ToolDefinition(
                    name=tool.name,
                    description=tool.description,
                    parameters_json_schema=dict(tool.parameters),
                )
                for tool in tools
            ]
        )
        settings = self._request_settings(choice if tools else None, most_tokens or 0)
        try:
            if self._settings.stream:
                response = await self._streamed(messages, settings, parameters)
            else:
                response = await model_request(
                    self._model,
                    messages,
                    model_settings=settings,
                    model_request_parameters=parameters,
                )
        except NoAnswerError:
            raise
        except exceptions.ContentFilterError as error:
            raise NoAnswerError("the model's server filtered its answer") from error
        except exceptions.ModelAPIError as error:
            raise _told(error) from error
        except Exception as error:
            # Whatever a server answers, the library's words about it may quote it.
            raise NoAnswerError(
                f"the model's answer could not be read ({type(error).__name__})"
            ) from error
        return self._answer(response)

    async def close(self) -> None:
        await self._client.aclose()

    async def _streamed(
        self,
        messages: list[ModelMessage],
        settings: RequestSettings,
        parameters: ModelRequestParameters,
    ) -> ModelResponse:
        async with model_request_stream(
            self._model, messages, model_settings=settings, model_request_parameters=parameters
        ) as stream:
            async for _ in stream:
                pass
            response = stream.get()
        if response.finish_reason is None:
            raise NoAnswerError("the model's answer broke off", may_pass=True)
        return response

    def _request_settings(self, choice: Choice | None, most_tokens: int) -> RequestSettings:
        ours = self._settings
        most = max(ours.max_output_tokens, most_tokens)
        settings = RequestSettings(max_tokens=most, max_retries=0)
        if ours.thinking is not None:
            settings["thinking"] = False if ours.thinking == "off" else ours.thinking
        if ours.temperature is not None and not ours.thinks:  # then most APIs take none
            settings["temperature"] = ours.temperature
        if choice is not None:
            settings["tool_choice"] = choice
        return settings

    def _answer(self, response: ModelResponse) -> Answer:
        parts = [part.content for part in response.parts if isinstance(part, TextPart)]
        calls = [part for part in response.parts if isinstance(part, ToolCallPart)]
        return Answer(
            text=str(storable("".join(parts))).strip(),
            calls=[Asked(call.tool_call_id, call.tool_name, _arguments(call)) for call in calls],
            cut=response.finish_reason == "length",
            refused=response.finish_reason == "content_filter",
            usage=self._usage(response),
            raw=response,
        )

    def _usage(self, response: ModelResponse) -> Usage:
        used = response.usage
        prices = self._settings.prices
        if prices is not None:
            cost = (used.input_tokens * prices.input + used.output_tokens * prices.output) / 1e6
        else:
            try:
                # By address and not by name: a server of one's own costs no vendor's price.
                cost = float(
                    calc_price(
                        used, self._settings.name, provider_api_url=self._base_url
                    ).total_price
                )
            except (LookupError, ValueError):
                cost = 0.0
        return Usage(
            input_tokens=used.input_tokens, output_tokens=used.output_tokens, cost_usd=cost
        )


def _model(settings: ModelSettings, base_url: str, client: httpx2.AsyncClient) -> Model[Any]:
    """Import the one vendor's library that is needed: each costs another second and 40 MB."""
    key = settings.api_key.get_secret_value() if settings.api_key else None
    make = _anthropic if settings.provider == "anthropic" else _openai
    return make(settings.name, key, base_url, client)


def _anthropic(name: str, key: str | None, base_url: str, client: httpx2.AsyncClient) -> Model[Any]:
    from pydantic_ai.models.anthropic import AnthropicModel  # noqa: PLC0415
    from pydantic_ai.providers.anthropic import AnthropicProvider  # noqa: PLC0415

    provider = AnthropicProvider(api_key=key or "", base_url=base_url, http_client=client)
    return AnthropicModel(name, provider=provider)


def _openai(name: str, key: str | None, base_url: str, client: httpx2.AsyncClient) -> Model[Any]:
    from pydantic_ai.models.openai import OpenAIChatModel  # noqa: PLC0415
    from pydantic_ai.profiles.openai import OpenAIModelProfile  # noqa: PLC0415
    from pydantic_ai.providers.openai import OpenAIProvider  # noqa: PLC0415
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider  # noqa: PLC0415

    host = urlsplit(base_url).hostname or ""
    # A stream that breaks off is no answer.
    profile = OpenAIModelProfile(openai_chat_streaming_requires_finish_reason=True)
    if host.endswith(".openai.com"):
        own = OpenAIProvider(base_url=base_url, api_key=key or "", http_client=client)
        return OpenAIChatModel(name, provider=own, profile=profile)
    # Servers other than OpenAI's own know the older name, and some no other.
    profile["openai_chat_supports_max_completion_tokens"] = host.endswith(".azure.com")
    compatible = OpenAICompatibleProvider(
        "openai-compatible", base_url=base_url, api_key=key, http_client=client
    )
    return OpenAIChatModel(name, provider=compatible, profile=profile)


async def _say_no_more(request: httpx2.Request) -> None:
    """OpenAI's library adds these from the server's environment, whoever it speaks to."""
    for name in ("openai-organization", "openai-project"):
        request.headers.pop(name, None)


def _messages(instructions: str, entries: Sequence[Entry]) -> list[ModelMessage]:
    messages: list[ModelMessage] = []
    for entry in entries:
        if isinstance(entry, Line):
            if entry.by == "user":
                messages.append(ModelRequest(parts=[UserPromptPart(entry.text)]))
            else:
                messages.append(ModelResponse(parts=[TextPart(entry.text)]))
            continue
        if isinstance(entry.raw, ModelResponse):
            messages.append(entry.raw)
        else:
            said: list[Any] = [TextPart(entry.text)] if entry.text else []
            asked = [
                ToolCallPart(call.name, dict(call.arguments or {}), call.call_id)
                for call in entry.calls
            ]
            messages.append(ModelResponse(parts=[*said, *asked]))
        returned = [
            ToolReturnPart(
                call.name,
                result.text,
                call.call_id,
                outcome="failed" if result.failed else "success",
            )
            for call, result in zip(entry.calls, entry.results, strict=True)
        ]
        messages.append(ModelRequest(parts=returned))
    # The last request's are sent; the library looks for them there.
    last = next(m for m in reversed(messages) if isinstance(m, ModelRequest))
    last.instructions = instructions
    return messages


def _arguments(call: ToolCallPart) -> Mapping[str, object] | None:
    if not call.args:
        return {}
    return read_object(call.args if isinstance(call.args, str) else json.dumps(call.args))


_QUOTA: Final = "the account's quota with the model's maker is used up"
_KINDS: Final[tuple[tuple[type[exceptions.ModelAPIError], str, bool], ...]] = (
    (exceptions.ModelQuotaExceededError, _QUOTA, False),
    (exceptions.ModelRateLimitError, "the model's server is limiting us", True),
    (exceptions.ModelUnavailableError, "the model's server failed", True),
    (exceptions.ModelServerError, "the model's server failed", True),
    (exceptions.ModelConnectionError, "no connection with the model's server, or it broke", True),
    (exceptions.ModelAuthenticationError, "the model's server refused the key", False),
    (exceptions.ModelNotFoundError, "the model's server knows no such model", False),
    (exceptions.ModelContextWindowExceededError, "this is more than the model can read", False),
    (exceptions.ModelHTTPError, "the model's server refused the request", False),
)
"""What the first that fits says, and whether it may pass."""


def _told(error: exceptions.ModelAPIError) -> NoAnswerError:
    if (why := refusal(error)) is not None:
        return NoAnswerError(f"the model was not asked: {why}")
    fits = (rest for kind, *rest in _KINDS if isinstance(error, kind))
    reason, may_pass = next(fits, ("the model's answer broke off, or is none", True))
    if isinstance(error, exceptions.ModelHTTPError):
        reason = f"{reason} (HTTP {error.status_code})"
        may_pass = may_pass or error.status_code >= _THEIR_FAULT
    return NoAnswerError(str(reason), may_pass=bool(may_pass), retry_after=error.retry_after)
