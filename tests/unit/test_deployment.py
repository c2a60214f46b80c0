"""The deployment names only what there is: settings, commands, metrics, folders; exact versions, and no password of its own."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from typer.main import get_command

import streamgauge
from api.delivery_observation import DeliveryObservation
from api.observation import Observation
from front.settings import Settings, variable

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text("utf-8")
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE)["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("streamgauge:")}
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/streamgauge.json").read_text("utf-8"))
PROMETHEUS = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text("utf-8"))
RULES = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text("utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


def expressions() -> list[str]:
    """Every question to Prometheus, of the dashboard and of the alerts."""
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return asked + [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]


def known_metrics() -> set[str]:
    """The names under which the service's figures are scraped, wherever in the code they are declared."""
    names: set[str] = set()
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    observation = Observation()
    DeliveryObservation(observation)
    for family in observation.registry.collect():
        names |= {family.name + suffix for suffix in suffixes[family.type]}
    for path in (ROOT / "api").rglob("*.py"):  # a worker's own are not in the registry of an API process
        for kind, name in re.findall(r'_(gauge|counter)\(\s*"([a-z_]+)"', path.read_text("utf-8")):
            names |= {f"streamgauge_{name}{suffix}" for suffix in suffixes[kind]}
    return names


def test_every_metric_that_is_shown_or_watched_exists() -> None:
    asked = {name for one in expressions() for name in re.findall(r"\bstreamgauge_[a-z_]+", one)}
    assert len(asked) > 10
    assert asked - known_metrics() == set()


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_variable_of_our_services_is_a_setting(name: str) -> None:
    settings = {variable(field.name) for field in msgspec.structs.fields(Settings)}
    assert set(OURS[name]["environment"]) - settings == set()


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_command_exists(name: str) -> None:
    (command,) = OURS[name]["command"]
    known = get_command(streamgauge.app).commands  # type: ignore[attr-defined]
    assert command in known
    assert "health" in known


def test_there_are_two_of_what_is_scaled_and_everything_that_the_issue_names() -> None:
    assert set(SERVICES) == {
        "api", "worker", "scheduler", "kafka", "timescaledb", "redis", "prometheus", "grafana",
    }  # fmt: skip
    assert [OURS[name]["deploy"]["replicas"] for name in ("api", "worker")] == [2, 2]


def test_images_have_exact_versions() -> None:
    images = [service["image"] for service in SERVICES.values()]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(images) == 10
    for image in images:
        assert re.search(r":v?\d+\.\d+\.\d+(-[a-z0-9-]+)?$", image), image


def test_the_image_is_of_the_version_that_the_project_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {service["image"] for service in OURS.values()} == {f"streamgauge:{project['version']}"}


def test_the_image_holds_every_folder_and_does_not_run_as_root() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    folders = [pattern.rstrip("*") for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]]
    for folder in folders:
        assert f"COPY {folder} /opt/streamgauge/{folder}" in DOCKERFILE
        assert f"!{folder}\n" in (ROOT / ".dockerignore").read_text("utf-8")
    assert re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE) == ["10001"]
    assert "--require-hashes" in DOCKERFILE


def test_no_password_has_a_default() -> None:
    example = dict(
        line.split("=", 1)
        for line in (ROOT / ".env.example").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    )
    assert set(example.values()) == {""}
    required = set(re.findall(r"\$\{(\w+):\?", COMPOSE))
    assert required == set(example)
    # Whatever looks like a secret comes from the environment, and what is asked for without being required has nothing secret.
    for name in re.findall(r"(?<!\$)\$\{(\w+)(?!:\?)[^}]*\}", COMPOSE):
        assert not re.search("PASSWORD|SECRET|KEY|TOKEN", name), name
    for service in SERVICES.values():
        for variable_name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET", variable_name):
                assert str(value).startswith("${"), variable_name


def test_everything_has_a_healthcheck_and_what_must_last_a_volume() -> None:
    checked = {name for name, service in SERVICES.items() if "healthcheck" in service}
    assert checked | set(OURS) == set(SERVICES)
    assert 'CMD ["streamgauge", "health"]' in DOCKERFILE
    volumes = set(yaml.safe_load(COMPOSE)["volumes"])
    mounted = {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert volumes <= mounted
    for place in mounted - volumes:
        assert (ROOT / place).exists(), place


def test_the_scheduler_archives_into_a_volume_that_the_api_reads() -> None:
    for name in ("api", "scheduler"):
        assert OURS[name]["environment"]["STREAMGAUGE_ARCHIVE"] == "/archive"
        assert "streamgauge-archive:/archive" in OURS[name]["volumes"]
    # A new volume takes its owner from the image.
    assert re.search(r"install -d -o streamgauge .* /archive$", DOCKERFILE, re.MULTILINE)


def test_prometheus_reads_every_process_of_ours_where_it_serves() -> None:
    ports = {"api": 8000} | {
        name: int(OURS[name]["environment"]["STREAMGAUGE_METRICS_PORT"]) for name in ("worker", "scheduler")
    }
    read = {
        name: found["port"]
        for job in PROMETHEUS["scrape_configs"]
        for found in job["dns_sd_configs"]
        for name in found["names"]
    }
    assert read == ports


def test_the_dashboard_asks_the_datasource_that_is_provisioned() -> None:
    (source,) = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text("utf-8"))[
        "datasources"
    ]
    panels = DASHBOARD["panels"]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
    assert len({panel["id"] for panel in panels}) == len(panels)
    (provider,) = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/streamgauge.yml").read_text("utf-8"))[
        "providers"
    ]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
