"""Twilio's webhooks: their fields, their signature, their repetitions."""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import parse_qs, urldefrag, urlencode

import httpx
from twilio.request_validator import (  # pyright: ignore[reportMissingTypeStubs]
    RequestValidator,
)

from tests.support.fake_twilio.resources import Account, Message
from textback.core import segments

TIMEOUT: Final = 15.0
"""Seconds, in all: Twilio's own."""

_BETWEEN: Final = 0.1
"""Seconds before the first further try, and twice as many before each next; not documented."""

_SIDES: Final = ("To", "From")
_GEOGRAPHY: Final = ("City", "State", "Zip", "Country")
"""Often present but blank."""


def signature_of(auth_token: str, url: str, form: Mapping[str, str]) -> str:
    """By the SDK; of a MultiDict, every value counts."""
    compute: object = RequestValidator(auth_token).compute_signature  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return cast("Callable[[str, Mapping[str, str]], str]", compute)(url, form)


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the fragment of a webhook's URL asks for; without one, Twilio's defaults."""

    retries: int = 1
    on: frozenset[str] = frozenset({"ct"})
    read: float = TIMEOUT
    total: float = TIMEOUT

    @classmethod
    def of(cls, url: str) -> "Overrides":
        asked = {name: values[-1] for name, values in parse_qs(urldefrag(url).fragment).items()}
        on = frozenset(asked.get("rp", "ct").split(","))
        return cls(
            retries=min(int(asked.get("rc", "1")), 5),
            on=frozenset({"4xx", "5xx", "ct", "rt"}) if "all" in on else on,
            read=int(asked.get("rt", "15000")) / 1000,
            total=int(asked.get("tt", "15000")) / 1000,
        )


async def post(
    http: httpx.AsyncClient, account: Account, url: str, form: Mapping[str, str]
) -> httpx.Response:
    """As Twilio posts: signed without the fragment, and tried again as the fragment asks.

    Raises httpx's errors when the last try brought no answer.
    """
    target, asked = urldefrag(url).url, Overrides.of(url)
    headers = {
        "content-type": "application/x-www-form-urlencoded; charset=UTF-8",
        "user-agent": "TwilioProxy/1.1",
        "i-twilio-idempotency-token": secrets.token_hex(16),
        "x-twilio-signature": signature_of(account.auth_token, target, form),
    }
    content = urlencode(form)
    ends = time.monotonic() + asked.total
    for nth in range(asked.retries + 1):
        left = ends - time.monotonic()
        wait = _BETWEEN * 2**nth
        is_last = nth == asked.retries or left <= wait
        try:
            answer = await http.post(
                target, content=content, headers=headers, timeout=min(asked.read, max(left, 0.1))
            )
        except httpx.TransportError as error:
            what = "ct" if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) else "rt"
            if is_last or what not in asked.on:
                raise
        else:
            if is_last or f"{answer.status_code // 100}xx" not in asked.on:
                return answer
        await asyncio.sleep(wait)
    raise AssertionError  # the last try returned or raised


def pick_sender(account: Account, message: Message) -> None:
    """A Messaging Service has found who sends: RCS, to who can do that, else SMS."""
    service = account.service(message.messaging_service_sid or "")
    if service is None or message.from_:
        return
    rcs = next((each for each in service.senders if each.startswith("rcs:")), None)
    plain = message.to.removeprefix("rcs:")
    if rcs and plain in account.rcs_users:
        message.from_, message.to = rcs, f"rcs:{plain}"
    else:
        message.from_ = service.fallback


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
    if message.messaging_service_sid:
        form["MessagingServiceSid"] = message.messaging_service_sid
    if error_code is not None:
        form["ErrorCode"] = str(error_code)
    if status in {"delivered", "undelivered"}:
        form["RawDlrDoneDate"] = "2501010000"
    return form
