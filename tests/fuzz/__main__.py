"""`make fuzz`: bad input of every kind against the decoders and a running service. The last line is JSON.

Exits with 1 if anything was answered wrongly, hung, or made the service grow. It does not know what is tried.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from loadtests.catalog import read_catalog
from loadtests.serving import find_models, serving
from loadtests.workload import Plan, Workload
from tests.fuzz import decoders, interface, wire
from tests.fuzz.part import Part
from tests.fuzz.target import SETTINGS, Target

DECODERS, INTERFACE = 0.3, 0.2
"""Shares of the cases; the rest are bytes on the wire."""
MEMBERS = 100


def parts(bundle: Path, target: Target, cases: int) -> Iterator[Part]:
    """Each part once, at least `cases` in all: where an operation leaves little to try, more bytes are damaged."""
    first, second = decoders.fuzz(bundle, round(cases * DECODERS)), interface.fuzz(target, round(cases * INTERFACE))
    yield first
    yield second
    yield asyncio.run(wire.fuzz(target, cases - first.cases - second.cases))


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cases", type=int, default=20_000)
    options.add_argument("--models", type=Path, help="model repository; none: the demo's, or one trained quickly")
    given = options.parse_args()
    models = find_models(given.models)
    bundle = next(path.parent for path in sorted(models.glob("*/*/manifest.json")))
    done: list[Part] = []
    with serving(models, Workload(read_catalog(models), Plan(members=MEMBERS, requests=1)), **SETTINGS) as service:
        for part in parts(bundle, Target.of(service.url, service.process.pid), given.cases):
            print(part.told(), flush=True)
            done.append(part)
    return report(done, given.cases)


def report(done: list[Part], wanted: int) -> int:
    """Print the last line; returns the exit status."""
    facts = {
        "cases": sum(part.cases for part in done),
        "failures": sum(len(part.failures) for part in done),
        "parts": {part.name: {"cases": part.cases, "failures": len(part.failures), **part.facts} for part in done},
    }
    print(msgspec.json.encode(facts).decode(), flush=True)
    return 0 if facts["failures"] == 0 and facts["cases"] >= wanted else 1


if __name__ == "__main__":
    sys.exit(main())
