"""A language model that says what a test says, behind the port that engines know."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from textback.core.engine import Said, Usage
from textback.core.language import Chosen, Extracted, ModelFailed, Written

COST = Usage(input_tokens=10, output_tokens=5, cost_usd=0.001)
"""Of each question."""


@dataclass(frozen=True)
class Asked:
    what: str
    """`write`, `choose` or `extract`."""
    words: str
    options: Sequence[str]
    """Of `choose`; the names of `extract`."""
    transcript: Sequence[Said]


@dataclass
class ModelDouble:
    """`asked` keeps the questions. Each answer is made from the last text of the user."""

    write_by: Callable[[str, str], str | ModelFailed] = lambda _, heard: f"(on {heard})"
    """From the instructions and what was heard."""
    choose_by: Callable[[Sequence[str], str], int | ModelFailed | None] = lambda _, __: None
    """From the options and what was heard."""
    extract_by: Callable[[str], Mapping[str, object] | ModelFailed] = lambda _: {}
    asked: list[Asked] = field(default_factory=list[Asked])
    closed: int = 0

    async def write(
        self, instructions: str, transcript: Sequence[Said], *, seconds: float
    ) -> Written | ModelFailed:
        assert seconds > 0
        self.asked.append(Asked("write", instructions, (), transcript))
        text = self.write_by(instructions, heard(transcript))
        return text if isinstance(text, ModelFailed) else Written(text=text, usage=COST)

    async def choose(
        self, question: str, options: Sequence[str], transcript: Sequence[Said], *, seconds: float
    ) -> Chosen | ModelFailed:
        assert seconds > 0
        self.asked.append(Asked("choose", question, options, transcript))
        option = self.choose_by(options, heard(transcript))
        return option if isinstance(option, ModelFailed) else Chosen(option=option, usage=COST)

    async def extract(
        self,
        instructions: str,
        schema: Mapping[str, object],
        transcript: Sequence[Said],
        *,
        seconds: float,
    ) -> Extracted | ModelFailed:
        assert seconds > 0
        names = cast("Mapping[str, object]", schema["properties"])
        self.asked.append(Asked("extract", instructions, list(names), transcript))
        values = self.extract_by(heard(transcript))
        return values if isinstance(values, ModelFailed) else Extracted(values=values, usage=COST)

    async def close(self) -> None:
        self.closed += 1


def heard(transcript: Sequence[Said]) -> str:
    return next((said.text for said in reversed(transcript) if said.role == "user"), "")
