"""`textback apply FILE`: JSON for programs, sentences for people."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.provision import ACME_KEY, SECRET_KEY, STANDARD_YAML, TOKEN, environment
from textback.cli.apply import apply
from textback.settings import Settings


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings.model_validate({"database_url": database_url, "secret_key": SECRET_KEY})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "textback.yaml"


def run(
    capsys: pytest.CaptureFixture[str], settings: Settings, file: Path, **options: bool
) -> tuple[int, dict[str, Any], str]:
    """The exit code, standard output as JSON, and standard error."""
    code = apply(settings, file, **{"prune": False, "dry_run": False} | options)
    printed = capsys.readouterr()
    assert TOKEN not in printed.out + printed.err
    assert ACME_KEY not in printed.out + printed.err
    return code, json.loads(printed.out), printed.err


def test_what_was_done_is_json(
    capsys: pytest.CaptureFixture[str], settings: Settings, file: Path
) -> None:
    file.write_text(STANDARD_YAML.replace("{name: ci, key", "{name: made}\n      - {name: ci, key"))
    code, report, said = run(capsys, settings, file)
    assert (code, said) == (0, "")
    assert report["applied"] is True
    assert report["created"][0] == {"kind": "account", "id": "acme"}
    assert (report["updated"], report["removed"], report["unchanged"]) == ([], [], 0)
    assert [(made["account"], made["name"]) for made in report["api_keys"]] == [
        ("acme", "made"),
        ("globex", "made"),
    ]
    code, report, said = run(capsys, settings, file)
    assert (code, said) == (0, "")
    assert (report["created"], report["api_keys"], report["unchanged"]) == ([], [], 17)


def test_mistakes_are_sentences_with_file_and_line(
    capsys: pytest.CaptureFixture[str], settings: Settings, file: Path
) -> None:
    file.write_text(STANDARD_YAML.replace("agent: bookings", "agent: bokings"))
    code, report, said = run(capsys, settings, file)
    problem = 'there is no agent "bokings" in account "acme"'
    assert code == 1
    assert said == f"{file}:22: accounts[0].projects[0].agent: {problem}\n"
    assert report == {
        "applied": False,
        "errors": [{"line": 22, "path": "accounts[0].projects[0].agent", "problem": problem}],
    }


def test_a_file_that_is_not_yaml_is_named_with_its_line(
    capsys: pytest.CaptureFixture[str], settings: Settings, file: Path
) -> None:
    file.write_text("accounts:\n  - id: [\n")
    code, report, said = run(capsys, settings, file)
    assert code == 1
    assert said.startswith(f"{file}:3: this is not YAML")
    assert report["errors"][0]["line"] == 3


def test_a_warning_is_said_and_does_not_stop(
    capsys: pytest.CaptureFixture[str], settings: Settings, file: Path
) -> None:
    file.write_text("accounts:\n- id: acme\n  api_keys: [{name: a, key: short}]\n")
    code, report, said = run(capsys, settings, file)
    assert code == 0
    assert said.startswith(f"{file}:3: warning: accounts[0].api_keys[0].key: is shorter than 16")
    assert report["applied"] is True
    assert report["warnings"][0]["line"] == 3


def test_a_dry_run_is_not_applied(
    capsys: pytest.CaptureFixture[str], settings: Settings, file: Path
) -> None:
    file.write_text("accounts: [{id: acme, api_keys: [{name: a}]}]")
    for _ in range(2):
        code, report, _said = run(capsys, settings, file, dry_run=True)
        assert (code, report["applied"], report["dry_run"]) == (0, False, True)
        assert (len(report["created"]), report["api_keys"]) == (2, [])


def test_pruning_is_reported(
    capsys: pytest.CaptureFixture[str], settings: Settings, file: Path
) -> None:
    file.write_text("accounts: [{id: one}, {id: two}]")
    run(capsys, settings, file)
    file.write_text("accounts: [{id: one}]")
    _code, report, _said = run(capsys, settings, file, prune=True)
    assert report["removed"] == [{"kind": "account", "id": "two"}]


def test_a_dash_reads_standard_input(
    capsys: pytest.CaptureFixture[str], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"accounts: [{id: a b}]")))
    code, _report, said = run(capsys, settings, Path("-"))
    assert code == 1
    assert said.startswith("stdin:1: accounts[0].id: must be")


def test_a_new_version_of_an_agent_is_said_and_reported(
    capsys: pytest.CaptureFixture[str], settings: Settings, file: Path
) -> None:
    agent = "accounts: [{id: acme, agents: [{id: bot, engine: {kind: scripted, default: %s}}]}]"
    file.write_text(agent % "One")
    assert run(capsys, settings, file)[1]["versions"] == []
    file.write_text(agent % "Two")
    for dry_run, now in ((True, "would be"), (False, "is")):
        code, report, said = run(capsys, settings, file, dry_run=dry_run)
        assert (code, said) == (0, f"agent bot: version 2 {now} production now (was 1)\n")
        assert report["versions"] == [
            {"agent": "bot", "label": "production", "version": 2, "was": 1, "live": {}}
        ]
    assert run(capsys, settings, file)[1]["versions"] == []
