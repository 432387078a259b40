"""A real Prometheus for a while: the repository's rules, scraping one service every second, in a folder that vanishes.

It does not know what is scraped, or what anyone asks it.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from loadtests.child import Child, child

RULES = Path(__file__).parent.parent / "docker" / "prometheus" / "rules"
LISTENING = re.compile(r'msg="Listening on" address=(\S+)')
START_SECONDS = 30
STOP_SECONDS = 10


class PrometheusFailed(Exception):
    """There is none, it did not start, or it refused a question; the message says which."""


class Sample(NamedTuple):
    """One series' value at one moment."""

    labels: dict[str, str]
    value: float


@dataclass(frozen=True)
class Prometheus:
    url: str
    http: httpx.Client

    def ask(self, expr: str) -> list[Sample]:
        """The expression's value now, one sample a series. Raises PrometheusFailed if it is not PromQL."""
        answer = self.http.get(f"{self.url}/api/v1/query", params={"query": expr}).json()
        if answer["status"] != "success":
            raise PrometheusFailed(f"{answer['error']}: {expr}")
        data = answer["data"]
        if data["resultType"] == "scalar":
            return [Sample({}, float(data["result"][1]))]
        return [Sample(series["metric"], float(series["value"][1])) for series in data["result"]]


@contextlib.contextmanager
def prometheus(service_url: str) -> Iterator[Prometheus]:
    """Start one that scrapes `service_url`; it is stopped, and its data deleted, on the way out."""
    program = shutil.which("prometheus")
    if program is None:
        raise PrometheusFailed("there is no `prometheus` on the PATH; `make system-deps` installs it")
    with tempfile.TemporaryDirectory(prefix="rankonce-prometheus-") as folder:
        config = Path(folder) / "prometheus.yml"
        config.write_text(_config(service_url))
        command = [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder}/data",
            "--web.listen-address=127.0.0.1:0",
        ]
        with child(command, STOP_SECONDS) as started, httpx.Client(timeout=10.0) as http:
            yield Prometheus(_wait_until_ready(started, http), http)


def _config(service_url: str) -> str:
    """As docker/prometheus/prometheus.yml, every second; JSON is YAML too."""
    return json.dumps(
        {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [f"{RULES}/*.yaml"],
            "scrape_configs": [
                {"job_name": "rankonce", "static_configs": [{"targets": [urlsplit(service_url).netloc]}]}
            ],
        }
    )


def _wait_until_ready(started: Child, http: httpx.Client) -> str:
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up and started.process.poll() is None:
        if found := LISTENING.search("".join(list(started.log))):
            url = f"http://{found[1]}"
            with contextlib.suppress(httpx.TransportError):
                if http.get(f"{url}/-/ready").status_code == 200:
                    return url
        time.sleep(0.05)
    raise PrometheusFailed(f"it did not start\n{started.last_words}")
