"""What `doctor` asks Twilio: whether the account is usable and its numbers point here.

Source: https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urldefrag, urlsplit

from twilio.base.exceptions import TwilioRestException  # pyright: ignore[reportMissingTypeStubs]
from twilio.rest import Client  # pyright: ignore[reportMissingTypeStubs]
from twilio.rest.api.v2010.account.incoming_phone_number import (  # pyright: ignore[reportMissingTypeStubs]
    IncomingPhoneNumberInstance,
)

from textback.carriers.twilio.importing import RETRIES
from textback.core.phone import Phone, is_messaging_service, is_short_code
from textback.core.ports import CarrierAccount, Finding

if TYPE_CHECKING:  # to load it takes as long as all else here
    from twilio.rest.messaging.v1.service import (  # pyright: ignore[reportMissingTypeStubs]
        ServiceInstance,
    )

_UNAUTHORIZED: Final = 401
_NOT_FOUND: Final = 404


async def check(
    client: Client, account: CarrierAccount, numbers: Sequence[tuple[Phone, str]]
) -> Sequence[Finding]:
    """Each of `numbers` with its inbound URL; without usable credentials only they are reported."""
    credentials = await _credentials(client, account)
    if not credentials.ok:
        return [credentials]
    findings = [credentials, *_hosts({url for _, url in numbers})]
    for number, url in numbers:
        if is_messaging_service(number):
            findings += await _service(client, account, number, url)
        elif number.startswith("+"):
            findings += await _number(client, account, number, url)
        else:
            findings.append(_not_listed(number, url))
    if any(number.startswith("+") for number, _ in numbers):
        findings.append(_MESSAGING_SERVICES)
    return findings


_MESSAGING_SERVICES: Final = Finding(
    ok=True,
    what="Messaging Services of numbers were not asked: where a number is in one, the service's own"
    ' webhook is used unless its Integration is set to "Defer to sender\'s webhook"',
)


async def _credentials(client: Client, account: CarrierAccount) -> Finding:
    who = f"Twilio account {account.account_sid}"
    try:
        found = await client.api.v2010.accounts(account.account_sid).fetch_async()
    except TwilioRestException as error:
        if error.status == _UNAUTHORIZED:
            return Finding(
                ok=False,
                what=f"{who}: Twilio refuses the credentials (HTTP 401, code {error.code})",
                fix="Copy Account SID and primary auth token from the Twilio Console into the"
                f" carrier {account.carrier_id!r} and apply it again",
            )
        return _unusable(who, account, f"HTTP {error.status}, code {error.code}")
    except Exception as error:  # noqa: BLE001 - whatever is wrong there, doctor reports it
        return _unusable(who, account, type(error).__name__)
    if found.sid != account.account_sid:
        return _unusable(who, account, "an answer about another account")
    if str(found.status) != "active":
        return Finding(
            ok=False,
            what=f"{who} is {found.status}",
            fix="Reactivate it in the Twilio Console; until then its texts wait",
        )
    trial = str(found.type) == "Trial"
    return Finding(
        ok=True,
        what=f"{who} is active"
        + (" (a trial account: it texts verified numbers only)" if trial else ""),
    )


async def _number(
    client: Client, account: CarrierAccount, number: Phone, url: str
) -> list[Finding]:
    try:
        listed = await client.incoming_phone_numbers.list_async(phone_number=number, limit=20)
    except Exception as error:  # noqa: BLE001 - as above
        return [_unusable(number, account, type(error).__name__)]
    # The filter matches parts of numbers too.
    found = next((n for n in listed if n.phone_number == number), None)
    if found is None:
        return [
            Finding(
                ok=False,
                what=f"{number} is not a number of Twilio account {account.account_sid}",
                fix="Buy or move it there, or name the right carrier for it and apply again",
            )
        ]
    return [*_abilities(number, found), _webhook(number, found, url)]


def _abilities(number: Phone, found: IncomingPhoneNumberInstance) -> list[Finding]:
    # An object on the wire, whatever the SDK declares; older answers write SMS in capitals.
    capabilities = cast("object", found.capabilities)
    if not isinstance(capabilities, dict):
        return []
    able = {str(k).lower(): v for k, v in cast("dict[object, object]", capabilities).items()}
    if able.get("sms") is not False:
        return []
    return [
        Finding(
            ok=False,
            what=f"{number} cannot send or receive SMS",
            fix="Use a number with the SMS capability",
        )
    ]


def _webhook(number: Phone, found: IncomingPhoneNumberInstance, url: str) -> Finding:
    fix = (
        "In the Twilio Console under Phone Numbers, the number, Messaging: set"
        f' "A message comes in" to Webhook, {url}{RETRIES}, HTTP POST'
    )
    if found.sms_application_sid:
        return Finding(
            ok=False,
            what=f"{number}: inbound texts go to the TwiML App {found.sms_application_sid}",
            fix=fix,
        )
    configured, overrides = urldefrag(found.sms_url or "")
    if configured != urldefrag(url).url:
        there = configured or "nowhere"
        return Finding(ok=False, what=f"{number}: inbound texts go to {there}, not here", fix=fix)
    if (found.sms_method or "POST").upper() != "POST":
        return Finding(
            ok=False, what=f"{number}: inbound texts come by {found.sms_method}, not POST", fix=fix
        )
    if not overrides:
        return Finding(
            ok=True,
            what=f"{number}: inbound texts come here, but Twilio gives each one up after a failed"
            f" attempt; end the webhook URL with {RETRIES} and it tries again for 15 seconds",
        )
    return Finding(ok=True, what=f"{number}: inbound texts come here, with retries ({overrides})")


async def _service(
    client: Client, account: CarrierAccount, sid: Phone, url: str
) -> Sequence[Finding]:
    """A Messaging Service that sends RCS: https://www.twilio.com/docs/messaging/api/service-resource."""
    services = client.messaging.v1.services(sid)
    try:
        found = await services.fetch_async()
        senders = await services.channel_senders.list_async(limit=20)
    except TwilioRestException as error:
        if error.status != _NOT_FOUND:
            return [_unusable(sid, account, f"HTTP {error.status}, code {error.code}")]
        return [
            Finding(
                ok=False,
                what=f"{sid} is not a Messaging Service of Twilio account {account.account_sid}",
                fix="Copy its SID from the Twilio Console (Messaging, Services) and apply again",
            )
        ]
    except Exception as error:  # noqa: BLE001 - as above
        return [_unusable(sid, account, type(error).__name__)]
    return [_pool(sid, [each.sender or "" for each in senders]), _inbound_of(sid, found, url)]


