"""Headers that /openapi.json tells of for more than one dialect."""

from typing import Any, Final

EVERY: Final[dict[str, Any]] = {
    "X-PolyAI-Correlation-Id": {
        "description": "Names this request in our logs.",
        "required": True,
        "schema": {"type": "string", "format": "uuid"},
    }
}
RETRY: Final[dict[str, Any]] = {
    "Retry-After": {
        "description": "Seconds to wait before trying again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}
