"""`POST /Messages.json`, without the SDK: the one request that is made for each text.

Source: https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource. The
SDK and httpx's client took a third of all that a text cost (ADR 33); they stay for all the rest.
"""

import asyncio
import json
import platform
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Final, TypeAlias, cast
from urllib.parse import quote, urlencode

import httpx

from textback import __version__
from textback.carriers.twilio import asking, errors
from textback.carriers.twilio.exchange import NEVER_LEFT, Fence, named, unknown
from textback.carriers.twilio.sids import is_sid
from textback.core.ports import CarrierAccount, NoAnswer, Outgoing, SendError, Taken

_LONGEST_VALIDITY: Final = 36_000
"""Seconds; Twilio's own limit. Over 5 is advised, but a text that may live no longer may not."""

_LONGEST_REASON: Final = 500
_SHORTEST_QUOTE: Final = 8
"""Characters of a text: shorter ones may stand in any sentence."""

_NAMES: Final = {
    "to": "To",
    "from_": "From",
    "messaging_service_sid": "MessagingServiceSid",
    "smart_encoded": "SmartEncoded",
    "body": "Body",
    "content_sid": "ContentSid",
    "content_variables": "ContentVariables",
}
"""Twilio's names for what the SDK calls otherwise."""

Send: TypeAlias = Callable[[httpx.Request], Awaitable[httpx.Response]]


class Create:
    """The request, for one account."""

    def __init__(
        self,
        account: CarrierAccount,
        base: httpx.URL,
        send: Send,
        *,
        timeout: timedelta,
        steady: Callable[[], float],
    ) -> None:
        """`send` makes one request, once."""
        self._send, self._steady = send, steady
        self._seconds = timeout.total_seconds()
        path = f"/2010-04-01/Accounts/{quote(account.account_sid, safe='')}/Messages.json"
        self._url = base.copy_with(raw_path=base.raw_path.rstrip(b"/") + path.encode())
        who = b64encode(f"{account.account_sid}:{account.auth_token}".encode()).decode()
        self._secrets = [each.encode() for each in (account.auth_token, who) if each]
        self._headers = httpx.Headers(
            {
                "authorization": f"Basic {who}",
                "content-type": "application/x-www-form-urlencoded",
                "accept": "application/json",
                "user-agent": f"textback/{__version__} Python/{platform.python_version()}",
            }
        )
        waits = httpx.Timeout(self._seconds, connect=self._seconds / 4, pool=self._seconds / 4)
        self._waits = waits.as_dict()

    async def __call__(self, outgoing: Outgoing) -> Taken | SendError | NoAnswer:
        try:
            form = _form(outgoing)
        except UnicodeEncodeError:
            return SendError("encoding", "the text is not valid Unicode", "never")
        fence = Fence(self._steady, self._seconds)
        request = httpx.Request(
            "POST",
            self._url,
            headers=self._headers,
            content=form,
            extensions={"trace": fence, "timeout": self._waits},
        )
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._send(request)
                try:
                    body = await answer.aread()
                finally:
                    await answer.aclose()
        except NEVER_LEFT as error:
            # It never reached Twilio, so it is nothing the text did: wait, and count no attempt.
            return SendError("connection", f"could not connect: {error}", "slow_down")
        except Exception as error:  # noqa: BLE001 - whatever broke once bytes left: it may be out
            return NoAnswer(named(error))
        for secret in self._secrets:  # a refusal's words are kept, and shown
            body = body.replace(secret, b"[hidden]")
        return _judged(answer.status_code, answer.headers, body, said_by_us=outgoing.text)


def _form(outgoing: Outgoing) -> bytes:
    """Raises UnicodeEncodeError."""
    seconds = int(outgoing.valid_for.total_seconds())
    asked: dict[str, object] = {
        _NAMES[name]: value
        for name, value in (*asking.who(outgoing).items(), *asking.what(outgoing).items())
    }
    asked["StatusCallback"] = outgoing.status_url
    asked["ValidityPeriod"] = max(1, min(seconds, _LONGEST_VALIDITY))
    if "SmartEncoded" in asked:
        asked["SmartEncoded"] = "true" if asked["SmartEncoded"] else "false"
    return urlencode(asked).encode()


def _judged(
    status: int, headers: Mapping[str, str], body: bytes, *, said_by_us: str
) -> Taken | SendError | NoAnswer:
    said = _read(body)
    if 200 <= status < 300:  # noqa: PLR2004 - HTTP's own numbers
        return _taken(said) or unknown("the answer names no message", status, headers)
    if not errors.is_refusal(status):
        return unknown("no usable answer", status, headers)
    code, reason = _why(said, status, said_by_us)
    return errors.refusal(status, code, reason, retry_after=headers.get("retry-after"))


def _read(body: bytes) -> Mapping[str, object]:
    try:
        found: object = json.loads(body)
    except (ValueError, RecursionError):  # ValueError: also of what is not UTF-8
        return {}
    return cast("dict[str, object]", found) if isinstance(found, dict) else {}


def _taken(said: Mapping[str, object]) -> Taken | None:
    """Twilio's document of the message. What only looks like it proves nothing."""
    sid, created = said.get("sid"), said.get("date_created")
    return Taken(sid) if is_sid(sid) and isinstance(created, str | None) else None


def _why(said: Mapping[str, object], status: int, text: str) -> tuple[str | None, str]:
    """Twilio's code and words; as an error document, or as a problem (RFC 9457).

    No code: it was no error document of Twilio's.
    """
    code = said.get("code")
    is_code = isinstance(code, int | str) and not isinstance(code, bool) and code != status
    words = said.get("message") or said.get("detail") or said.get("title")
    reason = str(words or "no reason was given")
    if len(text) >= _SHORTEST_QUOTE:  # it is logged
        reason = reason.replace(text, "[the text]")
    return (_stored(str(code)) if is_code else None), _stored(reason)


def _stored(words: str) -> str:
    """As Postgres can keep it: without NUL and lone surrogates, and not too long."""
    return words.replace("\x00", "\ufffd").encode(errors="replace").decode()[:_LONGEST_REASON]
