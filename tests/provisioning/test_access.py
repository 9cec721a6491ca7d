"""Keys, pairs, apps, webhooks, quiet hours and what numbers may say: right, and wrong."""

from datetime import time

import pytest

from tests.support.provisioning_file import parsed, problems, with_project
from textback import wiring
from textback.provisioning_file import access_shape

SECRET = "whsec_" + "QUJD" * 10
PAIR = "nxf_" + "0a" * 16
CLIENT = "cs-01927c3a-7b2e-4c4d-8e5f-0123456789ab"
PAIR_ID = "must be nxf_ and 32 digits or letters from a to f"
KINDS = "must be one of "


def account(more: str) -> str:
    return f"accounts:\n  - {{id: acme, {more}}}\n"


def test_what_gives_access_is_read() -> None:
    plan = parsed(
        account(
            "agent_template: bot, webhook_secret: shared,"
            " api_keys: [{name: crm, key: abcdefghijklmnopq, scopes: [send, read, send]}],"
            f" key_pairs: [{{id: {PAIR}, secret: nxfs_x}}, {{id: {PAIR[:-1]}b, name: two}}],"
            f" jwt_apps: [{{client_id: {CLIENT}, secret: s, require_jti: true, scopes: [read]}}],"
            f" webhooks: [{{id: w, url: 'https://example.com', secret: {SECRET},"
            " kinds: [message.accepted, message.failed]}]"
        )
    ).plan
    [acme], [crm, one, two] = plan.accounts, plan.api_keys
    assert (acme.agent_template, acme.webhook_secret) == ("bot", "shared")
    assert (crm.scopes, crm.public_id) == (("read", "send"), None)
    assert (one.name, one.key, one.public_id) == (PAIR, f"{PAIR}:nxfs_x", PAIR)
    assert (two.name, two.key) == ("two", None)
    [app], [hook] = plan.jwt_apps, plan.webhooks
    assert (app.client_id, app.name, app.require_jti, app.scopes) == (
        CLIENT,
        CLIENT,
        True,
        ("read",),
    )
    assert (hook.url, hook.format, hook.project_id) == ("https://example.com/", "native", None)
    assert hook.kinds == ("message.failed", "message.promised", "message.queued")
    for secret in ("shared", "nxfs_x", SECRET, "abcdefghijklmnopq"):
        assert secret not in repr(plan)


def test_what_projects_and_numbers_may_say_is_read() -> None:
    plan = parsed(
        with_project(
            '      quiet_hours: {start: "21:00", end: "08:30"}\n'
            "      webhooks: [{id: w, url: 'https://example.com/x?y=1', format: bland}]\n"
            "      numbers:\n"
            '      - {number: "+14155550100", carrier: sandbox, agent: bot, replies: false,\n'
            f"         registration: pending, messaging_service_sid: MG{'0f' * 16}}}\n"
            '      - {number: "whatsapp:+14155550100", carrier: sandbox}\n'
            f"      - {{number: MG{'1f' * 16}, carrier: sandbox}}\n"
        )
    ).plan
    [project], [hook], [first, whatsapp, service] = plan.projects, plan.webhooks, plan.numbers
    quiet = project.policy.quiet_hours
    assert quiet is not None
    assert (quiet.start, quiet.end) == (time(21, 0), time(8, 30))
    assert (hook.project_id, hook.secret) == ("reminders", None)
    assert (first.agent_id, first.replies, first.registration) == ("bot", False, "pending")
    assert first.messaging_service_sid == "MG" + "0f" * 16
    assert (whatsapp.agent_id, whatsapp.replies, whatsapp.registration) == (None, True, None)
    assert service.number == "MG" + "1f" * 16


