"""What a refusal of Twilio's means for the text.

Sources: the error catalogue, https://www.twilio.com/docs/api/errors, one page per code; "429 is
never processed", https://www.twilio.com/docs/api/errors/20429.
"""

from datetime import timedelta
from typing import Final

from textback.core.ports import SendError

OPTED_OUT: Final = "21610"

# The account's trouble, not the text's: a wrong or changed token, a suspended account. Failing all
# queued texts over it would lose them for good, so they wait, at no cost, until the operator has
# repaired the account or their own validity ends.
_ACCOUNT: Final = frozenset({"20003", "20005", "10001"})
_ACCOUNT_WAIT: Final = timedelta(seconds=60)

# Refusals that pass by themselves, and when asking again begins to make sense.
_PASSING: Final = {
    "21611": timedelta(minutes=30),  # this sender has ten hours of texts queued at Twilio
    "63038": timedelta(hours=1),  # the account's texts of the day are used up
}

_UNAUTHORIZED: Final = 401
_TOO_MANY: Final = 429
_LONGEST_WAIT: Final = timedelta(hours=1)


def is_refusal(status: int) -> bool:
    """Whether an HTTP status says that Twilio certainly does not have the text.

    Not 408: that is a proxy's word for "the connection took too long", not Twilio's for "no".
    """
    return 400 <= status < 500 and status != 408  # noqa: PLR2004 - HTTP's own numbers


def refusal(
    status: int, code: str | None, reason: str, *, retry_after: str | None = None
) -> SendError:
    """One 4xx answer. `retry_after` is the header.

    `code` is Twilio's own, None when the answer was no error document of Twilio's.
    """
    shown = code or f"http-{status}"
    if status == _TOO_MANY:
        return SendError(shown, reason, "slow_down", retry_after=_seconds(retry_after))
    if status == _UNAUTHORIZED or code in _ACCOUNT:
        return SendError(shown, reason, "slow_down", retry_after=_ACCOUNT_WAIT)
    if code is None:
        # Somebody between us and Twilio answered: a proxy, a firewall, a wrong base_url.
        return SendError(shown, reason, "slow_down", retry_after=_ACCOUNT_WAIT)
    if code == OPTED_OUT:
        return SendError(code, reason, "never", opted_out=True)
    if code in _PASSING:
        return SendError(code, reason, "later", retry_after=_PASSING[code])
    return SendError(code, reason, "never")


def _seconds(header: str | None) -> timedelta | None:
    """Retry-After in whole seconds, at most an hour; its date form is not used by Twilio."""
    if header is None or not (header.isascii() and header.isdigit()) or len(header) > 9:  # noqa: PLR2004
        return None
    return min(timedelta(seconds=int(header)), _LONGEST_WAIT)
