"""Twilio's webhooks for tests: signed by Twilio's own code, over the public URL."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

import httpx

from tests.support.api import AGENT, PUBLIC_URL, USER
from tests.support.fake_twilio.webhooks import signature_of
from tests.support.provision import ACME_SID, TOKEN

INBOUND: Final = "/hooks/twilio/inbound"
STATUS: Final = "/hooks/twilio/status"

TEXT: Final = {
    "MessageSid": "SM" + "1" * 32,
    "SmsSid": "SM" + "1" * 32,
    "AccountSid": ACME_SID,
    "From": USER,
    "To": AGENT,
    "Body": "Yes, 3pm is good",
    "NumMedia": "0",
    "FromCity": "",
}
RECEIPT: Final = {
    "MessageSid": "SM" + "2" * 32,
    "AccountSid": ACME_SID,
    "MessageStatus": "delivered",
    "From": AGENT,
    "To": USER,
}


async def post(
    http: httpx.AsyncClient,
    path: str,
    form: Mapping[str, str],
    *,
    token: str = TOKEN,
    signed_for: str | None = None,
    signature: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """`path` with its query. Signed for the public URL, unless told otherwise."""
    url = PUBLIC_URL + path if signed_for is None else signed_for
    given = {
        "content-type": "application/x-www-form-urlencoded; charset=UTF-8",
        "x-twilio-signature": signature_of(token, url, form) if signature is None else signature,
    }
    asked = httpx.Headers(given | dict(headers or {}), encoding="latin-1")
    return await http.post(path, content=urlencode(form), headers=asked)
