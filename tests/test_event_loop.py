"""Who asks for a name that hangs holds up nobody else."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest

from tests.support.fake_twilio.server import Answer, LoopbackServer, Request
from textback.event_loop import Loop

HERE = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]


class Names:
    """All lead here; `hangs.example` only when it is let go."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.let_go = threading.Event()

    def __call__(self, host: str | bytes, port: int, *_: object) -> list[tuple[Any, ...]]:
        name = host.decode() if isinstance(host, bytes) else host
        self.asked.append(name)
        if name == "hangs.example":
            self.let_go.wait(60)
        if name == "unknown.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(*each[:4], ("127.0.0.1", port)) for each in HERE]


async def answers(_: Request) -> Answer:
    return Answer(204)


def run(names: Names, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=lambda: Loop(names)) as runner:
        runner.run(main())


def test_a_name_that_hangs_keeps_no_other_from_being_found() -> None:
    names = Names()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        hanging = [asyncio.create_task(loop.getaddrinfo("hangs.example", 80)) for _ in range(64)]
        others = [f"{n}.hangs.example" for n in range(64)]
        async with asyncio.timeout(5):
            for each in others:
                assert (await loop.getaddrinfo(each, 80))[0][4] == ("127.0.0.1", 80)
        hanging.pop().cancel()
        names.let_go.set()
        done, _ = await asyncio.wait(hanging, timeout=5)
        assert [task.result() for task in done] == [names("here", 80)] * 63

    run(names, main)
    assert names.asked.count("hangs.example") == 1


def test_a_client_of_ours_asks_in_that_way() -> None:
    """As engines, tools and models are called: whoever cannot be found is given up in time."""
    names = Names()

    async def main() -> None:
        server = LoopbackServer(answers)
        await server.start()
        async with httpx.AsyncClient(timeout=0.2, trust_env=False) as client:
            for _ in range(8):
                with pytest.raises(httpx.ConnectTimeout):
                    await client.get("http://hangs.example/")
            answer = await client.get(f"http://found.example:{server.port}/", timeout=5)
            assert answer.status_code == 204
            with pytest.raises(httpx.ConnectError):
                await client.get("http://unknown.example/", timeout=5)
        await server.stop()
        names.let_go.set()

    run(names, main)
    assert names.asked == ["hangs.example", "found.example", "unknown.example"]


def test_a_process_ends_while_a_name_hangs() -> None:
    names = Names()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await asyncio.get_running_loop().getaddrinfo("hangs.example", 80)

    run(names, main)
    (asking,) = [each for each in threading.enumerate() if each.name == "names"]
    assert asking.daemon
    names.let_go.set()  # and nobody is there to be told
    asking.join(5)
    assert not asking.is_alive()
