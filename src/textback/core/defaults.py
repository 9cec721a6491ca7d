"""What conversations on one of our numbers begin with, where nobody asks for anything else."""

from collections.abc import Mapping
from dataclasses import field

from textback.core.commands import AgentChoice, Notify
from textback.core.frozen import frozen
from textback.core.ids import AgentId
from textback.core.policy import AgentLabel, IdlePolicy


@frozen
class Defaults:
    """Kept with the number (`numbers.config`, under "defaults"), whatever dialect it came in.

    A dialect that lets its callers configure numbers writes it; who opens a conversation there, a
    caller of any dialect or the user, gets it.
    """

    agent_id: AgentId | None = None
    """None: the number's, or else the project's."""
    agent_version: AgentLabel | int | None = None
    start_node: str | None = None
    objective: str | None = None
    variables: Mapping[str, object] = field(default_factory=dict[str, object])
    idle: IdlePolicy | None = None
    reopens: bool = True
    notify: Notify | None = None
    replies: bool = True
    """False: what users say is kept, and the agent does not answer."""
    ignores: tuple[str, ...] = ()
    """A user's text with one of these in it gets no answer; in any case of letters."""
    messaging_service_sid: str | None = None
    """Twilio's: texts are sent through it, as from the number."""
    extra: Mapping[str, object] = field(default_factory=dict[str, object])
    """What only the dialect reads again, of each conversation. JSON."""

    @property
    def agent(self) -> AgentChoice:
        return AgentChoice(
            agent_id=self.agent_id, version=self.agent_version, start_node=self.start_node
        )

    def ignores_text(self, text: str) -> bool:
        return any(word.casefold() in text.casefold() for word in self.ignores)
