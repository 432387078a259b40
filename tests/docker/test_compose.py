"""compose.yaml is valid, and every path, port and setting that it names exists where it points."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from loadtests.demo import Demo
from service.settings import Settings
from tests.docker.dockerfile import environment, stages
from tests.docker.files import DOCKER, ROOT, compose, load_yaml

SERVICES: dict[str, dict[str, Any]] = compose()["services"]
PROMETHEUS = load_yaml(DOCKER / "prometheus" / "prometheus.yml")
MODELS = Path("/srv/rankonce")


def mounts(service: str) -> dict[str, str]:
    """Where in the container → what of the host, or which volume; variables by their defaults."""
    found = {}
    for mount in SERVICES[service].get("volumes", ()):
        host, inside = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", mount).removesuffix(":ro").split(":")
        found[inside] = host
    return found


def test_compose_accepts_the_file() -> None:
    """Compose itself resolves the file with every profile on."""
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        command, text = ["docker", "compose"], (DOCKER / "compose.yaml").read_text()
    elif shutil.which("docker-compose"):  # Debian's is older than the key `name`
        command, text = ["docker-compose"], re.sub("^name: .*\n", "", (DOCKER / "compose.yaml").read_text(), flags=re.M)
    else:
        pytest.skip("no Compose: `make system-deps` installs it")
    result = subprocess.run(
        [*command, "--project-directory", DOCKER, "-f", "-", "--profile", "load", "--profile", "setup", "config"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr


def test_images_are_pinned() -> None:
    """Every image names a full version, and our own is the package's."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for service in SERVICES.values():
        name, _, tag = service["image"].partition(":")
        assert re.match(r"v?\d+\.\d+\.\d+(-|$)", tag), service["image"]
        assert not name.startswith("rankonce") or tag == version


def test_stages_and_contexts_exist() -> None:
    """Each build names a stage of the Dockerfile, and arguments that it declares."""
    for service in SERVICES.values():
        if "build" in service:
            build = service["build"]
            assert (DOCKER / build["context"] / build["dockerfile"]).is_file()
            assert build["target"] in stages()
            declared = {argument.partition("=")[0] for argument in stages()["build"].all("ARG")}
            assert set(build.get("args", ())) <= declared


@pytest.mark.parametrize("service", SERVICES)
def test_mounted_paths_and_volumes_exist(service: str) -> None:
    """What is mounted is in the repository, is declared as a volume, or is the demo's folder."""
    demo = Demo("synthetic", ROOT / "var" / "demo" / "synthetic", quick=False)
    for host in mounts(service).values():
        if host.startswith("."):
            path = (DOCKER / host).resolve()
            assert path.exists() or path == demo.folder.resolve()
        else:
            assert host in compose()["volumes"]


def test_settings_are_the_services() -> None:
    """Each RANKER_ variable of image and compose is a setting, with a value that the setting takes."""
    image = environment(stages()["service"])
    for service in SERVICES.values():
        values = {
            **image,
            **(service.get("environment") if "RANKER_REDIS_URL" in service.get("environment", {}) else {}),
        }
        given = {name.removeprefix("RANKER_").lower(): value for name, value in values.items() if "RANKER_" in name}
        assert set(given) <= set(Settings.model_fields)
        Settings(**given)


def test_documented_settings_are_the_services() -> None:
    """Each RANKER_ variable that a file of docker/ mentions anywhere is a setting."""
    for file in (path for path in DOCKER.rglob("*") if path.suffix in (".md", ".py", ".json", ".yaml", ".yml", "")):
        if file.is_file():
            named = set(re.findall(r"\bRANKER_([A-Z_]+)\b", file.read_text()))
            assert {name.lower() for name in named} <= set(Settings.model_fields), file


def test_variables_have_defaults() -> None:
    """`up` needs no environment of its own."""
    text = (DOCKER / "compose.yaml").read_text()

    assert re.findall(r"\$\{(?!\w+:-)[^}]*\}", text) == []


def test_the_demos_folder_is_what_the_service_reads() -> None:
    """Bundles and histories lie in the mounted folder where the settings and commands say."""
    demo = Demo("synthetic", MODELS, quick=False)
    settings = SERVICES["service"]["environment"]

    assert mounts("service") == {str(MODELS): "../var/demo/synthetic"}
    assert settings["RANKER_MODEL_REPOSITORY"] == str(demo.models)
    assert SERVICES["histories"]["command"] == ["load-histories", str(demo.histories)]


