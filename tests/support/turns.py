"""Turns for engines to answer, and conversations to analyse."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from textback.core.engine import AnalysisRequest, AnalysisSettings, Said, TurnRequest
from textback.core.ids import AgentId, ConversationId, ProjectId

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def turn(
    heard: str = "",
    *,
    transcript: Sequence[Said] | None = None,
    turn_id: str = "turn_01",
    metadata: Mapping[str, object] | None = None,
) -> TurnRequest:
    """A turn in which the user said `heard`; nothing heard: the agent is to open."""
    if transcript is None:
        transcript = [Said(role="user", text=heard, at=NOON)] if heard else []
    return TurnRequest(
        turn_id=turn_id,
        conversation_id=ConversationId("conv_01"),
        agent_id=AgentId("bookings"),
        project_id=ProjectId("reminders"),
        transcript=transcript,
        heard=heard,
        metadata=metadata or {},
        now=NOON,
    )


def over(heard: str, *, wanted: AnalysisSettings | None = None) -> AnalysisRequest:
    """A conversation in which the user said `heard`, and then nothing more."""
    return AnalysisRequest(
        conversation_id=ConversationId("conv_01"),
        agent_id=AgentId("bookings"),
        project_id=ProjectId("reminders"),
        transcript=[Said(role="user", text=heard, at=NOON)],
        ended="idle",
        wanted=wanted or AnalysisSettings(),
        metadata={},
        now=NOON,
    )
