"""Fake language models on loopback: both APIs, streaming or not, well and badly.

In a test: `with serving() as models:`, script them with `models.answers(...)`, and give
`models.base_url("openai")` to the settings of a model.
"""

from tests.support.fake_models.answers import Answer, Calls, Fails, Says, calls, says
from tests.support.fake_models.server import Asked, ModelServer, Provider, serving

__all__ = [
    "Answer",
    "Asked",
    "Calls",
    "Fails",
    "ModelServer",
    "Provider",
    "Says",
    "calls",
    "says",
    "serving",
]
