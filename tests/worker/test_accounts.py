"""How many requests at once a carrier's account is given, by what it answers."""

from datetime import datetime, timedelta
from itertools import pairwise

from tests.make import NOW
from tests.support.doubles import NEVER, NO_ANSWER, SLOW_DOWN
from textback.core.ids import CarrierId
from textback.core.ports import NotFound, SendError, Taken
from textback.flows.send import Outcome
from textback.worker.accounts import PATIENCE, PROBE, SILENCES, Accounts

ONE, OTHER = CarrierId("one"), CarrierId("other")
TAKEN = Taken("SM1")
BUSY = SendError("20429", "Too many requests.", "slow_down")
LATER = NOW + timedelta(minutes=1)


def begin(accounts: Accounts, count: int, *, now: datetime = NOW) -> list[int]:
    return [accounts.take(ONE, now=now) for _ in range(count)]


def end(accounts: Accounts, tickets: list[int], outcome: Outcome, *, now: datetime = NOW) -> None:
    for ticket in tickets:
        accounts.end(ONE, ticket, outcome, now)


def limit(accounts: Accounts, *, most: int, now: datetime = LATER) -> int:
    alone, room = accounts.room(now)
    return 0 if ONE in alone else room.get(ONE, most)


def test_an_account_without_trouble_is_given_all_that_the_worker_can() -> None:
    accounts = Accounts(8)
    end(accounts, begin(accounts, 8), TAKEN)
    assert accounts.room(NOW) == ([], {})


def test_told_to_slow_down_a_worker_halves_what_it_has_under_way_once() -> None:
    accounts = Accounts(32)
    end(accounts, begin(accounts, 20), BUSY)  # one storm, not twenty
    assert accounts.room(NOW)[0] == [ONE]
    assert limit(accounts, most=32) == 10


def test_it_is_halved_down_to_one_request_and_no_further() -> None:
    accounts = Accounts(8)
    now = NOW
    for _ in range(6):
        now += timedelta(hours=1)
        end(accounts, begin(accounts, max(1, limit(accounts, most=8, now=now))), BUSY, now=now)
    assert limit(accounts, most=8, now=now + timedelta(hours=1)) == 1


def test_successes_that_began_before_the_trouble_prove_nothing() -> None:
    # Any of them lifted the pause.
    accounts = Accounts(8)
    early = begin(accounts, 7)
    end(accounts, begin(accounts, 1), SLOW_DOWN)
    end(accounts, early, TAKEN)
    assert accounts.room(NOW)[0] == [ONE]
    assert limit(accounts, most=8) == 4


def test_each_round_that_goes_well_adds_one() -> None:
    accounts = Accounts(8)
    end(accounts, begin(accounts, 8), BUSY)
    seen: list[int] = []
    for _ in range(5):
        seen.append(limit(accounts, most=8))
        end(accounts, begin(accounts, seen[-1]), TAKEN, now=LATER)
    assert all(0 <= b - a <= 1 for a, b in pairwise(seen))
    assert seen[0] == 4
    assert seen[-1] >= 7


def test_two_workers_find_out_how_many_requests_at_once_an_account_takes() -> None:
    workers, allowed = [Accounts(8), Accounts(8)], 3
    taken = refused = 0
    at_once: list[int] = []
    for minute in range(60):
        now = NOW + timedelta(minutes=minute)
        begun = [(each, begin(each, limit(each, most=8, now=now), now=now)) for each in workers]
        at_once.append(sum(len(tickets) for _, tickets in begun))
        left = allowed
        for accounts, tickets in begun if minute % 2 else reversed(begun):
            end(accounts, tickets[:left], TAKEN, now=now)
            end(accounts, tickets[left:], BUSY, now=now)
            taken, refused = taken + len(tickets[:left]), refused + len(tickets[left:])
            left -= len(tickets[:left])
    assert at_once[0] == 16
    assert max(at_once[20:]) <= 2 * allowed  # near what it takes
    assert min(at_once[20:]) >= 2
    assert refused < taken / 2


