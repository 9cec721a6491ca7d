"""What the house needs from outside, as Protocols, and the values that cross them.

Those of webhooks out are in `webhook.py` (who posts) and `told.py` (what is said).

Nothing here raises for an expected outcome: what may happen is in the return type.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from typing import Literal, Protocol, runtime_checkable

from textback.core.engine import TurnReply
from textback.core.frozen import frozen
from textback.core.gcra import Denied, Granted, Rate
from textback.core.ids import CarrierId, MessageId
from textback.core.phone import Phone
from textback.core.template import Template

# --- Carrier: moves texts ---------------------------------------------------------------------


@frozen
class Outgoing:
    """One text to send, or to look up."""

    message_id: MessageId
    agent_number: Phone
    user_number: Phone
    text: str
    template: Template | None = None
    """Sent instead of the text."""
    messaging_service_sid: str | None = None
    """Twilio's: sent through it, as from `agent_number`."""
    claimed_at: datetime
    """When we were about to send it: the carrier cannot have it from before."""
    valid_for: timedelta
    """After this the carrier must drop it rather than deliver it late."""
    status_url: str
    """Where receipts go; carries the message id."""


@frozen(kw_only=False)
class Taken:
    """The carrier has it."""

    carrier_message_id: str


@frozen(kw_only=False)
class SendError:
    """The carrier certainly does not have it. `code` is the carrier's own (Twilio: "21610")."""

    code: str
    reason: str
    retry: Literal["never", "later", "slow_down"]
    """`later` costs an attempt; `slow_down` is a snooze that costs none."""
    retry_after: timedelta | None = None
    opted_out: bool = False
    """The carrier says this user opted out of this number."""


@frozen(kw_only=False)
class NoAnswer:
    """Bytes may have left and no usable answer came: nobody knows whether the carrier has it."""

    reason: str


@frozen(kw_only=False)
class NotFound:
    """The carrier answered, and has no such message."""


@frozen(kw_only=False)
class TooMany:
    """The list of that time is too long to be read at once: ask for less of it."""


@frozen
class HookRequest:
    """A carrier's webhook as it came."""

    url: str
    """The public URL with the raw query: what the carrier signed."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


@frozen
class Inbound:
    """A user texted one of our numbers."""

    carrier_message_id: str
    agent_number: str
    """As the carrier wrote it, unchecked."""
    user_number: str
    text: str
    media: Sequence[Mapping[str, str]] = ()
    """Each `{"url", "content_type"}`. Of content type `location` the URL is a `geo:` one, and
    `latitude`, `longitude`, `address`, `label` come with it, of `button` `payload`, `text`, `type`.
    """
    messaging_service_sid: str | None = None
    """Twilio's, if it came through one."""
    opt_out: Literal["stop", "start", "help"] | None = None
    """Set when the carrier handled the keyword and has already answered it."""
    said_at: datetime | None = None
    """When the carrier took it from the user; None: just now, the webhook came by itself."""


ReceiptStatus = Literal["accepted", "sent", "delivered", "failed"]


@frozen
class Receipt:
    """What the carrier says later about one text of ours."""

    carrier_message_id: str
    message_id: MessageId | None
    """Ours, from the callback URL."""
    status: ReceiptStatus
    error_code: str | None = None
    opted_out: bool = False
    read: bool = False  # by the user (WhatsApp, RCS)


@frozen(kw_only=False)
class Ignored:
    """A verified webhook that says nothing we act on."""

    why: str


@frozen(kw_only=False)
class Malformed:
    """A verified webhook that lacks what every such webhook has."""

    why: str


