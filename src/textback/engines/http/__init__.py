"""The http engine: posts the turn to the operator's own server and says what it answers."""

from textback.engines.http.engine import PAUSES, HttpEngine
from textback.engines.http.exchange import MAX_BODY
from textback.engines.http.settings import HttpConfig

__all__ = ["MAX_BODY", "PAUSES", "HttpConfig", "HttpEngine"]
