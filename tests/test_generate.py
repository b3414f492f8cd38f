"""Procedural maps: deterministic, readable, connected, smooth, and governed where they say so."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest

from roadloop.errors import RoadloopError
from roadloop.geometry import wrap_angle
from roadloop.maps.generate import GENERATORS, generate_map, generate_xodr
from roadloop.maps.road_map import LaneKind, RoadMap, SignalKind

CASES = [
    ("straight", {"crossings": 2, "lanes": 2}),
    ("curve", {"hill": 6.0}),
    ("merge", {}),
    ("exit", {"lanes": 3}),
    ("t_junction", {}),
    ("t_junction", {"lanes": 2, "minor_lanes": 2, "control": "lights", "variation": 0.3}),
    ("four_way", {}),
    ("four_way", {"lanes": 3, "minor_lanes": 2, "control": "stop", "variation": 0.3}),
    ("four_way", {"control": "none", "crossings": False}),
    ("roundabout", {}),
    ("roundabout", {"arms": 3, "radius": 22.0, "variation": 0.3}),
    ("town", {}),
    ("town", {"rows": 3, "columns": 5, "avenues": 0, "missing": 0.3, "variation": 0.2}),
]
maps = pytest.mark.parametrize(
    ("family", "parameters"), CASES, ids=[f"{f}-{i}" for i, (f, _) in enumerate(CASES)]
)


def ends(road_map: RoadMap, lane: int) -> tuple[np.ndarray, np.ndarray, float, float]:
    """First and last point and heading of a lane."""
    rows = road_map.points_of(lane)
    xyz, heading = road_map.point_xyz[rows], road_map.point_heading[rows]
    return xyz[0], xyz[-1], heading[0], heading[-1]


def travel_lanes(road_map: RoadMap) -> list[int]:
    return np.flatnonzero(road_map.is_travel).tolist()


def test_every_family_is_listed_with_a_description_and_tested():
    assert set(GENERATORS) == {family for family, _ in CASES}
    assert all(line.endswith(".") and len(line) > 20 for line in GENERATORS.values())


@maps
def test_same_arguments_same_bytes_other_seed_other_bytes(family, parameters):
    text = generate_xodr(family, seed=5, **parameters)
    assert text == generate_xodr(family, seed=5, **parameters)
    assert "date=" not in text
    other = generate_xodr(family, seed=6, **parameters)
    assert other.partition("<road")[2] != text.partition("<road")[2]


@maps
def test_xml_is_opendrive(family, parameters):
    root = ET.fromstring(generate_xodr(family, **parameters).partition("\n")[2])
    assert root.tag == "OpenDRIVE"
    order = [child.tag for child in root]
    places = {"header": 0, "road": 1, "controller": 2, "junction": 3, "junctionGroup": 4}
    assert order == sorted(order, key=lambda tag: places[tag])
    ids = [e.attrib["id"] for e in root.iter("road")]
    ids += [e.attrib["id"] for tag in ("junction", "signal") for e in root.iter(tag)]
    assert len(ids) == len(set(ids))
    signals = {e.attrib["id"] for e in root.iter("signal")}
    assert {e.attrib["id"] for e in root.iter("signalReference")} == signals
    for road in root.findall("road"):
        lengths = [float(g.attrib["length"]) for g in road.iter("geometry")]
        assert float(road.attrib["length"]) == pytest.approx(sum(lengths))


@maps
def test_reads_back_without_unsupported_elements(family, parameters):
    road_map = generate_map(family, **parameters)
    assert road_map.unsupported == ()
    assert len(travel_lanes(road_map)) > 0


@maps
def test_lanes_join_smoothly(family, parameters):
    road_map = generate_map(family, **parameters)
    for lane in travel_lanes(road_map):
        _, end, _, heading = ends(road_map, lane)
        for follower in road_map.successors_of(lane):
            start, _, follower_heading, _ = ends(road_map, follower)
            assert np.linalg.norm(start - end) < 0.01, road_map.lane_name(lane)
            assert abs(wrap_angle(follower_heading - heading)) < 0.005, road_map.lane_name(lane)


@maps
def test_every_lane_leads_to_an_end_of_the_map_or_on_for_ever(family, parameters):
    road_map = generate_map(family, **parameters)
    lanes = travel_lanes(road_map)
    xy = road_map.point_xyz[:, :2]
    for lane in lanes:
        if len(road_map.successors_of(lane)) == 0:
            # an end of the map: nothing travels on ahead of it
            assert road_map.lane_junction[lane] < 0
            _, end, _, heading = ends(road_map, lane)
            ahead = end[:2] + 5.0 * np.array([np.cos(heading), np.sin(heading)])
            assert np.linalg.norm(xy - ahead, axis=1).min() > 3.0, road_map.lane_name(lane)
        if family == "town":
            assert len(road_map.successors_of(lane)) > 0
            assert len(road_map.predecessors_of(lane)) > 0


@maps
def test_bends_can_be_driven(family, parameters):
    road_map = generate_map(family, **parameters)
    tightest = np.abs(road_map.point_curvature[np.repeat(road_map.is_travel, counts(road_map))])
    floor = {"curve": 170.0, "straight": 1e3, "merge": 120.0, "exit": 120.0}.get(family, 4.9)
    assert tightest.max() < 1.0 / floor


def counts(road_map: RoadMap) -> np.ndarray:
    return np.diff(road_map.point_start)


def test_corner_radius_is_what_the_tightest_right_turn_has():
    road_map = generate_map("four_way", variation=0.0, corner_radius=8.0)
    lowest = road_map.point_curvature[np.repeat(road_map.is_travel, counts(road_map))].min()
    assert -1.0 / lowest == pytest.approx(8.0, rel=0.02)


@pytest.mark.parametrize(
    ("control", "kind", "signed_arms"),
    [
        ("lights", SignalKind.TRAFFIC_LIGHT, 4),
        ("stop", SignalKind.STOP, 2),
        ("yield", SignalKind.YIELD, 2),
        ("none", None, 0),
    ],
)
def test_signals_govern_every_lane_of_their_arms(control, kind, signed_arms):
    road_map = generate_map("four_way", control=control, lanes=2, minor_lanes=2)
    assert len(road_map.signal_id) == signed_arms
    assert (road_map.signal_kind == kind).all()
    # left + straight, straight + right: four connections per arm, each governed where it begins
    assert len(road_map.stop_lane) == 4 * signed_arms
    assert (road_map.lane_junction[road_map.stop_lane] >= 0).all()
    assert (road_map.stop_s < 0.1).all()
    for lane, signal in zip(road_map.stop_lane, road_map.stop_signal, strict=True):
        start, _, heading, _ = ends(road_map, lane)
        assert abs(wrap_angle(road_map.signal_heading[signal] - heading)) < 0.01
        assert np.linalg.norm(road_map.signal_xyz[signal, :2] - start[:2]) < 8.0


def test_lights_that_face_each_other_switch_together():
    road_map = generate_map("four_way", control="lights")
    heading, controller = road_map.signal_heading, road_map.signal_controller
    assert (controller >= 0).all()
    for a in range(4):
        for b in range(4):
            parallel = abs(np.cos(heading[a] - heading[b])) > 0.8
            assert (controller[a] == controller[b]) == parallel


@pytest.mark.parametrize("family", ["straight", "four_way", "t_junction", "roundabout", "town"])
def test_crosswalks_lie_on_lanes_behind_the_stop_line(family):
    parameters: dict[str, Any] = {"crossings": 2} if family == "straight" else {}
    road_map = generate_map(family, **parameters)
    crosswalks = len(road_map.crosswalk_start) - 1
    assert crosswalks > 0
    assert set(road_map.crossing_crosswalk.tolist()) == set(range(crosswalks))
    width = road_map.crossing_to - road_map.crossing_from
    assert (width > 2.5).all() and (width < 4.5).all()
    if family == "four_way":
        entered = np.isin(road_map.crossing_lane, road_map.stop_lane)
        assert entered.all()
        first = [
            road_map.crossing_from[road_map.crossing_lane == k].min()
            for k in np.unique(road_map.crossing_lane)
        ]
        np.testing.assert_allclose(first, 1.0, atol=0.1)


def test_ring_traffic_goes_first_at_a_roundabout():
    road_map = generate_map("roundabout")
    assert road_map.junction_is_roundabout.sum() == 4
    assert (road_map.signal_kind == SignalKind.YIELD).all() and len(road_map.signal_id) == 4
    for lane in road_map.stop_lane:
        rows = slice(road_map.conflict_start[lane], road_map.conflict_start[lane + 1])
        assert 1 in road_map.conflict_yield[rows]
        assert -1 not in road_map.conflict_yield[rows]


def test_acceleration_lane_can_be_left_and_gives_way_where_it_ends():
    road_map = generate_map("merge", variation=0.0, parallel=150.0)
    beside = [
        k
        for k in travel_lanes(road_map)
        if road_map.lane_left[k] >= 0
        and road_map.lane_change_left[k]
        and road_map.lane_length[k] == pytest.approx(150.0)
    ]
    outermost = max(beside, key=lambda k: -road_map.lane_number[k])
    assert road_map.lane_number[outermost] == -3
    (ending,) = road_map.successors_of(outermost)
    rows = slice(road_map.conflict_start[ending], road_map.conflict_start[ending + 1])
    assert road_map.conflict_yield[rows].tolist() == [1]


def test_pavements_follow_the_corners():
    road_map = generate_map("four_way")
    pavement = np.flatnonzero(road_map.lane_kind == LaneKind.SIDEWALK)
    assert len(pavement) == 4 * 2 + 4


def test_speed_limits_are_those_asked_for():
    road_map = generate_map("merge", speed_limit=36.0, ramp_speed_limit=20.0)
    limits = road_map.lane_speed_limit[road_map.is_travel]
    assert set(np.round(limits, 3)) == {36.0, 20.0}


def test_hill_has_its_height_and_no_kink():
    road_map = generate_map("curve", hill=8.0, variation=0.0)
    lane = travel_lanes(road_map)[0]
    rows = road_map.points_of(lane)
    z, s = road_map.point_xyz[rows, 2], road_map.point_s[rows]
    assert z.max() == pytest.approx(8.0, abs=0.01)
    np.testing.assert_allclose(z[[0, -1]], 0.0, atol=1e-9)
    slope = np.diff(z) / np.diff(s)
    assert np.abs(slope).max() < 0.06 and np.abs(np.diff(slope)).max() < 1e-3


def test_many_towns_are_whole():
    for seed in range(4):
        road_map = generate_map("town", seed=seed, rows=3, columns=3, variation=0.2)
        assert road_map.unsupported == ()
        assert all(len(road_map.successors_of(k)) > 0 for k in travel_lanes(road_map))


def test_town_is_fast():
    generate_xodr("straight")  # imports
    start = time.process_time()
    generate_map("town", seed=11, cache=False)
    assert time.process_time() - start < 3.0


def test_maps_are_kept_in_memory():
    assert generate_map("straight", seed=2) is generate_map("straight", seed=2)
    assert generate_map("straight", seed=2) is not generate_map("straight", seed=2, cache=False)


@pytest.mark.parametrize(
    ("family", "parameters", "words"),
    [
        ("four_wey", {}, 'did you mean "four_way"'),
        ("four_way", {"crosings": False}, 'did you mean "crossings"'),
        ("four_way", {"control": "light"}, "expected one of none, lights"),
        ("straight", {"lanes": 0}, "lanes is 0: expected a whole number from 1 to 4"),
        ("straight", {"lanes": 1.5}, "whole number"),
        ("straight", {"length": float("nan")}, "length is nan"),
        ("curve", {"radius": 5.0}, "road family curve: radius"),
        ("roundabout", {"arms": 7}, "arms is 7"),
        ("town", {"avenues": 4}, "avenues"),
    ],
)
def test_bad_input_says_what_is_wrong(family, parameters, words):
    with pytest.raises(RoadloopError, match=words):
        generate_xodr(family, **parameters)


def test_bad_seed_says_what_is_wrong():
    with pytest.raises(RoadloopError, match="seed is -1"):
        generate_xodr("straight", seed=-1)
