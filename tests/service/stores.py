"""What the history stores' contract suite is written with: stores to open, and records that show when they are torn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from service.codec import MemberHistory, encode_records
from service.histories import HistoryStore, Window

DIM = 4
WIDE = Window(1000, 1)


class Backend(NamedTuple):
    """open(max_history) → a store with nothing in it; put(store, member, bytes) writes a raw log behind its back."""

    open: Callable[[int], HistoryStore]
    put: Callable[[Any, str, bytes], None]


def records(marks: Sequence[int]) -> bytes:
    """One record for each mark, which every field of it carries."""
    numbers = np.array(marks, np.int64)
    embeddings = np.repeat((numbers % 1000).astype(np.float16)[:, None], DIM, axis=1)
    return encode_records(numbers, numbers % 7, numbers * 10, embeddings)


def marks(history: MemberHistory) -> list[int]:
    """The marks of a history, checked to be the same in every field: a torn record would differ."""
    numbers = history.item_rows.astype(np.int64)
    np.testing.assert_array_equal(history.actions, numbers % 7)
    np.testing.assert_array_equal(history.timestamps, numbers * 10)
    np.testing.assert_array_equal(history.embeddings, np.repeat((numbers % 1000)[:, None], DIM, axis=1))
    return [int(number) for number in numbers]


async def read(store: HistoryStore, member_id: str = "m", window: Window = WIDE) -> MemberHistory:
    history = await store.get(member_id, window)
    assert history is not None
    return history
