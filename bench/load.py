"""The load generator, a process of its own: reads what to do as JSON, says ready, goes when told.

`closed`: each connection sends its next request when it has its answer. `open`: requests are sent
when they are due (`schedule`), and waiting for a free connection counts as time of the answer.
"""

import asyncio
import gc
import json
import sys
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

import uvloop

from bench.measure import percentile, schedule, user
from bench.wire import Connection, Pool, inbound, post, signed

Ready = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    targets: list[tuple[str, int]]
    connections: int
    seconds: float
    rate: float | None = None
    """Requests a second of an open loop."""
    count: int | None = None
    """Ends after so many, if that comes first."""
    first: int = 0
    """The first user's place among all."""
    users: int = 8_000_000
    step: int = 1
    """How far from each other users are who text one after the other."""
    prebuilt: int = 40_000
    seed: int = 1
    sms: dict[str, str] = field(default_factory=dict[str, str])
    """`key`, `connector`, and numbers with commas between them."""
    hook: dict[str, str] = field(default_factory=dict[str, str])
    """`url`, `token`, `account_sid`, `agents` with commas between them: inbound texts."""

    def json(self) -> str:
        return json.dumps(asdict(self))


def requests(load: Load, many: int) -> list[bytes]:
    return [_sms(load, i) if load.sms else _hook(load, i) for i in range(many)]


def _sms(load: Load, i: int) -> bytes:
    agents = [agent for agent in load.sms.get("agents", "").split(",") if agent]
    body = {"user_number": user(load.first + i % load.users), "message": "bench: your appointment"}
    if agents:
        body["agent_number"] = agents[i % len(agents)]
    headers = {
        "Content-Type": "application/json",
        "X-PolyAi-Auth-Token": load.sms["key"],
        "X-TOKEN-ID": load.sms["connector"],
    }
    return post("/v1/outbound-sms", "bench", json.dumps(body).encode(), headers)


def _hook(load: Load, i: int) -> bytes:
    hook, n = load.hook, load.first + i * load.step % load.users
    agents = hook["agents"].split(",")
    sid = f"SM{load.seed:08x}{load.first + i:024x}"
    form = inbound(hook["account_sid"], sid, user(n), agents[n % len(agents)], f"hello {i}")
    return signed(hook["url"], urlsplit(hook["url"]).path, form, hook["token"])


class Run:
    def __init__(self, load: Load) -> None:
        self.load = load
        self.statuses = Counter[int]()
        self.took = array("d")
        self.sent_at: list[float] = []
        """Of an open loop, by the machine's own clock."""
        self.ended = asyncio.Event()
        self.cpu = 0.0
        """Of this process when it began; what came before was building requests."""
        self._sent = 0

    async def closed(self, ready: Ready) -> float:
        load, loop = self.load, asyncio.get_running_loop()
        built = requests(load, load.prebuilt if load.count is None else load.count)
        connections: list[Connection] = []
        for i in range(load.connections):
            host, port = load.targets[i % len(load.targets)]
            connections.append((await loop.create_connection(Connection, host, port))[1])
        await ready()
        most, clock = load.count or sys.maxsize, time.perf_counter
        began = clock()
        ends, left = began + load.seconds, len(connections)

        def start(connection: Connection) -> None:
            nonlocal left
            at = clock()
            if self._sent >= most or at >= ends or not connection.is_open:
                left -= 1
                if not left:
                    self.ended.set()
                return
            request = built[self._sent % len(built)]
            self._sent += 1

            def answered(status: int, _: bytes) -> None:
                self.took.append(clock() - at)
                self.statuses[status] += 1
                start(connection)

            connection.send(request, answered)

        for connection in connections:
            start(connection)
        async with asyncio.timeout(load.seconds + 60):
            await self.ended.wait()
        took = clock() - began
        for connection in connections:
            connection.close()
        return took

    async def open(self, ready: Ready, rate: float) -> float:
        load, clock = self.load, time.perf_counter
        due = schedule(rate, load.seconds, load.seed)
        built = requests(load, len(due))
        pool = Pool(load.targets, load.connections)
        await pool.fill()
        await ready()
        began = clock()

        def send(at: float, request: bytes) -> None:
            def answered(status: int, _: bytes) -> None:
                self.took.append(clock() - began - at)
                self.statuses[status] += 1
                if len(self.took) == len(due):
                    self.ended.set()

            self.sent_at.append(time.time())
            pool.send(request, answered)

        for at, request in zip(due, built, strict=True):
            if (wait := at - (clock() - began)) > 0:
                await asyncio.sleep(wait)
            send(at, request)
        async with asyncio.timeout(60):
            await self.ended.wait()
        return clock() - began


async def main() -> None:
    given = json.loads(sys.stdin.readline())
    given["targets"] = [(host, port) for host, port in given["targets"]]
    run = Run(Load(**given))

    async def ready() -> None:
        gc.collect()
        gc.freeze()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        run.cpu = time.process_time()

    rate = run.load.rate
    took = await (run.closed(ready) if rate is None else run.open(ready, rate))
    done = sum(run.statuses.values())
    json.dump(
        {
            "seconds": took,
            "done": done,
            "good": sum(n for status, n in run.statuses.items() if 200 <= status < 300),
            "statuses": {str(status): n for status, n in run.statuses.items()},
            "per_second": done / took,
            "p50_ms": percentile(run.took, 50) * 1000,
            "p99_ms": percentile(run.took, 99) * 1000,
            "max_ms": max(run.took, default=0.0) * 1000,
            "sent_at": run.sent_at,
            "cpu": time.process_time() - run.cpu,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    uvloop.run(main())
