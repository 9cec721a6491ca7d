"""docs/logs.md names the events that are logged, and no others; each has a name with a dot."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOGS = {"log", "_log"}
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
WAYS = {(log, level) for log in LOGS for level in LEVELS} | {("logs", "tell")}
OUTCOMES = r"(send|look_up)\.(taken|refused|put_off|no_answer|not_found)"
"""Put together from an outcome's word."""


def calls() -> Iterator[tuple[Path, ast.Call, str]]:
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            func = node.func.body if isinstance(node.func, ast.IfExp) else node.func  # a level each
            if (
                isinstance(func, ast.Attribute)
                and isinstance(func.value, ast.Name)
                and (func.value.id, func.attr) in WAYS
            ):
                yield path, node, func.attr


def logged() -> set[str]:
    events = [call.args[1 if method == "log" else 0] for _, call, method in calls()]
    found: set[str] = set()
    for event in events:
        words = [c.value for c in ast.walk(event) if isinstance(c, ast.Constant)]
        found |= {word for word in words if isinstance(word, str)}
    return found


def documented() -> set[str]:
    page = (ROOT / "docs" / "logs.md").read_text()
    rows = re.findall(r"^\| (`[^|]*) \|", page.partition("### Events")[2], re.MULTILINE)
    return set(re.findall(r"`([^`]+)`", " ".join(rows)))


def test_every_event_that_is_logged_is_documented_and_every_documented_one_is_logged() -> None:
    rest = documented() - logged()
    assert logged() - documented() == set()
    assert {event for event in rest if not re.fullmatch(OUTCOMES, event)} == set()


def test_events_are_named_alike_and_their_facts_are_fields() -> None:
    for path, call, method in calls():
        where = f"{path.relative_to(ROOT)}:{call.lineno}"
        assert len(call.args) == (2 if method == "log" else 1), where
    assert all(re.fullmatch(r"[a-z_]+\.[a-z_]+", event) for event in logged())


def test_nothing_is_logged_past_the_one_formatter() -> None:
    # These silence libraries; the last one hands the SDK a logger for its own words.
    own = ("logs.py", "otel.py", "llm/__init__.py", "carriers/twilio/exchange.py")
    for path in (ROOT / "src/textback").rglob("*.py"):
        if path.relative_to(ROOT / "src/textback").as_posix() not in own:
            assert not re.search(r"logging\.(getLogger|info|warning|error)\(", path.read_text())
