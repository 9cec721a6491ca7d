"""`textback serve` and `textback work`: the two kinds of process of a deployment."""

import asyncio
import errno
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Final

import structlog
import uvicorn
from uvicorn.config import STARTUP_FAILURE

from textback import exposition, metrics, wiring
from textback.cli import context
from textback.cli.server import Server, options
from textback.settings import Settings

log = structlog.stdlib.get_logger()

_SPAWN: Final = get_context("spawn")
_NOT_STARTED: Final = (1, STARTUP_FAILURE)
_A_MOMENT: Final = 0.1

ONE_SIGNAL: Final = 1.0
"""Seconds. make passes on the signal that the whole process group gets: that is one, not two."""


async def serve(found: Settings) -> int:
    """One process, until told to stop; gives the exit code."""
    with listen(found) as listening:
        return await _serve_on(found, listening, stop_on_signals())


async def _serve_on(
    found: Settings, listening: socket.socket, stop: asyncio.Event, *, workers: int = 1
) -> int:
    rt = wiring.runtime(found)
    context.configure_logs(found)
    with context.starting():
        application = wiring.application(rt)
    server = Server(
        uvicorn.Config(application, **options(found, workers=workers)),
        lame_duck=found.lame_duck_seconds,
    )
    with wiring.traced("textback-api"):
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
    return 0 if server.started else 1


def listen(found: Settings) -> socket.socket:
    """The port, before anything slow: whoever has it taken wants to know now."""
    family = socket.AF_INET6 if ":" in found.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((found.host, found.port))
    except OSError as error:
        listening.close()
        where = f"{found.host}:{found.port}"
        taken = error.errno in {errno.EADDRINUSE, errno.EACCES}
        fix = (
            "TEXTBACK_PORT to a free port"
            if taken
            else "TEXTBACK_HOST to an address of this machine"
        )
        raise context.fail(f"Cannot listen on {where} ({error.strerror}); set {fix}.") from None
    return listening


def serve_with(found: Settings, *, workers: int) -> int:
    """Several processes on one port, until told to stop; gives the exit code.

    Not uvicorn's supervisor: its children stop in uvicorn's way, and outlive it when it is killed.
    """
    wiring.runtime(found)  # refuses here, with a sentence, rather than in every child
    context.configure_logs(found)
    with listen(found) as listening, _counting_together() as folder:
        return _Children(found, listening, folder, workers).run()


@contextmanager
def _counting_together() -> Generator[str]:
    """A folder in which the children count, so that each can tell of all."""
    try:
        made = tempfile.TemporaryDirectory(prefix="textback-metrics-")
    except OSError as error:
        raise context.fail(
            f"Cannot make a folder for metrics ({error.strerror}); set TMPDIR to one that can be "
            "written to."
        ) from None
    with made as folder:
        os.environ[metrics.MANY_PROCESSES] = folder  # children read it when they start
        yield folder


class _Children:
    def __init__(self, found: Settings, listening: socket.socket, folder: str, count: int) -> None:
        self._found, self._listening, self._folder = found, listening, folder
        self._count = count
        self._running: list[SpawnProcess] = []
        self._asked = self._told = 0

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)
        for _ in range(self._count):
            self._start()
        bad = False
        while self._running:
            wait([child.sentinel for child in self._running], timeout=_A_MOMENT)
            for child in [child for child in self._running if child.exitcode is not None]:
                self._running.remove(child)
                # Its counters count on; what it had at the moment, it has no more.
                metrics.gone(child.pid, self._folder)
                bad |= self._asked > 0 and not self._stopped_well(child)
                if not self._asked:
                    log.error("serve.died", pid=child.pid, exit_code=child.exitcode)
                    if child.exitcode in _NOT_STARTED:  # nor would the next one
                        bad, self._asked = True, 1
                    else:
                        self._start()
            self._tell()
        return int(bad)

    def _start(self) -> None:
        child = _SPAWN.Process(target=_child, args=(self._found, self._listening, self._count))
        child.start()
        self._running.append(child)

    def _stopped_well(self, child: SpawnProcess) -> bool:
        # The first signal ends only a process that has not come so far as to listen for it, and
        # so has accepted nothing.
        return child.exitcode == 0 or (self._told == 1 and child.exitcode == -signal.SIGTERM)

    def _ask(self, *_: object) -> None:
        self._asked += 1  # a second time they end as they stand

    def _tell(self) -> None:
        if self._told == self._asked:
            return
        self._told = self._asked
        self._listening.close()  # else the port stayed open when they have closed it
        for child in self._running:
            child.terminate()


def _child(found: Settings, listening: socket.socket, workers: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C also goes to the parent, which tells us

    async def main() -> int:
        stop = stop_on_signals(signal.SIGTERM)
        parent = parent_process()
        if parent is not None:
            asyncio.get_running_loop().add_reader(parent.sentinel, stop.set)
        with listening:
            return await _serve_on(found, listening, stop, workers=workers)

    sys.exit(context.run(main))


async def work(found: Settings, *, concurrency: int) -> None:
    with context.starting():
        from textback.worker.main import Worker  # noqa: PLC0415 - `serve` starts without it

    rt = wiring.runtime(found)
    context.configure_logs(found)
    if found.metrics_port:
        try:
            exposition.listen(exposition.Standing(rt), host=found.host, port=found.metrics_port)
        except OSError as error:
            where = f"{found.host}:{found.metrics_port}"
            raise context.fail(
                f"Cannot listen on {where} ({error.strerror}); set TEXTBACK_METRICS_PORT."
            ) from None
    try:
        with wiring.traced("textback-worker"):
            await Worker(rt, concurrency=concurrency).run(stop_on_signals())
    finally:
        await rt.close()


def stop_on_signals(*numbers: signal.Signals) -> asyncio.Event:
    """Set by the first SIGTERM or Ctrl-C; one after `ONE_SIGNAL` ends the process as it stands."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = numbers or (signal.SIGTERM, signal.SIGINT)

    def asked() -> None:
        if not stop.is_set():
            stop.set()
            loop.call_later(ONE_SIGNAL, no_longer)

    def no_longer() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, asked)
    return stop
