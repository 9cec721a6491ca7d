"""`python -m tests.support.fake_twilio`: a Twilio on this machine to point a real textback at."""

import argparse
import asyncio
import sys
from urllib.parse import urlencode

import httpx

from tests.support.fake_twilio.fake import ACCOUNT_SID, AUTH_TOKEN, FakeTwilio, Receipts
from tests.support.fake_twilio.resources import Message, Number


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.fake_twilio",
        description="Prints what it is asked to send. A line typed as `+USER +AGENT words` is"
        " posted to the inbound URL as a text from that user.",
    )
    parser.add_argument("--port", type=int, default=4010)
    parser.add_argument("--account-sid", default=ACCOUNT_SID)
    parser.add_argument("--auth-token", default=AUTH_TOKEN)
    parser.add_argument("--number", action="append", default=[], help="one of the account's own")
    parser.add_argument("--inbound-url", default="http://127.0.0.1:8000/hooks/twilio/inbound")
    parser.add_argument("--receipt-delay", type=float, default=0.5, help="seconds")
    return parser.parse_args()


async def _run(arguments: argparse.Namespace) -> None:
    url: str = arguments.inbound_url
    numbers = [Number(phone_number=n, sms_url=url) for n in arguments.number]

    def taken(message: Message) -> Receipts:
        _say(f"{message.from_} -> {message.to}: {message.body}")
        return Receipts(delay=arguments.receipt_delay)

    async with FakeTwilio(
        arguments.account_sid, arguments.auth_token, numbers=numbers, port=arguments.port
    ) as twilio:
        twilio.receipts = taken
        account = {"account_sid": arguments.account_sid, "auth_token": arguments.auth_token}
        _say(f"base_url {twilio.base_url} {urlencode(account)}")
        while line := await asyncio.to_thread(sys.stdin.readline):
            user, _, rest = line.strip().partition(" ")
            agent, _, words = rest.partition(" ")
            if not words:
                continue
            try:
                answer = await twilio.text(user, agent, words, url=url)
                _say(f"HTTP {answer.status_code}: {answer.text}")
            except httpx.HTTPError as error:
                _say(f"{url}: {error}")
        await asyncio.Event().wait()  # no terminal to read from: serve until stopped


if __name__ == "__main__":
    try:
        asyncio.run(_run(_arguments()))
    except KeyboardInterrupt:
        sys.exit(0)