def test_a_webhook_that_nothing_may_be_posted_to_looks_like_a_mistake() -> None:
    file = parsed(account("webhooks: [{id: w, url: 'http://10.0.0.1/'}]"))
    [warning] = file.warnings
    assert (warning.line, warning.path) == (2, "accounts[0].webhooks[0].url")
    assert "TEXTBACK_PRIVATE_WEBHOOKS" in warning.problem


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (
            "api_keys: [{name: a, scopes: [all]}]",
            f"api_keys[0].scopes[0]: {KINDS}converse, manage, opt_outs, read, send, webhooks",
        ),
        ("api_keys: [{name: a, scopes: []}]", "api_keys[0].scopes: must have at least 1 entry"),
        ("key_pairs: [{id: nxf_1}]", f"key_pairs[0].id: {PAIR_ID}"),
        (
            f"key_pairs: [{{id: {PAIR}, secret: 'a:b'}}]",
            "key_pairs[0].secret: must have no colon: it ends at one",
        ),
        (f"key_pairs: [{{id: {PAIR}, secret: }}]", "key_pairs[0].secret: must not be empty"),
        (
            f"key_pairs: [{{id: {PAIR}}}, {{id: {PAIR}}}]",
            "key_pairs[1].id: is the same as in accounts[0].key_pairs[0] (line 2)",
        ),
        (
            f"api_keys: [{{name: x}}], key_pairs: [{{id: {PAIR}, name: x}}]",
            "key_pairs[0].name: is the same as in accounts[0].api_keys[0] (line 2)",
        ),
        (
            "jwt_apps: [{client_id: cs-1}]",
            "jwt_apps[0].client_id: must be cs- and a UUID in lower case",
        ),
        (
            f"jwt_apps: [{{client_id: {CLIENT}, require_jti: maybe}}]",
            "jwt_apps[0].require_jti: must be true or false",
        ),
        ("webhook_secret: ", "webhook_secret: must not be empty"),
        (
            "webhooks: [{id: w, url: 'ftp://example.com'}]",
            "webhooks[0].url: must begin with http:// or https:// and name a host",
        ),
        (
            "webhooks: [{id: w, url: 'https://example.com', secret: abc}]",
            "webhooks[0].secret: a webhook secret starts with whsec_",
        ),
        (
            "webhooks: [{id: w, url: 'https://example.com', format: kore}]",
            "webhooks[0].format: must be one of bland, native, nixflex",
        ),
        (
            (
                "webhooks: [{id: w, url: 'https://a.example'}], projects: [{id: p, agent: b,"
                " webhooks: [{id: w, url: 'https://b.example'}]}]"
            ),
            "projects[0].webhooks[0].id: is the same as in accounts[0].webhooks[0] (line 2)",
        ),
        (
            "projects: [{id: p, agent: b, quiet_hours: {start: 21:00, end: '08:00'}}]",
            'projects[0].quiet_hours.start: must be a time in quotes, such as "21:00"',
        ),
        (
            "projects: [{id: p, agent: b, retention_days: 0}]",
            "projects[0].retention_days: must be at least 1",
        ),
        (
            "projects: [{id: p, agent: b, quiet_hours: {start: '08:00', end: '08:00'}}]",
            "projects[0].quiet_hours: must start and end at different times",
        ),
        (
            (
                "projects: [{id: p, agent: b, numbers: [{number: '+14155550100', carrier: c,"
                " registration: yes}]}]"
            ),
            "projects[0].numbers[0].registration: must be registered, pending or unregistered",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line(more: str, problem: str) -> None:
    assert f"2: accounts[0].{problem}" in problems(account(more))


def test_no_event_is_named_that_there_is_not() -> None:
    [problem] = problems(
        account("webhooks: [{id: w, url: 'https://example.com', kinds: [message.gone]}]")
    )
    assert problem.startswith("2: accounts[0].webhooks[0].kinds[0]: must be one of batch.cancelled")


def test_no_carrier_takes_the_place_of_the_one_that_is_made_for_chats() -> None:
    found = problems(account("carriers: [{id: 'chat:acme', kind: sandbox}]"))
    said = "must not start with chat: as what we make for chats does"
    assert found == [f"2: accounts[0].carriers[0].id: {said}"]


def test_a_webhook_is_told_in_every_shape_that_there_is() -> None:
    assert set(access_shape.FORMATS) == set(wiring.FORMATS)


def test_a_number_is_not_answered_by_a_strangers_agent() -> None:
    found = problems(
        "accounts:\n"
        "  - {id: a, agents: [{id: bot, engine: {kind: scripted}}]}\n"
        "  - id: b\n"
        "    agent_template: bot\n"
        "    projects:\n"
        "      - {id: p, agent: x, numbers: [{number: '+14155550100', carrier: c, agent: bot}]}\n"
    )
    assert found == [
        '4: accounts[1].agent_template: "bot" belongs to another account (line 2)',
        '6: accounts[1].projects[0].numbers[0].agent: "bot" belongs to another account (line 2)',
    ]
