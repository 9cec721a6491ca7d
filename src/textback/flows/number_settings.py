"""What a dialect lets its callers say of a number -> what conversations there begin with."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.defaults import Defaults
from textback.core.errors import NumberNotProvisioned, UnknownAgent
from textback.core.ids import AccountId
from textback.core.phone import Phone
from textback.db import agents, number_settings
from textback.db.number_settings import Settings
from textback.db.session import transaction

Own = Mapping[str, Any]
"""What one dialect keeps of a number. JSON."""


async def own(db: AsyncEngine, account_id: AccountId, number: Phone, dialect: str) -> Own:
    """Nothing, if it was never said. Raises NumberNotProvisioned, Unavailable."""
    async with transaction(db) as c:
        found = await number_settings.of(c, account_id, number)
    return _found(found, number).config.get(dialect, {})


async def listed(db: AsyncEngine, account_id: AccountId) -> Sequence[Settings]:
    async with transaction(db) as c:
        return await number_settings.of_account(c, account_id)


async def change(
    db: AsyncEngine,
    account_id: AccountId,
    number: Phone,
    dialect: str,
    make: Callable[[Own], tuple[Own, Defaults]],
) -> Own:
    """Keep what `make` makes of what there was. Live conversations stay as they are.

    Raises NumberNotProvisioned, UnknownAgent (none of the account's, or no such version or node),
    Unavailable, and whatever `make` does; then nothing is changed.
    """
    async with transaction(db) as c:
        found = _found(await number_settings.of(c, account_id, number, lock=True), number)
        new, defaults = make(found.config.get(dialect, {}))
        if defaults.agent_id is not None:
            version = defaults.agent_version or "production"
            agent = await agents.choose(c, account_id, defaults.agent_id, version)
            if agent is None:
                msg = f'This account has no agent "{defaults.agent_id}" with a version {version}.'
                raise UnknownAgent(msg)
            if defaults.start_node is not None and defaults.start_node not in agent.nodes:
                msg = f'Agent "{agent.agent_id}" has no node "{defaults.start_node}".'
                raise UnknownAgent(msg)
        await number_settings.save(
            c, number, found.config, dialect=dialect, own=new, defaults=defaults
        )
    return new


def _found(settings: Settings | None, number: Phone) -> Settings:
    if settings is None:
        raise NumberNotProvisioned(f"{number} is not one of this account's numbers.")
    return settings
