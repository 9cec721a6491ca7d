"""The version of an agent that is tried out or replayed: from the database, or from a file."""

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from textback import engine_kinds
from textback.cli.context import fail
from textback.core import reach, split
from textback.core.engine import (
    AnalysisSettings,
    Engine,
    Later,
    TurnFailed,
    TurnReply,
    TurnRequest,
)
from textback.core.frozen import frozen
from textback.core.ids import AgentId
from textback.core.policy import AgentLabel, ProjectPolicy
from textback.core.split import Part
from textback.core.turn import usable
from textback.db import agents, tenants
from textback.db.session import create_engine, transaction
from textback.log_lines import escaped
from textback.provisioning_file import FileRefused, read_agent
from textback.public_network import PublicNetwork, Way
from textback.settings import Settings
from textback.vault import FernetVault
from textback.wiring import clock

GRACE = timedelta(seconds=1)
"""An engine keeps its own deadline; this long after it, it is cut off, as a worker does."""


@frozen
class Subject:
    agent_id: AgentId
    name: str
    """Which version this is, in words."""
    greeting: str | None
    fallback: str | None
    can_open: bool
    nodes: Sequence[str]
    analysis: AnalysisSettings | None
    engine: Engine
    policy: ProjectPolicy
    """Of the project that it is tried as an agent of."""


@frozen
class Wanted:
    agent_id: AgentId
    version: AgentLabel | int
    file: Path | None = None
    """None: from the database."""


def version(said: str | None) -> AgentLabel | int:
    """What an option says: a label, or a number."""
    match said:
        case None | "production":
            return "production"
        case "draft":
            return "draft"
        case _ if said.isdecimal():
            return int(said)
        case _:
            raise fail(f"A version is production, draft or a number, and not {said!r}.")


async def find(settings: Settings, wanted: Wanted) -> Subject:
    if wanted.file is not None:
        return _from_file(wanted, wanted.file)
    return await _from_database(settings, wanted)


def _from_file(wanted: Wanted, file: Path) -> Subject:
    if isinstance(wanted.version, int):
        raise fail("A file has no numbered versions: --version is production or draft.")
    try:
        source = file.read_bytes()
    except OSError as error:
        raise fail(f"{file} cannot be read: {error.strerror}") from None
    try:
        agent, policy = read_agent(source, os.environ, wanted.agent_id, engines=engine_kinds.KINDS)
    except LookupError as error:
        raise fail(str(error.args[0])) from None
    except FileRefused as refused:
        for each in refused.problems:
            at = f"{each.path}: " if each.path else ""
            print(escaped(f"{file}:{each.line}: {at}{each.problem}"), file=sys.stderr)
        raise fail(f"{file} is not right, so that the agent cannot be tried.") from None
    if wanted.version == "draft" and agent.draft is None:
        raise fail(f'Agent "{wanted.agent_id}" has no draft in {file}.')
    content = agent.draft if wanted.version == "draft" and agent.draft else agent.production
    return Subject(
        agent_id=wanted.agent_id,
        name=f"{wanted.version} in {file}",
        greeting=content.greeting,
        fallback=content.fallback,
        can_open=content.can_open,
        nodes=content.nodes,
        analysis=content.analysis,
        engine=engine_kinds.make(content.engine, content.secrets, clock=clock),
        policy=policy,
    )


async def _from_database(settings: Settings, wanted: Wanted) -> Subject:
    db = create_engine(settings.need("database_url")["database_url"], pool_size=2)
    try:
        async with transaction(db) as c:
            agent = await agents.get(c, wanted.agent_id)
            if agent is None:
                raise fail(f'There is no agent "{wanted.agent_id}"; textback agent list has them.')
            label = wanted.version
            number = {"production": agent.production, "draft": agent.draft}.get(str(label), label)
            if not isinstance(number, int):
                raise fail(f'Agent "{wanted.agent_id}" has no draft.')
            found = await agents.find(c, wanted.agent_id, number)
            policy = await tenants.policy_for(c, wanted.agent_id)
    finally:
        await db.dispose()
    if found is None:
        raise fail(f'Agent "{wanted.agent_id}" has no version {number}.')
    secrets = _opened(settings, found.secrets) if found.secrets else {}
    try:
        public = None if settings.private_webhooks else PublicNetwork()
        way = Way(public, reach.open_origins(found.engine, found.private_urls))
        engine = engine_kinds.make(found.engine, secrets, clock=clock, way=way)
    except (ValueError, LookupError, TypeError):  # not its words: they may quote the settings
        raise fail(
            f"Version {number} of the agent cannot be run by this release: its settings are of"
            " another one."
        ) from None
    return Subject(
        agent_id=wanted.agent_id,
        name=f"version {number}",
        greeting=found.greeting,
        fallback=found.fallback,
        can_open=found.can_open,
        nodes=list(found.nodes),
        analysis=found.analysis,
        engine=engine,
        policy=policy or ProjectPolicy(),
    )


def _opened(settings: Settings, sealed: Mapping[str, str]) -> dict[str, str]:
    vault = FernetVault(settings.need("secret_key")["secret_key"])
    try:
        return {path: vault.open(secret) for path, secret in sealed.items()}
    except ValueError:
        raise fail(
            "The agent's secrets were sealed with a key that is not in TEXTBACK_SECRET_KEY."
        ) from None


@frozen
class Answer:
    """What came of a turn, and what would go out for it."""

    reply: TurnReply | TurnFailed
    parts: Sequence[Part]
    """Of the fallback, if it failed."""
    seconds: float

    @property
    def failed(self) -> str | None:
        return self.reply.reason if isinstance(self.reply, TurnFailed) else None

    @property
    def ends(self) -> bool:
        return isinstance(self.reply, TurnReply) and self.reply.end_conversation

    @property
    def hands_off(self) -> str | None:
        return self.reply.hand_off if isinstance(self.reply, TurnReply) else None


async def ask(subject: Subject, request: TurnRequest) -> Answer:
    """As a worker does: within the engine's deadline, and nothing that is no usable answer."""
    began = time.monotonic()
    reply = await _reply(subject, request)
    parts: Sequence[Part] = ()
    if isinstance(reply, TurnReply):
        try:
            parts = split.say(reply.texts, subject.policy.replies)
        except ValueError as error:
            reply = TurnFailed(f"the engine's answer {error}", reply.usage)
    if isinstance(reply, TurnFailed) and subject.fallback is not None:
        parts = [Part(subject.fallback)]
    return Answer(reply=reply, parts=parts, seconds=time.monotonic() - began)


async def _reply(subject: Subject, request: TurnRequest) -> TurnReply | TurnFailed:
    allowed = subject.engine.deadline + GRACE
    try:
        async with asyncio.timeout(allowed.total_seconds()):
            answer = usable(await subject.engine.reply(request))
    except TimeoutError:
        return TurnFailed(f"no answer within {allowed.total_seconds():g} s")
    except Exception as error:  # noqa: BLE001 - whatever an engine does, the user gets the fallback
        return TurnFailed(f"the engine broke ({type(error).__name__})")
    if isinstance(answer, Later):
        return TurnFailed("it would post its answer later, to a service that runs")
    return answer
