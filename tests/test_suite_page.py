"""The suite page and the comparison page as files: what they say, escape, link and need."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from suite_runs import case, made_up_run, results, score, term

from roadloop.errors import RoadloopError
from roadloop.suites.compare import compare_runs
from roadloop.viz.compare_page import write_compare_page
from roadloop.viz.suite_page import write_suite_page

VOID = {"meta", "link", "input", "circle", "line", "rect", "path", "br"}
EVIL = '<img src=x onerror="alert(1)">&\'</script>'


class Page(HTMLParser):
    """What is on a page, by element; fails where elements do not close in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [
            found
            for name, found in self.found
            if name == tag and all(found.get(key) == value for key, value in wanted.items())
        ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "replays").mkdir()
    (folder / "replays" / "cut_in-10.html").write_text("<p>replay</p>")
    return folder


@pytest.fixture(scope="module")
def run(folder):
    return made_up_run(failures=("merge-7",), folder=folder, description="made up")


@pytest.fixture(scope="module")
def page(run, folder):
    return Page(write_suite_page(folder / "index.html", run))


@pytest.fixture(scope="module")
def comparison(run, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "replays").mkdir()
    (other / "replays" / "cut_in-10.html").write_text("<p>replay</p>")
    return compare_runs(
        run, made_up_run(skill=0.4, failures=("cut_in-3",), folder=other, driver="mpc")
    )


def test_same_run_same_bytes(page, run, folder, tmp_path):
    again = tmp_path / "index.html"
    moved = dataclasses.replace(run, folder=tmp_path)
    (tmp_path / "replays").mkdir()
    (tmp_path / "replays" / "cut_in-10.html").write_text("<p>replay</p>")
    write_suite_page(again, moved)
    assert again.read_bytes() == (folder / "index.html").read_bytes()


def test_it_says_how_many_cases_stand_behind_the_scores_and_which_failed(page):
    assert "167 of 168 cases finished, 1 failed" in page.text
    assert "1 failed and count in no figure" in page.text
    assert "merge-7 · TypeError: the planner returned nothing at 3.2 s" in page.text
    assert {"data-copy": "roadloop drive merge --seed 7 --seconds 30"}.items() <= page.all(
        "button", **{"data-copy": "roadloop drive merge --seed 7 --seconds 30"}
    )[0].items()
    cards = [found["data-measure"] for found in page.all("div", **{"class": "card"})]
    assert cards == ["safety", "nuplan", "carla-2.1", "bench2drive", "rss", "surrogate"]
    assert "167 scenarios nuplan, version nuplan 1.2.2" in page.text


def test_every_family_and_measure_has_its_cell_with_what_it_stands_on(page, run):
    tips = [found["data-tip"] or "" for found in page.all("td") if "data-tip" in found]
    measures = len(tips) // 15
    assert len(tips) == 15 * measures and measures > 25
    assert any(
        tip.startswith("Collision, at fault · cut_in\n") and "over 12 cases\n95% interval" in tip
        for tip in tips
    )
    assert any("does not apply to any of 12 cases" in tip for tip in tips)
    assert len(page.all("th", **{"class": "family"})) == len({c.family for c in run.cases}) == 14
    # one cell of the table is reached by the tabulator key, the others by arrow keys
    assert len([found for found in page.all("td", tabindex="0")]) == 1


def test_cases_stand_worst_first_with_what_they_lost(page, run):
    rows = [found for found in page.all("tr") if str(found.get("id", "")).startswith("case-")]
    assert len(rows) == 167
    values = {c.case: (c.scores[1]["value"], c) for c in run.finished}
    order = [values[str(row["id"]).removeprefix("case-")][0] for row in rows]
    assert order == sorted(order)
    for row in rows:
        _, found = values[str(row["id"]).removeprefix("case-")]
        lost = sum(t["passed"] is False for s in found.scores for t in s["terms"])
        assert row["data-lost"] == str(lost) and row["data-family"] == found.family
    assert "jerk 9.13 m/s³ (bound 8.37) from 4.1 s" in page.text


def test_replays_that_are_there_are_linked_and_shown(page):
    links = [found["href"] for found in page.all("a") if "replays" in str(found["href"])]
    assert links == ["replays/cut_in-10.html"]
    assert [frame["src"] for frame in page.all("iframe")] == ["replays/cut_in-10.html"]
    assert page.all("iframe")[0]["loading"] == "lazy"
    # the others give their commands: in the row and in its details
    assert (
        len(page.all("button", **{"data-copy": "roadloop drive merge --seed 3 --seconds 30"})) == 2
    )


def test_links_are_relative_to_the_page_and_quoted(tmp_path):
    name = "50 % & more"
    replays = tmp_path / "run" / "replays"
    replays.mkdir(parents=True)
    (replays / f"{name}.html").write_text("")
    run = results([case("merge", 0, [score("x", 0.5)], name=name)], tmp_path / "run")
    page = Page(write_suite_page(tmp_path / "pages" / "suite.html", run))
    assert page.all("iframe")[0]["src"] == "../run/replays/50%20%25%20%26%20more.html"


