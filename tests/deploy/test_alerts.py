"""The alert rules and what scrapes for them: of this version's metrics, and with a way out each."""

import re
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
_FOR: Final = re.compile(r"[1-9][0-9]*[smh]")
_LABEL: Final = re.compile(r"\$labels\.(\w+)")


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
    for label in _LABEL.findall(notes["summary"]):  # else it would be empty in every message
        assert re.search(rf"\b{label}\b", rule["expr"]) or rule["expr"].startswith("up"), label


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
    ],
)
def test_a_query_that_would_find_nothing_is_seen(query: str, fault: str) -> None:
    assert promql.faults(query) == [fault]
    with pytest.raises(ValueError, match="parenthesis"):
        promql.faults("sum(rate(textback_accepted_total[5m])")


def test_prometheus_scrapes_both_kinds_of_process_and_loads_the_rules() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    assert config["rule_files"] == ["alerts.yml"]
    jobs = {each["job_name"] for each in config["scrape_configs"]}
    assert jobs == {"textback-api", "textback-worker"}
    used = {job for rule in RULES for job in re.findall(r'job="([^"]+)"', rule["expr"])}
    assert used == jobs
