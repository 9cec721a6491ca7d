"""`textback conversations`: what was said with whom, and what became of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from textback.cli.context import fail
from textback.cli.words import in_json
from textback.core import segments
from textback.core.frozen import frozen
from textback.db import reads
from textback.db.reads import ConversationRecord, MessageRecord
from textback.db.replica import Reading
from textback.db.session import create_engine
from textback.log_lines import escaped
from textback.settings import Settings


@frozen
class Which:
    limit: int
    state: str | None
    project: str | None
    user: str | None


async def run(found: Settings, conversation_id: str | None, which: Which, *, as_json: bool) -> None:
    db = create_engine(found.need("database_url")["database_url"], pool_size=2)
    replica = create_engine(found.replica_url, pool_size=2) if found.replica_url else None
    reading = Reading(db, replica)
    try:
        if conversation_id is None:
            listed = await reading.ask(
                reads.list_conversations,
                limit=which.limit,
                state=which.state,
                project=which.project,
                user=which.user,
            )
            print(dumped([asdict(c) for c in listed])) if as_json else _list(listed)
            return
        one = await reading.find(reads.get_conversation, conversation_id)
        if one is None:
            raise fail(f"There is no conversation {conversation_id}.")
        conversation, messages = one
        if as_json:
            print(dumped(asdict(conversation) | {"messages": [asdict(m) for m in messages]}))
        else:
            _transcript(conversation, messages)
    finally:
        await reading.close()
        await db.dispose()


def dumped(value: object) -> str:
    def other(x: object) -> str:
        if isinstance(x, datetime):
            return x.isoformat()
        raise TypeError(type(x).__name__)

    return in_json(value, default=other, indent=2)


def _list(listed: Sequence[ConversationRecord]) -> None:
    if not listed:
        print("No conversations.")
        return
    table = Table(box=None, pad_edge=False)
    for heading in (
        "id",
        "state",
        "project",
        "agent",
        "user",
        "texts",
        "last activity",
        "last text",
    ):
        table.add_column(heading, no_wrap=heading != "last text", overflow="ellipsis")
    for c in listed:
        table.add_row(
            c.id,
            escaped(_state(c)),
            c.project_id,
            c.agent_number,
            c.user_number,
            str(c.message_count),
            when(c.last_activity_at),
            escaped(c.last_text or "").replace("\n", " ")[:40],
        )
    # Piped, a table must not lose its ids to a narrow terminal.
    width = None if Console().is_terminal else 250
    # Nor are brackets and colons of a text orders to Rich.
    Console(width=width, markup=False, emoji=False).print(table)


def _transcript(c: ConversationRecord, messages: Sequence[MessageRecord]) -> None:
    print(f"{c.id}  {escaped(_state(c))}  project {c.project_id}")
    print(f"agent {c.agent_number}  user {c.user_number}  opened {when(c.opened_at)}\n")
    for m in messages:
        ours = "person" if m.kind == "person" else "agent "
        who = "user  " if m.direction == "inbound" else ours
        fate = m.kind if m.direction == "inbound" else f"{m.kind}, {m.state}"
        why = escaped(" ".join(filter(None, [m.reason, m.error_code, m.error])))
        print(f"{when(m.created_at)}  {who}  {escaped(m.text)}")
        print(f"{'':19}          {fate}{': ' + why if why else ''}{_cost(m)}  {m.id}")
    if c.analysis is not None:
        _analysis(c.analysis)


def _analysis(found: Mapping[str, Any]) -> None:
    if "error" in found:
        print(escaped(f"\nnot analysed: {found['error']}"))
        return
    print(f"\nanalysed at {when(datetime.fromisoformat(found['at']))}")
    for name in ("summary", "outcome"):
        if found[name] is not None:
            print(escaped(f"{name}: {found[name]}"))
    if found["values"] is not None:
        print(f"values: {dumped(found['values'])}")


def _cost(m: MessageRecord) -> str:
    """What carriers bill for it; nothing is known of what users text."""
    if m.segments is None:
        return ""
    many = "segment" if m.segments == 1 else "segments"
    saved = f", folding saved {m.segments_saved}" if m.segments_saved else ""
    return f"; {m.segments} {many} ({segments.size(m.text).encoding}){saved}"


def _state(c: ConversationRecord) -> str:
    if c.paused_until is not None:
        return f"{c.state} until {when(c.paused_until)}"
    if c.why_handed_off is not None:
        return f"{c.state}: {c.why_handed_off}"
    return c.state if c.reason is None else f"{c.state}: {c.reason}"


def when(at: datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
