"""`textback reseal`: seal every secret with the newest key."""

from collections.abc import Sequence

from textback.db.session import create_engine
from textback.flows import reseal as flow
from textback.flows.reseal import Resealed
from textback.settings import Settings
from textback.vault import FernetVault


async def run(found: Settings, *, dry_run: bool) -> int:
    """Say what was done; 1 when there are secrets that no key opens, else 0."""
    given = found.need("database_url", "secret_key")
    vault = FernetVault(given["secret_key"])
    db = create_engine(given["database_url"], pool_size=2)
    try:
        resealed = await flow.reseal(db, vault, dry_run=dry_run)
    finally:
        await db.dispose()
    return _tell(resealed, dry_run=dry_run)


def _tell(resealed: Sequence[Resealed], *, dry_run: bool) -> int:
    done = "sealed with an older key" if dry_run else "sealed anew"
    for each in resealed:
        print(f"{each.place}: {each.secrets} secrets, {each.old} {done}")
    lost = [each for each in resealed if each.lost]
    for each in lost:
        print(f"{each.place}: no key in TEXTBACK_SECRET_KEY opens {each.lost} of them")
    if lost:
        print("Put back the key that sealed them, or apply them again; then run this again.")
        return 1
    if not dry_run:
        print("The first key of TEXTBACK_SECRET_KEY opens all of them; others are not needed.")
    return 0
