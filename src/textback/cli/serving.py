"""`textback serve` and `textback work`: the two kinds of process of a deployment."""

import asyncio
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import uvicorn

from textback import wiring
from textback.cli import context
from textback.settings import Settings
from textback.worker.main import Worker


class Server(uvicorn.Server):
    """uvicorn's, which leaves signals to us: its own way of stopping ends in a kill by signal."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def serve(found: Settings) -> int:
    """One process, until told to stop; gives the exit code."""
    server = Server(uvicorn.Config(application(), **options(found)))
    stop = stop_on_signals()
    with listen(found) as listening:
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
        raise context.fail(
            f"Cannot listen on {where} ({error.strerror}); set TEXTBACK_PORT to a free port."
        ) from None
    return listening


def serve_with(found: Settings, *, workers: int) -> None:
    """Several processes under uvicorn's supervisor."""
    wiring.runtime(found)  # refuses here, with a sentence, rather than in every child
    context.configure_logs(found)
    uvicorn.run("textback.cli.serving:application", factory=True, workers=workers, **options(found))


def application() -> Any:  # noqa: ANN401 - an ASGI application
    """What each of uvicorn's processes runs."""
    found = context.settings()
    context.configure_logs(found)
    return wiring.application(wiring.runtime(found))


def options(found: Settings) -> dict[str, Any]:
    return {
        "host": found.host,
        "port": found.port,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": int(found.drain_seconds),
        "loop": "uvloop",
        "http": "httptools",
    }


async def work(found: Settings, *, concurrency: int) -> None:
    rt = wiring.runtime(found)
    context.configure_logs(found)
    try:
        await Worker(rt, concurrency=concurrency).run(stop_on_signals())
    finally:
        await rt.close()


def stop_on_signals() -> asyncio.Event:
    """Set by the first SIGTERM or Ctrl-C; the second one ends the process as it stands."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked() -> None:
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
    return stop
