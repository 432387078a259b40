"""The whole path in one command: train, evaluate, export, load histories, serve, rank in both modes.

It drives the command lines that a user would type and prints each before it runs; it knows neither package's code.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SURFACES = ("feed", "ads")
BASELINES = "popularity,mean_pool,concat"  # what the paper compares with; append_self costs as much again
READY = re.compile(r"ready at (http://\S+)")
START_SECONDS = 60
STOP_SECONDS = 20


@dataclass(frozen=True)
class Demo:
    """Where one demo's files lie: one folder for each data source, so that demos do not mix."""

    data: str
    folder: Path
    quick: bool
    encoder: str = "transformer"

    def run_folder(self, surface: str) -> Path:
        return self.folder / "runs" / surface

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def histories(self) -> Path:
        return self.folder / "histories.jsonl"

    def requests(self, surface: str) -> Path:
        return self.folder / f"requests-{surface}.jsonl"


def python(*words: object) -> list[str]:
    """A command line of this interpreter, printed as a user would type it."""
    print("\n$ " + shlex.join(["python", *map(str, words)]), flush=True)
    return [sys.executable, *map(str, words)]


def step(*words: object) -> None:
    """Run one command to its end; a failure ends the demo with the command's own status."""
    result = subprocess.run(python(*words), check=False)
    if result.returncode:
        sys.exit(result.returncode)


def train_and_export(demo: Demo) -> None:
    """Two rankers over one item table, their quality against the baselines, and their bundles."""
    few = ("--epochs", 1) if demo.quick else ()
    for surface in SURFACES:
        shared_items = () if surface == "feed" else ("--items-from", demo.run_folder("feed"))
        run = demo.run_folder(surface)
        what = ("--data", demo.data, "--surface", surface, "--encoder", demo.encoder)
        step("-m", "model", "train", *what, "--run", run, *shared_items, *few)
    if not demo.quick:
        for surface in SURFACES:
            where = ("--run", demo.run_folder(surface), "--baselines", BASELINES)
            step("-m", "model", "evaluate", *where, "--seeds", 1)
    shutil.rmtree(demo.models, ignore_errors=True)  # versions are immutable: a new demo starts a new repository
    for surface in SURFACES:
        written = ("--histories", demo.histories) if surface == "feed" else ()
        where = ("--repository", demo.models, "--requests", demo.requests(surface), *written)
        step("-m", "model", "export", "--run", demo.run_folder(surface), *where)


@contextlib.contextmanager
def service(demo: Demo, port: int) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The service in a process of its own, with its own Redis and the demo's histories; yields its URL and process."""
    where = ("--port", port, "--model-repository", demo.models, "--histories", demo.histories)
    process = subprocess.Popen(
        python("-m", "service", "serve", *where), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield wait_until_ready(process), process
        process.terminate()
        status = process.wait(STOP_SECONDS)
        if status:
            sys.exit(f"the service ended with status {status}")
    finally:
        if process.poll() is None:
            process.terminate()  # after Ctrl-C it has had the terminal's signal already, and only needs its time
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            process.kill()
            process.wait()


def wait_until_ready(process: subprocess.Popen[str]) -> str:
    """Echo the service's log; return its URL once it says that it is ready."""
    assert process.stdout
    lines: queue.Queue[str | None] = queue.Queue()

    def echo() -> None:
        assert process.stdout
        for line in process.stdout:
            print("  " + line, end="", flush=True)
            lines.put(line)
        lines.put(None)

    threading.Thread(target=echo, daemon=True).start()
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up:
        with contextlib.suppress(queue.Empty):
            line = lines.get(timeout=0.5)
            if line is None:
                sys.exit("the service ended before it was ready")
            if found := READY.search(line):
                return found[1]
    sys.exit(f"the service was not ready after {START_SECONDS} s")


def until_it_ends(process: subprocess.Popen[str]) -> None:
    """Looks now and then: a signal that comes just before a wait without an end does not end it."""
    while process.poll() is None:
        time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtests.demo", description=__doc__)
    parser.add_argument("--data", default="synthetic", help="synthetic, or the path of a data set")
    parser.add_argument(
        "--encoder", default="transformer", help="of the history: transformer, causal_transformer, hstu"
    )
    parser.add_argument("--folder", type=Path, help="where runs and bundles go; default var/demo/<data>[-<encoder>]")
    parser.add_argument("--quick", action="store_true", help="one epoch, no baselines: to see that everything works")
    parser.add_argument("--serve", action="store_true", help="leave the service running until Ctrl-C")
    parser.add_argument("--port", type=int, default=0, help="port of the service; 0 picks a free one")
    arguments = parser.parse_args()
    name = Path(arguments.data).name
    name += "" if arguments.encoder == "transformer" else f"-{arguments.encoder}"
    name += "-quick" if arguments.quick else ""
    folder = arguments.folder or Path("var") / "demo" / name
    demo = Demo(arguments.data, folder, arguments.quick, arguments.encoder)
    folder.mkdir(parents=True, exist_ok=True)
    if not (arguments.serve and demo.models.is_dir()):
        train_and_export(demo)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the service is stopped too
    with service(demo, arguments.port) as (url, process):
        if arguments.serve:
            until_it_ends(process)
            return
        for surface in SURFACES:
            step("-m", "service", "rank", "--url", url, "--request", demo.requests(surface), "--mode", "both")
    print(f"\nEverything ran on {os.cpu_count()} cores and nothing is left running. Files: {folder}", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
