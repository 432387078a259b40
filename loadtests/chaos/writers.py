"""Writers: members whose events are sent in order, each batch with its key until it is acknowledged, and the audit of
what became of them.

An event's item, action and timestamp all follow from its number, so a torn, lost, doubled or misplaced one shows. It
does not know the fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import httpx

from loadtests.catalog import SurfaceFacts
from loadtests.workload import NOW_MS

WRITERS = 8
PAUSE_SECONDS = 0.015  # between a writer's batches
RETRY_SECONDS = 0.05
AUDIT_SECONDS = 10.0
MOST_EVENTS = 5  # in a batch
MOST_BATCHES = 50_000


@dataclass
class Writer:
    """One member. begun, acknowledged: how many of its events were sent, and answered with 200 · acknowledged_at: by
    number of the last event of each batch · refusals: by status and code · reasons: theirs, in words · odd: answers
    that nothing accounts for · worst_ms: the slowest answer, refusals too."""

    member: str
    facts: SurfaceFacts
    seed: int
    begun: int = 0
    acknowledged: int = 0
    acknowledged_at: dict[int, float] = field(default_factory=dict)
    refusals: Counter[str] = field(default_factory=Counter)
    reasons: set[str] = field(default_factory=set)
    odd: list[str] = field(default_factory=list)
    replayed: int = 0
    worst_ms: float = 0.0
    pause_seconds: float = PAUSE_SECONDS

    async def run(self, clients: Sequence[httpx.AsyncClient], stop: asyncio.Event) -> None:
        """Send batch after batch. The first of `clients` that is not closed is asked; now and then two requests with
        the same key race each other."""
        rng = random.Random(self.seed)
        for _ in range(MOST_BATCHES):
            if stop.is_set():
                return
            first, count = self.begun, rng.randint(1, MOST_EVENTS)
            batch = [self._event(number) for number in range(first, first + count)]
            self.begun += count
            twice = rng.random() < 0.2
            while True:
                tries = [self._send(clients, first, batch) for _ in range(1 + twice)]
                if any(await asyncio.gather(*tries)):
                    break
                await asyncio.sleep(RETRY_SECONDS)
            self.acknowledged = self.begun
            self.acknowledged_at[self.begun - 1] = time.perf_counter()
            await asyncio.sleep(self.pause_seconds)

    async def _send(self, clients: Sequence[httpx.AsyncClient], first: int, batch: list[dict[str, object]]) -> bool:
        http = next(client for client in clients if not client.is_closed)
        body = {"member_id": self.member, "events": batch}
        sent = time.perf_counter()
        try:
            answer = await http.post("/v1/events", json=body, headers={"idempotency-key": f"{self.member}-{first}"})
        except (httpx.HTTPError, RuntimeError) as error:  # the latter: the client was closed meanwhile
            self.refusals[type(error).__name__] += 1
            return False
        self.worst_ms = max(self.worst_ms, 1e3 * (time.perf_counter() - sent))
        if answer.status_code == 200:
            reply = answer.json()
            self.replayed += reply["replayed"]
            if reply["appended"] != len(batch):
                self.odd.append(f"{reply['appended']} events acknowledged of {len(batch)}")
            return True
        self.refusals[f"{answer.status_code} {answer.json()['code']}"] += 1
        self.reasons.add(answer.json()["detail"])
        if answer.status_code != 503 or "retry-after" not in answer.headers:
            self.odd.append(f"status {answer.status_code} {answer.json()['code']}, or no Retry-After")
        return False

    def _event(self, number: int) -> dict[str, object]:
        items, actions = self.facts.items, self.facts.actions
        return {
            "item_id": items[number % len(items)],
            "action": actions[number % len(actions)],
            "timestamp": NOW_MS + number,
        }

    async def stored(self, http: httpx.AsyncClient) -> Stored:
        """What is there now. Raises ValueError for a log that no sequence of whole batches explains."""
        give_up = time.perf_counter() + AUDIT_SECONDS
        while (answer := await http.get(f"/v1/members/{self.member}/history")).status_code == 503:
            if time.perf_counter() > give_up:
                raise TimeoutError(f"the log could not be read within {AUDIT_SECONDS:g} s")
            await asyncio.sleep(RETRY_SECONDS)
        if answer.status_code == 404:
            return Stored(0, [])
        history = answer.json()
        numbers = [action["timestamp"] - NOW_MS for action in history["actions"]]
        if history["actions"] != [self._event(number) for number in numbers]:
            raise ValueError(f"{self.member}: a torn record")
        if sorted(set(numbers)) != numbers:
            raise ValueError(f"{self.member}: events doubled or out of order")
        if numbers and numbers[-1] >= self.begun:
            raise ValueError(f"{self.member}: an event that was never sent")
        return Stored(history["total"], numbers)


@dataclass(frozen=True)
class Stored:
    """total: events ever appended · numbers: of those that are kept, in order."""

    total: int
    numbers: list[int]

    @property
    def missing(self) -> list[int]:
        """Numbers between the first and the last that are kept."""
        return sorted(set(range(self.numbers[0], self.numbers[-1])) - set(self.numbers)) if self.numbers else []


@dataclass
class Writing:
    """All writers of a row, and what they were told."""

    writers: list[Writer]

    @property
    def acknowledged(self) -> int:
        return sum(writer.acknowledged for writer in self.writers)

    @property
    def refusals(self) -> Counter[str]:
        return sum((writer.refusals for writer in self.writers), Counter())

    @property
    def reasons(self) -> set[str]:
        return set().union(*(writer.reasons for writer in self.writers))

    @property
    def odd(self) -> list[str]:
        return [what for writer in self.writers for what in writer.odd]

    @property
    def worst_ms(self) -> float:
        return max(writer.worst_ms for writer in self.writers)

    async def lost(self, http: httpx.AsyncClient) -> int:
        """Acknowledged events that are not in their logs; negative: some are there twice. Once writing has ended, when
        every batch that was begun is acknowledged. Raises ValueError as `stored` does."""
        return sum([writer.begun - (await writer.stored(http)).total for writer in self.writers])


@contextlib.asynccontextmanager
async def writing(
    clients: Sequence[httpx.AsyncClient],
    facts: SurfaceFacts,
    row: str,
    count: int = WRITERS,
    pause_seconds: float = PAUSE_SECONDS,
) -> AsyncIterator[Writing]:
    """Writers at work while the block runs; on its way out each batch under way is sent until it is acknowledged."""
    members = (f"chaos-{row}-{number}" for number in range(count))
    started = Writing([Writer(member, facts, seed, pause_seconds=pause_seconds) for seed, member in enumerate(members)])
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for writer in started.writers:
            tasks.create_task(writer.run(clients, stop))
        try:
            yield started
        finally:
            stop.set()
