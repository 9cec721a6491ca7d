"""Ids name their kind and sort by time: `msg_` + 26 characters that hold a UUIDv7.

The 128 bits are a valid UUIDv7 (RFC 9562), so an id can be shown as a UUID to a caller who needs
one and turned back. Crockford's base 32 keeps the order of the bits in the order of the letters.
"""

import os
from datetime import datetime
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
_GROUPS = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))  # of a UUID's hexadecimal digits


def new_conversation_id(now: datetime) -> ConversationId:
    return ConversationId("conv_" + _base32(_uuid7(now)))


def new_message_id(now: datetime) -> MessageId:
    return MessageId("msg_" + _base32(_uuid7(now)))


def new_turn_id(now: datetime) -> TurnId:
    return TurnId("turn_" + _base32(_uuid7(now)))


def new_key_id(now: datetime) -> str:
    return "key_" + _base32(_uuid7(now))


def new_opt_out_id(now: datetime) -> str:
    return "opt_" + _base32(_uuid7(now))


def new_batch_id(now: datetime) -> BatchId:
    return BatchId("batch_" + _base32(_uuid7(now)))


def new_endpoint_id(now: datetime) -> EndpointId:
    return EndpointId("whe_" + _base32(_uuid7(now)))


def new_file_id(now: datetime) -> str:
    return "file_" + _base32(_uuid7(now))


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


def _uuid7(now: datetime) -> int:
    milliseconds = int(now.timestamp() * 1000) & (1 << 48) - 1
    random = int.from_bytes(_random())
    high = milliseconds << 16 | 0x7000 | random >> 68
    low = 0b10 << 62 | random & (1 << 62) - 1
    return high << 64 | low


_drawn: list[bytes] = []


def _random() -> bytes:
    """Ten bytes; drawn for many at once, because asking the kernel costs more than all the rest."""
    try:
        return _drawn.pop()
    except IndexError:
        many = os.urandom(2560)
        _drawn.extend(many[at : at + 10] for at in range(10, len(many), 10))
        return many[:10]


os.register_at_fork(after_in_child=_drawn.clear)  # or two processes would give out the same


def _base32(bits: int) -> str:
    return "".join([_PAIRS[bits >> shift & 1023] for shift in _SHIFTS])
