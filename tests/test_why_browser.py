"""Why this plan, in a browser: a moment's proposals, their terms and who limited; keys; a phone."""

from __future__ import annotations

from functools import partial

import pytest
from drawn_scene import crossroads, drive, score
from explained_drive import GUARD, PASSES, STOPS, TERMS, YIELDS, explained, plan_log
from report_page import clock, nameless, settle, stage

from roadloop.viz.report import write_report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def rollout():
    return drive(crossroads())


@pytest.fixture(scope="module")
def address(tmp_path_factory, rollout):
    path = tmp_path_factory.mktemp("why") / "drive.html"
    log = plan_log(rollout)
    return write_report(path, rollout, crossroads(), score(rollout), plans=log).as_uri()


@pytest.fixture
def open_page(open_address, address):
    """Opens the report without motion, as a reader who wants none has it."""
    return partial(open_address, address, reduced_motion="reduce")


def click_moment(page, time, end=19.9):
    """Clicks the strip of manoeuvres at a time."""
    strip = page.locator("#why-strip")
    width = strip.bounding_box()["width"]
    strip.click(position={"x": 2 + time / end * (width - 4), "y": 12})
    settle(page)


def table(page):
    """Names, scores, words and term values of the rows as they stand."""
    return page.evaluate(
        """[...document.querySelectorAll('#why-table tbody tr')].map((row) => ({
            name: row.querySelector('.why-name span').textContent,
            chosen: row.classList.contains('is-chosen'),
            said: row.querySelector('small').textContent,
            score: Number(row.querySelector('td.value').textContent.replace('−', '-')),
            terms: [...row.querySelectorAll('td.why-term span')].map((s) => Number(s.textContent)),
            cost: [...row.querySelectorAll('td.why-term')].findIndex(
                (cell) => cell.classList.contains('is-cost')),
        }))"""
    )


def test_a_clicked_moment_tells_proposals_terms_and_the_limit(open_page, rollout):
    page = open_page()
    click_moment(page, 9.15)
    assert clock(page) == pytest.approx(9.15, abs=0.06)
    rows = table(page)
    moment = float(page.inner_text("#why-say").split()[1])
    truth = explained(rollout, round(moment / rollout.dt))
    assert {row["name"] for row in rows} == set(truth.names) and len(rows) == 16
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    heads = page.evaluate(
        "[...document.querySelectorAll('#why-table th.why-term')].map((th) => th.textContent)"
    )
    assert heads == [name.replace("_", " ") for name in TERMS]
    for row in rows:
        i = truth.names.index(row["name"])
        assert row["score"] == pytest.approx(truth.score[i], abs=1.1e-3)
        expected = [float(values[i]) for values in truth.terms.values()]
        assert row["terms"] == pytest.approx(expected, abs=0.0051)
    (chosen,) = [row for row in rows if row["chosen"]]
    assert chosen["name"] == "stop for it" and chosen["said"] == "weakest in progress, 0.05"
    fast = next(row for row in rows if row["name"] == "keep lane, 100 %")
    assert fast["said"] == "cost it most: no collision, 0.00 against 1.00" and fast["cost"] == 0
    said = page.inner_text("#why-say")
    assert "stop for it" in said and "Limited by pedestrian 106 (it crosses ahead)." in said
    assert page.inner_text("#why-tag") == "pedestrian 106: it crosses ahead"
    assert page.inner_text("#why-now-what") == "stop for it"


def test_what_costs_follows_the_moment(open_page):
    page = open_page()
    click_moment(page, 2.0)
    assert "Nothing limited it" in page.inner_text("#why-say")
    assert page.is_hidden("#why-tag")
    rows = {row["name"]: row for row in table(page)}
    assert rows["keep lane, 100 %"]["chosen"]
    slow = rows["keep lane, 20 %"]
    assert slow["said"] == "cost it most: progress, 0.24 against 1.00"
    assert slow["cost"] == TERMS.index("progress")
    click_moment(page, 15.0)
    rows = {row["name"]: row for row in table(page)}
    assert rows["change left, 100 %"]["chosen"]
    assert "drivable area" in rows["aside to the right, 100 %"]["said"]
    click_moment(page, 18.0)
    assert "Limited by the speed limit" in page.inner_text("#why-say")
    assert page.inner_text("#why-now-limit") == "limited by the speed limit"


def test_keys_lead_from_change_to_change(open_page):
    page = open_page()
    met = []
    for _ in range(8):
        page.keyboard.press("n")
        settle(page)
        met.append(clock(page))
    assert met == [6.0, 8.0, 8.3, 10.0, 11.0, 14.0, 16.5, 16.5]
    page.keyboard.press("p")
    settle(page)
    assert clock(page) == PASSES[0]
    page.keyboard.press("?")
    assert page.is_visible("#help-why")


def test_an_intervention_is_listed_and_leads_to_its_moment(open_page):
    page = open_page()
    assert "pedestrian 106 <near>" in page.inner_text(".why-guard")
    page.click("[data-why-guard='0']")
    settle(page)
    assert clock(page) == GUARD[0]
    assert page.inner_text("#why-tag") == "emergency brake: pedestrian 106 <near>"
    assert page.inner_text("#why-now-guard") == "the guard intervenes"
    assert "Limited by pedestrian 106" in page.inner_text("#why-say")  # the plan still was
    page.keyboard.press("Shift+ArrowRight")
    settle(page)
    assert page.is_hidden("#why-now-guard")


def test_proposals_are_drawn_and_one_is_pointed_out(open_page):
    page = open_page()
    click_moment(page, 7.0)
    seen = [stage(page)]
    page.click("#why-paths")
    settle(page)
    seen.append(stage(page))
    page.click("#why-paths")
    settle(page)
    assert stage(page) == seen[0]
    name = page.locator("#why-table tbody .why-name").nth(2)
    name.focus()
    page.keyboard.press("Enter")
    settle(page)
    seen.append(stage(page))
    assert name.get_attribute("aria-pressed") == "true"
    assert len(set(seen)) == 3
    page.keyboard.press("ArrowRight")  # the row in focus keeps it while the clock goes on
    settle(page)
    assert page.evaluate("document.activeElement.className") == "why-name"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_a_phone(open_page, scheme):
    page = open_page(width=400, device_scale_factor=2, has_touch=True, color_scheme=scheme)
    click_moment(page, STOPS[0] + 0.1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    inside = page.evaluate(
        """() => ['why-tag', 'why-now', 'why-table'].map((id) => {
            const box = document.getElementById(id).getBoundingClientRect();
            return box.left >= 0 && box.right <= 400 && box.width > 0;
        })"""
    )
    assert inside == [True, True, True]
    sharp = "(c => c.width === 2 * c.clientWidth)(document.getElementById('why-strip'))"
    assert page.evaluate(sharp)
    assert YIELDS[0] < clock(page) < YIELDS[1]


def test_everything_pressable_has_a_name(open_page):
    assert nameless(open_page()) == []
