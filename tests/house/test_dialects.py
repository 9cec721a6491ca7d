"""Each dialect has its own paths, its own document, and a switch."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest
from fastapi import APIRouter
from starlette.routing import Route

from textback import wiring
from textback.settings import DIALECTS, Settings

Where = tuple[str, tuple[str, ...]]


def served(router: APIRouter) -> Iterator[Where]:
    for route in router.routes:
        if isinstance(route, Route):
            for method in route.methods or ():
                yield method, tuple(route.path.strip("/").split("/"))
        elif isinstance(inside := getattr(route, "original_router", None), APIRouter):
            yield from served(inside)


def may_mean_the_same(one: Where, other: Where) -> bool:
    """Whether some path would be both: each place equal, or anything in one of them."""
    return (
        one[0] == other[0]
        and len(one[1]) == len(other[1])
        and all(
            a == b or a.startswith("{") or b.startswith("{")
            for a, b in zip(one[1], other[1], strict=True)
        )
    )


@pytest.fixture(scope="module")
def routes() -> dict[str, list[Where]]:
    return {name: list(served(wiring.dialect(name).router)) for name in DIALECTS}


def test_no_path_is_claimed_by_two_dialects(routes: dict[str, list[Where]]) -> None:
    both = [
        (mine, theirs)
        for one, other in combinations(DIALECTS, 2)
        for mine in routes[one]
        for theirs in routes[other]
        if may_mean_the_same(mine, theirs)
    ]
    assert both == []


def test_no_path_is_claimed_twice_within_a_dialect(routes: dict[str, list[Where]]) -> None:
    for name in DIALECTS:
        assert len(set(routes[name])) == len(routes[name])


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_serves_something_under_its_own_name(
    routes: dict[str, list[Where]], name: str
) -> None:
    assert wiring.dialect(name).name == name
    assert routes[name]


def test_all_dialects_are_on_unless_some_are_named() -> None:
    def on(**given: Any) -> tuple[str, ...]:
        return Settings.model_validate(given).dialects

    assert on() == DIALECTS
    assert on(dialects="polyai, native") == ("polyai", "native")
    with pytest.raises(ValueError, match="dialects"):
        on(dialects="polyai,telnyx")
