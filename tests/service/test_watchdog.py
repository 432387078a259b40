"""Watchdog: a thread that hangs ends the process, also while it stops; one that comes back does not."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from loadtests.faults.bundles import FAULT, HANG
from service.health import Readiness
from service.watchdog import EXIT_STATUS, Watchdog
from tests.live import Process, process


def until(reached: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < give_up
        time.sleep(0.005)


@pytest.fixture
def readiness() -> Readiness:
    """Of a service that serves."""
    found = Readiness()
    found.phase = "serving"
    return found


def test_a_thread_that_comes_back_makes_it_ready_again(readiness: Readiness) -> None:
    """Not ready while it is stuck, and nothing has ended."""
    longest, ended = [0.0], []
    with Watchdog(lambda: longest[0], readiness, bound=0.02, grace=10.0, exit_=ended.append).watching():
        assert readiness.serving
        longest[0] = 5.0
        until(lambda: not readiness.serving)
        assert readiness.phase == "serving"
        longest[0] = 0.01
        until(lambda: readiness.serving)

    assert ended == []


def test_one_that_does_not_come_back_ends_the_process(readiness: Readiness) -> None:
    """With a status that is an error's."""
    exited = threading.Event()
    ended: list[int] = []

    def exit_(status: int) -> None:
        ended.append(status)
        exited.set()

    with Watchdog(lambda: 1.0, readiness, bound=0.02, grace=0.02, exit_=exit_).watching():
        assert exited.wait(30)

    assert ended[0] == EXIT_STATUS


def test_nothing_is_watched_while_bundles_are_loaded() -> None:
    """A slow start is no hang."""
    readiness = Readiness()
    looked = threading.Event()

    def longest() -> float:
        looked.set()
        return 1e9

    with Watchdog(longest, readiness, bound=0.02, exit_=lambda _: None).watching():
        assert not looked.wait(0.1)
        readiness.phase = "draining"
        assert looked.wait(30)


def rank(url: str, fault: float, timeout: float = 30.0) -> httpx.Response:
    body = {"member_id": "m", "surface": "feed", "candidates": [{"id": "item-1"}], "context": {FAULT: fault}}
    return httpx.post(f"{url}/v1/rank", json=body, timeout=timeout)


def hung(service: Process) -> str:
    """The service's URL, once one of its two threads hangs. Its request has timed out."""
    url = service.url()
    assert rank(url, HANG).status_code == 504
    return url


SERVICE = {"RANKER_INFERENCE_THREADS": "2", "RANKER_INFERENCE_HANG_SECONDS": "2", "RANKER_AMORTIZED_DEADLINE_MS": "500"}


def test_a_ranker_that_hangs_fails_its_request_and_then_the_process(faulty_repository: Path) -> None:
    """504 for who asked; others are answered; it says that it is not ready, why, and exits with an error."""
    with process("serve", "--port", 0, "--model-repository", faulty_repository, **SERVICE) as service:
        url = hung(service)
        assert rank(url, 0.0).status_code == 200
        until(lambda: httpx.get(f"{url}/readyz").status_code == 503)
        assert "come back" in httpx.get(f"{url}/readyz").json()["checks"]["inference"]
        assert rank(url, 0.0).status_code == 200

        assert service.popen.wait(30) == EXIT_STATUS
    assert "an inference thread has not come back" in "".join(service.log)
    assert "Traceback" not in "".join(service.log)


def test_a_thread_that_hangs_does_not_keep_a_service_from_stopping(faulty_repository: Path) -> None:
    """Its end waits for the threads, but not for ever."""
    with process("serve", "--port", 0, "--model-repository", faulty_repository, **SERVICE) as service:
        hung(service)
        service.popen.send_signal(signal.SIGTERM)

        with contextlib.suppress(httpx.HTTPError):
            assert service.popen.wait(30) == EXIT_STATUS
