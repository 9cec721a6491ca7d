"""A number of a carrier account -> one of ours: its texts come here from then on.

The carrier is asked and told with no transaction open. It is told before the number is stored: an
import that dies on the way can be asked for again, and changes nothing twice.
"""

from collections.abc import Mapping
from dataclasses import field

import structlog

from textback.core import phone, signing
from textback.core.errors import CarrierRefused, Conflict
from textback.core.frozen import frozen
from textback.core.ids import AccountId, CarrierId
from textback.core.phone import Phone
from textback.core.ports import CarrierAccount, FoundNumber, NotDone, NumberImporter
from textback.core.reach import Given
from textback.db import holdings
from textback.db.holdings import HeldCarrier
from textback.flows import manage
from textback.flows.manage import Managing

log = structlog.stdlib.get_logger()


@frozen
class Wanted:
    number: Phone
    account_sid: str
    auth_token: str = field(repr=False)
    base_url: str
    """The carrier's address, for an account that is not known yet."""
    inbound_url: str
    """Of our hooks, with `{kind}` in it."""


async def find(m: Managing, importers: Mapping[str, NumberImporter], wanted: Wanted) -> FoundNumber:
    """Ask the carrier for the number, and let its texts come here.

    Raises Conflict (the number is taken), CarrierRefused (`taken`: somebody else has that carrier
    account), Unavailable.
    """
    mine = await holdings.number(m.db, m.account_id, wanted.number)
    if mine is not None:
        raise _taken(wanted.number)
    known = await holdings.carrier_of_sid(m.db, wanted.account_sid)
    account = _account(known, wanted, m.account_id)
    importer = importers[account.kind]
    found = await importer.find(account, wanted.number)
    if isinstance(found, NotDone):
        raise CarrierRefused(found.why, code=found.code)
    # Only who has the account's credentials learns what others have here.
    if await holdings.is_taken(m.db, wanted.number):
        raise _taken(wanted.number)
    if known is not None and known.account_id != m.account_id:
        raise CarrierRefused("Somebody else has this carrier account here.", code="taken")
    failed = await importer.point(account, found.sid, wanted.inbound_url.format(kind=account.kind))
    if failed is not None:
        raise CarrierRefused(failed.why, code=failed.code)
    return found


async def store(m: Managing, wanted: Wanted, *, agent_id: str, own: Mapping[str, object]) -> None:
    """Add the number, and what it needs: its carrier, a project. Raises as `manage.create`."""
    carrier_id = await _carrier(m, wanted)
    entry = {
        "project": await _project(m),
        "number": wanted.number,
        "carrier": carrier_id,
        "agent": agent_id,
    }
    await manage.create(m, "number", entry, own=own)


async def release(
    m: Managing,
    importers: Mapping[str, NumberImporter],
    number: Phone,
    *,
    sid: str | None,
    inbound_url: str,
) -> None:
    """Remove the number; its carrier keeps it. Texts to it go nowhere, if they came here.

    Raises as `manage.remove`. What cannot be changed at the carrier is logged, and nothing more:
    whoever has the number sees it there.
    """
    held = await holdings.number(m.db, m.account_id, number)
    known = None if held is None else await holdings.carrier_of(m.db, held.carrier_id)
    await manage.remove(m, "number", number)
    if known is None or sid is None:
        return
    try:
        account = _opened(known, m.vault.open(known.auth_token))
    except ValueError:
        why = "no key opens the carrier's token"
        log.warning("number.not_released", number=phone.masked(number), why=why)
        return
    ours = inbound_url.format(kind=known.kind)
    importer = importers[known.kind]
    found = await importer.find(account, number)
    failed: NotDone | None = found if isinstance(found, NotDone) else None
    if isinstance(found, FoundNumber) and found.inbound_url.startswith(ours):
        failed = await importer.point(account, found.sid, "")
    if failed is not None:
        log.warning("number.not_released", number=phone.masked(number), why=failed.why)


def _account(known: HeldCarrier | None, wanted: Wanted, account_id: AccountId) -> CarrierAccount:
    """With the credentials given now, at the address that the account's own carrier has."""
    if known is None or known.account_id != account_id:
        return CarrierAccount(
            carrier_id=CarrierId(""),
            kind="twilio",
            account_sid=wanted.account_sid,
            auth_token=wanted.auth_token,
            base_url=wanted.base_url,
        )
    return _opened(known, wanted.auth_token)


def _opened(known: HeldCarrier, auth_token: str) -> CarrierAccount:
    return CarrierAccount(
        carrier_id=CarrierId(known.id),
        kind=known.kind,
        account_sid=known.account_sid,
        auth_token=auth_token,
        base_url=known.base_url,
        public_only=known.public_only,
    )


async def _carrier(m: Managing, wanted: Wanted) -> str:
    """The one entry for that account; a token that was changed since is changed here too."""
    known = await holdings.carrier_of_sid(m.db, wanted.account_sid)
    if known is None or known.is_removed:
        entry = {
            "id": f"twilio-{wanted.account_sid}" if known is None else known.id,
            "kind": "twilio",
            "account_sid": wanted.account_sid,
            "auth_token": wanted.auth_token,
            "base_url": wanted.base_url,
        }
        return (await manage.create(m, "carrier", entry, trusted=[Given(entry, None)])).id
    if known.source == "api" and known.kind == "twilio" and not _has(m, known, wanted.auth_token):
        await manage.update(m, "carrier", known.id, {"auth_token": wanted.auth_token})
    return known.id


def _has(m: Managing, known: HeldCarrier, auth_token: str) -> bool:
    try:
        return signing.same(m.vault.open(known.auth_token), auth_token)
    except ValueError:
        return False


async def _project(m: Managing) -> str:
    """The account's only one, else one that is there for imported numbers."""
    there = await holdings.projects_of(m.db, m.account_id)
    own = f"{m.account_id}-imported"
    if len(there) == 1 or own in there:
        return own if own in there else there[0]
    oldest = (await holdings.agents_of(m.db, m.account_id, limit=1, offset=0, oldest=True))[0]
    entry = {"id": own, "name": "Imported numbers", "agent": oldest.id}
    return (await manage.create(m, "project", entry)).id


def _taken(number: Phone) -> Conflict:
    return Conflict(f"{number} is imported already: delete it first, to import it anew.")
