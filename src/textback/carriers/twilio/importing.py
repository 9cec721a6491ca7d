"""Numbers taken over from a Twilio account: looked up, and their inbound webhook set.

https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource. Three plain requests, so
that the API needs no SDK. What is asked can be asked again.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, cast

import httpx

from textback.core.phone import Phone
from textback.core.ports import CarrierAccount, FoundNumber, NotDone
from textback.public_network import ANY_CARRIER_WAY, CarrierWay, refusal

RETRIES: Final = "#rc=5&rp=all"
"""Ends an inbound URL: try up to five more times on any failure, within Twilio's 15 seconds.
https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides"""

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404


class TwilioNumbers:
    """A `core.ports.NumberImporter`."""

    def __init__(
        self,
        *,
        timeout: timedelta,
        way: CarrierWay = ANY_CARRIER_WAY,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`timeout`: of each request. It goes by `transport`, or else by `way`."""
        self._seconds = timeout.total_seconds()
        self._way, self._transport = way, transport

    async def find(self, account: CarrierAccount, number: Phone) -> FoundNumber | NotDone:
        async with self._client(account) as http:
            told = await _asked(http, "GET", ".json")
            if isinstance(told, NotDone):
                is_access = told.code == "access"
                return told if not is_access else NotDone("credentials", told.why)
            if told.get("status") != "active":
                return NotDone("access", f"The Twilio account is {told.get('status')}.")
            query = {"PhoneNumber": number, "PageSize": "20"}
            listed = await _asked(http, "GET", "/IncomingPhoneNumbers.json", params=query)
        if isinstance(listed, NotDone):
            return listed
        # The filter matches parts of numbers too.
        for each in cast("list[dict[str, Any]]", listed.get("incoming_phone_numbers") or []):
            if each.get("phone_number") == number:
                return FoundNumber(str(each.get("sid")), str(each.get("sms_url") or ""))
        return NotDone("number", f"{number} is not a number of this Twilio account.")

    async def point(
        self, account: CarrierAccount, number_sid: str, inbound_url: str
    ) -> NotDone | None:
        form = {
            "SmsUrl": inbound_url + RETRIES if inbound_url else "",
            "SmsMethod": "POST",
            "SmsApplicationSid": "",  # else the application's webhook would win
        }
        async with self._client(account) as http:
            path = f"/IncomingPhoneNumbers/{number_sid}.json"
            told = await _asked(http, "POST", path, data=form)
        return told if isinstance(told, NotDone) else None

    def _client(self, account: CarrierAccount) -> httpx.AsyncClient:
        base = f"{account.base_url.rstrip('/')}/2010-04-01/Accounts/{account.account_sid}"
        return httpx.AsyncClient(
            base_url=base,
            auth=(account.account_sid, account.auth_token),
            timeout=self._seconds,
            follow_redirects=False,
            # As the carrier itself: HTTPS_PROXY is honoured on the way to Twilio.
            trust_env=base.startswith("https:"),
            transport=self._transport or self._way.transport(account),
        )


async def _asked(
    http: httpx.AsyncClient,
    method: str,
    path: str,
    *,
    params: Mapping[str, str] | None = None,
    data: Mapping[str, str] | None = None,
) -> Mapping[str, Any] | NotDone:
    try:
        # Not a path of its own: httpx would put a slash between.
        url = f"{str(http.base_url).rstrip('/')}{path}"
        answer = await http.request(method, url, params=params, data=data)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        why = refusal(error) or type(error).__name__
        return NotDone("unreachable", f"Twilio did not answer ({why}).")
    if answer.status_code == _UNAUTHORIZED:
        code = "credentials" if path == ".json" else "access"
        return NotDone(code, f"Twilio refuses the credentials (HTTP 401{_code(answer)}).")
    if answer.status_code == _FORBIDDEN:
        return NotDone("access", f"Twilio forbids it (HTTP 403{_code(answer)}).")
    if answer.status_code == _NOT_FOUND:
        what = "credentials" if path == ".json" else "number"
        return NotDone(what, f"Twilio knows nothing of it (HTTP 404{_code(answer)}).")
    read = _read(answer)
    if not answer.is_success or read is None:
        return NotDone(
            "unreachable",
            f"Twilio gave no usable answer (HTTP {answer.status_code}{_code(answer)}).",
        )
    return read


def _read(answer: httpx.Response) -> Mapping[str, Any] | None:
    try:
        read: object = answer.json()
    except ValueError:
        return None
    return cast("Mapping[str, Any]", read) if isinstance(read, dict) else None


def _code(answer: httpx.Response) -> str:
    """Twilio's own: 20003."""
    code = (_read(answer) or {}).get("code")
    return f", code {code}" if isinstance(code, int) else ""
