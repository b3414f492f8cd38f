"""Settings all tests share: one map cache per checkout, apart from the user's own."""

from __future__ import annotations

import os
from pathlib import Path


def pytest_configure() -> None:
    # Compiling maps and Warp kernels is slow: tests share one cache, kept between runs.
    cache = Path(__file__).resolve().parents[1] / ".pytest_cache" / "roadloop"
    os.environ.setdefault("ROADLOOP_CACHE", str(cache))
