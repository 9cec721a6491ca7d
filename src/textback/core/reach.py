"""Where what an entry names may lead: what an API said, to public addresses only.

What the operator's file said may lead anywhere, and goes on to when an API changes something else.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast
from urllib.parse import urlsplit

from textback.core.frozen import frozen
from textback.core.plan import AgentContent, Path, Plan

TWILIO: Final = "https://api.twilio.com"
"""Who names no other address means this one."""

_CALLED: Final = ("url", "base_url")
_DATA: Final = frozenset({"parameters", "arguments", "values"})
"""Fields whose contents are the caller's own: a `url` in them is not one that we call."""


@frozen(kw_only=False)
class Given:
    """What was there before."""

    entry: Mapping[str, Any]
    private_urls: Sequence[str] | None
    """Those in it that may be at private addresses; None: all."""


def called(value: object, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """URLs that we would call, and where they stand."""
    if isinstance(value, Mapping):
        for name, inner in cast("Mapping[str, object]", value).items():
            if name in _CALLED and isinstance(inner, str):
                yield (*path, name), inner
            elif name not in _DATA:
                yield from called(inner, (*path, name))
    elif isinstance(value, list):
        for place, inner in enumerate(cast("list[object]", value)):
            yield from called(inner, (*path, place))


def origin(url: str) -> str:
    """Scheme, host and port; of what is no URL nothing."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}:{port}" if parts.hostname else ""


def open_origins(
    engine: Mapping[str, object], private_urls: Sequence[str] | None
) -> frozenset[str] | None:
    """Whom an engine may call at private addresses; None: anybody.

    By origin, because an engine may write a URL otherwise than its settings. One with another URL
    beside is not among them: who opened one door of a server has not opened all.
    """
    if private_urls is None:
        return None
    urls = {url for _, url in called(engine)}
    others = {origin(url) for url in urls.difference(private_urls)}
    return frozenset({origin(url) for url in urls.intersection(private_urls)} - others - {""})


def limited(plan: Plan, before: Sequence[Given]) -> Plan:
    """An API's plan: only URLs that were there `before` may lead where they might lead then."""
    known = {
        url
        for given in before
        for _, url in called(given.entry)
        if given.private_urls is None or url in given.private_urls
    }

    def content(one: AgentContent) -> AgentContent:
        mine = sorted({url for _, url in called(one.engine)} & known)
        return replace(one, private_urls=tuple(mine))

    return replace(
        plan,
        carriers=tuple(
            replace(each, public_only=each.base_url not in {"", TWILIO, *known})
            for each in plan.carriers
        ),
        agents=tuple(
            replace(
                each,
                production=content(each.production),
                draft=None if each.draft is None else content(each.draft),
            )
            for each in plan.agents
        ),
    )
