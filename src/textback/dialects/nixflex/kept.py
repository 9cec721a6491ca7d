"""What this dialect keeps with agents (`agents.extra`) and numbers (`numbers.config`). Pure."""

from collections.abc import Mapping
from typing import Any, Final, cast

OURS: Final = "nixflex"
DEFAULTS: Final = "defaults"
"""`core.defaults`: what conversations on a number begin with."""


def agent(extra: Mapping[str, Any]) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", extra.get(OURS) or {})


def number(config: Mapping[str, Any]) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", config.get(OURS) or {})


PROFILE: Final = "# Business profile of this number: it wins over everything else\n"


def with_context(config: Mapping[str, Any], context: str | None) -> str | None:
    """What the agent is told when a caller adds to what its number says; None: as that has it."""
    if context is None:
        return None
    usual = cast("Mapping[str, Any]", config.get(DEFAULTS) or {}).get("objective")
    return f"{usual}\n\n{context}" if isinstance(usual, str) and usual else context


def objective(fields: Mapping[str, Any]) -> str | None:
    """What agents are told of all conversations on a number, from its own prompts."""
    found = [fields["sms_prompt"]] if fields.get("sms_prompt") else []
    if fields.get("custom_prompt"):
        found.append(PROFILE + fields["custom_prompt"])
    return "\n\n".join(found) or None
