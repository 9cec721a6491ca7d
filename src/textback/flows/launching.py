"""A batch that is a draft, or waits for its time -> sent from now on."""

from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.errors import Conflict, UnknownResource
from textback.core.ids import AccountId
from textback.db import batches, events, launching, plans
from textback.db.session import transaction
from textback.flows.batches import Moved, tell


async def launch(db: AsyncEngine, account_id: AccountId, batch_id: str, *, now: datetime) -> Moved:
    """One that is paused goes on; of one that runs, `changed` says whether a row was early.

    Quiet hours hold what they hold. Raises UnknownResource, Conflict (it is over), Unavailable.
    """
    async with transaction(db) as c:
        held = await batches.lock(c, account_id, batch_id)
        if held is None:
            raise UnknownResource(f"There is no batch {batch_id}.")
        if held.state in {"cancelled", "done"}:
            raise Conflict(f"The batch is over: it is {held.state}.")
        early = await launching.hasten(c, held.id, now=now)
        if held.state != "running":
            await batches.moved(c, held.id, "running", now=now)
        record = await plans.get_batch(c, account_id, batch_id)
        if record is None:
            raise UnknownResource(f"There is no batch {batch_id}.")
        moved = Moved(batch=record, changed=held.state != "running")
        if moved.changed:
            kind = "batch.started" if held.state == "draft" else "batch.resumed"
            await tell(c, kind, record, now=now)
        await events.wake(c, "plans")
        return replace(moved, changed=moved.changed or early > 0)
