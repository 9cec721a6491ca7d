"""What becomes of a queued text when its time comes."""

from collections import Counter
from datetime import timedelta

from tests.support.deployment import (
    AGENT,
    CARRIER,
    NEIGHBOUR,
    NOW,
    PUBLIC_URL,
    SECOND,
    USER,
    hour,
    number,
    second,
)
from tests.support.doubles import (
    LATER,
    NO_ANSWER,
    OPTED_OUT,
    SLOW_DOWN,
    CarrierDouble,
    Gone,
    Spent,
)
from tests.support.world import World
from textback.carriers.sandbox.client import REFUSED
from textback.core.message import Failed, Queued, Sending, Sent, Uncertain
from textback.core.phone import Phone
from textback.flows import send
from textback.flows.send import Job, Wait
from textback.limiter import LocalLimiter


async def one_job(world: World, text: str = "Your appointment is at 3pm.") -> Job:
    await world.accept(text)
    (job,) = await world.claim()
    return job


async def test_a_claimed_text_is_marked_before_anything_leaves(world: World):
    job = await one_job(world)

    text = await world.text(job.message.id)
    assert (text.state, text.lease_until) == ("sending", second(30))
    assert await world.events(text.id) == ["message.queued", "message.sending"]


async def test_the_carrier_is_handed_the_text_its_validity_and_where_receipts_go(world: World):
    job = await one_job(world, "Hi")

    await world.hand_over(job, now=second(3))

    (outgoing,) = world.carrier.sent
    assert (outgoing.agent_number, outgoing.user_number, outgoing.text) == (AGENT, USER, "Hi")
    assert outgoing.valid_for == timedelta(hours=4) - timedelta(seconds=3)
    assert outgoing.claimed_at == NOW
    assert outgoing.status_url == (f"{PUBLIC_URL}/hooks/sandbox/status?message_id={job.message.id}")


async def test_a_text_the_carrier_took_is_sent_under_the_carriers_id(world: World):
    accepted = await world.accept()

    (after,) = await world.send(carrier=CarrierDouble(), now=second(2))

    assert isinstance(after, Sent)
    assert (after.carrier_message_id, after.sent_at) == ("SM0001", second(2))
    assert await world.state(accepted.message_id) == "sent"


async def test_a_text_the_carrier_refuses_for_good_fails_with_its_code(world: World):
    refused = Phone("+15005550001")
    accepted = await world.accept(user=refused)

    (after,) = await world.send()

    assert isinstance(after, Failed)
    assert (after.error_code, after.error) == ("21211", REFUSED[refused].reason)
    await world.send_all(now=hour(1))
    assert len(world.carrier.sent) == 1
    assert await world.events(accepted.message_id) == [
        "message.queued",
        "message.sending",
        "message.failed",
    ]


async def test_a_refusal_that_may_pass_costs_an_attempt_and_is_tried_again(world: World):
    carrier = CarrierDouble(LATER)
    await world.accept()

    (first,) = await world.send(carrier=carrier)
    (then,) = await world.send(carrier=carrier, now=second(1))

    assert isinstance(first, Queued)
    assert isinstance(then, Queued)
    assert (first.attempts, first.due_at) == (1, second(1))
    assert (then.attempts, then.due_at) == (2, second(3))


async def test_refusals_that_never_pass_end_in_failure(world: World):
    carrier = CarrierDouble(LATER)
    accepted = await world.accept()

    for minute in range(30):
        await world.send(carrier=carrier, now=second(360 * minute))

    assert len(carrier.sent) == world.policy.max_attempts
    assert (await world.text(accepted.message_id)).error_code == "30001"


async def test_being_told_to_slow_down_costs_no_attempt(world: World):
    carrier = CarrierDouble(SLOW_DOWN)
    accepted = await world.accept()

    for n in range(50):
        await world.send(carrier=carrier, now=second(7 * n))

    text = await world.text(accepted.message_id)
    assert len(carrier.sent) == 50
    assert (text.state, text.attempts, text.due_at) == ("queued", 0, second(50 * 7))


async def test_no_answer_makes_a_text_uncertain_and_it_is_not_sent_again(world: World):
    carrier = CarrierDouble(NO_ANSWER)
    await world.accept()

    (after,) = await world.send(carrier=carrier, now=second(2))

    assert isinstance(after, Uncertain)
    assert after.look_up_at == second(12)
    await world.send_all(carrier=carrier, now=hour(1))
    assert len(carrier.sent) == 1


