"""1, 2 and 4 processes of each kind on hosts of their own, sharing one Postgres and one Redis.

Hosts are network namespaces, joined by a bridge; without root they are plain processes.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from bench.carrier import Twilio
from bench.options import Deployment, Options
from bench.place import LOCALHOST, MANY, SID, TOKEN, Meter, Process, free_port, place, remove
from bench.report import Check, Result, no_errors
from bench.what.accept import CONNECTIONS, sms
from bench.what.growth import LATER
from bench.what.pipeline import EMPTY

NET = f"10.203.{os.getpid() % 250}"
GATE = f"{NET}.1"
NAME = f"tb{os.getpid()}"
COUNTS = (1, 2, 4)


@contextmanager
def hosts(many: int) -> Generator[tuple[list[tuple[str, list[str]]], str]]:
    """Addresses of that many hosts, each with what to put before a command that runs there.

    And what they are.
    """
    ip = shutil.which("ip", path=f"{os.defpath}:/usr/sbin:/sbin")
    with ExitStack() as undo:

        def run(*arguments: str, at_end: tuple[str, ...] = ()) -> None:
            if ip is None or os.geteuid() != 0:
                raise OSError("network namespaces need root and iproute2")
            done = subprocess.run(
                [str(ip), *arguments], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise OSError(done.stderr.strip())
            if at_end:
                undo.callback(subprocess.run, [str(ip), *at_end], check=False)

        found: list[tuple[str, list[str]]] = []
        try:
            bridge = f"{NAME}b"
            run("link", "add", bridge, "type", "bridge", at_end=("link", "delete", bridge))
            run("addr", "add", f"{GATE}/24", "dev", bridge)
            run("link", "set", bridge, "up")
            for n in range(many):
                name, address = f"{NAME}n{n}", f"{NET}.{10 + n}"
                run("netns", "add", name, at_end=("netns", "delete", name))
                run("link", "add", f"{NAME}v{n}", "type", "veth", "peer", "eth0", "netns", name)
                run("link", "set", f"{NAME}v{n}", "master", bridge, "up")
                run("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
                for device in ("lo", "eth0"):
                    run("-n", name, "link", "set", device, "up")
                found.append((address, [str(ip), "netns", "exec", name]))
            where = "network namespaces joined by a bridge"
        except OSError as error:
            undo.close()
            alone: tuple[str, list[str]] = (LOCALHOST, [])
            found[:] = [alone] * many
            where = f"plain processes ({error})"
        yield found, where


def run(options: Options) -> Result:
    counts, seconds = options.pick((1, 2), COUNTS), options.pick(2.0, 6.0)
    result = Result(
        name="scale",
        title="processes of each kind, on hosts of their own, one Postgres and one Redis",
        columns=[
            *("processes", "accepts/s", "p99 ms", "API cores", "Postgres cores", "Redis cores"),
            *(
                "sends/s",
                "workers cores",
                "Postgres cores when sending",
                "saturates first",
                "errors",
            ),
        ],
    )
    folder = Path(tempfile.mkdtemp(prefix="textback-bench-"))
    try:
        with hosts(max(counts)) as (found, where):
            apart = found[0][0] != LOCALHOST
            gate = GATE if apart else LOCALHOST
            with place(folder, options.tree, host=gate) as at:
                ports = [8080 if apart else free_port() for _ in found]
                api = [(host, port) for (host, _), port in zip(found, ports, strict=True)]
                carrier, listens = at.carrier(
                    Twilio(
                        host=gate,
                        account_sid=SID,
                        token=TOKEN,
                        inbound_url=f"http://{api[0][0]}:{api[0][1]}/hooks/twilio/inbound",
                        api=api,
                        receipts=False,
                    )
                )
                at.migrate(twilio=f"http://{gate}:{listens}")
                d = Deployment(at=at, port=ports[0], carrier=carrier, carrier_port=listens)
                for many in counts:
                    prefixes = [prefix for _, prefix in found[:many]]
                    result.rows.append(_measured(d, api[:many], prefixes, seconds, options))
    finally:
        remove(folder)
    cores = psutil.cpu_count()
    result.notes.append(
        f"Hosts are {where}; all of them, with Postgres, Redis, carrier and generator, share this "
        f"machine's {cores} cores, so past what those carry more processes add nothing here."
    )
    nothing = sum(not row[column] for row in result.rows for column in (1, 6))
    result.checks += [
        Check("sizes that did not accept or send", nothing, "", at_most=0),
        no_errors(sum(int(row[-1] or 0) for row in result.rows)),
    ]
    result.figures = {f"accepts_per_second_{row[0]}": float(row[1] or 0) for row in result.rows}
    result.figures |= {f"sends_per_second_{row[0]}": float(row[6] or 0) for row in result.rows}
    return result


def _measured(
    d: Deployment,
    api: list[tuple[str, int]],
    prefixes: list[list[str]],
    seconds: float,
    options: Options,
) -> list[str | float | int | None]:
    host = d.at.host
    public = f"http://{api[0][0]}:{api[0][1]}"
    shared = {
        "TEXTBACK_DATABASE_URL": d.at.url(host=host),
        "TEXTBACK_REDIS_URL": d.at.redis(host=host),
        "TEXTBACK_PUBLIC_URL": public,
    }
    served = [
        d.at.serve(port, prefix=prefix, TEXTBACK_HOST=address, **shared)
        for (address, port), prefix in zip(api, prefixes, strict=True)
    ]
    groups: dict[str, list[Process]] = {
        "API": served,
        "Postgres": [d.at.postgres],
        "Redis": [d.at.valkey],
    }
    texts = sms("conn-many", ",".join(MANY))
    for warming in (True, False):
        load = d.load(
            targets=api,
            connections=CONNECTIONS,
            seconds=1.0 if warming else seconds,
            prebuilt=int(15_000 * seconds),
            sms=texts,
        )
        accepted = d.at.loads(load, groups=groups)
    d.at.stop(*served)
    d.at.sql(LATER.format("1 hour"))
    working = [d.at.work(api[0][1], prefix=prefix, **shared) for prefix in prefixes]
    time.sleep(2)  # they sweep
    d.at.sql(LATER.format("1 second"))
    time.sleep(1.5)
    before = d.counts()["created"]
    meter = Meter({"workers": working, "Postgres": [d.at.postgres], "carrier": [d.carrier]})
    while meter.seconds < seconds and _queued(d):
        time.sleep(0.2)
    sent, spent = d.counts()["created"] - before, meter.stop()
    d.at.stop(*working)
    d.at.sql(EMPTY)
    cpu = {name: each / accepted.spent.seconds for name, each in accepted.spent.cpu.items()}
    sending = {name: each / spent.seconds for name, each in spent.cpu.items()}
    options.tell(
        f"{len(api)}: {accepted.per_second:,.0f} accepts/s, {sent / spent.seconds:.0f} sends/s"
    )
    return [
        *(len(api), accepted.per_second, accepted.worst("p99_ms")),
        *(cpu["API"], cpu["Postgres"], cpu["Redis"]),
        *(sent / spent.seconds, sending["workers"], sending["Postgres"]),
        saturated(cpu, processes=len(api), cores=psutil.cpu_count() or 1),
        accepted.bad,
    ]


def _queued(d: Deployment) -> bool:
    rows = d.at.sql("select 1 from messages where state = 'queued' limit 1")
    return bool(rows)


def saturated(cpu: dict[str, float], *, processes: int, cores: int) -> str:
    """What stood in the way: the processes' own cores, or the machine's."""
    if sum(cpu.values()) >= 0.9 * cores:
        most = max(cpu, key=lambda name: cpu[name])
        return f"the machine's {cores} cores; most of them {most}"
    if cpu["API"] >= 0.9 * processes:
        return "the API processes"
    return "nothing: it waits (disk, or others' work on this machine)"
