"""The Twilio carrier: sends through the Messages API and looks into its list.

Creating a message cannot be made idempotent (https://www.twilio.com/docs/api/errors/20500), so the
request leaves once, and everything but a clear answer is `NoAnswer`.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx
from twilio.base.values import unset  # pyright: ignore[reportMissingTypeStubs]
from twilio.rest import Client  # pyright: ignore[reportMissingTypeStubs]
from twilio.rest.api.v2010.account.message import (  # pyright: ignore[reportMissingTypeStubs]
    MessageInstance,
    MessageList,
)

from textback import __version__
from textback.carriers.twilio import asking, checks
from textback.carriers.twilio.create import Create
from textback.carriers.twilio.exchange import Exchange, base_url, named, pool, unknown, wire
from textback.carriers.twilio.received import Reader
from textback.carriers.twilio.sids import is_sid
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

_CLOCK_SKEW: Final = timedelta(minutes=3)
"""Twilio's dates have whole seconds, and its clock is not ours."""

_PAGE_SIZE: Final = 100
_MAX_PAGES: Final = 10

_BY_API: Final = (None, "outbound-api")
"""Directions of what we may have posted; a stand-in for Twilio may leave it out."""


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
        self._wire = transport or wire(self._base, timeout)
        through = self._wire.handle_async_request if self._wire else self._pool.send
        self._create = Create(account, self._base, through, timeout=timeout, steady=steady)

    async def send(self, outgoing: Outgoing) -> Taken | SendError | NoAnswer:
        return await self._create(outgoing)

    async def look_up(
        self, outgoing: Outgoing, *, known: frozenset[str]
    ) -> Taken | NotFound | NoAnswer:
        exchange = self._exchange()
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                return await self._search(self._client(exchange).messages, outgoing, known)
        except Exception as error:  # noqa: BLE001 - a list that could not be read says nothing
            return unknown(named(error), exchange.status, exchange.headers)

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
            return unknown(named(error), exchanges[0].status, exchanges[0].headers)

    async def check(self, numbers: Sequence[tuple[Phone, str]]) -> Sequence[Finding]:
        return await checks.check(self._client(self._exchange()), self._account, numbers)

    async def close(self) -> None:
        await self._pool.aclose()
        if self._wire is not None:
            await self._wire.aclose()

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
        if asking.same_words(m.body, text) and is_sid(m.sid):
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
    if len(ours) == 1 and is_sid(sid):
        return Taken(sid)
    return NoAnswer("the carrier's list holds several messages that may be this template")


def _created(message: MessageInstance) -> datetime:
    return message.date_created or datetime.max.replace(tzinfo=UTC)
