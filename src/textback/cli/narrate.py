"""The conversation as it happens, in a terminal."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from rich.console import Console
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.errors import Unavailable
from textback.db import reads
from textback.db.reads import EventRecord
from textback.log_lines import escaped

EVERY_SECONDS = 0.2

_STATES = {
    "message.sent": ("sent", "dim"),
    "message.delivered": ("delivered", "dim"),
    "message.failed": ("failed", "red"),
    "message.suppressed": ("not sent", "yellow"),
    "message.uncertain": ("no answer from the carrier: looking it up", "yellow"),
    "message.unsettled": ("nobody knows whether it went out: textback uncertain", "red"),
    "conversation.handed_off": ("the agent is silent: a person is to take over", "yellow"),
    "conversation.resumed": ("the agent goes on", "yellow"),
    "conversation.analysed": ("analysed", "dim"),
    "conversation.not_analysed": ("could not be analysed", "yellow"),
    "turn.failed": ("the agent gave no usable answer", "red"),
    "turn.dropped": ("the agent's answer came too late", "yellow"),
    "user.opted_out": ("the user opted out", "yellow"),
    "user.opted_in": ("the user opted in again", "yellow"),
}


async def follow(db: AsyncEngine, console: Console, stop: Callable[[], bool]) -> None:
    """Print what happens from now on, until told to stop."""
    last = await reads.last_event(db)
    while not stop():
        try:
            for event in await reads.events_after(db, last):
                last = event.id
                line = told(event)
                if line is not None:
                    console.print(line, soft_wrap=True)
        except Unavailable:
            pass
        await asyncio.sleep(EVERY_SECONDS)


def told(e: EventRecord) -> Text | None:
    at = f"{e.at.astimezone():%H:%M:%S}  "
    match e.kind:
        case "message.queued":
            return _said(at, "agent", e.user_number, e.text, "cyan")
        case "message.received":
            return _said(at, "user ", e.agent_number, e.text, "green")
        case _:
            return _happened(at, e)


def _said(at: str, who: str, to: str, text: str | None, style: str) -> Text:
    words = escaped(text or "").replace("\n", " / ")
    return Text.assemble((at, "dim"), (f"{who} ", f"bold {style}"), f"→ {to}  ", (words, style))


def _happened(at: str, e: EventRecord) -> Text | None:
    match e.kind:
        case "conversation.opened":
            return Text(f"{at}── {e.conversation_id} with {e.user_number}", "dim")
        case "conversation.warned":
            return Text(f"{at}      idle: the user is warned", "yellow")
        case "conversation.paused":
            until = f"{datetime.fromisoformat(e.data['until']).astimezone():%H:%M:%S}"
            why = "that is a lot of replies: the agent is silent"
            return Text(f"{at}      {why} until {until}", "yellow")
        case "conversation.closed":
            return Text(escaped(f"{at}── closed: {e.data['reason']}"), "dim")
        case kind if kind in _STATES:
            words, style = _STATES[kind]
            why = e.data.get("reason") or e.data.get("error_code") or e.data.get("why")
            return Text(f"{at}      {words}{escaped(f' ({why})') if why else ''}", style)
        case _:
            return None
