"""`textback listen`: events as they happen, and on to a local URL, for developing a receiver."""

import asyncio
import contextlib
import json
import signal
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import httpx
import typer

from textback.cli import context
from textback.cli.words import in_json
from textback.core import signing
from textback.core.frozen import frozen
from textback.log_lines import escaped
from textback.settings import Settings

WAIT: Final = 25
"""Seconds of one poll."""
_ANSWER_SECONDS: Final = 10.0
_FORWARD_SECONDS: Final = 15.0
_FIRST, _MOST = 0.5, 10.0
"""Seconds between attempts while the server is away."""

_NOT_FOUND: Final = 404
_AWAY: Final = (429, 502, 503, 504)


@frozen
class Asked:
    server: str
    key: str
    kinds: tuple[str, ...] = ()
    project: str | None = None
    forward: str | None = None
    as_json: bool = False


def asked(
    found: Settings,
    *,
    server: str | None,
    key: str | None,
    kinds: tuple[str, ...],
    project: str | None,
    forward: str | None,
    as_json: bool,
) -> Asked:
    """With what the demo that runs here knows. Raises typer.Exit."""
    if key is None and context.running_demo(found.data) is not None:
        key = (found.data / "api.key").read_text().strip()
    if key is None:
        raise context.fail("Give an API key: --key, or TEXTBACK_API_KEY.")
    server = server or found.public_url
    if server is None:
        raise context.fail("Say whose events: --server https://sms.example.com")
    for url in (server, forward):
        if url is not None and not url.startswith(("http://", "https://")):
            raise context.fail(f"{url} is not a URL: begin with http:// or https://.")
    return Asked(
        server=server, key=key, kinds=kinds, project=project, forward=forward, as_json=as_json
    )


class _Gone(Exception):  # noqa: N818 - what it is
    """Our endpoint is there no more: nobody polled it for an hour, or it was removed."""


def command(asked: Asked) -> None:
    """Until Ctrl-C. Exits with 1 when the server does not let us."""

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await listen(asked, print_line=typer.echo, note=_note, stop=stop, clock=_now)

    context.run(main)


async def listen(
    asked: Asked,
    *,
    print_line: Callable[[str], None],
    note: Callable[[str], None],
    stop: asyncio.Event,
    clock: Callable[[], float],
) -> None:
    """`note`: what is not an event; `clock`: unix seconds. Raises typer.Exit."""
    headers = {"Authorization": f"Bearer {asked.key}"}
    timeout = httpx.Timeout(_ANSWER_SECONDS, read=WAIT + _ANSWER_SECONDS)
    async with httpx.AsyncClient(
        base_url=asked.server.rstrip("/"), headers=headers, timeout=timeout
    ) as http:
        listener = _Listener(asked, http, print_line, note, clock)
        running = asyncio.create_task(listener.run())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
        finally:
            for task in (running, stopping):
                task.cancel()
            await asyncio.wait([running, stopping])
            await listener.remove()


class _Listener:
    def __init__(
        self,
        asked: Asked,
        http: httpx.AsyncClient,
        print_line: Callable[[str], None],
        note: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._asked, self._http = asked, http
        self._print, self._note, self._clock = print_line, note, clock
        self._endpoint: str | None = None
        self._secret = ""

    async def run(self) -> None:
        after: str | None = None
        wait = _FIRST
        while True:
            try:
                if self._endpoint is None:
                    after = None
                    await self._make()
                after = await self._poll(after)
                wait = _FIRST
            except _Gone:
                self._note("The server knows this listener no more; what came meanwhile is lost.")
                self._endpoint = None
            except (httpx.TransportError, httpx.HTTPStatusError) as error:
                if wait == _FIRST:
                    self._note(f"The server is away ({_why(error)}); waiting for it …")
                await asyncio.sleep(wait)
                wait = min(wait * 2, _MOST)

    async def remove(self) -> None:
        if self._endpoint is not None:
            with contextlib.suppress(httpx.TransportError):  # it removes itself within an hour
                await self._http.delete(f"/v1/webhooks/{self._endpoint}", timeout=2)

    async def _make(self) -> None:
        wanted = {
            "kinds": list(self._asked.kinds),
            "project": self._asked.project,
            "description": "textback listen",
            "temporary": True,
        }
        made = _read(await self._http.post("/v1/webhooks", json=wanted))
        self._endpoint, self._secret = made["id"], made["secret"]
        self._note(f"Listening to {self._asked.server}; Ctrl-C stops.")
        if self._asked.forward is not None:
            self._note(f"Forwarding to {self._asked.forward}, signed with {self._secret}")

    async def _poll(self, after: str | None) -> str | None:
        query = {"wait": str(WAIT)} | ({} if after is None else {"after": after})
        answer = await self._http.get(f"/v1/webhooks/{self._endpoint}/poll", params=query)
        if answer.status_code == _NOT_FOUND:
            raise _Gone
        found = _read(answer)
        for event in found["data"]:
            self._print(json.dumps(event) if self._asked.as_json else line(event))
            if self._asked.forward is not None:
                self._note(f"          → {await self._forward(self._asked.forward, event)}")
        return found["next"]

    async def _forward(self, url: str, event: Mapping[str, Any]) -> str:
        told = {name: value for name, value in event.items() if name != "id"}
        body = json.dumps(told, separators=(",", ":")).encode()
        headers = signing.headers(
            self._secret, webhook_id=event["id"], timestamp=int(self._clock()), body=body
        )
        try:
            # Not by our client: the key is nothing for the receiver.
            async with httpx.AsyncClient(timeout=_FORWARD_SECONDS, trust_env=False) as http:
                answer = await http.post(
                    url, content=body, headers={"content-type": "application/json", **headers}
                )
        except (httpx.TransportError, httpx.InvalidURL) as error:
            return f"no answer ({_why(error)})"
        return f"{answer.status_code} in {round(answer.elapsed.total_seconds() * 1000)} ms"


def line(event: Mapping[str, Any]) -> str:
    """One event for a person to read, in the local time."""
    data: Mapping[str, Any] = event["data"]
    at = f"{datetime.fromisoformat(event['timestamp']).astimezone():%H:%M:%S}"
    talk: Mapping[str, Any] = data.get("conversation") or {}
    said: Mapping[str, Any] = data.get("message") or {}
    parts = [f"{at}  {event['type']:<24}"]
    if talk:
        parts.append(f"{talk['agent_number']} ↔ {talk['user_number']}  {talk['id']}")
    if said.get("text"):
        parts.append(in_json(said["text"]))
    why = [f"{name}={data[name]}" for name in ("error_code", "error", "reason") if data.get(name)]
    return escaped("  ".join([*parts, *why]).rstrip())


def _read(answer: httpx.Response) -> dict[str, Any]:
    """Raises HTTPStatusError for what may pass, typer.Exit for what will not."""
    if answer.status_code in _AWAY or answer.is_success:
        return answer.raise_for_status().json()
    try:
        said = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        said = f"it answered {answer.status_code}"
    raise context.fail(f"The server says no: {escaped(str(said))}")


def _why(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"HTTP {error.response.status_code}"
    return str(error) or type(error).__name__


def _note(words: str) -> None:
    typer.echo(words, err=True)


def _now() -> float:
    from textback.wiring import clock  # noqa: PLC0415 - only to sign

    return clock().timestamp()
