"""`textback phone`: a user's handset on a sandbox number."""

import asyncio
import secrets
import sys
import threading
from collections.abc import AsyncIterator
from time import monotonic

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.carriers.sandbox.hooks import signed_inbound
from textback.cli.context import fail
from textback.core import phone
from textback.core.phone import Phone
from textback.core.ports import CarrierAccount
from textback.db import reads, tenants
from textback.db.session import create_engine
from textback.log_lines import escaped
from textback.settings import Settings
from textback.vault import FernetVault

EVERY_SECONDS = 0.2


async def run(found: Settings, *, user: str, agent: str | None, wait: float) -> None:
    given = found.need("database_url", "public_url", "secret_key")
    number = phone.user_number(user)
    if number is None:
        raise fail("--user must be a phone number in E.164 form, like +14155550123.")
    db = create_engine(given["database_url"], pool_size=2)
    try:
        ours = await _sandbox_numbers(db, FernetVault(given["secret_key"]))
        if not ours:
            raise fail(
                "No number here is on a sandbox carrier; a handset cannot play on a real one."
            )
        if agent is not None and agent not in ours:
            raise fail(f"{agent} is not on a sandbox carrier here; there is {', '.join(ours)}.")
        handset = _Handset(db, given["public_url"], number, ours, agent)
        await handset.run(wait)
    finally:
        await db.dispose()


async def _sandbox_numbers(db: AsyncEngine, vault: FernetVault) -> dict[str, CarrierAccount]:
    accounts = {
        str(row.id): tenants.opened(row, vault)
        for row in await reads.list_carriers(db)
        if row.kind == "sandbox"
    }
    return {
        n.number: accounts[n.carrier_id]
        for n in await reads.list_numbers(db)
        if n.carrier_id in accounts
    }


class _Handset:
    def __init__(
        self,
        db: AsyncEngine,
        public_url: str,
        user: Phone,
        ours: dict[str, CarrierAccount],
        agent: str | None,
    ) -> None:
        self._db, self._user, self._ours = db, user, ours
        self._url = f"{public_url}/hooks/sandbox/inbound"
        self._agent = agent
        self._fixed = agent is not None
        self._shown: set[str] = set()
        self._quiet_since = monotonic()

    async def run(self, wait: float) -> None:
        interactive = sys.stdin.isatty()
        print(f"This is the handset of {self._user}. Type a text and press Enter; Ctrl-D leaves.")
        await self._show(past=True)
        # Not in a group of tasks: what ends one of them is a sentence, and no group of errors.
        typing = asyncio.create_task(self._type(wait, interactive=interactive))
        watching = asyncio.create_task(self._watch())
        try:
            done, _ = await asyncio.wait([typing, watching], return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            for each in (typing, watching):
                each.cancel()
            await asyncio.wait([typing, watching])

    async def _type(self, wait: float, *, interactive: bool) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            async for line in _lines():
                if line.strip():
                    await self._text(http, line.strip())
        # Quiet is renewed by each text, so there is no event to wait for.
        while not interactive and (left := self._quiet_since + wait - monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            await self._show()

    async def _show(self, *, past: bool = False) -> None:
        """Print what arrived and was not shown; of the past only the last few."""
        arrived = [
            (agent, message_id, text)
            for _seq, agent, message_id, text in await reads.texts_for(
                self._db, self._user, after_seq=0
            )
            if message_id not in self._shown
        ]
        for i, (agent, message_id, text) in enumerate(arrived):
            self._shown.add(message_id)
            if not self._fixed:
                self._agent = agent
            if not past or i >= len(arrived) - 3:
                print(f"\r{agent}: {escaped(text)}", flush=True)
            self._quiet_since = monotonic()

    async def _text(self, http: httpx.AsyncClient, text: str) -> None:
        agent = self._agent if self._agent in self._ours else next(iter(self._ours))
        request = signed_inbound(
            self._ours[str(agent)],
            self._url,
            agent_number=str(agent),
            user_number=self._user,
            text=text,
            carrier_message_id="SB" + secrets.token_hex(16),
        )
        if not sys.stdin.isatty():
            print(f"me: {escaped(text)}", flush=True)
        try:
            answer = await http.post(
                request.url, content=request.body, headers=dict(request.headers)
            )
        except httpx.HTTPError as error:
            raise fail(f"{self._url} cannot be reached: {error}") from None
        if answer.is_error:
            said = escaped(answer.text)
            raise fail(f"{self._url} answered {answer.status_code}: {said}")
        self._quiet_since = monotonic()


async def _lines() -> AsyncIterator[str]:
    """Lines typed, until end of file. A daemon thread reads: leaving must not wait for Enter."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str] = asyncio.Queue()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(queue.put_nowait, line)
        loop.call_soon_threadsafe(queue.put_nowait, "")

    threading.Thread(target=read, daemon=True).start()
    while line := await queue.get():
        yield line
