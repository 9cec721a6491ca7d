"""`${NAME}` in a provisioning file: text from outside, and never anything but text."""

import pytest

from tests.support.provision import STANDARD_YAML, environment
from tests.support.provisioning_file import parsed, problems, with_project
from textback.core.gcra import Rate


def test_a_value_from_outside_is_text_and_nothing_else() -> None:
    value = "a: [1]\n${OTHER} \\ ' \" *x !y"
    text = 'accounts: [{id: acme, name: "<${NAME}>"}]'
    assert parsed(text, NAME=value, OTHER="no").plan.accounts[0].name == f"<{value}>"


def test_a_number_may_come_from_outside() -> None:
    file = with_project("      rate_limit: {requests: '${N}', per_seconds: '${S}'}\n")
    assert parsed(file, N="5", S="0.5").plan.projects[0].policy.rate_limit == Rate(5, 0.5)


def test_two_dollars_stand_for_one() -> None:
    (account,) = parsed("accounts: [{id: acme, name: 'a $${B} $5 $$ ${C}'}]", C="c").plan.accounts
    assert account.name == "a ${B} $5 $$ c"


def test_what_the_environment_lacks_is_named() -> None:
    assert problems(
        "accounts:\n  - id: acme\n    name: >\n      ${ONE} and\n      ${TWO}\n  - id: ${ONE}x"
    ) == [
        "3: accounts[0].name: the environment variable ONE is not set",
        "3: accounts[0].name: the environment variable TWO is not set",
        "6: accounts[1].id: the environment variable ONE is not set",
    ]


@pytest.mark.parametrize("written", ["${", "${}", "${A-B}", "${A:-b}", "${1}", "${A"])
def test_a_half_written_variable_is_a_mistake(written: str) -> None:
    assert problems(f"accounts: [{{id: acme, name: '{written}'}}]", A="a", B="b") == [
        "1: accounts[0].name: ${ is not followed by NAME}; write $${ for the two characters"
    ]


def test_an_empty_variable_is_no_secret() -> None:
    env = environment() | {"ACME_API_KEY": "", "TWILIO_TOKEN": ""}
    empty = "must not be empty; the environment variable"
    assert problems(STANDARD_YAML, **env) == [
        f"5: accounts[0].api_keys[0].key: {empty} ACME_API_KEY is",
        f"10: accounts[0].carriers[0].auth_token: {empty} TWILIO_TOKEN is",
        f"35: accounts[1].carriers[0].auth_token: {empty} TWILIO_TOKEN is",
    ]


def test_text_that_could_not_be_stored_is_refused() -> None:
    # How Python hands on a variable that is not UTF-8.
    assert problems("accounts: [{id: acme, name: '${X}'}]", X="\udcff") == [
        "1: accounts[0].name: has a character that cannot be stored (NUL, or half a surrogate pair)"
    ]
