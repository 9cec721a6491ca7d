"""A plan -> what is provisioned, all of it or nothing; the same plan again changes nothing."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.errors import ProvisioningError, ProvisioningRefused
from textback.core.ids import AgentId
from textback.core.plan import Plan
from textback.core.ports import Vault
from textback.db import agents, provisioning
from textback.db.session import transaction
from textback.flows.provision_agents import Reread
from textback.flows.provision_entries import Comparison
from textback.flows.provision_report import NewVersion, Report

__all__ = ["Report", "apply"]


def _as_it_is(engine: Mapping[str, object], _secrets: Mapping[str, str]) -> Mapping[str, object]:
    return engine


async def apply(
    db: AsyncEngine,
    plan: Plan,
    *,
    vault: Vault,
    now: datetime,
    reread: Reread = _as_it_is,
    prune: bool = False,
    dry_run: bool = False,
) -> Report:
    """Add and update what the plan names, in one transaction, one apply at a time.

    What it no longer names stays; with `prune` it is removed, and keys are revoked: named again, it
    comes back. A dry run reports what would happen and makes no keys. With `reread`, versions whose
    engines an older release stored in fewer words are found the same. Running processes see the
    change within seconds. Raises ProvisioningRefused, Unavailable: then nothing was changed.
    """
    async with transaction(db) as c:
        await provisioning.alone(c)
        there = await provisioning.everything(c)
        versions = await provisioning.versions(c)
        found = Comparison(plan, there, versions, vault=vault, reread=reread, now=now, prune=prune)
        if found.errors:
            raise ProvisioningRefused(found.errors)
        if not dry_run:
            await provisioning.write(c, found.changes, now=now)
        named = {change.agent_id for change in found.relabelled}
        named |= {agent_id for agent_id, (_, numbers) in found.lost.items() if numbers}
        live = await agents.live(c, named)
    return Report(
        created=found.created,
        updated=found.updated,
        removed=found.removed,
        unchanged=found.unchanged,
        api_keys=() if dry_run else found.made,
        warnings=[*found.warnings, *_failing(found, live)],
        versions=[NewVersion(change, live.get(change.agent_id, {})) for change in found.relabelled],
    )


def _failing(
    found: Comparison, live: Mapping[AgentId, Mapping[int, int]]
) -> Iterator[ProvisioningError]:
    """Live conversations whose agent cannot be made: nobody knows its secrets any more."""
    for agent_id, (path, numbers) in found.lost.items():
        for number in numbers:
            if count := live.get(agent_id, {}).get(number, 0):
                yield ProvisioningError(
                    path,
                    f"no key opens the secrets of version {number}, so its {count} live"
                    f" conversations fail; `textback agent move {agent_id} --from {number}` moves"
                    " them",
                )
