"""Endpoints that an account makes for its events, and what their owner does with them."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core import signing
from textback.core import webhook as rule
from textback.core.errors import BadRequest, Conflict, UnknownResource
from textback.core.events import Event
from textback.core.frozen import frozen
from textback.core.ids import AccountId, ConversationId, ProjectId, new_endpoint_id
from textback.core.ports import Vault
from textback.core.told import WebhookFormat
from textback.db import events, webhooks
from textback.db.session import transaction
from textback.db.webhooks import Endpoint, Secret

MOST: Final = 100
"""Endpoints of an account, without those of single conversations."""

MOST_SECRETS: Final = 4
"""Of one endpoint, that sign at the same time."""

_FEWEST_BYTES: Final = 24


@frozen
class Wanted:
    """An endpoint as its owner describes it."""

    url: str | None = None
    """None: its owner comes and asks."""
    kinds: Sequence[str] = ()
    """`core.events.Kind`; none: all that the format has a word for."""
    format: str = "native"
    project_id: str | None = None
    conversation_id: str | None = None
    description: str | None = None
    secret: str | None = field(default=None, repr=False)
    """None: we make one."""
    temporary: bool = False
    """Made to listen by: removed once nobody has polled it for an hour."""


@frozen
class Made:
    endpoint: Endpoint
    secret: str = field(repr=False)
    """Told this once."""


def checked_url(url: str, *, private: bool) -> str:
    """As it is kept. Raises BadRequest. Of `Notify.url`, too."""
    fault = rule.url_fault(url, private=private)
    if fault is not None:
        raise BadRequest(f"url {fault}.")
    return rule.normal_url(url)


async def create(
    db: AsyncEngine,
    account_id: AccountId,
    wanted: Wanted,
    *,
    formats: Mapping[str, WebhookFormat],
    vault: Vault,
    private: bool,
    now: datetime,
) -> Made:
    """Raises BadRequest, UnknownResource (project, conversation), Conflict (too many)."""
    url = None if wanted.url is None else checked_url(wanted.url, private=private)
    secret = given_secret(wanted.secret) or new_secret()
    _is_told_so(_known_format(wanted.format, formats), url)
    if wanted.temporary and url is not None:
        raise BadRequest("temporary is for an endpoint without a url, which is polled.")
    endpoint = Endpoint(
        id=new_endpoint_id(now),
        account_id=account_id,
        project_id=None if wanted.project_id is None else ProjectId(wanted.project_id),
        conversation_id=(
            None if wanted.conversation_id is None else ConversationId(wanted.conversation_id)
        ),
        url=url,
        format=wanted.format,
        kinds=_known_kinds(wanted.kinds, formats[wanted.format]),
        description=wanted.description,
        state="active",
        created_at=now,
        source="listen" if wanted.temporary else "api",
        secrets=[Secret(sealed=vault.seal(secret))],
    )
    async with transaction(db) as c:
        await _check_scope(c, account_id, wanted)
        if await webhooks.count(c, account_id) >= MOST:
            raise Conflict(f"An account may have {MOST} webhooks; remove one first.")
        await webhooks.add(c, endpoint)
    return Made(endpoint=endpoint, secret=secret)


async def update(
    db: AsyncEngine,
    account_id: AccountId,
    endpoint_id: str,
    changes: Mapping[str, Any],
    *,
    formats: Mapping[str, WebhookFormat],
    private: bool,
) -> Endpoint:
    """`changes` of `url`, `kinds`, `format`, `description`; what waits goes to the new URL.

    Raises UnknownResource, BadRequest, Conflict (a pull endpoint stays one, and the other way).
    """
    async with transaction(db) as c:
        before = await locked(c, account_id, endpoint_id)
        values = dict(changes)
        if "url" in values:
            if (values["url"] is None) != (before.url is None):
                raise Conflict("A webhook that is polled has no url, and others keep one.")
            if values["url"] is not None:
                values["url"] = checked_url(values["url"], private=private)
        style = formats[_known_format(values.get("format", before.format), formats)]
        if "format" in values:
            _is_told_so(style.name, before.url)
        if "kinds" in values or "format" in values:
            values["kinds"] = _known_kinds(values.get("kinds", before.kinds), style)
        if values:
            await webhooks.change(c, before.id, **values)
            if "url" in values:  # the new one has failed nobody
                await webhooks.keep_health(c, before.id, rule.WELL)
            await events.wake(c, "webhooks")
    return replace(before, **values, **({"health": rule.WELL} if "url" in values else {}))


async def remove(
    db: AsyncEngine, account_id: AccountId, endpoint_id: str, *, now: datetime
) -> None:
    """What was not delivered yet is not any more. Raises UnknownResource, Conflict (the file's)."""
    async with transaction(db) as c:
        endpoint = await locked(c, account_id, endpoint_id)
        if endpoint.source == "file":
            raise Conflict("This webhook is in the provisioning file: remove it there.")
        await webhooks.remove(c, endpoint.id, now=now)


async def rotate(
    db: AsyncEngine,
    account_id: AccountId,
    endpoint_id: str,
    *,
    secret: str | None,
    grace: timedelta,
    vault: Vault,
    now: datetime,
) -> Made:
    """A new secret; the one before signs as well until `grace` is over.

    Raises UnknownResource, BadRequest (the secret's form).
    """
    new = given_secret(secret) or new_secret()
    async with transaction(db) as c:
        endpoint = await locked(c, account_id, endpoint_id)
        signed = endpoint.secrets or await webhooks.account_secrets(c, account_id)
        before = superseded(signed, vault=vault, until=now + grace, now=now)
        found = [Secret(sealed=vault.seal(new)), *before]
        await webhooks.keep_secrets(c, endpoint.id, found)
    return Made(endpoint=replace(endpoint, secrets=found), secret=new)


async def pause(
    db: AsyncEngine, account_id: AccountId, endpoint_id: str, why: str, *, now: datetime
) -> Endpoint:
    """It is posted nothing, and what happens is kept for it. Raises UnknownResource."""
    async with transaction(db) as c:
        before = await locked(c, account_id, endpoint_id)
        if before.state == "paused":
            return before
        await webhooks.pause(c, before.id, why, now=now)
        await events.append(c, [_event("webhook.paused", before, {"reason": why})], now=now)
    return replace(before, state="paused", paused_at=now, why_paused=why)


async def resume(
    db: AsyncEngine, account_id: AccountId, endpoint_id: str, *, now: datetime
) -> Endpoint:
    """It goes on, in order, with what was kept. Raises UnknownResource."""
    async with transaction(db) as c:
        before = await locked(c, account_id, endpoint_id)
        if before.state != "paused":
            return before
        await webhooks.resume(c, before.id)
        await events.append(c, [_event("webhook.resumed", before, {})], now=now)
        await events.wake(c, "webhooks")
    return replace(before, state="active", paused_at=None, why_paused=None, health=rule.WELL)


def superseded(
    secrets: Sequence[Secret], *, vault: Vault, until: datetime, now: datetime
) -> list[Secret]:
    """Those, the newest first, as they sign beside another that takes their place."""
    older = [Secret(sealed=each.sealed, until=min(each.until or until, until)) for each in secrets]
    good = [
        each
        for each in older
        if each.until is not None and each.until > now and _opens(vault, each.sealed)
    ]
    return good[: MOST_SECRETS - 1]


def new_secret() -> str:
    return signing.PREFIX + base64.b64encode(secrets.token_bytes(_FEWEST_BYTES)).decode()


async def locked(c: AsyncConnection, account_id: AccountId, endpoint_id: str) -> Endpoint:
    """Raises UnknownResource."""
    found = await webhooks.lock(c, endpoint_id, of=account_id)
    if found is None:
        raise UnknownResource("There is no webhook with that id.")
    return found


async def _check_scope(c: AsyncConnection, account_id: AccountId, wanted: Wanted) -> None:
    if wanted.project_id is not None and wanted.conversation_id is not None:
        raise BadRequest("Give project or conversation, not both.")
    if wanted.project_id is None and wanted.conversation_id is None:
        return
    if not await webhooks.is_there(
        c,
        account_id,
        project_id=wanted.project_id,
        conversation_id=wanted.conversation_id,
    ):
        what = "project" if wanted.conversation_id is None else "conversation"
        raise UnknownResource(f"The account has no such {what}.")


def _known_format(name: str, formats: Mapping[str, WebhookFormat]) -> str:
    if name not in formats:
        raise BadRequest(f"format must be one of {', '.join(sorted(formats))}.")
    return name


def _is_told_so(format_: str, url: str | None) -> None:
    """Raises BadRequest: who polls is answered in our own shape."""
    if url is None and format_ != "native":
        raise BadRequest(f"format must be native without a url: {format_} is for what is posted.")


def _known_kinds(kinds: Sequence[str], style: WebhookFormat) -> list[str]:
    """Only what the format has a word for is written down for the endpoint."""
    known = [each for each in kinds if each in style.kinds]
    if kinds and not known:
        raise BadRequest(f"The format {style.name} has a word for none of these events.")
    return known if kinds else sorted(style.kinds)


def given_secret(secret: str | None) -> str | None:
    """As it was given. Raises BadRequest."""
    if secret is not None:
        try:
            signing.secret_bytes(secret)
        except ValueError as error:
            raise BadRequest(f"secret: {error}.") from None
    return secret


def _opens(vault: Vault, sealed: str) -> bool:
    """One that no key of ours opens would only keep the new one from signing."""
    try:
        vault.open(sealed)
    except ValueError:
        return False
    return True


def _event(
    kind: Literal["webhook.paused", "webhook.resumed"],
    of: Endpoint,
    data: Mapping[str, object],
) -> Event:
    return Event(
        kind=kind,
        account_id=of.account_id,
        project_id=of.project_id,
        data={"webhook_id": of.id, "host": urlsplit(of.url or "").netloc, **data},
    )
