"""One text, its workers and an imaginary carrier, in every order Hypothesis can think of.

Each worker has its own idea of the time, hours apart from the others, and clocks are set at any
moment. What is assumed: a request reaches the carrier within `on_the_way`, clocks show at most
three different times at once, the carrier's list tells the truth, and so does an operator.
"""

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
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
    Suppressed,
    Uncertain,
    accepted,
    claim,
    dropped,
    hear,
    lost,
    not_asked,
    not_listed,
    rejected,
    settled_not_sent,
    snoozed,
)
from textback.core.policy import SendPolicy
from textback.core.ports import NoAnswer, NotFound, ReceiptStatus, SendError, Taken

POLICY = SendPolicy(max_attempts=3)
CHART = re.findall(
    r"^    (\w+) --> (\w+): ",
    (Path(__file__).parents[2] / "docs/states.md").read_text().split("## A conversation")[0],
    re.MULTILINE,
)

Handover = Literal["taken", "taken, answer lost", "slow", "lost", "never", "later", "slow_down"]
handovers = st.sampled_from(get_args(Handover)) | st.sampled_from(["slow", "lost"])
"""More often what leaves us in doubt: that is what this is about."""

WORKERS = range(3)
workers = st.sampled_from(WORKERS)
hours = st.integers(-6 * 3600, 6 * 3600)


@dataclass(frozen=True)
class Stalled:
    """It snoozes the text: it never asked."""


@dataclass(frozen=True)
class Held:
    """What a worker holds: its claim, and once it has asked the carrier, what it was told."""

    worker: int
    claim: Sending
    since: datetime
    """On a clock that nobody sets."""
    told: Taken | SendError | NoAnswer | Stalled | None = None


Asked = tuple[int, Uncertain, Taken | NotFound | NoAnswer]
"""Who looked up what, and what came back."""


