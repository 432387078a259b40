"""The documented interface: schemathesis sends what the OpenAPI document allows, and what it does not.

Promised for each operation: a documented status, an answer that fits its schema, and no 5xx but 503 and 504.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi import checks

from tests.fuzz.part import Part
from tests.fuzz.target import Target

MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
CHECKS = [checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance]
MEANT = {503, 504}
REPOSITORY = "/v2/repository/models/"
MOST_CHANGES = 20
"""Of operations that load a ranker, or take it out of service: each takes its time, and leaves the others without."""
HANG_SECONDS = 15.0
ROUTER_REFUSALS = {404, 405}
"""What no document lists: a mutated path or method is some other operation, or none."""


def fuzz(target: Target, cases: int) -> Part:
    part = Part("interface")
    before = target.answered_500()
    schema = schemathesis.openapi.from_url(f"{target.url}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    each = -(-cases // (len(operations) * len(MODES)))
    for operation in operations:
        for mode in MODES:
            _fuzz(part, operation, mode, min(each, MOST_CHANGES) if REPOSITORY in operation.path else each)
            if REPOSITORY in operation.path:
                target.mend()
    if complaint := target.complaint():
        part.fail(complaint)
    if (broken := target.answered_500() - before) > 0:
        part.fail(f"the service counts {broken:.0f} answers with 500")
    return part


def _fuzz(part: Part, operation: Any, mode: GenerationMode, cases: int) -> None:
    @seed(1)
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case) -> None:
        part.cases += 1
        if found := _fault(case):
            part.fail(f"{operation.label} {mode.value}: {found}")

    with warnings.catch_warnings(), contextlib.suppress(Unsatisfiable):  # where there is nothing to send wrongly
        warnings.simplefilter("ignore")
        check()


def _fault(case: Case) -> str | None:
    try:
        response = case.call(timeout=HANG_SECONDS)
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    if response.status_code >= 500 and response.status_code not in MEANT:
        return f"status {response.status_code}: {response.text[:200]}"
    if response.status_code in ROUTER_REFUSALS:
        return None
    try:
        case.validate_response(response, checks=CHECKS)
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:600]}"
    return None
