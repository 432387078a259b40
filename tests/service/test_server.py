"""Server: the process as an orchestrator sees it. Real processes, real signals."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import msgspec
import pytest

from service.schemas import Candidate, RankRequest
from tests.live import Process, process


def children(pid: int) -> list[int]:
    """Process ids of all threads' children."""
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def serve(repository: Path) -> tuple[object, ...]:
    return ("serve", "--port", 0, "--model-repository", repository)


def ended(started: Process) -> int:
    return started.popen.wait(20)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_zero_and_leaves_nothing(repository: Path, sig: int) -> None:
    """The embedded Redis ends too, and its folder is gone."""
    with process(*serve(repository)) as service:
        url = service.url()
        assert httpx.get(f"{url}/readyz").status_code == 200
        (server,) = children(service.popen.pid)
        folder = Path(f"/proc/{server}/cwd").readlink()

        service.popen.send_signal(sig)

        assert ended(service) == 0
        assert not Path(f"/proc/{server}").exists()
        assert not folder.exists()
        assert "Traceback" not in "".join(service.log)


def test_a_kill_takes_redis_along(repository: Path) -> None:
    """Even when the service cannot clean up, no server is orphaned."""
    with process(*serve(repository)) as service:
        service.url()
        (server,) = children(service.popen.pid)
        service.popen.kill()
        ended(service)

        give_up = time.monotonic() + 5
        while Path(f"/proc/{server}").exists():
            assert time.monotonic() < give_up
            time.sleep(0.01)


def test_requests_in_flight_are_answered(repository: Path) -> None:
    """A slow request that was accepted before SIGTERM still gets its answer."""
    slow = RankRequest("m", "feed", [Candidate(f"i{i}") for i in range(1000)], mode="non_amortized")
    answers: list[int] = []
    with process(*serve(repository), RANKER_NON_AMORTIZED_CHUNK="1") as service:
        url = service.url()
        body = msgspec.json.encode(slow)
        headers = {"content-type": "application/json"}

        def send() -> None:
            answers.append(httpx.post(f"{url}/v1/rank", content=body, headers=headers, timeout=30).status_code)

        sender = threading.Thread(target=send)
        sender.start()
        while 'ranker_inflight_requests{mode="non_amortized"} 1.0' not in httpx.get(f"{url}/metrics").text:
            assert sender.is_alive(), "too quick to be interrupted"
        service.popen.terminate()
        sender.join()

        assert (answers, ended(service)) == ([200], 0)


def test_readiness_falls_before_listening_stops(repository: Path) -> None:
    """With a drain time, a load balancer sees 503 on /readyz while requests are still answered."""
    with process(*serve(repository), RANKER_DRAIN_SECONDS="20") as service:
        url = service.url()
        service.popen.terminate()
        give_up = time.monotonic() + 10
        while httpx.get(f"{url}/readyz").status_code != 503:
            assert time.monotonic() < give_up

        assert httpx.get(f"{url}/readyz").json()["checks"]["phase"] == "draining"
        rank = {"member_id": "m", "surface": "feed", "candidates": [{"id": "item-1"}]}
        assert httpx.post(f"{url}/v1/rank", json=rank).status_code == 200

        service.popen.terminate()  # the second signal does not wait for the rest
        assert ended(service) == 128 + signal.SIGTERM


def test_a_rolling_restart_loses_no_request(repository: Path) -> None:
    """Callers that keep sending until readiness falls are all answered; their connections end with an answer."""
    rank = {"member_id": "m", "surface": "feed", "candidates": [{"id": "item-1"}]}
    answers: list[httpx.Response] = []
    fallen = threading.Event()
    with process(*serve(repository), RANKER_DRAIN_SECONDS="2") as service:
        url = service.url()

        def send() -> None:
            with httpx.Client(base_url=url, timeout=30) as client:
                while not fallen.is_set():
                    answers.append(client.post("/v1/rank", json=rank))

        with ThreadPoolExecutor(8) as callers:
            sending = [callers.submit(send) for _ in range(8)]
            while len(answers) < 100:
                time.sleep(0.01)
            service.popen.terminate()
            while httpx.get(f"{url}/readyz").status_code != 503:
                time.sleep(0.01)
            told = len(answers)
            while len(answers) < told + 50:
                time.sleep(0.01)
            fallen.set()
            for future in sending:
                future.result()

        assert {answer.status_code for answer in answers} == {200}
        assert all(answer.headers.get("connection") == "close" for answer in answers[-20:])
        assert ended(service) == 0


def test_a_port_in_use_is_an_error(repository: Path) -> None:
    """Not zero, and the log says which address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with process("serve", "--port", port, "--model-repository", repository) as service:
            assert ended(service) == 1
        assert str(port) in "".join(service.log)
        assert "Traceback" not in "".join(service.log)


def test_a_tampered_bundle_is_refused_without_a_stack(repository: Path, tmp_path: Path) -> None:
    """Not zero, and a line names the file and its fault; nothing is served of what was found good."""
    shutil.copytree(repository, tmp_path, dirs_exist_ok=True)
    artifact = tmp_path / "feed" / "1" / "ranker.pt"
    artifact.write_bytes(artifact.read_bytes() + b"x")
    with process(*serve(tmp_path)) as service:
        assert ended(service) == 1

    assert any("cannot start" in line and f"{artifact}: differs from the manifest" in line for line in service.log)
    assert "Traceback" not in "".join(service.log)


@pytest.mark.parametrize(("allowed", "accepted"), [(5000, 4096), (1000, 744)])
def test_connections_leave_files_for_the_service_itself(allowed: int, accepted: int) -> None:
    """A flood of clients cannot take the descriptors that Redis and the bundles need: the limit of open files is raised
    as far as it goes, and what it does not allow is not accepted either."""
    program = (
        "import resource; from service.server import _bounds; from service.settings import Settings;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (300, {allowed}));"
        "print(_bounds(Settings()).connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert said.stdout.split() == [str(accepted), str(min(allowed, 4096 + 256))]
    assert ("fewer connections" in said.stderr) is (accepted < 4096)
