"""The workload: members with histories and the rank requests they send, all of it determined by one seed.

Members return as in life (Zipf), so some requests find an encoding that is kept. Bodies are encoded beforehand: while
the clock runs a generator only sends. It does not know how requests are sent or timed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from loadtests.catalog import Catalog, SurfaceFacts
from loadtests.shapes import Shapes, draw_shapes
from service.schemas import Candidate, Event, Mode, RankRequest, Surface

MEMBERS = 2000
REQUESTS = 4000
ZIPF_EXPONENT = 1.0  # an assumption, not a fit: members of the MIND sample hardly repeat
NOW_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z: histories end before it, requests come after it
MEAN_GAP_MS = 20 * 60_000  # between two actions of a member; costs nothing, whatever its value

_encode = msgspec.json.Encoder().encode


class _Candidate(Candidate, omit_defaults=True):
    """As the service's, and encoded as a client would: what is not given is not sent."""


class _Request(RankRequest, omit_defaults=True):
    """The same for the request."""


class Call(NamedTuple):
    """One request, encoded, and what its answer must fit. history: how many actions the member has."""

    body: bytes
    surface: Surface
    mode: Mode
    candidates: frozenset[str]
    tasks: frozenset[str]
    history: int


@dataclass(frozen=True)
class Plan:
    """How much to make, from which seed. candidates: so many in each request, instead of MIND's counts."""

    seed: int = 1
    members: int = MEMBERS
    requests: int = REQUESTS
    data: Path | None = None
    candidates: int | None = None


class Workload:
    """Equal plans over equal catalogs give equal bytes."""

    def __init__(self, catalog: Catalog, plan: Plan) -> None:
        self.plan = plan
        self._catalog = catalog
        rng = np.random.default_rng([plan.seed, 0])
        self.shapes: Shapes = draw_shapes(plan.members, plan.requests, rng, plan.data)
        weights = 1.0 / np.arange(1, plan.members + 1) ** ZIPF_EXPONENT
        self._popularity = weights / weights.sum()

    def member_id(self, member: int) -> str:
        return f"load-{member:06d}"

    def write_histories(self, path: Path) -> int:
        """JSON Lines for `serve --histories`; members without an action have no line. Returns how many were written."""
        facts = self._catalog.any
        rng = np.random.default_rng([self.plan.seed, 1])
        path.parent.mkdir(parents=True, exist_ok=True)
        lengths = self.shapes.history.tolist()
        with path.open("wb") as file:
            for member, length in enumerate(lengths):
                items = rng.integers(0, len(facts.items), length).tolist()
                actions = rng.integers(0, len(facts.actions), length).tolist()
                gaps = rng.integers(1, 2 * MEAN_GAP_MS, length)
                times = (NOW_MS - np.cumsum(gaps)[::-1]).tolist()
                events = [
                    Event(facts.items[item], facts.actions[action], time)
                    for item, action, time in zip(items, actions, times, strict=True)
                ]
                if events:
                    file.write(_encode({"member_id": self.member_id(member), "events": events}) + b"\n")
        return sum(length > 0 for length in lengths)

    def calls(self, surface: Surface, mode: Mode, *, reuse_encoding: bool = True) -> list[Call]:
        """The plan's requests on one surface, in order. The same ones, whatever the mode."""
        facts = self._catalog.surfaces[surface]
        return [self._call(facts, request, mode, reuse_encoding) for request in self._requests(facts)]

    def _requests(self, facts: SurfaceFacts) -> Iterator[tuple[int, RankRequest]]:
        rng = np.random.default_rng([self.plan.seed, 2, *facts.surface.encode()])
        members = rng.choice(self.plan.members, self.plan.requests, p=self._popularity).tolist()
        for number, (member, drawn) in enumerate(zip(members, self.shapes.candidates.tolist(), strict=True)):
            count = min(self.plan.candidates or drawn, facts.max_candidates)
            yield (
                member,
                _Request(
                    member_id=self.member_id(member),
                    surface=facts.surface,
                    candidates=list(_candidates(facts, count, rng)),
                    context={name: round(float(rng.random()), 3) for name in facts.context} or None,
                    request_time=NOW_MS + 1000 * number,
                ),
            )

    def _call(self, facts: SurfaceFacts, asked: tuple[int, RankRequest], mode: Mode, reuse_encoding: bool) -> Call:
        member, request = asked
        request.mode, request.reuse_encoding = mode, reuse_encoding
        ids = frozenset(candidate.id for candidate in request.candidates)
        return Call(_encode(request), facts.surface, mode, ids, facts.tasks, int(self.shapes.history[member]))


def _candidates(facts: SurfaceFacts, count: int, rng: np.random.Generator) -> Iterator[Candidate]:
    """Distinct ids. A small item table runs out of known items; the rest are items that it has never seen."""
    known = rng.permutation(len(facts.items))[:count].tolist()
    ids = [facts.items[row] for row in known] + [f"load-unseen-{i}" for i in range(count - len(known))]
    features = rng.normal(0.0, 1.0, (count, facts.features)).round(3).tolist()
    bids = rng.lognormal(0.0, 0.5, count).round(3).tolist()
    for item, values, bid in zip(ids, features, bids, strict=True):
        yield _Candidate(item, features=values or None, bid=bid if facts.surface == "ads" else None)
