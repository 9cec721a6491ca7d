"""Grafana's dashboard: of this version's metrics, and in the shape that Grafana reads."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support import promql
from tests.support.metrics import declared

FOLDER: Final = Path("deploy/grafana")
BOARD: Final[dict[str, Any]] = json.loads((FOLDER / "textback.json").read_text())
PANELS: Final[list[dict[str, Any]]] = [p for p in BOARD["panels"] if p["type"] != "row"]
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


def _query(target: dict[str, Any]) -> str:
    return target["expr"].replace("$__rate_interval", "1m")


@pytest.mark.parametrize("panel", PANELS, ids=[p["title"] for p in PANELS])
def test_a_panel_shows_what_there_is(panel: dict[str, Any]) -> None:
    assert panel["type"] in {"stat", "timeseries"}
    assert panel["datasource"] == SOURCE
    assert panel["fieldConfig"]["defaults"]["unit"]
    refs = [target["refId"] for target in panel["targets"]]
    assert len(set(refs)) == len(refs) > 0
    for target in panel["targets"]:
        assert target["datasource"] == SOURCE
        assert promql.faults(_query(target)) == []
        named = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", target.get("legendFormat", "")))
        assert named <= promql.labels(_query(target))


def test_every_metric_is_on_it() -> None:
    shown = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    assert [each.name for each in declared() if each.name not in shown] == []


def test_no_panel_covers_another() -> None:
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for one, other in combinations([panel["gridPos"] for panel in BOARD["panels"]], 2):
        apart = [
            one[at] + one[size] <= other[at] or other[at] + other[size] <= one[at]
            for at, size in (("x", "w"), ("y", "h"))
        ]
        assert any(apart), (one, other)
        assert one["x"] + one["w"] <= 24


def test_it_is_loaded_from_where_it_is_mounted_with_the_source_it_asks_for() -> None:
    (variable,) = BOARD["templating"]["list"]
    assert (variable["name"], variable["type"]) == ("datasource", "datasource")
    provisioning = FOLDER / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    assert (source["type"], source["isDefault"]) == (variable["query"], True)
    (provider,) = yaml.safe_load((provisioning / "dashboards/textback.yml").read_text())[
        "providers"
    ]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
