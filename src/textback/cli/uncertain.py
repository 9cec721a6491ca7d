"""`textback uncertain` and `doubt`: texts that may be out or not, and who decides."""

import re
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from textback import wiring
from textback.cli.context import fail
from textback.cli.conversations import dumped, when
from textback.core.errors import NotUncertain
from textback.core.ids import MessageId
from textback.core.message import Message, Queued, Sent
from textback.db import watch
from textback.db.session import create_engine
from textback.db.watch import UncertainRecord
from textback.flows import operate, restored
from textback.log_lines import escaped
from textback.settings import Settings

_SID = re.compile(r"[A-Za-z0-9_-]{1,64}")


async def show(found: Settings, *, limit: int, as_json: bool) -> None:
    db = create_engine(found.need("database_url")["database_url"], pool_size=2)
    try:
        listed = await watch.list_uncertain(db, limit=limit)
    finally:
        await db.dispose()
    print(dumped([asdict(u) for u in listed])) if as_json else _list(listed)


async def settle(found: Settings, message_id: str, *, sent: bool, sid: str | None) -> None:
    if sid is not None and not _SID.fullmatch(sid):
        raise fail(f"{sid} cannot be a carrier's message id, such as SM followed by 32 digits.")
    db = create_engine(found.need("database_url")["database_url"], pool_size=2)
    which, now = MessageId(message_id), wiring.clock()
    try:
        after = await (
            operate.settle_as_sent(db, which, carrier_message_id=sid, now=now)
            if sent
            else operate.settle_as_not_sent(db, which, now=now)
        )
    except NotUncertain as error:
        raise fail(str(error)) from None
    finally:
        await db.dispose()
    print(f"{message_id}: {_outcome(after)}")


async def doubt(found: Settings, *, hand_off: bool) -> None:
    db = create_engine(found.need("database_url")["database_url"], pool_size=2)
    now, policy = wiring.clock(), found.send_policy()
    try:
        doubted = await restored.doubt(db, policy=policy, hand_off=hand_off, now=now)
    finally:
        await db.dispose()
    print(f"Texts that will be looked up at the carrier before they are sent: {doubted.texts}")
    print(
        f"Conversations handed to a person, because something was due there: {doubted.handed_off}"
    )
    if doubted.plans:
        print(
            f"Planned sends that are due: {doubted.plans}. Those that were sent in the lost time"
            " would be\nsent again: see docs/runbook.md before you start a worker."
        )


def _outcome(after: Message) -> str:
    match after:
        case Sent():
            return "recorded as sent."
        case Queued():
            return "recorded as not sent; it is queued and goes out now."
        case _:
            return "recorded as not sent; its validity is over, so it is not sent any more."


def _list(listed: Sequence[UncertainRecord]) -> None:
    if not listed:
        print("No uncertain texts.")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("id", "carrier", "agent", "user", "handed over", "looked up", "next", "text"):
        table.add_column(heading, no_wrap=heading != "text", overflow="ellipsis")
    for u in listed:
        table.add_row(
            u.id,
            u.carrier_id,
            u.agent_number,
            u.user_number,
            when(u.claimed_at),
            "once" if u.look_ups == 1 else f"{u.look_ups} times",
            "waits for you" if u.look_up_at is None else when(u.look_up_at),
            escaped(u.text).replace("\n", " ")[:40],
        )
    width = None if Console().is_terminal else 250
    Console(width=width, markup=False, emoji=False).print(table)
    print(
        "\nLook for these in the carrier's own log (Twilio: Monitor, Logs, Messaging), then run\n"
        "  textback uncertain ID --sent [--sid SM...]   or   textback uncertain ID --not-sent"
    )
