"""Any sequence of operations on a history store equals a plain Python list, on every store."""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.bundle import window_start
from service.codec import HistoryVersion
from service.histories import HistoryStore, Window
from tests.service.stores import Backend, marks, records

operations = st.lists(
    st.tuples(
        st.sampled_from(["append", "append", "append", "replace", "erase", "get", "again"]),
        st.sampled_from(["m", "ü{n}"]),
        st.integers(0, 11),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations, st.integers(1, 6), st.data())
def test_any_sequence_equals_a_plain_list(
    backend: Backend, steps: list[tuple[str, str, int]], max_history: int, data: st.DataObject
) -> None:
    """Appends, rewrites, erasures and reads with any known version: windows, trims and totals are a list's."""
    short = data.draw(st.integers(1, max_history))
    window = Window(short, data.draw(st.integers(1, short)))
    asyncio.run(_follow(backend.open(max_history), steps, max_history, window))


async def _follow(store: HistoryStore, steps: list[tuple[str, str, int]], max_history: int, window: Window) -> None:
    model: dict[str, list[int]] = {}  # member → every mark since its log began
    kept: dict[str, int] = {}  # member → how many of them are still stored
    begun: dict[str, int] = {}  # member → which beginning this is
    known: dict[str, list[tuple[HistoryVersion, tuple[int, int]]]] = {}
    first: dict[str, list[int]] = {}  # member → the batch that came with its idempotency key
    sent: dict[str, list[int]] = {}  # member → what was answered to it
    last = 0
    for step, (what, member, count) in enumerate(steps):
        batch = list(range(last + 1, last + 1 + count))
        last += count
        if what in ("append", "again"):
            key = f"{member}-key" if what == "again" else None
            repeated = key is not None and member in sent
            reply = await store.append(member, records(first[member] if repeated else batch), key)
            if not repeated:
                if batch and member not in model:
                    model[member], kept[member], begun[member] = [], 0, step + 1
                if batch:
                    model[member] += batch
                    kept[member] += count
                if key is not None:
                    first[member], sent[member] = batch, [count, len(model.get(member, []))]
                assert reply == (count, len(model.get(member, [])), False)
            else:
                assert reply == (*sent[member], True)
        elif what == "replace":
            model.pop(member, None)
            if batch:
                model[member], kept[member], begun[member] = batch, count, step + 1
            assert await store.replace(member, records(batch)) == count
        elif what == "erase":
            assert await store.erase(member) is (model.pop(member, None) is not None)
        if member in model and kept[member] > 2 * max_history:
            kept[member] = max_history
        everything = model.get(member, [])
        stored = everything[len(everything) - kept[member] :] if everything else []
        log = await store.log(member)
        assert (marks(log), log.total, log.start) == (stored, len(everything), len(everything) - len(stored))
        content = (begun[member], len(everything)) if everything else (0, 0)
        versions = known.setdefault(member, [])
        for version, then in versions[-4:]:
            assert (await store.get(member, window, version) is None) is (then == content)
        history = await store.get(member, window)
        assert history is not None
        start = window_start(len(everything), *window)
        assert (history.total, history.start, marks(history)) == (len(everything), start, everything[start:])
        assert log.version == history.version
        versions.append((history.version, content))
    await store.close()
