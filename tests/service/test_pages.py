"""The live page over HTTP: its files, its headers, its data. What it looks like is in test_live_page.py."""

from __future__ import annotations

import re
import time
from importlib.resources import files

import pytest

from service.dashboard import FRESH_SECONDS
from service.pages import MEDIA_TYPES
from service.schemas import Candidate, RankRequest
from service.settings import Settings
from tests.live import Live, serving

STATIC = files("service").joinpath("static")
NAMES = sorted(file.name for file in STATIC.iterdir())
PATHS = ["/dashboard", "/dashboard/data", "/dashboard/playground", *(f"/dashboard/assets/{name}" for name in NAMES)]


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_forbids_what_the_page_does_not_need(live: Live, path: str) -> None:
    """Nothing from elsewhere, nothing inline, no frame around it, no guessed type, no address given away."""
    headers = live.http.get(path).raise_for_status().headers

    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert not any("unsafe" in value for value in policy.values())
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("name", NAMES)
def test_a_file_comes_with_its_type_and_is_sent_once(live: Live, name: str) -> None:
    """A browser that has it is told so."""
    first = live.http.get(f"/dashboard/assets/{name}")
    again = live.http.get(f"/dashboard/assets/{name}", headers={"if-none-match": first.headers["etag"]})

    assert first.content == STATIC.joinpath(name).read_bytes()
    assert first.headers["content-type"] == MEDIA_TYPES[name.rpartition(".")[2]]
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.js", "..%2fpages.py", "%2e%2e/pages.py", "../pages.py", "a/b", "\u00e9"])
def test_only_the_pages_own_files_are_served(live: Live, name: str) -> None:
    """No path leads out of their folder."""
    assert live.http.get(f"/dashboard/assets/{name}").status_code == 404


@pytest.mark.parametrize("name", NAMES)
def test_no_file_names_another_host_or_parses_text_as_markup(name: str) -> None:
    """Neither an address elsewhere, nor a way for an id to become an element or code."""
    text = STATIC.joinpath(name).read_text().replace("http://www.w3.org/2000/svg", "")

    assert not re.search(r"https?://|//[a-z]+\.[a-z]", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc", text)
    assert not re.search(r"<script>|<style|\sstyle=|\son[a-z]+=\"", text)
    assert len(text.splitlines()) <= 300


def test_the_data_holds_what_was_just_asked(live: Live) -> None:
    """A request is in the next snapshot that is no longer fresh; points are given once."""
    live.client.rank(RankRequest("m", "feed", [Candidate("item-1")]))
    time.sleep(FRESH_SECONDS)

    seen = live.http.get("/dashboard/data?after=0&window=600").raise_for_status().json()

    assert seen["ready"] is True
    assert seen["requests_ever"] >= 1
    assert {bundle["surface"] for bundle in seen["bundles"]} == {"feed", "ads"}
    assert seen["playground"] is True
    assert set(seen["summary"]["modes"]) == {"amortized", "non_amortized"}
    assert live.http.get(f"/dashboard/data?after={seen['points'][-1]['sequence'] + 10}").json()["points"] == []


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", "window=601", "window=1e3", "after=" + "9" * 400, "after=\u0663"]
)
def test_a_wrong_query_is_named(live: Live, query: str) -> None:
    """422 with the parameter, not a stack."""
    answer = live.http.get(f"/dashboard/data?{query}")

    assert answer.status_code == 422
    assert answer.json()["field"] == query.partition("=")[0]


def test_pages_are_counted_under_their_routes(live: Live) -> None:
    """Not under `other`, where an attack on unknown paths would show."""
    live.http.get("/dashboard")
    live.http.get(f"/dashboard/assets/{NAMES[0]}")

    assert live.metric("ranker_http_requests_total", route="/dashboard", status="200") >= 1
    assert live.metric("ranker_http_requests_total", route="/dashboard/assets/{name}", status="200") >= 1


def test_the_playground_is_not_there_when_it_is_off(settings: Settings) -> None:
    """404, and the page is told not to offer it."""
    with serving(settings.model_copy(update={"playground": False})) as live:
        assert live.http.get("/dashboard/playground").status_code == 404
        assert live.http.get("/dashboard/data").json()["playground"] is False
