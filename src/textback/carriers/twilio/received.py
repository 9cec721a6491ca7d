"""What users texted, from Twilio's own list: for replies whose webhook never reached us.

A webhook that fails is not repeated, but the text stays in the list
(https://www.twilio.com/docs/messaging/api/message-resource#read-multiple-message-resources). It can
be asked by recipient, not by Messaging Service: what came as RCS is found under the service's RCS
senders (https://www.twilio.com/docs/messaging/api/channelsender-resource).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from twilio.base.exceptions import (  # pyright: ignore[reportMissingTypeStubs]
    TwilioException,
)
from twilio.base.values import unset  # pyright: ignore[reportMissingTypeStubs]
from twilio.rest import Client  # pyright: ignore[reportMissingTypeStubs]
from twilio.rest.api.v2010.account.message import (  # pyright: ignore[reportMissingTypeStubs]
    MessageInstance,
)

from textback.carriers.twilio.exchange import Exchange
from textback.core.frozen import frozen
from textback.core.phone import Phone, is_messaging_service
from textback.core.ports import Inbound, TooMany

PAGE_SIZE: Final = 200
MOST_PAGES: Final = 20

_BY_USERS: Final = ("inbound",)

_MOST_MEDIA: Final = 10
"""Twilio's own limit."""

_MEDIA_AT_ONCE: Final = 4

_MACHINE_MADE: Final = 30039
"""Twilio kept it from the webhook on purpose: an answer would feed a loop."""

_WHOLE_SECONDS: Final = timedelta(seconds=1)

_MOST_SENDERS: Final = 20
_NOT_FOUND: Final = 404

_log = structlog.stdlib.get_logger()


@frozen
class Reader:
    """One reading of the list."""

    client: Callable[[], Client]
    """A new one for each request, so that several can be under way."""
    account_sid: str
    timeout: timedelta
    """For reading the list, and again for reading of media."""

    async def texts(
        self, agent_number: Phone, *, since: datetime, until: datetime | None
    ) -> Sequence[Inbound] | TooMany:
        """Raises what the SDK and httpx raise when a page cannot be had."""
        # Twilio's dates have whole seconds.
        since = since.astimezone(UTC).replace(microsecond=0)
        until = until and until.astimezone(UTC)
        is_service = is_messaging_service(agent_number)
        found: dict[str, MessageInstance] = {}
        for address in await self._rcs_senders(agent_number) if is_service else [agent_number]:
            listed = await self._listed(address, since=since, until=until)
            if listed is None:
                return TooMany()
            found |= listed
        # Twilio may filter by whole days only; and newest first, which tells the order in a second.
        in_time = [
            m
            for m in reversed(found.values())
            if _said_at(m, since) >= since and (until is None or _said_at(m, since) <= until)
        ]
        in_time.sort(key=lambda m: _said_at(m, since))
        media = await self._media([m.sid or "" for m in in_time if _has_media(m)])
        service = agent_number if is_service else None
        return [_inbound(m, service, since, media.get(m.sid or "", ())) for m in in_time]

    async def _rcs_senders(self, service: Phone) -> list[str]:
        """A service that is gone, or that this account may not see, has none: `doctor` says so."""
        client = self.client()
        senders = client.messaging.v1.services(service).channel_senders
        try:
            listed = await senders.list_async(limit=_MOST_SENDERS)
        except TwilioException:
            http = client.http_client
            if isinstance(http, Exchange) and http.status == _NOT_FOUND:
                return []
            raise
        return [s for s in (each.sender or "" for each in listed) if s.startswith("rcs:")]

    async def _listed(
        self, to: str, *, since: datetime, until: datetime | None
    ) -> Mapping[str, MessageInstance] | None:
        """What came to one address, newest first; None: there is too much of it."""
        began = asyncio.get_running_loop().time()
        messages = self.client().messages
        page = await messages.page_async(
            to=to,
            date_sent_after=since,
            date_sent_before=unset if until is None else until + _WHOLE_SECONDS,
            page_size=PAGE_SIZE,
        )
        found: dict[str, MessageInstance] = {}
        pages = 1
        while True:
            # Texts that come meanwhile push others on to the next page: those are listed twice.
            found |= {m.sid: m for m in page if m.sid and _is_for_us(m, to)}
            following = page.next_page_url
            if following is None:
                return found
            late = asyncio.get_running_loop().time() - began > self.timeout.total_seconds()
            if late or pages >= MOST_PAGES:
                return None
            page = await messages.get_page_async(following)
            pages += 1

    async def _media(self, sids: Sequence[str]) -> Mapping[str, Sequence[Mapping[str, str]]]:
        """Of each message, as far as they can be had in time: its words must not wait for them."""
        found: dict[str, Sequence[Mapping[str, str]]] = {}
        left = iter(sids)

        async def some() -> None:
            for sid in left:
                try:
                    found[sid] = await self._media_of(sid)
                except Exception as error:  # noqa: BLE001 - whatever it is, the words are there
                    why = type(error).__name__
                    _log.warning("media.not_listed", carrier_message_id=sid, why=why)

        try:
            async with asyncio.timeout(self.timeout.total_seconds()), asyncio.TaskGroup() as group:
                for _ in range(min(_MEDIA_AT_ONCE, len(sids))):
                    group.create_task(some())
        except TimeoutError:
            _log.warning("media.not_listed", texts=len(sids) - len(found), why="not in time")
        return found

    async def _media_of(self, sid: str) -> Sequence[Mapping[str, str]]:
        listed = await self.client().messages(sid).media.list_async(limit=_MOST_MEDIA)
        where = f"https://api.twilio.com/2010-04-01/Accounts/{self.account_sid}/Messages/{sid}"
        return [
            {
                "url": storable(f"{where}/Media/{each.sid}"),
                "content_type": storable(each.content_type or ""),
            }
            for each in listed
            if each.sid
        ]


def storable(words: str) -> str:
    """NUL and halves of surrogate pairs as U+FFFD: Postgres holds neither."""
    whole = words.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("\x00", "\ufffd")


def _is_for_us(m: MessageInstance, to: str) -> bool:
    return (
        m.direction in _BY_USERS and m.to == to and bool(m.from_) and m.error_code != _MACHINE_MADE
    )


def _said_at(m: MessageInstance, otherwise: datetime) -> datetime:
    return m.date_sent or m.date_created or otherwise


def _has_media(m: MessageInstance) -> bool:
    return m.num_media not in {None, "", "0", 0}


def _inbound(
    m: MessageInstance,
    service: Phone | None,
    since: datetime,
    media: Sequence[Mapping[str, str]],
) -> Inbound:
    return Inbound(
        carrier_message_id=storable(m.sid or ""),
        agent_number=storable(m.to or ""),
        user_number=storable(m.from_ or ""),
        text=storable(m.body or ""),
        media=tuple(media),
        messaging_service_sid=service or storable(m.messaging_service_sid or "") or None,
        said_at=_said_at(m, since),
    )
