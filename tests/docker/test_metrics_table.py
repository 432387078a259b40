"""docker/README.md lists every metric of the registry, and no other."""

from __future__ import annotations

import subprocess
import sys

from service.metrics import Metrics
from tests.docker.conftest import Promtool
from tests.docker.files import DOCKER, metrics_table


def test_the_readme_has_the_registrys_table() -> None:
    """The table between the markers is what `make dashboards` would write."""
    result = subprocess.run(
        [sys.executable, DOCKER / "metrics_table.py", "--check"], capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stderr


def test_metrics_that_no_series_shows_yet_are_listed_with_their_labels() -> None:
    """Labels come from the metric, not from what has happened so far."""
    rows = {row.name: row for row in metrics_table().rows()}

    assert rows["ranker_inference_duration_seconds"].labels == ("mode", "surface", "model_version", "encoding")
    assert rows["ranker_shed_total"].type == "counter"
    assert all(row.help for row in rows.values())


def test_metrics_are_named_as_prometheus_advises(promtool: Promtool) -> None:
    """promtool reads the exposition and has nothing to say about a name, a unit or a help text."""
    text, _ = Metrics().exposition("")

    assert promtool("check", "metrics", stdin=text.decode()) == ""
