"""The engine's side of a turn: what it is told, what it may answer, whom it may call.

An engine cannot send, cannot write, and sees no phone number. Nothing here raises for an expected
outcome, but for `TurnLost`, which an engine lets pass.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol, TypeAlias

from textback.core.frozen import frozen
from textback.core.ids import AgentId, ConversationId, ProjectId
from textback.core.phone import Channel

Role = Literal["agent", "user", "person"]
"""`person`: one of ours, who took the conversation over or wrote into it."""


@frozen
class Said:
    """One text of the transcript."""

    seq: int = 0
    """Its place in the order of all texts."""
    role: Role
    text: str
    at: datetime
    media: Sequence[Mapping[str, str]] = ()


# --- Calls of tools -----------------------------------------------------------------------------


@frozen(kw_only=False)
class ToolResult:
    text: str
    """For the agent to read: JSON or words."""
    failed: bool = False


@frozen
class ToolCall:
    """A call that the agent made earlier in this conversation."""

    call_id: str
    turn_id: str
    name: str
    arguments: Mapping[str, object]
    at: datetime
    result: ToolResult | None
    """None: it was begun, and nobody knows how it ended."""


class TurnLost(Exception):  # noqa: N818 - a state of affairs
    """Another worker has the turn, or its user has said more: nothing is to be done for it."""


Do: TypeAlias = Callable[[str], Awaitable[ToolResult]]
"""Makes the call; is given the call's id, which is the same when it is made again."""


class Journal(Protocol):
    """The record of a turn's calls. An engine makes every call through it."""

    async def call(self, name: str, arguments: Mapping[str, object], do: Do) -> ToolResult:
        """Note the call, make it, note its result.

        A turn may run again: its worker died, or the user said more meanwhile. The same call, by
        name and arguments, then gives the result it had. One whose end nobody knows is made again
        under its first id, by which the tool can tell. Raises TurnLost.
        """
        ...


_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)


class Notebook:
    """A journal in memory, for trying an agent out; remembers the calls in `calls`."""

    def __init__(self, turn_id: str = "turn", *, at: datetime = _NO_TIME) -> None:
        self._turn_id, self._at = turn_id, at
        self.calls: list[ToolCall] = []

    async def call(self, name: str, arguments: Mapping[str, object], do: Do) -> ToolResult:
        call_id = f"{self._turn_id}.{len(self.calls) + 1}"
        result = await do(call_id)
        self.calls.append(
            ToolCall(
                call_id=call_id,
                turn_id=self._turn_id,
                name=name,
                arguments=dict(arguments),
                at=self._at,
                result=result,
            )
        )
        return result


# --- A turn -------------------------------------------------------------------------------------


@frozen
class Earlier:
    """A conversation with the same user that is over."""

    ended_at: datetime
    summary: str | None
    """What its analysis made of it, if it was analysed."""
    transcript: Sequence[Said]
    """Its last texts."""


@frozen
class TurnRequest:
    """All an engine may know. No phone numbers."""

    turn_id: str
    """The same over all runs of one turn."""
    run: int = 1
    """Counts how often the turn was given to an engine."""
    conversation_id: ConversationId
    agent_id: AgentId
    project_id: ProjectId
    channel: Channel = "sms"
    transcript: Sequence[Said]
    """Oldest first, the new texts included."""
    heard: str
    """The user's new texts, joined by newlines; empty when the agent is to open or to go on."""
    metadata: Mapping[str, object]
    """The caller's, to be echoed."""
    variables: Mapping[str, object] = field(default_factory=dict[str, object])
    """The caller's data for this conversation: what `{{name}}` in a prompt stands for."""
    objective: str | None = None
    """What the caller wants of this conversation."""
    start_node: str | None = None
    """Where a flow begins, if not at its start."""
    state: Mapping[str, object] = field(default_factory=dict[str, object])
    """What the engine gave to be kept with its latest answer that counted; {} at first. JSON.

    When the conversation is sent to a node, only `variables` of it stay.
    """
    calls: Sequence[ToolCall] = ()
    """Made earlier in this conversation, oldest first; those of this turn's earlier runs too."""
    earlier: Sequence[Earlier] = ()
    """Newest first; as many as the agent's settings ask for."""
    now: datetime
    timezone: str = "UTC"
    """The project's, an IANA name."""
    reply_url: str | None = None
    """Where the answer may be posted later, if the engine answers `Later`."""
    traceparent: str | None = None
    """For whoever is asked over HTTP to go on with the trace (W3C Trace Context)."""
    journal: Journal = field(default_factory=Notebook)


@frozen
class Usage:
    """What a turn cost. 0 where it is not known."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


NOTHING = Usage()


@frozen
class TurnReply:
    texts: Sequence[str]
    """Not blank; none: the agent stays silent. Long ones are split before they are sent."""
    end_conversation: bool = False
    hand_off: str | None = None
    """Why a person is to take over, after these texts; None: the agent goes on."""
    state: Mapping[str, object] | None = None
    """To be kept for the next turn, if this answer counts; None: as it was. JSON."""
    usage: Usage = NOTHING


@frozen
class Later:
    """The answer will be posted to the turn's `reply_url`; after `within` it is refused."""

    within: timedelta


@frozen(kw_only=False)
class TurnFailed:
    """No usable answer within the turn's deadline."""

    reason: str
    usage: Usage = NOTHING


# --- What is made of a conversation that is over ------------------------------------------------


@frozen(kw_only=False)
class Possible:
    """One of the outcomes that a conversation can have."""

    name: str
    description: str = ""


@frozen
class AnalysisSettings:
    """What an agent's settings want to know of a conversation that is over."""

    summary: bool = True
    values: Mapping[str, object] | None = None
    """A JSON Schema of an object: what is to be taken from what was said."""
    outcomes: Sequence[Possible] = ()
    instructions: str | None = None
    """More for the summary to keep to."""


@frozen
class AnalysisRequest:
    conversation_id: ConversationId
    agent_id: AgentId
    project_id: ProjectId
    channel: Channel = "sms"
    transcript: Sequence[Said]
    ended: str
    """Why it was closed."""
    wanted: AnalysisSettings
    metadata: Mapping[str, object]
    variables: Mapping[str, object] = field(default_factory=dict[str, object])
    objective: str | None = None
    state: Mapping[str, object] = field(default_factory=dict[str, object])
    now: datetime
    timezone: str = "UTC"
    traceparent: str | None = None
    """As of a `TurnRequest`."""


@frozen
class Analysis:
    """What was wanted and could be found. `outcome` is one of the possible names, or None."""

    summary: str | None = None
    values: Mapping[str, object] | None = None
    outcome: str | None = None
    usage: Usage = NOTHING


class Engine(Protocol):
    """One version of an agent, ready to run. Keys and connections are inside."""

    can_open: bool
    """Whether a turn without any text from the user gives an opener."""
    can_analyse: bool
    deadline: timedelta
    """How long `reply` or `analyse` may take in all; the worker ends it shortly after."""

    async def reply(self, request: TurnRequest) -> TurnReply | Later | TurnFailed: ...

    async def analyse(self, request: AnalysisRequest) -> Analysis | TurnFailed: ...

    async def close(self) -> None: ...
