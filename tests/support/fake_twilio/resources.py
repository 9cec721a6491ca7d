"""What Twilio keeps, and how its REST API writes it.

Shapes after captured answers: counts are strings, error codes integers, dates RFC 2822.
"""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Final, cast
from urllib.parse import urlsplit

from tests.support.fake_twilio.faults import error
from tests.support.fake_twilio.server import Answer
from textback.core import segments

_NUMBER: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_CHANNEL: Final = re.compile(r"(rcs|whatsapp):")
_CONTENT: Final = re.compile(r"HX[0-9a-f]{32}")
_SHORT_CODE: Final = re.compile(r"[0-9]{3,8}")
_LONGEST_VALIDITY: Final = 36_000

STOP: Final = frozenset(
    {"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"}
)
START: Final = frozenset({"START", "YES", "UNSTOP"})
HELP: Final = frozenset({"HELP", "INFO"})


def sid(prefix: str) -> str:
    return prefix + secrets.token_hex(16)


@dataclass(slots=True, kw_only=True)
class Number:
    """One of an account's numbers, as configured in the Console."""

    phone_number: str
    sms_url: str = ""
    sms_method: str = "POST"
    sms_application_sid: str = ""
    sms: bool = True
    sid: str = field(default_factory=lambda: sid("PN"))

    def change(self, form: Mapping[str, str]) -> None:
        """What is not given stays."""
        self.sms_url = form.get("SmsUrl", self.sms_url)
        self.sms_method = form.get("SmsMethod", self.sms_method)
        self.sms_application_sid = form.get("SmsApplicationSid", self.sms_application_sid)

    def resource(self, account_sid: str) -> dict[str, object]:
        return {
            "sid": self.sid,
            "account_sid": account_sid,
            "phone_number": self.phone_number,
            "friendly_name": self.phone_number,
            "sms_url": self.sms_url,
            "sms_method": self.sms_method,
            "sms_application_sid": self.sms_application_sid,
            "capabilities": {"voice": True, "sms": self.sms, "mms": self.sms, "fax": False},
            "date_created": "Wed, 01 Jan 2025 00:00:00 +0000",
        }


@dataclass(slots=True, kw_only=True)
class Service:
    """A Messaging Service."""

    sid: str
    inbound_request_url: str = ""
    inbound_method: str = "POST"
    use_inbound_webhook_on_number: bool = False
    senders: list[str] = field(default_factory=lambda: ["rcs:brand_agent"])
    fallback: str = "+14155550190"
    """Of its pool, for who cannot do RCS."""

    def resource(self, account_sid: str) -> dict[str, object]:
        return {
            "sid": self.sid,
            "account_sid": account_sid,
            "friendly_name": "Fake service",
            "inbound_request_url": self.inbound_request_url or None,
            "inbound_method": self.inbound_method,
            "use_inbound_webhook_on_number": self.use_inbound_webhook_on_number,
            "smart_encoding": True,
            "validity_period": 36000,
            "date_created": "2025-01-01T00:00:00Z",
            "date_updated": "2025-01-01T00:00:00Z",
        }

    def sender_resources(self, account_sid: str) -> list[dict[str, object]]:
        return [
            {
                "sid": "XE" + f"{n:032x}",
                "account_sid": account_sid,
                "messaging_service_sid": self.sid,
                "sender": sender,
                "sender_type": "RCS" if sender.startswith("rcs:") else "WhatsApp",
                "country_code": "US",
                "date_created": "2025-01-01T00:00:00Z",
                "date_updated": "2025-01-01T00:00:00Z",
            }
            for n, sender in enumerate(self.senders)
        ]


@dataclass(slots=True, kw_only=True)
class Account:
    sid: str
    auth_token: str
    status: str = "active"
    type: str = "Full"
    numbers: list[Number] = field(default_factory=list[Number])
    """Empty: every number counts as the account's own."""
    services: list[Service] = field(default_factory=list[Service])
    contents: dict[str, str] = field(default_factory=dict[str, str])
    """The words of templates by SID, with {{1}}, {{2}}, ...; any other SID has some too."""
    rcs_users: set[str] = field(default_factory=set[str])
    """Plain numbers of those whose phones can do RCS."""
    opted_out: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """(agent number or Messaging Service, user number)."""

    def number(self, phone_number: str) -> Number | None:
        return next((n for n in self.numbers if n.phone_number == phone_number), None)

    def service(self, sid: str) -> Service | None:
        return next((s for s in self.services if s.sid == sid), None)

    def words(self, form: Mapping[str, str]) -> str:
        """Of a new message: its body, or its template's."""
        if (sid := form.get("ContentSid")) is None:
            return form["Body"]
        words = self.contents.get(sid, "What was approved.")
        for name, value in json.loads(form.get("ContentVariables", "{}")).items():
            words = words.replace(f"{{{{{name}}}}}", value)
        return words

    def resource(self) -> dict[str, object]:
        return {
            "sid": self.sid,
            "friendly_name": "Fake",
            "status": self.status,
            "type": self.type,
            "owner_account_sid": self.sid,
            "auth_token": self.auth_token,
            "date_created": "Wed, 01 Jan 2025 00:00:00 +0000",
            "date_updated": "Wed, 01 Jan 2025 00:00:00 +0000",
            "uri": f"/2010-04-01/Accounts/{self.sid}.json",
        }


