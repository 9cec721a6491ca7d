"""What `textback doctor` asks of each carrier, and of the way that its webhooks take to us."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
from twilio.request_validator import RequestValidator  # pyright: ignore[reportMissingTypeStubs]

from textback.carriers.sandbox.hooks import signed_status
from textback.core.phone import Phone
from textback.core.ports import CarrierAccount, Finding, HookRequest
from textback.db import reads, tenants
from textback.db.reads import NumberRecord
from textback.runtime import Runtime

SHORT_SECONDS = 10.0

OK, FORBIDDEN = 200, 403


async def findings(rt: Runtime) -> list[Finding]:
    """Raises Unavailable."""
    numbers = await reads.list_numbers(rt.db)
    found: list[Finding] = []
    if not numbers:
        found.append(
            Finding(
                ok=False,
                what="no number is provisioned",
                fix="Describe one, and run textback apply.",
            )
        )
    for row in await reads.list_carriers(rt.db):
        try:
            account = tenants.opened(row, rt.vault)
        except ValueError:
            fix = "Add the old key behind a comma, or run textback apply with the token again."
            what = f"{row.id}: its token was sealed with a key that TEXTBACK_SECRET_KEY lacks"
            found.append(Finding(ok=False, what=what, fix=fix))
            continue
        found += await _carrier(rt, account, [n for n in numbers if n.carrier_id == row.id])
    return found


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
