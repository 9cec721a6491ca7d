"""The Twilio carrier: sends through the Messages API and looks into its list.

Creating a message cannot be made idempotent (https://www.twilio.com/docs/api/errors/20500), so the
request leaves once, and everything but a clear answer is `NoAnswer`.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypeGuard

import httpx
from twilio.base.exceptions import (  # pyright: ignore[reportMissingTypeStubs]
    TwilioRestException,
    TwilioServiceException,
)
from twilio.base.values import unset  # pyright: ignore[reportMissingTypeStubs]
from twilio.rest import Client  # pyright: ignore[reportMissingTypeStubs]
from twilio.rest.api.v2010.account.message import (  # pyright: ignore[reportMissingTypeStubs]
    MessageInstance,
    MessageList,
)

from textback import __version__
from textback.carriers.twilio import asking, checks, errors
from textback.carriers.twilio.exchange import NEVER_LEFT, Exchange, base_url, pool
from textback.carriers.twilio.received import Reader
from textback.core.phone import Phone
from textback.core.ports import (
    CarrierAccount,
    Finding,
    Inbound,
    NoAnswer,
    NotFound,
    Outgoing,
    SendError,
    Taken,
    TooMany,
)

_LONGEST_VALIDITY: Final = 36_000
"""Seconds; Twilio's own limit. Over 5 is advised, but a text that may live no longer may not."""

_CLOCK_SKEW: Final = timedelta(minutes=3)
"""Twilio's dates have whole seconds, and its clock is not ours."""

_PAGE_SIZE: Final = 100
_MAX_PAGES: Final = 10

_LONGEST_REASON: Final = 500

_BY_API: Final = (None, "outbound-api")
"""Directions of what we may have posted; a stand-in for Twilio may leave it out."""

_SID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Wider than Twilio's 2 letters and 32 hex digits, narrower than what cannot be an id."""


