"""Golden cases pass only what they should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.bundle import (
    GOLDEN_FILE,
    BundleError,
    check_golden,
    read_golden,
)


def test_damaged_golden_cases_are_refused(bundle: Path) -> None:
    """Golden cases that do not parse are an error that names them."""
    (bundle / GOLDEN_FILE).write_text('[{"embeddings": 3}]')

    with pytest.raises(BundleError, match=GOLDEN_FILE):
        read_golden(bundle)


def test_golden_mismatch_shape_and_nan_are_refused(bundle: Path) -> None:
    """Only logits within the tolerance pass: not slightly more, not NaN, not another shape."""
    case = read_golden(bundle)[1]
    check_golden(case, case.logits + np.float32(1e-5), 1e-4)
    for wrong in (case.logits + np.float32(1.0), np.full_like(case.logits, np.nan), case.logits[:1]):
        with pytest.raises(BundleError, match="golden"):
            check_golden(case, wrong, 1e-4)
