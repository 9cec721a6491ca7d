"""`textback tail`: what happens, as it happens, straight from the database."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Final

import typer

from textback import logs
from textback.cli import context
from textback.cli.words import in_json
from textback.core.errors import Unavailable
from textback.db.event_tail import Happened, Tail, Wanted
from textback.db.listen import listen
from textback.db.session import create_engine
from textback.log_lines import escaped, hide
from textback.settings import Settings

POLL_SECONDS: Final = 1.0
SOON_SECONDS: Final = 0.05
"""While something is known to be on its way, or the last poll brought something."""
AWAY_SECONDS: Final = 1.0

_SPAN = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

_BAD = ("message.failed", "message.unsettled", "turn.failed", "webhook.paused", "budget.reached")
_ODD = ("message.uncertain", "message.suppressed", "turn.dropped", "limit.reached", "send.refused")


def since(span: str, *, now: datetime) -> datetime:
    """A moment, from how long ago it was, such as `10m`. Raises typer.Exit."""
    found = _SPAN.fullmatch(span)
    if found is None:
        raise context.fail(f"{span} is no length of time: write 30s, 10m, 2h or 1d.")
    return now - timedelta(**{_UNITS[found[2]]: int(found[1])})


async def run(found: Settings, wanted: Wanted, *, as_json: bool, numbers: bool) -> None:
    """Until Ctrl-C, or until nobody reads it any more."""
    logs.configure("error", pretty=True, to=sys.stderr)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    url = found.need("database_url")["database_url"]
    db = create_engine(url, pool_size=2)
    tell = as_line if sys.stdout.isatty() and not as_json else as_record

    def show(event: Happened) -> None:
        line = tell(event)
        print(line if numbers else hide(line), flush=True)

    came = asyncio.Event()
    hints = asyncio.create_task(listen(found.direct(), lambda _: came.set()))
    following = asyncio.create_task(follow(Tail(db, wanted), show, came, note=_note))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([following, stopping], return_when=asyncio.FIRST_COMPLETED)
        if following.done():
            following.result()
    except BrokenPipeError:  # `textback tail | head`; nor may Python complain of it at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        for task in (hints, following, stopping):
            task.cancel()
        await asyncio.wait([hints, following, stopping])
        await db.dispose()


async def follow(
    tail: Tail,
    show: Callable[[Happened], None],
    came: asyncio.Event,
    *,
    note: Callable[[str], None],
) -> None:
    """`came` is set when something may have happened. Raises Unavailable, if it is so at first."""
    begun, away = False, False
    while True:
        came.clear()
        try:
            events, more = await tail.more()
        except Unavailable:
            if not begun:
                raise
            if not away:
                note("The database is away; waiting for it …")
            away = True
            await asyncio.sleep(AWAY_SECONDS)
            continue
        if away:
            note("The database is back; going on where it was.")
        begun, away = True, False
        for event in events:
            show(event)
        if more or events:
            await asyncio.sleep(SOON_SECONDS)
            continue
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await came.wait()


def as_record(event: Happened) -> str:
    """One line of JSON."""
    return in_json(asdict(event) | {"at": event.at.isoformat()})


def as_line(event: Happened) -> str:
    """For a person to read, in the local time."""
    kind = f"{event.kind:<24}"
    if event.kind in _BAD + _ODD:
        kind = typer.style(kind, fg="red" if event.kind in _BAD else "yellow")
    parts = [f"{event.at.astimezone():%H:%M:%S}  {kind}"]
    if event.agent_number is not None:
        parts.append(f"{event.agent_number} ↔ {event.user_number}")
    ids = (event.conversation_id, event.message_id)
    parts += [each for each in ids if each] or [event.account_id, event.project_id or ""]
    parts += [f"{name}={_shown(value)}" for name, value in event.data.items()]
    return "  ".join(part for part in parts if part)


def _shown(value: object) -> str:
    return escaped(value) if isinstance(value, str) else in_json(value)


def _note(words: str) -> None:
    typer.echo(words, err=True)
