"""Kore.ai's clients: their deployment, their tokens, their request."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import httpx
import jwt

from tests.support.provision import NOW, STANDARD_YAML

APP: Final = "cs-0a0a0a0a-0000-4000-8000-000000000001"
STRICT: Final = "cs-0a0a0a0a-0000-4000-8000-000000000002"
READER: Final = "cs-0a0a0a0a-0000-4000-8000-000000000003"
OF_GLOBEX: Final = "cs-0a0a0a0a-0000-4000-8000-000000000004"
SECRET: Final = "kore-client-secret-kore-client-secret-kore="
"""Of every app."""

BOT: Final = "conn-live"
NUMBER, OTHER_NUMBER = "+14155550100", "+14155550101"
USER: Final = "+14155550123"
TRIGGERED: Final = (
    b'{"message":"Triggered the configured Experience flow to deliver message via SMS channel"}'
)

_APPS: Final = f"""\
    jwt_apps:
      - {{client_id: {APP}, name: ci, secret: "{SECRET}"}}
      - {{client_id: {STRICT}, name: strict, secret: "{SECRET}", require_jti: true}}
      - {{client_id: {READER}, name: reader, secret: "{SECRET}", scopes: [read]}}
"""
_OF_GLOBEX: Final = f"""\
    jwt_apps:
      - {{client_id: {OF_GLOBEX}, name: ci, secret: "{SECRET}"}}
"""

YAML: Final = STANDARD_YAML.replace(
    "    carriers:\n      - id: acme-twilio", _APPS + "    carriers:\n      - id: acme-twilio"
).replace(
    "    carriers:\n      - id: globex-twilio",
    _OF_GLOBEX + "    carriers:\n      - id: globex-twilio",
)
"""The usual deployment, with apps; globex' agent cannot open a conversation."""


def token(
    app: str = APP,
    *,
    secret: str = SECRET,
    algorithm: str = "HS256",
    headers: Mapping[str, object] | None = None,
    **claims: object,
) -> str:
    """The documented payload, and what is added to it."""
    payload = {"sub": "1234567890", "appId": app} | claims
    given = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(given, secret, algorithm=algorithm, headers=dict(headers or {}))


def once(jti: str, *, app: str = APP, ahead: timedelta = timedelta(minutes=5)) -> str:
    return token(app, jti=jti, exp=int((NOW + ahead).timestamp()))


async def trigger(
    http: httpx.AsyncClient,
    auth: str | None = None,
    *,
    bot: str = BOT,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    **changes: object,
) -> httpx.Response:
    """A good request, unless told otherwise. `auth` "": without the header."""
    body = {"fromNo": NUMBER, "toNo": USER} | changes
    sent = {"auth": auth if auth is not None else token()} if auth != "" else {}
    path = f"/api/public/bot/{bot}/outboundsms"
    if content is not None:
        return await http.post(path, content=content, headers={**sent, **(headers or {})})
    return await http.post(path, json=body, headers={**sent, **(headers or {})})


def refusal(answer: httpx.Response) -> tuple[int, int, str]:
    """Status, code and sentence of an error in the one shape there is."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert list(body) == ["errors"]
    (only,) = body["errors"]
    assert list(only) == ["msg", "code"]
    assert isinstance(only["code"], int)
    assert only["msg"].strip()
    assert "x-conversation-id" not in answer.headers
    return answer.status_code, only["code"], only["msg"]
