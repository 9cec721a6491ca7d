"""docs/metrics.md names every metric that there is, and no other."""

import re
from pathlib import Path
from typing import Final

from tests.support.metrics import declared

_ROW: Final = re.compile(r"^\| `(textback_\w+)` \| (\w+) \|(.*?)\| (.+) \|$", re.MULTILINE)


def test_every_metric_is_described_with_its_type_and_labels() -> None:
    found = _ROW.findall(Path("docs/metrics.md").read_text(encoding="utf-8"))
    described = {name: (kind, tuple(re.findall(r"`(\w+)`", ls))) for name, kind, ls, _ in found}
    assert len(described) == len(found)
    assert described == {each.name: (each.type, each.labels) for each in declared()}


def test_no_label_is_anybodys_id_or_number() -> None:
    """Each has few values, whoever uses the service: a time series is kept for every one."""
    bounded = {
        "carrier",  # its kind
        "change",
        "code",
        "dialect",
        "direction",
        "engine",
        "group",
        "kind",
        "method",
        "outcome",
        "queue",
        "reason",
        "route",  # its template
        "state",
        "status",
        "store",
        "version",
        "waits_for",
        "what",
    }
    assert {label for each in declared() for label in each.labels} <= bounded
