"""What is served, as the application itself lists it."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

from tests.support.api import settings
from textback import wiring


def routes() -> list[Any]:
    """Starlette's: of all dialects, and those that no document lists."""
    found = settings("postgresql://nobody@127.0.0.1:9/textback", "redis://127.0.0.1:9")
    application = cast("Any", wiring.application(wiring.runtime(found)))
    while not hasattr(application, "routes"):  # what is around it
        application = application.app
    served = list(_flat(application.routes))
    assert len(served) > 90
    return served


def _flat(listed: Sequence[Any]) -> Iterator[Any]:
    for route in listed:
        if (included := getattr(route, "original_router", None)) is not None:
            yield from _flat(included.routes)
        else:
            yield route
