"""The parts of a deployment: processes that can be killed, frozen, stopped and started again."""

import asyncio
import contextlib
import os
import signal
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 30.0
"""How long anything told to stop is waited for; what it may take is judged later."""


class PartError(Exception):
    """A part did not come up."""


@dataclass(frozen=True, slots=True)
class Exit:
    """One process of a part came to its end."""

    part: str
    asked: str
    """The signal it was sent; empty: it ended by itself."""
    code: int
    seconds: float
    """Since it was asked."""
    at: float


class Part:
    def __init__(
        self,
        name: str,
        folder: Path,
        command: Callable[[], Sequence[str]],
        is_ready: Callable[["Part"], Awaitable[bool]],
        environment: Mapping[str, str],
    ) -> None:
        """`command` may take its time: it runs in a thread, before each start."""
        self.name = name
        self.log = folder / f"{name}.log"
        self.exits: list[Exit] = []
        self.starts = 0
        self.busy = asyncio.Lock()
        """Held by whoever does something to it, so that two things never cross."""
        self._folder, self._command, self._is_ready = folder, command, is_ready
        self._environment = {"PATH": os.defpath, **environment}
        self._process: Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._asked, self._asked_at = "", 0.0
        self._log_began = 0

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def new_log(self) -> str:
        """What the present process wrote."""
        with self.log.open("rb") as log:
            log.seek(self._log_began)
            return log.read().decode(errors="replace")

    async def start(self) -> None:
        """Started, and ready."""
        assert not self.is_alive, f"{self.name} runs"
        command = await asyncio.to_thread(self._command)
        with self.log.open("ab") as log:
            self._log_began = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                *command,
                cwd=self._folder,
                env=self._environment,
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that Ctrl-C reaches us alone
            )
        self._asked, self._asked_at = "", time.time()
        self.starts += 1
        self._watch = asyncio.create_task(self._watched(self._process))
        ends = time.monotonic() + START_SECONDS
        while not await self._is_ready(self):
            if not self.is_alive or time.monotonic() > ends:
                tail = "\n".join(self.new_log().splitlines()[-8:])
                raise PartError(f"{self.name} did not start; the end of {self.log}:\n{tail}")
            await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """As if the power failed: the process and all its children, without a word."""
        self._ask(signal.SIGKILL, whole=True)
        await self._ended()

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ask, and wait. One that does not end is killed in the end."""
        self._ask(how)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._ended()
        except TimeoutError:
            for process in self._family():
                _send(process, signal.SIGKILL)
            await self._ended()

    def freeze(self) -> None:
        for process in self._family():
            _send(process, signal.SIGSTOP)

    def thaw(self) -> None:
        for process in self._family():
            _send(process, signal.SIGCONT)

    async def end(self) -> None:
        """Whatever it is doing."""
        if self.is_alive:
            await self.kill()

    def _ask(self, how: signal.Signals, *, whole: bool = False) -> None:
        self._asked, self._asked_at = how.name, time.time()
        for process in self._family() if whole else self._family()[:1]:
            _send(process, how)

    async def _ended(self) -> None:
        if self._watch is not None:
            await asyncio.shield(self._watch)

    def _family(self) -> list[psutil.Process]:
        """The process first, so that it starts no more children while they are sent a signal."""
        try:
            process = psutil.Process(self.pid)
            return [process, *process.children(recursive=True)]
        except psutil.Error:
            return []

    async def _watched(self, process: Process) -> None:
        code = await process.wait()
        now = time.time()
        self.exits.append(Exit(self.name, self._asked, code, now - self._asked_at, now))


def _send(process: psutil.Process, how: signal.Signals) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(how)


async def accepts(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
