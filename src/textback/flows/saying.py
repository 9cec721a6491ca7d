"""What an agent answered, as far as that can be judged without asking Postgres."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from textback import tracing
from textback.core import budget, split
from textback.core import conversation as talk
from textback.core import turn as rule
from textback.core.budget import Reached, Spent
from textback.core.conversation import Closed, Live
from textback.core.engine import Later, TurnFailed, TurnReply, Usage
from textback.core.ids import MessageId, new_message_id
from textback.core.message import Kind as MessageKind
from textback.core.message import Queued, write
from textback.core.policy import MAX_TEXT
from textback.core.split import Part
from textback.db import answering
from textback.db.answering import Answer


@dataclass(kw_only=True)
class Saying:
    """One answer, with the conversation and the turn as they are, or were when looked at."""

    turn: answering.Opened
    fallback: str | None
    now: datetime
    asked: bool = True
    """Whether an engine was asked for it."""
    reached: Reached | None = None
    """The budget that kept it from being asked."""
    saved: int = 0
    """Segments, by writing smart punctuation plainly."""
    traceparent: str | None = field(default_factory=tracing.current)
    texts: list[MessageId] = field(default_factory=list[MessageId])
    """That it is said with."""

    def __post_init__(self) -> None:
        self.held, self.project = self.turn.held, self.turn.project
        self.conversation = self.turn.conversation

    def fault(self, answer: TurnReply | Later | TurnFailed) -> TurnFailed | None:
        """Why it cannot be said; None: it can."""
        found, _ = self.parts(answer)
        return found if isinstance(found, TurnFailed) else None

    def parts(
        self, answer: TurnReply | Later | TurnFailed
    ) -> tuple[TurnReply | TurnFailed, Sequence[Part]]:
        """The answer, and what is to be said by it."""
        if isinstance(answer, TurnReply):
            try:
                return answer, split.say(answer.texts, self.project.policy.replies)
            except ValueError as error:
                answer = TurnFailed(f"the engine's answer {error}", answer.usage)
        elif isinstance(answer, Later):
            answer = TurnFailed("there is nobody to be answered later")
        # An apology out of the blue would help nobody: there must be something it answers.
        fallback = self.fallback if self.held.is_asked else None
        return answer, [Part(fallback[:MAX_TEXT])] if fallback else []

    def kept_awake(self, answer: TurnReply | TurnFailed, parts: Sequence[Part]) -> Live | None:
        """The conversation, of an answer that is one text and nothing else; None: it is more."""
        before = self.conversation
        if (
            self.reached is not None
            or not isinstance(answer, TurnReply)
            or answer.end_conversation
            or answer.hand_off is not None
            or len(parts) != 1
            or isinstance(before, Closed)
        ):
            return None
        after = talk.agent_texted(before, now=self.now)
        return after if type(after) is type(before) else None

    def plain(
        self, answer: TurnReply | TurnFailed, part: Part, after: Live, *, heard_upto: int
    ) -> Answer:
        """`part` is all that is said, and `after` what becomes of the conversation."""
        self.saved += part.saved
        return Answer(
            turn=self.turn,
            reply=self.text("reply", part),
            after=after,
            saved=part.saved,
            engine_state=answer.state if isinstance(answer, TurnReply) else None,
            heard_upto=heard_upto,
            spent=self.spent(answer),
            day=self.today(),
            traceparent=self.traceparent,
        )

    def usual(self, answer: TurnReply) -> Answer | None:
        """All that comes of it, if nothing else has to be asked for that; None: something has."""
        held = self.held
        if (
            held.opener_id is not None
            or held.again_at is not None
            or self.project.policy.while_thinking == "ignore"
            or rule.admit(self.conversation) is not None
        ):
            return None
        said, parts = self.parts(answer)
        after = self.kept_awake(said, parts)
        if after is None:
            return None
        return self.plain(said, parts[0], after, heard_upto=held.upto_seq)

    def text(self, kind: MessageKind, part: Part) -> Queued:
        queued = write(
            self.conversation,
            kind,
            part.text,
            id=new_message_id(self.now),
            carrier_id=self.turn.carrier_id,
            validity=self.project.policy.validity,
            now=self.now,
        )
        self.texts.append(queued.id)
        return queued

    def spent(self, answer: TurnReply | Later | TurnFailed) -> Spent:
        used = Usage() if isinstance(answer, Later) else answer.usage
        # One that was awaited was counted when it began to be.
        return budget.spent(used, turns=int(self.asked and self.held.state == "thinking"))

    def today(self) -> date:
        return budget.day_of(self.now, self.project.policy.timezone)
