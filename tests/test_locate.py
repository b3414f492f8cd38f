"""Nearest lanes and Frenet coordinates: exactness, round trips, ties, bad input."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
from hand_map import HandLane, HandMap, arc, straight
from hypothesis import given, settings
from hypothesis import strategies as st

from roadloop.errors import RoadloopError
from roadloop.maps import locate
from roadloop.maps.locate import from_frenet, lanes_at, nearest_lane, pose_at, to_frenet
from roadloop.maps.road_map import LaneKind, RoadMap


def curvy() -> RoadMap:
    """A straight, a left and a right arc, an oncoming straight, a sidewalk, a bridge."""
    return HandMap(
        [
            HandLane(straight((0, 0), (100, 0)), successors=(1,), opposite=3),
            HandLane(arc((100, 30), 30, -np.pi / 2, np.pi / 2), successors=(2,)),
            HandLane(arc((100, 80), 20, -np.pi / 2, -3 * np.pi / 2), number=-1),
            HandLane(straight((100, 3.5), (0, 3.5)), number=1, opposite=0),
            HandLane(straight((0, -3), (100, -3)), width=2.0, kind=LaneKind.SIDEWALK, number=-2),
            HandLane(np.array([[50.0, -50, 6], [50, 50, 6]])),
        ]
    ).build()


MAP = curvy()
DRIVING = np.array([0, 1, 2, 3, 5])


@settings(max_examples=200, deadline=None)
@given(
    lane=st.integers(0, MAP.lanes - 1),
    part=st.floats(0.0, 1.0),
    d=st.floats(-12.0, 12.0),
)
def test_frenet_round_trip(lane: int, part: float, d: float) -> None:
    s = part * MAP.lane_length[lane]
    x, y, _ = from_frenet(MAP, lane, s, d)
    s_back, d_back = to_frenet(MAP, lane, x, y)
    assert s_back == pytest.approx(s, abs=1e-7)
    assert d_back == pytest.approx(d, abs=1e-7)


def test_frenet_on_a_circle_is_radius_and_angle() -> None:
    angle = np.linspace(-1.5, 1.5, 50)
    for radius in (24.0, 30.0, 37.0):
        x, y = 100 + radius * np.cos(angle), 30 + radius * np.sin(angle)
        s, d = to_frenet(MAP, 1, x, y)
        # chords of 0.5 m on 30 m cut the circle by 1 mm
        np.testing.assert_allclose(d, 30.0 - radius, atol=2e-3)
        np.testing.assert_allclose(s, (angle + np.pi / 2) * 30.0, atol=5e-3)


def test_left_is_positive_and_heading_error_is_signed() -> None:
    place = nearest_lane(MAP, 20.0, 0.4, 0.1)
    assert place.lane == 0 and place.lane.dtype == np.int32 and place.lane.shape == ()
    assert place.lateral == pytest.approx(0.4)
    assert place.heading_error == pytest.approx(0.1)
    wrong_way = nearest_lane(MAP, 20.0, 0.4, np.pi - 0.1)  # nearer to lane 0, facing like lane 3
    assert wrong_way.lane == 3
    assert wrong_way.lateral == pytest.approx(3.1)
    assert wrong_way.heading_error == pytest.approx(-0.1)


def test_nearest_agrees_with_exhaustive_search() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-30, 160, 400), rng.uniform(-60, 110, 400)
    place = nearest_lane(MAP, x, y, max_distance=np.inf)
    every = np.array([_distance_by_hand(MAP, int(lane), x, y) for lane in DRIVING])
    np.testing.assert_allclose(place.distance, every.min(axis=0), atol=2e-3)
    near_two = np.sort(every, axis=0)
    clear = near_two[1] - near_two[0] > 4e-3
    assert (place.lane == DRIVING[every.argmin(axis=0)])[clear].all()


def _distance_by_hand(road_map: RoadMap, lane: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    import shapely

    line = shapely.LineString(road_map.point_xyz[road_map.points_of(lane), :2])
    return np.asarray(shapely.distance(line, shapely.points(x, y)))


def test_a_stack_of_lanes_does_not_hide_the_nearest() -> None:
    # 30 lanes over one another and one 0.1 m nearer: more twins than the first query returns
    lanes = [HandLane(straight((0, 0), (50, 0)), number=-i) for i in range(30)]
    lanes.append(HandLane(straight((0, 0.4), (50, 0.4))))
    road_map = HandMap(lanes).build()
    assert nearest_lane(road_map, 25.2, 0.3).lane == 30
    assert nearest_lane(road_map, 25.2, -0.1).lane == 0  # equals: the lower index


def test_level_and_kind_choose() -> None:
    assert nearest_lane(MAP, 50.2, 0.5).lane == 5
    assert nearest_lane(MAP, 50.2, 0.5, z=0.0).lane == 0
    assert nearest_lane(MAP, 20.0, -3.2).lane == 0
    assert nearest_lane(MAP, 20.0, -3.2, travel_only=False).lane == 4


def test_too_far_is_no_lane() -> None:
    place = nearest_lane(MAP, np.array([[20.0, 20.0]]), np.array([[1.0, -30.5]]))
    assert place.lane.tolist() == [[0, -1]]
    assert np.isinf(place.distance[0, 1])
    assert place.s[0, 1] == 0.0
    assert nearest_lane(MAP, 20.0, -4.2, max_distance=4.0).lane == -1
    assert nearest_lane(MAP, 20.0, -4.2, max_distance=4.3).lane == 0


def test_beyond_the_end_s_stays_on_the_lane() -> None:
    place = nearest_lane(MAP, -3.0, 1.0)
    assert place.lane == 0 and place.s == 0.0
    assert place.lateral == pytest.approx(1.0)
    assert place.distance == pytest.approx(np.hypot(3.0, 1.0))
    s, d = to_frenet(MAP, np.array([0, 3]), np.array([130.0, -4.0]), 5.0)
    np.testing.assert_allclose(s, 100.0)
    np.testing.assert_allclose(d, [5.0, -1.5])


def test_lanes_at_finds_every_strip() -> None:
    found = lanes_at(MAP, np.array([20.0, 20.0, 50.0, 20.0]), np.array([0.0, 1.75, 0.0, 40.0]))
    per_point = [lanes.tolist() for lanes in np.split(found.lane, found.start[1:-1])]
    assert per_point == [[0], [0, 3], [0, 5], []]
    assert found.lateral[1:3] == pytest.approx([1.75, 1.75])
    np.testing.assert_allclose(found.s[:3], [20.0, 20.0, 80.0])
    # the sidewalk is 2 m wide, the query radius is of the widest lane
    assert lanes_at(MAP, 20.0, -2.5).lane.tolist() == [4]
    assert lanes_at(MAP, 20.0, -2.5, travel_only=True).lane.size == 0


def test_pose_at_gives_height_and_direction() -> None:
    x, y, z, heading = pose_at(MAP, np.array([5, 3]), np.array([10.0, 30.0]))
    np.testing.assert_allclose(x, [50.0, 70.0])
    np.testing.assert_allclose(y, [-40.0, 3.5])
    np.testing.assert_allclose(z, [6.0, 0.0])
    np.testing.assert_allclose(heading, [np.pi / 2, np.pi])


def test_index_is_built_once_and_dies_with_the_map() -> None:
    road_map = curvy()
    nearest_lane(road_map, 1.0, 1.0)
    index = locate._indexes[road_map]
    nearest_lane(road_map, 2.0, 1.0)
    assert locate._indexes[road_map] is index
    gone = weakref.ref(road_map)
    del road_map
    gc.collect()
    assert gone() is None


def test_bad_input_says_what_to_do() -> None:
    with pytest.raises(RoadloopError, match="lane 99 is not on map by hand"):
        pose_at(MAP, 99, 0.0)
    with pytest.raises(RoadloopError, match="lane -1"):
        to_frenet(MAP, -1, 0.0, 0.0)
    with pytest.raises(RoadloopError, match="position is not finite"):
        nearest_lane(MAP, np.nan, 0.0)
    with pytest.raises(RoadloopError, match="position is not finite"):
        to_frenet(MAP, 0, np.inf, 0.0)


TOWNS = Path(__file__).resolve().parents[2] / "shared" / "data" / "carla_maps"


@pytest.mark.skipif(not TOWNS.is_dir(), reason="CARLA maps not at ../shared/data/carla_maps")
def test_town_lanes_are_found_where_they_are() -> None:
    from roadloop.maps.cache import load_map

    town = load_map(TOWNS / "Town05.xodr.gz")  # has bridges
    rng = np.random.default_rng(2)
    lane = rng.choice(np.flatnonzero(town.is_travel), 3000)
    s = rng.uniform(0.0, 1.0, 3000) * town.lane_length[lane]
    d = rng.uniform(-0.4, 0.4, 3000)
    x, y, heading = from_frenet(town, lane, s, d)
    z = pose_at(town, lane, s)[2]
    s_back, d_back = to_frenet(town, lane, x, y)
    np.testing.assert_allclose(s_back, s, atol=1e-6)
    np.testing.assert_allclose(d_back, d, atol=1e-6)
    place = nearest_lane(town, x, y, heading, z=z)
    assert (place.distance <= np.abs(d) + 1.0).all()
    # the lane itself, or one that shares its ground: junction twins, the next one at a joint
    hit = place.lane == lane
    near = place.distance <= np.abs(d) + 1e-6
    assert (hit | near).mean() > 0.995
    outside = town.lane_junction[lane] < 0
    assert hit[outside].mean() > 0.99
