"""The rate rule: a token bucket in its GCRA form, one number of state per key.

`Limiter`s implement it: in Redis for all processes together, in memory when Redis is away.
"""

import math

from textback.core.frozen import frozen


@frozen(kw_only=False)
class Rate:
    """`amount` at once, refilled evenly over `seconds`."""

    amount: float
    seconds: float
    lends: bool = False
    """Whether one free unit is enough for a request of several, which then leaves the bucket in
    debt: else whoever asks for little takes what a large request waits for."""


@frozen(kw_only=False)
class Granted:
    remaining: int
    """Whole units that could be taken right now."""
    reset: float
    """Seconds until the bucket is full again."""


@frozen(kw_only=False)
class Denied:
    retry_after: float
    """Seconds until the same request can be granted."""
    reset: float


def take(
    full_at: float | None, rate: Rate, *, units: float, now: float
) -> tuple[Granted | Denied, float | None]:
    """Decide one request of `units` at `now` (seconds); give the answer and the new state.

    `full_at` is when the bucket will be full ("theoretical arrival time"), None for a new key. A
    request larger than the whole bucket is granted when the bucket is full, else it never could be.
    A bucket that `lends` grants any with one unit free; the next ones wait until it is paid off.
    """
    cost = units * rate.seconds / rate.amount
    # Each of up to `amount` takes rounds the sum by half a digit, and a late clock (a long uptime,
    # unix time) has few digits. Without this the last unit of a large bucket would be refused.
    slack = 1e-9 + (rate.amount / 2 + 2) * math.ulp(now + rate.seconds)
    start = now if full_at is None else max(now, full_at)
    needed = min(cost, rate.seconds / rate.amount if rate.lends else rate.seconds, rate.seconds)
    allowed_from = start + needed - rate.seconds
    if allowed_from > now + slack:
        return Denied(retry_after=allowed_from - now, reset=start - now), full_at
    full_at = start + cost
    left = max(0.0, now + rate.seconds - full_at)
    remaining = int((left + slack) * rate.amount / rate.seconds)
    return Granted(remaining, reset=full_at - now), full_at


def units_left(full_at: float, rate: Rate, *, now: float) -> int:
    """Whole units that a bucket holds at `now`, of which is known when it will be full."""
    left = min(rate.seconds, rate.seconds - (full_at - now))
    return max(0, int((left + 1e-6) * rate.amount / rate.seconds))


def give_back(full_at: float | None, rate: Rate, *, units: float) -> float | None:
    """The state after returning `units` that were taken but not used."""
    return None if full_at is None else full_at - units * rate.seconds / rate.amount
