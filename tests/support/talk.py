"""A conversation with one engine, as `flows.turn` would hold it: state and transcript go along."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import cast

from tests.support.turns import NOON
from textback.core.engine import Engine, Notebook, Said, TurnFailed, TurnReply, TurnRequest
from textback.core.ids import AgentId, ConversationId, ProjectId


@dataclass
class Talk:
    """`script` is what was said by whom, as a test reads it."""

    engine: Engine
    variables: Mapping[str, object] = field(default_factory=dict[str, object])
    start_node: str | None = None
    objective: str | None = None
    state: Mapping[str, object] = field(default_factory=dict[str, object])
    transcript: list[Said] = field(default_factory=list[Said])
    notebook: Notebook = field(default_factory=Notebook)
    turns: "count[int]" = field(default_factory=lambda: count(1))

    async def opens(self) -> TurnReply:
        """The agent says the first text; or goes on without having heard anything."""
        return await self._turn("")

    def opened(self, text: str) -> None:
        """The caller wrote the opener."""
        self._note("agent", text)

    async def says(self, *texts: str) -> TurnReply:
        """The user does, and the agent answers."""
        for text in texts:
            self._note("user", text)
        return await self._turn("\n".join(texts))

    def request(self, heard: str, number: int = 0) -> TurnRequest:
        return TurnRequest(
            turn_id=f"turn_{number:02}",
            conversation_id=ConversationId("conv_01"),
            agent_id=AgentId("bookings"),
            project_id=ProjectId("reminders"),
            transcript=list(self.transcript),
            heard=heard,
            metadata={},
            variables=self.variables,
            objective=self.objective,
            start_node=self.start_node,
            state=self.state,
            now=NOON,
            timezone="America/New_York",
            journal=self.notebook,
        )

    async def _turn(self, heard: str) -> TurnReply:
        reply = await self.engine.reply(self.request(heard, next(self.turns)))
        assert isinstance(reply, TurnReply), reply
        for text in reply.texts:
            self._note("agent", text)
        if reply.state is not None:
            self.state = cast("dict[str, object]", json.loads(json.dumps(reply.state)))
        return reply

    async def fails(self, heard: str) -> TurnFailed:
        """As `says`, for a turn that gives no answer; nothing of it is kept."""
        self._note("user", heard)
        reply = await self.engine.reply(self.request(heard, next(self.turns)))
        assert isinstance(reply, TurnFailed), reply
        self.transcript.pop()
        return reply

    @property
    def script(self) -> str:
        return "\n".join(f"{said.role}: {said.text}" for said in self.transcript)

    def _note(self, role: str, text: str) -> None:
        at = NOON + timedelta(seconds=len(self.transcript))
        who = "agent" if role == "agent" else "user"
        self.transcript.append(Said(seq=len(self.transcript), role=who, text=text, at=at))
