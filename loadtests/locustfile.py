"""FeedUser and AdsUser for locust: the seeded workload in both modes, every answer checked.

`python -m loadtests.load` starts it together with a service; by hand, against one that has the workload's histories:
`locust -f loadtests/locustfile.py --headless --host http://127.0.0.1:8000 --models var/demo/synthetic/models`.
It does not know whether a run is good: it writes what it counted to `--summary`.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import gevent
import msgspec
import psutil
from locust import FastHttpUser, LoadTestShape, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from loadtests.catalog import read_catalog
from loadtests.checks import Outcome, judge
from loadtests.connection import loopback
from loadtests.profiles import PROFILES
from loadtests.shapes import find_data
from loadtests.tally import Schedule, Tally
from loadtests.workload import Call, Plan, Workload
from service.schemas import Mode, Surface

MODES: tuple[Mode, ...] = get_args(Mode)
USER_RATE = 2.0  # requests a second that one user sends
HEADERS = {"Content-Type": "application/json"}
SPAWN_RATE = 1000.0  # users a second, up and down: a stage's rate holds from its start
ENDING_SECONDS = 10  # what is under way at the end may take so long


class Run:
    """What the users of one run share; filled in when locust starts."""

    tally: Tally
    tolerance: float
    non_amortized_share: float
    seeds: Iterator[int]
    calls: dict[tuple[Surface, Mode], Iterator[Call]]
    cpu_seconds_before: float


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--load-profile", choices=sorted(PROFILES), default="smoke")
    parser.add_argument("--time-scale", type=float, default=1.0)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--non-amortized-share", type=float, default=0.05)
    parser.add_argument("--tolerance", type=float, default=0.05)
    parser.add_argument("--summary", type=Path)


@events.init.add_listener
def prepare(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    assert options is not None
    assert environment.host, "--host is needed"
    loopback(environment.host)
    environment.stop_timeout = ENDING_SECONDS
    workload = Workload(read_catalog(options.models), Plan(options.seed, data=find_data(options.data)))
    Run.tally = Tally(PROFILES[options.load_profile].scaled(options.time_scale))
    Run.tolerance = options.tolerance
    Run.non_amortized_share = options.non_amortized_share
    Run.seeds = itertools.count(options.seed * 1_000_000)
    Run.calls = {
        (user.surface, mode): itertools.cycle(workload.calls(user.surface, mode))
        for user in environment.user_classes
        for mode in MODES
    }


@events.test_stop.add_listener
def finish(environment: Environment, **_: Any) -> None:
    """Every user has stopped by now."""
    options = environment.parsed_options
    tally, now = Run.tally, time.perf_counter()
    summary = {
        "stages": tally.stages(now),
        "stage_latency_ms": tally.stage_latencies(),
        "latency_ms": tally.latencies(),
        "generator_cpu_share": round((_cpu_seconds() - Run.cpu_seconds_before) / (now - tally.started), 3),
        "faults": sorted({f"{error.name}: {error.error}" for error in environment.stats.errors.values()})[:20],
    }
    if options is not None and options.summary is not None:
        options.summary.write_bytes(msgspec.json.encode(summary))


class ProfileShape(LoadTestShape):
    """As many users as the profile's stage needs for its rate."""

    def reset_time(self) -> None:
        """Locust calls it once, right before the first tick."""
        super().reset_time()
        Run.cpu_seconds_before = _cpu_seconds()
        Run.tally.started = time.perf_counter()

    def tick(self) -> tuple[int, float] | None:
        now = time.perf_counter()
        tally = Run.tally
        stage = tally.profile.stage_at(now - tally.started)
        if stage is None or (tally.profile.to_saturation and self._saturated(stage, now)):
            tally.end_before(len(tally.profile.stages) if stage is None else stage)
            return None
        users = max(1, round(tally.profile.stages[stage].rate / USER_RATE))
        return users, SPAWN_RATE

    def _saturated(self, stage: int, now: float) -> bool:
        return stage > 0 and not Run.tally.stages(now)[stage - 1].kept_up(Run.tolerance)


class _Member(FastHttpUser):
    """Whoever sends the workload's next request: members are the workload's, users only carry the rate."""

    abstract = True
    surface: Surface
    network_timeout = 60.0
    connection_timeout = 5.0

    def on_start(self) -> None:
        self._rng = random.Random(next(Run.seeds))
        self._schedule = Schedule(Run.tally, USER_RATE, self._rng, time.perf_counter())
        gevent.sleep(self.wait_time())

    def on_stop(self) -> None:
        self._schedule.end(time.perf_counter())

    def wait_time(self) -> float:
        return self._schedule.wait(time.perf_counter())

    @task
    def rank(self) -> None:
        if self._schedule.over():  # it slept meanwhile
            return
        mode: Mode = "non_amortized" if self._rng.random() < Run.non_amortized_share else "amortized"
        call = next(Run.calls[self.surface, mode])
        name = f"{self.surface} {mode}"
        with self.client.post("/v1/rank", data=call.body, headers=HEADERS, name=name, catch_response=True) as answer:
            outcome, fault, _ = judge(call, answer.status_code, answer.content or b"")
            if outcome is Outcome.answered:
                answer.success()
            else:
                answer.failure(f"{outcome}: {fault}")
        Run.tally.became(time.perf_counter(), outcome, name, answer.request_meta["response_time"])


class FeedUser(_Member):
    surface: Surface = "feed"
    weight = 3


class AdsUser(_Member):
    surface: Surface = "ads"
    weight = 1


def _cpu_seconds() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)