async def test_a_carrier_that_raises_leaves_the_text_uncertain(world: World):
    # A bad body may be noticed only after the request went out: nobody knows what happened.
    carrier = CarrierDouble()

    def raises(_: object) -> send.Taken:
        raise ValueError("not JSON")

    carrier.on_send = raises
    job = await one_job(world)

    outcome = await world.hand_over(job, carrier=carrier)

    assert isinstance(await world.record(job, outcome), Uncertain)


async def test_without_a_token_a_text_waits(world: World):
    job = await one_job(world)

    outcome = await world.hand_over(job, pace=Spent(2.5), now=second(1))
    after = await world.record(job, outcome, now=second(1))

    assert world.carrier.sent == []
    assert isinstance(after, Queued)
    assert (after.due_at, after.attempts) == (second(3.5), 0)


async def test_without_redis_a_text_waits(world: World):
    job = await one_job(world)

    outcome = await world.hand_over(job, pace=Gone(), now=second(1))
    after = await world.record(job, outcome, now=second(1))

    assert world.carrier.sent == []
    assert isinstance(after, Queued)
    assert after.attempts == 0
    assert NOW < after.due_at <= second(3)


async def test_a_number_is_paced_by_segments(world: World):
    await world.provision(numbers=[number(AGENT, segments_per_second=3)])
    pace = LocalLimiter(lambda: 0.0)
    await world.accept("a" * 320)  # three segments
    await world.accept("One more", user=NEIGHBOUR)

    for expected in (send.Taken, Wait):
        [job] = await world.claim()
        outcome = await world.hand_over(job, pace=pace)
        assert type(outcome) is expected


async def test_numbers_are_paced_apart(world: World):
    await world.provision(
        numbers=[number(AGENT, segments_per_second=1), number(SECOND, segments_per_second=1)]
    )
    pace = LocalLimiter(lambda: 0.0)
    await world.accept(agent_number=AGENT)
    await world.accept(agent_number=SECOND)

    await world.send(pace=pace)

    assert len(world.carrier.sent) == 2


async def test_no_more_is_claimed_of_a_number_than_goes_out_in_a_second(world: World):
    await world.provision(
        numbers=[number(AGENT, segments_per_second=2.5), number(SECOND, segments_per_second=0.1)]
    )
    for n in range(6):
        await world.accept(str(n), user=Phone(f"+1415558{n:04}"), agent_number=AGENT)
        await world.accept(str(n), user=Phone(f"+1415558{n:04}"), agent_number=SECOND)

    jobs = await world.claim()

    assert sorted((job.message.agent_number, job.message.text) for job in jobs) == sorted(
        [(AGENT, "0"), (AGENT, "1"), (AGENT, "2"), (SECOND, "0")]
    )


async def test_what_is_known_of_a_numbers_pace_bounds_what_is_claimed_of_it(world: World):
    for n in range(6):
        user = Phone(f"+1415558{n:04}")
        await world.accept("a" * 320 if n == 1 else "Hi", user=user, agent_number=AGENT)
        await world.accept(user=user, agent_number=SECOND)

    jobs = await world.claim(units={AGENT: 3})

    counts = Counter(job.message.agent_number for job in jobs)
    assert counts == {AGENT: 2, SECOND: 6}  # one segment, and three of which one was free


async def test_a_reply_goes_before_openers_when_only_one_may_go(world: World):
    await world.provision(numbers=[number(AGENT, segments_per_second=1)])
    await world.accept()
    await world.send_all()
    await world.accept("Hello", user=NEIGHBOUR)
    await world.hear("Hi")
    await world.think(now=second(5))

    [job] = await world.claim(now=second(6))

    assert job.message.kind == "reply"


async def test_texts_of_paused_numbers_are_not_claimed(world: World):
    await world.accept(agent_number=AGENT)
    await world.accept(agent_number=SECOND)

    jobs = await world.claim(except_numbers=[AGENT])

    assert [job.message.agent_number for job in jobs] == [SECOND]


