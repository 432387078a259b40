"""Requests for the command line: read from a file, or typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.requests_file import BadRequest, read_request, request_of_ids
from service.schemas import Candidate

LINES = """{"member_id": "a", "surface": "feed", "candidates": [{"id": "x"}]}
{"member_id": "b", "surface": "ads", "candidates": [{"id": "x", "bid": 2}]}
{"member_id": "c", "surface": "feed", "candidates": []}
nonsense
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "requests.jsonl"
    path.write_text(LINES)
    return path


def test_a_line_is_a_request(file: Path) -> None:
    """Counted from 0."""
    assert [read_request(file, index).member_id for index in (0, 1)] == ["a", "b"]


@pytest.mark.parametrize(
    ("index", "message"), [(2, "line 2: candidates: "), (3, "line 3: body: "), (4, "has no line 4")]
)
def test_a_line_that_is_none_is_named(file: Path, index: int, message: str) -> None:
    """The message says which line and which field."""
    with pytest.raises(BadRequest, match=message):
        read_request(file, index)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """No stack for a typing error."""
    with pytest.raises(BadRequest, match=r"none\.jsonl: No such file"):
        read_request(tmp_path / "none.jsonl", 0)


def test_ids_are_separated_by_commas() -> None:
    """Spaces around them are no part of them; in the feed `=` is a character like any other."""
    assert request_of_ids("m", "feed", "50, 1=2 ,").candidates == [Candidate("50"), Candidate("1=2")]


def test_ads_may_carry_bids() -> None:
    """id=bid, and 1 where none is given."""
    assert request_of_ids("m", "ads", "a=0.5,b,c=d=2").candidates == [
        Candidate("a", bid=0.5),
        Candidate("b", bid=1.0),
        Candidate("c=d", bid=2.0),
    ]


@pytest.mark.parametrize("ids", ["", " , ", "a=x", "a=-1", "=1", "a=1e400"])
def test_what_is_no_list_of_candidates_is_refused(ids: str) -> None:
    """Nothing, or a bid that is no number."""
    with pytest.raises(BadRequest):
        request_of_ids("m", "ads", ids)
