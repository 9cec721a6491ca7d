"""What happened and when, by the wall clock, which the logs of all processes share."""

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class Fault:
    """Something was wrong with a part of the deployment, or with the carrier."""

    part: str
    what: str
    began: float
    ended: float | None = None
    """None: it still is."""


class Chronicle:
    def __init__(self, *, quiet: bool = False) -> None:
        self._began = time.time()
        self._quiet = quiet
        self.faults: list[Fault] = []
        self.did: dict[tuple[str, str], int] = {}
        """How often each thing was done to each kind of part."""

    def say(self, line: str) -> None:
        if not self._quiet:
            sys.stdout.write(f"{time.time() - self._began:7.2f}  {line}\n")
            sys.stdout.flush()

    def count(self, part: str, what: str, times: int = 1) -> None:
        done = part.partition("-")[0], what
        self.did[done] = self.did.get(done, 0) + times

    @contextmanager
    def fault(self, part: str, what: str) -> Generator[None]:
        """From now on until the block ends; said and counted."""
        fault = Fault(part, what, time.time())
        self.faults.append(fault)
        self.count(part, what)
        self.say(f"{part}: {what}")
        try:
            yield
        finally:
            fault.ended = time.time()
            self.say(f"{part}: {what}, over after {fault.ended - fault.began:.1f} s")
