"""One trace through a conversation, whichever process is at work; off, until wiring says otherwise.

A trace's context is stored with each text (`messages.traceparent`) in the form of W3C Trace Context
(https://www.w3.org/TR/trace-context/#traceparent-header), so that whoever sends it, hears of it or
answers it goes on with the trace. Spans carry ids, and neither numbers nor words.
"""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Literal, Protocol, Self

Value = str | int | float | bool
Kind = Literal["internal", "server", "client", "producer", "consumer"]
"""https://opentelemetry.io/docs/specs/otel/trace/api/#spankind"""


class Span(Protocol):
    """Something that takes time."""

    def name(self, name: str) -> None:
        """Another one than it began with."""
        ...

    def set(self, **attributes: Value | None) -> None:
        """What is None is left out. A name without a dot is one of ours."""
        ...

    def fail(self, why: str) -> None:
        """It did not come about. `why` is a code or a type, never words of others."""
        ...


class Tracer(Protocol):
    def span(
        self,
        name: str,
        *,
        kind: Kind = "internal",
        parent: str | None = None,
        **attributes: Value | None,
    ) -> AbstractContextManager[Span]:
        """A span within the current one. An exception marks it as failed, and goes on.

        With `parent` (a traceparent) it is of that one's trace, and has a link to the current one.
        """
        ...

    def current(self) -> str | None:
        """The traceparent of the current span."""
        ...

    def close(self) -> None:
        """Give out what is left, within a moment."""
        ...


class _Nothing:
    """Is nowhere, and costs next to nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def name(self, name: str) -> None:
        del name

    def set(self, **attributes: Value | None) -> None:
        del attributes

    def fail(self, why: str) -> None:
        del why


_NOTHING: Final = _Nothing()
_tracer: Tracer | None = None


@contextmanager
def using(tracer: Tracer) -> Generator[None]:
    """Trace meanwhile, and give out what is left at the end."""
    global _tracer  # noqa: PLW0603 - one of a process, as its log is
    before, _tracer = _tracer, tracer
    try:
        yield
    finally:
        _tracer = before
        tracer.close()


def is_on() -> bool:
    return _tracer is not None


def span(
    name: str,
    *,
    kind: Kind = "internal",
    parent: str | None = None,
    **attributes: Value | None,
) -> AbstractContextManager[Span]:
    """As `Tracer.span`; nothing, while nobody traces."""
    if _tracer is None:
        return _NOTHING
    return _tracer.span(name, kind=kind, parent=parent, **attributes)


def current() -> str | None:
    """As `Tracer.current`; None, while nobody traces."""
    return None if _tracer is None else _tracer.current()
