"""What every command begins with: settings, logs, and errors that a person can act on."""

import asyncio
import gc
import json
import os
import sys
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import structlog
import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

from textback import logs
from textback.event_loop import Loop
from textback.settings import MissingSettings, Settings

log = structlog.stdlib.get_logger()

T = TypeVar("T")

DEMO_FILE = "demo.json"

_NO_SUCH = ("42P01", "42703")  # table, column


@contextmanager
def starting() -> Generator[None]:
    """While modules and routes are made.

    Nearly all of it stays, and looking over and over for what does not takes a quarter of the time.
    `Runtime.warm_up` looks once.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def fail(sentence: str) -> typer.Exit:
    """Say what is wrong on standard error; raise what this gives."""
    typer.echo(sentence, err=True)
    return typer.Exit(1)


def settings(*, demo: bool = True) -> Settings:
    """From the environment and `.env`; what is not set there, from a demo that runs here.

    `demo` False: nothing is asked of a database.
    """
    try:
        found = Settings()  # pyright: ignore[reportCallIssue] - pydantic fills it
    except ValidationError as error:
        problems = [
            f"TEXTBACK_{str(e['loc'][0]).upper()}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors(include_input=False)
        ]
        raise fail("\n".join(problems)) from None
    except SettingsError as error:
        raise fail(str(error)) from None
    if demo and not found.database_url and (known := running_demo(found.data)) is not None:
        typer.echo(
            f"(TEXTBACK_DATABASE_URL is not set: this is the demo in {found.data})", err=True
        )
        return found.model_copy(update=known)
    return found


def running_demo(data: Path) -> dict[str, Any] | None:
    """The settings of the demo whose state is in `data`, if it runs now."""
    try:
        demo = json.loads((data / DEMO_FILE).read_text())
        os.kill(demo.pop("pid"), 0)
    except (OSError, ValueError, KeyError):
        return None
    return demo


def configure_logs(found: Settings) -> None:
    pretty = found.log_format == "pretty" or (found.log_format == "auto" and sys.stdout.isatty())
    logs.configure(found.log_level, pretty=pretty)
    sys.excepthook = _last_words


def _last_words(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
    """What a process dies of goes where all else goes, without numbers and secrets."""
    if issubclass(kind, Exception):
        log.critical("process.failed", exc_info=error)
    else:
        sys.__excepthook__(kind, error, at)


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run to the end; what an operator can repair is one sentence, not a traceback."""
    # Here and not above: `--help` is quick without them.
    from sqlalchemy.exc import ProgrammingError  # noqa: PLC0415

    from textback.core.errors import Unavailable  # noqa: PLC0415

    try:
        with asyncio.Runner(loop_factory=Loop) as runner:
            return runner.run(main())
    except (MissingSettings, ValueError) as error:
        raise fail(str(error)) from None
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) not in _NO_SUCH:
            raise
        raise fail("The database's tables are not of this version; run textback migrate.") from None
    except Unavailable:
        raise fail("The database cannot be reached; check TEXTBACK_DATABASE_URL.") from None
