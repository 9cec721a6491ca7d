"""Webhooks out: what an answer means, when to try again, when to let an endpoint alone; URLs.

The ladder is the one that PolyAI publishes, and that clients of these APIs know:
https://docs.poly.ai/api-reference/webhooks/introduction
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from typing import Final, Literal, Protocol
from urllib.parse import urlsplit

from textback.core import retry
from textback.core.frozen import frozen

# --- Who posts ----------------------------------------------------------------------------------


@frozen
class Answered:
    """The receiver's server answered, whatever it said."""

    status: int
    body: str
    """Its beginning."""
    milliseconds: int
    retry_after: timedelta | None = None


@frozen
class NotAnswered:
    """Nobody knows whether it arrived, unless `why` says that nothing was sent."""

    why: str
    milliseconds: int = 0


class WebhookSender(Protocol):
    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes
    ) -> Answered | NotAnswered:
        """Once, without following redirects, and never to a private address."""
        ...

    async def close(self) -> None: ...


# --- One delivery -------------------------------------------------------------------------------

MOST_BODY: Final = 256 * 1024
"""Bytes of a body of ours. A format leaves out what it can do without; what is larger all the same
is not sent, and the delivery has failed."""

LADDER: Final = (
    timedelta(0),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(hours=4),
)
"""The wait before each attempt; after the last one the delivery has failed."""

LONGEST_RETRY_AFTER: Final = timedelta(hours=1)
"""A receiver that asks for more is tried sooner than it asked."""

_RETRIED: Final = frozenset({408, 429})
_GONE: Final = 410

Verdict = Literal["delivered", "again", "refused", "gone"]
"""`refused`: the receiver does not want this one. `gone`: it wants no more of them."""


def verdict(outcome: Answered | NotAnswered) -> Verdict:
    """2xx is success. No answer, 408, 429 and 5xx may pass; 3xx and the rest of 4xx do not."""
    if isinstance(outcome, NotAnswered):
        return "again"
    if 200 <= outcome.status < 300:  # noqa: PLR2004 - RFC 9110
        return "delivered"
    if outcome.status == _GONE:
        return "gone"
    if outcome.status in _RETRIED or outcome.status >= 500:  # noqa: PLR2004
        return "again"
    return "refused"


def again_at(tries: int, *, now: datetime, retry_after: timedelta | None = None) -> datetime | None:
    """When it is tried again after so many attempts; None: no more."""
    if tries >= len(LADDER):
        return None
    wait = LADDER[tries]
    if retry_after is not None:
        wait = max(wait, min(retry_after, LONGEST_RETRY_AFTER))
    return now + wait


# --- One endpoint -------------------------------------------------------------------------------

DOWN_AFTER: Final = 3
"""Failures in a row; before that it may be a matter of single events."""
HOLD_FIRST: Final = timedelta(seconds=1)
HOLD_MOST: Final = timedelta(seconds=60)
PAUSE_AFTER: Final = timedelta(hours=24)

GRACE: Final = timedelta(hours=24)
"""For how long a secret that was replaced still signs, beside the new one."""


@frozen
class Health:
    """How an endpoint has been doing: any answer but 2xx, and none at all, is a failure."""

    failures: int = 0
    """In a row."""
    failing_since: datetime | None = None
    hold_until: datetime | None = None

    @property
    def is_down(self) -> bool:
        """Then one delivery at a time is tried, as a probe, however many conversations wait."""
        return self.failures >= DOWN_AFTER


WELL: Final = Health()


def failed(health: Health, *, now: datetime, retry_after: timedelta | None = None) -> Health:
    """The circuit: from the third failure in a row the next probe waits, at most a minute.

    It waits before that if the endpoint asks for it. What was already under way when the wait began
    says nothing new.
    """
    if health.hold_until is not None and now < health.hold_until:
        return health
    failures = health.failures + 1
    over = failures - DOWN_AFTER
    wait = timedelta(0)
    if over >= 0:
        wait = retry.backoff(over + 1, first=HOLD_FIRST, most=HOLD_MOST)
    wait = max(wait, min(retry_after or wait, HOLD_MOST))
    return Health(
        failures=failures,
        failing_since=health.failing_since or now,
        hold_until=now + wait if wait else None,
    )


