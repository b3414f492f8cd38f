"""Routes and their paths: shortest ways, lane changes, dead ends, smooth curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hand_map import HandLane, HandMap, arc, bezier, straight
from hypothesis import given, settings
from hypothesis import strategies as st

from roadloop.errors import RoadloopError
from roadloop.geometry import wrap_angle
from roadloop.maps.path import route_path
from roadloop.maps.road_map import LaneKind, RoadMap
from roadloop.maps.routing import (
    distance_to_lane,
    random_route,
    reachable,
    route_length,
    route_sections,
    shortest_route,
)
from roadloop.types import Route


def two_ways() -> RoadMap:
    """A fork of a short and a long way round, a two-lane road, a dead end, a lone road."""
    return HandMap(
        [
            HandLane(straight((0, 0), (100, 0)), successors=(1, 2)),
            HandLane(straight((100, 0), (150, 0)), junction=0, successors=(3,)),
            HandLane(
                np.concatenate(
                    [
                        bezier((100, 0), 0.7, (125, 15), 0.0),
                        bezier((125, 15), 0.0, (150, 0), -0.7)[1:],
                    ]
                ),
                junction=0,
                successors=(3,),
            ),
            HandLane(straight((150, 0), (350, 0)), left=4, successors=(5,)),
            HandLane(straight((150, 3.5), (350, 3.5)), right=3),
            HandLane(arc((350, 40), 40, -np.pi / 2, 0), junction=1, successors=(6,)),
            HandLane(straight((390, 40), (390, 160))),
            HandLane(straight((0, 90), (50, 90)), road="lone"),
            HandLane(straight((0, -4), (100, -4)), kind=LaneKind.SIDEWALK),
        ],
        junctions=2,
    ).build()


MAP = two_ways()


def test_shortest_takes_the_straight_way() -> None:
    route = shortest_route(MAP, 0, 20.0, 6, 30.0)
    assert route.lanes.tolist() == [0, 1, 3, 5, 6]
    assert route.lanes.dtype == np.int32
    assert route_length(MAP, route) == pytest.approx(80 + 50 + 200 + 20 * np.pi + 30, abs=0.01)


def test_lane_change_only_where_needed_and_never_back() -> None:
    route = shortest_route(MAP, 0, 0.0, 4, 150.0)
    assert route.lanes.tolist() == [0, 1, 3, 4]
    assert route_sections(MAP, route) == [[0], [1], [3, 4]]
    assert route_length(MAP, route) == pytest.approx(100 + 50 + 150)
    assert shortest_route(MAP, 3, 20.0, 4, 60.0).lanes.tolist() == [3, 4]
    with pytest.raises(RoadloopError, match="no route"):  # no room, and no way around
        shortest_route(MAP, 3, 20.0, 4, 25.0)
    with pytest.raises(RoadloopError, match="no route"):  # the change would have to take 5 m
        shortest_route(MAP, 0, 0.0, 4, 5.0)
    with pytest.raises(RoadloopError, match="no route"):  # behind
        shortest_route(MAP, 3, 120.0, 3, 60.0)


def test_a_goal_behind_leads_around_the_loop() -> None:
    ring = HandMap(
        [
            HandLane(arc((0, 0), 30, k * np.pi / 2, (k + 1) * np.pi / 2), successors=((k + 1) % 4,))
            for k in range(4)
        ]
    ).build()
    around = shortest_route(ring, 1, 30.0, 1, 10.0)
    assert around.lanes.tolist() == [1, 2, 3, 0, 1]
    assert route_length(ring, around) == pytest.approx(2 * np.pi * 30 - 20, abs=0.05)
    assert shortest_route(ring, 1, 10.0, 1, 30.0).lanes.tolist() == [1]


def test_errors_name_the_lanes() -> None:
    with pytest.raises(RoadloopError, match=r"road 0 section 0 lane -1 .* road lone section 0"):
        shortest_route(MAP, 0, 0.0, 7, 10.0)
    with pytest.raises(RoadloopError, match="no lane to drive on"):
        shortest_route(MAP, 0, 0.0, 8, 10.0)
    with pytest.raises(RoadloopError, match=r"s=120.00 m is not on .* 100.00 m long"):
        shortest_route(MAP, 0, 120.0, 6, 10.0)
    with pytest.raises(RoadloopError, match="lane 77 is not on map"):
        reachable(MAP, 77)
    with pytest.raises(RoadloopError, match="neither follows nor lies beside"):
        route_length(MAP, Route(np.array([0, 3]), 0.0, 10.0))
    with pytest.raises(RoadloopError, match="without lanes"):
        route_length(MAP, Route(np.array([], np.int32), 0.0, 10.0))
    with pytest.raises(RoadloopError, match="leads back"):
        route_path(MAP, Route(np.array([0]), 50.0, 20.0))


def test_reach_and_cost_to_go() -> None:
    assert reachable(MAP, 3).nonzero()[0].tolist() == [3, 4, 5, 6]
    togo = distance_to_lane(MAP, 6)
    np.testing.assert_allclose(togo[[0, 6]], [100 + 50 + 200 + 20 * np.pi, 0.0], atol=0.01)
    assert togo[4] == pytest.approx(togo[3] + 30.0)  # one lane change
    assert np.isinf(togo[7])


def test_random_routes_are_sound_and_repeat() -> None:
    for seed in range(20):
        route = random_route(MAP, np.random.default_rng(seed), min_length=60, max_length=220)
        assert 60 - 1e-6 <= route_length(MAP, route) <= 220 + 1e-6
        assert MAP.lane_junction[route.lanes[[0, -1]]].max() == -1
        assert len(set(route.lanes.tolist())) == len(route.lanes)
        again = random_route(MAP, np.random.default_rng(seed), min_length=60, max_length=220)
        assert again.lanes.tobytes() == route.lanes.tobytes() and again.start_s == route.start_s
    exact = random_route(MAP, np.random.default_rng(3), min_length=50, start_lane=3)
    assert exact.lanes[0] == 3
    assert route_length(MAP, exact) >= 50 - 1e-6
    with pytest.raises(RoadloopError, match="no route of 5000 m found on map by hand"):
        random_route(MAP, np.random.default_rng(0), min_length=5000)
    with pytest.raises(RoadloopError, match="0 < min_length <= max_length"):
        random_route(MAP, np.random.default_rng(0), min_length=50, max_length=20)


def test_random_route_changes_lane_only_to_get_far_enough() -> None:
    from_left = random_route(MAP, np.random.default_rng(0), min_length=300, start_lane=4)
    assert from_left.lanes.tolist() == [4, 3, 5, 6]  # lane 4 ends after 200 m


def test_path_follows_the_centreline() -> None:
    path = route_path(MAP, shortest_route(MAP, 0, 20.0, 6, 30.0), spacing=0.5)
    assert np.diff(path.s).max() <= 0.5 and np.ptp(np.diff(path.s)) < 1e-9
    np.testing.assert_allclose(path.xyz[0, :2], [20, 0], atol=1e-9)
    np.testing.assert_allclose(path.xyz[-1, :2], [390, 70], atol=1e-9)
    assert path.length == pytest.approx(80 + 50 + 200 + 20 * np.pi + 30, abs=0.01)
    in_arc = (path.lane == 5) & (path.lane_s > 2) & (path.lane_s < 60)
    np.testing.assert_allclose(path.curvature[in_arc], 1 / 40, rtol=0.02)
    np.testing.assert_array_equal(path.lane[[0, -1]], [0, 6])
    np.testing.assert_allclose(path.lane_s[[0, -1]], [20, 30], atol=1e-6)
    assert (path.speed_limit == 13.9).all()


def test_lane_change_is_one_smooth_swerve() -> None:
    path = route_path(MAP, shortest_route(MAP, 0, 0.0, 4, 150.0))
    y = path.xyz[:, 1]
    assert (np.diff(y) >= -1e-9).all() and y[0] == 0.0 and y[-1] == pytest.approx(3.5)
    # 3.5 m in 4 s at 13.9 m/s: peak curvature 5.77 D / L^2, and no jump anywhere
    assert np.abs(path.curvature).max() == pytest.approx(5.77 * 3.5 / 55.6**2, rel=0.02)
    assert np.abs(np.diff(path.curvature)).max() < 1.5e-3
    changed = int(np.argmax(path.lane == 4))
    assert y[changed] == pytest.approx(1.75, abs=0.05)


def test_headings_and_curvatures_belong_to_the_positions() -> None:
    curved = HandMap(  # a change between the two lanes of a bend
        [
            HandLane(arc((0, 0), 60, 0, 2), left=1, speed_limit=8.0),
            HandLane(arc((0, 0), 56.5, 0, 2), right=0, speed_limit=8.0),
        ]
    ).build()
    path = route_path(curved, shortest_route(curved, 0, 5.0, 1, 90.0), spacing=0.5)
    step = np.diff(path.xyz[:, :2], axis=0)
    middle = path.heading[:-1] + 0.5 * wrap_angle(np.diff(path.heading))
    seen = np.arctan2(step[:, 1], step[:, 0])
    assert np.abs(wrap_angle(seen - middle)).max() < 2e-3
    bend = wrap_angle(np.diff(path.heading)) / np.diff(path.s)
    assert np.abs(bend - 0.5 * (path.curvature[1:] + path.curvature[:-1])).max() < 2e-3


def test_a_successor_that_starts_aside_is_driven_like_a_lane_change() -> None:
    lanes = [
        HandLane(straight((0, 0), (80, 0)), successors=(1,)),
        HandLane(straight((80, -3.5), (160, -3.5))),
    ]
    road_map = HandMap(lanes).build()
    path = route_path(road_map, shortest_route(road_map, 0, 0.0, 1, 80.0))
    y = path.xyz[:, 1]
    assert (np.diff(y) <= 1e-9).all() and np.diff(y).min() > -0.1
    assert np.abs(path.curvature).max() < 0.01


PATH = route_path(MAP, shortest_route(MAP, 0, 20.0, 6, 90.0))


@settings(max_examples=200, deadline=None)
@given(s=st.floats(0.0, 1.0), d=st.floats(-5.0, 5.0), hinted=st.booleans())
def test_path_projection_round_trip(s: float, d: float, hinted: bool) -> None:
    s = s * PATH.length
    place = PATH.at(s)
    x, y = place.x - d * np.sin(place.heading), place.y + d * np.cos(place.heading)
    back, lateral = PATH.project(x, y, hint=s + 10.0 if hinted else None)
    assert back == pytest.approx(s, abs=1e-6)
    assert lateral == pytest.approx(d, abs=1e-6)


def test_hint_tells_two_passes_of_one_place_apart() -> None:
    loop = arc((0, 0), 30, 0, 2 * np.pi)
    lanes = [HandLane(loop, successors=(1,)), HandLane(loop, successors=())]
    road_map = HandMap(lanes).build()
    path = route_path(road_map, shortest_route(road_map, 0, 0.0, 1, 150.0))
    x, y = np.array([0.0, 0.0]), np.array([30.0, 30.0])
    s, _ = path.project(x, y, hint=np.array([40.0, 240.0]))
    np.testing.assert_allclose(s, [15 * np.pi, 75 * np.pi], atol=0.1)
    place = path.at(np.array([[-5.0, path.length + 5.0]]))
    assert place.lane.tolist() == [[0, 1]] and place.x.shape == (1, 2)
    with pytest.raises(RoadloopError, match="not finite"):
        path.project(np.nan, 0.0)


TOWNS = Path(__file__).resolve().parents[2] / "shared" / "data" / "carla_maps"


@pytest.mark.skipif(not TOWNS.is_dir(), reason="CARLA maps not at ../shared/data/carla_maps")
@pytest.mark.parametrize("name", ["Town03", "Town04"])
def test_town_routes_are_drivable_curves(name: str) -> None:
    from roadloop.maps.cache import load_map

    town = load_map(TOWNS / f"{name}.xodr.gz")
    for seed in range(8):
        route = random_route(town, np.random.default_rng(seed), min_length=200, max_length=600)
        ends = int(route.lanes[0]), route.start_s, int(route.lanes[-1]), route.goal_s
        best = shortest_route(town, *ends)
        assert route_length(town, best) <= route_length(town, route) + 1e-6
        for one in (route, best):
            path = route_path(town, one)
            assert path.length == pytest.approx(route_length(town, one), rel=0.02)
            step = np.linalg.norm(np.diff(path.xyz[:, :2], axis=0), axis=1)
            np.testing.assert_allclose(step, np.diff(path.s), rtol=0.02)
            seen = np.arctan2(*np.diff(path.xyz[:, :2], axis=0).T[::-1])
            assert np.abs(wrap_angle(seen - path.heading[:-1])).max() < 0.15
            tightest = max(np.abs(town.point_curvature[town.points_of(k)]).max() for k in one.lanes)
            # 3.5 m aside within 10 m, the least room there is, is 0.2 1/m
            assert np.abs(path.curvature).max() < max(tightest + 0.05, 0.21)
        # cost-to-go never exceeds a route that changes no lane
        if all(len(row) == 1 for row in route_sections(town, best)) and len(best.lanes) > 1:
            togo = distance_to_lane(town, int(best.lanes[-1]))[best.lanes[0]]
            assert togo <= route_length(town, best) + best.start_s - best.goal_s + 1e-6
