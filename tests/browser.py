"""A real browser for tests: Debian's Chromium, driven by playwright, that tells what it logged and whom it asked."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

SCREENSHOTS = Path(__file__).parent.parent / "build" / "screenshots"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser with a fresh profile. Hold it no longer than a module: it owns the thread's event loop."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium here: make system-deps installs it")
    expect.set_options(timeout=20_000)  # a busy machine is slow, not wrong
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Seen:
    """What a page did: complaints on its console, uncaught errors, and the hosts that it asked."""

    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)


@contextlib.contextmanager
def open_page(
    browser: Browser, url: str, width: int = 1280, scheme: Literal["light", "dark"] = "light"
) -> Iterator[tuple[Page, Seen]]:
    """`url` in a context of its own; what it saw is complete once the block ends."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    try:
        page, seen = context.new_page(), Seen()
        page.on("console", lambda line: seen.errors.append(line.text) if line.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        page.on("request", lambda request: seen.hosts.add(urlsplit(request.url).netloc))
        page.goto(url)
        yield page, seen
    finally:
        context.close()


def screenshot(page: Page, name: str) -> None:
    """The whole page, for people to look at, in build/screenshots/."""
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def fits(page: Page) -> bool:
    """Nothing reaches beyond the right edge of the window or of its card, be it cut off or scrolled to."""
    return bool(page.evaluate(_FITS))


def unreadable(page: Page) -> list[str]:
    """The visible texts whose contrast with what is behind them is less than WCAG's 4.5 : 1."""
    found: list[str] = page.evaluate(_UNREADABLE)
    return found


_FITS = """() => {
  const right = (e) => e.getBoundingClientRect().right;
  return document.documentElement.scrollWidth <= innerWidth
    && [...document.querySelectorAll("body *:not(.unseen, .skip, thead, thead *, option)")]
      .every((e) => right(e) <= right(e.closest(".card") ?? document.body) + 1);
}"""

_UNREADABLE = """() => {
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const colour = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const found = colour(getComputedStyle(e).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const says = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  const poor = [];
  for (const e of document.querySelectorAll("body *:not(svg *, .unseen, option, script)")) {
    if (!says(e) || !e.checkVisibility() || e.disabled) continue;
    const [ink, paper] = [colour(getComputedStyle(e).color), behind(e)].map(luminance);
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (ratio < 4.5) poor.push(`${e.tagName} ${e.className} "${e.textContent.slice(0, 20)}" ${ratio.toFixed(2)}`);
  }
  return poor;
}"""
