"""What a token (JWT) must claim; its signature is another matter (`flows/jwt.py`).

Kore.ai's rules: https://docs.kore.ai/ai-for-service/apis/automation/api-introduction, and D26.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, NoReturn

from textback.core.errors import BadToken
from textback.core.frozen import frozen
from textback.core.storable import is_text

LONGEST_ONCE: Final = timedelta(hours=1)
"""How far ahead a token that may be used once may expire."""

LEEWAY: Final = timedelta(minutes=1)
"""Clocks differ."""

_LONGEST_ID: Final = 255


@frozen
class Once:
    """A token that names itself, and is good once."""

    jti: str
    expires_at: datetime
    """After this it is refused anyway."""


def app_of(payload: Mapping[str, object]) -> str:
    """Who says to have signed it. Raises BadToken."""
    app = payload.get("appId")
    if not isinstance(app, str) or not app:
        _refuse("the claim appId must name the app")
    if len(app) > _LONGEST_ID or not is_text(app):
        raise BadToken("Invalid SDK credentials", of_nobody=True)
    return app


def check(payload: Mapping[str, object], *, require_jti: bool, now: datetime) -> Once | None:
    """Whether a token with a good signature is good now. Raises BadToken.

    `sub` may be anything, but must be there. Without `exp` a token is good for ever, unless it has
    a `jti`. Claims that are not named here are ignored.
    """
    sub = payload.get("sub")
    if sub is None or sub == "":
        _refuse("the claim sub is missing")
    expires_at = _moment(payload, "exp")
    if expires_at is not None and expires_at <= (now - LEEWAY).timestamp():
        _refuse("it has expired")
    not_before = _moment(payload, "nbf")
    if not_before is not None and not_before > (now + LEEWAY).timestamp():
        _refuse("it is not good yet")
    jti = payload.get("jti")
    if jti is None:
        return _refuse("the claim jti is missing") if require_jti else None
    if not isinstance(jti, str) or not 0 < len(jti) <= _LONGEST_ID or not is_text(jti):
        _refuse(f"the claim jti must be a string of 1 to {_LONGEST_ID} characters")
    if expires_at is None or expires_at > (now + LONGEST_ONCE + LEEWAY).timestamp():
        _refuse("with a jti, exp must be at most one hour ahead")
    ends = datetime.fromtimestamp(expires_at, now.tzinfo)
    return Once(jti=jti, expires_at=ends + LEEWAY)


def _moment(payload: Mapping[str, object], claim: str) -> float | None:
    """Seconds since 1970, as they came: an integer may be too large for a date."""
    found = payload.get(claim)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or found != found:  # noqa: PLR0124 - NaN
        _refuse(f"the claim {claim} must be a number of seconds")
    return found


def _refuse(why: str) -> NoReturn:
    raise BadToken(f"error verifying the jwt: {why}")
