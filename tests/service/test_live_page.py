"""The live page in a real browser: it shows what happens, ranks, and stays harmless whatever ids are made of."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Page, expect

from model.bundle import ItemTable
from model.export import export_bundle
from model.ranker import Ranker
from service.client import RankClient
from service.schemas import Candidate, Event, Mode, RankRequest
from service.settings import Settings
from tests.browser import fits, open_page, screenshot, unreadable
from tests.conftest import ACTIONS, CONTEXT, ITEMS, SURFACES
from tests.live import Live, serving

MODES: tuple[Mode, ...] = ("amortized", "non_amortized")
HOSTILE = (
    "<img src=x onerror=\"document.title='owned'\">",
    "'\"><script>document.title='owned'</script>",
    "javascript:document.title='owned'",
    "{{7*7}}${7*7}",
    "\u202egnp.exe\u202c \u200b\ufeff",
    "</textarea></option><b>bold</b>",
    "a/../b?c#d%00%2e%2e",
    "w" * 256,
)


@pytest.fixture(scope="module")
def hostile_repository(tmp_path_factory: pytest.TempPathFactory, config: object) -> Path:
    """A feed whose items are named by an attacker."""
    root = tmp_path_factory.mktemp("hostile")
    embeddings = np.random.default_rng(7).standard_normal((len(HOSTILE) + 1, 16)).astype(np.float16)
    tasks, features = SURFACES["feed"]
    feed = config("feed")  # type: ignore[operator]
    torch.manual_seed(1)
    export_bundle(
        root / "feed" / "1",
        Ranker(feed),
        feed,
        ItemTable(("", *HOSTILE), embeddings),
        surface="feed",
        tasks=tasks,
        actions=ACTIONS,
        features=features,
        context=CONTEXT,
        max_candidates=1000,
    )
    return root


def remember(live: Live, member: str, items: list[str]) -> None:
    events = [Event(item, "click", 1_700_000_000_000 + i) for i, item in enumerate(items)]
    live.client.append_events(member, events)


@contextmanager
def load(live: Live) -> Iterator[None]:
    """Both modes, one request after the other, as long as the block lasts."""
    stop = threading.Event()

    def ask() -> None:
        with RankClient(live.url) as client:
            for i in itertools.count():
                if stop.is_set():
                    return
                candidates = [Candidate(f"item-{k}") for k in range(1, ITEMS)]
                client.rank(RankRequest(f"m-{i % 20}", "feed", candidates, mode=MODES[i % 2], reuse_encoding=i % 4 > 1))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        stop.set()
        asking.join()


def tile(page: Page, title: str) -> str:
    return page.locator(f".tile:has(dt:text-is('{title}')) b").inner_text()


def rank(page: Page) -> None:
    """Press Rank and wait for its answer."""
    page.evaluate("document.querySelector('#said').textContent = ''")
    page.locator("#rank").click()
    expect(page.locator("#said")).to_contain_text("Ranked")


def test_without_requests_the_page_says_what_to_do(browser: Browser, settings: Settings) -> None:
    """A service that nobody has asked shows dashes and a hint, complains of nothing and asks no other host."""
    with serving(settings) as live, open_page(browser, live.url + "/dashboard") as (page, seen):
        expect(page.locator("#status")).to_have_text("live")
        expect(page.locator("#empty")).to_be_visible()
        expect(page.locator("#empty")).to_contain_text("make load")
        assert tile(page, "Amortization saves") == "–"
        expect(page.locator("#history-note")).to_contain_text("No member has a history yet")
        rank(page)
        expect(page.locator("#said")).to_contain_text("cold start")
        expect(page.locator("#empty")).to_be_hidden()
        screenshot(page, "empty")

    assert seen.errors == []
    assert seen.hosts == {live.url.removeprefix("http://")}


def test_numbers_and_lines_move_under_load(browser: Browser, live: Live) -> None:
    """Rates, quantiles and the four lines appear as requests come, and agree with what the service counted."""
    with open_page(browser, live.url + "/dashboard") as (page, seen), load(live):
        expect(page.locator("#outcomes")).to_contain_text("answered")
        first = tile(page, "Requests per second")
        for line in page.locator("#latency svg.chart .line").all():
            expect(line).to_have_attribute("d", re.compile("L"))
        expect(page.locator(".tile", has_text="Requests per second").locator("b")).not_to_have_text(first)
        for title in ("Amortized p50", "Non-amortized p50"):
            assert tile(page, title).endswith("ms")
        assert tile(page, "Amortization saves").endswith("×")
        assert tile(page, "Encodings reused").endswith("%")
        assert tile(page, "Failed") == "0 %"
        page.get_by_label("Whole request").check()
        expect(page.locator("#latency-note")).to_contain_text("waiting")
        shown = [int(text.replace(",", "")) for text in page.locator("#outcomes td").all_inner_texts()]
        screenshot(page, "load")

    counted = [
        live.metric("ranker_request_duration_seconds_count", surface="feed", mode=mode, outcome="ok") for mode in MODES
    ]
    assert seen.errors == []
    assert all(0 < seen <= count for seen, count in zip(shown, counted, strict=True))


def test_the_playground_ranks_in_both_modes_and_says_why(browser: Browser, live: Live) -> None:
    """Scores side by side, their difference, each mode's stages, and the actions that drew each candidate."""
    remember(live, "reader", [f"item-{i}" for i in range(1, 11)])
    with open_page(browser, live.url + "/dashboard") as (page, seen):
        page.locator("#member").fill("reader")
        page.locator("#member").press("Tab")
        expect(page.locator("#history li")).to_have_count(10)
        rank(page)
        expect(page.locator(".verdict")).to_contain_text("same order")
        expect(page.locator("#timing")).to_contain_text("non-amortized")
        row = page.locator("#ranked tbody tr").first
        assert (
            row.locator("[data-label=amortized]").inner_text() == row.locator("[data-label=non-amortized]").inner_text()
        )
        expect(row.locator(".reasons li")).to_have_count(3)
        page.get_by_role("button", name="Show the other").click()
        assert page.locator("#ranked tbody tr").count() == ITEMS
        screenshot(page, "playground")

        page.get_by_label("Surface").select_option("ads")
        page.locator("#mode").select_option("amortized")
        rank(page)
        expect(page.locator(".verdict")).to_have_count(0)
        assert "non-amortized" not in page.locator("#timing").inner_text()

    assert seen.errors == []


