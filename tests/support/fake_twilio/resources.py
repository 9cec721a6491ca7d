"""What Twilio keeps, and how its REST API writes it.

Shapes after captured answers: counts are strings, error codes integers, dates RFC 2822.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Final
from urllib.parse import urlsplit

from tests.support.fake_twilio.faults import error
from tests.support.fake_twilio.server import Answer
from textback.core import segments

_NUMBER: Final = re.compile(r"\+[1-9][0-9]{6,14}")
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
class Account:
    sid: str
    auth_token: str
    status: str = "active"
    type: str = "Full"
    numbers: list[Number] = field(default_factory=list[Number])
    """Empty: every number counts as the account's own."""
    opted_out: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """(agent number, user number)."""

    def number(self, phone_number: str) -> Number | None:
        return next((n for n in self.numbers if n.phone_number == phone_number), None)

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
            "from": self.from_,
            "messaging_service_sid": None,
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
    callback = form.get("StatusCallback")
    checks = (
        (not to, 21604, "A 'To' phone number is required."),
        (not from_, 21603, "A 'From' phone number is required."),
        (not body, 21602, "Message body is required."),
        (len(body) > 1600, 21617, "The concatenated message body exceeds 1600 characters."),
        (not _NUMBER.fullmatch(to), 21211, f"The 'To' number {to} is not a valid phone number."),
        (not _is_sender(from_), 21212, f"The 'From' number {from_} is not a valid phone number."),
        (to == from_, 21266, "'To' and 'From' number cannot be the same"),
        (
            bool(account.numbers) and account.number(from_) is None,
            21659,
            f"'From' {from_} is not a Twilio phone number or Short Code country mismatch",
        ),
        (
            callback is not None and not _is_callback(callback),
            21609,
            f"The 'StatusCallback' URL {callback} is not a valid URL.",
        ),
        (not _is_validity(form.get("ValidityPeriod")), 21624, "Invalid validity period."),
        ((from_, to) in account.opted_out, 21610, "Attempt to send to unsubscribed recipient"),
    )
    for wrong, code, message in checks:
        if wrong:
            return error(400, code, message)
    return None


def _is_sender(number: str) -> bool:
    return bool(_NUMBER.fullmatch(number) or _SHORT_CODE.fullmatch(number))


def _is_callback(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme in {"http", "https"} and bool(host) and "_" not in host


def _is_validity(period: str | None) -> bool:
    return period is None or (period.isdigit() and 1 <= int(period) <= _LONGEST_VALIDITY)
