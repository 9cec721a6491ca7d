"""The alert rules and what scrapes for them: of this version's metrics, and with a way out each."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support import promql

FOLDER: Final = Path("deploy/prometheus")
RULES: Final[list[dict[str, Any]]] = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
NAMES: Final = [rule["alert"] for rule in RULES]
OVER_TIME: Final = FOLDER / "alerts_test.yml"
CASES: Final[list[dict[str, Any]]] = yaml.safe_load(OVER_TIME.read_text())["tests"]
_PLACES: Final = (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))
PROMTOOL: Final = shutil.which("promtool", path=os.pathsep.join(_PLACES))
_FOR: Final = re.compile(r"[1-9][0-9]*[smh]")


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_a_rule_asks_for_what_there_is_and_says_what_to_do(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Textback[A-Z][A-Za-z]+", rule["alert"])
    assert promql.faults(rule["expr"]) == []
    assert _FOR.fullmatch(rule.get("for", "1m"))
    assert rule["labels"]["severity"] in {"page", "ticket"}
    notes = rule["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url"}
    assert notes["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
    assert notes["description"].endswith(".")
    for words in (*notes.values(), *rule["labels"].values()):
        assert promql.faults_of_words(words, promql.labels(rule["expr"])) == []


def test_no_two_alerts_have_the_same_name() -> None:
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("rate(textback_accepting_total[5m])", "there is no metric textback_accepting_total"),
        ('textback_uncertain{state="x"}', "textback_uncertain has no label state"),
        (
            "sum by (color) (textback_uncertain)",
            "none of what is summed up has the label color",
        ),
        (
            "sum by (queue) (sum by (job) (textback_waiting))",
            "none of what is summed up has the label queue",
        ),
        (
            'textback_oldest_due_seconds{queue="turn"}',
            'textback_oldest_due_seconds has never queue="turn"',
        ),
        (
            'rate(textback_messages_total{state!="fail"}[5m])',
            'textback_messages_total has never state="fail"',
        ),
        (
            'textback_carrier_seconds_count{outcome=~"taken|refuse"}',
            'textback_carrier_seconds_count has never outcome=~"refuse"',
        ),
        (
            'textback_http_request_seconds_bucket{route!~".*/(poll|chat/(create|answer))"}',
            'textback_http_request_seconds_bucket has never route=~".*/chat/answer"',
        ),
        ('up{job=~"textback-(api|works)"}', 'up has never job=~"textback-works"'),
    ],
)
def test_a_query_that_would_find_nothing_is_seen(query: str, fault: str) -> None:
    assert promql.faults(query) == [fault]
    with pytest.raises(ValueError, match="parenthesis"):
        promql.faults("sum(rate(textback_accepted_total[5m])")


def test_of_every_label_the_values_are_known_or_said_to_be_open() -> None:
    assert promql.unsettled() == []
    assert all(promql.values().values())


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        ('up{job="textback-api"} == 0', {"job", "instance"}),
        ('absent(up{job="textback-api",instance=~".+"})', {"job"}),
        ("max without (instance, job) (textback_oldest_due_seconds) > 1", {"queue"}),
        ("sum by (le, queue) (textback_waiting)", {"queue"}),
        ("textback_waiting / on (queue) textback_oldest_due_seconds", {"queue"}),
        ("topk(3, textback_waiting) and sum(up)", {"queue", "job", "instance"}),
        ("100 * -(textback_waiting)", {"queue", "job", "instance"}),
        ("sum by (queue) (textback_waiting) or sum(up)", set[str]()),
        (
            "histogram_quantile(0.9, rate(textback_engine_seconds_bucket[5m]))",
            {"engine", "job", "instance"},
        ),
    ],
)
def test_the_labels_of_a_result_are_known(query: str, labels: set[str]) -> None:
    assert promql.labels(query) == labels


@pytest.mark.parametrize(
    ("words", "faults"),
    [
        ('{{ $value | printf "%.1f" }} of {{ $labels.job }}', []),
        ("{{ $value | humanise }}", ["there is no function humanise"]),
        ("{{ $value | humanize }", ["a brace has no other"]),
        ("{ $value }}", ["a brace has no other"]),
        ("{{ $labels.queue }}", ["the result has no label queue"]),
        ("{{ $val }}", ["there is no $val"]),
        ("{{ $value | }}", ["there is nothing to put in"]),
        ("{{ humanize }}", ["humanize is given nothing"]),
        ("{{ $value | $labels.job }}", ["$labels.job is no function"]),
    ],
)
def test_words_that_would_not_be_filled_in_are_seen(words: str, faults: list[str]) -> None:
    assert promql.faults_of_words(words, frozenset({"job"})) == faults


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_has_a_time_when_it_fires_and_one_when_it_does_not(name: str) -> None:
    (case,) = (each for each in CASES if each["name"] == name)
    asked = f'ALERTS{{alertname="{name}"}}'
    found = [each["exp_samples"] for each in case["promql_expr_test"] if each["expr"] == asked]
    assert [] in found
    assert any('alertstate="firing"' in each["labels"] for few in found for each in few)


def test_what_is_tried_over_time_is_of_series_and_alerts_that_there_are() -> None:
    assert {each["name"] for each in CASES} == set(NAMES)
    given = {each["series"] for case in CASES for each in case["input_series"]}
    assert {each: found for each in given if (found := promql.faults(each))} == {}


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool (apt-get install prometheus)")
@pytest.mark.parametrize(
    "command",
    [("check", "rules", "alerts.yml"), ("test", "rules", OVER_TIME.name)],
    ids=["check", "test"],
)
def test_promtool_finds_nothing_wrong(command: tuple[str, ...]) -> None:
    assert PROMTOOL is not None
    run = subprocess.run(
        [PROMTOOL, *command], cwd=FOLDER, capture_output=True, text=True, check=False, timeout=300
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_prometheus_scrapes_both_kinds_of_process_and_loads_the_rules() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    assert config["rule_files"] == ["alerts.yml"]
    jobs = {each["job_name"] for each in config["scrape_configs"]}
    assert jobs == {"textback-api", "textback-worker"}
    used = {job for rule in RULES for job in re.findall(r'job="([^"]+)"', rule["expr"])}
    assert used == jobs
