"""Items: ids to rows."""

from __future__ import annotations

import numpy as np

from model.bundle import ItemTable
from service.items import Items


def test_known_ids_map_to_their_rows_and_others_to_the_unknown_row(items: ItemTable) -> None:
    """Order and length follow the request, and an id that the table lacks is row 0."""
    table = Items(items)

    rows = table.rows(["item-3", "nobody", "item-1", "ITEM-3"])

    assert rows.dtype == np.int64
    assert rows.tolist() == [3, 0, 1, 0]


def test_no_ids_give_no_rows(items: ItemTable) -> None:
    """An empty request part is an empty array, not an error."""
    assert Items(items).rows([]).shape == (0,)


def test_float32_embeddings_are_the_float16_ones_widened(items: ItemTable) -> None:
    """Histories (float16) and candidates (float32) read the same numbers."""
    table = Items(items)

    assert table.embeddings.dtype == np.float32
    np.testing.assert_array_equal(table.embeddings, table.embeddings16.astype(np.float32))
    assert len(table) == len(items.ids)
