"""Twilio's webhooks: signature, inbound texts, receipts.

Sources: https://www.twilio.com/docs/usage/webhooks/webhooks-security (signature),
https://www.twilio.com/docs/messaging/guides/webhook-request (inbound) and
https://www.twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks (receipts).
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, Literal

from textback.carriers.twilio import form
from textback.core.ids import MessageId
from textback.core.ports import HookRequest, Ignored, Inbound, Malformed, Receipt, ReceiptStatus

_MOST_FIELDS: Final = 500
"""Twilio sends about 30, and new ones come without notice."""

_MOST_MEDIA: Final = 10
"""Twilio's own limit."""

_OPTED_OUT: Final = "21610"

_OPT_OUTS: Final[Mapping[str, Literal["stop", "start", "help"]]] = {
    "STOP": "stop",
    "START": "start",
    "HELP": "help",
}

_STATUSES: Final[Mapping[str, ReceiptStatus]] = {
    "accepted": "accepted",
    "scheduled": "accepted",
    "queued": "accepted",
    "sending": "accepted",
    "sent": "sent",
    "delivered": "delivered",
    "read": "delivered",
    "undelivered": "failed",
    "failed": "failed",
    "canceled": "failed",
}

_RECEIVED: Final = frozenset({"received", "receiving"})

_AUTHORITY: Final = re.compile(r"(https?://)([^/?#]*?)(:[0-9]+)?([/?#].*)?", re.DOTALL)

# NUL, and what may be broken UTF-8, as they are posted.
_UNSTORABLE: Final = re.compile(rb"%00|%[89A-Fa-f]|[\x00\x80-\xff]")

# Twilio signs bytes. Carried through `str` this way they come out again as they came, valid or not.
_BYTES: Final = "surrogateescape"


class TwilioHooks:
    """Form posts, signed with the account's auth token.

    Twilio signs GET differently and can be told to send it; we ask for POST and take only that.
    """

    # Anything that is not TwiML would be texted to the user.
    ack_body: bytes = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'
    ack_content_type: str = "text/xml"

    def account_sid(self, request: HookRequest) -> str | None:
        fields = _fields(request.body) or ()
        return next((_storable(v) for name, v in fields if name == "AccountSid"), None) or None

    def verify(self, request: HookRequest, auth_token: str) -> bool:
        """X-Twilio-Signature = base64(HMAC-SHA1(auth token, URL + sorted names and values)).

        As the SDK's RequestValidator, but over the bytes as they came, and in constant time. The
        port is tried with and without: Twilio's services differ in it.
        """
        fields = _fields(request.body)
        if not auth_token or fields is None:
            return False
        given = request.headers.get("x-twilio-signature", "").encode(errors="replace")
        # Each distinct value of a repeated name counts once.
        pairs = sorted(
            {(name.encode(errors=_BYTES), v.encode(errors=_BYTES)) for name, v in fields}
        )
        posted = b"".join(name + value for name, value in pairs)

        def is_signed(url: str) -> bool:
            signed = url.encode(errors=_BYTES) + posted
            digest = hmac.digest(auth_token.encode(), signed, hashlib.sha1)
            return hmac.compare_digest(base64.b64encode(digest), given)

        return is_signed(request.url) or any(map(is_signed, _with_and_without_port(request.url)))

    def parse_inbound(self, request: HookRequest) -> Inbound | Ignored | Malformed:
        said = _said(request)
        status = said.get("MessageStatus", "")
        if status and status not in _RECEIVED:
            return Ignored("a receipt, sent to the address of inbound texts")
        sid, agent_number, user_number = _sid(said), said.get("To"), said.get("From")
        if not sid or not agent_number or not user_number:
            return Malformed("MessageSid, To or From is missing")
        return Inbound(
            carrier_message_id=sid,
            agent_number=agent_number,
            user_number=user_number,
            text=said.get("Body", ""),
            media=(*_media(said), *_rich(said)),
            messaging_service_sid=said.get("MessagingServiceSid") or None,
            opt_out=_OPT_OUTS.get(said.get("OptOutType", "").upper()),
        )

    def parse_status(self, request: HookRequest) -> Receipt | Ignored | Malformed:
        fields = _said(request)
        sid = _sid(fields)
        if not sid:
            return Malformed("MessageSid is missing")
        said = fields.get("MessageStatus") or fields.get("SmsStatus")
        if not said:
            return Malformed("MessageStatus is missing")
        status = _STATUSES.get(said.lower())
        if status is None:
            return Ignored(f"status {said[:40]!r}")
        code = (fields.get("ErrorCode") or None) if status == "failed" else None
        return Receipt(
            carrier_message_id=sid,
            message_id=_message_id(request.url),
            status=status,
            error_code=code,
            opted_out=code == _OPTED_OUT,
            read=said.lower() == "read",
        )


# A webhook is asked for its account, its signature and what it says, one after the other.
@lru_cache(maxsize=8)
def _fields(body: bytes) -> Sequence[tuple[str, str]] | None:
    """Names and values as they came, blank ones too; None when there are too many."""
    return form.pairs(body.decode("ascii", _BYTES), at_most=_MOST_FIELDS, errors=_BYTES)


def _said(request: HookRequest) -> dict[str, str]:
    """By name, in text that can be stored; of a repeated name the first."""
    fields = reversed(_fields(request.body) or [])
    if not _UNSTORABLE.search(request.body):  # as in all but a few
        return dict(fields)
    return {_storable(name): _storable(value) for name, value in fields}


def _storable(field: str) -> str:
    """NUL and broken UTF-8 as U+FFFD: Postgres holds neither, and no signed text may be lost."""
    if not field.isascii():
        field = field.encode(errors=_BYTES).decode(errors="replace")
    return field.replace("\x00", "\ufffd")


def _sid(said: Mapping[str, str]) -> str | None:
    return said.get("MessageSid") or said.get("SmsSid") or None


def _media(said: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """MediaUrl0, MediaUrl1, ...: what is there counts, not NumMedia, which may be garbage."""
    for n in range(_MOST_MEDIA):
        if url := said.get(f"MediaUrl{n}"):
            yield {"url": url, "content_type": said.get(f"MediaContentType{n}", "")}


def _rich(said: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """A place that the user sent, a button that they tapped: RCS and WhatsApp have them."""
    latitude, longitude = said.get("Latitude"), said.get("Longitude")
    if latitude and longitude:
        yield {
            "url": f"geo:{latitude},{longitude}",
            "content_type": "location",
            "latitude": latitude,
            "longitude": longitude,
            "address": said.get("Address", ""),
            "label": said.get("Label", ""),
        }
    payload, text = said.get("ButtonPayload", ""), said.get("ButtonText", "")
    if payload or text:
        kind = said.get("ButtonType", "")
        yield {"url": "", "content_type": "button", "payload": payload, "text": text, "type": kind}


def _message_id(url: str) -> MessageId | None:
    query = url.partition("#")[0].partition("?")[2]
    given = form.pairs(query, at_most=_MOST_FIELDS) or ()
    found = next((value for name, value in given if name == "message_id" and value), "")
    return MessageId(_storable(found)) if found else None


def _with_and_without_port(url: str) -> tuple[str, str]:
    """The URL with its (or its scheme's) port, and without. The rest stays, byte for byte."""
    parts = _AUTHORITY.fullmatch(url)
    if parts is None:
        return url, url
    scheme, host, port, rest = parts.groups(default="")
    port = port or (":443" if scheme == "https://" else ":80")
    return f"{scheme}{host}{port}{rest}", f"{scheme}{host}{rest}"