def test_hosts_and_ports_meet() -> None:
    """Who calls whom: service → Redis, Prometheus → service, Grafana → Prometheus, locust → service."""
    port = environment(stages()["service"])["RANKER_PORT"]
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in PROMETHEUS["scrape_configs"]}
    source = load_yaml(DOCKER / "grafana" / "provisioning" / "datasources" / "prometheus.yaml")["datasources"][0]
    redis = urlsplit(SERVICES["service"]["environment"]["RANKER_REDIS_URL"])

    assert stages()["service"].all("EXPOSE") == [port]
    assert jobs == {"rankonce": [f"service:{port}"], "prometheus": ["localhost:9090"]}
    assert urlsplit(source["url"]).netloc == "prometheus:9090"
    assert (redis.hostname, redis.port) == ("redis", 6379)
    assert {"service", "prometheus", "redis"} <= set(SERVICES)
    assert f"--host=http://127.0.0.1:{port}" in SERVICES["locust"]["command"]
    assert SERVICES["locust"]["network_mode"] == "service:service"


def test_ports_are_published_on_this_machine_only() -> None:
    """Nothing here has authentication: no port is open to others."""
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]

    assert published
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in published)


def test_prometheus_finds_its_files() -> None:
    """Config and rules are mounted where its options and its config look for them."""
    inside = mounts("prometheus")
    config = Path("/etc/prometheus/prometheus.yml")

    assert f"--config.file={config}" in SERVICES["prometheus"]["command"]
    assert inside[str(config)] == "./prometheus/prometheus.yml"
    assert PROMETHEUS["rule_files"] == ["rules/*.yaml"]
    assert inside[str(config.parent / "rules")] == "./prometheus/rules"
    assert any(word.endswith("time=30d") for word in SERVICES["prometheus"]["command"])  # the objective's period


def test_grafana_opens_on_the_comparison_and_is_read_only() -> None:
    """Provisioning, dashboards and the home dashboard are where Grafana looks; nobody can log in to change them."""
    inside, settings = mounts("grafana"), SERVICES["grafana"]["environment"]
    home = Path(settings["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    provider = load_yaml(DOCKER / "grafana" / "provisioning" / "dashboards" / "rankonce.yaml")["providers"][0]
    source = load_yaml(DOCKER / "grafana" / "provisioning" / "datasources" / "prometheus.yaml")["datasources"][0]

    assert inside["/etc/grafana/provisioning"] == "./grafana/provisioning"
    assert inside[provider["options"]["path"]] == "./grafana/dashboards"
    assert str(home.parent) == provider["options"]["path"]
    assert (DOCKER / "grafana" / "dashboards" / home.name).is_file()
    assert source["jsonData"]["timeInterval"] == PROMETHEUS["global"]["scrape_interval"]
    assert settings["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert settings["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert settings["GF_AUTH_BASIC_ENABLED"] == "false"


def test_redis_keeps_histories() -> None:
    """Persistent, bounded in memory below the container's own bound, and never evicting."""
    words = SERVICES["redis"]["command"]
    options = {word.removeprefix("--"): value for word, value in zip(words[1::2], words[2::2], strict=True)}

    assert options == {"appendonly": "yes", "save": "", "maxmemory": "1gb", "maxmemory-policy": "noeviction"}
    assert SERVICES["redis"]["mem_limit"] == "2g"
    assert mounts("redis") == {"/data": "redis"}


@pytest.mark.parametrize("service", ["service", "histories", "load-histories", "locust"])
def test_our_containers_have_no_more_than_they_need(service: str) -> None:
    """Read-only root with a /tmp, no capability, no new privilege, read-only data."""
    settings = SERVICES[service]

    assert settings["read_only"]
    assert settings["tmpfs"] == ["/tmp"]
    assert settings["cap_drop"] == ["ALL"]
    assert settings["security_opt"] == ["no-new-privileges:true"]
    assert all(mount.endswith(":ro") for mount in settings["volumes"])


def test_a_stop_leaves_time_for_requests_in_flight() -> None:
    """Compose kills later than the service gives up waiting."""
    service = SERVICES["service"]
    ends_after = sum(int(service["environment"][f"RANKER_{phase}_SECONDS"]) for phase in ("DRAIN", "SHUTDOWN"))

    assert int(service["stop_grace_period"].removesuffix("s")) > ends_after


def test_locust_gets_options_that_it_has() -> None:
    """Each option of the command is one of locust's or of the locustfile's, and the file is in the image."""
    copied = [line.split() for line in stages()["load"].all("COPY")]
    words = SERVICES["locust"]["command"]
    file = next(word.partition("=")[2] for word in words if word.startswith("--locustfile="))
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    own = set(re.findall(r'add_argument\("(--[a-z-]+)"', (ROOT / "loadtests" / "locustfile.py").read_text()))

    assert words[0] == "locust"
    assert ["loadtests", str(Path(file).parent)] in copied
    assert Path(file).name == "locustfile.py"
    assert options - own == {"--locustfile", "--headless", "--only-summary", "--host"}
