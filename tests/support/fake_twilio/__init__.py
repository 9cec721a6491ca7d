"""A fake Twilio on loopback: messages API, signed webhooks both ways, and faults on demand.

In a test: `async with FakeTwilio() as twilio:` and give `twilio.base_url` to a carrier account.
By hand: `python -m tests.support.fake_twilio --help`.
"""

from tests.support.fake_twilio.fake import FakeTwilio, Posted, Receipts
from tests.support.fake_twilio.faults import (
    Fault,
    accepted_then_500,
    accepted_then_dropped,
    accepted_then_silent,
    answered,
    cut_short,
    dripping,
    garbage_201,
    html_error,
    redirected,
    refused,
    reset,
    silent,
    slow,
    too_many_requests,
    unavailable,
)
from tests.support.fake_twilio.resources import Account, Message, Number, Service

__all__ = [
    "Account",
    "FakeTwilio",
    "Fault",
    "Message",
    "Number",
    "Posted",
    "Receipts",
    "Service",
    "accepted_then_500",
    "accepted_then_dropped",
    "accepted_then_silent",
    "answered",
    "cut_short",
    "dripping",
    "garbage_201",
    "html_error",
    "redirected",
    "refused",
    "reset",
    "silent",
    "slow",
    "too_many_requests",
    "unavailable",
]
