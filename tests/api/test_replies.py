"""Answers that an agent's server posts to a turn's `reply_url`."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Awaitable, Sequence
from datetime import timedelta
from io import StringIO
from typing import Any, Final

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import Clock, client, execute, is_refused, rows, settings, started
from tests.support.deployment import FALLBACK, NEIGHBOUR, NOW, SCRIPTED, second
from tests.support.provision import provision
from tests.support.replies import ENGINE, SAID, SECRET, WITHIN, asked, is_taken, path, post, said
from tests.support.world import World
from textback.core.engine import Later
from textback.core.ids import CarrierId
from textback.engines.http.exchange import turn_body
from textback.flows import turn
from textback.runtime import Runtime
from textback.settings import Settings

OTHER_SECRET: Final = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
OTHER_ACCOUNT: Final = f"""\
accounts:
  - id: globex
    carriers: [{{id: globex-sandbox, kind: sandbox}}]
    agents:
      - id: globex-agent
        engine: {{kind: http, url: "http://127.0.0.1:9/turn", secret: "{OTHER_SECRET}"}}
    projects:
      - id: globex-project
        agent: globex-agent
        numbers: [{{number: "+14155550199", environment: live, carrier: globex-sandbox}}]
"""


@pytest.fixture
async def world(engine: AsyncEngine) -> AsyncGenerator[World]:
    made = World(engine)
    await made.provision(agent={"engine": ENGINE})
    yield made
    await made.close()


@pytest.fixture
async def rt(
    world: World,  # noqa: ARG001 - what it is about
    found: Settings,
    clock: Clock,
) -> AsyncGenerator[Runtime]:
    clock.now = NOW
    async with started(found, clock) as made:
        yield made


async def test_an_answer_that_is_posted_later_is_said(
    world: World, http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    thinking = await asked(world)
    answer = {
        "messages": [{"text": "Done."}, {"text": "See you!"}],
        "state": {"booked": "15:00"},
        "usage": {"input_tokens": 90, "output_tokens": 10},
    }
    is_taken(await post(http, thinking, answer))
    assert await said(world) == ["Done.", "See you!"]
    (kept,) = await rows(engine, "select engine_state, tokens_used from conversations")
    assert kept == {"engine_state": {"booked": "15:00"}, "tokens_used": 100}
    (ended,) = await world.turns()
    assert ended.outcome == "answered"


async def test_an_opener_may_be_posted_later(world: World, http: httpx.AsyncClient) -> None:
    await world.provision(agent={"engine": ENGINE, "greeting": None})
    accepted = await world.accept(None)
    (thinking,) = await world.claim_turns()
    await world.answer(thinking, Later(within=WITHIN))
    is_taken(await post(http, thinking))
    (opener,) = await world.ours()
    assert (opener.id, opener.text, opener.kind) == (accepted.message_id, "Done.", "opener")


async def test_an_answer_may_come_before_the_word_that_it_will(
    world: World, http: httpx.AsyncClient
) -> None:
    await world.hear("3pm?")
    (thinking,) = await world.claim_turns()
    is_taken(await post(http, thinking))
    assert await world.answer(thinking, Later(within=WITHIN)) is None
    assert await world.answer(thinking, "Another.") is None
    assert await said(world) == ["Done."]


async def test_silence_the_end_and_a_person_may_be_posted_later(
    world: World, http: httpx.AsyncClient
) -> None:
    is_taken(await post(http, await asked(world), {"messages": []}))
    is_taken(
        await post(
            http,
            await asked(world, now=second(1)),
            {**SAID, "hand_off": "asked for a person", "end_conversation": False},
        )
    )
    (talk,) = await world.talks()
    assert talk.state == "handed_off"
    ending = await asked(world, user=NEIGHBOUR)
    is_taken(await post(http, ending, {**SAID, "end_conversation": True}))
    (talk,) = await world.talks(user=NEIGHBOUR)
    assert (talk.state, talk.reason) == ("closed", "agent_ended")


async def test_an_answer_posted_again_changes_nothing(
    world: World, http: httpx.AsyncClient
) -> None:
    thinking = await asked(world)
    is_taken(await post(http, thinking))
    for again in (
        b'{"messages":[{"text":"Done."}]}',
        b'{"messages":[]}',
        b'{"messages":[{"text":"A"}]}',
    ):
        is_taken(await post(http, thinking, again), 200)
    assert await said(world) == ["Done."]


async def test_of_a_silent_turn_too(world: World, http: httpx.AsyncClient) -> None:
    thinking = await asked(world)
    is_taken(await post(http, thinking, {"messages": []}))
    is_taken(await post(http, thinking), 200)
    assert await said(world) == []


# --- Too late ----------------------------------------------------------------------------------


async def test_when_the_user_says_more_only_the_new_runs_answer_counts(
    world: World, http: httpx.AsyncClient, clock: Clock
) -> None:
    first = await asked(world)
    await world.hear("No, 4pm", now=second(1))
    clock.now = second(1)
    is_refused(await post(http, first), 409, counted=False, saying="runs again")
    (again,) = await world.claim_turns(now=second(1))
    assert (again.id, again.run) == (first.id, 2)
    is_refused(await post(http, first), 409, counted=False, saying="runs again")
    await world.answer(again, Later(within=WITHIN), now=second(1))
    is_refused(await post(http, first), 409, counted=False, saying="runs again")
    is_taken(await post(http, again, {"messages": [{"text": "4pm, done."}]}))
    is_refused(await post(http, first), 409, counted=False, saying="runs again")
    is_taken(await post(http, again), 200)
    assert await said(world) == ["4pm, done."]


async def test_an_answer_past_its_time_is_refused_and_the_fallback_is_said_once(
    world: World, http: httpx.AsyncClient, clock: Clock
) -> None:
    thinking = await asked(world)
    late = clock.now = NOW + WITHIN
    is_refused(await post(http, thinking, at=late), 409, counted=False, saying="too late")
    for _ in range(2):
        await world.rescue_turns(now=late)
    is_refused(await post(http, thinking, at=late), 409, counted=False, saying="too late")
    assert await said(world) == [FALLBACK]


async def test_an_answer_in_the_last_moment_counts(
    world: World, http: httpx.AsyncClient, clock: Clock
) -> None:
    thinking = await asked(world)
    clock.now = NOW + WITHIN - timedelta(milliseconds=1)
    await world.rescue_turns(now=clock.now)
    is_taken(await post(http, thinking))
    await world.rescue_turns(now=NOW + 2 * WITHIN)
    assert await said(world) == ["Done."]


async def test_after_the_conversation_nothing_is_said(
    world: World, http: httpx.AsyncClient
) -> None:
    thinking = await asked(world)
    await world.hear("STOP", now=second(1))
    for _ in range(2):
        is_refused(await post(http, thinking), 409, counted=False, saying="was ended")
    assert "Done." not in await said(world)


async def test_who_asked_is_answered_though_a_newer_send_took_over(
    world: World, http: httpx.AsyncClient
) -> None:
    thinking = await asked(world)
    await world.accept("Anything else?", now=second(1))
    is_taken(await post(http, thinking))
    assert await said(world) == ["Anything else?", "Done."]


# --- What is no answer -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 500_000, "not JSON"),
        (b'{"messages":' + b"[" * 150 + b"]" * 150 + b"}", "messages.0"),
        (b"[]", "the answer: "),
        (b"{}", "messages: "),
        (b'{"messages":[{"text":"PRIVATE\\u0000"}]}', "holds a NUL"),
        (b'{"messages":[{"text":"PRIVATE\\ud800"}]}', "not JSON"),
        (b'{"messages":[{"text":" "}]}', "is blank"),
        (b'{"messages":[],"state":{"PRIVATE":1e999}}', "state: "),
        (b'{"messages":[],"run":2}', "another run"),
        (json.dumps({"messages": [{"text": "Sentence. " * 390}] * 10}).encode(), "10 texts"),
    ],
    ids=range(12),
)
async def test_a_bad_answer_leaves_the_turn_open_for_a_better_one(
    world: World, http: httpx.AsyncClient, body: bytes, why: str
) -> None:
    thinking = await asked(world)
    detail = is_refused(await post(http, thinking, body), 400, counted=False, saying=why)
    assert detail.endswith(".")
    assert "PRIVATE" not in detail
    (open_still,) = await world.turns()
    assert open_still.state == "awaiting"
    is_taken(await post(http, thinking))
    assert await said(world) == ["Done."]


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "", "a/b/c"]
)
async def test_an_answer_is_json_and_says_so(
    world: World, http: httpx.AsyncClient, media_type: str
) -> None:
    thinking = await asked(world)
    answer = await post(http, thinking, content_type=media_type)
    is_refused(answer, 400, counted=False, saying="Content-Type: application/json")
    is_taken(await post(http, thinking, content_type="Application/JSON; charset=utf-8"))


async def test_a_megabyte_is_enough(world: World, http: httpx.AsyncClient) -> None:
    thinking = await asked(world)
    filler = b'{"messages":[{"text":"Done."}],"x":"'
    whole = filler + b"x" * (1_000_000 - len(filler) - 2) + b'"}'
    is_refused(await post(http, thinking, whole + b" "), 413, counted=False)

    async def in_pieces() -> AsyncGenerator[bytes]:
        for _ in range(20):
            yield b"x" * 100_000

    answer = await http.post(path(thinking), content=in_pieces())
    is_refused(answer, 413, counted=False)
    is_taken(await post(http, thinking, whole))


# --- Who may answer ----------------------------------------------------------------------------


async def test_only_the_agents_own_secret_signs(
    world: World, http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await provision(engine, OTHER_ACCOUNT)
    thinking = await asked(world)
    carrier = CarrierId("globex-sandbox")
    await world.hear("Hi", user=NEIGHBOUR, agent_number="+14155550199", carrier_id=carrier)
    (foreign,) = await world.claim_turns(now=second(2))
    is_refused(await post(http, thinking, secret=OTHER_SECRET), 401, counted=False)
    is_refused(await post(http, foreign, secret=SECRET), 401, counted=False)
    is_taken(await post(http, foreign, secret=OTHER_SECRET))
    is_taken(await post(http, thinking))


async def test_what_is_not_signed_is_refused_before_it_is_read(
    world: World, http: httpx.AsyncClient
) -> None:
    thinking = await asked(world)
    for body in (b"", b"{", json.dumps(SAID).encode()):
        is_refused(await http.post(path(thinking), content=body), 401, counted=False)
    is_refused(await post(http, thinking, webhook_id="b"), 401, counted=False)
    is_refused(await post(http, thinking, webhook_signature="v1,AAAA"), 401, counted=False)
    assert (await world.turns())[0].state == "awaiting"


async def test_an_old_answer_is_refused(
    world: World, http: httpx.AsyncClient, clock: Clock
) -> None:
    thinking = await asked(world)
    for at in (NOW - timedelta(seconds=301), NOW + timedelta(seconds=301)):
        is_refused(await post(http, thinking, at=at), 401, counted=False, saying="timestamp")
    clock.now = NOW + timedelta(seconds=299)
    is_taken(await post(http, thinking))


async def test_a_request_of_ours_that_is_sent_back_is_no_answer(
    world: World, http: httpx.AsyncClient
) -> None:
    thinking = await asked(world)
    body = turn_body(turn.request(thinking, reply_url=path(thinking)), later=WITHIN)
    is_refused(await post(http, thinking, body), 400, counted=False, saying="what was asked")
    assert await said(world) == []


async def test_the_version_that_the_conversation_is_on_decides_who_may_answer(
    world: World, http: httpx.AsyncClient
) -> None:
    thinking = await asked(world)
    await world.provision(agent={"engine": SCRIPTED})
    await world.hear("Hi", user=NEIGHBOUR)
    (of_new,) = await world.claim_turns()
    assert (of_new.agent_version, thinking.agent_version) == (2, 1)
    is_refused(await post(http, of_new), 401, counted=False, saying="takes no answers")
    is_taken(await post(http, thinking))


async def test_an_agent_without_a_secret_takes_no_answers(
    world: World, http: httpx.AsyncClient
) -> None:
    await world.provision(agent={"engine": {"kind": "http", "url": "http://127.0.0.1:9/turn"}})
    thinking = await asked(world)
    is_refused(await post(http, thinking), 401, counted=False, saying="no secret")


@pytest.mark.parametrize(
    "to",
    [
        "/v1/turns/turn_01kk2v5m7xq1t8c9d0e2f3g4h5/1/reply",
        "/v1/turns/{id}/2/reply",
        "/v1/turns/{id}/999999999/reply",
        "/v1/turns/{id}/99999999999999999999/reply",
        "/v1/turns/{id}/0/reply",
        "/v1/turns/{id}/-1/reply",
        "/v1/turns/{id}/01/reply",
        "/v1/turns/{id}/1.0/reply",
        "/v1/turns/{id}/%D9%A1/reply",
        "/v1/turns/{id}/%00/reply",
        "/v1/turns/{id}%00/1/reply",
        "/v1/turns/%00/1/reply",
        "/v1/turns/%ff%fe/1/reply",
        "/v1/turns/{id}%0A/1/reply",
        "/v1/turns/%F0%9F%8E%89/1/reply",
        "/v1/turns/' or 1=1/1/reply",
        "/v1/turns/" + "a" * 5000 + "/1/reply",
        "/v1/turns//1/reply",
        "/v1/turns/{id}/1/reply/",
        "/v1/turns/{id}/1",
    ],
)
async def test_what_is_no_turn_is_not_found(world: World, http: httpx.AsyncClient, to: str) -> None:
    thinking = await asked(world)
    is_refused(await post(http, to.format(id=thinking.id)), 404, counted=False)
    assert (await world.turns())[0].state == "awaiting"


async def test_there_is_nothing_to_get(world: World, http: httpx.AsyncClient) -> None:
    is_refused(await http.get(path(await asked(world))), 405, counted=False)


async def test_neither_texts_nor_secrets_are_logged(
    world: World, http: httpx.AsyncClient, logged: StringIO
) -> None:
    thinking = await asked(world)
    await post(http, thinking, b'{"messages":[{"text":"PRIVATE\\u0000"}]}')
    await post(http, thinking, {"messages": [{"text": "PRIVATE"}], "state": {"a": "PRIVATE"}})
    await post(http, thinking, {"messages": []}, secret=OTHER_SECRET)
    told = logged.getvalue()
    assert "PRIVATE" not in told
    assert SECRET not in told
    events = [json.loads(line)["event"] for line in told.splitlines()]
    assert [event for event in events if event.startswith("reply.")] == [
        *("reply.refused", "reply.posted", "reply.refused"),
    ]


# --- In trouble --------------------------------------------------------------------------------


async def test_a_secret_that_cannot_be_opened_is_ours_to_repair(
    world: World, database_url: str, redis_url: str, clock: Clock
) -> None:
    clock.now = NOW
    thinking = await asked(world)
    other_key = settings(database_url, redis_url, secret_key="b" * 43 + "=")
    async with started(other_key, clock) as made, client(made) as http:
        is_refused(await post(http, thinking), 503, counted=False, saying="cannot be made")
    assert (await world.turns())[0].state == "awaiting"


# --- At the same time --------------------------------------------------------------------------


async def at_once(*doing: Awaitable[Any], seed: int) -> Sequence[Any]:
    """All of them, each begun a few milliseconds sooner or later."""
    chance = random.Random(seed)  # noqa: S311 - no secret

    async def begin(one: Awaitable[Any], after: float) -> Any:
        await asyncio.sleep(after)
        return await one

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(begin(one, chance.uniform(0, 0.006))) for one in doing]
    return [task.result() for task in tasks]


SEEDS: Final = pytest.mark.parametrize("seed", range(4))


@SEEDS
async def test_of_many_answers_at_once_one_counts(
    world: World, http: httpx.AsyncClient, seed: int
) -> None:
    thinking = await asked(world)
    words = [f"Answer {n}." for n in range(4)]
    answers = await at_once(
        *(post(http, thinking, {"messages": [{"text": word}]}) for word in words), seed=seed
    )
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 202]
    (counted,) = [word for word, a in zip(words, answers, strict=True) if a.status_code == 202]
    assert await said(world) == [counted]


@SEEDS
async def test_an_answer_and_the_end_of_its_time_make_one_text(
    world: World, http: httpx.AsyncClient, seed: int
) -> None:
    thinking = await asked(world)
    answer, *_ = await at_once(
        post(http, thinking), *(world.rescue_turns(now=NOW + WITHIN) for _ in range(2)), seed=seed
    )
    assert await said(world) == (["Done."] if answer.status_code == 202 else [FALLBACK])
    assert answer.status_code in {202, 409}


@SEEDS
async def test_an_answer_and_the_word_that_it_will_come_make_one_text(
    world: World, http: httpx.AsyncClient, seed: int
) -> None:
    await world.hear("3pm?")
    (thinking,) = await world.claim_turns()
    later = world.answer(thinking, Later(within=WITHIN))
    answer, recorded = await at_once(post(http, thinking), later, seed=seed)
    is_taken(answer)
    assert recorded in {"awaiting", None}
    await world.rescue_turns(now=NOW + 2 * WITHIN)
    assert await said(world) == ["Done."]


@SEEDS
async def test_an_answer_and_another_text_of_the_users_leave_nothing_unanswered(
    world: World, http: httpx.AsyncClient, seed: int
) -> None:
    """Either the answer came first, and the text has a turn of its own; or both have one."""
    thinking = await asked(world)
    answer, _ = await at_once(post(http, thinking), world.hear("No, 4pm"), seed=seed)
    (again,) = await world.claim_turns(now=second(1))
    if answer.status_code == 202:
        assert (again.run, again.heard) == (1, "No, 4pm")
        assert await said(world) == ["Done."]
    else:
        is_refused(answer, 409, counted=False)
        assert (again.id, again.run, again.heard) == (thinking.id, 2, "3pm?\nNo, 4pm")
        assert await said(world) == []


async def test_a_lost_answer_of_a_restored_database_is_unknown(
    world: World, http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    thinking = await asked(world)
    await execute(engine, "delete from turns")
    is_refused(await post(http, thinking), 404, counted=False)
