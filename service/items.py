"""Items: from candidate ids to rows of the bundle's item table. It does not know requests, histories or torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.bundle import UNKNOWN_ROW, ItemTable
from service.id_index import IdIndex


class Items:
    """The item table as the service reads it: one look-up and one gather a request.

    ids: row → id · embeddings: [N, D] float32 (the float16 values, widened once) · embeddings16: [N, D] float16, what
    a history record carries.
    """

    def __init__(self, table: ItemTable) -> None:
        self.ids = table.ids
        self.embeddings16: NDArray[np.float16] = table.embeddings
        self.embeddings: NDArray[np.float32] = table.embeddings.astype(np.float32)
        self._index = IdIndex(table.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """[len(ids)] int64: each id's row, 0 for an unknown one."""
        return self._index.rows(ids, UNKNOWN_ROW)