def _pool(sid: Phone, senders: Sequence[str]) -> Finding:
    rcs = [sender for sender in senders if sender.startswith("rcs:")]
    if not rcs:
        return Finding(
            ok=False,
            what=f"{sid} has no RCS sender: all it sends goes out as SMS",
            fix="In the Twilio Console under Messaging, Services, the service, Sender Pool: add the"
            " RCS sender",
        )
    return Finding(ok=True, what=f"{sid} sends RCS as {', '.join(rcs)}")


def _inbound_of(sid: Phone, found: "ServiceInstance", url: str) -> Finding:
    fix = (
        "In the Twilio Console under Messaging, Services, the service, Integration: choose"
        f' "Send a webhook", {url}{RETRIES}, HTTP POST'
    )
    if found.use_inbound_webhook_on_number:
        return Finding(
            ok=False,
            what=f"{sid} defers to its senders' webhooks, so nobody tells which service a text"
            " came through",
            fix=fix,
        )
    there = urldefrag(found.inbound_request_url or "").url
    if there != urldefrag(url).url:
        return Finding(
            ok=False, what=f"{sid}: inbound texts go to {there or 'nowhere'}, not here", fix=fix
        )
    if (found.inbound_method or "POST").upper() != "POST":
        how = found.inbound_method
        return Finding(ok=False, what=f"{sid}: inbound texts come by {how}, not POST", fix=fix)
    return Finding(ok=True, what=f"{sid}: inbound texts come here")


def _not_listed(number: Phone, url: str) -> Finding:
    kind = "short codes" if is_short_code(number) else "WhatsApp senders"
    return Finding(
        ok=True,
        what=f"{number}: not checked, Twilio does not list {kind} with its phone numbers; its"
        f" webhook must be POST {url}{RETRIES}",
    )


def _hosts(urls: set[str]) -> list[Finding]:
    """Twilio refuses a StatusCallback whose host has an underscore (error 21609)."""
    hosts = sorted({urlsplit(url).hostname or "" for url in urls})
    return [
        Finding(
            ok=False,
            what=f"Twilio calls no host with an underscore in its name: {host}",
            fix="Give the service a public host name without an underscore",
        )
        for host in hosts
        if "_" in host
    ]


def _unusable(who: str, account: CarrierAccount, how: str) -> Finding:
    return Finding(
        ok=False,
        what=f"{who}: no usable answer from {account.base_url} ({how})",
        fix="Check the carrier's base_url and that this machine may reach it",
    )
