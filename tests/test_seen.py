"""What a driver saw against what was there: matching, what lasts, log, marks, page and strip."""

from __future__ import annotations

import dataclasses
import functools
import json
import re

import numpy as np
import pytest
from drawn_scene import DT, crossroads, drive, score
from seen_drive import (
    BLACK,
    GHOST,
    GRID,
    OFF,
    PARKED,
    PEDESTRIAN,
    SLIP,
    TOLD_WRONG,
    TRUCK,
    UNSEEN,
    seen_log,
)
from tiny_detector import tiny_checkpoint

import sim.evaluate
from deploy.percept_check import check_percepts
from roadloop.cli import main
from roadloop.cli.drivers import build_driver
from roadloop.cli.watching import watching
from roadloop.errors import RoadloopError
from roadloop.logs.percepts import TABLES, empty_table, read_percepts, write_percepts
from roadloop.viz import seen_marks, seen_page
from roadloop.viz.report import write_report
from roadloop.viz.seen import Told, Truth, as_json, rows_of, summary_line
from roadloop.viz.seen_marks import Role, laid_out, picture_boxes, picture_lamps
from roadloop.viz.seen_strip import SeenStrip
from sim.suite import Case


@pytest.fixture(scope="module")
def scene():
    road_map = crossroads()
    return road_map, drive(road_map)


@pytest.fixture(scope="module")
def seen(scene):
    return check_percepts(seen_log(scene[1]), scene[1])


def in_grid(rollout, step):
    """Ids of those whose centres lie in the grid; the ego drives along x, within 0.02 rad."""
    agents, ego = rollout.agents, rollout.ego
    c, s = np.cos(ego.heading[step]), np.sin(ego.heading[step])
    dx, dy = agents.x[step] - ego.x[step], agents.y[step] - ego.y[step]
    x, y = c * dx + s * dy, c * dy - s * dx
    inside = (x >= GRID.x_min) & (x < GRID.x_max) & (y >= GRID.y_min) & (y < GRID.y_max)
    return set(agents.id[step, agents.valid[step] & inside].tolist())


# --- found, missed, made up -----------------------------------------------------------------------


def test_counts_are_those_of_the_rollout(scene, seen):
    _, rollout = scene
    for step in range(0, len(rollout.time), 7):
        there = in_grid(rollout, step)
        visible = there - {PARKED}
        unseen = UNSEEN[0] <= round(rollout.time[step], 3) < UNSEEN[1]
        missed = visible & ({PEDESTRIAN} if unseen else set())
        assert seen.visible[step] == len(visible)
        assert seen.missed[step] == len(missed)
        assert seen.found[step] == len(visible) - len(missed)
        ghost = GHOST[0] <= round(rollout.time[step], 3) < GHOST[1]
        assert seen.false_alarms[step] == int(ghost)


def test_errors_are_those_of_the_tracks(seen):
    known = seen.found > 0
    assert np.allclose(seen.position_error[known], OFF, atol=1e-4)
    assert np.allclose(seen.velocity_error[known], SLIP, atol=1e-4)
    assert np.isnan(seen.position_error[~known]).all() and (~known).any()
    assert seen.summary.position_error == pytest.approx(OFF, abs=1e-4)
    bands = seen.summary.bands
    assert sum(band[2] for band in bands) == seen.summary.visible
    assert sum(band[3] for band in bands) == seen.summary.found


def test_another_class_is_found_all_the_same(scene, seen):
    mine = (seen.truth["agent"] == TRUCK) & (seen.truth["state"] != Truth.BEYOND)
    assert mine.any() and (seen.truth["state"][mine] == Truth.FOUND).all()
    assert seen.summary.other_class == mine.sum()


def test_what_lasts_is_listed_with_time_class_and_distance(scene, seen):
    _, rollout = scene
    events = {event.kind: event for event in seen.events}
    assert len(seen.events) == 3
    missed = events["missed"]
    assert (missed.name, missed.what) == (PEDESTRIAN, "pedestrian")
    assert missed.start == pytest.approx(UNSEEN[0]) and missed.end == pytest.approx(UNSEEN[1])
    steps = np.arange(round(UNSEEN[0] / DT), round(UNSEEN[1] / DT))
    k = int(np.flatnonzero(rollout.agents.id[0] == PEDESTRIAN)[0])
    away = np.hypot(
        rollout.agents.x[steps, k] - rollout.ego.x[steps],
        rollout.agents.y[steps, k] - rollout.ego.y[steps],
    )
    assert missed.distance == pytest.approx(away.min(), abs=1e-6)
    false = events["false alarm"]
    assert (false.name, false.what) == (900, "vehicle")
    assert (false.start, false.end) == (pytest.approx(GHOST[0]), pytest.approx(GHOST[1]))
    assert false.ahead == pytest.approx(20.0, abs=0.3) and false.left == pytest.approx(6.0, abs=0.5)
    light = events["light"]
    assert (light.name, light.what) == (0, "told red, was green")
    assert (light.start, light.end) == (pytest.approx(TOLD_WRONG[0]), pytest.approx(TOLD_WRONG[1]))