class OneText(RuleBasedStateMachine):
    """`row` is what the database holds; `at_carrier` is the truth."""

    def __init__(self) -> None:
        super().__init__()
        self.now: datetime = NOW
        self._row: Message = make.queued(expires_at=NOW + timedelta(hours=8))
        self.held: list[Held] = []
        self.asked: list[Asked] = []
        self.arrivals: list[datetime] = []
        self.at_carrier: list[str] = []
        self.times = [timedelta(0)] * 3
        self.clocks = list(WORKERS)
        self.on_the_way = timedelta(minutes=4)

    @initialize(agree=st.booleans(), apart=st.tuples(hours, hours), worker=workers)
    def begin(self, agree: bool, apart: tuple[int, int], worker: int) -> None:  # noqa: FBT001
        if not agree:
            # Never the same moment on two clocks, which microseconds make sure of elsewhere.
            self.times = [timedelta(seconds=s, microseconds=i) for i, s in enumerate((0, *apart))]
            # Who is ahead may skip the longest gap between two look-ups; the others remain.
            self.on_the_way = timedelta(seconds=30)
        self.take(worker)

    @property
    def row(self) -> Message:
        return self._row

    @row.setter
    def row(self, after: Message) -> None:
        before = self._row
        move = type(before).__name__, type(after).__name__
        assert move in CHART or move[0] == move[1], f"{move} is not in docs/states.md"
        if getattr(before, "carrier_message_id", None):
            assert getattr(after, "carrier_message_id", None), "the carrier's id was forgotten"
        self._row = after

    def time_of(self, worker: int) -> datetime:
        return self.now + self.times[self.clocks[worker]]

    # What workers do

    @rule(worker=workers)
    @precondition(lambda self: isinstance(self.row, Queued))
    def take(self, worker: int) -> None:
        m = self.row
        assert isinstance(m, Queued)
        now = self.comes_to(worker, m.due_at)
        if m.expires_at <= now:
            self.row = dropped(m, reason="expired", now=now)
            return
        self.row = claim(m, now=now, lease=POLICY.lease)
        self.held.append(Held(worker, self.row, self.now))

    @rule(handover=handovers, data=st.data())
    @precondition(lambda self: any(h.told is None for h in self.held))
    def hand_over(self, handover: Handover, data: st.DataObject) -> None:
        held = data.draw(st.sampled_from([h for h in self.held if h.told is None]))
        self.held.remove(held)
        spent = max(self.time_of(held.worker) - held.claim.claimed_at, self.now - held.since)
        if spent + POLICY.carrier_timeout >= POLICY.lease:
            self.held.append(replace(held, told=Stalled()))
        else:
            self.held.append(replace(held, told=self.reach(handover)))

    @rule(data=st.data())
    @precondition(lambda self: any(h.told for h in self.held))
    def record(self, data: st.DataObject) -> None:
        self.learn(data.draw(st.sampled_from([h for h in self.held if h.told])))

    @rule(data=st.data())
    @precondition(lambda self: bool(self.held))
    def die(self, data: st.DataObject) -> None:
        self.held.remove(data.draw(st.sampled_from(self.held)))

    @rule(worker=workers)
    @precondition(lambda self: isinstance(self.row, Sending))
    def rescue(self, worker: int) -> None:
        m = self.row
        assert isinstance(m, Sending)
        self.row = lost(m, now=self.comes_to(worker, m.lease_until), policy=POLICY)

    @rule(
        worker=workers,
        answered=st.sampled_from([True, True, True, False]),
        at_once=st.sampled_from([True, True, True, False]),
    )
    @precondition(lambda self: isinstance(self.row, Uncertain) and self.row.look_up_at is not None)
    def look_up(self, worker: int, answered: bool, at_once: bool) -> None:  # noqa: FBT001
        m = self.row
        assert isinstance(m, Uncertain)
        assert m.look_up_at is not None
        now = self.comes_to(worker, m.look_up_at)
        self.row = m = replace(m, look_up_at=now + POLICY.carrier_timeout * 2)
        listed = Taken(self.at_carrier[0]) if self.at_carrier else NotFound()
        asked = worker, m, listed if answered else NoAnswer("timed out")
        if at_once:
            self.settled(asked)
        else:
            self.asked.append(asked)

    @rule(rescuer=workers, looker=workers)
    @precondition(lambda self: isinstance(self.row, Sending | Uncertain))
    def everybody_else_goes_on(self, rescuer: int, looker: int) -> None:
        """While whoever holds it stalls: a long way for single steps."""
        if isinstance(self.row, Sending):
            self.rescue(rescuer)
        while isinstance(self.row, Uncertain) and self.row.look_up_at is not None:
            self.look_up(looker, answered=True, at_once=True)
        if isinstance(self.row, Queued):
            self.take(rescuer)

    @rule(data=st.data())
    @precondition(lambda self: bool(self.asked))
    def settle(self, data: st.DataObject) -> None:
        self.settled(self.asked.pop(data.draw(st.integers(0, len(self.asked) - 1))))

    def settled(self, asked: Asked) -> None:
        worker, m, answer = asked
        if self.row != m:
            return
        now = self.time_of(worker)
        match answer:
            case Taken(sid):
                self.row = accepted(m, carrier_message_id=sid, now=now)
            case NotFound():
                self.row = not_listed(m, now=now, policy=POLICY)
            case NoAnswer():
                self.row = not_asked(m, now=now, policy=POLICY)

    def reach(self, handover: Handover) -> Taken | SendError | NoAnswer:
        match handover:
            case "taken":
                return self.arrive()
            case "taken, answer lost":
                self.arrive()
            case "slow":
                self.arrivals.append(self.now + self.on_the_way)
            case "lost":
                pass
            case "never" | "later" | "slow_down":
                return make.refusal(retry=handover)
        return NoAnswer("timed out")

    def learn(self, held: Held) -> None:
        """As `flows/send.py` records it: compare and set, else fold in."""
        self.held.remove(held)
        now, row = self.time_of(held.worker), self.row
        known: Sending | Uncertain
        if row == held.claim:
            known = held.claim
        elif isinstance(held.told, Taken):
            receipt = make.receipt("accepted", held.told.carrier_message_id)
            self.row = hear(row, receipt, now=now)
            return
        elif isinstance(row, Uncertain) and row.claimed_at == held.claim.claimed_at:
            known = row
        else:
            return
        match held.told:
            case Taken(sid):
                self.row = accepted(known, carrier_message_id=sid, now=now)
            case SendError() as error:
                self.row = rejected(known, error, now=now, policy=POLICY)
            case Stalled():
                self.row = snoozed(known, until=now)
            case _ if isinstance(known, Sending):
                self.row = lost(known, now=now, policy=POLICY)
            case _:
                pass

    # What the world does

    @rule(seconds=st.sampled_from([1, 5, 20, 60, 300]))
    def time_passes(self, seconds: int) -> None:
        self.time_comes(self.now + timedelta(seconds=seconds))

    @rule(worker=workers, time=st.sampled_from(range(3)))
    def clock_is_set(self, worker: int, time: int) -> None:
        self.clocks[worker] = time

    @rule(status=st.sampled_from(get_args(ReceiptStatus)))
    @precondition(lambda self: bool(self.at_carrier))
    def receipt(self, status: ReceiptStatus) -> None:
        self.row = hear(self.row, make.receipt(status, self.at_carrier[0]), now=self.now)

    @rule()
    @precondition(lambda self: isinstance(self.row, Uncertain))
    def operator(self) -> None:
        assert isinstance(self.row, Uncertain)
        may_yet_arrive = self.arrivals or any(h.told is None for h in self.held)
        if self.at_carrier:
            self.row = accepted(self.row, carrier_message_id=self.at_carrier[0], now=self.now)
        elif not may_yet_arrive:
            self.row = settled_not_sent(self.row, now=self.now)

    def comes_to(self, worker: int, when: datetime) -> datetime:
        """That moment, or a later one, on the worker's clock."""
        self.time_comes(when - self.times[self.clocks[worker]])
        return self.time_of(worker)

    def time_comes(self, when: datetime) -> None:
        self.now = max(self.now, when)
        for arrival in [at for at in self.arrivals if at <= self.now]:
            self.arrivals.remove(arrival)
            self.arrive()
            self.must_hold()

    def arrive(self) -> Taken:
        self.at_carrier.append(f"SM{len(self.at_carrier) + 1}")
        return Taken(self.at_carrier[-1])

    # What must hold

    @invariant()
    def must_hold(self) -> None:
        assert len(self.at_carrier) <= 1, "the carrier took it twice"
        if self.at_carrier:
            assert not isinstance(self.row, Queued | Suppressed), "it has it, and we do not know"
        match self.row:
            case Sent() | Delivered():
                of_another = make.receipt("failed", "SM999")
                assert hear(self.row, of_another, now=self.now) == self.row
                assert [self.row.carrier_message_id] == self.at_carrier
            case Failed(carrier_message_id=None):
                assert not self.at_carrier
            case _:
                pass

    def teardown(self) -> None:
        """Once everybody answers again, it is sent, or there is a reason why not."""
        self.clocks = [0, 0, 0]
        for held in [h for h in self.held if h.told]:
            self.learn(held)
        self.held.clear()
        self.asked.clear()
        for _ in range(100):
            self.must_hold()
            self.heal()
        assert isinstance(self.row, Sent | Delivered | Failed | Suppressed), "forgotten"

    def heal(self) -> None:
        match self.row:
            case Queued():
                self.take(0)
                for held in self.held[:]:
                    self.held = [replace(held, told=self.reach("taken"))]
                    self.learn(self.held[0])
            case Sending():
                self.rescue(0)
            case Uncertain(look_up_at=None):
                self.time_passes(300)
                self.operator()  # it is in sight for somebody who can tell
            case Uncertain():
                self.look_up(0, answered=True, at_once=True)
            case Sent() | Delivered() | Failed() | Suppressed():
                self.time_passes(300)  # what is on its way still arrives


def test_the_carrier_never_accepts_a_text_twice_while_its_list_tells_the_truth() -> None:
    run_state_machine_as_test(
        OneText,
        settings=settings(
            max_examples=1000,
            stateful_step_count=25,
            deadline=None,
            phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        ),
    )
