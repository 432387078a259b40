"""`python -m loadtests.bench_session [--quick]`: what it saves to encode each action once, and not each request.

Extending an encoded history against encoding it, HSTU against the Transformer, and a member who acts between rankings,
over HTTP. Prints a table for each and one line of JSON at the end: value, target and whether it is met. Weights are
random; in the session every extended answer is compared with one encoded anew.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from loadtests.bench_bare import BareModel
from loadtests.bench_bundles import NAMESPACE, NOW_MS, REQUEST_TIME_MS, Bundle, scratch
from loadtests.bench_results import Result, at_most, by_part, print_line, reported
from loadtests.bench_server import Client, Cores, on, serving
from loadtests.bench_shapes import ReferenceShape
from loadtests.timing import alternate, machine, median
from model.config import Encoder
from service.client import parse_server_timing
from service.embedded_redis import EmbeddedRedis
from service.redis_histories import RedisHistoryStore
from service.settings import Settings

WIDTH, CANDIDATES = 128, 512
LENGTHS, NEW = (256, 1024, 4096), (1, 8, 32)
COMPARED = (128, 256, 512, 1024, 2048, 4096)
CAUSAL: tuple[Encoder, ...] = ("hstu", "causal_transformer")
STEPS = 50
LONG = 1024


class Effort(NamedTuple):
    rounds: int
    lengths: tuple[int, ...]
    compared: tuple[int, ...]
    sessions: int


FULL = Effort(15, LENGTHS, COMPARED, 3)
QUICK = Effort(3, (256, LONG), (128, LONG), 1)


def shape(history: int, encoder: Encoder) -> ReferenceShape:
    return ReferenceShape(f"{encoder}-{history}", history, CANDIDATES, WIDTH, encoder)


def extension(encoder: Encoder, lengths: tuple[int, ...], effort: Effort) -> Iterator[Result]:
    """Extending by Δ actions against encoding all of them, at each length; and how an extension grows with T and Δ."""
    took: dict[tuple[int, int], float] = {}
    print(f"\n{encoder}, d = {WIDTH}: milliseconds to encode T actions, and to extend to T by the last Δ")
    for length in lengths:
        model = BareModel(shape(length, encoder))
        sides = {"encode": model.encode}
        for new in NEW:
            sides[str(new)] = functools.partial(model.extend, model.encode(length - new), length - new)
        seconds = {name: median(values) for name, values in alternate(sides, effort.rounds).items()}
        took |= {(length, new): seconds[str(new)] for new in NEW}
        extended = ", ".join(f"Δ={new}: {seconds[str(new)] * 1e3:.2f}" for new in NEW)
        print(f"  T={length}: {seconds['encode'] * 1e3:.2f}; {extended}")
        for new in NEW:
            ratio, row = seconds[str(new)] / seconds["encode"], f"extend {encoder} T={length} Δ={new}"
            demanded = (encoder, length, new) == ("hstu", LONG, 1)
            yield at_most(row, ratio, 0.1) if demanded else reported(row, ratio)
    shortest, longest = min(lengths), max(lengths)
    # Linear in T at most: encoding grows by more than that. And in Δ, whose fixed cost is shared.
    yield at_most(f"extend {encoder} growth T", took[longest, 1] / took[shortest, 1], longest / shortest)
    yield at_most(f"extend {encoder} growth Δ", took[LONG, max(NEW)] / took[LONG, 1], max(NEW))


def encoders(lengths: tuple[int, ...], effort: Effort) -> Iterator[Result]:
    """HSTU against the Transformer at equal width and depth: encoding, and a whole cold request."""
    print(
        f"\nd = {WIDTH}, C = {CANDIDATES}: milliseconds to encode T actions and to score, HSTU against the Transformer"
    )
    microbatch = Settings().microbatch_size
    for length in lengths:
        sides = {}
        for encoder in ("transformer", "hstu"):
            model = BareModel(shape(length, encoder))
            sides[f"{encoder} encode"] = model.encode
            sides[f"{encoder} request"] = functools.partial(model.amortized, microbatch)
        seconds = {name: median(values) for name, values in alternate(sides, effort.rounds).items()}
        print(f"  T={length}: " + ", ".join(f"{name} {value * 1e3:.2f}" for name, value in seconds.items()))
        for what in ("encode", "request"):
            ratio = seconds[f"hstu {what}"] / seconds[f"transformer {what}"]
            yield reported(f"hstu ÷ transformer {what} T={length}", ratio)


class Member:
    """One who is ranked in one way every time. steps: seconds of each ranking, by stage of the service, and `request`,
    the whole as its caller has it."""

    def __init__(self, client: Client, name: str, *, anew: bool) -> None:
        self._client = client
        self._name = name
        self._anew = anew
        self.steps: list[dict[str, float]] = []

    def act(self, item_id: str, timestamp: int) -> None:
        event = {"item_id": item_id, "action": "action-1", "timestamp": timestamp}
        reply = self._client.post(msgspec.json.encode({"member_id": self._name, "events": [event]}), "/v1/events")
        assert reply.status == 200, reply.body

    def rank(self, candidates: list[str]) -> NDArray[np.float64]:
        """Scores [C] in the order of the candidates."""
        request = {
            "member_id": self._name,
            "surface": "feed",
            "candidates": [{"id": item_id} for item_id in candidates],
            "request_time": REQUEST_TIME_MS,
            "reuse_encoding": not self._anew,
        }
        body = msgspec.json.encode(request)
        start = time.perf_counter()
        reply = self._client.post(body)
        took = time.perf_counter() - start
        assert reply.status == 200, reply.body
        header = next(line for line in reply.headers.split(b"\r\n") if line.startswith(b"server-timing:"))
        self.steps.append({**parse_server_timing(header.decode().partition(":")[2]), "request": took})
        scores = {row["id"]: row["score"] for row in msgspec.json.decode(reply.body)["ranked"]}
        return np.array([scores[item_id] for item_id in candidates])

    def total(self, what: str) -> float:
        """Seconds of all rankings together."""
        return sum(step[what] for step in self.steps)


def session(client: Client, item_ids: Sequence[str], names: Sequence[str], steps: int, seed: int) -> list[Member]:
    """Rank, act, rank, act …: one member's encoding is extended, the other's made anew each time, and both do the same.

    Raises AssertionError where their scores differ by more than rounding.
    """
    rng = np.random.default_rng(seed)
    members = [Member(client, name, anew=anew) for name, anew in zip(names, (False, True), strict=True)]
    for step in range(steps):
        candidates = [item_ids[row] for row in rng.choice(len(item_ids), CANDIDATES, replace=False)]
        order = members if step % 2 else members[::-1]
        scores = [member.rank(candidates) for member in order]
        assert np.allclose(*scores, rtol=1e-4, atol=0.0), f"scores differ in step {step}"
        for member in members:
            member.act(item_ids[step], NOW_MS + 1_000 * step)
    return members


async def twins(bundle: Bundle, url: str, pairs: int, actions: int) -> list[tuple[str, str]]:
    """Pairs of members, the two of a pair with one history of so many actions."""
    manifest = bundle.manifest
    names = await bundle.store_members(url, pairs, actions)
    store = RedisHistoryStore(
        url, NAMESPACE, manifest.embedding_version, manifest.embedding_dim, manifest.max_history, 5000.0
    )
    for name in names:
        await store.replace(f"{name}-twin", (await store.log(name)).records.tobytes())
    await store.close()
    return [(name, f"{name}-twin") for name in names]


def sessions(history: int, steps: int, effort: Effort) -> Iterator[Result]:
    """Whole sessions over HTTP: with the threads that a service has by default, and with one."""
    cores = Cores.divided()
    with scratch() as folder, EmbeddedRedis() as redis:
        bundle = Bundle(shape(history, "hstu"), Path(folder))
        for name, settings in (("session", {}), ("session 1 thread", {"inference_threads": 1})):
            pairs = asyncio.run(twins(bundle, redis.url, effort.sessions + 1, history - steps // 2))
            members = []
            with (
                serving(bundle.repository, redis.url, cores.server, settings) as service,
                on(cores.generator),
                Client(service.url) as client,
            ):
                for number, pair in enumerate(pairs):
                    members.append(session(client, bundle.items.ids[1:], pair, steps, number))
            ratios = compared(f"{name}, {steps} steps, T = {history}, C = {CANDIDATES}", members[1:])
            yield at_most(f"{name} encode stage", ratios["encode"], 0.15)
            yield at_most(f"{name} request", ratios["request"], 0.6)


def compared(title: str, members: Sequence[Sequence[Member]]) -> dict[str, float]:
    """Extended ÷ anew, by stage: of the medians of whole sessions."""
    print(f"\n{title}: milliseconds of a session, extended and anew each time")
    ratios = {}
    for what in members[0][0].steps[0]:
        extended, anew = (median([pair[side].total(what) for pair in members]) for side in (0, 1))
        ratios[what] = extended / anew
        print(f"  {what:10s}{extended * 1e3:9.1f}{anew * 1e3:9.1f}")
    return ratios


def encode_of_session(history: int, steps: int, effort: Effort) -> Result:
    """The ranker's own part of such a session: every step's encoding, with the request's scoring in between."""
    model, slack = BareModel(shape(history, "hstu")), history // 4
    microbatch = Settings().microbatch_size
    lengths = list(range(history - steps // 2, history + 1))
    lengths += range(history - slack + 1, history - slack + 1 + steps - len(lengths))
    took = {"extended": 0.0, "anew": 0.0}
    for _ in range(effort.rounds):
        kept: Any = None
        for before, length in zip([0, *lengths], lengths, strict=False):
            for side in took:
                start = time.perf_counter()
                if side == "anew":
                    encoded = model.encode(length)
                elif before < length and kept is not None:
                    encoded = kept = model.extend(kept, before, length)
                else:
                    encoded = kept = model.encode(length)
                took[side] += time.perf_counter() - start
                model.score(encoded, microbatch)
    print("\nThe ranker alone in such a session, milliseconds of encoding: ", end="")
    print(", ".join(f"{side} {seconds / effort.rounds * 1e3:.1f}" for side, seconds in took.items()))
    return at_most("session encode", took["extended"] / took["anew"], 0.15)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer lengths and repetitions")
    effort = QUICK if parser.parse_args(arguments).quick else FULL
    torch.set_num_threads(1)
    print(f"{machine()}; 1 thread, random weights, two layers, TorchScript frozen, fp32")
    results = list(sessions(LONG, STEPS, effort))
    with torch.inference_mode():
        results.append(encode_of_session(LONG, STEPS, effort))
        for encoder in CAUSAL:
            results += extension(encoder, effort.lengths, effort)
        results += encoders(effort.compared, effort)
    line = by_part(results)
    print_line(line)
    return line


if __name__ == "__main__":
    main()
