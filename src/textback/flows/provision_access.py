"""What gives access, as columns: keys, key pairs, JWT apps, the webhooks' secrets."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast

from textback.core import signing
from textback.core.ids import new_key_id
from textback.core.plan import ApiKey, JwtApp, Webhook
from textback.core.ports import Vault
from textback.core.webhook import GRACE
from textback.db.callers import key_hash
from textback.db.provisioning import Row
from textback.flows.provision_report import NewKey

_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_PAIR_LENGTH: Final = 64


def new_key() -> str:
    return "tb_" + secrets.token_urlsafe(32)


def new_pair_secret() -> str:
    return "nxfs_" + "".join(secrets.choice(_LETTERS) for _ in range(_PAIR_LENGTH))


def new_app_secret() -> str:
    return secrets.token_urlsafe(32)


class Sealing:
    """Seals; and does not seal again what is sealed already: that would look like a change."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def sealed(self, there: object, secret: str) -> str:
        opened = self.opened(there) if isinstance(there, str) else None
        if isinstance(there, str) and opened is not None and signing.same(opened, secret):
            return there
        return self._vault.seal(secret)

    def opened(self, sealed: object) -> str | None:
        """None: no key of ours opens it."""
        try:
            return self._vault.open(str(sealed))
        except ValueError:
            return None


def key_row(new: ApiKey, there: Row | None, *, now: datetime) -> tuple[Row, NewKey | None]:
    """The columns of a key or a pair; and what was made now."""
    made: NewKey | None = None
    key = new.key
    if key is None and (there is None or there["public_id"] != new.public_id):
        # Also where another pair, or a key, had the name: its secret is not this one's.
        key = new_key() if new.public_id is None else f"{new.public_id}:{new_pair_secret()}"
        made = NewKey(account_id=new.account_id, name=new.name, key=key)
    hashed = there["hash"] if key is None and there is not None else key_hash(key or "")
    since = there["revoked_at"] if there is not None else None
    columns = {
        "account_id": new.account_id,
        "name": new.name,
        "hash": hashed,
        "expires_at": new.expires_at,
        "revoked_at": (since or now) if new.revoked else None,
        "scopes": None if new.scopes is None else list(new.scopes),
        "public_id": new.public_id,
    }
    if there is None:
        columns |= {"id": new_key_id(now), "created_at": now}
    elif hashed != there["hash"]:
        # Replaced at once: no time of grace that another way of rotating it had begun.
        columns |= {"previous_hash": None, "previous_until": None}
    return columns, made


def app_row(
    new: JwtApp, there: Row | None, sealing: Sealing, *, now: datetime
) -> tuple[Row, NewKey | None]:
    made: NewKey | None = None
    sealed = there["secret"] if there is not None else None
    if new.secret is not None:
        sealed = sealing.sealed(sealed, new.secret)
    elif sealed is None or sealing.opened(sealed) is None:
        secret = new_app_secret()
        sealed = sealing.sealed(None, secret)
        made = NewKey(account_id=new.account_id, name=new.name, key=secret)
    columns: Row = {
        "client_id": new.client_id,
        "account_id": new.account_id,
        "name": new.name,
        "secret": sealed,
        "scopes": None if new.scopes is None else list(new.scopes),
        "require_jti": new.require_jti,
        **({"created_at": now} if there is None else {}),
    }
    return columns, made


def webhook_row(new: Webhook, there: Row | None, sealing: Sealing, *, now: datetime) -> Row:
    """A secret that was changed still signs for a day, beside the new one."""
    stored = cast("Sequence[Mapping[str, Any]]", there["secrets"] if there is not None else ())
    kept = [dict(each) for each in stored]
    if new.secret is None:
        kept = []
    elif not kept or not signing.same(sealing.opened(kept[0]["sealed"]) or "", new.secret):
        older = [{**each, "until": _sooner(each.get("until"), now)} for each in kept]
        fresh = {"sealed": sealing.sealed(None, new.secret), "until": None}
        kept = [fresh, *(each for each in older if each["until"] > now.isoformat())]
    columns: dict[str, object] = {
        "id": new.id,
        "account_id": new.account_id,
        "project_id": new.project_id,
        "url": new.url,
        "kinds": list(new.kinds),
        "format": new.format,
        "description": new.description,
        "secrets": kept,
    }
    if there is None:
        columns["created_at"] = now
    elif there["removed_at"] is not None:
        columns |= {"state": "active", "failures": 0, "failing_since": None, "hold_until": None}
    return columns


def _sooner(until: str | None, now: datetime) -> str:
    over = (now + GRACE).isoformat()
    return over if until is None else min(until, over)
