"""Write the table of metrics in docker/README.md from the service's registry; with --check only say if it differs.

It does not know what is measured, or when.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from service.metrics import Metrics

README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- metrics: begin (make dashboards) -->\n", "<!-- metrics: end -->\n"


class Row(NamedTuple):
    """One metric as PromQL names it (a histogram without _bucket, _sum and _count)."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


def rows() -> Iterator[Row]:
    """Every metric of the registry, by name; also those that no series shows yet."""
    registry = Metrics().registry
    collectors = registry._names_to_collectors  # the client has no public way to a metric without series
    for family in sorted(registry.collect(), key=lambda family: family.name):
        labels = getattr(collectors.get(family.name), "_labelnames", None)
        if labels is None:  # a collector of the client's own: every sample has all of its labels
            labels = tuple(family.samples[0].labels) if family.samples else ()
        suffix = "_total" if family.type == "counter" else ""
        yield Row(family.name + suffix, family.type, tuple(labels), family.documentation)


def table() -> str:
    lines = [f"| `{row.name}` | {row.type} | {', '.join(row.labels) or '–'} | {row.help} |\n" for row in rows()]
    return "".join(["| metric | type | labels | what it says |\n", "|---|---|---|---|\n", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = before + BEGIN + table() + END + after
    if not check:
        README.write_text(wanted)
    elif text != wanted:
        sys.exit("docker/README.md is not as the registry says; run `make dashboards`")


if __name__ == "__main__":
    main()