def test_what_is_under_way_takes_up_room() -> None:
    accounts = Accounts(8)
    end(accounts, begin(accounts, 8), BUSY)
    held = begin(accounts, 3, now=LATER)
    assert accounts.room(LATER) == ([], {ONE: 1})
    begin(accounts, 1, now=LATER)
    assert accounts.room(LATER) == ([ONE], {})
    accounts.end(ONE, held[0], None, LATER)  # cut off
    assert accounts.room(LATER) == ([], {ONE: 1})


def test_what_is_under_way_of_each_account_is_known_for_taking_turns() -> None:
    accounts = Accounts(8)
    held = begin(accounts, 3)
    assert accounts.held() == {ONE: 3}
    end(accounts, held, TAKEN)
    assert accounts.held() == {}


def test_a_refusal_of_one_text_is_an_answer_like_any() -> None:
    accounts = Accounts(8)
    end(accounts, begin(accounts, 8), BUSY)
    end(accounts, begin(accounts, 4, now=LATER), NEVER, now=LATER)
    assert limit(accounts, most=8) >= 4


def test_accounts_do_not_touch_each_other() -> None:
    accounts = Accounts(8)
    ticket = accounts.take(OTHER, now=NOW)
    end(accounts, begin(accounts, 8), BUSY)
    accounts.end(OTHER, ticket, TAKEN, NOW)
    alone, room = accounts.room(NOW)
    assert OTHER not in alone
    assert OTHER not in room


def test_a_carrier_that_is_silent_is_tried_with_one_text_at_a_time_and_recovers_fast() -> None:
    accounts = Accounts(32)
    end(accounts, begin(accounts, 32), NO_ANSWER)
    assert accounts.room(NOW)[0] == [ONE]
    assert limit(accounts, most=32) == 1
    rounds = 0
    while (places := limit(accounts, most=32)) < 32:
        end(accounts, begin(accounts, places, now=LATER), TAKEN, now=LATER)
        rounds += 1
    assert rounds <= 6


def test_after_a_few_silences_look_ups_tell_whether_the_carrier_is_back() -> None:
    accounts, now = Accounts(8), NOW
    for _ in range(SILENCES):
        now += timedelta(minutes=1)
        accounts.looked_up(ONE, NO_ANSWER, now)
        assert limit(accounts, most=8, now=now) > 0  # one or two prove nothing
        end(accounts, begin(accounts, 1, now=now), NO_ANSWER, now=now)
    tried, until = now, now + PROBE
    while now < until - PATIENCE:
        now += timedelta(minutes=1)
        accounts.looked_up(ONE, NO_ANSWER, now)
        assert accounts.room(now)[0] == [ONE]
    accounts.looked_up(ONE, NO_ANSWER, until - timedelta(seconds=1))
    assert accounts.room(tried + PROBE)[0] == []  # the list may be broken where sending works
    accounts.looked_up(ONE, NO_ANSWER, tried + timedelta(minutes=2))
    accounts.looked_up(ONE, NotFound(), tried + timedelta(minutes=2))
    assert accounts.room(tried + timedelta(minutes=2))[0] == []


def test_an_hour_of_silence_leaves_few_texts_of_unknown_fate() -> None:
    """Each text takes ten seconds to go unanswered, and so does each look-up, once a minute."""
    accounts, texts = Accounts(32), 32
    under_way = [(10, ticket) for ticket in begin(accounts, 32)]
    look_ups: list[int] = []
    for second in range(3600):
        now = NOW + timedelta(seconds=second)
        for _, ticket in [each for each in under_way if each[0] == second]:
            accounts.end(ONE, ticket, NO_ANSWER, now)
            look_ups.append(second + 20)
        under_way = [each for each in under_way if each[0] > second]
        if second in look_ups:
            accounts.looked_up(ONE, NO_ANSWER, now)
            look_ups.append(second + 70)
        alone, room = accounts.room(now)
        if ONE not in alone and second > 10:
            assert room[ONE] == 1
            under_way += [(second + 10, ticket) for ticket in begin(accounts, 1, now=now)]
            texts += 1
    assert texts <= 32 + SILENCES + 7
