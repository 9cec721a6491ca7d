"""Lines of a log, read."""

import json
from typing import Any


def lines(said: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.splitlines()]


def line_of(said: str, event: str) -> dict[str, Any]:
    """The only one."""
    (found,) = [line for line in lines(said) if line["event"] == event]
    return found


def errors(said: str) -> list[dict[str, Any]]:
    """And what is worse."""
    return [line for line in lines(said) if line["level"] in {"error", "critical"}]
