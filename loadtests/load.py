"""`make load PROFILE=smoke`: a service, locust against it, and a verdict on whether the run can be trusted.

Writes locust's HTML and CSV, prints offered and achieved rate for each stage, and exits with 1 if a stage that had to
hold fell short by more than the tolerance, if an answer was wrong, or if the generator itself was the bottleneck. The
last line is JSON. It does not know what the users send.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from loadtests.catalog import read_catalog
from loadtests.latency import shown
from loadtests.profiles import PROFILES, Profile, StageCounts, refusals, saturation
from loadtests.serving import Service, ServiceFailed, find_models, serving
from loadtests.shapes import find_data
from loadtests.workload import Plan, Workload

USERS = {"feed": "FeedUser", "ads": "AdsUser"}
TOLERANCE = 0.05
BUSY_GENERATOR = 0.9  # of one core: beyond it locust's own latencies and rate are the generator's
GRACE_SECONDS = 60


class Summary(msgspec.Struct):
    """What the locust process counted."""

    stages: list[StageCounts]
    stage_latency_ms: list[dict[str, float | None]]
    latency_ms: dict[str, dict[str, float | None]]
    generator_cpu_share: float
    faults: list[str]


@dataclass(frozen=True)
class Costs:
    """What the run cost the service: CPU seconds, and resident memory before and after in MiB."""

    cpu_seconds: float
    memory_before_mb: float
    memory_after_mb: float


def main() -> int:
    options = _options()
    profile = PROFILES[options.profile].scaled(options.time_scale)
    models, data = find_models(options.models), find_data(options.data)
    catalog = read_catalog(models)
    workload = Workload(catalog, Plan(options.seed, data=data))
    folder = options.out / profile.name
    folder.mkdir(parents=True, exist_ok=True)
    summary_path = folder / "summary.json"
    summary_path.unlink(missing_ok=True)
    print(f"{profile.name}: {profile.purpose}; up to {profile.seconds:.0f} s", flush=True)
    print(
        f"service of {models} and generator share {len(os.sched_getaffinity(0))} cores; "
        f"seed {options.seed}, shapes {workload.shapes.source} from MIND",
        flush=True,
    )
    try:
        with serving(models, workload) as service:
            before = (time.perf_counter(), service.cpu_seconds(), service.memory_mb())
            users = [USERS[surface] for surface in catalog.surfaces]
            said = _run_locust(service, profile, options, folder, models, data, users)
            costs = Costs(service.cpu_seconds() - before[1], before[2], service.memory_mb())
    except ServiceFailed as error:
        sys.exit(f"refused: {error}")
    if not summary_path.is_file():
        sys.exit(f"refused: locust wrote no summary\n{said[-2000:]}")
    summary = msgspec.json.decode(summary_path.read_bytes(), type=Summary)
    return report(profile, summary, costs, options.tolerance, folder)


def report(profile: Profile, summary: Summary, costs: Costs, tolerance: float, folder: Path) -> int:
    """Print the run and its verdict; returns the exit status."""
    refused = refusals(profile, summary.stages, tolerance)
    if summary.generator_cpu_share > BUSY_GENERATOR:
        refused.append(f"the generator used {summary.generator_cpu_share:.0%} of its core: it was the bottleneck")
    _print_tables(summary)
    answered = sum(stage.answered for stage in summary.stages)
    seconds = sum(stage.seconds for stage in summary.stages)
    offered = sum(stage.offered for stage in summary.stages)
    facts: dict[str, Any] = {
        "profile": profile.name,
        "held": not refused,
        "offered_rps": round(offered / seconds, 2) if seconds else 0.0,
        "achieved_rps": round(answered / seconds, 2) if seconds else 0.0,
        "tolerance": tolerance,
        "saturation_rps": saturation(profile, summary.stages, tolerance),
        "answered": answered,
        "shed": sum(stage.shed for stage in summary.stages),
        "degraded": sum(stage.degraded for stage in summary.stages),
        "wrong": sum(stage.wrong for stage in summary.stages),
        "stages": [
            {**stage._asdict(), "p50_ms": latency["p50"], "p99_ms": latency["p99"]}
            for stage, latency in zip(summary.stages, summary.stage_latency_ms, strict=False)
        ],
        "latency_ms": summary.latency_ms,
        "service_cpu_seconds_per_1000": round(1000 * costs.cpu_seconds / answered, 3) if answered else None,
        "service_memory_mb": [round(costs.memory_before_mb, 1), round(costs.memory_after_mb, 1)],
        "generator_cpu_share": summary.generator_cpu_share,
        "html": str(folder / "report.html"),
        "refused": refused,
    }
    print(f"\noffered {facts['offered_rps']} requests/s, achieved {facts['achieved_rps']}; report: {facts['html']}")
    if facts["saturation_rps"] is not None:
        print(f"kept up with at most {facts['saturation_rps']:.0f} requests/s")
    for fault in summary.faults:
        print(f"  seen: {fault}")
    for reason in refused:
        print(f"refused: {reason}", file=sys.stderr, flush=True)
    print(msgspec.json.encode(facts).decode(), flush=True)
    return 1 if refused else 0


def _run_locust(
    service: Service,
    profile: Profile,
    options: argparse.Namespace,
    folder: Path,
    models: Path,
    data: Path | None,
    users: list[str],
) -> str:
    """Run it to its end; returns what it logged."""
    locustfile = Path(__file__).with_name("locustfile.py")
    command = [sys.executable, "-m", "locust", "-f", locustfile, "--headless", "--host", service.url, "--only-summary"]
    command += ["--html", folder / "report.html", "--csv", folder / "stats", "--csv-full-history"]
    command += ["--exit-code-on-error", 0, "--load-profile", profile.name, "--time-scale", options.time_scale]
    command += ["--models", models, "--seed", options.seed, "--tolerance", options.tolerance]
    command += ["--non-amortized-share", options.non_amortized_share, "--summary", folder / "summary.json"]
    if data is not None:
        command += ["--data", data]
    log = folder / "locust.log"
    with log.open("w") as sink:
        process = subprocess.Popen([*map(str, command), *users], stdout=sink, stderr=subprocess.STDOUT)
        try:
            process.wait(profile.seconds + GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            print("locust did not end in time", file=sys.stderr)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
    return log.read_text()


def _print_tables(summary: Summary) -> None:
    print("\nstage  seconds  offered/s  achieved/s  shed  degraded  wrong    p50 ms    p99 ms")
    for index, (stage, latency) in enumerate(zip(summary.stages, summary.stage_latency_ms, strict=False), start=1):
        print(
            f"{index:5d}  {stage.seconds:7.1f}  {stage.offered / stage.seconds:9.1f}  "
            f"{stage.answered / stage.seconds:10.1f}  {stage.shed:4d}  {stage.degraded:8d}  {stage.wrong:5d}  "
            f"{shown(latency['p50']):>8}  {shown(latency['p99']):>8}"
        )
    print("\nms, from sending (closed loop)  answered     p50     p90     p95     p99   p99.9     max")
    for name, latency in summary.latency_ms.items():
        figures = (latency[key] for key in ("p50", "p90", "p95", "p99", "p99.9", "max"))
        print(f"{name:<30}  {latency['answered'] or 0:8.0f}  {'  '.join(f'{shown(value):>6}' for value in figures)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.load", description=__doc__)
    parser.add_argument("--profile", choices=sorted(PROFILES), default="smoke")
    parser.add_argument("--models", type=Path, help="model repository; default: the demo's, or a quick one is trained")
    parser.add_argument("--data", type=Path, help="folder with mind_sample/ to replay; default: RANKONCE_DATA")
    parser.add_argument("--out", type=Path, default=Path("build/load"), help="where reports go")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--time-scale", type=float, default=1.0, help="each stage takes so many times as long")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="how far achieved may fall short of offered")
    parser.add_argument("--non-amortized-share", type=float, default=0.05, help="of the requests")
    return parser.parse_args()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