class TwilioCarrier:
    """One Twilio account. Holds a pool of connections until `close`."""

    def __init__(
        self,
        account: CarrierAccount,
        *,
        timeout: timedelta,
        steady: Callable[[], float] = time.monotonic,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`timeout` bounds each `send` and each `look_up` as a whole; `steady` gives seconds.

        Raises ValueError when the account's base_url is not an http or https address.
        """
        self._account = account
        self._timeout = timeout
        self._steady = steady
        self._base = base_url(account.base_url)
        self._pool = pool(self._base, timeout, transport)

    async def send(self, outgoing: Outgoing) -> Taken | SendError | NoAnswer:
        try:
            outgoing.text.encode()
        except UnicodeEncodeError:
            return SendError("encoding", "the text is not valid Unicode", "never")
        exchange = self._exchange()
        seconds = int(outgoing.valid_for.total_seconds())
        try:
            message = await self._client(exchange).messages.create_async(
                **asking.who(outgoing),
                **asking.what(outgoing),
                status_callback=outgoing.status_url,
                validity_period=max(1, min(seconds, _LONGEST_VALIDITY)),
            )
        except (TwilioRestException, TwilioServiceException) as answer:
            return _judged(exchange, answer)
        except NEVER_LEFT as error:
            # It never reached Twilio, so it is nothing the text did: wait, and count no attempt.
            return SendError("connection", f"could not connect: {error}", "slow_down")
        except Exception as error:  # noqa: BLE001 - whatever broke once bytes left: it may be out
            return _unknown(exchange, _named(error))
        if not _is_sid(message.sid):
            return _unknown(exchange, "the answer names no message")
        return Taken(message.sid)

    async def look_up(
        self, outgoing: Outgoing, *, known: frozenset[str]
    ) -> Taken | NotFound | NoAnswer:
        exchange = self._exchange()
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                return await self._search(self._client(exchange).messages, outgoing, known)
        except Exception as error:  # noqa: BLE001 - a list that could not be read says nothing
            return _unknown(exchange, _named(error))

    async def received(
        self, agent_number: Phone, *, since: datetime, until: datetime | None = None
    ) -> Sequence[Inbound] | TooMany | NoAnswer:
        exchanges: list[Exchange] = []

        def client() -> Client:
            exchanges.append(self._exchange())
            return self._client(exchanges[-1])

        reader = Reader(client=client, account_sid=self._account.account_sid, timeout=self._timeout)
        try:
            return await reader.texts(agent_number, since=since, until=until)
        except Exception as error:  # noqa: BLE001 - as above
            return _unknown(exchanges[0], _named(error))

    async def check(self, numbers: Sequence[tuple[Phone, str]]) -> Sequence[Finding]:
        return await checks.check(self._client(self._exchange()), self._account, numbers)

    async def close(self) -> None:
        await self._pool.aclose()

    def _exchange(self) -> Exchange:
        return Exchange(self._pool, self._base, self._timeout, self._steady)

    def _client(self, exchange: Exchange) -> Client:
        """A record around the exchange: cheap (7 microseconds), so each call has its own."""
        return Client(
            self._account.account_sid,
            self._account.auth_token,
            http_client=exchange,
            # Not empty, or the SDK reads the process's own environment.
            environment={"TWILIO_ACCOUNT_SID": self._account.account_sid},
            user_agent_extensions=[f"textback/{__version__}"],
        )

    async def _search(
        self, messages: MessageList, outgoing: Outgoing, known: frozenset[str]
    ) -> Taken | NotFound | NoAnswer:
        since = outgoing.claimed_at - _CLOCK_SKEW
        ours: dict[str | None, MessageInstance] = {}
        for query in asking.lists(outgoing):
            listed = await _recent(messages, query, since)
            if listed is None:
                return NoAnswer("the carrier's list is too long to read")
            ours |= {
                m.sid: m
                for m in listed
                if m.direction in _BY_API
                and m.sid not in known
                and asking.may_have_sent(
                    outgoing, from_=m.from_, messaging_service_sid=m.messaging_service_sid
                )
            }
        among = sorted(ours.values(), key=_created)
        return _the_one(among) if outgoing.template else _same_text(among, outgoing.text)


async def _recent(
    messages: MessageList, query: Mapping[str, str], since: datetime
) -> list[MessageInstance] | None:
    """Newest first, by date sent. No DateSent filter: a text still queued at Twilio has none.

    How the list sorts those is not documented, so a page is read whole, and only a page without
    any message from our time ends the search. None: there are too many.
    """
    found: list[MessageInstance] = []
    page = await messages.page_async(
        to=query["to"], from_=query.get("from_", unset), page_size=_PAGE_SIZE
    )
    for left in range(_MAX_PAGES, 0, -1):
        recent = [m for m in page if m.date_created is None or m.date_created >= since]
        found += recent
        following = page.next_page_url if recent else None
        if following is None:
            break
        if left == 1:
            return None
        page = await messages.get_page_async(following)
    return found


def _same_text(ours: Sequence[MessageInstance], text: str) -> Taken | NotFound | NoAnswer:
    """Among messages that no other text is known to be: the oldest with these words."""
    for m in ours:
        if asking.same_words(m.body, text) and _is_sid(m.sid):
            return Taken(m.sid)
    if any(not m.body for m in ours):
        return NoAnswer("the carrier's list holds a message without its words")
    return NotFound()


def _the_one(ours: Sequence[MessageInstance]) -> Taken | NotFound | NoAnswer:
    """A template's words are put together at Twilio, so there is nothing to compare.

    Of a pair one text is under way at a time, and the ids of those before are known: a message that
    nobody knows, from our time, is this one, or somebody else's who sends from the same number. One
    can therefore be taken for it; among several nobody can tell, and a wrong guess that none is
    ours would text the user twice.
    """
    if not ours:
        return NotFound()
    sid = ours[0].sid
    if len(ours) == 1 and _is_sid(sid):
        return Taken(sid)
    return NoAnswer("the carrier's list holds several messages that may be this template")


def _judged(
    exchange: Exchange, answer: TwilioRestException | TwilioServiceException
) -> SendError | NoAnswer:
    """An answer that is not 2xx. The status is the wire's: a problem document may say another."""
    status = exchange.status or 0
    if not errors.is_refusal(status):
        return _unknown(exchange, "no usable answer")
    # Without a code of Twilio's in the body, the SDK puts the HTTP status in its place.
    code = None if answer.code in {None, status} else str(answer.code)
    if isinstance(answer, TwilioServiceException):
        said = answer.detail or answer.title
    else:
        said = answer.msg.removeprefix("Unable to create record: ")
    reason = str(said).replace("\x00", "\ufffd")[:_LONGEST_REASON]
    return errors.refusal(status, code, reason, retry_after=exchange.headers.get("retry-after"))


def _unknown(exchange: Exchange, what: str) -> NoAnswer:
    if exchange.status is None:
        return NoAnswer(what)
    request_id = exchange.headers.get("twilio-request-id", "none")
    return NoAnswer(f"{what} (HTTP {exchange.status}, Twilio-Request-Id {request_id})")


def _named(error: Exception) -> str:
    """Never the error's own words: the SDK quotes whole answers there, with texts in them."""
    if isinstance(error, (TimeoutError, httpx.TimeoutException)):
        return "timed out"
    return f"no usable answer: {type(error).__name__}"


def _is_sid(sid: object) -> TypeGuard[str]:
    return isinstance(sid, str) and _SID.fullmatch(sid) is not None


def _created(message: MessageInstance) -> datetime:
    return message.date_created or datetime.max.replace(tzinfo=UTC)
