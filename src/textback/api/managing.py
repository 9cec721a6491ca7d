"""What routes hand to the flows that manage entries."""

from textback.flows.admit import Holder
from textback.flows.manage import Managing
from textback.runtime import Runtime


def managing(rt: Runtime, by: Holder) -> Managing:
    """For the account of a key that was found good."""
    return Managing(
        db=rt.db,
        vault=rt.vault,
        provisioner=rt.provisioner,
        account_id=by.account_id,
        scopes=by.scopes,
        expires_at=by.expires_at,
        now=rt.now(),
    )
