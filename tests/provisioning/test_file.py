"""A right provisioning file means what the operator's contract says."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from tests.support.provisioning_file import parsed, with_project
from textback.core.gcra import Rate
from textback.core.phone import Phone
from textback.core.plan import usual_opt_out_replies, usual_pace
from textback.core.policy import (
    DEFAULT_FALLBACK,
    Budget,
    Budgets,
    IdlePolicy,
    InboundLimits,
    ProjectPolicy,
    RepeatLimit,
    Replies,
)
from textback.engine_kinds import KINDS
from textback.engines.http import HttpConfig, HttpEngine
from textback.engines.scripted import ScriptedConfig, ScriptedEngine
from textback.provisioning_file import shape

# As the operator's contract shows it.
THE_SHAPE = """\
accounts:
  - id: acme
    name: Acme Dental
    api_keys:
      - {name: ci, key: "${ACME_API_KEY}"}          # key omitted: generated and printed once
    carriers:
      - {id: acme-twilio, kind: twilio, account_sid: ACxxxxxxxx, auth_token: "${TWILIO_TOKEN}", base_url: "https://api.twilio.com"}
    agents:
      - id: bookings
        greeting: "Hello, how can I help?"
        engine: {kind: scripted, rules: [{match: "(?i)3pm", reply: "Done: 3pm tomorrow."}], default: "You said: {text}"}
      - id: remote
        fallback: "Sorry, something went wrong. We will text you back."     # sent once when the engine fails
        engine: {kind: http, url: "http://127.0.0.1:9000/turn", secret: "${TURN_SECRET}", timeout_seconds: 20}   # whsec_ + base64
    projects:
      - id: reminders
        name: Appointment reminders
        agent: bookings
        rate_limit: {requests: 100, per_seconds: 60}
        inactivity: {warn_after_seconds: 86400, close_after_seconds: 600, warning: "Are you still there?", closing: "I am going to end conversation now"}
        reply_delay_seconds: 2                       # quiet time before a turn, so that several texts get one answer
        connectors:
          - {id: conn-live, environment: live}       # dev, sandbox, pre-release or live
        numbers:
          - {number: "+14155550100", environment: live, carrier: acme-twilio, segments_per_second: 1, opt_out_replies: carrier}
