from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest

from tests.support.fake_twilio import FakeTwilio
from tests.support.fake_twilio.fake import NO_RECEIPTS
from tests.support.texts import account_of
from textback.carriers.twilio.client import TwilioCarrier


@pytest.fixture
async def twilio() -> AsyncGenerator[FakeTwilio]:
    """Quiet: nobody listens for receipts here."""
    async with FakeTwilio() as fake:
        fake.receipts = NO_RECEIPTS
        yield fake


@pytest.fixture
async def carrier(twilio: FakeTwilio) -> AsyncGenerator[TwilioCarrier]:
    made = TwilioCarrier(account_of(twilio), timeout=timedelta(seconds=5))
    yield made
    await made.close()


@pytest.fixture
async def hasty(twilio: FakeTwilio) -> AsyncGenerator[TwilioCarrier]:
    """Waits 0.4 s for anything."""
    made = TwilioCarrier(account_of(twilio), timeout=timedelta(seconds=0.4))
    yield made
    await made.close()
