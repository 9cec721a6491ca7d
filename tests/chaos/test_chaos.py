"""The short form of `make chaos`; and that its verdict can fail."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import later, mayhem, receiver, run, traffic
from tests.chaos.chronicle import Chronicle, Fault
from tests.chaos.parts import Exit
from tests.chaos.record import (
    Accepted,
    Answer,
    Arrival,
    Created,
    Delivery,
    Event,
    Many,
    Plan,
    Planned,
    Record,
    Row,
    Said,
    Turn,
)
from tests.chaos.verdict import GRACE, judge

SEED = 7
US, YOU = "+14155550100", "+14155560000"


async def test_nothing_is_lost_or_said_twice_while_everything_is_killed(tmp_path: Path) -> None:
    wanted = run.Wanted(seed=SEED, seconds=6, sends=50, gaps=(0.3, 1.2), lose=False, tell=False)
    verdict = await run.run(tmp_path, wanted, Chronicle())
    print(f"\n{verdict.table()}")  # noqa: T201 - pytest shows it when something is wrong
    assert verdict.violations == []
    assert verdict.figures["delivered once"] != 0


# --- the verdict ---


def ours(nth: int, text: str, *, kind: str = "opener", state: str = "delivered") -> Row:
    return Row(f"m{nth}", nth, "c1", US, YOU, "outbound", kind, text, state, sid=f"SM{nth}")


def theirs(nth: int, text: str) -> Row:
    return Row(f"m{nth}", nth, "c1", US, YOU, "inbound", "text", text, "received", sid=f"SM{nth}")


def taken(row: Row, at: float, sid: str | None = None) -> Created:
    return Created(sid or row.sid or "", row.id, US, YOU, row.text, at)


HELLO, YES, ECHO = ours(1, "hello"), theirs(2, "yes"), ours(3, "You said: yes", kind="reply")
AGAIN = ours(4, "still there?", kind="warning")
GOOD = Record(
    seed=1,
    accepted=[Accepted("hello", "m1", "c1", YOU, 10)],
    rows=[HELLO, YES, ECHO, AGAIN],
    created=[taken(HELLO, 11), taken(ECHO, 14), taken(AGAIN, 16)],
    said=[Said("SM2", YOU, US, "yes", acknowledged=True)],
    turns=[Turn("c1", "ended", "answered", 2)],
    events=[
        Event("c1", f"conversation.{kind}")
        for kind in ("opened", "engaged", "warned", "engaged", "closed")
    ],
    reasons={"c1": "superseded"},
    exits=[Exit("worker-0", "SIGTERM", 0, 1.5, 20), Exit("api-0", "SIGKILL", -9, 0, 20)],
    answers=[Answer("api-0", "/v1/outbound-sms", 503, 11, 12)],
    faults=[Fault("postgres", "killed", 10, 12)],
)
LEFT = replace(GOOD, said=[*GOOD.said, Said("SM0", YOU, US, "STOP", acknowledged=False)])
"""Nobody but this user may be left without a text for having opted out."""
UNHEARD = replace(GOOD, said=[*GOOD.said, Said("SM9", YOU, US, "lost", acknowledged=False)])


def broken(record: Record) -> list[str]:
    """What each violation begins with."""
    return [violation.partition(":")[0] for violation in judge(record).violations]


def test_a_good_run_breaks_no_promise_and_says_what_happened() -> None:
    verdict = judge(GOOD)
    assert verdict.violations == []
    figures = verdict.figures
    assert (figures["accepted"], figures["delivered once"], figures["answered once"]) == (1, 3, 1)
    assert (figures["stored once"], figures["warnings"]) == (1, 1)
    assert figures["slowest, from the 202 to the carrier"] == "1.0 s"


BROKEN: list[tuple[str, Record]] = [
    ("duplicated", replace(GOOD, created=[*GOOD.created, taken(HELLO, 17, "SM7")])),
    ("lost", replace(GOOD, rows=[YES, ECHO, AGAIN], created=GOOD.created[1:])),
    ("lost", replace(GOOD, created=GOOD.created[1:])),
    (
        "lost",
        replace(GOOD, rows=[replace(HELLO, state="queued", sid=None), *GOOD.rows[1:]]),
    ),
    (
        "uncertain for ever",
        replace(GOOD, rows=[replace(HELLO, state="uncertain", sid=None), *GOOD.rows[1:]]),
    ),
    ("mixed up", replace(GOOD, rows=[replace(HELLO, sid="SM8"), *GOOD.rows[1:]])),
    (
        "other words",
        replace(GOOD, created=[replace(GOOD.created[0], text="bye"), *GOOD.created[1:]]),
    ),
    ("not asked for", replace(GOOD, accepted=[])),
    (
        "created out of nothing",
        replace(GOOD, created=[*GOOD.created, Created("SM9", "m9", US, YOU, "hm", 17)]),
    ),
    (
        "accepted twice",
        replace(
            GOOD,
            accepted=[*GOOD.accepted, Accepted("hello", "m5", "c1", YOU, 10)],
            rows=[*GOOD.rows, ours(5, "hello")],
            created=[*GOOD.created, taken(ours(5, "hello"), 17)],
        ),
    ),
    ("never accepted", replace(GOOD, never_accepted=["hello?"])),
    ("out of order", replace(GOOD, created=[*GOOD.created[1:], taken(HELLO, 17)])),
    (
        "out of order",
        replace(  # sent as written, and not as accepted
            GOOD,
            accepted=[*GOOD.accepted, Accepted("first", "m5", "c1", YOU, 9)],
            rows=[*GOOD.rows, ours(5, "first")],
            created=[*GOOD.created, taken(ours(5, "first"), 17)],
        ),
    ),
    ("stored 2 times", replace(GOOD, rows=[*GOOD.rows, replace(YES, id="m5", kind="keyword")])),
    ("acknowledged, and not stored", replace(GOOD, rows=[HELLO, ECHO, AGAIN])),
    ("stored, and never said", replace(GOOD, said=[])),
    ("never found", UNHEARD),
    ("answered 2 times", replace(GOOD, rows=[HELLO, YES, replace(ECHO, text="yes\nyes"), AGAIN])),
    ("unanswered", replace(GOOD, rows=[HELLO, YES, replace(ECHO, text="You said: "), AGAIN],
                           created=[taken(HELLO, 11), taken(replace(ECHO, text="You said: "), 14),
                                    taken(AGAIN, 16)])),
    ("warned twice in one silence", replace(GOOD, events=[
        Event("c1", "conversation.warned"), Event("c1", "conversation.warned"), GOOD.events[-1]])),
    ("conversation.engaged after its close", replace(GOOD, events=[
        *GOOD.events, Event("c1", "conversation.engaged")])),
    ("closed 2 times", replace(GOOD, events=[*GOOD.events, Event("c1", "conversation.closed")])),
    ("closed 0 times", replace(GOOD, events=GOOD.events[:-1])),
    ("warned, and not told so, or told too often", replace(GOOD, events=GOOD.events[3:])),
    ("the closing text of c1 (idle) is not there once", replace(GOOD, reasons={"c1": "idle"})),
    ("traceback", replace(GOOD, tracebacks=["worker-0: ValueError"])),
]  # fmt: skip


@pytest.mark.parametrize(("promise", "record"), BROKEN)
def test_a_broken_promise_is_told(promise: str, record: Record) -> None:
    assert promise in broken(record)


# What is planned, and what the account's webhook is told.
LATER, ROW = ours(6, "later"), ours(7, "a row")
PLANS = [
    Plan("m6", None, YOU, "c1", "accepted", None, 20),
    Plan("m7", "b1", YOU, "c1", "accepted", None, 21),
    Plan("m8", None, YOU, "c8", "cancelled", None, 22),
    Plan("m9", "b2", YOU, "c9", "cancelled", None, 23),
]
MANY = [
    Many(id="b1", texts={YOU: "a row"}, pauses=[(22, 24)]),
    Many(id="b2", texts={YOU: "a row"}, is_stopped=True, cancelled_at=23),
]


def arrival(nth: int, kind: str, of: str, **more: Any) -> Arrival:
    message = of if kind.startswith("message.") else None
    found = Arrival(f"evt_{nth}", kind, "c1", message, b"{}", signed=True, taken=True)
    return replace(found, **more)


FACTS = [
    ("conversation.opened", "c1"),
    ("message.accepted", "m1"),
    ("message.sent", "m1"),
    ("message.delivered", "m1"),
    ("message.received", "m2"),
    *((f"message.{kind}", f"m{n}") for n in (3, 4, 6, 7) for kind in ("accepted", "delivered")),
    ("conversation.closed", "c1"),
]
ARRIVALS = [arrival(nth, *fact) for nth, fact in enumerate(FACTS)]
DELIVERIES = [
    Delivery(nth, kind, "c1", of if kind.startswith("message.") else None, "delivered")
    for nth, (kind, of) in enumerate(FACTS)
]
WIDE = replace(
    GOOD,
    rows=[*GOOD.rows, LATER, ROW],
    created=[*GOOD.created, taken(LATER, 20), taken(ROW, 21)],
    planned=[
        Planned("later", "m6", YOU),
        Planned("never", "m8", YOU, is_stopped=True, cancelled_at=22),
    ],
    plans=PLANS,
    many=MANY,
    arrivals=[replace(ARRIVALS[0], taken=False), *ARRIVALS],  # it was tried twice
    deliveries=DELIVERIES,
    has_webhook=True,
)


def test_a_good_run_of_plans_batches_and_webhooks_is_counted() -> None:
    verdict = judge(WIDE)
    assert verdict.violations == []
    figures = verdict.figures
    assert (figures["planned, then accepted once"], figures["planned, then cancelled"]) == (1, 1)
    assert (figures["rows accepted once"], figures["rows cancelled"]) == (1, 1)
    assert (figures["webhooks arrived"], figures["webhooks tried again"]) == (14, 1)
    assert (figures["webhooks missing"], figures["webhooks out of order"]) == (0, 0)


def with_plan(nth: int, **changed: Any) -> Record:
    return replace(WIDE, plans=[*PLANS[:nth], replace(PLANS[nth], **changed), *PLANS[nth + 1 :]])


WIDELY_BROKEN: list[tuple[str, Record]] = [
    ("lost", replace(WIDE, planned=[Planned("later", "m5", YOU)])),
    ("lost", replace(WIDE, planned=[Planned("sooner", "m6", YOU)])),
    ("lost", with_plan(2, state="accepted")),
    ("lost", replace(WIDE, many=[replace(MANY[0], texts={YOU: "a row", US: "a row"}), MANY[1]])),
    ("other words", replace(WIDE, many=[replace(MANY[0], texts={YOU: "my row"}), MANY[1]])),
    ("never sent", with_plan(2, state="planned")),
    ("never sent", with_plan(1, state="refused", why="Expired")),
    ("sent all the same", with_plan(0, state="cancelled")),
    ("sent all the same", replace(WIDE, planned=[Planned("later", "m6", YOU, cancelled_at=19)])),
    ("mixed up", with_plan(0, conversation_id="c2")),
    ("sent while its batch was paused", with_plan(1, ended=23)),
    ("sent after its batch was cancelled", with_plan(1, batch_id="b2", ended=24)),
    ("cancelled, and nobody asked for it", with_plan(3, batch_id="b1")),
    ("cancelled, and nobody asked for it", replace(WIDE, planned=[
        WIDE.planned[0], replace(WIDE.planned[1], is_stopped=False, cancelled_at=None)])),
    ("webhook missing", replace(WIDE, arrivals=ARRIVALS[1:])),
    ("webhook missing", replace(WIDE, arrivals=[
        *ARRIVALS[:-1], replace(ARRIVALS[-1], taken=False)])),
    ("webhook missing", replace(WIDE, deliveries=[*DELIVERIES, replace(
        DELIVERIES[0], event_id=99)])),
    ("webhook given up", replace(WIDE, deliveries=[replace(DELIVERIES[0], state="failed"),
                                                   *DELIVERIES[1:]])),
    ("webhooks out of order", replace(WIDE, arrivals=[ARRIVALS[2], *ARRIVALS])),
    ("webhooks out of order", replace(WIDE, arrivals=[*ARRIVALS[1:], ARRIVALS[0]])),
    ("webhooks out of order", replace(WIDE, arrivals=[
        replace(ARRIVALS[1], taken=False), ARRIVALS[0], *ARRIVALS[2:], ARRIVALS[1]])),
    ("webhook with other bytes", replace(WIDE, arrivals=[
        *ARRIVALS, replace(ARRIVALS[0], body=b"{ }")])),
    ("webhook not signed", replace(WIDE, arrivals=[
        *ARRIVALS, replace(ARRIVALS[0], signed=False)])),
    ("webhook of nothing", replace(WIDE, arrivals=[*ARRIVALS, arrival(99, "message.sent", "m1")])),
]  # fmt: skip


@pytest.mark.parametrize(("promise", "record"), WIDELY_BROKEN)
def test_a_broken_promise_of_plans_and_webhooks_is_told(promise: str, record: Record) -> None:
    assert promise in broken(record)


def test_a_webhook_that_is_under_way_is_not_missing() -> None:
    waiting = [*DELIVERIES[:-1], replace(DELIVERIES[-1], state="waiting")]
    verdict = judge(replace(WIDE, arrivals=ARRIVALS[:-1], deliveries=waiting))
    assert verdict.violations == []
    assert verdict.figures["webhooks under way at the end"] == 1


def test_a_webhook_that_was_waited_for_in_vain_breaks_a_promise() -> None:
    """1716 of them were only counted once."""
    waiting = [*DELIVERIES[:-1], replace(DELIVERIES[-1], state="waiting")]
    record = replace(WIDE, arrivals=ARRIVALS[:-1], deliveries=waiting, untold=1)
    assert broken(record) == ["webhooks never told"]


def test_a_text_that_nobody_can_find_yet_is_only_counted() -> None:
    verdict = judge(replace(UNHEARD, can_sweep=False))
    assert verdict.violations == []
    assert verdict.figures["not stored"] == 1


@pytest.mark.parametrize(
    ("row", "is_fine"),
    [
        (replace(HELLO, state="suppressed", why="opted_out", sid=None), True),
        (replace(HELLO, state="failed", why="21610", sid=None), True),
        (replace(HELLO, state="suppressed", why="expired", sid=None), False),
        (replace(HELLO, state="failed", why="30001", sid=None), False),
    ],
)
def test_only_an_opt_out_keeps_a_text_from_leaving(row: Row, *, is_fine: bool) -> None:
    stop = theirs(0, "STOP")
    rows = [replace(stop, kind="keyword"), row, *GOOD.rows[1:]]
    record = replace(LEFT, rows=rows, created=GOOD.created[1:])
    assert broken(record) == ([] if is_fine else ["lost"])
    assert broken(replace(record, said=GOOD.said, rows=rows[1:])) == ["lost"]  # nobody said STOP


@pytest.mark.parametrize(
    ("reason", "outcome", "is_fine"),
    [
        ("superseded", "dropped", True),
        ("opted_out", None, True),
        ("idle", "dropped", False),
        ("superseded", "answered", False),
        ("idle", "failed", True),
    ],
)
def test_a_text_may_stay_unanswered_only_when_something_overtook_it(
    reason: str, outcome: str | None, *, is_fine: bool
) -> None:
    closing = ours(5, "bye", kind="closing")
    more = [closing] if reason == "idle" else []
    stop = replace(theirs(0, "STOP"), kind="keyword")
    record = replace(
        LEFT,
        rows=[stop, HELLO, YES, AGAIN, *more],
        created=[taken(row, n) for n, row in enumerate((HELLO, AGAIN, *more))],
        turns=[Turn("c1", "ended", outcome, 2)] if outcome else [],
        reasons={"c1": reason},
    )
    assert broken(record) == ([] if is_fine else ["unanswered"])
    unasked = replace(record, said=GOOD.said, rows=record.rows[1:])
    assert broken(unasked) == ([] if is_fine and reason != "opted_out" else ["unanswered"])


@pytest.mark.parametrize(
    ("answer", "is_fine"),
    [
        (Answer("api-0", "/", 503, 9, 9.5), False),
        (Answer("api-0", "/", 503, 12 + GRACE, 12 + GRACE), True),
        (Answer("api-0", "/", 503, 13 + GRACE, 13 + GRACE), False),
        (Answer("api-0", "/", 503, 40, 45), True),  # the machine was busy
        (Answer("api-0", "/", 500, 11, 11), False),
        (Answer("api-0", "/", 500, 40, 45), False),
        (Answer("api-0", "/", 403, 11, 11), False),
        (Answer("api-0", "/v1/batches/batch_1/cancel", 409, 11, 11), True),  # it was over
        (Answer("api-0", "/v1/messages", 409, 11, 11), False),
    ],
)
def test_503_is_for_when_postgres_is_away_or_slow_and_nothing_else_is_ever_said(
    answer: Answer, *, is_fine: bool
) -> None:
    assert (judge(replace(GOOD, answers=[answer])).violations == []) is is_fine


@pytest.mark.parametrize(
    "exit_",
    [
        Exit("worker-0", "SIGTERM", 1, 1, 20),
        Exit("worker-0", "SIGTERM", -15, 1, 20),
        Exit("worker-0", "SIGTERM", 0, 60, 20),
        Exit("worker-0", "", 0, 60, 20),
    ],
)
def test_a_process_ends_when_told_in_time_and_cleanly_and_never_by_itself(exit_: Exit) -> None:
    assert len(judge(replace(GOOD, exits=[exit_])).violations) == 1


def test_the_table_names_the_seed_and_each_broken_promise() -> None:
    table = judge(replace(GOOD, seed=4711, tracebacks=["api-1: KeyError"])).table()
    assert "4711" in table
    assert "1 broken promises" in table
    assert "api-1: KeyError" in table


# --- the plans ---

SCRIPTS: list[Callable[[int], object]] = [
    lambda seed: mayhem.plan(seed, seconds=60, apis=2, workers=2),
    lambda seed: traffic.script(seed, sends=100, seconds=60),
    lambda seed: later.script(seed, sends=100, seconds=60),
    lambda seed: receiver.moods(seed, seconds=60),
]


@pytest.mark.parametrize("plan", SCRIPTS)
def test_the_same_seed_plans_the_same(plan: Callable[[int], object]) -> None:
    assert plan(1) == plan(1)
    assert plan(1) != plan(2)


def test_a_plan_of_a_minute_holds_every_action() -> None:
    steps = mayhem.plan(1, seconds=60, apis=2, workers=2)
    assert {step.action for step in steps} == set(mayhem.ACTIONS)


def test_only_what_was_asked_for_goes_wrong() -> None:
    steps = mayhem.plan(1, seconds=60, apis=2, workers=2, only=["storm"])
    assert {step.action for step in steps} == {"storm"}


def test_no_more_texts_are_sent_than_asked_for() -> None:
    found = traffic.script(1, sends=100, seconds=60)
    assert sum(1 for errand in found.errands if errand.connector) == 100
