"""Rows: a new bundle takes over under load, and bad ones try to. No request may notice, and no answer mix versions.

It does not know how the service loads a bundle.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx

from loadtests.chaos.row import Figures, Row
from loadtests.chaos.stage import RATE, Stage
from loadtests.chaos.traffic import Traffic, traffic
from loadtests.serving import serving

COMPARED = 20  # requests whose scores by every version are known
ASKERS = 3
TOLERANCE = 1e-4
GROWTH_MB = 64.0
SETTINGS = {"RANKER_STORE_TIMEOUT_MS": "2000"}  # the store is not what is tried here

Scores = dict[str, float]


class Reloading:
    """A service on a repository of its own, with versions 1 and 2 of the feed, whose scores differ."""

    def __init__(self, http: httpx.AsyncClient, repository: Path, stage: Stage) -> None:
        self.http = http
        self.feed = repository / "feed"
        self.bodies = [call.body for call in stage.calls[:COMPARED]]
        self.expected: dict[str, list[Scores]] = {}
        self.seen = {"1": 0, "2": 0}
        self.torn = 0

    async def post(self, path: str, body: Any = None) -> httpx.Response:
        return await self.http.post(f"/v2/repository/{path}", json=body or {}, timeout=120.0)

    async def load(self, version: str) -> httpx.Response:
        return await self.post("models/feed/load", {"parameters": {"version": version}})

    async def rank(self, body: bytes) -> tuple[str, Scores]:
        answer = await self.http.post("/v1/rank", content=body, headers={"content-type": "application/json"})
        ranking = answer.raise_for_status().json()
        return ranking["model"]["version"], {one["id"]: one["score"] for one in ranking["ranked"]}

    async def learn(self) -> None:
        """What each version answers, without load."""
        for version in ("2", "1"):
            (await self.load(version)).raise_for_status()
            self.expected[version] = [(await self.rank(body))[1] for body in self.bodies]

    async def ask(self) -> None:
        """Compare answers with those of the version that they name, until cancelled."""
        while True:
            for index, body in enumerate(self.bodies):
                version, scores = await self.rank(body)
                known = self.expected[version][index]
                self.seen[version] += 1
                self.torn += any(
                    abs(score - known[item]) > TOLERANCE * max(1.0, abs(score)) for item, score in scores.items()
                )

    async def state(self, version: str) -> tuple[str, str]:
        listed = (await self.post("index")).json()
        return next((entry["state"], entry["reason"]) for entry in listed if entry["version"] == version)

    async def refused(self) -> float:
        wanted = 'ranker_bundle_loads_total{result="refused",surface="feed"}'
        lines = (await self.http.get("/metrics")).text.splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(wanted))


def add_version(feed: Path) -> None:
    """Version 2: the same ranker, calibrated differently, so that every score tells which version gave it."""
    shutil.copytree(feed / "1", feed / "2")
    edit(feed / "2", lambda manifest: manifest.update(version="2"))
    edit(feed / "2", lambda m: [task.update(calibration={"scale": 0.5, "offset": 0.7}) for task in m["tasks"]])


def edit(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def disk_full(bundle: Path) -> None:
    """A copy that fails half way, for real: the kernel lets the file grow no further."""
    whole = bundle.parent / "1" / "ranker.pt"
    blocks = whole.stat().st_size // 2048
    copied = subprocess.run(["bash", "-c", f"ulimit -f {blocks}; cp {whole} {bundle}/ranker.pt"], capture_output=True)
    assert copied.returncode != 0, "the copy was to fail"


def flipped(bundle: Path) -> None:
    data = bytearray((bundle / "items.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / "items.safetensors").write_bytes(data)


def wrong_golden(bundle: Path) -> None:
    golden = json.loads((bundle / "golden.json").read_text())
    golden[0]["logits"]["values"][0] += 0.5
    _replace(bundle, "golden.json", json.dumps(golden).encode())


def no_ranker(bundle: Path) -> None:
    _replace(bundle, "ranker.pt", b"not a ranker")


def _replace(bundle: Path, name: str, data: bytes) -> None:
    (bundle / name).write_bytes(data)
    edit(bundle, lambda manifest: manifest["files"].update({name: hashlib.sha256(data).hexdigest()}))


BAD: dict[str, Callable[[Path], object]] = {
    "disk full": disk_full,
    "corrupt": flipped,
    "half copied": lambda bundle: (bundle / "manifest.json").unlink(),
    "golden mismatch": wrong_golden,
    "no ranker": no_ranker,
    "newer torch": lambda bundle: edit(bundle, lambda m: m.update(torch_version="999.0")),
    "other surface": lambda bundle: edit(bundle, lambda m: m.update(name="ads")),
    "other embeddings": lambda bundle: edit(bundle, lambda m: m.update(embedding_version="other")),
}


@contextlib.asynccontextmanager
async def reloading(stage: Stage) -> AsyncIterator[tuple[Reloading, Traffic, Callable[[], float]]]:
    """The service, load on it, and its memory in MB."""
    with tempfile.TemporaryDirectory(prefix="rankonce-reload-") as folder:
        repository = Path(shutil.copytree(stage.models, Path(folder) / "models"))
        add_version(repository / "feed")
        running = serving(repository, stage.workload, RANKER_REDIS_URL=stage.proxy.url, **SETTINGS)
        service = await asyncio.to_thread(running.__enter__)
        try:
            async with httpx.AsyncClient(base_url=service.url, timeout=30.0) as http:
                trial = Reloading(http, repository, stage)
                await trial.learn()
                async with traffic(service.url, stage.calls, RATE) as sent:
                    asking = [asyncio.create_task(trial.ask()) for _ in range(ASKERS)]
                    yield trial, sent, service.memory_mb
                    for task in asking:
                        task.cancel()
                    ended = await asyncio.gather(*asking, return_exceptions=True)
                    for error in ended:
                        if isinstance(error, Exception):
                            raise error
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)


def _judge(figures: Figures, trial: Reloading) -> None:
    figures.facts |= {"answers compared": float(sum(trial.seen.values())), "of mixed versions": float(trial.torn)}
    figures.expect(trial.torn == 0, f"{trial.torn} answers were not those of the version that they name")
    noticed = figures.shed + figures.degraded
    figures.expect(noticed == 0, f"{noticed} requests were refused or ranked without their history")


async def reloads(stage: Stage) -> Figures:
    """Back and forth between two versions, by load and by rollback."""
    rounds = 3 if stage.quick else 15
    took: list[float] = []
    async with reloading(stage) as (trial, sent, memory_mb):
        memory: list[float] = []
        for _ in range(rounds):
            for path, body in (("load", {"parameters": {"version": "2"}}), ("rollback", None)):
                begun = time.perf_counter()
                (await trial.post(f"models/feed/{path}", body)).raise_for_status()
                took.append(time.perf_counter() - begun)
            memory.append(memory_mb())
    figures = sent.figures()
    _judge(figures, trial)
    figures.facts |= {"reloads": float(len(took)), "slowest reload s": max(took)}
    figures.facts["memory MB grown since the first round"] = memory[-1] - memory[0]
    figures.expect(min(trial.seen.values()) > 0, f"answers by version: {trial.seen}")
    figures.expect(memory[-1] - memory[0] < GROWTH_MB, f"memory grew by {memory[-1] - memory[0]:.0f} MB")
    return figures


async def bad_bundles(stage: Stage) -> Figures:
    """Each is refused, said and counted, while the old version serves; then the good one loads, and is rolled back."""
    async with reloading(stage) as (trial, sent, _):
        good = trial.feed.parent / "good"
        shutil.move(trial.feed / "2", good)
        faults = []
        for number, (name, spoil) in enumerate(BAD.items(), start=1):
            shutil.rmtree(trial.feed / "2", ignore_errors=True)
            spoil(Path(shutil.copytree(good, trial.feed / "2")))
            answer = await trial.load("2")
            state, reason = await trial.state("2")
            as_promised = (answer.status_code, state, bool(reason)) == (409, "UNAVAILABLE", True)
            if not as_promised or await trial.refused() != number or (await trial.state("1"))[0] != "READY":
                faults.append(f"{name}: {answer.status_code}, {state}, {reason}")
        only_old = trial.seen["2"] == 0
        shutil.rmtree(trial.feed / "2")
        shutil.move(good, trial.feed / "2")
        (await trial.load("2")).raise_for_status()
        (await trial.post("models/feed/rollback")).raise_for_status()
        back = await trial.state("1")
    figures = sent.figures()
    _judge(figures, trial)
    figures.facts["bundles refused"] = float(len(BAD) - len(faults))
    figures.expect(not faults, f"not refused as promised: {faults}")
    figures.expect(only_old, "a refused version answered")
    figures.expect(back == ("READY", ""), f"after the rollback version 1 is {back}")
    return figures


ROWS = (
    Row("reload", "another version takes over, and back", reloads),
    Row("bad-bundles", "corrupt, cut off, foreign bundles", bad_bundles),
)
