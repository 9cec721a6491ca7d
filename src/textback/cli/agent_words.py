"""What trying an agent out prints: sizes, costs, and nobody's control characters."""

from collections.abc import Sequence

from textback.core import segments
from textback.core.engine import Usage


def size(texts: Sequence[tuple[str, int]]) -> str:
    """`3 segments in 2 texts (GSM-7), 1 saved`."""
    sizes = [segments.size(text) for text, _ in texts]
    total, saved = sum(s.segments for s in sizes), sum(saved for _, saved in texts)
    said = "1 segment" if total == 1 else f"{total} segments"
    said += f" in {len(texts)} texts" if len(texts) > 1 else ""
    said += f" ({', '.join(dict.fromkeys(s.encoding for s in sizes))})"
    return said + (f", {saved} saved by plain punctuation" if saved else "")


def sized(text: str, saved: int) -> dict[str, object]:
    found = segments.size(text)
    return {
        "text": text,
        "segments": found.segments,
        "encoding": found.encoding,
        "segments_saved": saved,
    }


def cost(usage: Usage) -> str:
    """Empty where nothing is known."""
    tokens = usage.input_tokens + usage.output_tokens
    said = f"{usage.input_tokens} + {usage.output_tokens} tokens" if tokens else ""
    return said + (f", ${usage.cost_usd:.4f}" if usage.cost_usd else "")


def readable(text: str) -> str:
    """Without what a terminal would obey: it may be anybody's words."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
