"""A standby of the tests' Postgres that follows it as a replica of a deployment does."""

import asyncio
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.db.session import create_engine, transaction
from textback.embedded import Servers, prepare_postgres

_SECONDS = 60


async def _on(db: AsyncEngine, statement: str) -> object:
    async with transaction(db) as c:
        return await c.scalar(text(statement))


class Standby:
    """Use as a context manager; it begins to follow at once."""

    def __init__(self, primary: Servers) -> None:
        self._primary = primary.database_url
        self._folder = tempfile.TemporaryDirectory(prefix="textback-standby-")
        folder = Path(self._folder.name)
        self._data, self._sockets = folder / "data", folder / "run"
        self._sockets.mkdir(mode=0o700)
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql://postgres@/textback?host={self._sockets}&port=5432"

    def __enter__(self) -> Self:
        sockets = self._primary.partition("host=")[2].partition("&")[0]
        # Not asked of the primary's folder: that would take its lock away.
        owner = (Path(sockets).parent / "postgres").stat()
        self._data.mkdir(mode=0o700)
        os.chown(self._data, owner.st_uid, owner.st_gid)
        *user, postgres = prepare_postgres(self._data)
        copy = [*user, str(Path(postgres).with_name("pg_basebackup")), "-d", self._primary]
        copy += ["-D", str(self._data), "-R", "-X", "stream", "-c", "fast", "--no-sync"]
        subprocess.run(copy, check=True, capture_output=True, cwd="/", timeout=_SECONDS)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._folder.cleanup()

    def start(self) -> None:
        command = [*prepare_postgres(self._data), "-D", str(self._data), "-p", "5432"]
        command += ["-k", str(self._sockets), "-c", "listen_addresses="]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until = time.monotonic() + _SECONDS
        while not self._is_ready():
            assert time.monotonic() < until, "the standby does not start"
            assert self._process.poll() is None, "the standby has ended"
            time.sleep(0.01)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(_SECONDS)
            self._process = None

    async def follow(self, primary: AsyncEngine) -> None:
        """Until it has heard of all there is."""
        there = await _on(primary, "select pg_current_wal_flush_lsn()::text")
        heard = f"select pg_last_wal_replay_lsn() >= '{there}'"
        replica = create_engine(self.url, pool_size=2)
        async with asyncio.timeout(30):
            while not await _on(replica, heard):  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.005)
        await replica.dispose()

    async def take_over(self) -> None:
        """From now on it is a primary of its own."""
        replica = create_engine(self.url, pool_size=2)
        assert await _on(replica, "select pg_promote()")
        await replica.dispose()

    def _is_ready(self) -> bool:
        try:
            return "ready" in (self._data / "postmaster.pid").read_text().split()
        except FileNotFoundError:
            return False
