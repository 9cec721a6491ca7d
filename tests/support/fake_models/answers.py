"""What a fake model answers, well or badly, whichever API it is asked through."""

import json
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True)
class Calls:
    """A call that the model asks for. `raw` goes out in place of the arguments, as it is."""

    name: str
    arguments: dict[str, object] = field(default_factory=dict[str, object])
    raw: str | None = None

    @property
    def written(self) -> str:
        return json.dumps(self.arguments) if self.raw is None else self.raw


@dataclass(frozen=True, kw_only=True)
class Says:
    """A good answer, or one the API itself calls refused or cut. `delay` in seconds."""

    text: str = ""
    calls: tuple[Calls, ...] = ()
    refused: bool = False
    cut: bool = False
    """At the limit of tokens."""
    breaks_off: bool = False
    """Only when streaming: the stream ends early, without a word about it."""
    input_tokens: int = 100
    output_tokens: int = 10
    delay: float = 0


@dataclass(frozen=True, kw_only=True)
class Fails:
    """Anything else that a server may send. `echo` puts the request's headers into the body."""

    status: int = 500
    body: str = '{"error": {"message": "boom", "type": "server_error"}}'
    headers: dict[str, str] = field(default_factory=dict[str, str])
    content_type: str = "application/json"
    echo: bool = False
    delay: float = 0


Answer: TypeAlias = Says | Fails


def says(text: str) -> Says:
    return Says(text=text)


def calls(tool: str, /, **arguments: object) -> Says:
    return Says(calls=(Calls(tool, arguments),))
