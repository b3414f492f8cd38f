"""What all tests share: one map cache per checkout, apart from the user's own, and one browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
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
