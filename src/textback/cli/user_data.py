"""`textback export` and `textback erase`: what is held about one user."""

import json
import sys
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path

import typer

from textback.cli.context import fail
from textback.cli.words import in_json
from textback.core import phone
from textback.core.errors import UnknownResource
from textback.core.ids import AccountId
from textback.core.phone import Phone
from textback.db.session import create_engine
from textback.flows import user_data
from textback.settings import Settings

SECONDS = 600.0
"""For one question: whole tables are looked through."""

_NAMES = {
    "conversations": "conversations",
    "texts": "texts in them",
    "planned_sends": "planned sends and rows of batches",
    "events": "events of no conversation",
    "uploads": "uploaded files that name the number",
    "idempotency_keys": "idempotency keys",
    "opt_outs": "opt-outs (kept)",
}

_LEFT = (
    "In others' words they may still be named: in the reason of an opt-out that stays; in batches"
    " and what was told of these, until retention_days of the project are over, webhook bodies 30"
    " days; in conversations with somebody else, as long as these are kept."
)


def user(raw: str) -> Phone:
    """Raises Exit."""
    found = phone.user_address(raw)
    if found is None:
        raise fail(
            f"{raw} is no number such as +14155550123, nor whatsapp:, rcs: or chat: with one."
        )
    return found


async def export(found: Settings, who: Phone, account: str | None, *, to: Path | None) -> None:
    """As JSON, to a file that only its owner may read, or to standard output."""
    db = create_engine(
        found.need("database_url")["database_url"], pool_size=2, statement_seconds=SECONDS
    )
    try:
        told = await user_data.export(db, who, _account(account), now=_now())
    except UnknownResource as refusal:
        raise fail(refusal.sentence) from None
    finally:
        await db.dispose()
    text = in_json(told, default=_plain, indent=2)
    if to is None:
        print(text)
        return
    _write(to, text)
    many = {name: len(each) for name, each in told.items() if name in _NAMES}
    print(f"{to}: {_listed(many)}", file=sys.stderr)


async def erase(
    found: Settings, who: Phone, account: str | None, *, yes: bool, as_json: bool
) -> int:
    """0 when nothing is left but opt-outs, else 1."""
    db = create_engine(
        found.need("database_url")["database_url"], pool_size=2, statement_seconds=SECONDS
    )
    try:
        if not yes:
            there = await user_data.count(db, who, _account(account))
            where = "every account" if account is None else f"account {account}"
            typer.echo(f"{who}, {where}: {_listed(there)}", err=True)
            if not sys.stdin.isatty():
                raise fail("Nothing is erased: say --yes.")
            typer.confirm("Erase all of it, for good?", abort=True, err=True)
        done = await user_data.erase_user(db, who, _account(account), now=_now())
    except UnknownResource as refusal:
        raise fail(refusal.sentence) from None
    finally:
        await db.dispose()
    if as_json:
        kept = [{"agent_number": agent, "user_number": number} for agent, number in done.opt_outs]
        told = {"erased": dict(done.removed), "opt_outs": kept, "in_the_way": done.in_the_way}
        print(json.dumps(told, indent=2))
    else:
        print(f"Erased: {_listed(done.removed)}")
        for agent, number in done.opt_outs:
            print(f"Kept: {number} opted out of {agent}; without that they would be texted again.")
        print("The carrier keeps its own record of what it moved, backups and logs theirs.")
        print(_LEFT)
        for sentence in done.in_the_way:
            print(f"Still there: {sentence}", file=sys.stderr)
    return 1 if done.in_the_way else 0


def _now() -> datetime:
    from textback.wiring import clock  # noqa: PLC0415 - it knows every edge, and is slow

    return clock()


def _write(to: Path, text: str) -> None:
    try:
        to.touch(mode=0o600)
        to.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise fail(f"{to} cannot be written: {error.strerror}.") from None


def _account(name: str | None) -> AccountId | None:
    return None if name is None else AccountId(name)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[n]} {words}" for n, words in _NAMES.items() if n in counts) + "."


def _plain(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise TypeError(type(value).__name__)
