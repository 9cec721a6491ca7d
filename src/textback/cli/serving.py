"""`textback serve` and `textback work`: the two kinds of process of a deployment."""

import asyncio
import signal
from typing import Any

import uvicorn

from textback import wiring
from textback.cli import context
from textback.settings import Settings
from textback.worker.main import Worker


def serve(found: Settings, *, workers: int) -> None:
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
