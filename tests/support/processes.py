"""`textback` as an operator runs it: real processes, settings in the environment."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx
import psutil


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str


class Textback:
    """Use as an async context manager: what still runs at its end is killed."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        """`folder` is where commands run and logs go; nothing but `environment` is set."""
        self._folder = folder
        self._environment = {"PATH": os.defpath, **environment}
        self._running: list[Running] = []
        self._started = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._running:
            await process.kill()

    async def run(self, *arguments: str, more: Mapping[str, str] | None = None) -> Ran:
        """A command that ends by itself; `more` is added to the environment."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "textback", *arguments),
            cwd=self._folder,
            env={**self._environment, **(more or {})},
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )
        try:
            async with asyncio.timeout(90):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    async def start(self, *arguments: str, **more: str) -> "Running":
        """A command that runs until it is stopped."""
        self._started += 1
        log = self._folder / f"{self._started}-{arguments[0]}.log"
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "textback", *arguments),
                cwd=self._folder,
                env=self._environment | more,
                stdin=DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self._running.append(Running(process, log))
        return self._running[-1]

    async def serve(self, port: int, *arguments: str, **more: str) -> "Running":
        """Started, and ready for requests."""
        running = await self.start("serve", "--port", str(port), *arguments, **more)
        async with asyncio.timeout(90), httpx.AsyncClient(trust_env=False) as http:
            while True:
                assert running.is_alive, running.log
                try:
                    answer = await http.get(f"http://127.0.0.1:{port}/health/ready")
                    if answer.is_success:
                        return running
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)


class Running:
    def __init__(self, process: Process, log: Path) -> None:
        self._process, self._log = process, log
        self._left_children = False

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    @property
    def log(self) -> str:
        """What it wrote to standard output and standard error."""
        return self._log.read_text()

    def ask_to_stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def interrupt(self) -> None:
        """Ctrl-C: its children get it too."""
        os.killpg(self._process.pid, signal.SIGINT)

    async def ended(self, within: float) -> tuple[int, float]:
        """Wait for its end; gives the exit code, and how long that took."""
        began = time.monotonic()
        async with asyncio.timeout(within):
            code = await self._process.wait()
        return code, time.monotonic() - began

    def children(self) -> list[psutil.Process]:
        """Of `serve --workers`."""
        found = psutil.Process(self._process.pid).children()
        return [child for child in found if "spawn_main" in " ".join(child.cmdline())]

    async def kill_alone(self) -> None:
        """Not its children."""
        self._process.kill()
        await self._process.wait()
        self._left_children = True

    async def kill(self) -> None:
        if self._left_children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self.is_alive:
            os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()
