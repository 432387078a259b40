"""Target: a running service to be fuzzed, and what is asked of it afterwards. It does not know what is sent."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import httpx
import psutil

SETTINGS = {"RANKER_ENCODED_CACHE_BYTES": str(8 << 20)}
"""What a fuzzed service is started with: a small cache, so that memory that grows is memory that leaks."""
MOST_GROWTH_MB = 160.0
_ANSWERED = re.compile(r'^ranker_http_requests_total\{[^}]*status="500"[^}]*\} ([\d.e+]+)$', re.MULTILINE)
_LONGEST_SECONDS = 20.0


@dataclass(frozen=True)
class Target:
    """url: where it listens · pid: its process · bodies: (path, JSON) of valid requests, the document's examples."""

    url: str
    pid: int
    bodies: tuple[tuple[str, dict[str, Any]], ...]

    @classmethod
    def of(cls, url: str, pid: int) -> Target:
        paths = httpx.get(f"{url}/openapi.json", timeout=_LONGEST_SECONDS).json()["paths"]
        bodies = [
            (path, example["value"])
            for path in ("/v1/rank", "/v1/events")
            for example in paths[path]["post"]["requestBody"]["content"]["application/json"]["examples"].values()
        ]
        return cls(url, pid, tuple(bodies))

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").rsplit(":", 1)
        return host, int(port)

    def memory_mb(self) -> float:
        """Resident memory of the service's own process."""
        return float(psutil.Process(self.pid).memory_info().rss) / 2**20

    def answered_500(self) -> float:
        """How many requests it has answered with 500, by its own count."""
        text = httpx.get(f"{self.url}/metrics", timeout=_LONGEST_SECONDS).text
        return sum(float(count) for count in _ANSWERED.findall(text))

    def mend(self) -> None:
        """Load again what the fuzzers may have unloaded, as they may."""
        for surface in {body["surface"] for path, body in self.bodies if path == "/v1/rank"}:
            httpx.post(f"{self.url}/v2/repository/models/{surface}/load", timeout=_LONGEST_SECONDS).raise_for_status()

    def complaint(self) -> str | None:
        """None while every example is still answered as it should be, else what is wrong."""
        try:
            for path, body in self.bodies:
                answer = httpx.post(
                    self.url + path,
                    content=json.dumps(body),
                    headers={"content-type": "application/json"},
                    timeout=_LONGEST_SECONDS,
                )
                if answer.status_code != 200:
                    return f"a valid {path} is answered with {answer.status_code}: {answer.text[:200]}"
        except httpx.HTTPError as error:
            return f"the service does not answer any more: {error!r}"
        return None
