"""What all tests share: one map cache per checkout, apart from the user's own, and one browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def pytest_configure() -> None:
    # Compiling maps and Warp kernels is slow: tests share one cache, kept between runs.
    cache = Path(__file__).resolve().parents[1] / ".pytest_cache" / "roadloop"
    os.environ.setdefault("ROADLOOP_CACHE", str(cache))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser on the path: looked for {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def open_address(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens ``(address, width=px, height=px, **options)`` and waits until the page is ready.

    At the end nothing may have gone wrong on the pages, or been asked of a network.
    """
    problems: list[str] = []
    pages: list[Any] = []

    def opened(address: str, width: int = 1280, height: int = 800, **options: Any) -> Any:
        page = browser.new_page(viewport={"width": width, "height": height}, **options)
        pages.append(page)
        page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda r: problems.append(r.url) if not r.url.startswith(("file:", "data:")) else None,
        )
        page.goto(address)
        page.wait_for_selector("body.ready", timeout=60_000)
        return page

    yield opened
    for page in pages:
        page.close()
    assert problems == []
