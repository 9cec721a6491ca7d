"""The sandbox's webhooks: JSON, signed with the account's token.

The signature is hex HMAC-SHA256(auth token, URL + newline + body) in `X-Textback-Signature`.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Final, cast, get_args
from urllib.parse import parse_qsl, urlsplit

from textback.core.ids import MessageId
from textback.core.ports import (
    CarrierAccount,
    HookRequest,
    Ignored,
    Inbound,
    Malformed,
    Receipt,
    ReceiptStatus,
)

_SIGNATURE: Final = "x-textback-signature"
_OPTED_OUT: Final = "21610"


class SandboxHooks:
    ack_body: bytes = b"{}"
    ack_content_type: str = "application/json"

    def account_sid(self, request: HookRequest) -> str | None:
        return _text(_object(request), "account_sid")

    def verify(self, request: HookRequest, auth_token: str) -> bool:
        given = request.headers.get(_SIGNATURE, "").encode(errors="replace")
        return bool(auth_token) and hmac.compare_digest(
            _signature(auth_token, request.url, request.body).encode(), given
        )

    def parse_inbound(self, request: HookRequest) -> Inbound | Ignored | Malformed:
        said = _object(request)
        sid = _text(said, "carrier_message_id")
        agent_number, user_number = _text(said, "agent_number"), _text(said, "user_number")
        if sid is None or agent_number is None or user_number is None:
            return Malformed("carrier_message_id, agent_number or user_number is missing")
        return Inbound(
            carrier_message_id=sid,
            agent_number=agent_number,
            user_number=user_number,
            text=_text(said, "text") or "",
        )

    def parse_status(self, request: HookRequest) -> Receipt | Ignored | Malformed:
        said = _object(request)
        sid, status = _text(said, "carrier_message_id"), said.get("status")
        if sid is None:
            return Malformed("carrier_message_id is missing")
        if status not in get_args(ReceiptStatus):
            return Ignored("an unknown status")
        message_id = _text(dict(parse_qsl(urlsplit(request.url).query)), "message_id")
        code = _text(said, "error_code")
        return Receipt(
            carrier_message_id=sid,
            message_id=MessageId(message_id) if message_id else None,
            status=cast("ReceiptStatus", status),
            error_code=code,
            opted_out=code == _OPTED_OUT,
        )


def signed_inbound(
    account: CarrierAccount,
    url: str,
    *,
    agent_number: str,
    user_number: str,
    text: str,
    carrier_message_id: str,
) -> HookRequest:
    """What the sandbox posts to `url` when a user texts one of our numbers."""
    return _signed(
        account,
        url,
        {
            "carrier_message_id": carrier_message_id,
            "agent_number": agent_number,
            "user_number": user_number,
            "text": text,
        },
    )


def signed_status(
    account: CarrierAccount,
    url: str,
    *,
    carrier_message_id: str,
    status: ReceiptStatus,
    error_code: str | None = None,
) -> HookRequest:
    """What the sandbox posts to a text's `status_url`."""
    return _signed(
        account,
        url,
        {"carrier_message_id": carrier_message_id, "status": status, "error_code": error_code},
    )


def _signed(account: CarrierAccount, url: str, said: Mapping[str, str | None]) -> HookRequest:
    body = json.dumps({"account_sid": account.account_sid, **said}).encode()
    signature = _signature(account.auth_token, url, body)
    headers = {"content-type": "application/json", _SIGNATURE: signature}
    return HookRequest(url=url, headers=headers, body=body)


def _signature(auth_token: str, url: str, body: bytes) -> str:
    signed = url.encode(errors="replace") + b"\n" + body
    return hmac.digest(auth_token.encode(), signed, hashlib.sha256).hex()


def _object(request: HookRequest) -> Mapping[str, object]:
    """The body, {} when it is no JSON object."""
    try:
        said: object = json.loads(request.body)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, object]", said) if isinstance(said, dict) else {}


def _text(said: Mapping[str, object], name: str) -> str | None:
    """A string that is not empty, storable: NUL and lone surrogates as U+FFFD."""
    value = said.get(name)
    if not isinstance(value, str) or not value:
        return None
    return value.replace("\x00", "\ufffd").encode(errors="surrogatepass").decode(errors="replace")
