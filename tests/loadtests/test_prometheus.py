"""The real Prometheus: started, asked and stopped."""

from __future__ import annotations

import shutil
import time

import httpx
import pytest

from loadtests.prometheus import PrometheusFailed, prometheus

NOBODY = "http://127.0.0.1:9"


def needs_prometheus() -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("no prometheus: `make system-deps` installs it")


def test_it_says_what_it_scrapes_and_is_gone_afterwards() -> None:
    """It asks the service it was given under the name that the rules expect, and stops with its block."""
    needs_prometheus()
    with prometheus(NOBODY) as source:
        give_up = time.monotonic() + 20
        while not (found := source.ask("up")):
            assert time.monotonic() < give_up
            time.sleep(0.1)
        alerts = source.http.get(f"{source.url}/api/v1/rules").json()["data"]["groups"]

    assert [(sample.labels["job"], sample.value) for sample in found] == [("rankonce", 0.0)]
    assert {group["name"] for group in alerts} >= {"ranker_latency_slo", "ranker_health"}
    with pytest.raises(httpx.TransportError):
        httpx.get(source.url)


def test_a_wrong_question_is_an_error() -> None:
    """What is not PromQL is refused with the expression in the message; a scalar is one sample without labels."""
    needs_prometheus()
    with prometheus(NOBODY) as source:
        with pytest.raises(PrometheusFailed, match="sum by"):
            source.ask("sum by (")
        assert [(sample.labels, sample.value) for sample in source.ask("1 + 1")] == [({}, 2.0)]


def test_without_a_prometheus_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """No program on the PATH: the error names the command that installs it."""
    monkeypatch.setenv("PATH", "")

    with pytest.raises(PrometheusFailed, match="make system-deps"), prometheus(NOBODY):
        pass
