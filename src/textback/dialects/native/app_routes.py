"""JWT apps, and the account's own settings."""

from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from textback.dialects.native import access_openapi as openapi
from textback.dialects.native import access_wire as wire
from textback.dialects.native import paging, serving
from textback.dialects.native.access_routes import managed_of, name_of, scopes_of
from textback.dialects.native.admin_routes import by, place
from textback.dialects.native.paging import Page, Query
from textback.dialects.native.serving import Asked
from textback.dialects.native.webhook_wire import Rotate
from textback.flows import manage_account, manage_apps
from textback.flows.manage_account import AccountShown
from textback.flows.manage_apps import App
from textback.flows.manage_shown import SAME

router = serving.router("Administration")


# --- JWT apps -----------------------------------------------------------------------------------


@router.get(openapi.APPS, **openapi.LIST_APPS)
async def apps(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        page = asked.query(Query)
        after = place(page, "apps")
        found = await manage_apps.listed(by(asked), after=after, limit=page.limit + 1)
        more = paging.next_cursor(page, "apps", [each.client_id for each in found])
        data = [wire.App(**_app(each)) for each in found[: page.limit]]
        return serving.shown(Page(data=data, next_cursor=more))

    return await serving.answer(request, "read", act)


@router.post(openapi.APPS, **openapi.CREATE_APP)
async def create_app(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it = asked.body(wire.NewApp)
        made = await manage_apps.create(
            by(asked), name=it.name, scopes=it.scopes, require_jti=it.require_jti
        )
        return serving.shown(wire.MadeApp(**_app(made.app), secret=made.secret), 201)

    return await serving.answer(request, "manage", act)


@router.get(openapi.APP, **openapi.GET_APP)
async def app(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        found = await manage_apps.get(by(asked), asked.path("client_id"))
        return serving.shown(wire.App(**_app(found)))

    return await serving.answer(request, "read", act)


@router.patch(openapi.APP, **openapi.CHANGE_APP)
async def change_app(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it = asked.body(wire.ChangedApp)
        after = await manage_apps.update(
            by(asked),
            asked.path("client_id"),
            name=name_of(it.name, it.model_fields_set),
            scopes=it.scopes if "scopes" in it.model_fields_set else SAME,
            require_jti=it.require_jti,
        )
        return serving.shown(wire.App(**_app(after, changed=True)))

    return await serving.answer(request, "manage", act)


@router.post(openapi.APP + "/rotate", **openapi.ROTATE_APP)
async def rotate_app(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        asked.body(wire.Nothing)
        made = await manage_apps.rotate(by(asked), asked.path("client_id"))
        return serving.shown(wire.MadeApp(**_app(made.app, changed=True), secret=made.secret))

    return await serving.answer(request, "manage", act)


@router.delete(openapi.APP, **openapi.REVOKE_APP)
async def revoke_app(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        await manage_apps.revoke(by(asked), asked.path("client_id"))
        return Response(status_code=204)

    return await serving.answer(request, "manage", act)


# --- The account --------------------------------------------------------------------------------


@router.get(openapi.ACCOUNT, **openapi.GET_ACCOUNT)
async def account(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        return serving.shown(_account(await manage_account.get(by(asked))))

    return await serving.answer(request, "read", act)


@router.patch(openapi.ACCOUNT, **openapi.CHANGE_ACCOUNT)
async def change_account(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it = asked.body(wire.ChangedAccount)
        given = it.model_fields_set
        after = await manage_account.update(
            by(asked),
            name=name_of(it.name, given),
            agent_template=it.agent_template if "agent_template" in given else SAME,
        )
        return serving.shown(_account(after, changed=True))

    return await serving.answer(request, "manage", act)


@router.post(openapi.ACCOUNT + "/webhook-secret", **openapi.WEBHOOK_SECRET)
async def webhook_secret(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it = asked.body(Rotate)
        grace = timedelta(seconds=it.grace_seconds)
        made = await manage_account.new_webhook_secret(by(asked), it.secret, grace=grace)
        return serving.shown(wire.WebhookSecret(webhook_secret=made))

    return await serving.answer(request, "manage", act)


def _app(found: App, *, changed: bool = False) -> dict[str, Any]:
    return {
        "client_id": found.client_id,
        "name": found.name,
        "scopes": scopes_of(found.scopes),
        "require_jti": found.require_jti,
        "created_at": found.created_at,
        "revoked_at": found.revoked_at,
        **managed_of(found.managed_by, changed=changed),
    }


def _account(found: AccountShown, *, changed: bool = False) -> BaseModel:
    return wire.Account(
        id=found.id,
        name=found.name,
        agent_template=found.agent_template,
        has_webhook_secret=found.has_webhook_secret,
        **managed_of(found.managed_by, changed=changed),
    )
