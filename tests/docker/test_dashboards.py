"""The dashboards are what their code generates, are PromQL, and ask only for what the service has."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins

from loadtests.dashboards import Expression, expressions, load, panels
from tests.docker.conftest import Promtool
from tests.docker.files import DOCKER, complaints, load_yaml

DASHBOARDS = load()
PANELS = [(name, panel) for name, dashboard in DASHBOARDS.items() for panel in panels(dashboard)]


def name_of(value: Any) -> str:
    return str(value) if isinstance(value, str) else ""


def test_committed_dashboards_are_the_generated_ones() -> None:
    """The JSON in the repository is what `make dashboards` would write, and there is no other."""
    result = subprocess.run(
        [sys.executable, DOCKER / "grafana" / "generate.py", "--check"], capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", DASHBOARDS)
def test_grafanas_own_types_hold_all_of_a_dashboard(name: str) -> None:
    """Read into the SDK's models and written again, nothing is lost or changed: no field that Grafana does not know."""
    with warnings.catch_warnings():  # the SDK recommends schema v2; v1 is what files provision
        warnings.simplefilter("ignore", DeprecationWarning)
        from grafana_foundation_sdk.models.dashboard import Dashboard
    register_default_plugins()
    again = JSONEncoder().encode(Dashboard.from_json(DASHBOARDS[name]))

    assert json.loads(again) == DASHBOARDS[name]


def test_every_question_has_its_dashboard() -> None:
    """Overview, comparison, stages and capacity are there, each under a uid of its own."""
    assert set(DASHBOARDS) == {"overview.json", "comparison.json", "stages.json", "capacity.json"}
    assert len({dashboard["uid"] for dashboard in DASHBOARDS.values()}) == 4


@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboards_can_be_narrowed_down(name: str) -> None:
    """Each has the variables surface, model version and instance, over everything by default."""
    variables = {variable["name"]: variable for variable in DASHBOARDS[name]["templating"]["list"]}

    assert set(variables) == {"surface", "model_version", "instance"}
    assert all(variable["includeAll"] and variable["multi"] for variable in variables.values())
    for variable in variables.values():
        inner = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
        assert inner
        assert complaints(f"sum by ({inner[2]}) ({inner[1]})") == []


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=name_of)
def test_panels_explain_themselves(name: str, panel: dict[str, Any]) -> None:
    """Each has a title, a description, a unit and something to say when it is empty."""
    defaults = panel["fieldConfig"]["defaults"]
    unit = panel["options"]["yAxis"]["unit"] if panel["type"] == "heatmap" else defaults["unit"]

    assert panel["title"]
    assert panel["description"].endswith(".")
    assert unit
    assert defaults["noValue"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_are_numbered_and_do_not_overlap(name: str) -> None:
    """Ids are unique, and no two panels share a cell of the grid."""
    drawn = DASHBOARDS[name]["panels"]
    cells = [
        (x, y)
        for grid in (panel["gridPos"] for panel in drawn)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]

    assert len({panel["id"] for panel in drawn}) == len(drawn)
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_panels_ask_the_provisioned_source() -> None:
    """Every target names the data source that is provisioned, and targets of a panel have names of their own."""
    sources = load_yaml(DOCKER / "grafana" / "provisioning" / "datasources" / "prometheus.yaml")["datasources"]
    for _, panel in PANELS:
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {sources[0]["uid"]}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("expression", expressions(), ids=lambda e: f"{e.dashboard}-{e.panel}-{e.ref}")
def test_expressions_ask_for_what_there_is(expression: Expression) -> None:
    """Every metric, label and label value in a panel is one of the service's."""
    assert complaints(expression.expr) == []


@pytest.mark.parametrize(
    ("expr", "complaint"),
    [
        ("rate(ranker_requests_total[5m])", "no series ranker_requests_total"),
        ('ranker_ready{surface="feed"}', "ranker_ready has no label surface"),
        ('ranker_stage_duration_seconds_sum{stage="scoring"}', "stage is never scoring"),
        ("sum by (model) (ranker_ready)", "grouped by model, which nothing has"),
        ('ranker_request_duration_seconds_bucket{le="0.1"}', "le is never 0.1"),
    ],
)
def test_unknown_names_are_noticed(expr: str, complaint: str) -> None:
    """The check above would notice a metric, label or value that does not exist."""
    assert complaints(expr) == [complaint]


def test_expressions_are_promql(promtool: Promtool, tmp_path: Path) -> None:
    """promtool accepts every panel's expression, wrapped as a recording rule."""
    wrapped = [
        {"record": f"panel:{number}", "expr": expression.filled("1m", "30m")}
        for number, expression in enumerate(expressions())
    ]
    file = tmp_path / "panels.yaml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": wrapped}]}))

    assert f"{len(wrapped)} rules found" in promtool("check", "rules", file)


def test_modes_are_compared_at_equal_work() -> None:
    """Every ratio, percentile and distribution of inference takes computed encodings only."""
    compared = [e for e in expressions() if "ranker_inference_duration_seconds_bucket" in e.expr]

    assert len(compared) >= 8
    for expression in compared:
        assert expression.expr.count('encoding="computed"') == expression.expr.count("_seconds_bucket")
