"""Ids name their kind and sort by time: `msg_` + 26 characters that hold a UUIDv7.

The 128 bits are a valid UUIDv7 (RFC 9562), so an id can be shown as a UUID to a caller who needs
one and turned back. Crockford's base 32 keeps the order of the bits in the order of the letters.
"""

import secrets
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

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


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


def new_correlation_id(now: datetime) -> str:
    """A plain UUID: what clients of PolyAI's platform see in X-PolyAI-Correlation-Id."""
    return str(_uuid7(now))


def by_hand(message_id: MessageId) -> str:
    """What stands for the carrier's id when an operator knows that it was sent, and not more."""
    return f"by-hand:{message_id}"


def _uuid7(now: datetime) -> UUID:
    milliseconds = int(now.timestamp() * 1000) & (1 << 48) - 1
    random = secrets.randbits(74)
    high = milliseconds << 16 | 0x7000 | random >> 62
    low = 0b10 << 62 | random & (1 << 62) - 1
    return UUID(int=high << 64 | low)


def _base32(value: UUID) -> str:
    bits = value.int
    return "".join(_ALPHABET[bits >> shift & 31] for shift in range(125, -1, -5))
