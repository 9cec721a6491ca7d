"""How long to wait before trying again."""

from datetime import timedelta


def backoff(attempt: int, *, first: timedelta, most: timedelta) -> timedelta:
    """Doubling from `first` (attempt 1), never over `most`."""
    return min(first * 2 ** min(attempt - 1, 30), most)
