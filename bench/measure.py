"""Pure arithmetic: percentiles, medians, when requests are due."""

import math
import random
from collections.abc import Sequence
from statistics import median


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of them do not exceed; NaN of none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def schedule(rate: float, seconds: float, seed: int) -> list[float]:
    """When requests of an open loop are due, in seconds from its start: a Poisson process.

    Nobody waits for anybody's answer, so a server that is slow gets no fewer of them.
    """
    chance = random.Random(seed)  # noqa: S311 - repeatable
    due: list[float] = []
    at = chance.expovariate(rate)
    while at < seconds:
        due.append(at)
        at += chance.expovariate(rate)
    return due


def medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of each figure, over the rounds that have it."""
    names = {name: None for each in rounds for name in each}
    return {name: median([each[name] for each in rounds if name in each]) for name in names}


def user(number: int) -> str:
    """The nth of eight million numbers that can be people's."""
    return f"+1415{2_000_000 + number % 8_000_000}"
