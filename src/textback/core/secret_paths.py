"""Secrets inside of settings: where they are, and putting them back. A path is `tools.0.secret`."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any


def put(settings: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
    """A copy of JSON `settings` with each secret in its place.

    Raises LookupError for a path that does not lead anywhere.
    """
    whole = deepcopy(dict(settings))
    for path, secret in secrets.items():
        *steps, last = path.split(".")
        place: Any = whole
        for step in steps:
            place = place[_key(place, step)]
        place[_key(place, last)] = secret
    return whole


def _key(place: object, step: str) -> str | int:
    return int(step) if isinstance(place, list) else step
