"""Comparison of two runs: what counts, what is called better or worse, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from suite_runs import case, made_up_run, results, score, term

from roadloop.cli import main
from roadloop.errors import RoadloopError
from roadloop.suites.compare import compare_runs, comparison_json, comparison_text, gate
from roadloop.suites.measures import measures_of, values_of
from roadloop.suites.results import append_case, start_run


@pytest.fixture(scope="module")
def same_suite():
    a = made_up_run(failures=("cut_in-3",), folder="runs/a")
    b = made_up_run(skill=0.6, failures=("merge-3", "merge-4"), folder="runs/b", driver="mpc")
    return a, b


@pytest.fixture(scope="module")
def comparison(same_suite):
    return compare_runs(*same_suite)


def shares(values, name="nuplan", folder="runs/x", **options):
    """A run whose cases have these values of one score; None: the case failed."""
    cases = [
        case("cut_in", seed, failed="it raised")
        if value is None
        else case("cut_in", seed, [score(name, value, **options)])
        for seed, value in enumerate(values)
    ]
    return results(cases, folder)


def verdicts(lost, count=40):
    """A run of ``count`` cases that lost one safety term in the first ``lost`` of them."""
    return results(
        [
            case("merge", seed, [score("safety", None, [
                term("collision_at_fault", "Collision", float(seed < lost), "", seed >= lost)
            ])])
            for seed in range(count)
        ]
    )  # fmt: skip


def test_only_cases_that_finished_in_both_count(comparison):
    assert len(comparison.pairs) == 165
    assert comparison.only_a == ("merge-3", "merge-4") and comparison.only_b == ("cut_in-3",)
    assert [c.case for c in comparison.failed_a] == ["cut_in-3"]
    row = comparison.row("nuplan")
    assert row.difference.pairs == 165
    shared = {one.case for one, _ in comparison.pairs}
    counted = [c.scores[1]["value"] for c in comparison.a.finished if c.case in shared]
    assert row.difference.mean_a == pytest.approx(np.mean(counted))


def test_a_better_driver_is_better_and_chance_is_not(comparison):
    row = comparison.row("nuplan")
    assert row.verdict == "better" and row.survives
    assert 0.0 < row.difference.low < row.difference.mean < row.difference.high
    again = compare_runs(comparison.a, comparison.a)
    assert all(row.verdict == "none" and not row.survives for row in again.rows)
    assert again.changes == () and again.row("nuplan").difference.high == 0.0


def test_the_gate_is_b_significantly_worse(same_suite, comparison):
    assert not gate(comparison, "nuplan")
    back = compare_runs(same_suite[1], same_suite[0])
    assert gate(back, "nuplan") and gate(back, "safety") and gate(back, "carla-2.1")
    assert gate(back, "safety.collision_at_fault")
    with pytest.raises(RoadloopError, match=r"no score or term 'nuplen' .* there are safety, saf"):
        gate(back, "nuplen")
    with pytest.raises(RoadloopError, match="neither way is good"):
        gate(back, "safety.min_ttc.value")


def test_a_gate_without_enough_pairs_is_no_pass():
    with pytest.raises(RoadloopError, match=r"gate nuplan: only 3 pairs.* 0 cases failed .* 1 in"):
        gate(compare_runs(shares([0.9] * 4), shares([0.1, None, 0.1, 0.1])), "nuplan")
    nothing = compare_runs(shares([0.9] * 3), shares([None] * 3))
    assert nothing.row("nuplan").difference.pairs == 0
    with pytest.raises(RoadloopError, match="no pair has a value"):
        gate(nothing, "nuplan")
    assert "no pair has a value" in comparison_text(nothing)


def test_lost_verdicts_are_rates_and_few_of_them_are_chance():
    few = compare_runs(verdicts(0), verdicts(4)).row("safety.collision_at_fault")
    assert few.verdict == "none" and few.difference.mean == pytest.approx(-0.1)
    many = compare_runs(verdicts(0), verdicts(8)).row("safety.collision_at_fault")
    assert many.verdict == "worse" and many.measure.higher_is_better
    # the count of collisions says no more than the verdict: no row of its own
    names = [m.name for m in measures_of(verdicts(3))]
    assert names == ["safety", "safety.collision_at_fault"]


def test_which_way_is_good_decides_and_none_is_neither():
    def run(values, better):
        cases = [
            case("merge", seed, [score("x", None, [term("gap", "Gap", v, "m", better=better)])])
            for seed, v in enumerate(values)
        ]
        return results(cases)

    low, high = np.arange(20.0), np.arange(20.0) + 1.0
    for better, verdict in [(True, "better"), (False, "worse"), (None, "differs")]:
        assert compare_runs(run(low, better), run(high, better)).row("x.gap").verdict == verdict


def test_terms_that_do_not_apply_are_left_out_pair_by_pair(comparison):
    row = comparison.row("safety.red_light")
    assert row.difference.pairs == 36 and row.difference.absent == 129


def test_families_are_compared_by_themselves(comparison):
    rows = [row for row in comparison.family_rows if row.measure.name == "nuplan"]
    assert len(rows) == 14 and sum(row.difference.pairs for row in rows) == 165
    weighted = sum(row.difference.mean * row.difference.pairs for row in rows) / 165
    assert weighted == pytest.approx(comparison.row("nuplan").difference.mean)


def test_many_tests_at_once_are_corrected(comparison):
    called = [row for row in comparison.rows if row.verdict != "none"]
    surviving = [row for row in called if row.survives]
    assert 0 < len(surviving) < len(called)
    bound = 0.05 / len(comparison.rows)
    assert all(row.survives for row in called if row.difference.p_value <= bound)


def test_cases_that_changed_most_come_first():
    stays = [score("nuplan", 0.5, [term("kept", "Kept", 1.0, "", True, better=True)])]
    lost = [score("nuplan", 0.5, [term("kept", "Kept", 0.0, "", False, better=True)])]
    fell = [score("nuplan", 0.1, [term("kept", "Kept", 1.0, "", True, better=True)])]
    a = results([case("merge", seed, stays) for seed in range(3)])
    b = results([case("merge", 0, fell), case("merge", 1, lost), case("merge", 2, stays)])
    changes = compare_runs(a, b).changes
    assert [change.a.case for change in changes] == ["merge-1", "merge-0"]
    assert [m.name for m in changes[0].lost] == ["nuplan.kept"] and changes[0].gained == ()
    assert changes[1].size == pytest.approx(0.4)
    assert [m.name for m in compare_runs(b, a).changes[0].gained] == ["nuplan.kept"]


def test_other_suites_and_versions_are_refused(same_suite):
    a, b = same_suite
    other = dataclasses.replace(b, run={**b.run, "suite_hash": "00" * 32})
    with pytest.raises(RoadloopError, match=r"5f5f5f5f5f5f.*000000000000.*run both on one suite"):
        compare_runs(a, other)
    with pytest.raises(RoadloopError, match=r"run.json has no suite_hash"):
        compare_runs(a, dataclasses.replace(b, run={"suite": "standard"}))
    with pytest.raises(RoadloopError, match=r"'1' in runs/x and '2' in runs/x; score both"):
        compare_runs(shares([0.5]), shares([0.5], version="2"))
    with pytest.raises(RoadloopError, match="is cut_in seed 0 in the one run and merge seed 0"):
        compare_runs(
            results([case("cut_in", 0, name="one")]), results([case("merge", 0, name="one")])
        )
    mixed = results([case("merge", s, [score("nuplan", 0.5, version=str(s))]) for s in range(2)])
    with pytest.raises(RoadloopError, match="score the run again with one version"):
        measures_of(mixed)


def test_a_score_of_one_run_only_is_left_out_and_said():
    both = compare_runs(
        results([case("merge", 0, [score("nuplan", 0.5), score("rss", 1.0)])]),
        results([case("merge", 0, [score("nuplan", 0.5)])]),
    )
    assert both.scores_left_out == ("rss",)
    assert "in one run only, left out: rss" in comparison_text(both)


def test_the_headline_may_be_chosen(same_suite):
    found = compare_runs(*same_suite, headline="carla-2.1")
    assert found.headline is not None and found.headline.name == "carla-2.1"
    with pytest.raises(RoadloopError, match="no score or term 'nothing'"):
        compare_runs(*same_suite, headline="nothing")


def test_the_text_says_what_counts(same_suite, comparison):
    text = comparison_text(comparison)
    assert "165 cases finished in both" in text
    assert "167 of 168 cases finished, 1 failed" in text
    assert "merge-3: TypeError: the planner returned nothing at 3.2 s" in text
    line = next(line for line in text.splitlines() if line.startswith("nuplan "))
    assert line.endswith("better *")
    assert "Holm" in text and max(map(len, text.splitlines())) < 240
    # half a run: what is missing is not called finished
    half = dataclasses.replace(same_suite[0], cases=same_suite[0].cases[:84])
    assert "84 not driven yet" in comparison_text(compare_runs(half, same_suite[1]))


def test_the_text_links_replays_that_are_there(tmp_path):
    page = tmp_path / "replays" / "cut_in-0.html"
    page.parent.mkdir()
    page.write_text("")
    found = compare_runs(shares([0.9] * 6), shares([0.2] * 6, folder=tmp_path))
    text = comparison_text(found)
    assert str(page) in text and "roadloop drive cut_in --seed 0" in text
    change = comparison_json(found)["changes"][0]
    assert change["replay_b"] == str(page) and change["replay_a"].startswith("roadloop drive")


def test_json_is_plain_and_whole(comparison):
    data = json.loads(json.dumps(comparison_json(comparison), allow_nan=False))
    assert data["pairs"] == 165 and data["b"]["failed"].keys() == {"merge-3", "merge-4"}
    row = next(row for row in data["differences"] if row["name"] == "nuplan")
    assert row["verdict"] == "better" and row["survives_holm"] is True
    assert len(data["families"]) == 14 * len(data["differences"])
    empty = compare_runs(shares([0.9]), shares([None]))
    assert comparison_json(empty)["differences"][0]["difference"] is None


def test_values_of_cases_that_lack_a_score_are_absent():
    run = results([case("merge", 0, [score("nuplan", 0.5)]), case("merge", 1)])
    values = values_of(run.finished, measures_of(run))
    assert values["nuplan"][0] == 0.5 and math.isnan(values["nuplan"][1])


# --- the command line ---------------------------------------------------------------------------


def on_disk(run, folder):
    """The folder of a run that has ended."""
    start_run(folder, run.run)
    for each in run.cases:
        append_case(folder, each)
    return str(folder)


def test_the_command_line_fails_where_the_gate_is_crossed(tmp_path, capsys):
    a = on_disk(made_up_run(), tmp_path / "a")
    b = on_disk(made_up_run(skill=-0.9, failures=("cut_in-3",)), tmp_path / "b")
    assert main(["compare", a, a, "--gate", "nuplan"]) == 0
    assert main(["compare", a, b]) == 0
    capsys.readouterr()
    assert main(["compare", a, b, "--gate", "nuplan", "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["worse"] == ["nuplan"]
    assert "significantly worse on nuplan" in said.err
    assert main(["compare", b, a, "--gate", "nuplan"]) == 0
    assert (tmp_path / "b" / "compare.html").is_file()


def test_the_command_line_says_what_cannot_be_compared(tmp_path, capsys):
    a = on_disk(made_up_run(), tmp_path / "a")
    other = on_disk(made_up_run(suite_hash="00" * 32), tmp_path / "other")
    for words, said in [
        (["compare", a, other], "suite"),
        (["compare", a, a, "--gate", "speed"], "speed"),
        (["compare", a, a, "--level", "2"], "level"),
        (["compare", a, str(tmp_path / "gone")], "no suite run"),
    ]:
        capsys.readouterr()
        assert main(words) == 2
        complaint = capsys.readouterr().err.strip()
        assert said in complaint and "\n" not in complaint
