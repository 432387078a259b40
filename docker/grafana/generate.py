"""Write the dashboards as JSON: `python docker/grafana/generate.py`. With --check: exit with 1 if any would change.

It does not know what a dashboard shows.
"""

from __future__ import annotations

import argparse
import sys
from itertools import count
from pathlib import Path

from boards import capacity, comparison, overview, stages
from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

FOLDER = Path(__file__).parent / "dashboards"
BOARDS = {"overview": overview, "comparison": comparison, "stages": stages, "capacity": capacity}


def rendered() -> dict[str, str]:
    """File name → its text."""
    return {f"{name}.json": render(board.build()) for name, board in BOARDS.items()}


def render(board: Dashboard) -> str:
    """A dashboard's JSON. The SDK numbers no panels and gives every row the same number: that is done here."""
    model = board.build()
    for number, panel in zip(count(1), model.panels or []):
        panel.id_val = number
    return JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False).encode(model) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    texts = rendered()
    differing = sorted({file.name for file in FOLDER.glob("*.json")} - texts.keys())
    for name, text in texts.items():
        file = FOLDER / name
        if not file.is_file() or file.read_text() != text:
            differing.append(name)
        if not check:
            file.write_text(text)
    if check and differing:
        sys.exit(f"not as generated: {', '.join(differing)}; run `make dashboards`")


if __name__ == "__main__":
    main()