def test_an_added_action_is_in_the_history_and_in_the_next_ranking(browser: Browser, live: Live) -> None:
    """Pressing + stores the action and ranks the same candidates again."""
    remember(live, "actor", ["item-1"])
    with open_page(browser, live.url + "/dashboard") as (page, seen):
        page.locator("#member").fill("actor")
        page.get_by_label("Action that + adds").select_option("like")
        rank(page)
        before = page.locator("#ranked .item").all_inner_texts()
        page.get_by_role("button", name=f"Add like on {before[4]},").click()
        expect(page.locator("#said")).to_contain_text("Added like")
        expect(page.locator("#said")).to_contain_text("against 2 actions")
        expect(page.locator("#said")).to_contain_text("rank")
        expect(page.locator("#history li").first).to_contain_text(before[4])
        expect(page.locator("#history li")).to_have_count(2)

    assert seen.errors == []
    assert [action.action for action in live.client.history("actor").actions] == ["click", "like"]


def test_hostile_ids_stay_text(browser: Browser, settings: Settings, hostile_repository: Path) -> None:
    """Members and items named like markup, scripts, paths or nothing visible are shown, ranked, added to, and inert."""
    with serving(settings.model_copy(update={"model_repository": hostile_repository})) as live:
        for member in HOSTILE:
            remember(live, member, list(HOSTILE))
        with open_page(browser, live.url + "/dashboard", width=360) as (page, seen):
            for member in HOSTILE:
                page.locator("#member").fill(member)
                page.locator("#member").press("Tab")
                rank(page)
                expect(page.locator("#history li")).to_have_count(len(HOSTILE))
                assert page.locator("#member").input_value() == member
            shown = page.locator("#ranked .item").all_inner_texts()
            assert HOSTILE[0] in shown
            assert any("\\u202e" in text for text in page.locator("#history li").all_inner_texts())
            page.locator("#ranked tr", has_text="<img").get_by_role("button").first.click()
            expect(page.locator("#said")).to_contain_text("Added click on")
            assert page.title() == "rankonce · live"
            assert page.locator("main img, main script, main b b").count() == 0
            assert fits(page)
            screenshot(page, "hostile")

    assert seen.errors == []
    assert seen.hosts == {live.url.removeprefix("http://")}


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (1280, "dark")])
def test_it_fits_a_phone_and_can_be_read_in_the_dark(browser: Browser, live: Live, width: int, scheme: str) -> None:
    """No sideways scrolling at 360 px, and every text stands out from what is behind it by 4.5 : 1 or more."""
    remember(live, "walker", [f"item-{i}" for i in range(1, 9)])
    with open_page(browser, live.url + "/dashboard", width, scheme) as (page, seen):  # type: ignore[arg-type]
        page.locator("#member").fill("walker")
        rank(page)
        expect(page.locator("#outcomes")).to_contain_text("answered")
        assert fits(page)
        assert unreadable(page) == []
        screenshot(page, f"{scheme}-{width}")

    assert seen.errors == []


def test_the_keyboard_is_enough(browser: Browser, live: Live) -> None:
    """Enter in a field ranks, arrow keys read the chart, every control has a name, and focus is seen."""
    remember(live, "typist", ["item-3"])
    with open_page(browser, live.url + "/dashboard") as (page, seen):
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the playground")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#playground")).to_be_focused()
        expect(page.locator("#member")).to_be_visible()  # not before there is something to choose from
        page.keyboard.press("Tab")
        expect(page.locator("#member")).to_be_focused()
        page.locator("#member").fill("typist")
        page.keyboard.press("Enter")
        expect(page.locator("#said")).to_contain_text("Ranked")
        expect(page.locator("#latency svg.chart .line").first).to_have_attribute("d", re.compile("^M[1-9]"))
        page.locator("#latency svg.chart").focus()
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#latency .when")).to_contain_text("s ago")
        expect(page.locator("#latency svg.chart")).to_have_attribute(
            "aria-label", re.compile("Latency, .* s ago: amortized p50 .* ms")
        )
        nameless = page.evaluate(
            "[...document.querySelectorAll('button, input, select, textarea')].filter((e) => e.checkVisibility()"
            " && !e.labels?.length && !e.getAttribute('aria-label') && !e.textContent.trim()).map((e) => e.outerHTML)"
        )
        assert nameless == []

    assert seen.errors == []
