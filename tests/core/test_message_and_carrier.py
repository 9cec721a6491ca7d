"""One text, its workers and an imaginary carrier, in every order Hypothesis can think of."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests import make
from tests.make import NOW
from textback.core.message import (
    Delivered,
    Failed,
    Message,
    Queued,
    Sending,
    Sent,
    Uncertain,
    accepted,
    claim,
    hear,
    lost,
    not_asked,
    not_listed,
    rejected,
    snoozed,
)
from textback.core.policy import SendPolicy
from textback.core.ports import NoAnswer, ReceiptStatus, SendError, Taken

POLICY = SendPolicy(max_attempts=3)
SLOWEST_NETWORK = timedelta(minutes=4)
"""How late a request that was given up may still reach the carrier: within the settle window."""


@dataclass(frozen=True)
class Worker:
    """What one worker holds: its claim, and once it has asked the carrier, what it was told."""

    claim: Sending
    told: Taken | SendError | NoAnswer | None = None


class OneText(RuleBasedStateMachine):
    """`row` is the database; `at_carrier` is the truth."""

    def __init__(self) -> None:
        super().__init__()
        self.now: datetime = NOW
        self.row: Message = make.queued(expires_at=NOW + timedelta(days=1))
        self.workers: list[Worker] = []
        self.on_the_way: list[datetime] = []
        """Until when each request that nobody waits for any more may still arrive."""
        self.at_carrier: list[str] = []

    def take(self) -> Taken:
        self.at_carrier.append(f"SM{len(self.at_carrier) + 1}")
        return Taken(self.at_carrier[-1])

    # What workers do

    @rule()
    @precondition(lambda self: isinstance(self.row, Queued) and self.row.due_at <= self.now)
    def claim(self) -> None:
        assert isinstance(self.row, Queued)
        self.row = claim(self.row, now=self.now, lease=POLICY.lease)
        self.workers.append(Worker(self.row))

    @rule(
        what=st.sampled_from(["answers", "takes it and does not answer", "is slow", "never hears"])
    )
    @precondition(lambda self: any(w.told is None for w in self.workers))
    def ask_the_carrier(
        self, what: Literal["answers", "takes it and does not answer", "is slow", "never hears"]
    ) -> None:
        worker = next(w for w in self.workers if w.told is None)
        self.workers.remove(worker)
        if self.now + POLICY.carrier_timeout >= worker.claim.lease_until:
            self.save(worker.claim, snoozed(worker.claim, until=self.now))
            return
        told: Taken | NoAnswer = NoAnswer("timed out")
        if what == "answers":
            told = self.take()
        elif what == "takes it and does not answer":
            self.take()
        elif what == "is slow":
            self.on_the_way.append(self.now + SLOWEST_NETWORK)
        self.workers.append(Worker(worker.claim, told))

    @rule(retry=st.sampled_from(["never", "later", "later", "slow_down"]))
    @precondition(lambda self: any(w.told is None for w in self.workers))
    def be_refused(self, retry: Literal["never", "later", "slow_down"]) -> None:
        worker = next(w for w in self.workers if w.told is None)
        self.workers.remove(worker)
        self.workers.append(Worker(worker.claim, make.refusal(retry=retry)))

    @rule()
    @precondition(lambda self: any(w.told is not None for w in self.workers))
    def record(self) -> None:
        worker = next(w for w in self.workers if w.told is not None)
        self.workers.remove(worker)
        match worker.told:
            case Taken(carrier_message_id):
                after: Message = accepted(
                    worker.claim, carrier_message_id=carrier_message_id, now=self.now
                )
                if not self.save(worker.claim, after):
                    news = make.receipt("accepted", carrier_message_id)
                    self.row = hear(self.row, news, now=self.now)
            case SendError():
                self.save(
                    worker.claim,
                    rejected(worker.claim, worker.told, now=self.now, policy=POLICY),
                )
            case _:
                self.save(worker.claim, lost(worker.claim, now=self.now, policy=POLICY))

    def save(self, before: Sending, after: Message) -> bool:
        """Compare and set, as the database does it."""
        if self.row != before:
            return False
        self.row = after
        return True

    @rule()
    @precondition(lambda self: bool(self.workers))
    def crash(self) -> None:
        self.workers.pop()

    @rule()
    @precondition(lambda self: isinstance(self.row, Sending) and self.row.lease_until <= self.now)
    def rescue(self) -> None:
        assert isinstance(self.row, Sending)
        self.row = lost(self.row, now=self.now, policy=POLICY)

    @rule(answers=st.sampled_from([True, True, True, False]))
    @precondition(
        lambda self: (
            isinstance(self.row, Uncertain)
            and self.row.look_up_at is not None
            and self.row.look_up_at <= self.now
        )
    )
    def look_up(self, answers: bool) -> None:  # noqa: FBT001 - Hypothesis calls it by name
        assert isinstance(self.row, Uncertain)
        if not answers:
            self.row = not_asked(self.row, now=self.now, policy=POLICY)
        elif self.at_carrier:
            self.row = accepted(self.row, carrier_message_id=self.at_carrier[0], now=self.now)
        else:
            self.row = not_listed(self.row, now=self.now, policy=POLICY)

    # What the world does

    @rule(seconds=st.sampled_from([1, 15, 60, 300]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    @precondition(
        lambda self: isinstance(self.row, Queued | Uncertain) or not self.workers,
    )
    def time_passes_until_something_is_due(self) -> None:
        due: datetime | None = None
        match self.row:
            case Queued():
                due = self.row.due_at
            case Sending():
                due = self.row.lease_until
            case Uncertain():
                due = self.row.look_up_at
            case _:
                pass
        self.now = max(self.now, due or self.now)

    @rule()
    @precondition(lambda self: any(self.now <= until for until in self.on_the_way))
    def a_slow_request_arrives(self) -> None:
        until = next(until for until in self.on_the_way if self.now <= until)
        self.on_the_way.remove(until)
        self.take()

    @rule(status=st.sampled_from(["accepted", "sent", "delivered", "failed"]))
    @precondition(lambda self: bool(self.at_carrier))
    def receipt(self, status: ReceiptStatus) -> None:
        self.row = hear(self.row, make.receipt(status, self.at_carrier[0]), now=self.now)

    # What must hold

    @invariant()
    def the_carrier_never_accepts_it_twice(self) -> None:
        assert len(self.at_carrier) <= 1

    @invariant()
    def what_the_carrier_has_is_not_waiting_to_be_sent(self) -> None:
        assert not (isinstance(self.row, Queued) and self.at_carrier)

    @invariant()
    def what_we_call_sent_is_at_the_carrier(self) -> None:
        if isinstance(self.row, Sent | Delivered):
            assert [self.row.carrier_message_id] == self.at_carrier
        if isinstance(self.row, Failed) and self.row.carrier_message_id is None:
            assert not self.at_carrier


def test_the_carrier_never_accepts_a_text_twice_while_its_list_tells_the_truth() -> None:
    run_state_machine_as_test(
        OneText, settings=settings(max_examples=60, stateful_step_count=30, deadline=None)
    )
