"""Structured logs: one event per line, with ids. Numbers are masked, texts never get here."""

import logging
import re
import sys
import textwrap
import traceback
from collections.abc import Iterator
from typing import IO, Any, cast

import structlog

from textback.core.phone import masked

# The + of a number in a URL may be escaped.
_NUMBER = re.compile(r"(\+|%2[Bb])([1-9][0-9]{6,14})")

_QUOTING = frozenset({"asyncpg", "pydantic_core", "sqlalchemy"})
_FACTS = ("sqlstate", "table_name", "column_name", "constraint_name", "title")


def configure(level: str, *, pretty: bool, to: IO[str] | None = None) -> None:
    """Send our events and those of libraries through one formatter, to `to` or standard output."""
    out = to or sys.stdout
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(_told),
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(
            colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        if pretty
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                renderer,
                _mask,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # These speak of every request they make, some with URLs that hold numbers.
    for talkative in ("alembic", "httpx", "httpcore", "twilio.http_client", "uvicorn.access"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def _mask(_logger: object, _method: str, line: Any) -> str:  # noqa: ANN401 - structlog's signature
    """The last guard: whatever a library or a traceback says, no whole number leaves."""
    return _NUMBER.sub(lambda m: m[1] + masked("+" + m[2])[1:], cast("str", line))


def _told(exc_info: structlog.typing.ExcInfo) -> str:
    """A traceback as Python prints it, but without the words of exceptions that quote texts."""
    return "".join(_traceback(exc_info[1], set())).rstrip()


def _traceback(error: BaseException, told: set[int]) -> Iterator[str]:
    told.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in told:
        yield from _traceback(before, told)
        yield "\nwhich led to:\n\n"
    yield "Traceback (most recent call last):\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__module__}.{type(error).__qualname__}: {_words(error)}\n"
    if isinstance(error, BaseExceptionGroup):
        for member in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield textwrap.indent("".join(_traceback(member, told)), "  | ")


def _words(error: BaseException) -> str:
    """What it says; of one that may repeat what was stored or parsed, only what and where."""
    package = type(error).__module__.partition(".")[0]
    quotes = isinstance(error, ValueError) or hasattr(error, "sqlstate") or hasattr(error, "params")
    if package in _QUOTING and quotes:
        facts = {name: getattr(error, name, None) for name in _FACTS}
        return ", ".join(f"{name} {value}" for name, value in facts.items() if value)
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, the log goes on
        return "(it cannot be written down)"
