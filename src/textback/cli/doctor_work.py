"""What `textback doctor` asks about the work: whether it gets done, and what waits for somebody."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from textback.core.ports import Finding
from textback.db import checkup, watch
from textback.db.watch import Queues
from textback.flows import reseal
from textback.flows.reseal import Resealed
from textback.runtime import Runtime
from textback.vault import FernetVault
from textback.worker.pauses import MOST

LATE: Final = timedelta(minutes=2)
BATCH_LATE: Final = timedelta(minutes=15)
"""Batches take turns."""
_WORDS: Final = {
    "messages": "texts",
    "turns": "answers of agents",
    "conversations": "deadlines of conversations",
    "plans": "planned sends",
    "batches": "rows of batches",
    "deliveries": "webhooks",
}


async def findings(rt: Runtime, secret_key: str) -> list[Finding]:
    """Raises Unavailable."""
    now = rt.now()
    queues, sweep_due_at = await watch.queues(rt.db), await checkup.sweep_due_at(rt.db)
    sealed = await reseal.reseal(rt.db, FernetVault(secret_key), dry_run=True)
    return [
        _uncertain(queues),
        *_late(queues, now),
        *_workers(sweep_due_at, now, rt.sweep),
        *_webhooks(queues),
        *_sealed(sealed),
    ]


def _uncertain(found: Queues) -> Finding:
    if not found.unsettled:
        return Finding(ok=True, what=f"no text waits to be settled ({found.looked_up} looked up)")
    return Finding(
        ok=False,
        what=f"texts that may be out or not, and cannot be looked up any more: {found.unsettled}",
        fix="Run textback uncertain.",
    )


def _late(found: Queues, now: datetime) -> Iterator[Finding]:
    waited = {queue: now - due for queue, due in found.oldest.items() if due}
    late = {
        queue: span
        for queue, span in waited.items()
        if span > (BATCH_LATE if queue == "batches" else LATE)
    }
    for queue, span in late.items():
        yield Finding(
            ok=False,
            what=f"{_WORDS[queue]} have been due for {_length(span)}",
            fix="See that workers run and are not full: docs/runbook.md.",
        )
    if not late:
        yield Finding(ok=True, what="nothing that is due waits")


def _workers(due_at: datetime | None, now: datetime, sweep: timedelta) -> Iterator[Finding]:
    """Every worker sweeps, and notes at each number when to sweep again: no other sign of it.

    What lists a server's connections tells none of them from those of the API.
    """
    if due_at is None:
        return
    late = now - due_at
    if late < timedelta(0):
        looked = _length(max(sweep + late, timedelta(0)))
        yield Finding(ok=True, what=f"a worker looked for lost replies {looked} ago")
    elif late <= max(sweep, MOST):  # a carrier that does not answer is left alone for a while
        yield Finding(
            ok=True,
            what=f"lost replies should have been looked for {_length(late)} ago",
            fix="Should that grow, see whether textback work runs.",
        )
    else:
        yield Finding(
            ok=False,
            what="no worker seems to run: nobody has looked for lost replies"
            f" for {_length(late + sweep)}",
            fix="Start textback work, and look into its log.",
        )


def _webhooks(found: Queues) -> Iterator[Finding]:
    if failing := found.endpoints.get("failing"):
        yield Finding(
            ok=True,
            what=f"webhooks that fail: {failing}",
            fix="They are tried again; their owners see why with GET /v1/webhooks.",
        )
    if paused := found.endpoints.get("paused"):
        yield Finding(
            ok=True,
            what=f"webhooks that are paused: {paused}",
            fix="What happens is kept for them for 30 days, until their owners resume them.",
        )


def _sealed(found: Sequence[Resealed]) -> Iterator[Finding]:
    old = sum(each.old for each in found)
    # Of carriers it is told below, one by one.
    lost = [each for each in found if each.lost and each.place != "carriers.auth_token"]
    for each in lost:
        yield Finding(
            ok=False,
            what=f"{each.place}: no key in TEXTBACK_SECRET_KEY opens {each.lost} of its secrets",
            fix="Put back the key that sealed them behind a comma, or apply them again.",
        )
    if old:
        yield Finding(
            ok=True,
            what=f"secrets that an older key of TEXTBACK_SECRET_KEY sealed: {old}",
            fix="Run textback reseal before you take that key away.",
        )
    elif not any(each.lost for each in found):
        yield Finding(ok=True, what="the first key of TEXTBACK_SECRET_KEY opens every secret")


def _length(span: timedelta) -> str:
    """As 90 s, 12 min or 3 h."""
    seconds = span.total_seconds()
    for size, name in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"
