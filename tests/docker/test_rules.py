"""Rules are valid, read what the service writes, and every alert is shown to fire and not to fire."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docker.conftest import Promtool
from tests.docker.files import DOCKER, RULE_TESTS, RULES, complaints, load_yaml, rules

ALERTS = [rule for rule in rules() if "alert" in rule]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_read_what_there_is(rule: dict[str, str]) -> None:
    """Every metric, label and label value in a rule is one of the service's, or recorded by another rule."""
    assert complaints(rule["expr"]) == []


@pytest.mark.parametrize("alert", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_is_shown_to_fire_and_not_to(alert: dict[str, str]) -> None:
    """The unit tests hold a case in which it fires and one in which it does not."""
    cases = [
        bool(case["exp_alerts"])
        for file in RULE_TESTS
        for test in load_yaml(file)["tests"]
        for case in test.get("alert_rule_test", ())
        if case["alertname"] == alert["alert"]
    ]

    assert set(cases) == {True, False}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_says_what_to_do(alert: dict[str, dict[str, str]]) -> None:
    """It has a severity, a summary and a description, and the README lists it with the same severity."""
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert set(alert["annotations"]) == {"summary", "description"}
    row = f"| {alert['alert']} | {alert['labels']['severity']} |"
    assert row in (DOCKER / "README.md").read_text()


def test_config_is_valid(promtool: Promtool) -> None:
    """promtool accepts prometheus.yml, and finds every rule file through it."""
    said = promtool("check", "config", DOCKER / "prometheus" / "prometheus.yml")

    assert f"{len(RULES)} rule files found" in said


@pytest.mark.parametrize("file", RULES, ids=lambda path: path.name)
def test_rules_are_valid(promtool: Promtool, file: Path) -> None:
    """promtool accepts each file without a lint."""
    promtool("check", "rules", "--lint=all", "--lint-fatal", file)


@pytest.mark.parametrize("file", RULE_TESTS, ids=lambda path: path.name)
def test_rules_do_what_they_should(promtool: Promtool, file: Path) -> None:
    """The unit tests of the rules hold."""
    promtool("test", "rules", file)
