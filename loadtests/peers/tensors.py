"""One ranking request as the tensors that the artifact takes, and those tensors as bytes.

It does not know where they come from, who scores them, or HTTP.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_SIZES = struct.Struct("<6i")  # T, D, C, F, G, M; what follows is aligned to 8 bytes


class Inputs(NamedTuple):
    """actions [T] i64 · timestamps [T] i64 ms · request_time [1] i64 ms · history [T, D] f32, oldest first ·
    candidates [C, D] f32 · features [C, F] f32 · context [G] f32 · meta [M] f32. Nothing is padded.
    """

    actions: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    request_time: NDArray[np.int64]
    history: NDArray[np.float32]
    candidates: NDArray[np.float32]
    features: NDArray[np.float32]
    context: NDArray[np.float32]
    meta: NDArray[np.float32]

    def pack(self) -> bytes:
        """Sizes, then the arrays as they lie in memory (little-endian)."""
        sizes = (*self.history.shape, *self.features.shape, len(self.context), len(self.meta))
        return _SIZES.pack(*sizes) + b"".join(array.tobytes() for array in self)

    @classmethod
    def unpack(cls, data: bytes) -> Inputs:
        """Views of `data`, nothing copied. Raises ValueError where its length is not what its sizes say."""
        history, width, candidates, features, context, meta = _SIZES.unpack_from(data)
        shapes: list[tuple[Any, tuple[int, ...]]] = [
            (np.int64, (history,)),
            (np.int64, (history,)),
            (np.int64, (1,)),
            (np.float32, (history, width)),
            (np.float32, (candidates, width)),
            (np.float32, (candidates, features)),
            (np.float32, (context,)),
            (np.float32, (meta,)),
        ]
        arrays, offset = [], _SIZES.size
        for dtype, shape in shapes:
            count = int(np.prod(shape))
            arrays.append(np.frombuffer(data, dtype, count, offset).reshape(shape))
            offset += count * np.dtype(dtype).itemsize
        if offset != len(data):
            raise ValueError(f"{len(data)} bytes where the sizes say {offset}")
        return cls(*arrays)
