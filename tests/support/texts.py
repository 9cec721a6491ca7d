"""Texts to send and accounts to send them from, for tests of carriers."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final

from tests.support.fake_twilio import FakeTwilio
from tests.support.fake_twilio.fake import ACCOUNT_SID, AUTH_TOKEN
from textback.core.ids import CarrierId, MessageId
from textback.core.phone import Phone
from textback.core.ports import CarrierAccount, Outgoing

AGENT: Final = Phone("+14155550100")
USER: Final = Phone("+14155550111")
MESSAGE_ID: Final = MessageId("msg_01testtesttesttesttesttest")
STATUS_URL: Final = f"http://127.0.0.1:9/hooks/twilio/status?message_id={MESSAGE_ID}"


def utc_now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)


def outgoing(
    text: str = "Your appointment is at 3pm.",
    *,
    agent_number: Phone = AGENT,
    user_number: Phone = USER,
    claimed_at: datetime | None = None,
    valid_for: timedelta = timedelta(hours=4),
    status_url: str = STATUS_URL,
) -> Outgoing:
    return Outgoing(
        message_id=MESSAGE_ID,
        agent_number=agent_number,
        user_number=user_number,
        text=text,
        claimed_at=claimed_at or utc_now(),
        valid_for=valid_for,
        status_url=status_url,
    )


def account_at(
    base_url: str,
    *,
    kind: str = "twilio",
    account_sid: str = ACCOUNT_SID,
    auth_token: str = AUTH_TOKEN,
) -> CarrierAccount:
    return CarrierAccount(
        carrier_id=CarrierId("acme-carrier"),
        kind=kind,
        account_sid=account_sid,
        auth_token=auth_token,
        base_url=base_url,
    )


def account_of(twilio: FakeTwilio, *, auth_token: str | None = None) -> CarrierAccount:
    return account_at(
        twilio.base_url,
        account_sid=twilio.account.sid,
        auth_token=auth_token or twilio.account.auth_token,
    )
