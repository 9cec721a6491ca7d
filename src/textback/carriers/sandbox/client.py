"""A carrier that sends nothing anywhere and otherwise behaves like one: for demos and trials.

Everything is taken and reported delivered, apart from the recipients in `REFUSED` and those named
beside it. They follow Twilio's own test numbers: https://www.twilio.com/docs/iam/test-credentials.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeAlias, cast

import httpx
import structlog

from textback.carriers.sandbox.hooks import signed_status
from textback.core.frozen import frozen
from textback.core.ids import MessageId
from textback.core.phone import Phone
from textback.core.ports import (
    CarrierAccount,
    Finding,
    HookRequest,
    Inbound,
    NoAnswer,
    NotFound,
    Outgoing,
    ReceiptStatus,
    SendError,
    Taken,
)

REFUSED: Final[Mapping[Phone, SendError]] = {
    Phone("+15005550001"): SendError("21211", "The 'To' number is not valid.", "never"),
    Phone("+15005550002"): SendError("21612", "The 'To' number cannot be reached.", "never"),
    Phone("+15005550003"): SendError("21408", "Its country is not enabled.", "never"),
    Phone("+15005550004"): SendError(
        "21610", "Attempt to send to unsubscribed recipient", "never", opted_out=True
    ),
    Phone("+15005550009"): SendError("21614", "The 'To' number is not a mobile number.", "never"),
}
"""Recipients that are refused at once, with Twilio's codes."""

UNREACHABLE: Final = Phone("+15005550010")
"""Taken, then reported failed with code 30003."""

UNANSWERED: Final = Phone("+15005550011")
"""Taken, but `send` gets no answer and no receipt comes: only `look_up` finds it."""

_REMEMBERED: Final = 10_000
_RECEIPT_TIMEOUT: Final = 5.0
_BEFORE_RECEIPT: Final = timedelta(milliseconds=100)

_Reports: TypeAlias = tuple[tuple[ReceiptStatus, str | None], ...]
_DELIVERED: Final[_Reports] = (("sent", None), ("delivered", None))
_FAILED: Final[_Reports] = (("sent", None), ("failed", "30003"))

_log = structlog.stdlib.get_logger()


@frozen
class SandboxText:
    """What the sandbox took, and when."""

    carrier_message_id: str
    outgoing: Outgoing
    taken_at: datetime

    @property
    def words(self) -> str:
        """What the user would read; of a template, which only its carrier can write, a note."""
        template = self.outgoing.template
        if template is None:
            return self.outgoing.text
        given = "".join(f" {name}={value}" for name, value in template.variables.items())
        return f"[template {template.content_sid}{given}]"


class SandboxCarrier:
    """Remembers what it took in memory: its `look_up` knows this process's texts only."""

    def __init__(
        self,
        account: CarrierAccount,
        *,
        clock: Callable[[], datetime],
        http: httpx.AsyncClient | None = None,
        before_receipt: timedelta = _BEFORE_RECEIPT,
    ) -> None:
        """`http` posts the receipts and stays the caller's; without it, a client of its own.

        `before_receipt` is waited before `sent`, and again before `delivered` or `failed`.
        """
        self._account = account
        self._clock = clock
        self._own = None if http else httpx.AsyncClient(trust_env=False)
        self._http = http or cast("httpx.AsyncClient", self._own)
        self._before_receipt = before_receipt.total_seconds()
        self._taken: deque[SandboxText] = deque(maxlen=_REMEMBERED)
        self._reporting: set[asyncio.Task[None]] = set()

    @property
    def taken(self) -> Sequence[SandboxText]:
        """The latest texts, oldest first."""
        return tuple(self._taken)

    async def send(self, outgoing: Outgoing) -> Taken | SendError | NoAnswer:
        if refused := REFUSED.get(outgoing.user_number):
            return refused
        sid = "SB" + secrets.token_hex(16)
        self._taken.append(
            SandboxText(carrier_message_id=sid, outgoing=outgoing, taken_at=self._clock())
        )
        if outgoing.user_number == UNANSWERED:
            return NoAnswer("the sandbox does not answer for this number")
        reporting = asyncio.create_task(self._report(sid, outgoing))
        self._reporting.add(reporting)
        reporting.add_done_callback(self._reporting.discard)
        return Taken(sid)

    async def look_up(
        self, outgoing: Outgoing, *, known: frozenset[str]
    ) -> Taken | NotFound | NoAnswer:
        for text in self._taken:
            had = text.outgoing
            if (
                (had.agent_number, had.user_number, had.text, had.template)
                == (
                    outgoing.agent_number,
                    outgoing.user_number,
                    outgoing.text,
                    outgoing.template,
                )
                and text.taken_at >= outgoing.claimed_at
                and text.carrier_message_id not in known
            ):
                return Taken(text.carrier_message_id)
        return NotFound()

    async def received(
        self, agent_number: Phone, *, since: datetime, until: datetime | None = None
    ) -> Sequence[Inbound]:
        """Nothing gets lost here: whoever plays the user posts the webhook, and sees it fail."""
        del agent_number, since, until
        return ()

    async def check(self, numbers: Sequence[tuple[Phone, str]]) -> Sequence[Finding]:
        return [
            Finding(
                ok=True,
                what=f"sandbox {self._account.account_sid}: nothing is sent to anybody"
                f" ({len(numbers)} numbers)",
            )
        ]

    async def close(self) -> None:
        """Receipts not posted yet are dropped."""
        reporting = list(self._reporting)
        for task in reporting:
            task.cancel()
        if reporting:
            await asyncio.wait(reporting)
        if self._own:
            await self._own.aclose()

    async def _report(self, sid: str, outgoing: Outgoing) -> None:
        reports = _FAILED if outgoing.user_number == UNREACHABLE else _DELIVERED
        for status, code in reports:
            await asyncio.sleep(self._before_receipt)
            receipt = signed_status(
                self._account,
                outgoing.status_url,
                carrier_message_id=sid,
                status=status,
                error_code=code,
            )
            await self._post(receipt, outgoing.message_id)

    async def _post(self, receipt: HookRequest, message_id: MessageId) -> None:
        try:
            answer = await self._http.post(
                receipt.url,
                content=receipt.body,
                headers=dict(receipt.headers),
                timeout=_RECEIPT_TIMEOUT,
            )
            answer.raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = type(error).__name__
            _log.warning("receipt.not_taken", message_id=message_id, why=why)
