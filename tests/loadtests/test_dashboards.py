"""Panels become questions that Prometheus understands."""

from __future__ import annotations

from loadtests.dashboards import Expression, expressions, load, panels


def test_variables_are_filled_in() -> None:
    """Grafana's own and the dashboard's variables are replaced; what is not chosen matches everything."""
    expression = Expression(
        "d", "p", "A", 'rate(x{surface=~"$surface", i=~"$instance"}[$__rate_interval]) + y[$__range]'
    )

    filled = expression.filled("20s", "5m", surface="ads")

    assert filled == 'rate(x{surface=~"ads", i=~".+"}[20s]) + y[5m]'


def test_no_variable_is_left_over() -> None:
    """Nothing that Grafana would have to fill in remains in a committed panel's expression."""
    assert all("$" not in expression.filled("20s", "5m") for expression in expressions())


def test_every_panel_of_every_dashboard_is_asked() -> None:
    """No panel that draws data is left out."""
    drawn = {(board["title"], panel["title"]) for board in load().values() for panel in panels(board)}

    assert {(expression.dashboard, expression.panel) for expression in expressions()} == drawn
