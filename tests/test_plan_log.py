"""Why plans were chosen: what is kept, how it is read again, and where it is shown and counted."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from drawn_scene import DT, crossroads, drive, score
from explained_drive import (
    GUARD,
    PASSES,
    PEDESTRIAN,
    STOPS,
    TERMS,
    YIELDS,
    ExplainingDriver,
    Intervention,
    explained,
    explaining_stack,
    observation_of,
    plan_log,
)

import sim.evaluate
from deploy.plan_log import PlanRecorder
from roadloop.cli import main
from roadloop.cli.watching import watching
from roadloop.errors import RoadloopError
from roadloop.logs.plans import TABLES, read_plans, write_plans
from roadloop.scoring.diagnostics import with_diagnostics
from roadloop.scoring.result import Score, Term, read_score
from roadloop.viz.plan_strip import PlanStrip
from roadloop.viz.plans import agents_meant, steps_told
from roadloop.viz.report import write_report
from sim.suite import Case


@pytest.fixture(scope="module")
def scene():
    road_map = crossroads()
    return road_map, drive(road_map)


@pytest.fixture(scope="module")
def log(scene):
    return plan_log(scene[1])


# --- what is kept ---------------------------------------------------------------------------------


def test_every_half_second_and_every_change_is_kept(log):
    times = np.round(log.tables["moments"]["time"], 3)
    assert np.diff(times).max() <= 0.5 + 1e-6
    # 3 choices begin and end off no grid of their own: nothing between is kept but the guard's act
    assert {6.0, 8.0, 10.0, 11.0, 14.0, 16.5, GUARD[0]} <= set(times.tolist())
    assert len(times) < 20.0 / 0.5 + 8
    driven = dict(zip(times.tolist(), log.manoeuvres))
    assert driven[0.0] == "keep lane, 100 %"
    assert driven[YIELDS[0]] == driven[STOPS[1]] == "keep lane, 20 %"
    assert driven[STOPS[0]] == driven[GUARD[0]] == "stop for it"
    assert driven[PASSES[0]] == "change left, 100 %"


def test_a_change_is_kept_at_its_very_step(scene):
    log = plan_log(scene[1], every=100.0)
    times = np.round(log.tables["moments"]["time"], 3).tolist()
    assert times == [0.0, 6.0, 8.0, GUARD[0], 10.0, 11.0, 14.0, 16.5]


def test_proposals_terms_and_paths_are_those_of_the_moment(scene, log):
    _, rollout = scene
    assert log.terms == TERMS and log.guarded
    assert log.weights == pytest.approx((1, 1, 1, 5 / 14, 5 / 14, 2 / 14, 1 / 14, 1 / 14))
    values, paths = log.values(), log.paths()
    moments, proposals = log.tables["moments"], log.tables["proposals"]
    for moment in (0, 17, log.moments - 1):
        step = int(moments["step"][moment])
        said = explained(rollout, step)
        rows = np.flatnonzero(proposals["moment"] == moment)
        assert [proposals["name"][row] for row in rows] == list(said.names)
        assert np.allclose(proposals["score"][rows], said.score, atol=5.1e-4)
        assert np.allclose(values[rows], np.stack(list(said.terms.values()), -1), atol=5.1e-4)
        assert np.allclose(paths[rows], said.xy, atol=0.0051)
        assert moments["chosen"][moment] == rows[said.chosen]


def test_who_limits_is_kept_with_his_box(scene, log):
    _, rollout = scene
    moments = log.tables["moments"]
    yields = (moments["time"] > YIELDS[0] - 1e-6) & (moments["time"] < YIELDS[1] - 1e-6)
    assert (moments["limit_id"] == np.where(yields, PEDESTRIAN, -1)).all()
    assert np.isnan(moments["x"][~yields]).all()
    column = int(np.flatnonzero(rollout.agents.id[0] == PEDESTRIAN)[0])
    steps = moments["step"][yields]
    assert np.allclose(moments["y"][yields], rollout.agents.y[steps, column])
    assert (moments["length"][yields] == np.float32(0.5)).all()
    guard = log.tables["interventions"]
    assert (guard["kind"], guard["agent_id"].tolist()) == (["emergency_brake"], [PEDESTRIAN])
    assert guard["y"][0] == pytest.approx(rollout.agents.y[round(GUARD[0] / DT), column])


def test_each_step_knows_the_latest_moment(scene, log):
    _, rollout = scene
    row = log.of_step(rollout)
    steps = log.tables["moments"]["step"]
    assert (steps[row] <= np.arange(len(row))).all() and row[0] == 0
    assert (np.append(steps, 10**6)[row + 1] > np.arange(len(row))).all()


def test_a_driver_that_sees_by_itself_is_asked_for_its_own_tracks(scene):
    _, rollout = scene
    driver = ExplainingDriver(rollout)
    recorder = PlanRecorder(SimpleNamespace(driver=driver))  # one inside another
    observation = observation_of(rollout, 70)
    states = dataclasses.replace(observation.tracks.states, x=observation.tracks.states.x + 3.0)
    driver.sight = SimpleNamespace(tracks=dataclasses.replace(observation.tracks, states=states))
    blind = SimpleNamespace(**{**vars(observation), "tracks": None})
    driver.act(observation)
    recorder.listen(blind)
    column = int(np.flatnonzero(rollout.agents.id[0] == PEDESTRIAN)[0])
    kept = recorder.log().tables["moments"]
    assert kept["x"][0] == pytest.approx(rollout.agents.x[70, column] + 3.0)


def test_drivers_that_explain_nothing_leave_nothing(scene):
    _, rollout = scene
    for driver in (SimpleNamespace(), SimpleNamespace(explanation=None, guard=None)):
        recorder = PlanRecorder(driver)
        recorder.listen(observation_of(rollout, 0))
        assert recorder.log() is None


def test_falling_silent_is_a_moment_without_proposals(scene):
    _, rollout = scene
    driver = ExplainingDriver(rollout)
    recorder = PlanRecorder(driver)
    for step in range(4):
        driver.act(observation_of(rollout, step))
        if step >= 2:
            driver.explanation = None
        recorder.listen(observation_of(rollout, step))
    moments = recorder.log().tables["moments"]
    assert moments["step"].tolist() == [0, 2] and moments["chosen"][1] == -1
    assert recorder.log().manoeuvres == ["keep lane, 100 %", ""]


@pytest.mark.parametrize(
    "change, said",
    [
        ({"score": np.zeros(3)}, r"16 proposals: score has shape \(3,\)"),
        ({"terms": {"comfort": np.zeros((16, 1))}}, r"term 'comfort' has shape \(16, 1\)"),
        ({"xy": np.zeros((16, 2))}, r"xy has shape \(16, 2\), expected \(16, K, 2\)"),
        ({"chosen": 16}, "chosen is 16"),
        ({"xy": np.full((16, 3, 2), np.nan)}, "NaN or infinite"),
        ({"weights": {"comfort": 5.0}}, "weight of 'comfort' is 5.0, expected 0 to 1"),
    ],
)
def test_an_explanation_that_does_not_fit_together_is_refused(scene, change, said):
    _, rollout = scene
    driver = ExplainingDriver(rollout)
    driver.explanation = dataclasses.replace(explained(rollout, 0), **change)
    with pytest.raises(RoadloopError, match=said) as caught:
        PlanRecorder(driver).listen(observation_of(rollout, 0))
    assert "\n" not in str(caught.value)


def test_terms_may_come_and_go(scene):
    _, rollout = scene
    driver = ExplainingDriver(rollout)
    recorder = PlanRecorder(driver, every=0.0)
    for step, kept in enumerate((TERMS[:2], TERMS[1:3])):
        said = explained(rollout, step)
        terms = {name: said.terms[name] for name in kept}
        driver.explanation = dataclasses.replace(said, terms=terms)
        recorder.listen(observation_of(rollout, step))
    values = recorder.log().values()
    assert recorder.log().terms == TERMS[:3]
    assert np.isnan(values[:16, 2]).all() and np.isnan(values[16:, 0]).all()
    assert np.isfinite(values[:16, :2]).all() and np.isfinite(values[16:, 1:]).all()


# --- on disk --------------------------------------------------------------------------------------


def test_the_log_is_read_as_it_was_written(tmp_path, log):
    read = read_plans(write_plans(tmp_path / "plans", log))
    assert (read.terms, read.weights) == (log.terms, log.weights)
    assert (read.point_step, read.guarded) == (log.point_step, True)
    for name, columns in TABLES.items():
        for column in columns:
            a, b = log.tables[name][column], read.tables[name][column]
            same = a == b if isinstance(a, list) else np.array_equal(a, b, equal_nan=True)
            assert same, (name, column)
    assert read_plans(tmp_path / "nowhere") is None
    meta = tmp_path / "plans" / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"format": 99}))
    with pytest.raises(RoadloopError, match="format 99: upgrade"):
        read_plans(tmp_path / "plans")
    meta.write_text('{"format": 1}')
    with pytest.raises(RoadloopError, match=r"is damaged .*; drive once more"):
        read_plans(tmp_path / "plans")


# --- in the report --------------------------------------------------------------------------------


def meta_of(path):
    page = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="meta">(.*?)</script>', page, re.S)
    return page, json.loads(found[1])


def test_a_minute_adds_less_than_a_megabyte(tmp_path):
    road_map = crossroads()
    rollout = drive(road_map, 600)
    rng = np.random.default_rng(0)
    driver = ExplainingDriver(rollout)
    recorder = PlanRecorder(driver)
    for step in range(600):
        said = explained(rollout, step)
        noisy = {name: np.clip(v - rng.random(16) / 9, 0, 1) for name, v in said.terms.items()}
        wavy = said.xy + rng.normal(0.0, 0.1, said.xy.shape)
        chosen = step // 3 % 16  # three times a second another one
        driver.explanation = dataclasses.replace(said, terms=noisy, xy=wavy, chosen=chosen)
        recorder.listen(observation_of(rollout, step))
    log = recorder.log()
    assert log.moments > 180
    bare = write_report(tmp_path / "a.html", rollout, road_map, None)
    page = write_report(tmp_path / "b.html", rollout, road_map, None, plans=log)
    assert page.stat().st_size - bare.stat().st_size < 1_000_000
    written = write_plans(tmp_path / "plans", log)
    assert sum(file.stat().st_size for file in written.iterdir()) < 1_000_000


def test_the_page_holds_it_all_and_the_same_bytes(tmp_path, scene, log):
    road_map, rollout = scene
    path = write_report(tmp_path / "a.html", rollout, road_map, score(rollout), plans=log)
    page, meta = meta_of(path)
    assert meta["why"]["terms"][3] == "time to collision"
    assert list(meta["why"]["colours"]) == ["keep lane", "stop for it", "change left"]
    assert "aside to the right" in meta["why"]["groups"]
    assert len(meta["why"]["interventions"]) == 1
    assert "pedestrian 106 &lt;near&gt;" in page and "106 <near>" not in page
    again = write_report(tmp_path / "b.html", rollout, road_map, score(rollout), plans=log)
    assert again.read_bytes() == path.read_bytes()


def test_a_page_without_stays_without(tmp_path, scene):
    road_map, rollout = scene
    driver = SimpleNamespace(guard=SimpleNamespace(interventions=[]))
    quiet = PlanRecorder(driver).log()  # guarded, and nothing ever happened
    assert quiet is not None and quiet.guarded
    for plans in (None, quiet):
        path = write_report(tmp_path / "a.html", rollout, road_map, None, plans=plans)
        page, meta = meta_of(path)
        assert meta["why"] is None and 'id="why"' not in page


def test_each_step_of_a_video_says_what_is_driven_and_why(scene, log):
    _, rollout = scene
    told = steps_told(log, rollout)
    assert (told[20].chosen, told[20].limit, told[20].guard) == ("keep lane, 100 %", "", "")
    assert told[85].limit == "pedestrian 106 (it crosses ahead)"
    assert told[85].guard == "emergency brake: pedestrian 106 <near>" and not told[95].guard
    assert told[199].limit == "the speed limit"
    strip = PlanStrip(log, rollout, 640)
    one, other = strip.picture(20), strip.picture(85)
    assert one.shape == (strip.size[1], 640, 3) == (52, 640, 3) and (one != other).any()
    assert (strip.picture(20) == one).all()


def test_numbers_of_the_driver_are_told_by_where_he_saw_them(scene):
    _, rollout = scene
    agents = rollout.agents
    column = int(np.flatnonzero(agents.id[0] == PEDESTRIAN)[0])
    x, y = float(agents.x[70, column]), float(agents.y[70, column])
    places = [(x + 4.0, y), (x + 1.0, y), (x + 4.0, y), (np.nan, np.nan), (np.nan, np.nan)]
    table = {
        "step": np.full(5, 70),
        "x": np.array([p[0] for p in places]),
        "y": np.array([p[1] for p in places]),
    }
    names = np.array([PEDESTRIAN, 7, 7, PEDESTRIAN, -1])
    assert agents_meant(table, names, rollout).tolist() == [106, 106, -1, 106, -1]


# --- in the scores --------------------------------------------------------------------------------


def test_interventions_are_counted_and_change_nothing_else(log):
    kept = Term("off_road", "Off the road", 0.0, "", True, None, "kept", True)
    scores = (
        Score("safety", "Safety", "1", None, "", (kept,)),
        Score("nuplan", "nuPlan", "1", 0.9, "", ()),
    )
    assert with_diagnostics(scores, None) == scores
    judged = with_diagnostics(scores, log)
    assert judged[1] == scores[1] and judged[0].terms[:-1] == scores[0].terms
    term = judged[0].terms[-1]
    assert (term.name, term.value, term.passed) == ("guard_interventions", 1.0, None)
    assert term.detail == "8.3 s emergency brake pedestrian 106 <near>"
    guard = SimpleNamespace(
        interventions=[Intervention(k, 0.1 * k, "rss", "", -1, 0.1 * k) for k in range(5)]
    )
    many = PlanRecorder(SimpleNamespace(guard=guard)).log()
    assert with_diagnostics(scores, many)[0].terms[-1].detail.endswith("0.2 s rss; and 2 more")


def test_a_drive_keeps_shows_and_counts_it(tmp_path, capsys):
    out = tmp_path / "out"
    words = ["drive", "lead_vehicle_brake", "--driver", "explained_drive:explaining_stack"]
    assert main([*words, "--seconds", "0.6", "--out", str(out), "--no-video", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["paths"]["plans"] == str(out / "plans")
    assert told["score"]["terms"]["guard_interventions"]["value"] == 1.0
    assert read_score(out / "score.json").term("guard_interventions").value == 1.0
    kept = read_plans(out / "plans")
    assert kept.tables["moments"]["step"].tolist() == [0, 2]
    _, meta = meta_of(out / "report.html")
    assert meta["why"]["names"] == ["as planned", "faster"]
    assert main(["report", str(out), "--out", str(tmp_path / "again.html")]) == 0
    page, again = meta_of(tmp_path / "again.html")
    assert again["why"] == meta["why"] and "Guard interventions" in page
    capsys.readouterr()
    assert main(["score", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["score"]["terms"]["guard_interventions"]["value"] == 1.0


def test_a_suite_counts_it_with_and_without_replays(tmp_path):
    job = sim.evaluate.Job(
        explaining_stack,
        tmp_path / "run",
        replays="none",
        watch=functools.partial(watching, percepts=False, times=False),
    )
    case = Case("one", "lead_vehicle_brake", 0, seconds=0.4)
    for replays in ("none", "all"):
        result = sim.evaluate.run_case(dataclasses.replace(job, replays=replays), case)
        assert not result.failed
        safety = next(entry for entry in result.scores if entry["name"] == "safety")
        assert safety["terms"][-1]["name"] == "guard_interventions"
        assert safety["terms"][-1]["value"] == 1.0
    _, meta = meta_of(tmp_path / "run" / "replays" / "one.html")
    assert meta["why"]["names"] == ["as planned", "faster"]
