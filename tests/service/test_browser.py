"""Browser: what answers forbid, asked of a running service. The live page's own headers are in test_pages.py."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from service.browser import headers
from service.keys import create_key
from service.settings import Settings
from tests.browser import open_page
from tests.live import Live, serving
from tests.service.test_routes import request

ELSEWHERE = {"origin": "https://elsewhere.example"}


@pytest.mark.parametrize("path", ["/v1/rank", "/healthz", "/metrics", "/dashboard/data", "/openapi.json", "/nothing"])
def test_no_page_from_elsewhere_may_read_an_answer(live: Live, path: str) -> None:
    """Neither the preflight nor the answer names an origin, a method or a header that is allowed."""
    asked = {**ELSEWHERE, "access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    for answer in (
        live.http.options(path, headers=asked),
        live.http.get(path, headers=ELSEWHERE),
        live.http.post(path, json=request(), headers=ELSEWHERE),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert live.http.options(path, headers=asked).status_code in (404, 405)


@pytest.mark.parametrize(
    "sent",
    [
        ELSEWHERE,
        {"origin": "null"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {**ELSEWHERE, "sec-fetch-site": "cross-site"},
    ],
)
def test_a_page_of_another_site_changes_nothing(live: Live, sent: dict[str, str]) -> None:
    """Not even by what a browser sends anywhere without asking first, such as a POST without a body."""
    for path in ("/v1/rank", "/v1/events", "/v2/repository/models/feed/unload", "/nothing"):
        answer = live.http.post(path, headers=sent)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_our_own_page_and_programs_are_heard(live: Live) -> None:
    """A browser says that it asks for the service's own page, also behind a proxy; others say nothing."""
    own = {"origin": live.url}
    behind_a_proxy = {"origin": "https://public.example", "sec-fetch-site": "same-origin"}
    for sent in (own, behind_a_proxy, {"sec-fetch-site": "none"}, {}):
        assert live.http.post("/v1/rank", json=request(), headers=sent).status_code == 200


def test_a_form_cannot_rank(live: Live) -> None:
    """The media types that a form can send are not read."""
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = live.http.post("/v1/rank", content=b"{}", headers={"content-type": media_type})
        assert answer.status_code == 415


@pytest.mark.parametrize("path", ["/v1/rank", "/healthz", "/metrics", "/docs", "/dashboard", "/nothing"])
def test_no_answer_is_taken_for_what_it_is_not(live: Live, path: str) -> None:
    """Text that a caller put into an answer never runs as a script: the type is not guessed, and said once."""
    assert live.http.get(path).headers.get_list("x-content-type-options") == ["nosniff"]


@pytest.mark.parametrize("path", ["/docs", "/docs/assets/swagger-ui.css", "/docs/oauth2-redirect"])
def test_the_docs_load_nothing_from_elsewhere_and_are_not_framed(live: Live, path: str) -> None:
    """A key may be typed into them."""
    answer: httpx.Response = live.http.get(path)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))

    assert answer.status_code == 200
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert all("http" not in value and "*" not in value for value in policy.values())
    assert answer.headers["x-frame-options"] == "DENY"


def test_a_page_allows_nothing_inline() -> None:
    """Only swagger-ui needs it."""
    assert b"unsafe" not in dict(headers("/dashboard"))[b"content-security-policy"]


def test_the_docs_work_under_their_policy(live: Live, browser: Browser) -> None:
    """What swagger-ui needs is allowed: it draws the operations and the browser has nothing to complain of."""
    with open_page(browser, f"{live.url}/docs") as (page, seen):
        expect(page.get_by_text("Rank candidates")).to_be_visible()

    assert seen.errors == []
    assert len(seen.hosts) == 1


def test_the_playground_asks_for_a_key(settings: Settings, tmp_path: Path, browser: Browser) -> None:
    """Where keys are asked for it is filled once one is given, and a wrong one is told."""
    file = tmp_path / "keys.jsonl"
    key = create_key(file, "people", ["rank", "events", "admin"])
    with (
        serving(settings.model_copy(update={"api_keys_file": file})) as live,
        open_page(browser, f"{live.url}/dashboard") as (page, _),
    ):
        expect(page.locator("#key")).to_be_visible()
        expect(page.locator("#ask")).to_be_hidden()
        page.fill("#key", "rk_wrong")
        page.click("#key-form button")
        expect(page.locator("#said")).to_contain_text("not known")

        page.fill("#key", key)
        page.click("#key-form button")
        expect(page.locator("#key")).to_be_hidden()
        page.click("#rank")
        expect(page.locator("#ranked tr").first).to_be_visible()
