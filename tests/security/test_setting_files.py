"""Secrets come from files, too, as Docker, Kubernetes and systemd hand them over."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from textback.cli.main import app
from textback.settings import Settings

SECRET = "k" * 43 + "="


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Without a `.env`, and with no variable set."""
    for name in os.environ:
        if name.startswith("TEXTBACK_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings() -> Settings:
    return Settings.model_validate({})


def test_a_setting_may_be_in_a_file_that_the_environment_or_env_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "key").write_text(f" {SECRET}\n")
    (folder / "port").write_text("8123\n")
    (folder / "dialects").write_text("native, kore\n")
    monkeypatch.setenv("TEXTBACK_SECRET_KEY_FILE", str(folder / "key"))
    monkeypatch.setenv("TEXTBACK_DIALECTS_FILE", str(folder / "dialects"))
    (folder / ".env").write_text(f"TEXTBACK_PORT_FILE={folder / 'port'}\nTEXTBACK_HOST=0.0.0.0\n")
    found = settings()
    assert (found.secret_key, found.port, found.host) == (SECRET, 8123, "0.0.0.0")  # noqa: S104
    assert found.dialects == ("native", "kore")


def test_the_environment_comes_before_a_file_that_env_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "old").write_text("old")
    (folder / ".env").write_text(f"TEXTBACK_SECRET_KEY_FILE={folder / 'old'}\n")
    monkeypatch.setenv("TEXTBACK_SECRET_KEY", SECRET)
    assert settings().secret_key == SECRET


def test_an_empty_variable_beside_a_file_is_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "key").write_text(SECRET)
    monkeypatch.setenv("TEXTBACK_SECRET_KEY_FILE", str(folder / "key"))
    monkeypatch.setenv("TEXTBACK_SECRET_KEY", "")  # as compose sets what is not there
    assert settings().secret_key == SECRET


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"SECRET_KEY_FILE": "nowhere"}, "TEXTBACK_SECRET_KEY_FILE: nowhere: No such file"),
        ({"SECRET_KEY_FILE": "."}, "TEXTBACK_SECRET_KEY_FILE: .: Is a directory"),
        ({"SECRET_KEY_FILE": "binary"}, "TEXTBACK_SECRET_KEY_FILE: binary is not text"),
        (
            {"SECRET_KEY_FILE": "key", "SECRET_KEY": SECRET},
            "TEXTBACK_SECRET_KEY and TEXTBACK_SECRET_KEY_FILE are both set",
        ),
        ({"METRICS_TOKEN": "planted"}, "TEXTBACK_METRICS_TOKEN: give 16 characters"),
    ],
)
def test_what_is_wrong_with_it_is_one_sentence_that_tells_no_secret(
    folder: Path, given: dict[str, str], said: str
) -> None:
    (folder / "key").write_text(SECRET)
    (folder / "binary").write_bytes(b"\xff\xfe")
    environment = {f"TEXTBACK_{name}": value for name, value in given.items()}
    result = CliRunner().invoke(app, ["doctor"], env=environment)
    [line] = result.stderr.splitlines()
    assert result.exit_code == 1
    assert line.startswith(said)
    assert SECRET not in line
    assert "planted" not in line


def test_no_secret_is_in_what_the_settings_say_of_themselves() -> None:
    found = Settings.model_validate(
        {
            "secret_key": f"{SECRET}, {'o' * 43}=",
            "database_url": "postgresql://u:pl%40nted-one@db/x?password=planted-two",
            "direct_url": "postgresql://u:planted-three@db/x",
            "redis_url": "rediss://:planted-four@redis/0",
            "metrics_token": "planted-five-planted-five",
        }
    )
    secrets = {
        *(SECRET, "o" * 43 + "=", "pl%40nted-one", "pl@nted-one", "planted-two"),
        *("planted-three", "planted-four", "planted-five-planted-five"),
    }
    assert found.secrets() == secrets
    assert not [each for each in secrets if each in repr(found) or each in str(found)]
