"""Entries, as the provisioning file has them: projects, connectors, carriers, numbers, agents."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from textback.api.managing import managing
from textback.core.errors import BadRequest
from textback.core.storable import is_text
from textback.dialects.native import admin_openapi as openapi
from textback.dialects.native import paging, serving
from textback.dialects.native.admin_openapi import Entries
from textback.dialects.native.paging import Query
from textback.dialects.native.serving import Asked
from textback.flows import manage, manage_agents
from textback.flows.manage import Managed, Managing
from textback.flows.manage_agents import Version

router = serving.router("Administration")


def _reading(of: Entries) -> None:
    """Every kind of entry has these."""
    kind = of.kind

    @router.get(of.path, name=f"list_{kind}s", **of.list)
    async def listed(request: Request) -> Response:
        async def act(asked: Asked) -> Response:
            page = asked.query(Query)
            after = place(page, kind)
            found = await manage.listed(by(asked), kind, after=after, limit=page.limit + 1)
            more = paging.next_cursor(page, kind, [each.id for each in found])
            return paged([shown(each) for each in found[: page.limit]], more)

        return await serving.answer(request, "read", act)

    @router.get(of.one, name=f"get_{kind}", **of.get)
    async def one(request: Request) -> Response:
        async def act(asked: Asked) -> Response:
            return JSONResponse(shown(await manage.get(by(asked), kind, asked.path(of.key))))

        return await serving.answer(request, "read", act)


def _writing(of: Entries) -> None:
    kind = of.kind

    @router.post(of.path, name=f"create_{kind}", **of.create)
    async def create(request: Request) -> Response:
        async def act(asked: Asked) -> Response:
            return JSONResponse(shown(await manage.create(by(asked), kind, asked.json())), 201)

        return await serving.answer(request, "manage", act, at_most=of.at_most)

    @router.patch(of.one, name=f"change_{kind}", **of.change)
    async def change(request: Request) -> Response:
        async def act(asked: Asked) -> Response:
            which, patch = asked.path(of.key), asked.json()
            return JSONResponse(shown(await manage.update(by(asked), kind, which, patch)))

        return await serving.answer(request, "manage", act, at_most=of.at_most)

    @router.delete(of.one, name=f"remove_{kind}", **of.remove)
    async def remove(request: Request) -> Response:
        async def act(asked: Asked) -> Response:
            await manage.remove(by(asked), kind, asked.path(of.key))
            return Response(status_code=204)

        return await serving.answer(request, "manage", act)


for _each in openapi.ALL:
    _reading(_each)
    _writing(_each)


@router.get(openapi.AGENTS.one + "/versions", **openapi.VERSIONS)
async def versions(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        page, which = asked.query(Query), asked.path("id")
        of = f"versions of {which}"
        after = paging.after_number(page, of)
        found = await manage_agents.versions(by(asked), which, after=after, limit=page.limit + 1)
        more = paging.next_cursor(page, of, [each.number for each in found])
        return paged([_version(each) for each in found[: page.limit]], more)

    return await serving.answer(request, "read", act)


def by(asked: Asked) -> Managing:
    return managing(asked.rt, asked.by)


def place(page: Query, of: str) -> str | None:
    """Raises BadRequest."""
    after = paging.after_text(page, of)
    if after is not None and not is_text(after):
        raise BadRequest("cursor is not one of this list's.")
    return after


def paged(data: list[dict[str, Any]], next_cursor: str | None) -> Response:
    return JSONResponse({"data": data, "next_cursor": next_cursor})


def shown(found: Managed) -> dict[str, Any]:
    more: Mapping[str, Any] = {}
    if found.kind == "agent":
        more = {"version": found.production, "draft_version": found.draft}
    return {
        **found.entry,
        **more,
        "managed_by": found.managed_by,
        "warnings": list(found.warnings),
    }


def _version(found: Version) -> dict[str, Any]:
    return {
        "version": found.number,
        "created_at": found.created_at.isoformat(),
        "production": found.is_production,
        "draft": found.is_draft,
        "live_conversations": found.live,
        **found.content,
    }
