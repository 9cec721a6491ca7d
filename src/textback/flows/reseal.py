"""Sealed secrets -> sealed with the newest key, so that older keys can be taken away."""

from dataclasses import dataclass
from typing import Final, Protocol

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.frozen import frozen
from textback.db import provisioning, sealed
from textback.db.sealed import Place
from textback.db.session import transaction

PAGE: Final = 200


class Vault(Protocol):
    def reseal(self, sealed: str) -> str:
        """Under the newest key; unchanged if it is already. Raises ValueError: none opens it."""
        ...


@dataclass(slots=True)
class Resealed:
    """What was found in one place."""

    place: str
    """The column, as `carriers.auth_token`."""
    secrets: int = 0
    old: int = 0
    """Of these: were sealed with an older key."""
    lost: int = 0
    """Of these: no key opens them. They are left as they are."""


async def reseal(db: AsyncEngine, vault: Vault, *, dry_run: bool = False) -> list[Resealed]:
    """Seal each secret anew that an older key sealed; a dry run only counts, and locks nothing.

    Processes may run meanwhile, if they have both keys. Interrupted and run again, it goes on.
    Raises Unavailable.
    """
    return [await _place(db, vault, place, dry_run=dry_run) for place in sealed.PLACES]


async def _place(db: AsyncEngine, vault: Vault, place: Place, *, dry_run: bool) -> Resealed:
    found, after = Resealed(place.name), None
    while True:
        async with transaction(db) as c:
            if not dry_run:
                await provisioning.alone(c)
            some = await sealed.page(c, place, after=after, limit=PAGE, lock=not dry_run)
            for key, value in some:
                again = place.each(value, _Counting(vault, found))
                if again != value and not dry_run:
                    await sealed.write(c, place, key, again)
        if len(some) < PAGE:
            return found
        after = some[-1][0]


@frozen(kw_only=False)
class _Counting:
    vault: Vault
    found: Resealed

    def __call__(self, before: str) -> str:
        self.found.secrets += 1
        try:
            after = self.vault.reseal(before)
        except ValueError:
            self.found.lost += 1
            return before
        self.found.old += after != before
        return after
