"""What the tests of docker/ read: the files, parsed, and the vocabulary of metrics that they may use."""

from __future__ import annotations

import importlib.util
import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, get_args

import yaml

from service.encoded import CacheEvent
from service.metrics import LATENCY_BUCKETS
from service.observation import Encoding, LookupResult, Outcome
from service.repository import LoadResult
from service.schemas import Mode, Surface
from service.shadow import OrderAgreement
from service.stages import Stage

ROOT = Path(__file__).parent.parent.parent
DOCKER = ROOT / "docker"
RULES = sorted((DOCKER / "prometheus" / "rules").glob("*.yaml"))
RULE_TESTS = sorted((DOCKER / "prometheus" / "tests").glob("*.yaml"))

SCRAPE_LABELS = {"instance", "job"}
VALUES: dict[str, set[str]] = {
    "surface": set(get_args(Surface)),
    "mode": set(get_args(Mode)),
    "outcome": set(get_args(Outcome)),
    "encoding": set(get_args(Encoding)),
    "stage": set(get_args(Stage)),
    "result": {*get_args(LookupResult), *get_args(LoadResult)},
    "event": set(get_args(CacheEvent)),
    "order": set(get_args(OrderAgreement)),
    "le": {str(bound) for bound in LATENCY_BUCKETS},
    "job": {"rankonce"},
}
"""label → the values that it can have, for the labels whose values are a closed set."""


class Use(NamedTuple):
    """One place where an expression reads a series. matchers: (label, value)."""

    series: str
    matchers: tuple[tuple[str, str], ...]


def load_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def compose() -> dict[str, Any]:
    return load_yaml(DOCKER / "compose.yaml")  # type: ignore[no-any-return]


def rules() -> list[dict[str, Any]]:
    """Every rule of every file, recording and alerting."""
    return [rule for file in RULES for group in load_yaml(file)["groups"] for rule in group["rules"]]


@cache
def metrics_table() -> ModuleType:
    """docker/metrics_table.py, which is a script in no package."""
    spec = importlib.util.spec_from_file_location("metrics_table", DOCKER / "metrics_table.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@cache
def series() -> dict[str, set[str]]:
    """Every series that can be asked for → its labels: the registry's, the recorded ones, and Prometheus's own."""
    known: dict[str, set[str]] = {"up": set()}
    for row in metrics_table().rows():
        if row.type == "histogram":
            known[f"{row.name}_bucket"] = {*row.labels, "le"}
            known[f"{row.name}_sum"] = known[f"{row.name}_count"] = set(row.labels)
        else:
            known[row.name] = set(row.labels)
    for rule in rules():
        if "record" in rule:
            level = rule["record"].split(":")[0]
            known[rule["record"]] = set() if level == "ranker" else {level}
    return known


def uses(expr: str) -> list[Use]:
    """Every series that an expression reads, with its matchers."""
    found = re.findall(r"([a-z][a-z0-9_:]*(?:[_:][a-z0-9_:]*)+|\bup\b)(?:\{([^}]*)\})?", _without_keywords(expr))
    return [Use(name, tuple(re.findall(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"', matchers))) for name, matchers in found]


def groupings(expr: str) -> set[str]:
    """Every label that an expression groups by."""
    lists = re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expr)
    return {label.strip() for labels in lists for label in labels.split(",")}


def complaints(expr: str) -> list[str]:
    """What an expression asks for that the service does not have."""
    found: list[str] = []
    labels: set[str] = set()
    for use in uses(expr):
        if use.series not in series():
            found.append(f"no series {use.series}")
            continue
        labels |= series()[use.series] | SCRAPE_LABELS
        for label, value in use.matchers:
            if label not in series()[use.series] | SCRAPE_LABELS:
                found.append(f"{use.series} has no label {label}")
            elif label in VALUES and not value.startswith("$"):
                found += [f"{label} is never {one}" for one in value.split("|") if one not in VALUES[label]]
    return found + [f"grouped by {label}, which nothing has" for label in groupings(expr) - labels]


def _without_keywords(expr: str) -> str:
    """Functions, grouping lists and ranges look like series: away with them."""
    expr = re.sub(r"\[[^]]*\]", "", expr)
    expr = re.sub(r"\b(?:by|without|on|ignoring)\s*\([^)]*\)", " ", expr)
    return re.sub(r"\b[a-z_]+(?=\s*\()", " ", expr)
