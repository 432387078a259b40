"""Write the workload's histories to a file, for a service that the load tests did not start themselves.

`python -m service load-histories FILE` stores them. It does not know a service.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from loadtests.catalog import read_catalog
from loadtests.shapes import find_data
from loadtests.workload import Plan, Workload


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtests.histories", description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="model repository that the service serves")
    parser.add_argument("--out", type=Path, required=True, help="JSON Lines file to write")
    parser.add_argument("--data", type=Path, help="folder with mind_sample/ to replay; default: RANKONCE_DATA")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    options = parser.parse_args()
    workload = Workload(read_catalog(options.models), Plan(options.seed, data=find_data(options.data)))
    print(f"{workload.write_histories(options.out)} histories in {options.out}")


if __name__ == "__main__":
    main()
