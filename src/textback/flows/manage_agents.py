"""Agents that come with nothing but a prompt, and the versions of agents."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import cast

from textback.core import secret_paths
from textback.core.entries import Entry
from textback.core.errors import Conflict, UnknownResource
from textback.core.frozen import frozen
from textback.core.ids import AgentId
from textback.core.policy import DEFAULT_FALLBACK
from textback.core.reach import Given
from textback.db import agents, managed
from textback.db.session import transaction
from textback.flows import manage
from textback.flows.manage_shown import Managed, Managing, content
from textback.flows.provision_access import Sealing


async def create_from_template(
    m: Managing,
    *,
    agent_id: str,
    prompt: str,
    greeting: str | None = None,
    fallback: str | None = DEFAULT_FALLBACK,
    own: Mapping[str, object] | None = None,
) -> Managed:
    """Add an agent: a copy of the template's production version, with another prompt.

    It is a copy from then on: `manage.update(m, "agent", id, {"engine": {"prompt": ...}})` changes
    it. Raises as `manage.create`, and Conflict with what to do when the account has no template
    (`agent_template`), or one whose engine takes no prompt.
    """
    template = await _template(m)
    engine = template.entry
    if "prompt" not in engine:
        raise Conflict(
            "The account's agent_template takes no prompt: name an agent of kind llm there."
        )
    entry = {
        "id": agent_id,
        "greeting": greeting,
        "fallback": fallback,
        "engine": {**engine, "prompt": prompt},
    }
    return await manage.create(
        m, "agent", entry, own=own, trusted=[Given(entry, template.private_urls)]
    )


@frozen
class Version:
    number: int
    created_at: datetime
    content: Entry
    """`greeting`, `fallback`, `engine` without its secrets, `analysis`."""
    live: int
    """Conversations that are on it."""
    is_production: bool
    is_draft: bool


async def versions(
    m: Managing, agent_id: str, *, after: int | None = None, limit: int = 50
) -> list[Version]:
    """Up to `limit` of all that the agent ever had, those after number `after`.

    Raises UnknownResource, Unavailable.
    """
    async with transaction(m.db) as c:
        row = await managed.one(c, m.account_id, "agent", agent_id)
        if row is None:
            raise UnknownResource("There is no agent of that name.")
        found = await managed.versions(c, agent_id, after=after or 0, limit=limit)
        live = (await agents.live(c, [AgentId(agent_id)])).get(AgentId(agent_id), {})
    return [
        Version(
            number=number,
            created_at=cast("datetime", version["created_at"]),
            content=content(version),
            live=live.get(number, 0),
            is_production=number == row["production"],
            is_draft=number == row["draft"],
        )
        for version in found
        for number in [cast("int", version["number"])]
    ]


async def _template(m: Managing) -> Given:
    """The engine with its secrets in the clear."""
    async with transaction(m.db) as c:
        account = await managed.account(c, m.account_id)
        template = None if account is None else account["agent_template"]
        name = str(template)
        row = await managed.one(c, m.account_id, "agent", name)
        versions = await managed.labelled(c, [name])
    if template is None or row is None:
        raise Conflict(
            "An agent with nothing but a prompt needs one to run like: set the account's"
            " agent_template, in the provisioning file or by PATCH /v1/admin/account."
        )
    version = versions[name][cast("int", row["production"])]
    sealing = Sealing(m.vault)
    opened = {
        path: sealing.opened(sealed)
        for path, sealed in cast("Mapping[str, str]", version["secrets"]).items()
    }
    if None in opened.values():
        raise Conflict("The secrets of the account's agent_template cannot be opened any more.")
    known = {path: secret for path, secret in opened.items() if secret is not None}
    engine = secret_paths.put(cast("Entry", version["engine"]), known)
    return Given(engine, cast("Sequence[str] | None", version["private_urls"]))
