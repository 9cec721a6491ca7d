"""The path in the line of a request: it says which route, and neither a number nor a key."""

import asyncio
from io import StringIO
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.api import AGENT, ROUTE, USER, send, served
from tests.support.log_lines import line_of, lines
from tests.support.provision import ACME_KEY
from textback.runtime import Runtime

DIGITS = USER.removeprefix("+")
A_KEY = "tb_Qm9va2luZ3MtYW5kLXJlbWluZGVycy1vZi1BY21l"
WITH_SCHEME = {"Authorization": f"Bearer {ACME_KEY}"}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (f"/v1/opt-outs/{DIGITS}", "/v1/opt-outs/{opt_out_id}"),
        (f"/v1/messages/{A_KEY}", "/v1/messages/{message_id}"),
        (f"/v1/phone-numbers/{USER}", "/v1/phone-numbers/{phone_number}"),
        ("/v1/messages/msg_", "/v1/messages/{message_id}"),
        (f"/v1/messages/msg_{DIGITS}", "/v1/messages/{message_id}"),
    ],
)
async def test_of_a_route_the_template_is_told_and_not_what_the_caller_put_there(
    http: httpx.AsyncClient, logged: StringIO, asked: str, told: str
) -> None:
    await http.delete(asked) if "opt-outs" in asked else await http.get(asked)
    assert line_of(logged.getvalue(), "http.answered")["path"] == told
    assert DIGITS not in logged.getvalue()
    assert A_KEY not in logged.getvalue()


async def test_an_id_of_ours_stays_in_it_so_that_a_conversation_can_be_followed(
    http: httpx.AsyncClient, logged: StringIO
) -> None:
    await send(http)
    conversation_id = _answered(logged)[0]["conversation_id"]
    paths = [f"/v1/conversations/{conversation_id}/end", "/v1/conversations/conv_1/end"]
    for path in paths:
        await http.post(path, headers=WITH_SCHEME)
    told = [line["path"] for line in _answered(logged)]
    assert told == [ROUTE, paths[0], "/v1/conversations/{conversation_id}/end"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (f"/secret/4155550207/{A_KEY}", "/secret/4155***07/[hidden]"),
        (f"/secret/{ACME_KEY}", None),
        (f"/v1/opt-outs-of/{DIGITS}/all", "/v1/opt-outs-of/1415***0123/all"),
        (f"/to-{USER}", "/to-+1415***0123"),
        ("/keys/0b6f3c1e-4d55-4c1c-9f5e-3f8d2a7b6c5d", "/keys/[hidden]"),
        ("/v2/outbound-sms", "/v2/outbound-sms"),
        ("/docs/assets/nothing.css", "/docs/assets/nothing.css"),
    ],
)
async def test_a_path_that_nobody_serves_is_told_without_numbers_and_keys(
    http: httpx.AsyncClient, logged: StringIO, asked: str, told: str | None
) -> None:
    assert (await http.get(asked)).status_code == 404
    said = logged.getvalue()
    assert told in {None, line_of(said, "http.answered")["path"]}
    for secret in (A_KEY, ACME_KEY, DIGITS, "4155550207", "0b6f3c1e"):
        assert secret not in said


async def test_a_wrong_method_is_told_without_numbers_too(
    http: httpx.AsyncClient, logged: StringIO
) -> None:
    assert (await http.put(f"/v1/messages/{DIGITS}")).status_code == 405
    assert str(line_of(logged.getvalue(), "http.answered")["path"]).startswith("/v1/messages/")
    assert DIGITS not in logged.getvalue()


async def test_a_request_whose_client_went_away_is_told_with_its_ids_and_its_time(
    rt: Runtime, logged: StringIO
) -> None:
    given = {"Host": "sms.example.com", "Content-Length": "1000"} | WITH_SCHEME
    head = ["POST /v1/messages HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    async with served(rt) as url:
        _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        writer.write("\r\n".join([*head, "", f'{{"agent_number": "{AGENT}"']).encode())
        await writer.drain()
        await asyncio.sleep(0.3)
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(5):
            while "http.abandoned" not in logged.getvalue():  # noqa: ASYNC110 - of the server's
                await asyncio.sleep(0.01)
    line = line_of(logged.getvalue(), "http.abandoned")
    assert (line["method"], line["path"], line["account_id"]) == ("POST", "/v1/messages", "acme")
    assert line["ms"] >= 300


def _answered(logged: StringIO) -> list[dict[str, object]]:
    return [line for line in lines(logged.getvalue()) if line["event"] == "http.answered"]
