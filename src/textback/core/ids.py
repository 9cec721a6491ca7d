"""Ids name their kind and sort by time: `msg_` + 26 characters that hold a UUIDv7.

The 128 bits are a valid UUIDv7 (RFC 9562), so an id can be shown as a UUID to a caller who needs
one and turned back. Crockford's base 32 keeps the order of the bits in the order of the letters.
"""

import secrets
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import NewType
from uuid import UUID

AccountId = NewType("AccountId", str)
AgentId = NewType("AgentId", str)
CarrierId = NewType("CarrierId", str)
ConnectorId = NewType("ConnectorId", str)
ConversationId = NewType("ConversationId", str)
MessageId = NewType("MessageId", str)
ProjectId = NewType("ProjectId", str)
TurnId = NewType("TurnId", str)
BatchId = NewType("BatchId", str)
EndpointId = NewType("EndpointId", str)

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_SHIFTS = range(120, -1, -10)


def new_conversation_id(now: datetime) -> ConversationId:
    return ConversationId("conv_" + _new(now))


def new_message_id(now: datetime) -> MessageId:
    return MessageId("msg_" + _new(now))


def new_opening_ids(now: datetime) -> tuple[ConversationId, MessageId]:
    """Of a conversation and of the text that it opens with."""
    time = _base32_time(_milliseconds(now))
    return (
        ConversationId(f"conv_{time}{_next(_ends, _more_ends)}"),
        MessageId(f"msg_{time}{_next(_ends, _more_ends)}"),
    )


def new_turn_id(now: datetime) -> TurnId:
    return TurnId("turn_" + _new(now))


def new_key_id(now: datetime) -> str:
    return "key_" + _new(now)


def new_opt_out_id(now: datetime) -> str:
    return "opt_" + _new(now)


def new_batch_id(now: datetime) -> BatchId:
    return BatchId("batch_" + _new(now))


def new_endpoint_id(now: datetime) -> EndpointId:
    return EndpointId("whe_" + _new(now))


def new_file_id(now: datetime) -> str:
    return "file_" + _new(now)


def to_uuid(id: str) -> str:  # noqa: A002 - any of ours
    """The UUID in one of our ids, for a caller who needs one (D19)."""
    value = 0
    for letter in id.rpartition("_")[2]:
        value = value << 5 | _ALPHABET.index(letter)
    return str(UUID(int=value))


def from_uuid(prefix: str, uuid: str) -> str | None:
    """`to_uuid` turned back; None for what is no UUID."""
    try:
        return prefix + _base32(UUID(uuid).int)
    except ValueError:
        return None


def earliest(prefix: str, at: datetime) -> str:
    """Where the ids of that kind begin that were made at that moment, or later."""
    milliseconds = max(0, int(at.timestamp() * 1000)) & (1 << 48) - 1
    return prefix + _base32(milliseconds << 80)


def new_correlation_id(now: datetime) -> str:
    """A plain UUID: what clients of PolyAI's platform see in X-PolyAI-Correlation-Id."""
    return _hex_time(_milliseconds(now)) + _next(_ends_of_uuids, _more_ends_of_uuids)


def by_hand(message_id: MessageId) -> str:
    """What stands for the carrier's id when an operator knows that it was sent, and not more."""
    return f"by-hand:{message_id}"


_ON_RECORD = "on-record:"


def on_record(carrier_message_id: str) -> str:
    """The carrier's id of a text as a caller told it: no receipt and no look-up may mean it."""
    return _ON_RECORD + carrier_message_id


def as_the_carriers(carrier_message_id: str) -> str:
    """What `on_record` was given; every other id as it is."""
    return carrier_message_id.removeprefix(_ON_RECORD)


def _new(now: datetime) -> str:
    return _base32_time(_milliseconds(now)) + _next(_ends, _more_ends)


@lru_cache(maxsize=8)
def _base32_time(milliseconds: int) -> str:
    return _base32(milliseconds << 80)[:10]


@lru_cache(maxsize=8)
def _hex_time(milliseconds: int) -> str:
    written = f"{milliseconds:012x}"
    return f"{written[:8]}-{written[8:]}-"


def _milliseconds(now: datetime) -> int:
    return int(now.timestamp() * 1000) & (1 << 48) - 1


# What comes after the time is written down for many ids at once: to ask the kernel for it by itself
# costs more than all the rest, and a letter is a byte of it that is translated.
_ends: list[str] = []
_ends_of_uuids: list[str] = []

_AT_ONCE = 256
_ANY = bytes(ord(_ALPHABET[byte & 31]) for byte in range(256))
# The 80 bits begin with the version, 0111; their 17th and 18th are the variant, 10. So one bit of
# the first letter is free, and three of the fourth.
_WITH_VERSION = bytes(ord(_ALPHABET[0b01110 | byte & 1]) for byte in range(256))
_WITH_VARIANT = bytes(ord(_ALPHABET[byte & 0b10011 | 0b01000]) for byte in range(256))
_HEX_VARIANT = bytes(ord("89ab"[byte & 3]) for byte in range(256))


def _next(ready: list[str], more: Callable[[], list[str]]) -> str:
    try:
        return ready.pop()
    except IndexError:
        ready.extend(more())
        return ready.pop()


def _more_ends() -> list[str]:
    drawn = secrets.token_bytes(16 * _AT_ONCE)
    letters, first, fourth = (
        drawn.translate(table).decode() for table in (_ANY, _WITH_VERSION, _WITH_VARIANT)
    )
    return [
        first[at] + letters[at + 1 : at + 3] + fourth[at + 3] + letters[at + 4 : at + 16]
        for at in range(0, len(letters), 16)
    ]


def _more_ends_of_uuids() -> list[str]:
    drawn = secrets.token_bytes(10 * _AT_ONCE)
    digits, variants = drawn.hex(), drawn.translate(_HEX_VARIANT).decode()
    return [
        f"7{digits[at : at + 3]}-{variants[at // 2 + 2]}{digits[at + 5 : at + 8]}"
        f"-{digits[at + 8 : at + 20]}"
        for at in range(0, len(digits), 20)
    ]


def begin_anew() -> None:
    """For a process that was forked: it must not give out what its parent does."""
    _ends.clear()
    _ends_of_uuids.clear()


def _base32(bits: int) -> str:
    return "".join([_PAIRS[bits >> shift & 1023] for shift in _SHIFTS])
