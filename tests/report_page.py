"""A drive's report in a browser: what its tests read from a page and wait for."""

from __future__ import annotations

import hashlib


def settle(page, pictures=False):
    """Waits until what was asked for is drawn, with ``pictures`` until they are decoded, too."""
    for _ in range(4 if pictures else 1):
        page.evaluate(
            "() => new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))"
        )
        if pictures:
            page.wait_for_timeout(60)


def clock(page):
    """s that the page shows."""
    return float(page.inner_text("#clock").split("/")[0])


def canvases(page, selector="#stage"):
    """A hash of each canvas that the selector finds."""
    data = page.evaluate(
        "(what) => [...document.querySelectorAll(what)].map((canvas) => canvas.toDataURL())",
        selector,
    )
    return [hashlib.sha256(one.encode()).hexdigest() for one in data]


def stage(page):
    """A hash of the scene from above."""
    return canvases(page)[0]


def nameless(page):
    """What can be pressed or looked at and has no name."""
    return page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, canvas")]
            .filter((e) => !e.getAttribute("aria-label") && !e.textContent.trim()
                && !e.closest("label"))
            .map((e) => e.outerHTML)"""
    )
