"""`textback doctor`: what a deployment needs, checked one by one, with what to fix."""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
from rich.console import Console
from rich.markup import escape
from twilio.request_validator import RequestValidator  # pyright: ignore[reportMissingTypeStubs]

from textback import wiring
from textback.carriers.sandbox.hooks import signed_status
from textback.core.errors import Unavailable
from textback.core.gcra import Rate
from textback.core.phone import Phone
from textback.core.ports import CarrierAccount, Finding, HookRequest, Unreachable
from textback.db import migrate, reads, tenants, watch
from textback.db.clock import SharedClock
from textback.db.reads import NumberRecord
from textback.runtime import Runtime
from textback.settings import Settings

SHORT_SECONDS = 10.0
CLOCKS_APART = 5.0
"""Seconds."""

OK, FORBIDDEN = 200, 403


async def run(found: Settings) -> int:
    """Print each finding; 0 when all is well, else 1."""
    rt = wiring.runtime(found)
    console = Console(highlight=False)
    wrong = 0
    try:
        async for finding in _all(rt):
            wrong += not finding.ok
            mark = "[green]ok  [/]" if finding.ok else "[red]FIX [/]"
            console.print(f"{mark} {escape(finding.what)}", soft_wrap=True)
            if finding.fix:
                console.print(f"     {escape(finding.fix)}", soft_wrap=True)
    finally:
        await rt.close()
    console.print(f"\n{wrong} to fix." if wrong else "\nAll is well.")
    return 1 if wrong else 0


async def _all(rt: Runtime) -> AsyncIterator[Finding]:
    database = await _database(rt)
    yield database
    yield await _redis(rt)
    if not database.ok:
        return
    yield await _durability(rt)
    yield await _clock(rt)
    yield await _uncertain(rt)
    numbers = await reads.list_numbers(rt.db)
    carriers = await reads.list_carriers(rt.db)
    if not numbers:
        yield Finding(
            ok=False, what="no number is provisioned", fix="Describe one, and run textback apply."
        )
    for row in carriers:
        try:
            account = tenants.opened(row, rt.vault)
        except ValueError:
            yield Finding(
                ok=False,
                what=f"{row.id}: its token was sealed with a key that TEXTBACK_SECRET_KEY lacks",
                fix="Add the old key behind a comma, or run textback apply with the token again.",
            )
            continue
        mine = [n for n in numbers if n.carrier_id == row.id]
        for finding in await _carrier(rt, account, mine):
            yield finding


async def _database(rt: Runtime) -> Finding:
    try:
        revision = await reads.revision(rt.db)
    except Unavailable:
        return Finding(
            ok=False,
            what="the database cannot be reached",
            fix="Check TEXTBACK_DATABASE_URL, and that Postgres runs.",
        )
    if not migrate.fits(revision):
        return Finding(
            ok=False,
            what=f"the schema is at revision {revision}, this version needs {migrate.head()}",
            fix="Run textback migrate.",
        )
    return Finding(ok=True, what=f"database reached, schema at revision {revision}")


async def _durability(rt: Runtime) -> Finding:
    unsafe = {
        name: value
        for name, value in (await watch.durability(rt.db)).items()
        if value in {"off", "local"}
    }
    if not unsafe:
        return Finding(ok=True, what="Postgres keeps what it confirmed (fsync, synchronous_commit)")
    return Finding(
        ok=False,
        what="Postgres may lose what it confirmed: "
        + ", ".join(f"{name} is {value}" for name, value in sorted(unsafe.items())),
        fix="Set them to on in postgresql.conf, or for textback's role or database.",
    )


async def _clock(rt: Runtime) -> Finding:
    ahead = await SharedClock(wiring.clock, wiring.steady).look(rt.db)
    seconds = ahead.total_seconds()
    if abs(seconds) < CLOCKS_APART:
        return Finding(ok=True, what="this machine's clock agrees with Postgres'")
    way = "ahead of" if seconds > 0 else "behind"
    return Finding(
        ok=False,
        what=f"this machine's clock is {abs(seconds):.0f} s {way} Postgres', which is ours",
        fix="Let both keep time by NTP.",
    )


