"""CountedRoute: whatever it answers is counted under its pattern."""

from __future__ import annotations

import pytest

from tests.live import Live


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        ("POST", "/v1/rank", "/v1/rank", 415),
        ("GET", "/v1/rank", "/v1/rank", 405),
        ("GET", "/dashboard/assets/nothing.js", "/dashboard/assets/{name}", 404),
        ("POST", "/v1/ranked", "other", 404),
    ],
)
def test_answers_are_counted_under_the_pattern(live: Live, method: str, path: str, route: str, status: int) -> None:
    """Refusals and wrong methods as well; a path that is nearly one is no route's."""
    before = live.metric("ranker_http_requests_total", route=route, status=str(status))

    answer = live.http.request(method, path, content=b"?", headers={"content-type": "text/plain"})

    assert answer.status_code == status
    assert answer.headers.get("allow") == ("POST" if status == 405 else None)
    assert live.metric("ranker_http_requests_total", route=route, status=str(status)) == before + 1
