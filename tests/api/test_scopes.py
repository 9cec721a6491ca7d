"""What a key may do: every route of our own asks for its scope, and for no other."""

import re
from datetime import datetime, timedelta
from typing import Any, get_args

import httpx

from textback.api import managing
from textback.core.commands import Scope
from textback.core.ids import AccountId
from textback.dialects.native.routes import DIALECT
from textback.flows import manage_keys
from textback.flows.admit import Holder
from textback.runtime import Runtime

SCOPES: tuple[Scope, ...] = get_args(Scope)

RULES: list[tuple[str, str, Scope]] = [
    ("GET", r"/v1/me", "read"),  # any key may ask who it is
    ("GET", r"/v1/webhooks/[^/]+/poll", "webhooks"),  # it also counts what it gives as delivered
    ("GET", r".*", "read"),
    (".*", r"/v1/admin/.*", "manage"),
    (".*", r"/v1/(webhooks|deliveries).*", "webhooks"),
    (".*", r"/v1/opt-outs.*", "opt_outs"),
    (".*", r"/v1/(batches|sends).*", "send"),
    ("POST", r".*/messages", "send"),
    (".*", r"/v1/conversations/.*", "converse"),
]
"""The first that fits."""

ANY_KEY = {"/v1/me"}


def needed(method: str, path: str) -> Scope:
    return next(s for m, p, s in RULES if re.fullmatch(m, method) and re.fullmatch(p, path))


def without(scope: Scope) -> list[Scope]:
    return [each for each in SCOPES if each != scope]


async def key(rt: Runtime, name: str, *scopes: Scope) -> str:
    by = Holder(account_id=AccountId("acme"), key_id="", scopes=None)
    made = await manage_keys.create(managing.managing(rt, by), name=name, scopes=scopes)
    return made.secret


async def test_every_route_asks_for_its_scope_and_for_no_other(
    http: httpx.AsyncClient, rt: Runtime
) -> None:
    routes: list[Any] = list(DIALECT.router.routes)
    assert len(routes) > 60
    right = {scope: await key(rt, f"only {scope}", scope) for scope in SCOPES}
    wrong = {scope: await key(rt, f"all but {scope}", *without(scope)) for scope in SCOPES}
    for route in routes:
        [method] = route.methods
        scope = needed(method, route.path)
        url = re.sub(r"\{\w+\}", "none", route.path)

        async def ask(token: str, method: str = method, url: str = url) -> httpx.Response:
            given = {"Authorization": f"Bearer {token}"}
            return await http.request(method, url, headers=given, json=None)

        refused, allowed = await ask(wrong[scope]), await ask(right[scope])
        if route.path in ANY_KEY:
            assert refused.status_code == 200
            continue
        assert refused.status_code == 403, (method, route.path)
        assert refused.headers["content-type"] == "application/problem+json"
        assert f'lacks the scope "{scope}"' in refused.json()["detail"]
        assert allowed.status_code < 500, (method, route.path)
        assert allowed.status_code != 401, (method, route.path)
        assert "lacks the scope" not in allowed.text, (method, route.path)


async def test_a_key_with_an_end_cannot_put_it_off(http: httpx.AsyncClient, rt: Runtime) -> None:
    by = Holder(account_id=AccountId("acme"), key_id="", scopes=None)
    end = rt.now() + timedelta(days=1)
    m = managing.managing(rt, by)
    made = await manage_keys.create(m, name="passing", scopes=["manage"], expires_at=end)
    given = {"Authorization": f"Bearer {made.secret}"}
    admin = "/v1/admin"
    own = f"{admin}/api-keys/{made.key.id}"
    for method, url, body in (
        ("PATCH", own, {"expires_at": None}),
        ("PATCH", own, {"expires_at": (end + timedelta(days=1)).isoformat()}),
        ("POST", f"{admin}/api-keys", {"name": "on", "scopes": ["manage"]}),
        ("POST", f"{admin}/key-pairs", {"name": "on", "scopes": ["manage"]}),
        ("POST", f"{admin}/jwt-apps", {"name": "on", "scopes": ["manage"]}),
    ):
        refused = await http.request(method, url, headers=given, json=body)
        assert (refused.status_code, refused.json()["status"]) == (403, 403), (method, url)
        assert "works longer than itself" in refused.json()["detail"]
    rotated = await http.post(f"{own}/rotate", headers=given)
    assert datetime.fromisoformat(rotated.json()["expires_at"]) == end
