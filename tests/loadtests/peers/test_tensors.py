"""Tensors as bytes and back."""

from __future__ import annotations

import numpy as np
import pytest

from loadtests.peers.tensors import Inputs


def test_what_is_packed_comes_back(inputs: Inputs) -> None:
    """Every array with its values, its type and its shape, without a copy of the bytes."""
    data = bytearray(inputs.pack())
    unpacked = Inputs.unpack(data)

    for name, array in inputs._asdict().items():
        found = getattr(unpacked, name)
        np.testing.assert_array_equal(found, array)
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert np.shares_memory(found, np.frombuffer(data, np.uint8))


@pytest.mark.parametrize("damage", [lambda data: data[:-4], lambda data: data + b"\0\0\0\0"])
def test_bytes_of_another_length_are_refused(inputs: Inputs, damage) -> None:  # type: ignore[no-untyped-def]
    """Too few or too many are an error, never other numbers."""
    with pytest.raises(ValueError, match=r"buffer|bytes where"):
        Inputs.unpack(damage(inputs.pack()))
