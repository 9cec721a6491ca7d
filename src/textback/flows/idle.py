"""What silence does in a project, for a send that changes some of it."""

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.ids import ProjectId
from textback.core.policy import IdlePolicy
from textback.db import tenants
from textback.db.session import transaction


async def of_project(db: AsyncEngine, project_id: ProjectId) -> IdlePolicy:
    """Raises Unavailable."""
    async with transaction(db) as c:
        return (await tenants.get_project(c, project_id)).policy.idle