def without_tracks(log, name, times):
    """The log without the tracks called ``name`` at some moments."""
    tracks = log.tables["tracks"]
    at = np.round(log.tables["moments"]["time"][tracks["moment"]], 3)
    keep = ~((tracks["id"] == name) & np.isin(at, np.round(times, 3)))
    kept = {key: value[keep] for key, value in tracks.items()}
    return dataclasses.replace(log, tables=log.tables | {"tracks": kept})


def test_half_a_second_is_too_short_and_being_hidden_ends_nothing(scene):
    _, rollout = scene
    log = without_tracks(seen_log(rollout, pictures=0), 102, np.arange(3.0, 3.45, 0.1))
    starts = [e.start for e in check_percepts(log, rollout).events if e.name == 102]
    assert starts == []  # five moments: 0.5 s, not longer
    log = without_tracks(log, 102, np.arange(3.0, 3.85, 0.1))
    seen = check_percepts(log, rollout)
    assert [e.end - e.start for e in seen.events if e.name == 102] == [pytest.approx(0.9)]
    witnessed = log.tables["witnessed"]
    at = np.round(log.tables["moments"]["time"][witnessed["moment"]], 3)
    hidden = (witnessed["agent"] == 102) & np.isin(at, [3.3, 3.4])
    pixels = np.where(hidden, 0, witnessed["pixels"])
    log = dataclasses.replace(
        log, tables=log.tables | {"witnessed": witnessed | {"pixels": pixels}}
    )
    seen = check_percepts(log, rollout)
    assert [e.end - e.start for e in seen.events if e.name == 102] == [pytest.approx(0.9)]


def test_a_track_of_somebody_hidden_is_no_false_alarm(scene):
    _, rollout = scene
    log = seen_log(rollout, pictures=0)
    blind = log.tables["witnessed"] | {"pixels": np.zeros_like(log.tables["witnessed"]["pixels"])}
    seen = check_percepts(
        dataclasses.replace(log, tables=log.tables | {"witnessed": blind}), rollout
    )
    assert seen.visible.sum() == 0 and seen.missed.sum() == 0
    ghost = log.tables["tracks"]["id"] == 900
    assert (seen.told[ghost] == Told.FALSE).all()
    assert (seen.told[~ghost] == Told.ASIDE).all()
    assert "road users found" not in summary_line(seen)


def test_nothing_seen_at_all(scene):
    _, rollout = scene
    log = seen_log(rollout, pictures=0)
    log = dataclasses.replace(log, tables={name: empty_table(name) for name in TABLES})
    seen = check_percepts(log, rollout)
    assert seen.events == () and seen.summary.moments == 0
    assert summary_line(seen) == "No picture was looked at."
    assert np.isnan(seen.over_time(seen.found, rollout)).all()
    json.dumps(as_json(seen), allow_nan=False)


def test_between_moments_the_latest_holds(scene):
    _, rollout = scene
    seen = check_percepts(seen_log(rollout, every=3, pictures=0), rollout)
    row = seen.of_step(rollout)
    assert row[:4].tolist() == [0, 0, 0, 1]
    assert seen.over_time(np.arange(len(seen.found)), rollout)[6] == 2
    moments = seen.log.tables["moments"]
    late = moments | {"time": moments["time"] - 1.05}  # no newer picture was trusted
    stale = dataclasses.replace(
        seen, log=dataclasses.replace(seen.log, tables=seen.log.tables | {"moments": late})
    )
    assert np.isnan(stale.over_time(np.arange(len(seen.found)), rollout)).all()
    taken = seen.stage_ms(rollout)["all"]
    assert taken[3] == 45.0 and np.isnan(taken[4])


# --- the log --------------------------------------------------------------------------------------


