"""What an operator does to an account's API keys. The key goes to standard output, alone."""

import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import cast, get_args

from textback import wiring
from textback.cli.context import fail
from textback.core.commands import Scope
from textback.core.errors import BadRequest, Conflict, UnknownResource
from textback.core.ids import AccountId
from textback.db.session import create_engine
from textback.engine_kinds import KINDS
from textback.flows import manage_account, manage_keys
from textback.flows.manage import Managing
from textback.flows.manage_keys import Key, Secret
from textback.provisioning_file.single import OneEntry
from textback.provisioning_file.values import as_moment
from textback.settings import Settings
from textback.vault import FernetVault

PAGE = 100


async def create(
    found: Settings, account: str, name: str, *, scopes: str | None, expires: str | None
) -> None:
    if not 0 < len(name.strip()) <= 200:  # noqa: PLR2004 - as in the file
        raise fail("--name must have 1 to 200 characters.")
    wanted, until = _scopes(scopes), _moment(expires)
    async with _managing(found, account) as m:
        made = await manage_keys.create(m, name=name, scopes=wanted, expires_at=until)
    _tell(made, f'The key "{made.key.name}" ({made.key.id}) is made.')


async def show(found: Settings, account: str) -> None:
    async with _managing(found, account) as m:
        for pairs in (False, True):
            after: str | None = None
            while page := await manage_keys.listed(m, pairs=pairs, after=after, limit=PAGE):
                for each in page:
                    print(_line(each, m.now))
                after = page[-1].id


async def rotate(
    found: Settings, account: str, key: str, *, grace: float | None, again: bool
) -> None:
    span = None if grace is None else timedelta(hours=grace)
    async with _managing(found, account) as m:
        before = await manage_keys.called(m, key)
        made = await manage_keys.rotate(m, before.id, grace=span, again=again)
    until = made.key.previous_until
    old = "no longer works" if until is None else f"works until {_shown(until)}"
    said = f'The key "{made.key.name}" is another one now; the old one {old}.'
    if made.key.managed_by == "file":
        said += (
            " The provisioning file manages it: if it names a key, the next apply restores that."
        )
    _tell(made, said)


async def revoke(found: Settings, account: str, key: str) -> None:
    async with _managing(found, account) as m:
        before = await manage_keys.called(m, key)
        await manage_keys.revoke(m, before.id)
    print(f'The key "{before.name}" ({before.id}) opens nothing any more.')


def _tell(made: Secret, said: str) -> None:
    print(said, file=sys.stderr)
    print(f"{made.key.id}:{made.secret}" if made.key.is_pair else made.secret)


def _line(key: Key, now: datetime) -> str:
    parts = [key.id, key.name, "everything" if key.scopes is None else ",".join(sorted(key.scopes))]
    if key.revoked_at is not None:
        parts.append(f"revoked {_shown(key.revoked_at)}")
    elif key.expires_at is not None:
        word = "expired" if key.expires_at <= now else "expires"
        parts.append(f"{word} {_shown(key.expires_at)}")
    if key.previous_until is not None and key.previous_until > now:
        parts.append(f"the one before works until {_shown(key.previous_until)}")
    return "  ".join([*parts, f"({key.managed_by})"])


def _shown(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M UTC")


def _scopes(given: str | None) -> Sequence[Scope] | None:
    if given is None:
        return None
    wanted = [each.strip() for each in given.split(",")]
    known = get_args(Scope)
    if wrong := [each for each in wanted if each not in known]:
        raise fail(f'--scopes: there is no scope "{wrong[0]}"; there are: {", ".join(known)}.')
    return cast("list[Scope]", wanted)


def _moment(given: str | None) -> datetime | None:
    try:
        return None if given is None else as_moment(given)
    except ValueError as error:
        raise fail(f"--expires {error}.") from None


@asynccontextmanager
async def _managing(found: Settings, account: str) -> AsyncGenerator[Managing]:
    """As the operator, who may do everything. What is refused ends the command in a sentence."""
    given = found.need("database_url", "secret_key")
    db = create_engine(given["database_url"], pool_size=2)
    m = Managing(
        db=db,
        vault=FernetVault(given["secret_key"]),
        provisioner=OneEntry(KINDS, private=found.private_webhooks),
        account_id=AccountId(account),
        scopes=None,
        expires_at=None,
        now=wiring.clock(),
    )
    try:
        await manage_account.get(m)
        yield m
    except (BadRequest, Conflict, UnknownResource) as refusal:
        raise fail(refusal.sentence) from None
    finally:
        await db.dispose()
