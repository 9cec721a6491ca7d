"""The sandbox: a carrier that ships with the product and texts nobody."""

from textback.carriers.sandbox.client import (
    REFUSED,
    UNANSWERED,
    UNREACHABLE,
    SandboxCarrier,
    SandboxText,
)
from textback.carriers.sandbox.hooks import SandboxHooks, signed_inbound, signed_status

__all__ = [
    "REFUSED",
    "UNANSWERED",
    "UNREACHABLE",
    "SandboxCarrier",
    "SandboxHooks",
    "SandboxText",
    "signed_inbound",
    "signed_status",
]
