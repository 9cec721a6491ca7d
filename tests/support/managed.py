"""Entries managed as an API would, without HTTP."""

from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.provision import NOW, VAULT
from textback.core.ids import AccountId
from textback.engine_kinds import KINDS
from textback.flows.manage import Managing
from textback.provisioning_file.single import OneEntry

SECRET: Final = "whsec_" + "QUJD" * 10
OTHER_SECRET: Final = "whsec_" + "REVG" * 10


def managing(
    engine: AsyncEngine,
    account: str = "acme",
    *,
    now: datetime = NOW,
    scopes: frozenset[str] | None = None,
    expires_at: datetime | None = None,
    private: bool = False,
) -> Managing:
    return Managing(
        db=engine,
        vault=VAULT,
        provisioner=OneEntry(KINDS, private=private),
        account_id=AccountId(account),
        scopes=scopes,
        expires_at=expires_at,
        now=now,
    )
