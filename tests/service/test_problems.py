"""Problems: every error becomes an RFC 9457 document with the status, code and headers it should have."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from service import errors, problems
from service.errors import InferenceFailed, InvalidRequest, Overloaded, RankonceError, StoreUnavailable
from service.schemas import Problem


def every_error(cls: type[RankonceError] = RankonceError) -> Iterator[type[RankonceError]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from every_error(sub)


def decode(answer: problems.ProblemAnswer) -> Problem:
    return msgspec.json.decode(answer.body, type=Problem, strict=True)


@pytest.mark.parametrize("error", [*every_error()], ids=lambda error: error.__name__)
def test_every_error_has_a_status_and_a_title(error: type[RankonceError]) -> None:
    """A new error class cannot be forgotten: it must be mapped by itself, and its code must have a title."""
    assert error in errors.STATUS
    assert error.code in problems.TITLES


def test_an_invalid_request_names_its_field() -> None:
    """`field` is the JSON path, `type` and `code` say which problem it is, and the status is in the body as well."""
    answer = problems.of_error(InvalidRequest("candidates[3].bid", "must not be negative"), "r1")

    assert decode(answer) == Problem(
        type="urn:rankonce:problem:invalid_request",
        title="The request is invalid",
        status=422,
        code="invalid_request",
        detail="must not be negative",
        request_id="r1",
        field="candidates[3].bid",
    )
    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_other_problems_have_no_field() -> None:
    """The member is left out, not null."""
    assert b'"field"' not in problems.of_error(InferenceFailed("the ranker raised"), "r1").body


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.2, "2"), (7.0, "7")])
def test_a_shed_request_is_told_when_to_return(seconds: float, header: str) -> None:
    """Retry-After counts whole seconds, rounded up."""
    assert problems.of_error(Overloaded("full", seconds), "r1").headers["retry-after"] == header


def test_what_is_unavailable_may_be_tried_again() -> None:
    """A 503 carries Retry-After; a 500 does not."""
    assert problems.of_error(StoreUnavailable("down"), "r1").headers["retry-after"] == "1"
    assert "retry-after" not in problems.internal("r1").headers


def test_an_unmapped_error_takes_its_parents_status() -> None:
    """Also a subclass made elsewhere is answered sensibly."""

    class Later(StoreUnavailable):
        pass

    try:
        assert problems.status_of(Later("x")) == 503
    finally:
        del Later
        import gc

        gc.collect()  # so that `every_error` does not see it


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "not_found"),
        (405, "method_not_allowed"),
        (418, "http_error"),
        (400, "malformed_request"),
        (500, "internal"),
    ],
)
def test_the_routers_refusals_are_problems_too(status: int, code: str) -> None:
    """What never reached a handler is told in the same form."""
    problem = decode(problems.of_status(status, "r1", allow="GET"))

    assert (problem.status, problem.code) == (status, code)


def test_an_unexpected_error_tells_nothing_but_its_request() -> None:
    """The text of a stranger's exception stays in the log."""
    assert decode(problems.internal("r1")).code == "internal"
