"""Twilio's webhooks: their fields, their signature, their one repetition."""

import secrets
from collections.abc import Callable, Mapping
from typing import Final, cast
from urllib.parse import urldefrag, urlencode

import httpx
from twilio.request_validator import (  # pyright: ignore[reportMissingTypeStubs]
    RequestValidator,
)

from tests.support.fake_twilio.resources import Account, Message
from textback.core import segments

TIMEOUT: Final = 15.0
"""Seconds, in all: Twilio's own."""

_SIDES: Final = ("To", "From")
_GEOGRAPHY: Final = ("City", "State", "Zip", "Country")
"""Often present but blank."""


def signature_of(auth_token: str, url: str, form: Mapping[str, str]) -> str:
    """By the SDK; of a MultiDict, every value counts."""
    compute: object = RequestValidator(auth_token).compute_signature  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return cast("Callable[[str, Mapping[str, str]], str]", compute)(url, form)


async def post(
    http: httpx.AsyncClient, account: Account, url: str, form: Mapping[str, str]
) -> httpx.Response:
    """As Twilio posts: signed without the fragment, tried again once if nobody listens."""
    target = urldefrag(url).url
    headers = {
        "content-type": "application/x-www-form-urlencoded; charset=UTF-8",
        "user-agent": "TwilioProxy/1.1",
        "i-twilio-idempotency-token": secrets.token_hex(16),
        "x-twilio-signature": signature_of(account.auth_token, target, form),
    }
    content = urlencode(form)
    try:
        return await http.post(target, content=content, headers=headers)
    except httpx.ConnectError:
        return await http.post(target, content=content, headers=headers)


def inbound(account: Account, sid: str, user: str, agent: str, body: str) -> dict[str, str]:
    return {
        **dict.fromkeys((f"{side}{part}" for side in _SIDES for part in _GEOGRAPHY), ""),
        "MessageSid": sid,
        "SmsSid": sid,
        "SmsMessageSid": sid,
        "AccountSid": account.sid,
        "From": user,
        "To": agent,
        "Body": body,
        "NumMedia": "0",
        "NumSegments": str(segments.count(body)),
        "SmsStatus": "received",
        "ApiVersion": "2010-04-01",
    }


def status_of(message: Message, status: str, error_code: int | None) -> dict[str, str]:
    form = {
        "MessageSid": message.sid,
        "SmsSid": message.sid,
        "MessageStatus": status,
        "SmsStatus": status,
        "AccountSid": message.account_sid,
        "From": message.from_,
        "To": message.to,
        "ApiVersion": "2010-04-01",
    }
    if error_code is not None:
        form["ErrorCode"] = str(error_code)
    if status in {"delivered", "undelivered"}:
        form["RawDlrDoneDate"] = "2501010000"
    return form
