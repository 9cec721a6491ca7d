"""Ids name their kind and sort by time: `msg_` + 26 characters that hold a UUIDv7.

The 128 bits are a valid UUIDv7 (RFC 9562), so an id can be shown as a UUID to a caller who needs
one and turned back. Crockford's base 32 keeps the order of the bits in the order of the letters.
"""

import secrets
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
_SHIFTS_OF_RANDOM = range(70, -1, -10)
_GROUPS = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))  # of a UUID's hexadecimal digits


def new_conversation_id(now: datetime) -> ConversationId:
    return ConversationId("conv_" + _new(now))


def new_message_id(now: datetime) -> MessageId:
    return MessageId("msg_" + _new(now))


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
    written = f"{_uuid7(now):032x}"
    return "-".join([written[start:end] for start, end in _GROUPS])


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
    """As `_base32` writes a `_uuid7`: of which the first ten letters are the time alone."""
    random = _random_bits()
    letters = [_PAIRS[random >> shift & 1023] for shift in _SHIFTS_OF_RANDOM]
    return _base32_time(_milliseconds(now)) + "".join(letters)


@lru_cache(maxsize=8)
def _base32_time(milliseconds: int) -> str:
    return _base32(milliseconds << 80)[:10]


def _uuid7(now: datetime) -> int:
    return _milliseconds(now) << 80 | _random_bits()


def _milliseconds(now: datetime) -> int:
    return int(now.timestamp() * 1000) & (1 << 48) - 1


def _random_bits() -> int:
    """The lower 80 bits of a UUIDv7, its version and variant among them."""
    random = int.from_bytes(_random())
    return (0x7000 | random >> 68) << 64 | 0b10 << 62 | random & (1 << 62) - 1


_drawn: list[bytes] = []


def _random() -> bytes:
    """Ten bytes; drawn for many at once, because asking the kernel costs more than all the rest."""
    try:
        return _drawn.pop()
    except IndexError:
        many = secrets.token_bytes(2560)
        _drawn.extend(many[at : at + 10] for at in range(10, len(many), 10))
        return many[:10]


def begin_anew() -> None:
    """For a process that was forked: it must not give out what its parent does."""
    _drawn.clear()


def _base32(bits: int) -> str:
    return "".join([_PAIRS[bits >> shift & 1023] for shift in _SHIFTS])
