"""API keys and key pairs."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response

from textback.core.commands import Scope
from textback.core.errors import BadRequest
from textback.dialects.native import access_openapi as openapi
from textback.dialects.native import access_wire as wire
from textback.dialects.native import paging, reading, serving
from textback.dialects.native.admin_routes import by, place
from textback.dialects.native.paging import Page, Query
from textback.dialects.native.serving import Asked
from textback.flows import manage_keys
from textback.flows.manage_keys import Key
from textback.flows.manage_shown import SAME

router = serving.router("Administration")

_SAID_AGAIN = (
    "The provisioning file manages it: the next time that it is applied, its words count again."
)


# --- Keys and pairs -----------------------------------------------------------------------------


@router.get(openapi.KEYS, **openapi.LIST_KEYS)
async def keys(request: Request) -> Response:
    return await _listed(request, pairs=False)


@router.get(openapi.PAIRS, **openapi.LIST_PAIRS)
async def pairs(request: Request) -> Response:
    return await _listed(request, pairs=True)


@router.post(openapi.KEYS, **openapi.CREATE_KEY)
async def create_key(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it = asked.body(wire.NewKey)
        made = await manage_keys.create(
            by(asked), name=it.name, scopes=it.scopes, expires_at=it.expires_at
        )
        return serving.shown(wire.MadeKey(**_key(made.key), key=made.secret), 201)

    return await serving.answer(request, "manage", act)


@router.post(openapi.PAIRS, **openapi.CREATE_PAIR)
async def create_pair(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it = asked.body(wire.NewPair)
        made = await manage_keys.create_pair(by(asked), name=it.name, scopes=it.scopes)
        return serving.shown(wire.MadePair(**_key(made.key), secret=made.secret), 201)

    return await serving.answer(request, "manage", act)


@router.get(openapi.KEY, **openapi.GET_KEY)
async def key(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        found = await manage_keys.get(by(asked), _key_id(asked))
        return serving.shown(wire.Key(**_key(found)))

    return await serving.answer(request, "read", act)


@router.get(openapi.PAIR, **openapi.GET_PAIR)
async def pair(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        found = await manage_keys.get(by(asked), _pair_id(asked))
        return serving.shown(wire.Key(**_key(found)))

    return await serving.answer(request, "read", act)


@router.patch(openapi.KEY, **openapi.CHANGE_KEY)
async def change_key(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it = asked.body(wire.ChangedKey)
        given = it.model_fields_set
        after = await manage_keys.update(
            by(asked),
            _key_id(asked),
            name=name_of(it.name, given),
            scopes=it.scopes if "scopes" in given else SAME,
            expires_at=it.expires_at if "expires_at" in given else SAME,
        )
        return serving.shown(wire.Key(**_key(after, changed=True)))

    return await serving.answer(request, "manage", act)


@router.post(openapi.KEY + "/rotate", **openapi.ROTATE_KEY)
async def rotate_key(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it = asked.body(wire.RotatedKey)
        grace = timedelta(seconds=it.grace_seconds)
        made = await manage_keys.rotate(by(asked), _key_id(asked), grace=grace, again=it.again)
        return serving.shown(wire.MadeKey(**_key(made.key, changed=True), key=made.secret))

    return await serving.answer(request, "manage", act)


@router.post(openapi.PAIR + "/rotate", **openapi.ROTATE_PAIR)
async def rotate_pair(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it = asked.body(wire.RotatedPair)
        grace = timedelta(seconds=it.grace_seconds)
        made = await manage_keys.rotate(by(asked), _pair_id(asked), grace=grace, again=it.again)
        return serving.shown(wire.MadePair(**_key(made.key, changed=True), secret=made.secret))

    return await serving.answer(request, "manage", act)


@router.delete(openapi.KEY, **openapi.REVOKE_KEY)
async def revoke_key(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        await manage_keys.revoke(by(asked), _key_id(asked))
        return Response(status_code=204)

    return await serving.answer(request, "manage", act)


@router.delete(openapi.PAIR, **openapi.REVOKE_PAIR)
async def revoke_pair(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        await manage_keys.revoke(by(asked), _pair_id(asked))
        return Response(status_code=204)

    return await serving.answer(request, "manage", act)


def _key_id(asked: Asked) -> str:
    return reading.an_id(asked.path("key_id"), wire.KEY, "key")


def _pair_id(asked: Asked) -> str:
    return reading.an_id(asked.path("pair_id"), wire.PAIR, "key pair")


async def _listed(request: Request, *, pairs: bool) -> Response:
    async def act(asked: Asked) -> Response:
        of = "pairs" if pairs else "keys"
        page = asked.query(Query)
        found = await manage_keys.listed(
            by(asked), pairs=pairs, after=place(page, of), limit=page.limit + 1
        )
        more = paging.next_cursor(page, of, [each.id for each in found])
        data = [wire.Key(**_key(each)) for each in found[: page.limit]]
        return serving.shown(Page(data=data, next_cursor=more))

    return await serving.answer(request, "read", act)


# --- As it is shown -----------------------------------------------------------------------------


def name_of(name: str | None, given: set[str]) -> str | None:
    """Raises BadRequest: null is no name."""
    if name is None and "name" in given:
        raise BadRequest("name must be a string.")
    return name


def _key(found: Key, *, changed: bool = False) -> dict[str, Any]:
    return {
        "id": found.id,
        "name": found.name,
        "scopes": scopes_of(found.scopes),
        "created_at": found.created_at,
        "expires_at": found.expires_at,
        "previous_until": found.previous_until,
        "revoked_at": found.revoked_at,
        **managed_of(found.managed_by, changed=changed),
    }


def scopes_of(found: frozenset[str] | None) -> Sequence[Scope] | None:
    return None if found is None else cast("list[Scope]", sorted(found))


def managed_of(managed_by: str, *, changed: bool) -> dict[str, Any]:
    warn = changed and managed_by == "file"
    return {"managed_by": managed_by, "warnings": [_SAID_AGAIN] if warn else []}
