"""The two hops of a send without our code: HTTP in, a commit with NOTIFY, HTTP out.

`app` is the first, raw ASGI; `python -m bench.apps.hops HOST PORT` is the second.
"""

import asyncio
import json
import os
import sys
from typing import Any
from urllib.parse import urlencode

import asyncpg
import uvloop

from bench.wire import Pool, post

_DATABASE = os.environ["BENCH_DATABASE_URL"]
_pool: list[asyncpg.Pool] = []


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401
    if scope["type"] == "lifespan":
        await receive()
        _pool.append(await asyncpg.create_pool(_DATABASE))
        async with _pool[0].acquire() as c:
            await c.execute("create schema if not exists hops")
            await c.execute("create table if not exists hops.texts (id bigserial, body jsonb)")
        await send({"type": "lifespan.startup.complete"})
        return
    body = (await receive())["body"]
    if body:
        user = json.loads(body)["user_number"]
        async with _pool[0].acquire() as c, c.transaction():
            await c.execute("insert into hops.texts (body) values ($1)", body.decode())
            await c.execute("select pg_notify('hops', $1)", user)
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def main() -> None:
    host, port = sys.argv[1:]
    pool = Pool([(host, int(port))], 4)
    await pool.fill()

    def hear(_c: object, _pid: int, _channel: str, user: object) -> None:
        body = urlencode({"To": str(user), "Body": "hop"}).encode()
        pool.send(post("/hop", host, body, {}), lambda _status, _head: None)

    connection = await asyncpg.connect(_DATABASE)
    await connection.add_listener("hops", hear)
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)  # ends with whoever started it


if __name__ == "__main__":
    uvloop.run(main())
