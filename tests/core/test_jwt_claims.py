"""What a token must claim, its signature apart."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.make import NOW
from textback.core.errors import BadToken
from textback.core.jwt_claims import LEEWAY, Once, app_of, check

AT = NOW.timestamp()
GOOD: dict[str, Any] = {"sub": "1234567890", "appId": "cs-1"}


def verdict(*, require_jti: bool = False, **claims: object) -> Once | str | None:
    """What is made of it, or the sentence of the refusal, without what all begin with."""
    try:
        return check(GOOD | claims, require_jti=require_jti, now=NOW)
    except BadToken as refused:
        return str(refused.of_nobody or refused.sentence.removeprefix("error verifying the jwt: "))


def test_the_documented_payload_is_enough_and_good_for_ever() -> None:
    assert app_of(GOOD) == "cs-1"
    assert verdict() is None
    assert verdict(iat="?", aud=["a"], iss=1, isAnonymous=False, exp=None, jti=None) is None


@pytest.mark.parametrize("app", [None, "", 5, ["cs-1"], {"a": 1}, True])
def test_the_app_must_be_named(app: object) -> None:
    with pytest.raises(BadToken, match="appId") as refused:
        app_of({"appId": app})
    assert not refused.value.of_nobody


@pytest.mark.parametrize("app", ["c" * 256, "cs\x00", "cs\ud800"])
def test_a_name_that_no_app_can_have_is_nobodys(app: str) -> None:
    with pytest.raises(BadToken, match="Invalid SDK credentials") as refused:
        app_of({"appId": app})
    assert refused.value.of_nobody


@pytest.mark.parametrize("sub", [None, ""])
def test_sub_must_be_there(sub: object) -> None:
    assert verdict(sub=sub) == "the claim sub is missing"


@pytest.mark.parametrize("sub", ["x", 1, 0, [], {}, False])
def test_sub_may_be_anything(sub: object) -> None:
    assert verdict(sub=sub) is None


@pytest.mark.parametrize(
    ("ahead", "good"), [(-3600, False), (-60, False), (-59, True), (0, True), (10**9, True)]
)
def test_an_expiry_is_honoured_with_a_minute_for_clocks_that_differ(
    ahead: int, *, good: bool
) -> None:
    assert verdict(exp=AT + ahead) == (None if good else "it has expired")
    assert verdict(exp=int(AT) + ahead) == (None if good else "it has expired")


@pytest.mark.parametrize(
    ("ahead", "good"), [(61, False), (10**30, False), (60, True), (-(10**30), True)]
)
def test_a_token_from_the_future_is_not_good_yet(ahead: int, *, good: bool) -> None:
    assert verdict(nbf=int(AT) + ahead) == (None if good else "it is not good yet")


def test_a_token_that_names_itself_is_good_once_until_it_expires() -> None:
    found = verdict(jti="j1", exp=AT + 3600)
    assert found == Once(jti="j1", expires_at=NOW + timedelta(hours=1) + LEEWAY)


@pytest.mark.parametrize("exp", [None, AT + 3661, 10**400, 1e308])
def test_a_token_that_names_itself_expires_within_an_hour(exp: object) -> None:
    assert verdict(jti="j1", exp=exp) == "with a jti, exp must be at most one hour ahead"
    assert isinstance(verdict(jti="j1", exp=AT + 3660), Once)


@pytest.mark.parametrize("jti", ["", 5, ["a"], True, "j" * 256, "a\x00", "\ud800"])
def test_an_id_that_cannot_be_kept_is_refused(jti: object) -> None:
    said = "the claim jti must be a string of 1 to 255 characters"
    assert verdict(jti=jti, exp=AT + 60) == said


def test_an_app_can_ask_for_an_id() -> None:
    assert verdict(require_jti=True) == "the claim jti is missing"
    assert isinstance(verdict(require_jti=True, jti="j1", exp=AT + 60), Once)


@pytest.mark.parametrize("claim", ["exp", "nbf"])
@pytest.mark.parametrize("value", ["1", "", [], {}, True, float("nan")])
def test_a_time_must_be_a_number(claim: str, value: object) -> None:
    claims: dict[str, Any] = {claim: value}
    assert verdict(**claims) == f"the claim {claim} must be a number of seconds"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("sub", "exp", "nbf", "jti"), anything)))
def test_whatever_is_claimed_is_answered(claims: dict[str, Any]) -> None:
    found = verdict(**claims)
    if isinstance(found, Once):
        assert NOW < found.expires_at <= NOW + timedelta(hours=1) + 2 * LEEWAY
