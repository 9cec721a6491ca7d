"""What the command was asked for, and a place to measure in."""

import json
import tempfile
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bench.carrier import Twilio
from bench.fill import fill, tell
from bench.load import Load
from bench.place import (
    LOCALHOST,
    SID,
    TOKEN,
    Place,
    Process,
    free_port,
    place,
    remove,
)

T = TypeVar("T")

_BEFORE = 5_000
"""Conversations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    tree: Path
    quick: bool
    seed: int
    tell: Callable[[str], None]

    def pick(self, quick: T, whole: T) -> T:
        return quick if self.quick else whole


@dataclass(slots=True, kw_only=True)
class Deployment:
    """A place with a carrier, migrated and provisioned; processes are started by who needs them."""

    at: Place
    port: int
    """Of the API."""
    carrier: Process
    carrier_port: int
    users: int = 0
    """How many numbers were used up: each send has a user of its own."""

    def fill(self) -> None:
        """As after some use: Postgres plans by statistics, which an empty table has none of."""
        fill(self.at, "textback", conversations=_BEFORE, messages=5 * _BEFORE, first=self.users)
        tell(self.at, "textback")
        self.users += _BEFORE

    def load(self, **given: object) -> Load:
        defaults: dict[str, object] = {"targets": [(LOCALHOST, self.port)], "first": self.users}
        load = Load(**(defaults | given))  # type: ignore[arg-type]
        many = load.count or (load.prebuilt if load.rate is None else load.rate * load.seconds * 2)
        self.users += int(many) if load.sms else 0
        return load

    def counts(self, *, times: bool = False) -> dict[str, Any]:
        """What the carrier has seen."""
        asked = f"http://{self.at.host or LOCALHOST}:{self.carrier_port}/bench"
        with urllib.request.urlopen(asked + "?times" * times, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def hook(self, agents: list[str]) -> dict[str, str]:
        return {
            "url": f"http://{LOCALHOST}:{self.port}/hooks/twilio/inbound",
            "token": TOKEN,
            "account_sid": SID,
            "agents": ",".join(agents),
        }


@contextmanager
def deployed(options: Options, **twilio: object) -> Generator[Deployment]:
    """`twilio`: fields of `Twilio`."""
    folder, port = Path(tempfile.mkdtemp(prefix="textback-bench-")), free_port()
    try:
        with place(folder, options.tree) as at:
            asked: dict[str, object] = {
                "account_sid": SID,
                "token": TOKEN,
                "inbound_url": f"http://{LOCALHOST}:{port}/hooks/twilio/inbound",
                "api": [(LOCALHOST, port)],
            }
            carrier, listens = at.carrier(
                Twilio(**(asked | twilio))  # type: ignore[arg-type]
            )
            at.migrate(twilio=f"http://{LOCALHOST}:{listens}")
            d = Deployment(at=at, port=port, carrier=carrier, carrier_port=listens)
            d.fill()
            yield d
    finally:
        remove(folder)
