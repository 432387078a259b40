"""IdIndex against the dictionary that it stands for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.id_index import IdIndex

IDS = st.lists(st.text(max_size=8), unique=True, max_size=200)


@given(IDS, IDS)
def test_it_finds_what_a_dictionary_finds(known: list[str], asked: list[str]) -> None:
    """Known ids and others, in any order, of any text."""
    rows = {item_id: row for row, item_id in enumerate(known)}
    wanted = asked + known[::-1]

    found = IdIndex(known).rows(wanted, unknown=-7)

    assert found.dtype == np.int64
    assert found.tolist() == [rows.get(item_id, -7) for item_id in wanted]


def test_a_large_catalogue_is_found_whole() -> None:
    """With so many ids some have to look in several places, also for one that is not there."""
    ids = [f"item-{number}" for number in range(50_000)]
    index = IdIndex(ids)

    np.testing.assert_array_equal(index.rows(ids, unknown=0), np.arange(50_000))
    assert not np.any(index.rows([f"other-{number}" for number in range(50_000)], unknown=-1) >= 0)


def test_an_id_that_is_there_twice_is_refused() -> None:
    """Which of the rows it stands for could not be told."""
    with pytest.raises(ValueError, match="one id"):
        IdIndex(["a", "b", "a"])
