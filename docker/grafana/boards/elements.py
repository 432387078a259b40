"""Elements that every dashboard is made of: variables, queries and panels in the house's style.

It does not know which metrics there are.
"""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    GraphDrawStyle,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    ScaleDistribution,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Panel,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

INSTANCE = 'instance=~"$instance"'
SURFACE = f'{INSTANCE}, surface=~"$surface"'
MODEL = f'{SURFACE}, model_version=~"$model_version"'
RATE = "[$__rate_interval]"
RANGE = "[$__range]"

TIMES = "suffix:×"
WIDTH = 24
_SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")


@dataclass(frozen=True)
class Query:
    """A PromQL expression and the name of the series it gives (`{{label}}` is that label's value)."""

    expr: str
    legend: str = ""


def board(uid: str, title: str, description: str) -> dashboard.Dashboard:
    """An empty dashboard with the house's variables, and links to its sisters."""
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["rankonce"])
        .editable()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .timezone("browser")
        .time("now-30m", "now")
        .refresh("10s")
        .link(
            dashboard.DashboardLink("rankonce dashboards")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["rankonce"])
            .as_dropdown(True)
            .keep_time(True)
            .include_vars(True)
        )
        .with_variable(_variable("surface", "Surface", "label_values(ranker_request_duration_seconds_count, surface)"))
        .with_variable(_variable("model_version", "Model version", "label_values(ranker_bundle_info, version)"))
        .with_variable(_variable("instance", "Instance", "label_values(ranker_ready, instance)"))
    )


def _variable(name: str, label: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(_SOURCE)
        .query({"query": query, "refId": name, "qryType": 1})
        .definition(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def lines(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    empty: str = "no data in this range",
    span: int = WIDTH // 2,
    stacked: bool = False,
    logarithmic: bool = False,
    limits: tuple[float, ...] = (),
) -> timeseries.Panel:
    """Series over time. `limits` draws dashed lines at these values."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(_SOURCE)
        .unit(unit)
        .no_value(empty)
        .span(span)
        .height(8)
        .draw_style(GraphDrawStyle.LINE)
        .line_width(0 if stacked else 2)
        .fill_opacity(70 if stacked else 8)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.TABLE)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["mean", "lastNotNull"])
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    if logarithmic:
        panel.scale_distribution(common.ScaleDistributionConfig().type(ScaleDistribution.LOG).log(10))
    else:
        panel.axis_soft_min(0)
    if limits:
        steps = [Threshold(value=None, color="transparent"), *(Threshold(value=at, color="red") for at in limits)]
        panel.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    for target in _targets(queries):
        panel.with_target(target)
    return panel


def number(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    empty: str = "–",
    span: int = 4,
    bad_from: float | None = None,
    decimals: int | None = None,
    names: bool = False,
) -> stat.Panel:
    """The value at the range's end, large; red from `bad_from` on. `names` shows the series' names instead."""
    steps = [Threshold(value=None, color="green" if bad_from is not None else "blue")]
    if bad_from is not None:
        steps.append(Threshold(value=bad_from, color="red"))
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(_SOURCE)
        .unit(unit)
        .no_value(empty)
        .span(span)
        .height(4)
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    )
    if len(queries) > 1 or "{{" in queries[0].legend:
        panel.text_mode(BigValueTextMode.NAME if names else BigValueTextMode.VALUE_AND_NAME)
    if decimals is not None:
        panel.decimals(decimals)
    for target in _targets(queries, instant=True):
        panel.with_target(target)
    return panel


def density(title: str, description: str, expr: str, empty: str) -> heatmap.Panel:
    """How latencies spread over time: one column a step, one row a bucket. `expr` gives counts by `le`."""
    target = _target("A", Query(expr, "{{le}}")).format(PromQueryFormat.HEATMAP)
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .datasource(_SOURCE)
        .no_value(empty)
        .span(WIDTH // 2)
        .height(8)
        .calculate(False)
        .y_axis(heatmap.YAxisConfig().unit("s").decimals(1))
        .cell_values(heatmap.CellValues().unit("short"))
        .color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Spectral").steps(64))
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .with_target(target)
    )


def add(target: dashboard.Dashboard, title: str, *panels: Builder[Panel]) -> None:
    """A titled row of panels."""
    target.with_row(dashboard.Row(title))
    for panel in panels:
        target.with_panel(panel)


def _targets(queries: tuple[Query, ...], *, instant: bool = False) -> list[prometheus.Dataquery]:
    return [_target(chr(ord("A") + i), query, instant=instant) for i, query in enumerate(queries)]


def _target(ref: str, query: Query, *, instant: bool = False) -> prometheus.Dataquery:
    target = prometheus.Dataquery().ref_id(ref).datasource(_SOURCE).expr(query.expr).legend_format(query.legend)
    return target.instant() if instant else target.range()