class Carrier(Protocol):
    """One carrier account: its credentials are inside."""

    async def send(self, outgoing: Outgoing) -> Taken | SendError | NoAnswer:
        """Hand over one text, once: never repeat the request, whatever happens."""
        ...

    async def look_up(
        self, outgoing: Outgoing, *, known: frozenset[str]
    ) -> Taken | NotFound | NoAnswer:
        """Ask the carrier's own list whether it has this text.

        Same two numbers, same text, created since `claimed_at`, and an id not in `known`. The words
        of a template are the carrier's: it is found when it alone can be meant, and if there are
        several that is no answer.
        """
        ...

    async def received(
        self, agent_number: Phone, *, since: datetime, until: datetime | None = None
    ) -> Sequence[Inbound] | TooMany | NoAnswer:
        """All that users texted to this number in that time, from the carrier's own list.

        Oldest first, each with its `said_at`; those that we know are among them.
        """
        ...

    async def check(self, numbers: Sequence[tuple[Phone, str]]) -> Sequence["Finding"]:
        """For `doctor`: whether the credentials are good and each (number, inbound URL) fits."""
        ...

    async def close(self) -> None: ...


@frozen(kw_only=False)
class Finding:
    ok: bool
    what: str
    """One line: what was checked and what was found."""
    fix: str | None = None
    """What to do about it, when not ok."""


class Hooks(Protocol):
    """How one kind of carrier writes its webhooks. Stateless: credentials are handed in."""

    ack_body: bytes
    ack_content_type: str

    def account_sid(self, request: HookRequest) -> str | None:
        """The account the webhook claims to come from, unverified."""
        ...

    def verify(self, request: HookRequest, auth_token: str) -> bool: ...

    def parse_inbound(self, request: HookRequest) -> Inbound | Ignored | Malformed: ...

    def parse_status(self, request: HookRequest) -> Receipt | Ignored | Malformed: ...


@frozen
class CarrierAccount:
    """A carrier entry as provisioned, with its token opened."""

    carrier_id: CarrierId
    kind: str
    account_sid: str
    auth_token: str = field(repr=False)
    base_url: str
    previous: tuple[str, datetime] | None = field(default=None, repr=False)
    """The token before; until then its webhooks may be signed with it."""
    public_only: bool = False  # an API said `base_url`: no private address is called


# --- Numbers taken over from a carrier -----------------------------------------------------------


@frozen(kw_only=False)
class FoundNumber:
    """The carrier account has it."""

    sid: str
    """The carrier's id of it."""
    inbound_url: str
    """Where its texts go by now; empty: nowhere."""


@frozen(kw_only=False)
class NotDone:
    """`why` is a sentence.

    `credentials`: id and token do not fit; `access`: they do, and may not do that; `number`: the
    account has no such number; `unreachable`: no usable answer.
    """

    code: Literal["credentials", "access", "number", "unreachable"]
    why: str


class NumberImporter(Protocol):
    """What one kind of carrier is asked when a number is taken over. Credentials are handed in."""

    async def find(self, account: CarrierAccount, number: Phone) -> FoundNumber | NotDone:
        """Check the credentials, and look the number up."""
        ...

    async def point(
        self, account: CarrierAccount, number_sid: str, inbound_url: str
    ) -> NotDone | None:
        """From now on users' texts to the number go there; "": nowhere."""
        ...


# --- Answers that an agent's server posts later --------------------------------------------------


@frozen(kw_only=False)
class Forged:
    """Nobody can tell that it comes from the agent's server; `why` is a sentence."""

    why: str


@runtime_checkable
class AnswersLater(Protocol):
    """An engine whose answers may be posted to a turn's `reply_url`."""

    def posted(
        self, headers: Mapping[str, str], body: bytes, *, turn_id: str, run: int, now: datetime
    ) -> TurnReply | Forged | Malformed:
        """Verify and read. Headers by name in lower case, their values in Latin-1, as in HTTP."""
        ...


# --- Limiter and vault ---------------------------------------------------------------------------


class Unreachable(Exception):  # noqa: N818 - a state of the outside, not an error of ours
    """The limiter's store did not answer."""


class Limiter(Protocol):
    async def take(self, key: str, rate: Rate, units: float = 1) -> Granted | Denied:
        """Raises Unreachable: the caller decides whether that means yes or no."""
        ...

    async def give_back(self, key: str, rate: Rate, units: float = 1) -> None: ...

    async def close(self) -> None: ...


class Vault(Protocol):
    """Seals carrier tokens and engine secrets for storage."""

    def seal(self, secret: str) -> str: ...

    def open(self, sealed: str) -> str:
        """Raises ValueError when no key of ours opens it."""
        ...
