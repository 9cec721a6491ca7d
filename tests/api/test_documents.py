# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# schemathesis' own types are half open.
"""What holds for every dialect: its document, its switch, and how it says 405 and 500."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, NoReturn, cast

import httpx
import pytest
import schemathesis
from jsonschema import Draft202012Validator
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import client, correlation_id, is_refused, settings, started
from tests.support.kore import token
from textback.db.book import Book
from textback.runtime import Runtime
from textback.settings import DIALECTS

OF_NONE: Final = {("/v1/turns/{turn_id}/{run}/reply", "post")}
"""Described, and of no dialect: for engines that answer later."""

SENDS: Final = {
    "native": "/v1/messages",
    "polyai": "/v1/outbound-sms",
    "bland": "/v1/sms/send",
    "kore": "/api/public/bot/{BotId}/outboundsms",
    "nixflex": "/v1/sms",
}
"""The route of each that sends a text."""

ERRORS: Final = {
    "native": ["type", "title", "status", "detail"],
    "polyai": ["detail"],
    "bland": ["data", "errors"],
    "kore": ["errors"],
    "nixflex": ["error"],
}
"""What the body of each one's errors holds."""

KEYS: Final = {
    "authorization": f"Bearer nxf_{'a1' * 16}:nxfs_{'x1' * 32}",
    "x-polyai-auth-token": "test-key",
    "x-token-id": "conn-live",
    "auth": token(),
}
"""In the form of each."""


@pytest.mark.parametrize("document", ["openapi.json", *(f"openapi/{d}.json" for d in SENDS)])
async def test_each_operation_has_a_name_of_its_own_in_its_document(
    http: httpx.AsyncClient, document: str
) -> None:
    """OpenAPI 3.1, 4.8.10: unique among all operations; generated clients name methods by it."""
    paths = (await http.get(f"/{document}")).json()["paths"]
    names = [of["operationId"] for path in paths.values() for of in path.values()]
    assert len(names) == len(set(names)) > 0


async def described(http: httpx.AsyncClient, name: str) -> dict[str, Any]:
    answer = await http.get(f"/openapi/{name}.json")
    assert answer.status_code == 200
    return answer.json()


def operations(document: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(path, method) for path, item in document["paths"].items() for method in item}


async def test_each_document_is_valid_and_together_they_are_the_document_of_all(
    http: httpx.AsyncClient,
) -> None:
    whole = (await http.get("/openapi.json")).json()
    found = set(OF_NONE)
    for name in DIALECTS:
        document = await described(http, name)
        assert document["openapi"].startswith("3.1.")
        schemathesis.openapi.from_dict(document).validate()
        assert (SENDS[name], "post") in operations(document)
        assert not operations(document) & found
        found |= operations(document)
        for path, method in operations(document):
            assert document["paths"][path][method] == whole["paths"][path][method]
    assert operations(whole) == found


@pytest.mark.parametrize("on", [("native", "kore"), ("polyai", "bland", "nixflex")])
async def test_a_dialect_that_is_switched_off_has_no_path_and_no_document(
    http: httpx.AsyncClient, database_url: str, redis_url: str, on: tuple[str, ...]
) -> None:
    found = settings(database_url, redis_url, dialects=",".join(on))
    async with started(found) as rt, client(rt) as some:
        whole = set(OF_NONE)
        for name in DIALECTS:
            there = operations(await described(http, name))
            if name in on:
                whole |= operations(await described(some, name))
                assert there <= whole
                continue
            is_refused(await some.get(f"/openapi/{name}.json"), 404, counted=False)
            is_refused(await some.get(f"/docs/{name}"), 404, counted=False)
            for path, method in there:
                is_refused(await some.request(method, path), 404, counted=False)
        assert operations((await some.get("/openapi.json")).json()) == whole


class Broken:
    """A database whose driver has a bug."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(name)


@pytest.mark.parametrize("name", DIALECTS)
async def test_a_405_and_a_500_have_the_shape_of_the_dialects_errors(
    http: httpx.AsyncClient, rt: Runtime, name: str
) -> None:
    document = await described(http, name)
    response = document["paths"][SENDS[name]]["post"]["responses"]["500"]
    [(media_type, content)] = response["content"].items()
    is_an_error = Draft202012Validator({**document, **content["schema"]})

    nothing = cast("AsyncEngine", Broken())
    async with client(replace(rt, db=nothing, book=Book(nothing))) as broken:
        path = SENDS[name].format(BotId="conn-live")
        failed = await broken.post(path, json={}, headers=KEYS)
        other = await broken.delete(path, headers=KEYS)
    assert (failed.status_code, other.status_code) == (500, 405)
    assert other.headers["allow"].split(", ").count("POST") == 1
    for answer in (failed, other):
        correlation_id(answer)
        assert answer.headers["content-type"] == media_type
        assert list(answer.json()) == ERRORS[name]
        is_an_error.validate(answer.json())


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        *[(f"/v1/sms/{each}", "bland") for each in ("clear", "messages/get", "conversations/")],
        *[("/v1/sms/send%0A", "bland"), ("/v1/files/", "bland")],
        ("/v1/sms/campaigns/c1/stop", "nixflex"),
        *[(each, "polyai") for each in ("/v1/smses", "/v1/sms%0A", "/v1/nothing", "/nothing")],
    ],
)
async def test_a_404_where_nothing_is_has_the_shape_of_the_dialect_beside_it(
    http: httpx.AsyncClient, path: str, shape: str
) -> None:
    answer = await http.post(path, json={}, headers=KEYS)
    assert answer.status_code == 404
    assert list(answer.json()) == ERRORS[shape]
    assert f"There is nothing at {path};" in answer.text


async def test_a_404_below_a_dialect_that_is_switched_off_has_the_shape_of_no_dialect(
    database_url: str, redis_url: str
) -> None:
    found = settings(database_url, redis_url, dialects="native,nixflex")
    async with started(found) as rt, client(rt) as some:
        is_refused(await some.post("/v1/sms/send"), 404, counted=False)
        answer = await some.post("/v1/sms/campaigns/c1/stop")
        assert (answer.status_code, list(answer.json())) == (404, ERRORS["nixflex"])
