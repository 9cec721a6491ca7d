"""One text, its workers and an imaginary carrier, in every order Hypothesis can think of."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

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

Handover = Literal["taken", "taken, answer lost", "slow", "lost", "never", "later", "slow_down"]

handovers = st.sampled_from(get_args(Handover)) | st.sampled_from(["slow", "lost"])
"""More often what leaves us in doubt: that is what this is about."""
ON_THE_WAY = timedelta(minutes=4)
"""How long a slow request takes to reach the carrier: we have given it up, and look it up still."""


@dataclass(frozen=True)
class Worker:
    """What one worker holds: its claim, and once it has asked the carrier, what it was told."""

    claim: Sending
    told: Taken | SendError | NoAnswer | None


class OneText(RuleBasedStateMachine):
    """`row` is what the database holds; `at_carrier` is the truth."""

    def __init__(self) -> None:
        super().__init__()
        self.now: datetime = NOW
        self.row: Message = make.queued(expires_at=NOW + timedelta(days=1))
        self.workers: list[Worker] = []
        self.arrivals: list[datetime] = []
        self.at_carrier: list[str] = []

    # What workers do

    @rule(handover=handovers, fate=st.sampled_from(["records", "is late", "stalls", "dies"]))
    @precondition(lambda self: isinstance(self.row, Queued))
    def send(self, handover: Handover, fate: str) -> None:
        assert isinstance(self.row, Queued)
        self.time_comes(self.row.due_at)
        self.row = claim(self.row, now=self.now, lease=POLICY.lease)
        told = None if fate == "stalls" else self.hand_over(handover)
        worker = Worker(self.row, told)
        if fate == "records":
            self.learn(worker)
        elif fate != "dies":
            self.workers.append(worker)

    @rule(handover=handovers, late=st.sampled_from([5, 60]))
    @precondition(lambda self: any(w.told is None for w in self.workers))
    def go_on_after_a_stall(self, handover: Handover, late: int) -> None:
        self.time_comes(self.now + timedelta(seconds=late))
        worker = next(w for w in self.workers if w.told is None)
        self.workers.remove(worker)
        if self.now + POLICY.carrier_timeout >= worker.claim.lease_until:
            self.save(worker.claim, snoozed(worker.claim, until=self.now))
        else:
            self.workers.append(Worker(worker.claim, self.hand_over(handover)))

    @rule()
    @precondition(lambda self: any(w.told for w in self.workers))
    def record(self) -> None:
        worker = next(w for w in self.workers if w.told)
        self.workers.remove(worker)
        self.learn(worker)

    @rule()
    @precondition(lambda self: isinstance(self.row, Sending))
    def rescue(self) -> None:
        assert isinstance(self.row, Sending)
        self.time_comes(self.row.lease_until)
        self.row = lost(self.row, now=self.now, policy=POLICY)

    @rule(answered=st.sampled_from([True, True, True, False]))
    @precondition(lambda self: isinstance(self.row, Uncertain) and self.row.look_up_at is not None)
    def look_up(self, answered: bool) -> None:  # noqa: FBT001 - Hypothesis calls it by name
        assert isinstance(self.row, Uncertain)
        self.time_comes(self.row.look_up_at or self.now)
        if not answered:
            self.row = not_asked(self.row, now=self.now, policy=POLICY)
        elif self.at_carrier:
            self.row = accepted(self.row, carrier_message_id=self.at_carrier[0], now=self.now)
        else:
            self.row = not_listed(self.row, now=self.now, policy=POLICY)

    def hand_over(self, handover: Handover) -> Taken | SendError | NoAnswer:
        match handover:
            case "taken":
                return self.take()
            case "taken, answer lost":
                self.take()
            case "slow":
                self.arrivals.append(self.now + ON_THE_WAY)
            case "lost":
                pass
            case "never" | "later" | "slow_down":
                return make.refusal(retry=handover)
        return NoAnswer("timed out")

    def learn(self, worker: Worker) -> None:
        match worker.told:
            case Taken(sid):
                after: Message = accepted(worker.claim, carrier_message_id=sid, now=self.now)
                if not self.save(worker.claim, after):
                    self.row = hear(self.row, make.receipt("accepted", sid), now=self.now)
            case SendError() as error:
                self.save(worker.claim, rejected(worker.claim, error, now=self.now, policy=POLICY))
            case _:
                self.save(worker.claim, lost(worker.claim, now=self.now, policy=POLICY))

    def save(self, before: Sending, after: Message) -> bool:
        """Compare and set, as the database does it."""
        if self.row != before:
            return False
        self.row = after
        return True

    # What the world does

    @rule(seconds=st.sampled_from([5, 60]))
    def time_passes(self, seconds: int) -> None:
        self.time_comes(self.now + timedelta(seconds=seconds))

    @rule(status=st.sampled_from(get_args(ReceiptStatus)))
    @precondition(lambda self: bool(self.at_carrier))
    def receipt(self, status: ReceiptStatus) -> None:
        self.row = hear(self.row, make.receipt(status, self.at_carrier[0]), now=self.now)

    def time_comes(self, when: datetime) -> None:
        self.now = max(self.now, when)
        for arrival in [at for at in self.arrivals if at <= self.now]:
            self.arrivals.remove(arrival)
            self.take()
            self.must_hold()

    def take(self) -> Taken:
        self.at_carrier.append(f"SM{len(self.at_carrier) + 1}")
        return Taken(self.at_carrier[-1])

    # What must hold

    @invariant()
    def must_hold(self) -> None:
        assert len(self.at_carrier) <= 1, "the carrier took it twice"
        if self.at_carrier:
            assert not isinstance(self.row, Queued), "what the carrier has waits to be sent"
        match self.row:
            case Sent() | Delivered():
                assert [self.row.carrier_message_id] == self.at_carrier
            case Failed(carrier_message_id=None):
                assert not self.at_carrier
            case _:
                pass

    def teardown(self) -> None:
        """Once everybody answers again, what the carrier has is found, and nothing else is."""
        self.time_comes(self.now + ON_THE_WAY)
        while any(w.told for w in self.workers):
            self.record()
        if isinstance(self.row, Sending):
            self.rescue()
        while isinstance(self.row, Uncertain) and self.row.look_up_at is not None:
            self.look_up(answered=True)
        self.must_hold()
        if self.at_carrier:
            assert isinstance(self.row, Sent | Delivered | Failed)


def test_the_carrier_never_accepts_a_text_twice_while_its_list_tells_the_truth() -> None:
    run_state_machine_as_test(
        OneText, settings=settings(max_examples=250, stateful_step_count=12, deadline=None)
    )
