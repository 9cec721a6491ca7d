"""`textback demo`: the whole product in one process, on its own Postgres and Redis."""

import asyncio
import json
import os
import secrets
import shutil
import socket
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path

import uvicorn
from rich.console import Console

from textback import logs, wiring
from textback.cli import context, narrate
from textback.cli.apply import provision
from textback.cli.server import Server, options
from textback.cli.serving import listen, stop_on_signals
from textback.db import migrate
from textback.embedded import EmbeddedError, Servers, running
from textback.runtime import Runtime
from textback.settings import Settings
from textback.worker.main import Worker

USER_NUMBER = "+14155550123"

ACCOUNT = """
accounts:
  - id: demo
    name: Demo
    api_keys:
      - {name: demo, key: "${DEMO_API_KEY}"}
    carriers:
      - {id: demo-sandbox, kind: sandbox}
    agents:
      - id: bookings
        greeting: "Hello, this is Acme Dental. How can I help?"
        engine:
          kind: scripted
          rules:
            - {match: '(?i)\\b(\\d\\d?) ?(am|pm)\\b', reply: "Done: {1} {2} tomorrow."}
            - {match: '(?i)\\b(yes|ok|fine|great)\\b', reply: "Great, see you then!"}
            - {match: '(?i)\\b(no|change|later)\\b', reply: "No problem. What time is better?"}
            - {match: '(?i)\\b(bye|goodbye)\\b', reply: "Goodbye!", end_conversation: true}
          default: "You said: {text}. What time suits you?"
    projects:
      - id: reminders
        name: Appointment reminders
        agent: bookings
        inactivity: {warn_after_seconds: 120, close_after_seconds: 60}
        connectors:
          - {id: conn-demo, environment: sandbox}
        numbers:
          - {number: "+14155550100", environment: sandbox, carrier: demo-sandbox}
"""


def run(found: Settings, *, fresh: bool) -> None:
    data = found.data.absolute()
    if context.running_demo(data) is not None:
        raise context.fail(f"A demo already runs on {data}; stop it first, or set TEXTBACK_DATA.")
    console = Console(highlight=False)
    try:
        with listen(found) as listening:
            console.print("Starting Postgres and Redis …", style="dim")
            _run_on(found, data, listening, console, fresh=fresh)
    except EmbeddedError as error:
        raise context.fail(str(error)) from None


def _run_on(
    found: Settings, data: Path, listening: socket.socket, console: Console, *, fresh: bool
) -> None:
    with (
        running(data, fresh=fresh) as servers,
        (data / "textback.log").open("w" if fresh else "a") as log,
    ):
        if fresh:  # what they sealed and let in is gone
            (data / "secret.key").unlink(missing_ok=True)
            (data / "api.key").unlink(missing_ok=True)
        logs.configure(found.log_level, pretty=False, to=log)
        migrate.upgrade(servers.database_url)
        here = found.model_copy(update=_settings(found, data, servers))
        demo_file = data / context.DEMO_FILE
        key = _kept(data / "api.key", lambda: "tb_demo_" + secrets.token_urlsafe(24))
        try:
            context.run(lambda: _run(here, key, demo_file, console, listening))
        finally:
            demo_file.unlink(missing_ok=True)
            console.print("Stopped. What was said is kept; `--fresh` forgets it.", style="dim")


async def _run(
    found: Settings, key: str, demo_file: Path, console: Console, listening: socket.socket
) -> None:
    rt = wiring.runtime(found)
    try:
        await provision(rt.db, rt.vault, ACCOUNT, {"DEMO_API_KEY": key}, now=rt.now())
        with wiring.traced("textback"):
            await _serve(rt, found, key, demo_file, console, listening)
    finally:
        await rt.close()


async def _serve(  # noqa: PLR0917 - what `_run` has at hand
    rt: Runtime,
    found: Settings,
    key: str,
    demo_file: Path,
    console: Console,
    listening: socket.socket,
) -> None:
    stop = stop_on_signals()
    server = Server(uvicorn.Config(wiring.application(rt, owns=False), **options(found)))
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[listening]))
        working = group.create_task(Worker(rt, concurrency=16).run(stop))
        following = group.create_task(narrate.follow(rt.db, console, stop.is_set))
        _announce(found, demo_file)
        console.print(_banner(found, key, demo_file.parent), markup=False, soft_wrap=True)
        await stop.wait()
        server.should_exit = True
        await asyncio.wait([serving, working, following])


def _announce(found: Settings, demo_file: Path) -> None:
    """So that other commands in this folder find the demo."""
    names = ("database_url", "redis_url", "public_url", "secret_key")
    here = {"pid": os.getpid()} | {name: getattr(found, name) for name in names}
    demo_file.touch(mode=0o600)
    demo_file.write_text(json.dumps(here))


def _settings(found: Settings, data: Path, servers: Servers) -> dict[str, object]:
    return {
        "database_url": servers.database_url,
        "redis_url": servers.redis_url,
        "public_url": f"http://127.0.0.1:{found.port}",
        "private_webhooks": True,  # receivers that are being developed are on this machine
        "secret_key": _kept(
            data / "secret.key", lambda: urlsafe_b64encode(os.urandom(32)).decode()
        ),
    }


def _kept(file: Path, make: Callable[[], str]) -> str:
    """A secret of this demo's own, made the first time."""
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(make())
    return file.read_text().strip()


def _command() -> str:
    """How to call us from the same folder, whether or not we are on the PATH."""
    called = Path(sys.argv[0])
    if called.name != "textback":
        return f"{Path(sys.executable).name} -m textback"
    if shutil.which("textback") == str(called):
        return "textback"
    return os.path.relpath(called)


def _banner(found: Settings, key: str, data: Path) -> str:
    return f"""
textback runs at http://127.0.0.1:{found.port}  (API: /docs, log: {data}/textback.log)
Nothing is sent to anybody: a sandbox plays the carrier.

Send a text:

  curl -i http://127.0.0.1:{found.port}/v1/outbound-sms \\
    -H 'X-PolyAi-Auth-Token: {key}' \\
    -H 'X-TOKEN-ID: conn-demo' \\
    -H 'Content-Type: application/json' \\
    -d '{{"user_number": "{USER_NUMBER}", "message": "Acme Dental here. Is 3pm tomorrow good?"}}'

Answer it as the user, in another terminal:

  {_command()} phone

Once the user has answered, 2 minutes of silence bring a warning, and 1 minute later it is over.
Ctrl-C stops. The conversation, as it happens:
"""
