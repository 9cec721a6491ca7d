"""One entry that came through an API, by the rules of the file; without a database."""

from datetime import time, timedelta
from typing import Any

import pytest

from textback.core.entries import EntryKind
from textback.core.gcra import Rate
from textback.core.ids import AccountId
from textback.core.plan import Plan
from textback.core.policy import (
    Budget,
    Budgets,
    IdlePolicy,
    InboundLimits,
    ProjectPolicy,
    QuietHours,
    RepeatLimit,
    Replies,
)
from textback.engine_kinds import KINDS
from textback.provisioning_file.single import OneEntry

ACME = AccountId("acme")
STRICT = OneEntry(KINDS, private=False)
SECRET = "whsec_" + "QUJD" * 10

PROJECT: dict[str, Any] = {"id": "p", "agent": "a"}
NUMBER: dict[str, Any] = {"number": "+14155550100", "project": "p", "carrier": "c"}
TWILIO: dict[str, Any] = {"id": "c", "kind": "twilio", "account_sid": "AC1", "auth_token": "t"}
TOOL: dict[str, Any] = {"name": "t", "description": "d", "url": "https://example.com/t"}


def agent(**engine: object) -> dict[str, Any]:
    return {"id": "a", "engine": engine}


def llm(**more: object) -> dict[str, Any]:
    model = {"provider": "openai", "name": "m", "base_url": "https://example.com/v1"}
    return agent(**{"kind": "llm", "prompt": "Be kind.", "model": model, **more})


def faults(kind: EntryKind, entry: dict[str, Any], *, private: bool = False) -> list[str]:
    found = OneEntry(KINDS, private=private).read(kind, entry, ACME)
    return [] if isinstance(found, Plan) else [f"{each.path}: {each.problem}" for each in found]