async def test_a_worker_that_stalled_until_its_lease_is_nearly_over_does_not_send(world: World):
    job = await one_job(world)

    outcome = await world.hand_over(job, now=second(20))

    assert world.carrier.sent == []
    after = await world.record(job, outcome, now=second(20))
    assert isinstance(after, Queued)
    assert after.attempts == 0


async def test_a_stalled_worker_does_not_send_although_its_clock_was_set_back(world: World):
    # Nine minutes it stood still, and the clock was set back by nine: only the other one knows.
    job = await one_job(world)

    outcome = await world.hand_over(job, now=second(1), steady=lambda: second(541).timestamp())

    assert isinstance(outcome, send.Wait)
    assert world.carrier.sent == []


async def test_a_stalled_worker_does_not_send_although_the_machine_slept_meanwhile(world: World):
    job = await one_job(world)

    outcome = await world.hand_over(job, now=second(600), steady=lambda: second(1).timestamp())

    assert isinstance(outcome, send.Wait)
    assert world.carrier.sent == []


async def test_a_text_past_its_validity_is_suppressed_and_not_sent(world: World):
    accepted = await world.accept()

    await world.send_all(now=hour(4))

    text = await world.text(accepted.message_id)
    assert (text.state, text.drop_reason) == ("suppressed", "expired")
    assert world.carrier.sent == []


async def test_a_text_just_within_its_validity_is_sent(world: World):
    await world.accept()

    (after,) = await world.send(now=hour(4) - timedelta(milliseconds=1))

    assert isinstance(after, Sent)


async def test_after_many_expired_texts_the_next_are_claimed_at_once(world: World):
    for n in range(5):
        await world.accept(user=Phone(f"+1415555020{n}"))
    await world.accept("Still good", now=hour(3))

    taken, look_again_at = await send.claim(
        world.db, policy=world.policy, limit=2, except_numbers=[], now=hour(4), steady=0
    )

    assert taken == []
    assert look_again_at is not None
    assert look_again_at <= hour(4)


async def test_when_nothing_is_due_the_worker_learns_when_something_will_be(world: World):
    await world.accept()
    await world.send(pace=Spent(60))

    jobs, upcoming = await send.claim(
        world.db, policy=world.policy, limit=10, except_numbers=[], now=second(1), steady=0
    )

    assert (jobs, upcoming) == ([], second(60))


async def test_a_text_of_a_number_that_was_removed_still_goes_out(world: World):
    accepted = await world.accept(agent_number=SECOND)
    await world.provision(numbers=[number(AGENT)], prune=True)

    await world.send_all()

    assert await world.state(accepted.message_id) == "sent"


async def test_the_carriers_word_that_a_user_opted_out_is_believed(world: World):
    first = await world.accept("One")
    then = await world.accept("Two", now=second(1))

    await world.send(carrier=CarrierDouble(OPTED_OUT), now=second(2))

    text = await world.text(first.message_id)
    assert (text.state, text.error_code) == ("failed", "21610")
    text = await world.text(then.message_id)
    assert (text.state, text.drop_reason) == ("suppressed", "opted_out")
    talk = await world.talk(then.conversation_id)
    assert (talk.state, talk.reason) == ("closed", "opted_out")
    (opt_out,) = await world.opt_outs()
    assert (opt_out.source, opt_out.agent_number, opt_out.user_number) == ("carrier", AGENT, USER)
    assert "user.opted_out" in await world.events(first.conversation_id)


async def test_what_the_carrier_learned_of_one_number_does_not_bind_another(world: World):
    await world.accept("One", agent_number=AGENT)
    other = await world.accept("Two", agent_number=SECOND)

    carrier = CarrierDouble(OPTED_OUT, CarrierDouble().taken())
    await world.send(carrier=carrier)

    assert await world.state(other.message_id) == "sent"


async def test_a_job_carries_its_numbers_pace(world: World):
    await world.provision(numbers=[number(AGENT, segments_per_second=0.25)])

    job = await one_job(world)

    assert job.sender.segments_per_second == 0.25
    assert isinstance(job.message, Sending)
    assert job.message.carrier_id == CARRIER


async def test_a_suppressed_text_stays_suppressed_whatever_comes_later(world: World):
    accepted = await world.accept()
    await world.hear("STOP", now=second(1))

    await world.receipt("failed", sid="SM1", message_id=accepted.message_id, now=second(2))

    assert await world.state(accepted.message_id) == "suppressed"
