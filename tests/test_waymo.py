"""Waymo Open Motion in its four forms: on the samples and on files made here."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waymo_messages import message
from waymo_scenario import STEPS, TURN, as_example, as_json, line, scenario

from roadloop.datasets.protobuf_wire import decode
from roadloop.datasets.tfrecord import framed, records
from roadloop.datasets.waymo import motion as waymo_motion
from roadloop.datasets.waymo import perception as waymo_perception
from roadloop.datasets.waymo.beside import ground_to_edges, lane_widths, look_beside
from roadloop.datasets.waymo.fields import SCENARIO
from roadloop.datasets.waymo.map import map_draft
from roadloop.errors import RoadloopError
from roadloop.maps.area import drivable_polygons
from roadloop.maps.road_map import LaneKind
from roadloop.types import AgentKind, LightState

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MOTION, PERCEPTION = DATA / "waymo_motion", DATA / "waymo_perception"


def real(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"needs the sample {path.name}")
    return path


def write(path: Path, *scenarios: dict[str, Any]) -> Path:
    made = [message("Scenario", **each).SerializeToString() for each in scenarios]
    path.write_bytes(b"".join(framed(data) for data in made))
    return path


def opened(path: Path):
    return waymo_motion.open_drive(path, waymo_motion.drives(path)[0])


# --- Motion: what it means ----------------------------------------------------------------------


def test_frames_and_kinds(tmp_path: Path):
    drive = opened(write(tmp_path / "a.tfrecord-00000-of-01000", scenario()))
    assert drive.name == "0123456789abcdef" and len(drive) == STEPS
    assert drive.timestamp_us[:3].tolist() == [0, 100_000, 200_000]
    # the box centre is the data set's, the pose the rear axle's, both on the ground
    x, y = drive.ego.box_centre()
    k = np.arange(STEPS)
    np.testing.assert_allclose(x, 0.8 * k * math.cos(TURN), atol=1e-6)
    np.testing.assert_allclose(y, 5.0 + 0.8 * k * math.sin(TURN), atol=1e-6)
    np.testing.assert_allclose(drive.ego.z, 10.0, atol=1e-6)
    np.testing.assert_allclose(drive.ego.speed, 8.0, atol=1e-6)
    np.testing.assert_allclose(drive.ego.heading, TURN, atol=1e-6)
    agents = drive.agents
    assert agents.id[0].tolist() == [1, 8, 9, 10] and drive.source_id.tolist() == [*"0789"]
    assert drive.category.tolist() == ["vehicle", "pedestrian", "vehicle", "cyclist"]
    kinds = [AgentKind.CAR, AgentKind.PEDESTRIAN, AgentKind.TRUCK, AgentKind.CYCLIST]
    assert agents.kind[0].tolist() == kinds
    np.testing.assert_allclose(agents.z, 10.0, atol=1e-6)
    assert drive.about["tracks_to_predict"] == [9] and drive.about["objects_of_interest"] == [7]
    assert drive.about["current_step"] == 10
    pickle.loads(pickle.dumps(drive))


def test_map_and_lights(tmp_path: Path):
    drive = opened(write(tmp_path / "a.tfrecord", scenario()))
    road = drive.road_map
    ids = road.lane_id.tolist()
    one, two, four = (ids.index(name) for name in "124")
    assert road.successors_of(one).tolist() == [two]
    assert road.lane_left[one] == four and road.lane_right[four] == one
    assert road.lane_change_left[one]  # broken
    assert road.lane_speed_limit[one] == pytest.approx(25 * 0.44704)
    # lane 1 is bounded by the line 1.7 m to its left, lane 4 by the edge 1.6 m to its left
    assert np.median(road.point_width[road.points_of(one)]) == pytest.approx(3.4, abs=0.01)
    assert np.median(road.point_width[road.points_of(four)]) == pytest.approx(3.2, abs=0.01)
    assert road.signal_id.tolist() == ["2", "8"]
    assert drive.lights.shape == (STEPS, 2)
    off, red, yellow, green = LightState.OFF, LightState.RED, LightState.YELLOW, LightState.GREEN
    seen = [off, red, yellow, green, red, yellow, green, off, off]
    # where it is not reported it is off, and so is a sign
    assert drive.lights[:, 0].tolist() == seen + [off] * (STEPS - len(seen))
    assert not drive.lights[:, 1].any()
    stops = list(zip(road.stop_lane.tolist(), road.stop_s.tolist(), strict=True))
    assert stops == [(two, 0.0), (two, pytest.approx(40.0))]
    import shapely

    ground = drivable_polygons(road)
    inside = [(20.0, 1.0), (22.0, -3.0), (60.0, 5.0), (5.0, 9.0)]
    outside = [(22.0, 11.0), (10.0, -1.0), (22.0, -7.0)]
    assert [shapely.contains_xy(ground, *p) for p in inside] == [True] * 4
    assert [shapely.contains_xy(ground, *p) for p in outside] == [False] * 3
    assert any("speed bump" in note for note in road.unsupported)


def test_widths_of_lanes_beside_nothing_and_bike_lanes():
    def xy(*args: float):
        return np.array([[p["x"], p["y"], p["z"]] for p in line(*args)])

    # two lanes alongside without a line: halfway; a lane that follows takes the width over
    lanes = [xy(0, 0, 30, 0), xy(0, 4, 30, 4), xy(30, 0, 50, 0), xy(0, 100, 20, 100)]
    around = look_beside(lanes, [True] * 4, [], [])
    widths = lane_widths(lanes, around, [(0, 2)])
    assert [float(np.median(w)) for w in widths] == pytest.approx([4.0, 4.0, 4.0, 3.5])
    # the ground to the kerb goes past a bike lane, not past a lane for cars
    kerb = [xy(-5, -6, 60, -6)]
    bike = [xy(0, 0, 30, 0), xy(0, -3, 30, -3)]
    wide = ground_to_edges(look_beside(bike, [True, False], [], kerb)[:1])
    assert max(-ring[:, 1].min() for ring in wide) == pytest.approx(6.0, abs=0.1)
    assert ground_to_edges(look_beside(bike, [True, True], [], kerb)[:1]) == []


def test_what_is_left_out_and_why(tmp_path: Path):
    whole = scenario()
    whole["tracks"][0]["object_type"] = 4  # moves
    whole["tracks"][2]["object_type"] = 4  # stays
    whole["tracks"][1]["states"] = [{"valid": False}] * STEPS
    whole["tracks"][4]["states"][-2:] = [{"valid": False}] * 2
    drive = opened(write(tmp_path / "a.tfrecord", whole))
    assert len(drive) == STEPS - 2 and len(drive.lights) == STEPS - 2
    assert drive.category.tolist() == ["other", "cyclist"]
    assert drive.agents.kind[0].tolist() == [AgentKind.STATIC, AgentKind.CYCLIST]
    text = " ".join(drive.notes)
    assert "2 of 20 steps" in text and "1 tracks that are never seen" in text
    assert '1 tracks of type "other" that move' in text


def changed_track(**fields: Any) -> dict[str, Any]:
    whole = scenario()
    whole["tracks"][1] |= fields
    return whole


def _gap() -> dict[str, Any]:
    whole = scenario()
    whole["tracks"][4]["states"][5] = {"valid": False}
    return whole


def _nan() -> dict[str, Any]:
    whole = scenario()
    whole["tracks"][1]["states"][3]["center_x"] = math.nan
    return whole


@pytest.mark.parametrize(
    ("whole", "says"),
    [
        (changed_track(object_type=0), "track 7 is of type 0"),
        (changed_track(object_type=9), "track 7 is of type 9"),
        (changed_track(id=300), "track id 300 is negative or there twice"),
        (changed_track(states=[]), r"track 7 \(row 1\) has 0 states"),
        (scenario(sdc_track_index=17), "track 17 of 5 is to be the ego"),
        (_gap(), "the ego .* is not seen between steps 0 and 19"),
        (_nan(), "center_x of track 7 is not finite at step 3"),
    ],
)
def test_bad_scenarios(tmp_path: Path, whole: dict[str, Any], says: str):
    path = write(tmp_path / "bad.tfrecord", scenario(scenario_id="0"), whole | {"scenario_id": "1"})
    with pytest.raises(RoadloopError, match=r"bad\.tfrecord record 1.*" + says) as error:
        waymo_motion.open_drive(path, "1")
    assert "\n" not in str(error.value)


def test_unknown_line_and_light(tmp_path: Path):
    whole = scenario()
    whole["map_features"][3]["road_line"]["type"] = 77
    with pytest.raises(RoadloopError, match="map feature 5 is a road line of type 77"):
        _ = opened(write(tmp_path / "a.tfrecord", whole)).road_map
    whole = scenario()
    whole["dynamic_map_states"][2]["lane_states"][0]["state"] = 55
    with pytest.raises(RoadloopError, match="lane 2 has a light of state 55 at step 2"):
        opened(write(tmp_path / "b.tfrecord", whole))


def test_damaged_record_is_named(tmp_path: Path):
    path = write(tmp_path / "a.tfrecord", scenario(scenario_id="a"), scenario(scenario_id="b"))
    whole = bytearray(path.read_bytes())
    whole[-500] ^= 4
    path.write_bytes(whole)
    assert waymo_motion.drives(path) == ["a", "b"]
    assert len(waymo_motion.open_drive(path, "a")) == STEPS
    with pytest.raises(RoadloopError, match=r"a\.tfrecord record 1 is damaged"):
        waymo_motion.open_drive(path, "b")
    path.write_bytes(whole[:-3])
    assert waymo_motion.drives(path) == ["a", "b"]  # the others go on
    assert len(waymo_motion.open_drive(path, "a")) == STEPS
    with pytest.raises(RoadloopError, match="record 1 is truncated"):
        waymo_motion.open_drive(path, "b")
    (tmp_path / "c.tfrecord").write_bytes(b"")
    assert waymo_motion.drives(tmp_path) == ["a", "b", "c.tfrecord"]
    with pytest.raises(RoadloopError, match=r"c\.tfrecord is empty"):
        waymo_motion.open_drive(tmp_path, "c.tfrecord")


# --- Motion: other forms ------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["gpudrive", "nocturne", "example"])
def test_other_forms_tell_the_same(tmp_path: Path, form: str):
    whole = scenario()
    first = opened(write(tmp_path / "a.tfrecord", whole))
    if form == "example":
        path = tmp_path / "b.tfrecord"
        path.write_bytes(framed(as_example(whole)))
    else:
        path = tmp_path / "b.json"
        path.write_text(json.dumps(as_json(whole, form)))
    other = opened(path)
    assert other.name == ("n_65" if form == "nocturne" else first.name)
    assert (other.timestamp_us == first.timestamp_us).all()
    down = 10.0 if form == "nocturne" else 0.0  # it has no heights
    for name in ("x", "y", "z", "heading", "speed"):
        lower = down if name == "z" else 0.0
        mine, theirs = getattr(other.ego, name), getattr(first.ego, name) - lower
        np.testing.assert_allclose(mine, theirs, atol=1e-4)
    for name in ("x", "y", "z", "heading", "vx", "vy", "length", "kind", "valid"):
        lower = down if name == "z" else 0.0
        mine, theirs = getattr(other.agents, name), getattr(first.agents, name) - lower
        np.testing.assert_allclose(mine, theirs, atol=1e-4)
    if form != "nocturne":
        assert other.about["tracks_to_predict"] == first.about["tracks_to_predict"]
        assert other.about["objects_of_interest"] == first.about["objects_of_interest"]
        assert (other.agents.id == first.agents.id).all()
        assert (other.lights == first.lights).all()
        assert other.road_map.stop_s.tolist() == pytest.approx(first.road_map.stop_s.tolist())
    a, b = first.road_map, other.road_map
    assert a.lanes == b.lanes and (a.successor == b.successor).all()
    assert (a.lane_left == b.lane_left).all() and (a.lane_change_left == b.lane_change_left).all()
    np.testing.assert_allclose(a.point_width, b.point_width, atol=1e-4)


def test_bad_json(tmp_path: Path):
    whole = as_json(scenario(), "gpudrive")
    path = tmp_path / "x.json"

    def failing(changed: Any) -> str:
        path.write_text(changed if isinstance(changed, str) else json.dumps(changed))
        with pytest.raises(RoadloopError, match=r"x\.json") as error:
            waymo_motion.open_drive(path, whole["scenario_id"])
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "truncated or no JSON" in failing(json.dumps(whole)[:-10])
    assert "no scenario of GPUDrive or Nocturne" in failing({**whole, "objects": [{}]})
    objects = [{**each, "heading": [h + 1.5 for h in each["heading"]]} for each in whole["objects"]]
    assert "headings do not point" in failing({**whole, "objects": objects})
    objects = [*whole["objects"][:-1], {**whole["objects"][-1], "length": 4.0}]
    unnamed = {k: v for k, v in whole.items() if k != "metadata"}
    assert "which object is the ego" in failing({**unnamed, "objects": objects})
    assert "object 0 is of type 'cow'" in failing(
        {**whole, "objects": [{**whole["objects"][0], "type": "cow"}]}
    )
    assert "is 'blue' at step 0" in failing(
        {**whole, "tl_states": {"2": {"state": ["blue"], "time_index": [0]}}}
    )
    (tmp_path / "other.json").write_text('{"name": "something else"}')
    assert waymo_motion.drives(tmp_path / "other.json") == []


# --- Motion: the samples ------------------------------------------------------------------------

SAMPLES = {
    "637f20cafde22ff8": (82, 12 + 8),
    "ee519cf571686d19": (256, 4),
    "bada21415c031740": (14, 6),
    "db4edc9bd0c9d18c": (80, 5),
    "ef3a8f65142f41ac": (61, 6),
    "tfrecord-00358-of-01000_65": (44, 6),
}
"""road users and signals"""
STANDING = "637f20cafde22ff8"
"""its ego waits at a light all the time"""


def test_samples_are_found():
    names = waymo_motion.drives(real(MOTION))
    assert names == sorted([*SAMPLES, "a3bb37c25ce56418"])
    assert waymo_motion.drives(real(PERCEPTION)) == []
    assert waymo_motion.drives(real(DATA / "nuscenes")) == []
    assert waymo_perception.drives(MOTION) == []
    assert waymo_perception.drives(MOTION / "tfrecord") == []


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != STANDING])
def test_recorded_ego_stays_on_the_road(name: str):
    """All four corners of the car in all steps, as its wheels were on pavement."""
    import shapely

    from roadloop.geometry import box_corners

    drive = waymo_motion.open_drive(real(MOTION), name)
    road = drive.road_map
    users, signals = SAMPLES[name]
    assert drive.agents.x.shape == (91, users) and len(road.signal_id) == signals
    assert drive.lights is None or drive.lights.shape == (91, signals)
    ego = drive.ego
    corners = box_corners(*ego.box_centre(), ego.heading, ego.vehicle.length, ego.vehicle.width)
    ground = drivable_polygons(road)
    assert shapely.contains_xy(ground, corners[..., 0], corners[..., 1]).mean() >= 0.99
    # a rear axle does not slip sideways, a box centre does
    t = drive.timestamp_us * 1e-6
    rate = np.gradient(np.unwrap(ego.heading), t)
    sliding = {}
    for where, (x, y) in {"axle": (ego.x, ego.y), "centre": ego.box_centre()}.items():
        across = np.cos(ego.heading) * np.gradient(y, t) - np.sin(ego.heading) * np.gradient(x, t)
        turning = (np.abs(rate) > 0.05) & (ego.speed > 1.0)
        sliding[where] = np.abs(across[turning]).mean() if turning.sum() > 10 else None
    if sliding["axle"] is not None:
        assert sliding["axle"] < 0.2 * sliding["centre"]


def test_lanes_found_by_shape_are_those_the_data_set_names():
    path = real(MOTION / "tfrecord" / "motion_data_one_scenario.tfrecord")
    whole = decode(SCENARIO, records(path)[0].read(), path)
    lights = [step["lane_states"] for step in whole["dynamic_map_states"]]
    drafts = [map_draft(whole["map_features"], lights, "m", "", path, k) for k in (True, False)]
    named, found = ({(a.id, b) for a in d.lanes for b in a.successors} for d in drafts)
    assert len(named) == 192 and named == found
    drive = waymo_motion.open_drive(path, STANDING)
    users, signals = SAMPLES[STANDING]
    assert drive.agents.x.shape == (91, users) and drive.ego.speed.max() < 0.1
    assert len(drafts[0].signals) == signals and drive.lights.shape == (91, signals)
    # it waits while the arrow of the lane it is to take is red
    assert np.bincount(drive.lights.ravel(), minlength=5)[LightState.RED] == 324 + 228
    sides = [
        {(a.id, side, getattr(a, side)) for a in d.lanes for side in ("left_neighbour",)
         if getattr(a, side)} for d in drafts
    ]  # fmt: skip
    assert len(sides[0] & sides[1]) > 0.8 * len(sides[1])
    assert sum(lane.kind == LaneKind.BIKING for lane in drafts[0].lanes) == 1
    width = np.concatenate([np.asarray(lane.width) for lane in drafts[0].lanes])
    assert width.min() >= 2.2 and width.max() <= 5.5 and 2.9 < np.median(width) < 3.6
