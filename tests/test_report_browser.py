"""The report in a browser: plays, scrubs, jumps to losses, follows, changes theme, fits a phone."""

from __future__ import annotations

from functools import partial

import pytest
from drawn_scene import crossroads, drive, score
from report_page import clock, nameless, settle, stage

from roadloop.viz.report import write_report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    road_map = crossroads()
    rollout = drive(road_map)
    path = tmp_path_factory.mktemp("report") / "drive.html"
    return write_report(path, rollout, road_map, score(rollout)).as_uri()


@pytest.fixture
def open_page(open_address, address):
    """Opens the report without motion, as a reader who wants none has it."""
    return partial(open_address, address, reduced_motion="reduce")


def wait_past(page, time):
    """Waits until the clock shows more; the page's own policy forbids Playwright's waiting."""
    for _ in range(200):
        if clock(page) > time:
            return
        page.wait_for_timeout(50)
    pytest.fail(f"the clock stands at {clock(page)} s, waited for {time} s")


def test_plays_pauses_and_steps(open_page):
    page = open_page()
    assert clock(page) == 0.0  # no motion where the reader wants none
    before = stage(page)
    page.click("#play")
    wait_past(page, 0.4)
    page.evaluate("document.activeElement.blur()")  # else the space bar presses the button
    page.keyboard.press("Space")
    settle(page)
    assert page.get_attribute("#play", "aria-label") == "Play"
    stopped = clock(page)
    assert stage(page) != before
    page.wait_for_timeout(200)
    assert clock(page) == stopped
    page.keyboard.press("ArrowRight")
    settle(page)
    after = clock(page)
    assert 0.0 < after - stopped <= 0.2
    page.keyboard.press("Shift+ArrowRight")
    settle(page)
    assert clock(page) == pytest.approx(after + 1.0, abs=0.11)
    page.keyboard.press("End")
    settle(page)
    assert clock(page) == 19.9
    page.keyboard.press("Home")
    settle(page)
    assert clock(page) == 0.0


def test_plays_by_itself_where_motion_is_welcome(open_page):
    page = open_page(reduced_motion="no-preference")
    wait_past(page, 0.2)


def test_scrubs_by_slider_and_by_plot(open_page):
    page = open_page()
    before = stage(page)
    box = page.locator("#scrub").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    settle(page)
    assert clock(page) == pytest.approx(9.95, abs=0.3)
    assert stage(page) != before
    box = page.locator(".plot canvas").first.bounding_box()
    page.mouse.click(box["x"] + 40, box["y"] + box["height"] / 2)
    settle(page)
    assert clock(page) == pytest.approx(0.0, abs=0.11)


def test_a_lost_term_shows_its_moment(open_page):
    page = open_page()
    assert page.inner_text("#verdict") == "2 of 3 terms lost"
    page.click("#terms .chip.lost >> nth=0")
    settle(page)
    assert clock(page) == pytest.approx(7.1, abs=0.05)  # lost at 8.1 s
    assert "Time to collision" in page.inner_text("tr.current")
    # what the score wrote is text, never markup
    assert "<ahead>" in page.inner_text("#banner")
    page.click("#marks button >> nth=1")
    settle(page)
    assert clock(page) == pytest.approx(12.4, abs=0.05)


def test_camera_follows_turns_zooms_and_lets_go(open_page):
    page = open_page()
    seen = [stage(page)]
    for key in ("f", "+", "-", "f"):
        page.keyboard.press(key)
        settle(page)
        seen.append(stage(page))
    assert page.get_attribute("[data-mode=free]", "aria-pressed") == "true"
    assert len({seen[0], seen[1], seen[2]}) == 3
    page.click("[data-mode=north]")
    box = page.locator("#stage").bounding_box()
    x, y = box["x"] + 300, box["y"] + 250
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 80, y + 40, steps=4)
    page.mouse.up()
    settle(page)
    assert page.get_attribute("[data-mode=free]", "aria-pressed") == "true"
    dragged = stage(page)
    page.mouse.wheel(0, -300)
    settle(page)
    assert stage(page) != dragged


def test_an_agent_under_the_pointer_is_named(open_page):
    page = open_page()
    page.click("#terms .chip.lost >> nth=0")
    settle(page)
    box = page.locator("#stage").bounding_box()
    # at 7.1 s, 8 px/m, north up: the bus at x = 15.5 m, y = -5.25 m, ego in the middle
    rollout = drive(crossroads())
    dx, dy = 15.5 - rollout.ego.x[71], -5.25 - rollout.ego.y[71]
    page.mouse.move(box["x"] + box["width"] / 2 + 8 * dx, box["y"] + box["height"] / 2 - 8 * dy)
    settle(page)
    assert page.inner_text("#tip") == "bus 102 · 18 km/h"


def test_light_and_dark(open_page):
    page = open_page(color_scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    light, seen = page.evaluate(background), stage(page)
    page.click("#theme")
    settle(page)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate(background) != light
    assert stage(page) != seen
    assert open_page(color_scheme="dark").evaluate(background) != light


def test_help_opens_and_closes(open_page):
    page = open_page()
    page.keyboard.press("?")
    assert page.is_visible("#help")
    page.keyboard.press("Escape")
    assert not page.is_visible("#help")


def test_fits_a_phone(open_page):
    page = open_page(width=400, height=800, device_scale_factor=2, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.evaluate("document.getElementById('stage').width") > 700  # sharp on high-dpi
    page.tap("#play")
    wait_past(page, 0.1)


def test_everything_pressable_has_a_name(open_page):
    assert nameless(open_page()) == []