def is_to_pause(health: Health, *, now: datetime) -> bool:
    """A push endpoint that failed for 24 hours without a single success between is paused.

    It has to be down, too: two failures a day apart, with nothing between, prove nothing. Paused,
    it is posted nothing and loses nothing: what happens is kept for it until somebody resumes it.
    """
    since = health.failing_since
    return health.is_down and since is not None and now - since >= PAUSE_AFTER


# --- Where it may be ----------------------------------------------------------------------------

LONGEST_URL: Final = 2048

_NEVER: Final = (
    IPv4Network("168.63.129.16/32"),  # Azure's own, from within its machines
    IPv4Network("192.0.0.0/24"),  # Oracle's metadata; Python calls some of it global
    IPv4Network("192.88.99.0/24"),  # 6to4 relays
)
_GLOBAL_V6: Final = IPv6Network("2000::/3")
"""Elsewhere are, among others, IPv4-mapped and -compatible addresses and NAT64's 64:ff9b::/96."""
_TUNNELS: Final = (IPv6Network("2001::/23"), IPv6Network("2002::/16"))
"""Teredo and its neighbours, 6to4: an IPv4 address is inside."""


def is_public(address: str) -> bool:
    """Whether an IP address is anybody's on the internet; all that is doubtful is not."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if not ip.is_global or ip.is_multicast:
        return False
    if isinstance(ip, IPv4Address):
        return not any(ip in net for net in _NEVER)
    return ip in _GLOBAL_V6 and not any(ip in net for net in _TUNNELS)


def url_fault(url: str, *, private: bool) -> str | None:
    """Say in a sentence why events cannot be posted to `url`; None: they can.

    `private`: private addresses and plain http are allowed, as a developer needs. A name may lead
    anywhere, at any time: where to is checked again at every connection (`webhook_sender.py`).
    """
    if len(url) > LONGEST_URL:
        return f"may have {LONGEST_URL} characters at most"
    if not url.isascii() or any(not each.isprintable() or each in " \\" for each in url):
        return "must be written in ASCII, without spaces: other characters percent-encoded"
    try:
        parts = urlsplit(url)
        host, good_port = parts.hostname, parts.port != 0
    except ValueError:
        host, good_port, parts = None, False, urlsplit("")
    if parts.scheme not in ({"http", "https"} if private else {"https"}) or not host:
        return f"must begin with {'http:// or ' if private else ''}https:// and name a host"
    if "@" in parts.netloc or parts.fragment or url.endswith("#") or not good_port:
        return "must not hold a name, a password, a fragment (#...) or port 0"
    return _host_fault(host, private=private)


def _host_fault(host: str, *, private: bool) -> str | None:
    try:
        ip_address(host)
        is_address = True
    except ValueError:
        is_address = False
    if is_address:
        return None if private or is_public(host) else "must not lead to a private address"
    labels = host.removesuffix(".").split(".")
    good = all(label and len(label) <= 63 for label in labels)  # noqa: PLR2004 - RFC 1035
    if not good or len(host) > 253 or not all(c.isalnum() or c in "-_." for c in host):  # noqa: PLR2004
        return "names no host"
    # What ends in a number is an address to resolvers, in forms like 127.1, 0x7f.1, 2130706433.
    if labels[-1].isdecimal() or labels[-1].lower().startswith("0x"):
        return "must write an IP address as four decimal numbers"
    if not private and (
        len(labels) == 1 or labels[-1].lower() in {"localhost", "local", "internal"}
    ):
        return "must not lead to a private address"
    return None


def normal_url(url: str) -> str:
    """As it is kept: with at least / after the host. `url` has no fault."""
    parts = urlsplit(url)
    return parts._replace(path=parts.path or "/").geturl()
