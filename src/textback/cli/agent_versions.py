"""`textback agent list`, `show`, `move`: versions, and who is on them."""

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Any

from rich.console import Console
from rich.table import Table

from textback.cli.agent_words import readable
from textback.cli.context import fail
from textback.cli.words import in_json
from textback.core.errors import UnknownAgent
from textback.core.ids import AgentId
from textback.core.policy import AgentLabel
from textback.db import agents
from textback.db.agents import ANALYSIS, Agent, AgentVersion
from textback.db.session import create_engine, transaction
from textback.flows import versions as flow
from textback.settings import Settings

AGAIN_SECONDS = 0.5
"""Between two looks at conversations that are in the middle of a turn."""


async def show_all(settings: Settings, *, as_json: bool) -> None:
    db = create_engine(settings.need("database_url")["database_url"], pool_size=2)
    try:
        async with transaction(db) as c:
            found = await agents.listed(c)
            live = await agents.live(c, {agent.id for agent in found})
            kinds = {agent.id: await agents.versions(c, agent.id) for agent in found}
    finally:
        await db.dispose()
    rows = [
        {
            "agent": agent.id,
            "account": agent.account_id,
            "version": version.number,
            "labels": _labels(agent, version.number),
            "kind": version.engine["kind"],
            "created_at": version.created_at.isoformat(),
            "live": live.get(agent.id, {}).get(version.number, 0),
        }
        for agent in found
        for version in kinds[agent.id]
    ]
    if as_json:
        print(in_json(rows, indent=2))
    elif not rows:
        print("No agents.")
    else:
        _table(rows)


def _labels(agent: Agent, number: int) -> list[str]:
    found = {"production": agent.production, "draft": agent.draft}
    return [label for label, at in found.items() if at == number]


def _table(rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("agent", "account", "version", "", "engine", "live conversations"):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        if not row["labels"] and not row["live"]:
            continue  # nobody uses it, and nobody will who does not name it
        names = ", ".join(row["labels"])
        table.add_row(
            row["agent"], row["account"], str(row["version"]), names, row["kind"], str(row["live"])
        )
    # Piped, a table must not lose its ids to a narrow terminal.
    console = Console()
    (console if console.is_terminal else Console(width=250)).print(table)


async def show(settings: Settings, agent_id: AgentId, wanted: AgentLabel | int) -> None:
    """As JSON, without secrets: where one is, it says that one is there."""
    db = create_engine(settings.need("database_url")["database_url"], pool_size=2)
    try:
        async with transaction(db) as c:
            agent = await agents.get(c, agent_id)
            if agent is None:
                raise fail(f'There is no agent "{agent_id}"; textback agent list has them.')
            labelled = {"production": agent.production, "draft": agent.draft}
            number = labelled.get(str(wanted), wanted)
            found = await agents.find(c, agent_id, number) if isinstance(number, int) else None
            if found is None:
                what = "no draft" if wanted == "draft" else f"no version {wanted}"
                raise fail(f'Agent "{agent_id}" has {what}.')
            live = (await agents.live(c, {agent_id})).get(agent_id, {}).get(found.number, 0)
    finally:
        await db.dispose()
    print(in_json(_shown(agent, found, live), indent=2))


def _shown(agent: Agent, version: AgentVersion, live: int) -> Mapping[str, object]:
    analysis = version.analysis
    return {
        "agent": agent.id,
        "account": agent.account_id,
        "version": version.number,
        "labels": _labels(agent, version.number),
        "created_at": version.created_at.isoformat(),
        "live": live,
        "greeting": version.greeting,
        "fallback": version.fallback,
        "engine": version.engine,
        "secrets": sorted(version.secrets),
        "analysis": None if analysis is None else ANALYSIS.dump_python(analysis, mode="json"),
    }


async def move(
    settings: Settings,
    agent_id: AgentId,
    to: AgentLabel | int,
    *,
    from_: AgentLabel | int | None,
    wait: float,
) -> int:
    """Until none is left, or for `wait` seconds; gives the exit code."""
    db = create_engine(settings.need("database_url")["database_url"], pool_size=2)
    moved = began_anew = 0
    until = monotonic() + wait
    try:
        while True:
            done = await flow.move(db, agent_id, to, from_=from_)
            moved, began_anew = moved + done.moved, began_anew + done.began_anew
            if not done.left or monotonic() >= until:
                break
            await asyncio.sleep(AGAIN_SECONDS)
    except UnknownAgent as unknown:
        raise fail(readable(unknown.sentence)) from None
    finally:
        await db.dispose()
    print(f"{_many(moved)} moved to version {done.to} of {agent_id}.")
    if began_anew:
        print(
            f"Of them {began_anew} begin anew: what the engine kept between turns is not of this"
            " kind of engine, or its flow has no such node any more."
        )
    if done.left:
        print(f"{_many(done.left)} left, in the middle of a turn; move again in a while.")
    return 1 if done.left else 0


def _many(count: int) -> str:
    return "1 live conversation is" if count == 1 else f"{count} live conversations are"
