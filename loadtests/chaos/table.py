"""The fault table: every row there is, in the order they run. A group of rows is a file; add its ROWS here."""

from __future__ import annotations

from loadtests.chaos import disk_faults, event_faults, inference_faults, load_faults, reload_faults, soak, store_faults
from loadtests.chaos.row import Row

ROWS: tuple[Row, ...] = (
    *store_faults.ROWS,
    *event_faults.ROWS,
    *disk_faults.ROWS,
    *load_faults.ROWS,
    *inference_faults.ROWS,
    *reload_faults.ROWS,
    *soak.ROWS,
)