def test_the_page_holds_configuration_and_definitions(page):
    for said in ("5f" * 32, "settings.workers 2", "versions.numpy 2.1.0", "Clopper-Pearson"):
        assert said in page.text
    assert "safety.collision_at_fault" in page.text and "version ad-rss 4.7" in page.text


def test_pages_need_nothing_else(page, folder, comparison, tmp_path):
    compare = write_compare_page(tmp_path / "compare.html", comparison)
    for path in (folder / "index.html", compare):
        content = path.read_text(encoding="utf-8")
        assert "default-src 'none'" in content and "frame-src 'self' file:" in content
        assert (
            re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:|//)|@import|url\(""", content) == []
        )
        assert "{{" not in content and "\0" not in content
        assert len(content) < 1_000_000


def test_what_comes_from_a_run_is_text_never_markup(tmp_path):
    def evil(failed=""):
        return case(
            f"f{EVIL}", 0, failed=failed, name=f"c{EVIL}{bool(failed)}",
            scores=() if failed else [score(f"s{EVIL}", 0.0, [
                term(f"t{EVIL}", f"T{EVIL}", 0.0, f"u{EVIL}", False, f"d{EVIL}")
            ], title=f"S{EVIL}", version=f"v{EVIL}")],
        )  # fmt: skip

    def run(**options):
        return results([evil(), evil(f"why{EVIL}")], tmp_path, driver=f"x{EVIL}", **options)

    a = run(**{f"key{EVIL}": {"inner": EVIL}, "description": EVIL})
    paths = [write_suite_page(tmp_path / "index.html", a)]
    kept = dataclasses.replace(
        a.cases[0],
        scores=tuple(
            {**s, "terms": [{**t, "passed": True, "value": 1.0} for t in s["terms"]]}
            for s in a.cases[0].scores
        ),
    )
    before = dataclasses.replace(a, cases=(kept, a.cases[1]))
    paths.append(write_compare_page(tmp_path / "compare.html", compare_runs(before, a)))
    for path in paths:
        page = Page(path)
        assert page.all("img") == [] and len(page.all("script")) == 1
        assert not [found for _, found in page.found if "onerror" in found]
        for said in ("why", "d", "T", "x"):
            assert f"{said}{EVIL}" in page.text


@pytest.mark.parametrize(
    "cases",
    [
        [],
        [case("merge", 0, failed="nothing works")],
        [case("merge", 0)],
        [case("merge", 0, [score("x", None, [])])],
        [case("merge", 0, [score("x", None, [term("gap", "Gap", 3.1, "m")])])],
        [case("merge", 0, [score("x", 0.5)], gap=3.0)],
    ],
    ids=["no case", "all failed", "not scored", "no terms", "one measurement", "one score"],
)
def test_small_and_empty_runs_have_pages_too(cases, tmp_path):
    run = results(cases, tmp_path)
    suite = Page(write_suite_page(tmp_path / "index.html", run))
    assert f"{len(run.finished)} of {len(cases)} cases finished" in suite.text
    compared = Page(write_compare_page(tmp_path / "compare.html", compare_runs(run, run)))
    assert "nan" not in (suite.text + compared.text).split()


def test_a_run_that_is_not_over_says_so(run, tmp_path):
    half = dataclasses.replace(run, cases=run.cases[:80], folder=tmp_path)
    assert "80 of 168 cases finished" in Page(write_suite_page(tmp_path / "i.html", half)).text


def test_a_file_that_cannot_be_written_is_said(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RoadloopError, match="cannot write the page"):
        write_suite_page(tmp_path / "file" / "index.html", run)


def test_the_comparison_page_says_what_the_comparison_does(comparison, tmp_path):
    path = write_compare_page(tmp_path / "compare.html", comparison)
    page = Page(path)
    assert path.read_bytes() == write_compare_page(tmp_path / "x.html", comparison).read_bytes()
    assert "nuPlan closed-loop score: B is better" in page.text
    assert "merge-7 failed in A" in page.text and "cut_in-3 failed in B" in page.text
    assert page.text.count("1 finished here only and count in no difference") == 2
    rows = [found for found in page.all("tr") if "data-measure" in found]
    assert [row["data-measure"] for row in rows] == [r.measure.name for r in comparison.rows]
    better = [row for row in rows if "better" in str(row["class"]).split()]
    assert len(better) == sum(row.verdict == "better" for row in comparison.rows)
    assert "Holm" in page.text
    changed = [found for found in page.all("tr") if str(found.get("id", "")).startswith("case-")]
    assert [str(row["id"]) for row in changed] == [
        f"case-{change.a.case}" for change in comparison.changes
    ]


def test_both_replays_stand_side_by_side(comparison):
    name = comparison.changes[3].a.case
    kept = [side.folder / "replays" / f"{name}.html" for side in (comparison.a, comparison.b)]
    for replay in kept:
        replay.write_text("<p>replay</p>")
    path = comparison.b.folder / "compare.html"
    page = Page(write_compare_page(path, comparison))
    frames = [str(frame["src"]) for frame in page.all("iframe")]
    assert frames[1] == f"replays/{name}.html" and frames[0].startswith("../")
    assert [(path.parent / src).resolve() for src in frames] == [r.resolve() for r in kept]
    for replay in kept:
        replay.unlink()