"""  # noqa: E501 - word for word
TURN_SECRET = "whsec_" + "QUJD" * 10
ENVIRONMENT = {
    "ACME_API_KEY": "an-api-key-of-acme",
    "TWILIO_TOKEN": "0123456789abcdef",
    "TURN_SECRET": TURN_SECRET,
}


def policy(more: str) -> ProjectPolicy:
    return parsed(with_project(more)).plan.projects[0].policy


def test_the_documented_file_means_what_it_says() -> None:
    file = parsed(THE_SHAPE, **ENVIRONMENT)
    plan = file.plan
    assert [(a.id, a.name) for a in plan.accounts] == [("acme", "Acme Dental")]
    (key,) = plan.api_keys
    assert (key.account_id, key.name, key.key) == ("acme", "ci", "an-api-key-of-acme")
    assert (key.expires_at, key.revoked) == (None, False)
    (carrier,) = plan.carriers
    assert (carrier.id, carrier.kind, carrier.account_sid) == (
        "acme-twilio",
        "twilio",
        "ACxxxxxxxx",
    )
    assert (carrier.auth_token, carrier.base_url) == ("0123456789abcdef", "https://api.twilio.com")
    bookings, remote = (agent.production for agent in plan.agents)
    assert (bookings.greeting, bookings.fallback) == ("Hello, how can I help?", DEFAULT_FALLBACK)
    rule = {"match": "(?i)3pm", "reply": "Done: 3pm tomorrow.", "end_conversation": False}
    assert bookings.engine == {"kind": "scripted", "rules": [rule], "default": "You said: {text}"}
    assert (dict(bookings.secrets), bookings.can_open) == ({}, False)
    assert remote.fallback == "Sorry, something went wrong. We will text you back."
    url = "http://127.0.0.1:9000/turn"
    settings = HttpConfig(url=url, timeout_seconds=20).model_dump(mode="json")
    assert remote.engine == settings
    assert remote.engine["secret"] is None
    assert (remote.secrets, remote.can_open) == ({"secret": TURN_SECRET}, True)
    assert remote.deadline == timedelta(seconds=40)
    (project,) = plan.projects
    assert (project.id, project.name, project.agent_id) == (
        "reminders",
        "Appointment reminders",
        "bookings",
    )
    assert project.policy == ProjectPolicy()
    (connector,) = plan.connectors
    assert (connector.id, connector.project_id, connector.environment) == (
        "conn-live",
        "reminders",
        "live",
    )
    (number,) = plan.numbers
    assert (number.number, number.project_id, number.environment, number.carrier_id) == (
        "+14155550100",
        "reminders",
        "live",
        "acme-twilio",
    )
    assert (number.segments_per_second, number.opt_out_replies) == (1, "carrier")
    assert [(w.line, w.path) for w in file.warnings] == [(7, "accounts[0].carriers[0].account_sid")]


def test_what_is_left_out_is_as_the_house_has_it() -> None:
    plan = parsed(
        with_project('      numbers: [{number: "+14155550100", carrier: sandbox}]\n')
    ).plan
    assert plan.accounts[0].name == "acme"
    assert plan.projects[0].name == "reminders"
    assert plan.projects[0].policy == ProjectPolicy()
    assert plan.agents[0].production.fallback == DEFAULT_FALLBACK
    assert plan.agents[0].production.greeting is None
    carrier = plan.carriers[0]
    assert (carrier.account_sid, carrier.auth_token, carrier.base_url) == (
        "SANDBOX-sandbox",
        None,
        "",
    )
    number = plan.numbers[0]
    assert number.environment == "live"
    assert (number.segments_per_second, number.opt_out_replies) == (None, None)


def test_every_setting_of_a_project_reaches_its_policy() -> None:
    assert policy(
        "      rate_limit: {requests: 7, per_seconds: 0.5}\n"
        "      inactivity: {warn_after_seconds: 1.5, close_after_seconds: 2, warning: w,"
        " closing: c, unanswered_after_seconds: 9}\n"
        "      reply_delay_seconds: 0\n"
        "      validity_seconds: 36001\n"
        "      unknown_user: greet\n"
        "      opt_out_words: {stop: ['  Basta!', PLUS  JAMAIS], start: [Oui], help: [aide]}\n"
        "      inbound_limits: {per_sender: {requests: 1, per_seconds: 2},"
        " per_project: {requests: 3, per_seconds: 4},"
        " repeats: {count: 2, within_seconds: 6, block_seconds: 7}}\n"
        "      reply_budget: {replies: 8, per_seconds: 9}\n"
        "      while_thinking: queue\n"
        "      replies: {longest_characters: 160, fold: false, part_wait_seconds: 0}\n"
        "      budgets: {conversation: {turns: 5, tokens: 6, cost_usd: 0.5},"
        " day: {turns: 50, tokens: 60, cost_usd: 7}}\n"
        "      timezone: Europe/Berlin\n"
        "      draft_environments: [dev, sandbox, dev]\n"
    ) == ProjectPolicy(
        rate_limit=Rate(7, 0.5),
        idle=IdlePolicy(
            warn_after=timedelta(seconds=1.5),
            close_after=timedelta(seconds=2),
            unanswered_after=timedelta(seconds=9),
            warning="w",
            closing="c",
        ),
        reply_delay=timedelta(0),
        validity=timedelta(seconds=36_001),
        unknown_user="greet",
        stop_words=frozenset({"basta", "plus jamais"}),
        start_words=frozenset({"oui"}),
        help_words=frozenset({"aide"}),
        inbound=InboundLimits(
            per_sender=Rate(1, 2),
            per_project=Rate(3, 4),
            repeats=RepeatLimit(count=2, within=timedelta(seconds=6), block=timedelta(seconds=7)),
        ),
        reply_budget=Rate(8, 9),
        while_thinking="queue",
        replies=Replies(longest=160, fold=False, part_wait=timedelta(0)),
        budgets=Budgets(
            conversation=Budget(turns=5, tokens=6, cost_usd=0.5),
            day=Budget(turns=50, tokens=60, cost_usd=7),
        ),
        timezone="Europe/Berlin",
        draft_environments=frozenset({"dev", "sandbox"}),
    )


@pytest.mark.parametrize(
    ("budgets", "conversation"),
    [
        ("{}", Budget(turns=200)),
        ("{conversation: {tokens: 9}}", Budget(turns=200, tokens=9)),
        ("{conversation: {turns: null}}", Budget()),
    ],
)
def test_a_conversation_has_turns_enough_for_anybody_unless_told_otherwise(
    budgets: str, conversation: Budget
) -> None:
    assert policy(f"      budgets: {budgets}\n").budgets.conversation == conversation


@pytest.mark.parametrize(
    ("inactivity", "unanswered_after"),
    [
        ("{}", timedelta(hours=24, minutes=10)),
        ("{warn_after_seconds: 60}", timedelta(minutes=11)),
        ("{close_after_seconds: 60}", timedelta(hours=24, minutes=1)),
        ("{warn_after_seconds: null}", None),
        ("{warn_after_seconds: null, unanswered_after_seconds: 5}", timedelta(seconds=5)),
        ("{unanswered_after_seconds: null}", None),
    ],
)
def test_nobody_answers_for_as_long_as_an_engaged_user_may_be_silent(
    inactivity: str, unanswered_after: timedelta | None
) -> None:
    idle = policy(f"      inactivity: {inactivity}\n").idle
    assert idle.unanswered_after == unanswered_after


def test_null_switches_off_the_warning_the_closing_text_and_the_fallback() -> None:
    idle = policy("      inactivity: {warn_after_seconds: null, closing: null}\n").idle
    assert (idle.warn_after, idle.closing) == (None, None)
    agents = "agents: [{id: a, fallback: null, engine: {kind: scripted}}]"
    (agent,) = parsed(f"accounts: [{{id: acme, {agents}}}]").plan.agents
    assert agent.production.fallback is None


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31T12:00:00Z", datetime(2027, 1, 31, 12, tzinfo=UTC)),
        ('"2027-01-31T12:00:00.5+02:00"', datetime(2027, 1, 31, 10, 0, 0, 500_000, tzinfo=UTC)),
    ],
)
def test_a_key_expires_at_a_date_or_a_moment(written: str, moment: datetime) -> None:
    key = f"{{name: ci, expires_at: {written}, revoked: true}}"
    (found,) = parsed(f"accounts: [{{id: acme, api_keys: [{key}]}}]").plan.api_keys
    assert (found.key, found.expires_at, found.revoked) == (None, moment, True)


def test_aliases_and_merged_mappings_are_followed() -> None:
    plan = parsed(
        "accounts:\n"
        "  - id: acme\n"
        "    carriers: [{id: sandbox, kind: sandbox}]\n"
        "    agents: [{id: bot, engine: {kind: scripted}}]\n"
        "    projects:\n"
        "      - &first\n"
        "        id: one\n"
        "        agent: bot\n"
        "        inactivity: &idle {warn_after_seconds: 5}\n"
        "      - {<<: *first, id: two}\n"
        "      - {id: three, agent: bot, inactivity: *idle}\n"
    ).plan
    assert [p.id for p in plan.projects] == ["one", "two", "three"]
    assert {p.policy.idle.warn_after for p in plan.projects} == {timedelta(seconds=5)}


def test_an_engines_deadline_is_the_one_that_it_keeps() -> None:
    scripted = ScriptedConfig()
    assert KINDS["scripted"].deadline(scripted) == ScriptedEngine(scripted).deadline
    config = HttpConfig(url="http://127.0.0.1/", timeout_seconds=7)
    engine = HttpEngine(config, clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    assert KINDS["http"].deadline(config) == engine.deadline


@pytest.mark.parametrize(
    ("number", "pace", "replies"),
    [
        ("+14155550100", 1, "carrier"),
        ("+447700900123", 10, "carrier"),
        ("+18005550100", 3, "carrier"),
        ("12345", 100, "ours"),
        ("whatsapp:+14155550100", 10, "ours"),
        ("MG" + "0a" * 16, 10, "carrier"),
    ],
)
def test_a_numbers_pace_and_opt_out_replies_follow_from_what_it_is(
    number: str, pace: float, replies: str
) -> None:
    assert usual_pace(Phone(number), "twilio") == pace
    assert usual_opt_out_replies(Phone(number), "twilio") == replies
    assert usual_pace(Phone(number), "sandbox") == 100
    assert usual_opt_out_replies(Phone(number), "sandbox") == "ours"


# --- The document ---------------------------------------------------------------------------------

DOCUMENT = (Path(__file__).parents[2] / "docs" / "provisioning.md").read_text()


def fields(model: type[BaseModel]) -> Iterator[str]:
    """All names of fields, also of what is inside."""
    for name, field in model.model_fields.items():
        yield name
        for inner in models(field.annotation):
            yield from fields(inner)


def models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models(part)


def test_every_field_of_the_file_is_documented() -> None:
    names = set(fields(shape.File)) | {
        name for carrier in shape.CARRIERS.values() for name in carrier.model_fields
    }
    assert len(names) > 60
    assert {name for name in names if not re.search(rf"\b{name}\b", DOCUMENT)} == set()


def test_every_kind_of_engine_is_documented() -> None:
    assert {kind for kind in KINDS if f"`engine: {{kind: {kind}" not in DOCUMENT} == set()
