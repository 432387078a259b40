"""The live page where something is missing: the service, its store, or the playground."""

from __future__ import annotations

from playwright.sync_api import Browser, expect
from pydantic import SecretStr

from loadtests.faults.redis_server import RedisServer
from service.settings import Settings
from tests.browser import open_page
from tests.live import Live, serving


def test_a_silent_service_is_told_and_found_again(browser: Browser, live: Live) -> None:
    """While nothing answers the page says since when; it goes on by itself."""
    with open_page(browser, live.url + "/dashboard") as (page, seen):
        expect(page.locator("#status")).to_have_text("live")
        page.context.set_offline(True)
        expect(page.locator("#status")).to_contain_text("no answer since")
        page.context.set_offline(False)
        expect(page.locator("#status")).to_have_text("live")

    assert all("ERR_INTERNET_DISCONNECTED" in error for error in seen.errors)


def test_a_playground_that_cannot_be_filled_is_tried_again(browser: Browser, settings: Settings) -> None:
    """While the store is away it says so; once that is back there is no need to load the page anew."""
    with RedisServer() as redis, serving(settings.model_copy(update={"redis_url": SecretStr(redis.url)})) as live:
        redis.kill()
        with open_page(browser, live.url + "/dashboard") as (page, seen):
            expect(page.locator("#said")).to_contain_text("could not be filled")
            expect(page.locator("#member")).to_be_hidden()
            redis.start()
            expect(page.locator("#member")).to_be_visible()
            expect(page.locator("#said")).to_have_text("")

    assert all("503" in error for error in seen.errors)


def test_without_the_playground_the_page_names_nobody(browser: Browser, settings: Settings) -> None:
    """Turned off, it is not there, and the page says how to turn it on."""
    with (
        serving(settings.model_copy(update={"playground": False})) as live,
        open_page(browser, live.url + "/dashboard") as (page, seen),
    ):
        expect(page.locator("#playground-off")).to_contain_text("RANKER_PLAYGROUND=true")
        expect(page.locator("#ask")).to_be_hidden()

    assert seen.errors == []
