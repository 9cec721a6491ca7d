"""`docker-compose.yml` and the `Dockerfile`: against the specification, our settings and files."""

import json
import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final, cast

import yaml
from jsonschema import Draft202012Validator

from textback.core.batch import MOST_BYTES
from textback.core.errors import Unavailable
from textback.dialects.bland.reading_routes import ANALYSIS_SECONDS
from textback.dialects.native import batch_wire, opt_out_wire
from textback.dialects.native.webhook_wire import LONGEST_POLL
from textback.dialects.nixflex.wire import MAX_CAMPAIGN
from textback.dialects.polyai import chat
from textback.settings import Settings
from textback.worker.main import GIVE_BACK, LAST_WORDS

ROOT: Final = Path(__file__).parents[2]
COMPOSE: Final = cast(
    "Mapping[str, Any]", yaml.safe_load((ROOT / "docker-compose.yml").read_text())
)
SERVICES: Final = cast("Mapping[str, Mapping[str, Any]]", COMPOSE["services"])
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text()
KNOWN: Final = {f"TEXTBACK_{name.upper()}" for name in Settings.model_fields}
HAPROXY: Final = (ROOT / "deploy/haproxy/haproxy.cfg").read_text()
OF_COMPOSE: Final = {"TEXTBACK_MORE_API", "TEXTBACK_MORE_WORKERS", "TEXTBACK_PROXY_PORT"}
"""Set for the file itself, and not for a process."""
SECONDS: Final = re.compile(r"(\d+)s")


def ours() -> dict[str, Mapping[str, Any]]:
    return {name: each for name, each in SERVICES.items() if each["image"] == "textback"}


def test_the_specification_knows_every_field() -> None:
    folder = resources.files("check_jsonschema.builtin_schemas.vendor")
    schema = json.loads(folder.joinpath("compose-spec.json").read_text())
    validator: Any = Draft202012Validator(schema)
    assert [error.message for error in validator.iter_errors(COMPOSE)] == []


def test_what_is_set_are_our_settings() -> None:
    for service in ours().values():
        assert {n for n in service["environment"] if n.startswith("TEXTBACK_")} <= KNOWN
    taken = set(re.findall(r"\$\{(TEXTBACK_[A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    assert taken - KNOWN == OF_COMPOSE
    assert set(re.findall(r"TEXTBACK_[A-Z_]+", DOCKERFILE)) <= KNOWN


def test_every_service_is_hardened_and_every_profile_leads_to_files_that_are_there() -> None:
    profiles = {profile for each in SERVICES.values() for profile in each.get("profiles", [])}
    assert profiles == {"scale", "observability"}
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert not source.startswith("./deploy") or (ROOT / source).exists(), volume
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), port


def test_processes_have_the_time_to_stop_that_they_may_take() -> None:
    fields = Settings.model_fields
    lame, drain = fields["lame_duck_seconds"].default, fields["drain_seconds"].default
    for service in ours().values():
        found = SECONDS.fullmatch(service["stop_grace_period"])
        assert found
        said = float(service["environment"].get("TEXTBACK_LAME_DUCK_SECONDS", lame))
        assert int(found[1]) >= said + drain + GIVE_BACK + LAST_WORDS + 4


def test_what_scales_is_found_under_one_name() -> None:
    """HAProxy and Prometheus ask the name for all addresses; on one network, else twice."""
    for name, alias in (("more-api", "api"), ("more-workers", "worker")):
        assert SERVICES[name]["networks"]["outside"]["aliases"] == [alias]
    for name in ("proxy", "prometheus"):
        assert SERVICES[name]["networks"] == ["outside"]
    assert "server-template api 20 api:8000" in HAPROXY
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    asked = {
        (name, source["port"])
        for job in prometheus["scrape_configs"]
        for source in job["dns_sd_configs"]
        for name in source["names"]
    }
    metrics_port = int(ours()["worker"]["environment"]["TEXTBACK_METRICS_PORT"])
    assert asked == {("api", 8000), ("worker", metrics_port)}


def test_the_proxy_refuses_no_body_that_the_api_takes() -> None:
    (at_most,) = re.findall(r"content-length\) gt (\d+)", HAPROXY)
    assert int(at_most) >= max(MOST_BYTES, batch_wire.MAX_BODY, opt_out_wire.MAX_CSV, MAX_CAMPAIGN)


def test_the_proxy_waits_longer_than_the_api_keeps_anybody_waiting() -> None:
    (seconds,) = re.findall(r"timeout server (\d+)s", HAPROXY)
    assert int(seconds) > max(chat.SECONDS, ANALYSIS_SECONDS, LONGEST_POLL)


def test_the_proxy_says_what_a_process_would_when_none_is_ready() -> None:
    ((body, seconds),) = re.findall(
        r"http-error status 503 content-type application/json string '(.+)' hdr Retry-After (\d+)",
        HAPROXY,
    )
    assert json.loads(body)["detail"].endswith("try again.")
    assert int(seconds) == Unavailable().retry_after


def test_the_proxy_knows_well_before_a_stopping_process_closes_its_port() -> None:
    """A look may come late on a busy machine, and an answer too."""
    ((milliseconds, fall),) = re.findall(r"check inter (\d+)ms fall (\d+)", HAPROXY)
    lame_duck = float(SERVICES["api"]["environment"]["TEXTBACK_LAME_DUCK_SECONDS"])
    assert lame_duck >= 3 * int(milliseconds) * int(fall) / 1000


def test_the_proxy_keeps_inside_what_is_meant_for_the_inside_however_it_is_written() -> None:
    """The API decodes paths once, and its pattern takes a line break at their end."""
    (asked,) = re.findall(r"deny_status 404 if \{ (.+) \}", HAPROXY)
    fetch, *flags, metrics, health = asked.split()
    assert fetch == "path,url_dec"
    assert flags == ["-i", "-m", "beg"]
    assert (metrics, health) == ("/metrics", "/health/")


def test_the_image_can_trace() -> None:
    assert re.findall(r"requirements\S*\.lock", DOCKERFILE)[-1] == "requirements.lock"
    locked = (ROOT / "requirements.lock").read_text()
    for wanted in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]["otel"]:
        assert re.search(rf"(?m)^{re.escape(wanted.partition('>')[0])}==", locked), wanted


def test_the_image_runs_as_nobody_brings_no_tools_and_gets_signals() -> None:
    *_, last = re.split(r"(?m)^FROM ", DOCKERFILE)
    assert "USER 10001:10001" in last
    assert not re.search(r"\b(pip|uv|apt-get|gcc|hatchling)\b", last)
    assert re.search(
        r'(?m)^ENTRYPOINT \["textback"\]$', last
    )  # no shell that keeps SIGTERM to itself
    assert 'CMD ["python", "-I", "/opt/textback/healthy.py"]' in last
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", DOCKERFILE)
    assert {f"!{source}" for line in copied for source in line.split()} | {
        "*",
        "**/__pycache__",
    } == {*ignored}
