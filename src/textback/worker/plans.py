"""Sends whose moment has come, and batches: they are opened here, and sent like any other."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from textback import metrics
from textback.core.errors import Unavailable
from textback.core.ids import AccountId
from textback.flows import due, opening_due
from textback.flows.due import Turn
from textback.runtime import Runtime
from textback.worker.loop import Claim, Loop

AT_ONCE = 2
"""Of either kind, in one worker. Single sends never wait for a batch."""

SELDOM = 5
"""Times as long between two looks as for others: what is planned is known beforehand, and told."""


class Plans:
    def __init__(self, rt: Runtime) -> None:
        self.rt = rt
        self._under_way: set[AccountId] = set()
        self._last: dict[AccountId, int] = {}
        self._turns = 0
        self._singles = self._loop("plans", self._claim_singles, self._send_singles)
        self._batches = self._loop("batches", self._claim_batches, self._send)
        self.loops = (self._singles, self._batches)

    def wake(self) -> None:
        self._singles.wake()
        self._batches.wake()

    def _loop(
        self, name: str, claim: Claim[Turn], send: Callable[[Turn], Awaitable[None]]
    ) -> Loop[Turn]:
        rt = self.rt
        return Loop(name, claim, send, concurrency=AT_ONCE, poll=SELDOM * rt.poll, now=rt.now)

    async def _claim_singles(self, limit: int) -> tuple[Sequence[Turn], datetime | None]:
        """Accounts take turns, so that none waits for what another has planned."""
        found, upcoming = await due.due_accounts(self.rt.db, now=self.rt.now())
        free = [account for account in found if account not in self._under_way]
        free.sort(key=lambda account: self._last.get(account, 0))
        for account in free[:limit]:
            self._turns += 1
            self._last[account] = self._turns
        self._under_way.update(free[:limit])
        return [Turn(account_id=account) for account in free[:limit]], upcoming

    async def _send_singles(self, turn: Turn) -> None:
        try:
            await self._send(turn)
        finally:
            self._under_way.discard(turn.account_id)

    async def _claim_batches(self, limit: int) -> tuple[Sequence[Turn], datetime | None]:
        return await due.claim_batches(self.rt.db, limit=limit, now=self.rt.now())

    async def _send(self, turn: Turn) -> None:
        rest: Turn | None = turn
        while rest is not None:
            try:
                done = await opening_due.send_some(self.rt.db, rest, now=self.rt.now())
            except Unavailable:
                return  # the claims tell of it, and wait
            for outcome in done.outcomes:
                metrics.PLANS.labels(outcome).inc()
            rest = done.rest
