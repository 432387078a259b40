"""The load tests' histories as a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from service.embedded_redis import EmbeddedRedis
from tests.live import ROOT, process


def test_the_file_is_one_that_the_service_loads(repository: Path, tmp_path: Path) -> None:
    """`python -m loadtests.histories` writes what `python -m service load-histories` stores."""
    file = tmp_path / "histories.jsonl"
    words = ["-m", "loadtests.histories", "--models", repository, "--out", file]
    said = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    with EmbeddedRedis() as redis:
        settings = {"RANKER_MODEL_REPOSITORY": str(repository), "RANKER_REDIS_URL": redis.url}
        with process("load-histories", file, **settings) as loading:
            assert loading.popen.wait(60) == 0, loading.log

    assert int(said.split()[0]) == len(file.read_text().splitlines()) > 1000