def test_the_log_is_read_as_it_was_written(tmp_path, scene):
    log = seen_log(scene[1], every=5)
    read = read_percepts(write_percepts(tmp_path / "percepts", log))
    assert read is not None
    for name, columns in TABLES.items():
        for column in columns:
            a, b = log.tables[name][column], read.tables[name][column]
            assert a == b if isinstance(a, list) else np.array_equal(a, b), (name, column)
    assert (read.faults, read.grid, read.classes) == (log.faults, log.grid, log.classes)
    assert [c.lens for c in read.cameras] == [c.lens for c in log.cameras]
    assert np.array_equal(read.raster(2), log.raster(2))
    assert read_percepts(tmp_path / "nowhere") is None


def test_a_damaged_log_is_said_in_one_line(tmp_path, scene):
    folder = write_percepts(tmp_path / "percepts", seen_log(scene[1], every=20))
    file = folder / "tracks.parquet"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(RoadloopError, match=r"is damaged .*; drive once more") as caught:
        read_percepts(folder)
    assert "\n" not in str(caught.value)
    meta = folder / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"format": 99}))
    with pytest.raises(RoadloopError, match="format 99: upgrade"):
        read_percepts(folder)


# --- marks in pictures ----------------------------------------------------------------------------


def test_cameras_lie_as_they_look(seen):
    names = [camera.name for camera in seen.log.cameras]
    rows, narrow = laid_out(seen.log.cameras)
    assert [[names[k] for k in row] for row in rows] == [["front-left", "front", "front-right"]]
    assert [names[k] for k in narrow] == ["front-narrow"]


def test_boxes_lie_where_they_are(scene, seen):
    _, rollout = scene
    moment = round(8.5 / DT)  # the ghost stands 20 m ahead, 6 m left
    front = next(k for k, c in enumerate(seen.log.cameras) if c.name == "front")
    boxes = picture_boxes(seen, moment, front)
    assert [b.role for b in boxes] == sorted((b.role for b in boxes), reverse=True)  # found on top
    ghost = next(b for b in boxes if b.role == Role.DETECTED and b.score == 0.5)
    lens = seen.log.cameras[front].lens
    # its corners on the ground, 4.5 m long and 1.9 m wide, as the turned ego sees them
    corners = np.array([[17.75, 6.95], [17.75, 5.05], [22.25, 5.05]])
    turn = float(rollout.ego.heading[moment])
    c, s = np.cos(turn), np.sin(turn)
    ahead, left = (corners @ np.array([[c, -s], [s, c]])).T
    u = lens.cx - lens.fx * left / (ahead - 1.7)
    v = lens.cy + lens.fy * 1.4 / (ahead - 1.7)
    ends = ghost.lines.reshape(-1, 2)
    assert ends[:, 0].min() == pytest.approx(u[0], abs=0.1)
    assert ends[:, 0].max() == pytest.approx(u[2], abs=0.1)
    assert ends[:, 1].max() == pytest.approx(v[:2].max(), abs=0.1)
    lamps = picture_lamps(seen, round(3.5 / DT), 0)
    assert [(lamp.state, lamp.box) for lamp in lamps] == [("red", (148.0, 15.0, 4.0, 10.0))]
    assert picture_lamps(seen, round(3.5 / DT), 1) == []


def test_the_missed_are_marked_so(seen):
    moment = round(4.5 / DT)
    found = [picture_boxes(seen, moment, k) for k in range(4)]
    roles = {box.role for boxes in found for box in boxes}
    assert {Role.DETECTED, Role.FOUND, Role.MISSED, Role.HIDDEN} <= roles
    state = seen.truth["state"][rows_of(seen.truth, moment)]
    assert (state == Truth.MISSED).sum() == 1


# --- page and strip -------------------------------------------------------------------------------


def meta_of(path):
    page = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="meta">(.*?)</script>', page, re.S)
    assert found is not None
    return page, json.loads(found[1])


def test_the_page_holds_it_all(tmp_path, scene, seen):
    road_map, rollout = scene
    path = write_report(tmp_path / "a.html", rollout, road_map, score(rollout), seen=seen)
    page, meta = meta_of(path)
    assert len(meta["seen"]["pictures"]) == 100 and len(meta["seen"]["pictures"][0]) == 4
    assert meta["arrays"]["seenBoxStart"]["length"] == 4 * 100 + 1
    titles = [plot["title"] for plot in meta["plots"]]
    assert "Road users in reach" in titles and "Time a step of the driver takes" in titles
    for time in (UNSEEN[0], GHOST[0], TOLD_WRONG[0], *BLACK):
        assert f'data-seen-time="{time:.3f}"' in page
    assert "camera front is black" in page
    again = write_report(tmp_path / "b.html", rollout, road_map, score(rollout), seen=seen)
    assert again.read_bytes() == path.read_bytes()


