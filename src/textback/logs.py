"""Structured logs: one event per line, with ids. Numbers are masked, texts never get here.

A line costs the request that it is about a few microseconds: it is rendered at once, kept, and
written with others by a thread, at most `LATE` seconds later. A warning, and whatever is worse, is
written at once, with all that came before it.
"""

import atexit
import contextlib
import logging
import sys
import textwrap
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import IO, Any, Final, cast

import structlog

from textback.log_lines import as_json, for_terminal, hide, written

log = structlog.stdlib.get_logger()

LATE: Final = 0.1
"""Seconds."""
MOST_KEPT: Final = 10_000
"""Lines. Whoever writes more while the reader of the log stands still waits for it, as anybody who
writes to a pipe does: memory is bounded, and no line is lost."""

_QUOTING = frozenset({"asyncpg", "pydantic_core", "sqlalchemy"})
_FACTS = ("sqlstate", "table_name", "column_name", "constraint_name", "title")

_TALKATIVE = ("alembic", "httpx", "httpcore", "textback", "twilio.http_client", "uvicorn")
"""These speak of every request they make, some with URLs that hold numbers; or of their own start
and end, which we tell. `textback`: SQLAlchemy, on behalf of our pool."""

_SHORTEST_SECRET: Final = 8
"""Shorter ones are words, which lines may well hold."""

_secrets = set[str]()
"""Those that this process has seen in the clear."""


class _Found:
    """A request, and what it is about."""

    __slots__ = ("correlation_id", "ids")

    def __init__(self, correlation_id: str) -> None:
        self.correlation_id = correlation_id
        self.ids: dict[str, object] = {}


_request: ContextVar[_Found | None] = ContextVar("request", default=None)

spanned: ContextVar[Mapping[str, str] | None] = ContextVar("spanned", default=None)
"""The ids of the trace and the span that lines are written in, if there is one."""


def about(**ids: object) -> None:
    """Say what the request at hand is about: its last line, `http.answered`, tells it."""
    found = _request.get()
    if found is not None:
        found.ids.update(ids)


class Request:
    """All lines within have its id; gives what `about` is told, also by tasks begun within.

    A class, because it is cheaper than a generator, and on the path of every request.
    """

    __slots__ = ("_found", "_token")

    def __init__(self, correlation_id: str) -> None:
        self._found = _Found(correlation_id)

    def __enter__(self) -> dict[str, object]:
        self._token = _request.set(self._found)
        return self._found.ids

    def __exit__(self, *_: object) -> None:
        _request.reset(self._token)


def _with_request(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    if (found := _request.get()) is not None:
        event.setdefault("correlation_id", found.correlation_id)
    if (span := spanned.get()) is not None:
        event.update(span)
    return event


def tell(event: str, **facts: object) -> None:
    """As `info`, for lines that each request has: past structlog, which is half of their cost."""
    if _quick is None:
        log.info(event, **facts)
    else:
        _quick(event, facts)


_quick: Callable[[str, structlog.typing.EventDict], None] | None = None
"""Writes a line of the level `info`; None: such lines are not written, or for people to read."""


def configure(level: str, *, pretty: bool, to: IO[str] | None = None) -> None:
    """Send our events and those of libraries through one formatter, to `to` or standard output.

    What is given as `to`, and a terminal, gets each line at once.
    """
    out = to or sys.stdout
    number = logging.getLevelNamesMapping()[level.upper()]
    render = _Pretty(colors=out.isatty()) if pretty else as_json
    write = _Writer(out, kept=to is None and not pretty)

    def quick(event: str, facts: structlog.typing.EventDict) -> None:
        write(written("info", event, _with_request(None, "info", facts)), at_once=False)

    global _quick  # noqa: PLW0603 - one of a process, as its log is
    _quick = None if pretty or number > logging.INFO else quick
    shared: list[structlog.typing.Processor] = [
        _with_request,
        structlog.processors.ExceptionRenderer(_told),
    ]
    if pretty:
        shared.append(structlog.processors.add_log_level)
        shared.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
    structlog.configure(
        processors=[*shared, render],
        # A line goes to the writer and not through `logging`, which would cost three times as much.
        logger_factory=lambda *_: _Ours(write),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Theirs(write, shared, render)]
    root.setLevel(number)
    for talkative in _TALKATIVE:
        logging.getLogger(talkative).setLevel(max(number, logging.WARNING))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def conceal(*secrets: str) -> None:
    """From now on no warning, error or traceback says one of these, whoever quotes it."""
    _secrets.update(secret for secret in secrets if len(secret) >= _SHORTEST_SECRET)


def without_secrets(words: str) -> str:
    for secret in tuple(_secrets):
        if secret in words:
            words = words.replace(secret, "[hidden]")
    return words


class _Pretty:
    def __init__(self, *, colors: bool) -> None:
        self._render = structlog.dev.ConsoleRenderer(
            colors=colors, exception_formatter=structlog.dev.plain_traceback
        )

    def __call__(self, logger: object, method: str, event: structlog.typing.EventDict) -> str:
        return hide(self._render(logger, method, for_terminal(event)))


class _Writer:
    """Lines, in the order in which they came; `kept`: for a moment, to be written together."""

    def __init__(self, out: IO[str], *, kept: bool) -> None:
        self.out, self._is_kept = out, kept
        self._lines = deque[str]()
        self._some = threading.Event()
        self._writing = threading.Lock()
        if kept:
            threading.Thread(target=self._run, name="log", daemon=True).start()
            atexit.register(self.flush)

    def __call__(self, line: str, *, at_once: bool) -> None:
        self._lines.append(without_secrets(line) if at_once else line)
        if at_once or not self._is_kept or len(self._lines) >= MOST_KEPT:
            self.flush()
        elif not self._some.is_set():
            self._some.set()

    def flush(self) -> None:
        with self._writing:
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            if not lines:
                return
            # Nobody reads it any more, or it cannot be written down: nothing fails over its log.
            with contextlib.suppress(OSError, ValueError):
                self.out.write("\n".join(lines) + "\n")
                self.out.flush()

    def _run(self) -> None:
        while True:
            self._some.wait()
            time.sleep(LATE)
            self._some.clear()
            self.flush()


class _Ours:
    """Where structlog hands a rendered line, by the name of its level."""

    def __init__(self, write: _Writer) -> None:
        self._write = write

    def info(self, line: str) -> None:
        self._write(line, at_once=False)

    def error(self, line: str) -> None:
        self._write(line, at_once=True)

    debug = info
    warning = critical = error


class _Theirs(logging.Handler):
    """What libraries say, as one of our lines that names them."""

    def __init__(
        self,
        write: _Writer,
        processors: Sequence[structlog.typing.Processor],
        render: structlog.typing.Processor,
    ) -> None:
        super().__init__()
        self.stream = write.out
        self._write, self._processors = write, (*processors, render)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            event: Any = {"event": record.getMessage(), "logger": record.name}
            if record.exc_info:
                event["exc_info"] = record.exc_info
            for each in self._processors:
                event = each(None, record.levelname.lower(), event)
            self._write(event, at_once=record.levelno >= logging.WARNING)
        except Exception:  # noqa: BLE001 - as every handler: nothing fails over its log
            self.handleError(record)


def _told(exc_info: structlog.typing.ExcInfo) -> str:
    """A traceback as Python prints it, but without the words of exceptions that quote texts."""
    return without_secrets("".join(_traceback(exc_info[1], set())).rstrip())


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
