"""What is known of many pairs of numbers at once."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.frozen import frozen
from textback.core.ids import ConversationId, ProjectId
from textback.core.optout import every_number_of
from textback.core.phone import Phone
from textback.db.driver import Statement

# One by one, so that each stays a look into an index.
_STANDING: Final = Statement("""
    select
        (select c.id from conversations c where c.agent_number = p.agent_number
            and c.user_number = p.user_number and c.state <> 'closed') as live,
        exists (select from opt_outs o where o.user_number = p.user_number
            and o.opted_in_at is null
            and o.agent_number in (p.agent_number, p.every_number)) as opted_out
    from unnest(cast(:agents as text[]), cast(:users as text[]), cast(:every as text[]))
        with ordinality as p (agent_number, user_number, every_number, place)
    order by p.place
""")


_HISTORIES: Final = Statement("""
    select
        (select c.agent_number from conversations c where c.project_id = u.project_id
            and c.user_number = u.user_number order by c.opened_at desc limit 1) as latest,
        exists (select from opt_outs o where o.user_number = u.user_number
            and o.opted_in_at is null
            and (o.agent_number = u.every_number or exists (select from numbers n
                where n.number = o.agent_number and n.project_id = u.project_id))) as opted_out
    from unnest(cast(:projects as text[]), cast(:users as text[]), cast(:every as text[]))
        with ordinality as u (project_id, user_number, every_number, place)
    order by u.place
""")


@frozen(kw_only=False)
class Standing:
    live: ConversationId | None
    """The conversation that they have."""
    opted_out: bool
    """Of the number, or of its whole project."""


@frozen(kw_only=False)
class History:
    """Of a project with a user."""

    latest: Phone | None
    """The number that was used last."""
    opted_out: bool
    """Of any number of the project."""


async def histories(c: AsyncConnection, users: Sequence[tuple[ProjectId, Phone]]) -> list[History]:
    """In their order."""
    given = {
        "projects": [project_id for project_id, _ in users],
        "users": [user for _, user in users],
        "every": [every_number_of(project_id) for project_id, _ in users],
    }
    rows = await _HISTORIES.rows(c, **given)
    return [History(row["latest"], row["opted_out"]) for row in rows]


async def standing(
    c: AsyncConnection, pairs: Sequence[tuple[Phone, Phone, ProjectId]]
) -> list[Standing]:
    """Of each agent number, user number and the agent number's project, in their order.

    Call with the pairs locked.
    """
    given = {
        "agents": [agent for agent, _, _ in pairs],
        "users": [user for _, user, _ in pairs],
        "every": [every_number_of(project_id) for _, _, project_id in pairs],
    }
    rows = await _STANDING.rows(c, **given)
    return [Standing(row["live"], row["opted_out"]) for row in rows]