def test_a_box_beside_the_car_is_cut_where_it_passes_the_camera(seen):
    front = next(c for c in seen.log.cameras if c.name == "front")
    edges = np.array([[[[1.0, 1.0, -3.0], [1.0, 1.0, 5.0]]] * 12])
    (lines,) = seen_marks._straight(front.lens, edges)
    assert np.allclose(lines[0, 1], [front.lens.cx + 25.6, front.lens.cy + 25.6])
    assert (lines[0, 0] > 500.0).all()  # at the plane 0.2 m before the camera, not behind it
    (none,) = seen_marks._straight(front.lens, -np.abs(edges))
    assert len(none) == 0


def test_a_page_without_stays_without(tmp_path, scene):
    road_map, rollout = scene
    page, meta = meta_of(write_report(tmp_path / "a.html", rollout, road_map, score(rollout)))
    assert meta["seen"] is None and 'id="seen"' not in page and len(meta["plots"]) == 4


def test_pictures_are_thinned_to_what_a_page_may_hold(tmp_path, scene, seen, monkeypatch):
    road_map, rollout = scene
    total = sum(map(len, seen.log.tables["pictures"]["jpeg"]))
    monkeypatch.setattr(seen_page, "BYTES", total // 3)
    _, meta = meta_of(write_report(tmp_path / "a.html", rollout, road_map, None, seen=seen))
    assert len(meta["seen"]["pictures"]) in (25, 34)
    bare = {"pictures": empty_table("pictures")}
    log = dataclasses.replace(seen.log, tables=seen.log.tables | bare)
    small = dataclasses.replace(seen, log=log)
    page, meta = meta_of(write_report(tmp_path / "b.html", rollout, road_map, None, seen=small))
    assert len(meta["seen"]["rasters"]) == 40 and not any(meta["seen"]["pictures"][0])
    assert len(page) < 600_000


def test_the_strip_shows_each_step(scene, seen):
    _, rollout = scene
    strip = SeenStrip(seen, rollout, 1280)
    assert strip.size == (1280, 300)
    one, other = strip.picture(45), strip.picture(47).copy()
    assert one.shape == (300, 1280, 3) and one.dtype == np.uint8
    assert (one != other).any() and (strip.picture(45) == one).all()
    red = (one[..., 0] > 200) & (one[..., 1:] < 130).all(-1)
    assert red[:, :980].any()  # the pedestrian nobody follows
    assert SeenStrip(seen, rollout, 960).picture(199).shape == (226, 960, 3)


# --- the command line -----------------------------------------------------------------------------


def test_a_drive_keeps_and_shows_what_was_seen(tmp_path, capsys):
    checkpoint = tiny_checkpoint(tmp_path / "tiny")
    out = tmp_path / "out"
    words = ["drive", "lead_vehicle_brake", "--perception", str(checkpoint.parent)]
    assert main([*words, "--seconds", "0.4", "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["seen"]["moments"] == 5 and told["paths"]["percepts"] == str(out / "percepts")
    log = read_percepts(out / "percepts")
    assert log is not None and log.moments == 5
    assert log.tables["witnessed"]["pixels"].max() > 10  # the vehicle ahead
    assert len(log.tables["pictures"]["jpeg"]) == 3 * 4
    _, meta = meta_of(out / "report.html")
    assert len(meta["seen"]["pictures"]) == 3
    assert main(["report", str(out), "--out", str(tmp_path / "again.html")]) == 0
    _, again = meta_of(tmp_path / "again.html")
    assert again["seen"] == meta["seen"]
    assert (out / "video.mp4").stat().st_size > 10_000


def test_a_suites_page_holds_numbers_and_the_pictures_of_lost_drives(tmp_path, monkeypatch):
    checkpoint = tiny_checkpoint(tmp_path / "tiny")
    job = sim.evaluate.Job(
        functools.partial(build_driver, "route-follower", str(checkpoint), (), ""),
        tmp_path / "run",
        replays="all",
        watch=functools.partial(watching, pictures=2.0, times=False),
    )
    case = Case("one", "lead_vehicle_brake", 0, seconds=0.4)
    pages = []
    for lost in (False, False, True):
        monkeypatch.setattr(sim.evaluate, "lost", lambda scores, lost=lost: lost)
        result = sim.evaluate.run_case(job, case)
        assert not result.failed
        pages.append(meta_of(tmp_path / "run" / "replays" / "one.html"))
    assert pages[0][0] == pages[1][0]  # no clock on it
    assert "Time per step" not in pages[0][0] and "seen-numbers" in pages[0][0]
    assert not any(pages[0][1]["seen"]["pictures"][0]) and all(pages[2][1]["seen"]["pictures"][0])
