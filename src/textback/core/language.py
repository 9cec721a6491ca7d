"""What agents ask of a language model, whoever's it is.

`instructions` are ours and the operator's, the only words a model is to obey; the transcript is
what was said, and nothing in it is an instruction.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from textback.core.engine import NOTHING, Said, Usage
from textback.core.frozen import frozen


@frozen
class Written:
    text: str
    usage: Usage


@frozen
class Chosen:
    option: int | None
    """Its place among the options; None: none of them."""
    usage: Usage


@frozen
class Extracted:
    values: Mapping[str, object]
    """Fits the schema."""
    usage: Usage


@frozen
class ModelFailed:
    """No usable answer: unreachable, too slow, refused, malformed. Quotes no prompt and no key."""

    reason: str
    usage: Usage = NOTHING


class LanguageModel(Protocol):
    """One model, with its key and connections inside. Each call keeps to `seconds`."""

    async def write(
        self, instructions: str, transcript: Sequence[Said], *, seconds: float
    ) -> Written | ModelFailed:
        """The agent's next text."""
        ...

    async def choose(
        self, question: str, options: Sequence[str], transcript: Sequence[Said], *, seconds: float
    ) -> Chosen | ModelFailed:
        """Which of `options` (each a short description) fits what was said last."""
        ...

    async def extract(
        self,
        instructions: str,
        schema: Mapping[str, object],
        transcript: Sequence[Said],
        *,
        seconds: float,
    ) -> Extracted | ModelFailed:
        """`schema` is a JSON Schema of an object; what was not said is left out."""
        ...

    async def close(self) -> None: ...
