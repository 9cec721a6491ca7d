"""A plan -> what is provisioned, all of it or nothing; the same plan again changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.errors import ProvisioningError, ProvisioningRefused
from textback.core.plan import Plan
from textback.core.ports import Vault
from textback.db import provisioning
from textback.db.session import transaction
from textback.flows.provision_entries import Comparison, NewKey, Thing


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    created: Sequence[Thing]
    updated: Sequence[Thing]
    removed: Sequence[Thing]
    unchanged: int
    api_keys: Sequence[NewKey]
    """Those that were made now."""
    warnings: Sequence[ProvisioningError]
    """What works, but looks like a mistake."""


async def apply(
    db: AsyncEngine,
    plan: Plan,
    *,
    vault: Vault,
    now: datetime,
    prune: bool = False,
    dry_run: bool = False,
) -> Report:
    """Add and update what the plan names, in one transaction, one apply at a time.

    What it no longer names stays; with `prune` it is removed, and keys are revoked: named again, it
    comes back. A dry run reports what would happen and makes no keys. Running processes see the
    change within seconds. Raises ProvisioningRefused, Unavailable: then nothing was changed.
    """
    async with transaction(db) as c:
        await provisioning.alone(c)
        there = await provisioning.everything(c)
        versions = await provisioning.versions(c)
        found = Comparison(plan, there, versions, vault=vault, now=now, prune=prune)
        if found.errors:
            raise ProvisioningRefused(found.errors)
        if not dry_run:
            await provisioning.write(c, found.changes, now=now)
    return Report(
        created=found.created,
        updated=found.updated,
        removed=found.removed,
        unchanged=found.unchanged,
        api_keys=() if dry_run else found.made,
        warnings=found.warnings,
    )