@pytest.mark.parametrize(
    ("kind", "entry", "said"),
    [
        ("project", {}, ["agent: is missing", "id: is missing"]),
        ("project", {**PROJECT, "nme": "x"}, ['nme: unknown field; did you mean "name"?']),
        (
            "project",
            {**PROJECT, "quiet_hours": {"start": "24:00", "end": "08:00"}},
            ['quiet_hours.start: must be a time in quotes, such as "21:00"'],
        ),
        (
            "project",
            {**PROJECT, "opt_out_words": {"start": ["stop"]}},
            ["opt_out_words.start[0]: means stop already"],
        ),
        ("project", {**PROJECT, "numbers": []}, ["numbers: have entries of their own"]),
        ("number", {**NUMBER, "replies": "yes"}, ["replies: must be true or false"]),
        (
            "number",
            {**NUMBER, "segments_per_second": "5"},
            ["segments_per_second: must be a number"],
        ),
        (
            "number",
            {**NUMBER, "messaging_service_sid": "MG1"},
            [
                (
                    "messaging_service_sid: must be MG and 32 digits or letters from a to f, as"
                    " Twilio shows it"
                )
            ],
        ),
        ("carrier", {"id": "c", "kind": ["x"]}, ["kind: must be text"]),
        (
            "carrier",
            {**TWILIO, "base_url": "https://10.0.0.1"},
            ["base_url: must not lead to a private address"],
        ),
        ("carrier", {**TWILIO, "auth_token": None}, ["auth_token: is missing"]),
        ("connector", {"id": "x", "project": "p"}, ["environment: is missing"]),
        ("agent", {"id": "a"}, ["engine: is missing"]),
        (
            "agent",
            agent(kind="http", url="https://169.254.169.254/latest"),
            ["engine.url: must not lead to a private address"],
        ),
        (
            "agent",
            agent(kind="http", url="http://example.com"),
            ["engine.url: must begin with https:// and name a host"],
        ),
        (
            "agent",
            llm(tools=[TOOL | {"url": "https://localhost/t"}]),
            ["engine.tools[0].url: must not lead to a private address"],
        ),
        (
            "agent",
            llm(mcp=[{"name": "m", "url": "https://[::1]/mcp"}]),
            ["engine.mcp[0].url: must not lead to a private address"],
        ),
        (
            "agent",
            {**llm(), "draft": {"engine": {"kind": "http", "url": "https://127.0.0.1"}}},
            ["draft.engine.url: must not lead to a private address"],
        ),
        (
            "agent",
            agent(
                kind="flow",
                nodes=[
                    {"id": "n", "call": {"url": "https://192.168.0.1/{{x}}"}, "then": "end"},
                    {"id": "end", "say": "Bye", "end": True},
                ],
            ),
            ["engine.nodes[0].call.url: must not lead to a private address"],
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    kind: EntryKind, entry: dict[str, Any], said: list[str]
) -> None:
    assert said[0] in faults(kind, entry)
    assert set(said) <= set(faults(kind, entry))


def test_private_addresses_are_for_who_allows_them_or_had_them() -> None:
    entry = llm(tools=[TOOL | {"url": "http://10.0.0.1/t"}])
    assert faults("agent", entry)
    assert not faults("agent", entry, private=True)
    assert isinstance(STRICT.read("agent", entry, ACME, trusted=[entry]), Plan)
    moved = llm(tools=[TOOL | {"url": "http://10.0.0.1/other"}])
    assert not isinstance(STRICT.read("agent", moved, ACME, trusted=[entry]), Plan)


def test_an_address_among_a_tools_arguments_is_none_that_we_call() -> None:
    schema = {"type": "object", "default": {"url": "http://10.0.0.1"}}
    assert not faults("agent", llm(tools=[TOOL | {"parameters": schema}]))


def test_nothing_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTBACK_SECRET_KEY", "not yours")
    entry = {**llm(prompt="${TEXTBACK_SECRET_KEY} $${X}"), "greeting": "${HOME}"}
    plan = STRICT.read("agent", entry, ACME)
    assert isinstance(plan, Plan)
    [made] = plan.agents
    assert made.production.greeting == "${HOME}"
    assert made.production.engine["prompt"] == "${TEXTBACK_SECRET_KEY} $${X}"
    assert "not yours" not in repr(plan)


def test_null_is_none_where_it_may_be_and_else_as_left_out() -> None:
    plan = STRICT.read(
        "project",
        {**PROJECT, "timezone": None, "inactivity": {"closing": None, "warn_after_seconds": None}},
        ACME,
    )
    assert isinstance(plan, Plan)
    policy = plan.projects[0].policy
    assert (policy.timezone, policy.idle.closing, policy.idle.warn_after) == ("UTC", None, None)
    engine = llm(style=None, most_calls=None, tools=[TOOL | {"secret": None}])
    made = STRICT.read("agent", {**engine, "fallback": None}, ACME)
    assert isinstance(made, Plan)
    content = made.agents[0].production
    assert (content.fallback, content.engine["style"], content.engine["most_calls"]) == (
        None,
        None,
        8,
    )


def test_a_projects_settings_go_into_words_and_back() -> None:
    settings = ProjectPolicy(
        rate_limit=Rate(7, 1.5),
        idle=IdlePolicy(
            warn_after=timedelta(minutes=5),
            close_after=timedelta(seconds=90),
            unanswered_after=None,
            warning="Still there?",
            closing=None,
        ),
        reply_delay=timedelta(seconds=0.5),
        validity=timedelta(hours=1),
        unknown_user="greet",
        stop_words=frozenset({"basta", "genug"}),
        start_words=frozenset({"los"}),
        help_words=frozenset({"hilfe"}),
        inbound=InboundLimits(
            per_sender=Rate(3, 10),
            per_project=Rate(9, 20),
            repeats=RepeatLimit(count=3, within=timedelta(minutes=1), block=timedelta(minutes=2)),
        ),
        reply_budget=Rate(5, 600),
        while_thinking="queue",
        replies=Replies(longest=300, fold=False, part_wait=timedelta(seconds=1)),
        budgets=Budgets(
            conversation=Budget(turns=None, tokens=1000),
            day=Budget(turns=5, cost_usd=0.5),
        ),
        timezone="Europe/Berlin",
        draft_environments=frozenset({"dev", "sandbox"}),
        quiet_hours=QuietHours(start=time(21, 0), end=time(8, 30)),
    )
    for policy in (settings, ProjectPolicy()):
        plan = STRICT.read("project", {**PROJECT, **STRICT.policy(policy)}, ACME)
        assert isinstance(plan, Plan)
        assert plan.projects[0].policy == policy
