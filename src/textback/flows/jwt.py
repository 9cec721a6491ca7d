"""A signed token (JWT) -> whose it is, or a refusal (D26)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import jwt
import jwt.types
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core import jwt_claims
from textback.core.commands import Scope
from textback.core.errors import BadToken, MissingScope, Unavailable
from textback.core.ports import Vault
from textback.db import jwt_apps
from textback.db.session import transaction
from textback.flows.admit import Holder

log = structlog.stdlib.get_logger()

_ALGORITHM: Final = "HS256"
_LONGEST: Final = 8192
"""Characters; with the documented claims it has some hundreds."""

_UNKNOWN: Final = "Invalid SDK credentials"
_REPLAYED: Final = "error verifying the jwt: possibly a replay"

# Which claims there must be, and what they may say, is ours to say (`core/jwt_claims.py`).
_SIGNATURE_ONLY: Final[jwt.types.Options] = {
    "verify_signature": True,
    "verify_aud": False,
    "verify_exp": False,
    "verify_iat": False,
    "verify_iss": False,
    "verify_jti": False,
    "verify_nbf": False,
    "verify_sub": False,
}


async def verify(
    db: AsyncEngine, vault: Vault, token: str | None, *, scope: Scope, now: datetime
) -> Holder:
    """Who signed it, if they may do that. Raises BadToken, MissingScope, Unavailable.

    A token that names itself (`jti`) is used up by this, also if what was asked for then fails:
    what is asked again needs another. That is committed by itself, so that of two requests with the
    same token, at whatever processes, one at most gets through.
    """
    claimed = _unverified(token)
    client_id = jwt_claims.app_of(claimed)
    async with transaction(db) as c:
        app = await jwt_apps.find(c, client_id)
    if app is None:
        raise BadToken(_UNKNOWN, of_nobody=True)
    try:
        secret = vault.open(app.secret)
    except ValueError:
        log.exception("jwt.sealed", client_id=app.client_id)
        raise Unavailable("The app's secret cannot be opened; tell the operator.") from None
    payload = _verified(token or "", secret)
    once = jwt_claims.check(payload, require_jti=app.require_jti, now=now)
    if app.scopes is not None and scope not in app.scopes:
        raise MissingScope(f'The app may not do that: it lacks the scope "{scope}".')
    if once is not None:
        async with transaction(db) as c:
            if not await jwt_apps.use(c, app.client_id, once):
                raise BadToken(_REPLAYED)
    return Holder(account_id=app.account_id, key_id=app.client_id, scopes=app.scopes)


def _unverified(token: str | None) -> Mapping[str, Any]:
    """What it says, whoever wrote it: enough to find whose signature to look for."""
    if not token:
        raise BadToken("error verifying the jwt: send one in the auth header")
    try:
        if len(token) > _LONGEST:
            raise ValueError  # noqa: TRY301 - one sentence for all that is no token
        read = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise BadToken("error verifying the jwt: jwt malformed") from None
    if read["header"].get("alg") != _ALGORITHM:
        raise BadToken(f"error verifying the jwt: it must be signed with {_ALGORITHM}")
    return read["payload"]


def _verified(token: str, secret: str) -> Mapping[str, Any]:
    try:
        return jwt.decode(token, secret, algorithms=[_ALGORITHM], options=_SIGNATURE_ONLY)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise BadToken(_UNKNOWN, of_nobody=True) from None
