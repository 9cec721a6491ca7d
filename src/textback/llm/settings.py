"""What an operator sets for a model, its tools and an agent that speaks through it."""

from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)

from textback.core import signing
from textback.llm.schema import object_schema

_SETTINGS: Final = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

DEFAULT_STYLE: Final = """\
You are texting by SMS.
- Plain text: no markdown, no emoji, no lists, no links but those you were given.
- At most 320 characters; aim for under 160.
- Ask one question per message.
- Write as people text: no greetings again and again, no voice fillers such as "um" or "one moment".
- Write in the user's language.
- Invent nothing. What you were not told and no tool has told you, you do not know: say so."""


def _is_http_url(url: str) -> str:
    wrong = ValueError("must be an address such as https://example.com/path")
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise wrong from error
    if not good or not url.isprintable() or " " in url:
        raise wrong
    if parts.username is not None or parts.password is not None:
        raise ValueError("must hold no password: an address is no secret")
    return url


def _is_signing_secret(secret: SecretStr) -> SecretStr:
    signing.secret_bytes(secret.get_secret_value())
    return secret


def _is_header_value(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if not value or value != value.strip() or not value.isascii() or not value.isprintable():
        raise ValueError("must be printable ASCII, without blanks around it")
    return secret


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("holds a NUL")
    return text


def _are_headers(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    for name in headers:
        if not name.replace("-", "").isalnum() or not name.isascii():
            raise ValueError(f"{name!r} is not the name of a header")
        if name.lower() in _OURS or name.lower().startswith("webhook-"):
            raise ValueError(f"{name} is set by us")
    return headers


_OURS: Final = {"content-type", "content-length", "host", "transfer-encoding", "connection"}

Url = Annotated[str, AfterValidator(_is_http_url)]
Token = Annotated[SecretStr, AfterValidator(_is_header_value)]
Words = Annotated[
    str, StringConstraints(min_length=1, max_length=100_000), AfterValidator(_without_nul)
]
ToolName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z][a-zA-Z0-9_-]{0,47}$")]
Seconds = Annotated[float, Field(gt=0, le=300, allow_inf_nan=False)]


class Prices(BaseModel):
    """US dollars per million tokens."""

    model_config = _SETTINGS

    input: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0
    output: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0


class ModelSettings(BaseModel):
    """One language model. `provider: openai` is every API that speaks as OpenAI's does.

    `timeout_seconds` is for one request, in all. `temperature: null` sends none.
    """

    model_config = _SETTINGS

    provider: Literal["openai", "anthropic"]
    name: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^\S+$")]
    base_url: Url | None = None
    api_key: Token | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = 0.3
    max_output_tokens: Annotated[int, Field(ge=16, le=32_000)] = 400
    thinking: Literal["off", "minimal", "low", "medium", "high"] | None = None
    """How long a model that can think does; None: as its maker has set it."""
    timeout_seconds: Seconds = 30
    stream: bool = False
    retries: Annotated[int, Field(ge=0, le=5)] = 2
    """After a failure that may pass: 429, 5xx, no connection. Only while the turn has time."""
    prices: Prices | None = None
    """None: as the price list that comes with pydantic-ai says, for the vendors' own addresses."""

    @property
    def thinks(self) -> bool:
        """Whether it was told to."""
        return self.thinking not in {None, "off"}

    @model_validator(mode="after")
    def _has_a_key(self) -> "ModelSettings":
        if self.api_key is None and (self.provider == "anthropic" or self.base_url is None):
            raise ValueError("api_key: is needed, but for a server of your own (base_url)")
        return self


class ToolSettings(BaseModel):
    """A function that agents may call: an HTTP endpoint. `parameters`: JSON Schema of an object.

    `timeout_seconds` is for one call, in all. `secret` is `whsec_<base64>`.
    """

    model_config = _SETTINGS

    name: ToolName
    description: Annotated[str, StringConstraints(min_length=1, max_length=4000)]
    parameters: Annotated[dict[str, object], AfterValidator(object_schema)] = Field(
        default_factory=lambda: {"type": "object", "properties": {}}
    )
    url: Url
    secret: Annotated[SecretStr, AfterValidator(_is_signing_secret)] | None = None
    headers: Annotated[dict[str, Token], AfterValidator(_are_headers)] = Field(
        default_factory=dict[str, SecretStr]
    )
    timeout_seconds: Seconds = 10


class McpSettings(BaseModel):
    """A server of tools that speaks the Model Context Protocol over streamable HTTP.

    An agent sees its tools as `{name}_{tool}`. `allow`: the server's names; None: all it has.
    """

    model_config = _SETTINGS

    name: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z][a-zA-Z0-9-]{0,15}$")]
    url: Url
    token: Token | None = None
    allow: tuple[str, ...] | None = None
    timeout_seconds: Seconds = 10


class MemorySettings(BaseModel):
    """How much of what was said a model is shown. Tokens are estimated; the rest is summarised."""

    model_config = _SETTINGS

    tokens: Annotated[int, Field(ge=500, le=200_000)] = 4000
    earlier_conversations: Annotated[int, Field(ge=0, le=10)] = 0


class LlmConfig(BaseModel):
    """`engine: {kind: llm, ...}` of an agent. `timeout_seconds` is for a whole turn."""

    model_config = _SETTINGS

    kind: Literal["llm"] = "llm"
    model: ModelSettings
    prompt: Words
    style: Words | None = DEFAULT_STYLE
    business_profile: Words | None = None
    """Wins over all the other words of the operator."""
    tools: Annotated[tuple[ToolSettings, ...], Field(max_length=64)] = ()
    mcp: Annotated[tuple[McpSettings, ...], Field(max_length=8)] = ()
    most_calls: Annotated[int, Field(ge=1, le=50)] = 8
    """Of tools, in one turn."""
    may_end: bool = True
    may_hand_off: bool = True
    may_stay_silent: bool = False
    """Whether it may leave a text unanswered, such as a plain "thanks"."""
    memory: MemorySettings = MemorySettings()
    timeout_seconds: Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)] = 60

    @model_validator(mode="after")
    def _names_are_unique(self) -> "LlmConfig":
        names = [tool.name for tool in self.tools]
        taken = {"end_conversation", "hand_off", "stay_silent"}
        for name in names:
            if name in taken:
                raise ValueError(f"tools: the name {name} is taken")
            taken.add(name)
        servers = [server.name for server in self.mcp]
        if len(set(servers)) < len(servers):
            raise ValueError("mcp: each server needs a name of its own")
        return self
