"""Kore.ai's route, as its clients see it."""

import asyncio
import base64
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import httpx
import jwt
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import Clock, client, execute, rows, settings, started, stored
from tests.support.kore import (
    APP,
    NUMBER,
    OF_GLOBEX,
    OTHER_NUMBER,
    READER,
    SECRET,
    STRICT,
    TRIGGERED,
    USER,
    YAML,
    once,
    refusal,
    token,
    trigger,
)
from tests.support.provision import NOW, provision
from textback.flows import tidy

CREDENTIALS = (401, 4002, "Invalid SDK credentials")


def unsigned(**claims: object) -> str:
    payload = {"sub": "1", "appId": APP} | claims
    return jwt.encode(payload, "", algorithm="none")


def forged(header: object, payload: object) -> str:
    def part(value: object) -> str:
        written = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(written).rstrip(b"=").decode()

    return f"{part(header)}.{part(payload)}.{part(b'signature')}"


# --- It triggers the flow ------------------------------------------------------------------------


async def test_the_agent_of_the_number_opens_and_the_answer_is_the_documented_one(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    answer = await trigger(http)

    assert answer.status_code == 200
    assert answer.content == TRIGGERED
    assert answer.headers["content-type"] == "application/json"
    (text,) = await rows(engine, "select * from messages")
    assert (text["agent_number"], text["user_number"]) == (NUMBER, USER)
    assert (text["kind"], text["text"], text["state"]) == (
        "opener",
        "Hello, how can I help?",
        "queued",
    )
    (talk,) = await rows(engine, "select id, connector_id, dialect from conversations")
    assert talk == {
        "id": answer.headers["x-conversation-id"],
        "connector_id": "conn-live",
        "dialect": "kore",
    }
    assert text["id"] == answer.headers["x-message-id"]


async def test_an_agent_that_writes_its_opener_is_promised_one_and_the_numbers_own_agent_goes_first(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    writer = "http://127.0.0.1:9/turn"
    more = f'      - {{id: writer, engine: {{kind: http, url: "{writer}"}}}}\n    projects:\n'
    own = f'{{number: "{OTHER_NUMBER}", environment: live, carrier: acme-twilio'
    given = YAML.replace("    projects:\n", more, 1).replace(own, own + ", agent: writer")
    await provision(engine, given)

    assert (await trigger(http, fromNo=OTHER_NUMBER)).content == TRIGGERED

    (talk,) = await rows(engine, "select agent_id from conversations")
    assert talk["agent_id"] == "writer"
    (text,) = await rows(
        engine, "select text, due_at > now() + interval '9 years' never from messages"
    )
    assert text == {"text": "", "never": True}
    (turn,) = await rows(engine, "select state from turns")
    assert turn["state"] == "waiting"


async def test_a_message_is_our_addition_and_each_request_begins_anew(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    assert (await trigger(http, message="Is 3pm good?")).content == TRIGGERED
    assert (await trigger(http, message="Or 4pm?", sent_by=5)).content == TRIGGERED

    found = await rows(engine, "select text from messages order by seq")
    assert [text["text"] for text in found] == ["Is 3pm good?", "Or 4pm?"]
    talks = await rows(engine, "select reason from conversations")
    assert {talk["reason"] for talk in talks} == {"superseded", None}


async def test_who_has_opted_out_is_not_texted_and_the_answer_is_the_same(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await execute(
        engine,
        "insert into opt_outs (id, agent_number, user_number, opted_out_at, source)"
        " select 'opt_1', '+14155550100', '+14155550123', now(), 'keyword'",
    )
    answer = await trigger(http)
    assert (answer.status_code, answer.content) == (200, TRIGGERED)
    (text,) = await rows(engine, "select state, drop_reason from messages")
    assert text == {"state": "suppressed", "drop_reason": "opted_out"}


# --- Who asks ------------------------------------------------------------------------------------


NOT_GOOD = (
    ("", "send one in the auth header"),
    ("not-a-token", "jwt malformed"),
    ("a.b.c", "jwt malformed"),
    ("Bearer " + token(), "jwt malformed"),
    (token() + "." + token(), "jwt malformed"),
    ("x" * 9000, "jwt malformed"),
    (forged({"alg": "HS256"}, b"[" * 4000), "jwt malformed"),
    (forged({"alg": "HS256"}, b"\xff"), "jwt malformed"),
    (forged({"alg": "HS256"}, []), "jwt malformed"),
    (forged([], {}), "jwt malformed"),
    (forged({"alg": "HS256", "crit": ["x"]}, {"appId": APP}), "jwt malformed"),
    (unsigned(), "it must be signed with HS256"),
    (forged({"alg": "None"}, {"appId": APP, "sub": "1"}), "it must be signed with HS256"),
    (forged({}, {"appId": APP, "sub": "1"}), "it must be signed with HS256"),
    (token(secret=SECRET * 2, algorithm="HS512"), "it must be signed with HS256"),
    (forged({"alg": "RS256"}, {"appId": APP, "sub": "1"}), "it must be signed with HS256"),
    (token(appId=None), "the claim appId must name the app"),
    (token(sub=None), "the claim sub is missing"),
    (token(exp=1), "it has expired"),
    (token(exp="soon"), "the claim exp must be a number of seconds"),
    (token(jti="j1"), "with a jti, exp must be at most one hour ahead"),
    (once("j1", ahead=timedelta(hours=2)), "with a jti, exp must be at most one hour ahead"),
    (token(STRICT), "the claim jti is missing"),
)


async def test_a_token_that_is_not_good_is_refused_with_the_reason(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    for auth, said in NOT_GOOD:
        answer = await trigger(http, auth)
        assert refusal(answer) == (401, 401, f"error verifying the jwt: {said}"), auth
    assert await stored(engine) == {}


OF_NOBODY = (
    token("cs-unknown"),
    token("cs-\x00"),
    token("c" * 300),
    token(secret="another-secret-another-secret-another"),
    token(secret="another-secret-another-secret-another", sub=None),
    forged({"alg": "HS256"}, {"appId": APP, "sub": "1"}),
)


async def test_an_unknown_app_and_a_wrong_signature_have_one_answer(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    for auth in OF_NOBODY:
        assert refusal(await trigger(http, auth)) == CREDENTIALS, auth
    assert await stored(engine) == {}


async def test_an_app_that_was_revoked_or_may_not_send_or_is_of_another_account(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    status, code, sentence = refusal(await trigger(http, token(READER)))
    assert (status, code) == (403, 403)
    assert '"send"' in sentence
    # Another account's bot is answered like one that there is not.
    theirs = refusal(await trigger(http, token(OF_GLOBEX)))
    nobodys = refusal(await trigger(http, token(OF_GLOBEX), bot="st-1"))
    assert theirs[:2] == nobodys[:2] == (404, 404)
    assert theirs[2].replace("conn-live", "st-1") == nobodys[2]
    await execute(engine, "update jwt_apps set revoked_at = now() where name = 'ci'")
    assert refusal(await trigger(http)) == CREDENTIALS
    assert await stored(engine) == {}


async def test_other_claims_are_ignored(http: httpx.AsyncClient) -> None:
    auth = token(iss="x", aud=["https://idproxy.kore.ai/authorize"], iat="?", isAnonymous=True)
    assert (await trigger(http, auth)).status_code == 200


# --- Tokens that are good once -------------------------------------------------------------------


REPLAYED = (401, 401, "error verifying the jwt: possibly a replay")


async def test_a_token_with_an_id_is_good_once_at_all_processes_together(
    http: httpx.AsyncClient, engine: AsyncEngine, database_url: str, redis_url: str
) -> None:
    async with started(settings(database_url, redis_url)) as other, client(other) as http_2:
        async with asyncio.TaskGroup() as group:
            asking = [
                group.create_task(trigger(each, once("j1")))
                for each in (http, http_2, http, http_2)
            ]
        answers = [asked.result() for asked in asking]
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]
    assert {refusal(a) for a in answers if a.status_code == 401} == {REPLAYED}
    assert (await stored(engine))["messages"] == 1
    # The same id in another token, or of another app, is no replay of this one; ...
    assert refusal(await trigger(http, once("j1", ahead=timedelta(minutes=9)))) == REPLAYED
    assert (await trigger(http, once("j1", app=STRICT))).status_code == 200
    assert (await trigger(http, once("j2"))).status_code == 200
    # ... and a token without one may be used again.
    assert (await trigger(http)).status_code == (await trigger(http)).status_code == 200


async def test_a_refused_token_is_not_used_up_before_it_was_good(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    wrong = jwt.encode(
        {"sub": "1", "appId": APP, "jti": "j1", "exp": int(NOW.timestamp()) + 60}, "x" * 40
    )
    assert refusal(await trigger(http, wrong)) == CREDENTIALS
    assert refusal(await trigger(http, once("j1", app=READER)))[0] == 403
    assert (await trigger(http, once("j1"))).status_code == 200
    assert await rows(engine, "select client_id, jti from jwt_ids") == [
        {"client_id": APP, "jti": "j1"}
    ]


async def test_used_tokens_are_forgotten_when_they_are_refused_for_their_age(
    http: httpx.AsyncClient, engine: AsyncEngine, clock: Clock
) -> None:
    auth = once("j1", ahead=timedelta(minutes=5))
    assert (await trigger(http, auth)).status_code == 200
    clock.pass_(timedelta(minutes=5, seconds=59))
    await tidy.tidy(engine, now=clock())
    assert refusal(await trigger(http, auth)) == REPLAYED
    clock.pass_(timedelta(seconds=1))
    await tidy.tidy(engine, now=clock())
    assert await rows(engine, "select 1 from jwt_ids") == []
    assert refusal(await trigger(http, auth)) == (
        401,
        401,
        "error verifying the jwt: it has expired",
    )


async def test_after_a_5xx_the_request_is_repeated_with_a_fresh_token(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await execute(engine, "alter table messages rename to gone")
    assert refusal(await trigger(http, once("j1")))[:2] == (500, 500)
    await execute(engine, "alter table gone rename to messages")
    assert refusal(await trigger(http, once("j1"))) == REPLAYED
    assert (await trigger(http, once("j2"))).status_code == 200
    assert (await stored(engine))["messages"] == 1


async def test_a_secret_that_cannot_be_opened_is_our_trouble(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await execute(engine, "update jwt_apps set secret = 'sealed by another key'")
    answer = await trigger(http)
    assert refusal(answer)[:2] == (503, 503)
    assert answer.headers["retry-after"] == "2"
    assert SECRET not in answer.text


# --- What is asked -------------------------------------------------------------------------------


async def test_a_bot_or_a_number_that_cannot_begin_is_not_found(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    globex: dict[str, Any] = {"auth": token(OF_GLOBEX), "bot": "conn-globex"}
    asking: Sequence[dict[str, Any]] = (
        {"bot": "st-01234567-89ab-cdef-0123-456789abcdef"},
        {"bot": "%00"},
        {"bot": "x" * 3000},
        {"fromNo": "+14155550199"},  # another account's
        {"fromNo": "+14155550177"},  # nobody's
        {**globex, "fromNo": "+14155550199"},  # its agent has no greeting and cannot write
        {**globex, "fromNo": NUMBER},
    )
    for asked in asking:
        status, code, _ = refusal(await trigger(http, **asked))
        assert (status, code) == (404, 404), asked
    assert await stored(engine) == {}
    mine: dict[str, Any] = {**globex, "fromNo": "+14155550199", "message": "Hi"}
    assert (await trigger(http, **mine)).status_code == 200  # with a text nobody has to write one


async def test_a_number_that_is_not_the_bots_is_told_by_the_fields_own_name(
    http: httpx.AsyncClient,
) -> None:
    for number in ("+14155550199", "+14155550177"):  # another account's, nobody's
        answer = refusal(await trigger(http, fromNo=number))
        assert answer == (404, 404, "fromNo is not one of this bot's numbers.")


async def test_a_body_that_is_wrong_is_refused_in_the_same_shape(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    wrong: Sequence[dict[str, Any]] = (
        {"fromNo": None},
        {"toNo": "5"},
        {"toNo": "rcs:" + USER},
        {"message": " "},
    )
    for changes in wrong:
        assert refusal(await trigger(http, **changes))[:2] == (400, 400)
    json_type = {"content-type": "application/json"}
    for content in (b"", b"[]", b"{", b'{"fromNo": "\\ud800"}', b"x" * 70_000, b"[" * 60_000):
        answer = await trigger(http, content=content, headers=json_type)
        assert refusal(answer)[:2] == (400, 400)
    assert refusal(await trigger(http, content=b"{}"))[:2] == (400, 400)
    assert await stored(engine) == {}


async def test_without_a_database_nothing_is_promised(redis_url: str) -> None:
    nowhere = settings("postgresql://nobody@127.0.0.1:9/none", redis_url)
    async with started(nowhere) as rt, client(rt) as http:
        answer = await trigger(http)
    assert refusal(answer)[:2] == (503, 503)
    assert answer.headers["retry-after"] == "2"


async def test_another_method_is_refused_in_the_same_shape(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/public/bot/conn-live/outboundsms")
    assert refusal(answer)[:2] == (405, 405)


async def test_sixty_requests_a_minute_and_account_then_the_published_sentence(
    http: httpx.AsyncClient,
) -> None:
    answer, asked = await trigger(http, toNo="wrong"), 1
    while answer.status_code == 400 and asked < 120:  # one comes back each second
        answer, asked = await trigger(http, toNo="wrong"), asked + 1
    assert asked > 60
    assert refusal(answer) == (
        429,
        429,
        "You've exceeded the per-minute rate limit. Please wait for sometime before retrying.",
    )
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert refusal(await trigger(http, token(STRICT)))[0] == 401  # not counted: not let in
    assert refusal(await trigger(http, token(OF_GLOBEX)))[0] == 404


async def test_the_projects_own_limit_holds_too(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    limit = "agent: bookings\n        rate_limit: {requests: 1, per_seconds: 60}\n"
    await provision(engine, YAML.replace("agent: bookings\n", limit))
    assert (await trigger(http)).status_code == 200
    answer = await trigger(http)
    assert refusal(answer)[0] == 429
    assert "retry-after" in answer.headers
    assert (await stored(engine))["messages"] == 1
