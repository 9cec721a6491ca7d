"""Mistakes between the entries of a provisioning file; and several mistakes at once."""

import pytest

from tests.support.provision import STANDARD_YAML, environment
from tests.support.provisioning_file import parsed, problems, with_project


@pytest.mark.parametrize(
    ("old", "new", "line", "path", "problem"),
    [
        ("id: globex\n", "id: acme\n", 28, "id", "is the same as in accounts[0] (line 2)"),
        (
            "id: globex-twilio\n",
            "id: acme-twilio\n",
            32,
            "carriers[0].id",
            "is the same as in accounts[0].carriers[0] (line 7)",
        ),
        (
            '"${GLOBEX_SID}"',
            '"${ACME_SID}"',
            34,
            "carriers[0].account_sid",
            "is the same as in accounts[0].carriers[0] (line 9)",
        ),
        (
            "${GLOBEX_API_KEY}",
            "${ACME_API_KEY}",
            30,
            "api_keys[0].key",
            "is the same as in accounts[0].api_keys[0] (line 5)",
        ),
        (
            "id: conn-globex",
            "id: conn-live",
            44,
            "projects[0].connectors[0].id",
            "is the same as in accounts[0].projects[0].connectors[0] (line 24)",
        ),
        (
            "+14155550199",
            "+14155550101",
            46,
            "projects[0].numbers[0].number",
            "is the same as in accounts[0].projects[0].numbers[1] (line 27)",
        ),
        (
            "agent: globex-agent",
            "agent: bookings",
            42,
            "projects[0].agent",
            '"bookings" belongs to another account (line 13)',
        ),
        (
            "carrier: globex-twilio",
            "carrier: acme-twilio",
            46,
            "projects[0].numbers[0].carrier",
            '"acme-twilio" belongs to another account (line 7)',
        ),
    ],
)
def test_entries_that_contradict_each_other_are_named(
    old: str, new: str, line: int, path: str, problem: str
) -> None:
    assert STANDARD_YAML.count(old) == 1
    found = problems(STANDARD_YAML.replace(old, new), **environment())
    assert f"{line}: accounts[1].{path}: {problem}" in found


def test_keys_of_two_accounts_may_have_the_same_name_but_not_of_one() -> None:
    keys = "[{name: ci}, {name: ci}]"
    assert problems(f"accounts:\n  - {{id: acme, api_keys: {keys}}}") == [
        "2: accounts[0].api_keys[1].name: is the same as in accounts[0].api_keys[0] (line 2)"
    ]
    assert len(parsed(STANDARD_YAML, **environment()).plan.api_keys) == 2


def test_all_mistakes_are_named_at_once_in_the_order_of_their_lines() -> None:
    found = problems(
        STANDARD_YAML.replace("id: acme\n", "id: a b\n")
        .replace("match:", "mtach:")
        .replace('"${TWILIO_URL}"', "nowhere")
        .replace("id: conn-globex", "id: conn-live")
        .replace("bookings\n", "[]\n"),
        **environment() | {"ACME_API_KEY": ""},
    )
    lines = [int(problem.split(":")[0]) for problem in found]
    assert lines == [2, 5, 11, 13, 17, 17, 22, 36, 44]


def test_what_is_wrong_in_an_alias_is_named_where_it_was_written() -> None:
    file = with_project("      inactivity: &i\n        closing: ''\n") + (
        "    - {id: two, agent: bot, inactivity: *i}\n"
    )
    assert problems(file) == [
        "10: accounts[0].projects[0].inactivity.closing: must not be empty or blank",
        "10: accounts[0].projects[1].inactivity.closing: must not be empty or blank",
    ]


def test_what_looks_like_a_mistake_is_only_warned_about() -> None:
    file = parsed(
        "accounts:\n"
        "  - id: acme\n"
        "    api_keys: [{name: a, key: short}]\n"
        "    carriers:\n"
        "      - {id: a, kind: twilio, account_sid: ACx, auth_token: t}\n"
        f"      - {{id: b, kind: twilio, account_sid: AC{'0' * 32}, auth_token: t,\n"
        "         base_url: 'http://twilio.example/'}\n"
        f"      - {{id: c, kind: twilio, account_sid: AC{'1' * 32}, auth_token: t,\n"
        "         base_url: 'http://127.0.0.1:9'}\n"
    )
    assert [(w.line, w.path, w.problem) for w in file.warnings] == [
        (
            3,
            "accounts[0].api_keys[0].key",
            "is shorter than 16 characters and may be guessed; leave it out to have one made",
        ),
        (
            5,
            "accounts[0].carriers[0].account_sid",
            "does not look like Twilio's: AC and 32 digits or letters from a to f",
        ),
        (
            7,
            "accounts[0].carriers[1].base_url",
            "is not https: the auth token travels in the clear",
        ),
    ]
