"""`deploy/kubernetes/`: against Kubernetes' own schemas, our settings, and our routes."""

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import kubernetes_validate  # pyright: ignore[reportMissingTypeStubs]
import pytest
import yaml

from tests.support.api import settings
from tests.support.routes import routes
from textback.core.batch import MOST_BYTES
from textback.dialects.bland.reading_routes import ANALYSIS_SECONDS
from textback.dialects.native import batch_wire, opt_out_wire
from textback.dialects.native.webhook_wire import LONGEST_POLL
from textback.dialects.nixflex.wire import MAX_CAMPAIGN
from textback.dialects.polyai import chat
from textback.settings import Settings
from textback.worker.main import GIVE_BACK, LAST_WORDS

FOLDER: Final = Path(__file__).parents[2] / "deploy" / "kubernetes"
RELEASES: Final = ("1.31", "1.37")
"""Of Kubernetes: the oldest that clouds still run, and the newest that the schemas know."""

Thing = dict[str, Any]


def things(path: Path) -> list[Thing]:
    return list(yaml.safe_load_all(path.read_text()))


README: Final = (FOLDER / "README.md").read_text()
FILES: Final = sorted(FOLDER.glob("*.yaml"))
ALL: Final = [thing for path in FILES for thing in things(path)]


def of_kind(kind: str) -> dict[str, Thing]:
    return {thing["metadata"]["name"]: thing for thing in ALL if thing["kind"] == kind}


def pods() -> dict[str, Thing]:
    """The pods that are made, by the name of what makes them."""
    makers = of_kind("Deployment") | of_kind("Job")
    return {name: maker["spec"]["template"]["spec"] for name, maker in makers.items()}


CONFIG: Final = of_kind("ConfigMap")["textback"]["data"]
SECRET: Final = of_kind("Secret")["textback"]["stringData"]


@pytest.mark.parametrize("release", RELEASES)
def test_kubernetes_would_take_every_file(release: str) -> None:
    ours = [thing for thing in ALL if "monitoring.coreos.com" not in thing["apiVersion"]]
    assert len(ours) > 10
    for thing in ours:
        kubernetes_validate.validate(thing, release, strict=True)


