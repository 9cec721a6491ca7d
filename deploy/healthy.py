# ruff: noqa: INP001 - a script of the image
"""Exits with 0 if the process of this container lives: `textback serve`, or `textback work`.

`serve` answers /health/live. `work` serves /metrics on a port of its own, where its loop says what
it reaches; a loop that hangs says nothing. Neither fails while Postgres or Redis is away: a restart
would not bring them back.
"""

import os
import sys
from pathlib import Path
from urllib.request import urlopen

SECONDS = 5


def said(port: str, path: str) -> bytes:
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=SECONDS) as answer:
        return bytes(answer.read())


def healthy(command: list[str]) -> bool:
    """`command`: what the process was started as."""
    try:
        if "work" in command:
            return b"textback_reachable{" in said(os.environ["TEXTBACK_METRICS_PORT"], "/metrics")
        return bool(said(os.environ["TEXTBACK_PORT"], "/health/live"))
    except OSError:
        return False


if __name__ == "__main__":
    found = Path("/proc/1/cmdline").read_bytes().decode().split("\0")
    sys.exit(0 if healthy(found) else 1)
