"""What every answer tells a browser, who may see what was counted, and what proxies may say."""

import base64
import hashlib
import re
from dataclasses import replace
from typing import Final, NoReturn, cast

import httpx

from tests.support.api import ROUTE, captured_logs, client, headers, is_refused, send, served
from tests.support.hooks import INBOUND, TEXT, post
from textback.db.book import Book
from textback.runtime import Runtime

TOKEN: Final = "0123456789abcdef-metrics"
HSTS: Final = "max-age=31536000"


def is_for_nobody_else(answer: httpx.Response) -> None:
    """In no frame, no cache, and no document of another type."""
    for name, value in {
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "cache-control": "no-store",
        "strict-transport-security": HSTS,
    }.items():
        assert answer.headers.get_list(name) == [value], (name, answer.url)
    assert "server" not in answer.headers


class Broken:
    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(name)


async def test_every_answer_of_the_api_tells_browsers_to_leave_it_alone(rt: Runtime) -> None:
    async with client(rt) as http:
        answers = [
            await send(http),
            await send(http, asked=headers("wrong")),
            await send(http, b"{"),
            await http.get(ROUTE),
            await http.get("/nothing"),
            await http.get("/health/ready"),
            await http.get("/metrics"),
            await http.get("/v1/messages", headers={"authorization": "Bearer wrong"}),
            await http.post("/hooks/twilio/inbound"),
            await http.get("/docs/nothing"),
            await http.get("/docs/assets/nothing"),
            await http.post("/openapi.json"),
        ]
    statuses = [a.status_code for a in answers]
    assert statuses == [202, 401, 400, 405, 404, 200, 200, 401, 403, 404, 404, 405]
    with captured_logs():
        async with client(replace(rt, book=cast("Book", Broken()))) as http:
            answers.append(await http.get("/v1/messages", headers={"authorization": "Bearer x"}))
    assert answers[-1].status_code == 500
    for answer in answers:
        is_for_nobody_else(answer)


async def test_pages_run_their_own_scripts_and_no_others(rt: Runtime) -> None:
    async with client(rt) as http:
        for path in ("/docs", "/docs/native"):
            page = await http.get(path)
            policy = page.headers["content-security-policy"]
            [script] = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
            digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
            assert f"script-src 'self' 'sha256-{digest}';" in policy
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            for said in ("unsafe-eval", "script-src 'unsafe", "*", "http"):
                assert said not in policy
        for path in ("/docs", "/docs/assets/swagger-ui.css", "/openapi.json"):
            answer = await http.get(path)
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["strict-transport-security"] == HSTS
            assert answer.headers.get("cache-control") != "no-store"


async def test_only_who_is_reached_by_https_asks_for_nothing_else(rt: Runtime) -> None:
    async with client(replace(rt, public_url="http://localhost:8000")) as http:
        for path in ("/health/live", "/docs"):
            assert "strict-transport-security" not in (await http.get(path)).headers


async def test_what_was_counted_is_told_to_who_has_the_token(rt: Runtime) -> None:
    async with client(replace(rt, metrics_token=TOKEN)) as http:
        for given in ("", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer \xe9"):
            asked = httpx.Headers({"authorization": given} if given else {}, encoding="latin-1")
            answer = await http.get("/metrics", headers=asked)
            is_refused(answer, 401, counted=False, saying="TEXTBACK_METRICS_TOKEN")
            assert answer.headers["www-authenticate"] == "Bearer"
        answer = await http.get("/metrics", headers={"authorization": f"bearer {TOKEN}"})
        assert answer.status_code == 200
        assert (await http.get("/health/ready")).status_code == 200


async def test_what_a_client_says_of_a_proxy_changes_nothing(rt: Runtime) -> None:
    forged = {
        "Host": "evil.example",
        "X-Forwarded-For": "10.9.8.7",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Port": "1",
        "X-Forwarded-Prefix": "/evil",
        "Forwarded": "for=10.9.8.7;host=evil.example;proto=http",
        "X-Original-URL": "/metrics",
        "X-HTTP-Method-Override": "GET",
    }
    with captured_logs() as logged:
        async with served(rt) as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
            plain = await send(http)
            told = await send(http, asked=headers() | forged)
            assert (plain.status_code, told.status_code) == (202, 202)
            for name in ("strict-transport-security", "x-conversation-id", "content-length"):
                assert (name in plain.headers) is (name in told.headers)
            # Twilio signs the URL that it was given, which no header of the request can change.
            assert (await post(http, INBOUND, TEXT, headers=forged)).status_code == 200
            assert (await http.get("/docs", headers=forged)).text == (await http.get("/docs")).text
            document = await http.get("/openapi.json", headers=forged)
    assert "evil" not in document.text
    assert "evil" not in logged.getvalue()
    assert "10.9.8.7" not in logged.getvalue()
