"""What the driver saw in a browser: follows the clock, leads to mistakes, fits a phone."""

from __future__ import annotations

from functools import partial

import pytest
from drawn_scene import crossroads, drive, score
from report_page import canvases, clock, nameless, settle
from seen_drive import GHOST, UNSEEN, seen_log

from deploy.percept_check import check_percepts
from roadloop.viz.report import write_report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    road_map = crossroads()
    rollout = drive(road_map)
    seen = check_percepts(seen_log(rollout, pictures=4), rollout)
    path = tmp_path_factory.mktemp("seen") / "drive.html"
    return write_report(path, rollout, road_map, score(rollout), seen=seen).as_uri()


@pytest.fixture
def open_page(open_address, address):
    """Opens the report without motion, as a reader who wants none has it."""
    return partial(open_address, address, reduced_motion="reduce")


def drawn(page):
    """A hash of each canvas of what was seen."""
    return canvases(page, "#seen canvas")


def counts(page):
    return dict(
        page.evaluate(
            """[...document.querySelectorAll('#seen-counts div')].map((row) =>
                [row.querySelector('dt').textContent, row.querySelector('dd').textContent])"""
        )
    )


def test_a_miss_leads_to_its_moment(open_page):
    page = open_page()
    settle(page, pictures=True)
    before = drawn(page)
    assert len(before) == 6 and len(set(before)) == 6  # four cameras, seen and true from above
    page.click("#seen-events tr[data-kind=missed] button")
    settle(page, pictures=True)
    assert UNSEEN[0] <= clock(page) <= UNSEEN[0] + 0.5
    shown = counts(page)
    assert shown["missed"] == "1" and shown["false"] == "0"
    assert int(shown["visible"]) == int(shown["found"]) + 1
    after = drawn(page)
    assert after[1] != before[1] and after[4] != before[4] and after[5] != before[5]
    page.click("#seen-events tr[data-kind='false alarm'] button")
    settle(page, pictures=True)
    assert counts(page)["false"] == "1"
    assert GHOST[0] <= clock(page) <= GHOST[0] + 0.5


def test_what_is_drawn_can_be_chosen(open_page):
    page = open_page()
    page.click("#seen-events tr[data-kind=missed] button")
    settle(page, pictures=True)
    seen = [drawn(page)]
    for choice in ("#seen-found", "#seen-true", "#seen-hidden"):
        page.click(choice)
        settle(page, pictures=True)
        seen.append(drawn(page))
    assert seen[0][1] != seen[1][1] != seen[2][1]  # the front camera
    page.click("[data-seen-kind=missed]")
    assert page.is_hidden("#seen-events tr[data-kind=missed]")
    assert page.is_visible("#seen-events tr[data-kind=light]")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_a_phone_and_a_desk(open_page, scheme):
    page = open_page(width=400, device_scale_factor=2, color_scheme=scheme)
    settle(page, pictures=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    sizes = page.evaluate(
        "[...document.querySelectorAll('#seen canvas')].map((c) => [c.clientWidth, c.width])"
    )
    assert all(css > 150 and px == 2 * css for css, px in sizes)
    wide = open_page(width=1280, color_scheme=scheme)
    tops = wide.evaluate(
        "[...document.querySelectorAll('#seen-wall canvas')].map((c) => c.offsetTop)"
    )
    assert len(tops) == 3 and len(set(tops)) == 1


def test_everything_pressable_has_a_name(open_page):
    assert nameless(open_page()) == []
