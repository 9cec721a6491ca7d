"""Every mistake in a provisioning file is named with its line, in words that say what to do."""

import pytest

from tests.support.provisioning_file import problems, with_project


def account(more: str) -> str:
    """`more` is line 2, in flow style: what an account has beside its id."""
    return f"accounts:\n  - {{id: acme, {more}}}\n"


def agent(more: str) -> str:
    return account(f"agents: [{{id: bot, {more}}}]")


def carrier(more: str) -> str:
    return account(f"carriers: [{{id: c, {more}}}]")


ENGINE = "engine: {kind: scripted}"
ID = "must be 1 to 128 letters, digits or . _ : - and start with a letter or digit"
TEXT = "must be text; put quotes around it"
NUMBER = "must be a phone number such as +14155550100 (E.164), or a short code of 3 to 8 digits"
MOMENT = "must be a date (2027-01-31) or a time with its zone (2027-01-31T12:00:00Z)"
VISIBLE = "must be at most 512 visible ASCII characters, without blanks"
NOT_BLANK = "must not be empty or blank"


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        # The file as a whole
        ("", "1: : the file is empty; it needs a list of accounts"),
        ("# nothing\n", "1: : the file is empty; it needs a list of accounts"),
        ("~", "1: : the file is empty"),
        ("[]", "1: : must be fields (name: value)"),
        ("\n\naccounts: []", "3: accounts: must have at least 1 entry"),
        ("accounts: {}", "1: accounts: must be a list (- ...)"),
        ("accounts: [1]", "1: accounts[0]: must be fields (name: value)"),
        (
            "accounts: [{id: a}]\naccuonts: 1",
            '2: accuonts: unknown field; did you mean "accounts"?',
        ),
        ("accounts: [{id: a}]\nx: 1", "2: x: unknown field; known here: accounts"),
        ("accounts: [{id: a}]\n1: 1", "2: : a field's name must be text; put quotes around it"),
        # Accounts and keys
        ("accounts:\n  -\n    name: x", "3: accounts[0].id: is missing"),
        ("accounts: [{id: a b}]", f"1: accounts[0].id: {ID}"),
        ("accounts: [{id: 7}]", f"1: accounts[0].id: {TEXT}"),
        (f"accounts: [{{id: {'a' * 129}}}]", f"1: accounts[0].id: {ID}"),
        (account("name: ' '"), f"2: accounts[0].name: {NOT_BLANK}"),
        (account("projects: "), "2: accounts[0].projects: must be a list (- ...)"),
        (account("api_keys: [{key: k}]"), "2: accounts[0].api_keys[0].name: is missing"),
        (
            account("api_keys: [{name: n, key: }]"),
            "2: accounts[0].api_keys[0].key: must not be empty",
        ),
        (account("api_keys: [{name: n, key: 'k '}]"), f"2: accounts[0].api_keys[0].key: {VISIBLE}"),
        (account("api_keys: [{name: n, key: 1}]"), f"2: accounts[0].api_keys[0].key: {TEXT}"),
        (
            account("api_keys: [{name: n, expires_at: '2027-01-31T12:00:00'}]"),
            f"2: accounts[0].api_keys[0].expires_at: {MOMENT}",
        ),
        (
            account("api_keys: [{name: n, revoked: maybe}]"),
            "2: accounts[0].api_keys[0].revoked: must be true or false",
        ),
        (
            account(
                "api_keys: [{name: n, key: one, two}]"
            ),  # one text, and not a field of its name
            "2: accounts[0].api_keys[0]: has an unknown field without a value; put quotes around",
        ),
        # Carriers
        (
            carrier("x: 1"),
            "2: accounts[0].carriers[0].kind: is missing; known here: twilio, sandbox",
        ),
        (
            carrier("kind: twillio"),
            '2: accounts[0].carriers[0].kind: unknown kind; did you mean "twilio"?',
        ),
        (
            carrier("kind: twilio, account_sid: ACx"),
            "2: accounts[0].carriers[0].auth_token: is missing",
        ),
        (
            carrier("kind: twilio, account_sid: SKx, auth_token: t"),
            "2: accounts[0].carriers[0].account_sid: must be AC and up to 62 letters or digits",
        ),
        (
            carrier("kind: twilio, account_sid: ACx, auth_token: t, base_url: api.twilio.com"),
            "2: accounts[0].carriers[0].base_url: must be an address such as https://api.twilio.com",
        ),
        (
            carrier("kind: sandbox, base_url: x"),
            "2: accounts[0].carriers[0].base_url: unknown field; known here: id, kind, account_sid",
        ),
        # Agents and their engines
        (agent("greeting: 'a'"), "2: accounts[0].agents[0].engine: is missing"),
        (agent(f"greeting: '', {ENGINE}"), f"2: accounts[0].agents[0].greeting: {NOT_BLANK}"),
        (
            agent(f"fallback: {'x' * 1601}, {ENGINE}"),
            "2: accounts[0].agents[0].fallback: must be at most 1600 characters, and has 1601",
        ),
        (agent("engine: []"), "2: accounts[0].agents[0].engine: must be fields (name: value)"),
        (
            agent("engine: {kind: gpt}"),
            "2: accounts[0].agents[0].engine.kind: unknown kind; known here: scripted, http, llm",
        ),
        (
            agent(
                "engine: {kind: scripted, rules: [{match: a, reply: b}, {match: '(', reply: b}]}"
            ),
            "2: accounts[0].agents[0].engine.rules[1].match: '(' is not a regular expression:",
        ),
        (
            agent("engine: {kind: scripted, rules: [{match: a, replies: b, reply: b}]}"),
            "2: accounts[0].agents[0].engine.rules[0].replies: unknown field; did you mean",
        ),
        (agent("engine: {kind: http}"), "2: accounts[0].agents[0].engine.url: is missing"),
        (
            agent("engine: {kind: http, url: 'ftp://x'}"),
            "2: accounts[0].agents[0].engine.url: must be an address such as https://example.com/turn",
        ),
        (
            agent("engine: {kind: http, url: 'http://x', secret: abc}"),
            "2: accounts[0].agents[0].engine.secret: a webhook secret starts with whsec_",
        ),
        (
            agent("engine: {kind: http, url: 'http://x', timeout_seconds: 301}"),
            "2: accounts[0].agents[0].engine.timeout_seconds: must be at most 300",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line(file: str, problem: str) -> None:
    (found,) = problems(file)
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("rate_limit: {requests: 0, per_seconds: 1}", "rate_limit.requests: must be at least 1"),
        (
            "rate_limit: {requests: 1.5, per_seconds: 1}",
            "rate_limit.requests: must be a whole number",
        ),
        ("rate_limit: {requests: 5}", "rate_limit.per_seconds: is missing"),
        ("while_thinking: wait", "while_thinking: must be restart, queue or ignore"),
        ("replies: {longest: 9}", "replies.longest: unknown field; known here: longest_characters"),
        (
            "replies: {longest_characters: 69}",
            "replies.longest_characters: must be at least 70",
        ),
        (
            "replies: {longest_characters: 1601}",
            "replies.longest_characters: must be at most 1,600",
        ),
        ("replies: {part_wait_seconds: 61}", "replies.part_wait_seconds: must be at most 60"),
        ("replies: {fold: maybe}", "replies.fold: must be true or false"),
        ("budgets: {day: {turns: 0}}", "budgets.day.turns: must be at least 1"),
        ("budgets: {conversation: {tokens: -1}}", "budgets.conversation.tokens: must be at least"),
        ("budgets: {day: {cost_usd: 0}}", "budgets.day.cost_usd: must be more than 0"),
        ("budgets: {month: {}}", "budgets.month: unknown field; known here: conversation, day"),
        (
            "timezone: Europe/Berln",
            'timezone: must be a time zone such as Europe/Berlin; did you mean "Europe/Berlin"?',
        ),
        ("timezone: ../etc/passwd", "timezone: must be a time zone such as Europe/Berlin"),
        ("timezone: Europe", "timezone: must be a time zone such as Europe/Berlin"),
        ("timezone: ''", "timezone: must be a time zone such as Europe/Berlin"),
        ("draft_environments: [live]", "draft_environments[0]: must be dev or sandbox"),
        ("draft_environments: dev", "draft_environments: must be a list (- ...)"),
        ("rate_limit: 5", "rate_limit: must be fields (name: value)"),
        ("rate_limit: {requests: 1, per_seconds: yes}", "rate_limit.per_seconds: must be a number"),
        (
            "rate_limit: {requests: 1, per_seconds: .nan}",
            "rate_limit.per_seconds: must be",
        ),
        (
            "inactivity: {warn_after_seconds: 0}",
            "inactivity.warn_after_seconds: must be at least 0.001",
        ),
        (
            "inactivity: {close_after_seconds: 1000000000}",
            "inactivity.close_after_seconds: must be at most 315,360,000",
        ),
        ("inactivity: {warning: null}", "inactivity.warning: must be text"),
        ("inactivity: {closing: ''}", f"inactivity.closing: {NOT_BLANK}"),
        ("reply_delay_seconds: 31", "reply_delay_seconds: must be at most 30"),
        ("reply_delay_seconds: -1", "reply_delay_seconds: must be at least 0"),
        ("validity_seconds: soon", "validity_seconds: must be a number"),
        ("unknown_user: greets", "unknown_user: must be answer, greet or ignore"),
        ("opt_out_words: {stop: [' . ']}", f"opt_out_words.stop[0]: {NOT_BLANK}"),
        ("opt_out_words: {start: [a, Stop!]}", "opt_out_words.start[1]: means stop already"),
        ("opt_out_words: {stop: [No.], help: ['no']}", "opt_out_words.help[0]: means stop already"),
        (
            "inbound_limits: {repeats: {count: 1}}",
            "inbound_limits.repeats.count: must be at least 2",
        ),
        (
            "inbound_limits: {per_sendr: {}}",
            'inbound_limits.per_sendr: unknown field; did you mean "per_sender"?',
        ),
        ("reply_budget: null", "reply_budget: must be fields (name: value)"),
        ("reply_budget: {replies: 5}", "reply_budget.per_seconds: is missing"),
        (
            "reply_budget: {replies: 0, per_seconds: 60}",
            "reply_budget.replies: must be at least 1",
        ),
        (
            "reply_budget: {replies: 30, per_seconds: 86401}",
            "reply_budget.per_seconds: must be at most 86,400",
        ),
        (
            "connectors: [{id: a, environment: prod}]",
            "connectors[0].environment: must be dev, sandbox, pre-release or live",
        ),
        ("connectors: [{id: a}]", "connectors[0].environment: is missing"),
        ("numbers: [{number: +14155550100, carrier: a}]", f"numbers[0].number: {TEXT}"),
        ("numbers: [{number: '4155550100', carrier: a}]", f"numbers[0].number: {NUMBER}"),
        ("numbers: [{number: '12345'}]", "numbers[0].carrier: is missing"),
        (
            "numbers: [{number: '12345', carrier: a, segments_per_second: 0}]",
            "numbers[0].segments_per_second: must be more than 0",
        ),
        (
            "numbers: [{number: '12345', carrier: a, opt_out_replies: both}]",
            "numbers[0].opt_out_replies: must be carrier or ours",
        ),
        ("agent: other", "agent: is there twice; first in line 8"),
    ],
)
def test_a_mistake_in_a_project_is_named_with_its_line(line: str, problem: str) -> None:
    (found,) = problems(with_project(f"      {line}\n"))
    assert found.startswith(f"9: accounts[0].projects[0].{problem}")