async def _uncertain(rt: Runtime) -> Finding:
    found = await watch.queues(rt.db)
    if not found.unsettled:
        return Finding(ok=True, what=f"no text waits to be settled ({found.looked_up} looked up)")
    return Finding(
        ok=False,
        what=f"texts that may be out or not, and cannot be looked up any more: {found.unsettled}",
        fix="Run textback uncertain.",
    )


async def _redis(rt: Runtime) -> Finding:
    try:
        await rt.pace.take("doctor", Rate(1000, 1))
    except Unreachable as error:
        return Finding(
            ok=False,
            what=f"Redis cannot be reached ({error}): limits hold per process, nothing is sent",
            fix="Check TEXTBACK_REDIS_URL, and that Redis runs.",
        )
    return Finding(ok=True, what="Redis reached")


async def _carrier(
    rt: Runtime, account: CarrierAccount, mine: Sequence[NumberRecord]
) -> list[Finding]:
    inbound = f"{rt.public_url}/hooks/{account.kind}/inbound"
    carrier, _kind = await rt.carriers.get(account.carrier_id)
    found = [
        Finding(ok=f.ok, what=f"{account.carrier_id}: {f.what}", fix=f.fix)
        for f in await carrier.check([(Phone(n.number), inbound) for n in mine])
    ]
    return [*found, *_address(rt, account), await _round_trip(rt, account)]


def _address(rt: Runtime, account: CarrierAccount) -> list[Finding]:
    """Twilio calls from the internet; a fake one on this machine may call anywhere."""
    if account.kind != "twilio" or not account.base_url.endswith("twilio.com"):
        return []
    url = urlsplit(rt.public_url)
    if url.scheme == "https" and url.hostname not in {"localhost", "127.0.0.1", "::1"}:
        return []
    return [
        Finding(
            ok=False,
            what=f"TEXTBACK_PUBLIC_URL is {rt.public_url}: Twilio cannot reach that safely",
            fix="Set it to the https address under which the internet reaches `textback serve`.",
        )
    ]


async def _round_trip(rt: Runtime, account: CarrierAccount) -> Finding:
    """Post a signed receipt for a text that does not exist: verified, counted, and nothing else."""
    url = f"{rt.public_url}/hooks/{account.kind}/status?message_id=doctor"
    what = f"{account.carrier_id}: a webhook signed for {rt.public_url}"
    request = _probe(account, url)
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=SHORT_SECONDS) as http:
            answer = await http.post(
                request.url, content=request.body, headers=dict(request.headers)
            )
    except httpx.HTTPError as error:
        return Finding(
            ok=False,
            what=f"{what} does not arrive: {type(error).__name__}",
            fix="Start textback serve, and check TEXTBACK_PUBLIC_URL and the proxy before it.",
        )
    if answer.status_code == OK:
        return Finding(ok=True, what=f"{what} arrives and verifies")
    if answer.status_code == FORBIDDEN:
        return Finding(
            ok=False,
            what=f"{what} arrives, but its signature does not verify there",
            fix="Give the serving process the same TEXTBACK_PUBLIC_URL and TEXTBACK_SECRET_KEY; "
            "the proxy must pass path and query on unchanged.",
        )
    return Finding(
        ok=False,
        what=f"{what} is answered {answer.status_code}",
        fix="Something other than textback answers there, it is not ready (see /health/ready), or "
        "it has another TEXTBACK_SECRET_KEY.",
    )


def _probe(account: CarrierAccount, url: str) -> HookRequest:
    if account.kind != "twilio":
        return signed_status(account, url, carrier_message_id="doctor", status="sent")
    form = {"AccountSid": account.account_sid, "MessageSid": "doctor", "MessageStatus": "sent"}
    # Twilio's own code signs, so that this is no agreement of ours with ourselves.
    validator: Any = RequestValidator(account.auth_token)
    signature: str = validator.compute_signature(url, form)
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "x-twilio-signature": signature,
    }
    return HookRequest(url=url, headers=headers, body=urlencode(form).encode())