def test_a_misspelt_field_would_be_seen() -> None:
    wrong: Thing = {**of_kind("Service")["textback-api"], "spec": {"selectors": "x"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, RELEASES[-1], strict=True)


def test_what_they_set_are_our_settings_and_what_those_need_is_set() -> None:
    known = {f"TEXTBACK_{name.upper()}" for name in Settings.model_fields}
    of_pods = {
        each["name"]
        for pod in pods().values()
        for container in pod["containers"]
        for each in container.get("env", [])
    }
    assert set(CONFIG) | set(SECRET) | of_pods <= known
    given = settings("postgresql://db/textback", "redis://redis").model_dump(exclude_unset=True)
    needed = {f"TEXTBACK_{name.upper()}" for name in ("public_url", "secret_key", "redis_url")}
    assert given
    assert needed | {"TEXTBACK_DATABASE_URL"} <= set(CONFIG) | set(SECRET)
    Settings.model_validate(
        {name.removeprefix("TEXTBACK_").lower(): v for name, v in CONFIG.items()}
    )


def test_every_pod_runs_as_nobody_and_can_write_nowhere_but_tmp() -> None:
    assert len(pods()) == 3
    for pod in pods().values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert [each["mountPath"] for each in container["volumeMounts"]] == ["/tmp"]  # noqa: S108 - a mount
            assert container["resources"]["limits"]["memory"]


def test_each_has_the_time_to_stop_that_it_may_take() -> None:
    drain = float(CONFIG["TEXTBACK_DRAIN_SECONDS"])
    last = GIVE_BACK + LAST_WORDS + 4.0  # and what Postgres and Redis may hang for
    lame = float(CONFIG["TEXTBACK_LAME_DUCK_SECONDS"])
    assert pods()["textback-worker"]["terminationGracePeriodSeconds"] >= drain + last
    assert pods()["textback-api"]["terminationGracePeriodSeconds"] >= lame + drain + last


def test_they_fit_one_another() -> None:
    labels = {
        maker["metadata"]["name"]: maker["spec"]["template"]["metadata"]["labels"]
        for maker in (*of_kind("Deployment").values(), *of_kind("Job").values())
    }
    for selector in _selectors():
        assert any(selector.items() <= each.items() for each in labels.values()), selector
    ports = {
        port["name"]
        for pod in pods().values()
        for container in pod["containers"]
        for port in container.get("ports", [])
    }
    [service] = of_kind("Service").values()
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for monitor in of_kind("PodMonitor").values():
        assert {each["port"] for each in monitor["spec"]["podMetricsEndpoints"]} <= ports
    scaled = of_kind("HorizontalPodAutoscaler")["textback-api"]["spec"]["scaleTargetRef"]["name"]
    assert "replicas" not in of_kind("Deployment")[scaled]["spec"]  # else each apply sets it back
    assert {thing["metadata"].get("namespace", "textback") for thing in ALL} == {"textback"}


def _selectors() -> Iterator[Mapping[str, str]]:
    for kind in ("Deployment", "PodDisruptionBudget", "PodMonitor"):
        for thing in of_kind(kind).values():
            yield thing["spec"]["selector"]["matchLabels"]
    for thing in of_kind("NetworkPolicy").values():
        yield thing["spec"]["podSelector"]["matchLabels"]
    yield of_kind("Service")["textback-api"]["spec"]["selector"]


def test_the_ingress_lets_every_route_through_and_metrics_and_health_not() -> None:
    [rule] = of_kind("Ingress")["textback"]["spec"]["rules"]
    open_ = [(path["path"], path["pathType"]) for path in rule["http"]["paths"]]
    served = [route for route in routes() if hasattr(route, "methods")]  # the others only refuse
    paths = sorted({route.path for route in served})
    closed = [path for path in paths if not any(_leads(p, kind, path) for p, kind in open_)]
    assert closed == ["/health/live", "/health/ready", "/metrics"]


def test_the_ingress_refuses_no_body_and_no_wait_that_the_api_allows() -> None:
    """Its own limit is 1 MB; and one without a class is nobody's where no class is the default."""
    ingress = of_kind("Ingress")["textback"]
    assert ingress["spec"]["ingressClassName"] == "nginx"
    said = {
        name.removeprefix("nginx.ingress.kubernetes.io/"): value
        for name, value in ingress["metadata"]["annotations"].items()
    }
    assert said["proxy-body-size"].endswith("m")
    bytes_ = int(said["proxy-body-size"].removesuffix("m")) << 20
    assert bytes_ >= max(MOST_BYTES, batch_wire.MAX_BODY, opt_out_wire.MAX_CSV, MAX_CAMPAIGN)
    assert int(said["proxy-read-timeout"]) > max(chat.SECONDS, ANALYSIS_SECONDS, LONGEST_POLL)


@pytest.mark.parametrize("release", RELEASES)
def test_the_authority_of_a_database_is_mounted_as_the_readme_says(release: str) -> None:
    [added] = re.findall(r"(?s)```yaml\n(.+?)```", README)
    more = yaml.safe_load(added)
    [mount], [volume] = more["volumeMounts"], more["volumes"]
    [path] = set(re.findall(r"sslrootcert=([^'\s`]+)", README))
    assert Path(path).parent == Path(mount["mountPath"])
    made = re.search(r"create configmap (\S+) --from-file=(\S+?)=", README)
    assert made
    assert made[1] == volume["configMap"]["name"]
    assert made[2] == Path(path).name
    for kind in ("Deployment", "Job"):
        for maker in deepcopy(of_kind(kind)).values():
            pod = maker["spec"]["template"]["spec"]
            pod["volumes"] += [volume]
            pod["containers"][0]["volumeMounts"] += [mount]
            kubernetes_validate.validate(maker, release, strict=True)


def _leads(path: str, kind: str, route: str) -> bool:
    return route == path or (kind == "Prefix" and route.startswith(f"{path}/"))
