"""The committed Grafana dashboards as questions for Prometheus: every panel's expressions, variables filled in.

It does not know Grafana's server, or how the dashboards are generated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent.parent / "docker" / "grafana" / "dashboards"


class Expression(NamedTuple):
    """One query of one panel. expr: as written, with Grafana's variables in it."""

    dashboard: str
    panel: str
    ref: str
    expr: str

    def filled(self, rate_interval: str, range_: str, **chosen: str) -> str:
        """Plain PromQL. `chosen` are the values (regular expressions) of the dashboard's own variables; default all."""
        text = self.expr.replace("$__rate_interval", rate_interval).replace("$__range", range_)
        for variable in ("surface", "model_version", "instance"):
            text = text.replace(f"${variable}", chosen.get(variable, ".+"))
        return text


def load(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """File name → dashboard."""
    return {file.name: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Everything that draws data; rows do not."""
    return (panel for panel in dashboard["panels"] if panel["type"] != "row")


def expressions(folder: Path = FOLDER) -> list[Expression]:
    """Every query of every panel of every dashboard, in the order in which they are drawn."""
    return [
        Expression(dashboard["title"], panel["title"], target["refId"], target["expr"])
        for dashboard in load(folder).values()
        for panel in panels(dashboard)
        for target in panel["targets"]
    ]
