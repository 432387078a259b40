"""The OpenAPI document's pieces: what every path has in common."""

from __future__ import annotations

from service.errors import STATUS
from service.openapi_parts import problems
from service.problems import TITLES


def test_a_status_shows_every_code_it_may_carry() -> None:
    """A caller branches on the code, so each is listed, with its title."""
    described = problems(*set(STATUS.values()))

    codes = {
        code for answer in described.values() for code in answer["content"]["application/problem+json"]["examples"]
    }
    assert codes == {error.code for error in STATUS} | {"internal"}
    assert TITLES["overloaded"] in described["429"]["description"]


def test_what_may_be_tried_again_says_when() -> None:
    """Shed and unavailable answers carry Retry-After, others do not."""
    described = problems(422, 429, 503)

    assert {status for status, answer in described.items() if "headers" in answer} == {"429", "503"}
