"""The suite pages in a browser: sorts, filters, explains, copies, changes theme, fits a phone."""

from __future__ import annotations

import pytest
from suite_runs import made_up_run

from roadloop.suites.compare import compare_runs
from roadloop.viz.compare_page import write_compare_page
from roadloop.viz.suite_page import write_suite_page

pytestmark = pytest.mark.browser

REPLAYS = ("cut_in-2", "unprotected_left_turn-0")
FAMILIES = ("red_light", "cut_in", "stop_sign", "unprotected_left_turn", "parked_obstruction")
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    """Of the suite page and the comparison page."""
    runs = []
    for skill, failure in ((0.0, "red_light-3"), (0.4, "stop_sign-3")):
        folder = tmp_path_factory.mktemp("run")
        (folder / "replays").mkdir()
        for name in REPLAYS:
            (folder / "replays" / f"{name}.html").write_text(f"<p>this is {name}</p>")
        runs.append(
            made_up_run(skill=skill, seeds=6, families=FAMILIES, failures=(failure,), folder=folder)
        )
    suite = write_suite_page(runs[0].folder / "index.html", runs[0])
    compare = write_compare_page(runs[1].folder / "compare.html", compare_runs(*runs))
    return suite.as_uri(), compare.as_uri()


@pytest.fixture
def open_page(open_address, addresses):
    """Opens one of the two pages."""

    def opened(which=0, width=1280, height=900, at="", **options):
        return open_address(addresses[which] + at, width, height, **options)

    return opened


def shown(page):
    """Names of the cases that are to be seen, in their order."""
    return page.evaluate(
        """() => [...document.querySelectorAll("#cases tbody tr")]
            .filter((row) => row.offsetParent).map((row) => row.id.slice(5))"""
    )


def test_cases_are_sorted_filtered_and_all_shown(open_page):
    page = open_page()
    worst = shown(page)
    assert len(worst) == 25 and page.inner_text("#shown") == "25 of 29"
    page.click("#show-all")
    assert len(shown(page)) == 29 and not page.is_visible("#show-all")
    page.select_option("#family", "cut_in")
    assert {name.rsplit("-", 1)[0] for name in shown(page)} == {"cut_in"}
    assert page.inner_text("#shown") == "6 of 29"
    page.check("#only-lost")
    assert 0 < len(shown(page)) < 6
    page.uncheck("#only-lost")
    page.click("#cases th:nth-child(2) button")
    assert shown(page) == [f"cut_in-{seed}" for seed in range(6)]
    assert page.get_attribute("#cases th:nth-child(2)", "aria-sort") == "ascending"
    page.click("#cases th:nth-child(2) button")
    assert shown(page)[0] == "cut_in-5"
    page.select_option("#order", label="Verdicts lost")
    lost = page.evaluate(
        """() => [...document.querySelectorAll("#cases tbody tr")]
            .filter((row) => row.offsetParent).map((row) => Number(row.dataset.lost))"""
    )
    assert lost == sorted(lost, reverse=True)


def test_a_cell_says_what_it_stands_on(open_page):
    page = open_page()
    cell = page.locator(".heat tbody tr:nth-child(3) td").nth(2)
    cell.hover()
    assert page.inner_text("#tip").startswith("Collision, at fault · cut_in\n")
    assert "95% interval" in page.inner_text("#tip")
    page.keyboard.press("Escape")
    assert not page.is_visible("#tip")
    page.locator(".heat td[tabindex='0']").focus()
    assert "all families" in page.inner_text("#tip")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#tip").startswith("Collision, at fault · red_light")
    assert page.locator(".heat td[tabindex='0']").count() == 1


def test_a_dot_leads_to_its_case_though_it_is_folded_away(open_page):
    page = open_page()
    last = page.evaluate('document.querySelector("#cases tbody tr:last-child").id')
    assert last[5:] not in shown(page)
    page.evaluate(f'document.querySelector("a[href=\\"#{last}\\"]").dispatchEvent('
                  'new MouseEvent("click", {bubbles: true}))')  # fmt: skip
    page.wait_for_timeout(100)
    assert last[5:] in shown(page)
    assert last[5:] in shown(open_page(at=f"#{last}"))


def test_commands_are_copied(open_page):
    page = open_page()
    button = page.locator(".failures button.copy")
    button.click()
    page.wait_for_timeout(50)
    assert button.inner_text() == "Copied"


def test_replays_are_shown_in_the_page(open_page):
    page = open_page()
    page.locator("iframe").scroll_into_view_if_needed()
    frame = page.frame_locator("iframe")
    first = page.locator("#which-replay option").first.inner_text()
    assert frame.locator("p").inner_text() == f"this is {first}"
    other = next(name for name in REPLAYS if name != first)
    page.select_option("#which-replay", label=other)
    frame.get_by_text(f"this is {other}").wait_for()


def test_both_replays_of_a_case_are_shown_together(open_page):
    page = open_page(1)
    page.locator("iframe").first.scroll_into_view_if_needed()
    chosen = page.locator("#which-replay option").first.inner_text()
    for place in (0, 1):
        frame = page.frame_locator("iframe").nth(place)
        assert frame.locator("p").inner_text() == f"this is {chosen}"


def test_measured_values_are_shown_when_asked_for(open_page):
    for which in (0, 1):
        page = open_page(which)
        assert not page.locator("tr.measured").first.is_visible()
        page.check("#measured")
        assert page.locator("tr.measured").first.is_visible()


@pytest.mark.parametrize("which", [0, 1])
def test_it_fits_a_phone_and_a_desk(open_page, which):
    page = open_page(which, width=400, height=800, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.select_option("#order", label="Case")  # the phone has no column heads to press
    names = shown(page)
    assert names == sorted(names, key=lambda n: (n.rsplit("-", 1)[0], int(n.rsplit("-", 1)[1])))
    page.locator(".heat td[data-tip]").first.tap()
    assert page.is_visible("#tip")
    page.set_viewport_size({"width": 1280, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


CONTRAST = """() => {
  const bright = (colour) => {
    const context = document.createElement("canvas").getContext("2d");
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const part = [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map((v) => v / 255)
      .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  };
  return Math.min(...[...document.querySelectorAll(".heat td[style]")].map((cell) => {
    const style = getComputedStyle(cell);
    const pair = [bright(style.color), bright(style.backgroundColor)];
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  }));
}"""
"""least contrast of text on its colour in the heat map (WCAG 2, 1.4.3)"""


@pytest.mark.parametrize("which", [0, 1])
def test_light_and_dark_and_both_can_be_read(open_page, which):
    page = open_page(which, color_scheme="dark")
    dark = page.evaluate(BACKGROUND)
    assert page.evaluate(CONTRAST) >= 4.5
    page.click("#theme")
    assert page.evaluate(BACKGROUND) != dark
    assert page.evaluate(CONTRAST) >= 4.5


def test_everything_pressable_has_a_name(open_page):
    nameless = open_page().evaluate(
        """() => [...document.querySelectorAll("button, input, select, iframe")]
            .filter((e) => !e.getAttribute("aria-label") && !e.textContent.trim() && !e.title
              && !e.labels?.length).map((e) => e.outerHTML)"""
    )
    assert nameless == []