@dataclass(slots=True, kw_only=True)
class Message:
    """One text, in either direction."""

    sid: str
    account_sid: str
    to: str
    from_: str
    body: str
    direction: str
    status: str
    date_created: datetime
    listed_at: datetime
    """From when on the list shows it."""
    date_sent: datetime | None = None
    error_code: int | None = None
    status_callback: str | None = None
    validity_period: int = _LONGEST_VALIDITY
    messaging_service_sid: str | None = None
    media: Mapping[str, str] = field(default_factory=dict[str, str])
    """Content types by SID."""

    def resource(self) -> dict[str, object]:
        uri = f"/2010-04-01/Accounts/{self.account_sid}/Messages/{self.sid}"
        return {
            "sid": self.sid,
            "date_created": format_datetime(self.date_created),
            "date_updated": format_datetime(self.date_created),
            "date_sent": format_datetime(self.date_sent) if self.date_sent else None,
            "account_sid": self.account_sid,
            "to": self.to,
            "from": self.from_ or None,
            "messaging_service_sid": self.messaging_service_sid,
            "body": self.body,
            "status": self.status,
            "num_segments": str(segments.count(self.body)),
            "num_media": str(len(self.media)),
            "direction": self.direction,
            "api_version": "2010-04-01",
            "price": None,
            "price_unit": "USD",
            "error_code": self.error_code,
            "error_message": None,
            "uri": f"{uri}.json",
            "subresource_uris": {"media": f"{uri}/Media.json"},
        }

    def media_resources(self) -> list[dict[str, object]]:
        where = f"/2010-04-01/Accounts/{self.account_sid}/Messages/{self.sid}/Media"
        return [
            {
                "sid": name,
                "account_sid": self.account_sid,
                "parent_sid": self.sid,
                "content_type": content_type,
                "date_created": format_datetime(self.date_created),
                "date_updated": format_datetime(self.date_created),
                "uri": f"{where}/{name}.json",
            }
            for name, content_type in self.media.items()
        ]


def refusal(account: Account, form: Mapping[str, str]) -> Answer | None:
    """Why the account may not create this message: Twilio's answer, None when it may."""
    to, from_, body = form.get("To", ""), form.get("From", ""), form.get("Body", "")
    service, content = form.get("MessagingServiceSid"), form.get("ContentSid")
    callback = form.get("StatusCallback")
    checks = (
        (not to, 21604, "A 'To' phone number is required."),
        (not from_ and not service, 21603, "A 'From' phone number is required."),
        (
            service is not None and account.service(service) is None,
            21701,
            "The Messaging Service does not exist",
        ),
        (not body and not content, 21602, "Message body is required."),
        (
            content is not None and not (_CONTENT.fullmatch(content) and not body),
            21655,
            "The ContentSid is invalid",
        ),
        (not _are_variables(form.get("ContentVariables")), 21656, "ContentVariables is invalid"),
        (len(body) > 1600, 21617, "The concatenated message body exceeds 1600 characters."),
        (
            not _NUMBER.fullmatch(_CHANNEL.sub("", to, count=1)),
            21211,
            f"The 'To' number {to} is not a valid phone number.",
        ),
        (
            bool(from_) and not _is_sender(from_),
            21212,
            f"The 'From' number {from_} is not a valid phone number.",
        ),
        (
            bool(from_) and _channel(from_) != _channel(to),
            21910,
            "Invalid 'From' and 'To' pair. 'From' and 'To' should be of the same channel",
        ),
        (to == from_, 21266, "'To' and 'From' number cannot be the same"),
        (
            bool(from_ and account.numbers) and account.number(from_) is None,
            21659,
            f"'From' {from_} is not a Twilio phone number or Short Code country mismatch",
        ),
        (
            callback is not None and not _is_callback(callback),
            21609,
            f"The 'StatusCallback' URL {callback} is not a valid URL.",
        ),
        (not _is_validity(form.get("ValidityPeriod")), 21624, "Invalid validity period."),
        (
            bool(account.opted_out & {(from_, to), (service or from_, to)}),
            21610,
            "Attempt to send to unsubscribed recipient",
        ),
    )
    for wrong, code, message in checks:
        if wrong:
            return error(400, code, message)
    return None


def _is_sender(number: str) -> bool:
    plain = number.removeprefix("whatsapp:")
    return bool(_NUMBER.fullmatch(plain) or _SHORT_CODE.fullmatch(plain))


def _channel(address: str) -> str:
    return found[1] if (found := _CHANNEL.match(address)) else "sms"


def _are_variables(given: str | None) -> bool:
    """An object of strings, written as JSON."""
    if given is None:
        return True
    try:
        values: object = json.loads(given)
    except ValueError:
        return False
    if not isinstance(values, dict):
        return False
    return all(isinstance(v, str) for v in cast("dict[str, object]", values).values())


def _is_callback(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme in {"http", "https"} and bool(host) and "_" not in host


def _is_validity(period: str | None) -> bool:
    return period is None or (period.isdigit() and 1 <= int(period) <= _LONGEST_VALIDITY)
