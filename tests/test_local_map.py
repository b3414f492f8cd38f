"""The local map: lanes traced through the lane field, and a planner that drives on nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hand_map import HandLane, HandMap, arc, straight
from test_controllers import DT, LaggedBicycle
from test_planner import tracks_of

from deploy.mapless import Mapless
from perception.detector_config import BevGrid, RasterLayer
from perception.local_map import ONWARD, local_road_map
from perception.percept import Percept
from perception.raster_map import raster_targets
from planning.controllers import TrackingController
from roadloop.errors import RoadloopError
from roadloop.geometry import polyline_project, rotation_from_euler, se3
from roadloop.maps.path import route_path
from roadloop.maps.road_map import RoadMap
from roadloop.types import Route, Scenario
from training.sample_map import MapPieces

GRID = BevGrid()


def pose(x: float, y: float, heading: float) -> np.ndarray:
    return se3(rotation_from_euler(0.0, 0.0, heading), np.array([x, y, 0.0]))


def percept_of(
    pieces: MapPieces, world_from_ego: np.ndarray, time: float = 0.0, noise: float = 0.0
) -> Percept:
    """What a perfect network would say, silent where it is not taught, with noise in each cell."""
    made = raster_targets(GRID, **pieces.near(world_from_ego, 60.0))
    rng = np.random.default_rng(round(time / DT))
    raster = made["raster"] + noise * rng.normal(size=made["raster"].shape)
    lane = made["lane"] * made["lane_weight"] + noise * rng.normal(size=made["lane"].shape)
    rest = dict.fromkeys(f.name for f in dataclasses.fields(Percept))
    rest |= {"raster": np.clip(raster, 0.0, 1.0).astype(np.float32), "lane": lane}
    return Percept(**(rest | {"world_from_ego": world_from_ego, "time": time, "faults": ()}))


def pieces_of(*lanes: np.ndarray) -> MapPieces:
    return MapPieces(HandMap([HandLane(points) for points in lanes]).build(), 11, 2.0)


def nothing_known() -> Scenario:
    """A scenario without map and route: a mapless planner must not look at them."""
    return Scenario(**dict.fromkeys(f.name for f in dataclasses.fields(Scenario)))


def winding(radius: float) -> RoadMap:
    """60 m straight on, a quarter turn to the left, one to the right, and on."""
    ahead = arc((60.0, radius), radius, -np.pi / 2, 0.0)[:, :2]
    back = arc((60.0 + 2 * radius, radius), radius, np.pi, np.pi / 2)[:, :2]
    end = np.array([[260.0, 2 * radius]])
    line = np.concatenate([[[-20.0, 0.0]], ahead, back[1:], end])
    tangent = np.gradient(line, axis=0)
    tangent /= np.hypot(*tangent.T)[:, None]
    other = (line + 3.5 * np.column_stack([-tangent[:, 1], tangent[:, 0]]))[::-1]
    return HandMap([HandLane(line, opposite=1), HandLane(other, number=1, opposite=0)]).build()


def drive(pieces: MapPieces, planner: Mapless, car: LaggedBicycle, steps: int, noise: float):
    """(steps, 2) where the car was, and how many maps were made; a percept twice a second."""
    seen: list[Percept] = []
    planner._percept = lambda: seen[-1]
    planner.reset(nothing_known())
    controller, nobody, places, maps = TrackingController(), tracks_of([], 0.0), [], set()
    for step in range(steps):
        if step % 5 == 0:
            seen.append(percept_of(pieces, pose(car.x, car.y, car.heading), step * DT, noise))
        observation = car.observe(step)
        plan = planner.plan(observation, nobody)
        car.step(controller.control(observation, plan), substeps=5)
        places.append((car.x, car.y))
        maps.add(id(planner.local_map))
    return np.array(places), len(maps)


def mapless() -> Mapless:
    return Mapless(lambda: None, GRID)


def test_the_lane_following_scenario_is_driven_on_the_local_map_alone():
    from sim.scenarios import build_scenario

    scenario = build_scenario("lane_following", seed=0, agents=0)
    ego = scenario.ego
    car = LaggedBicycle(float(ego.x), float(ego.y), float(ego.heading), 12.0)
    places, _ = drive(MapPieces(scenario.road_map, 11, 2.0), mapless(), car, 170, noise=0.2)
    s, left = route_path(scenario.road_map, scenario.route).project(*places.T)
    assert s[-1] > 200.0 and np.abs(left).max() < 0.5


def test_a_winding_road_is_driven_from_off_the_centreline():
    road_map = winding(25.0)
    car = LaggedBicycle(0.0, 0.6, 0.03, 8.0)
    places, maps = drive(MapPieces(road_map, 11, 2.0), mapless(), car, 190, noise=0.2)
    route = Route(np.zeros(1, np.int32), 1.0, float(road_map.lane_length[0]))
    s, left = route_path(road_map, route).project(*places.T)
    assert s[-1] > 150.0 and np.abs(left[s > 40.0]).max() < 0.5
    assert maps > 20


def test_lanes_beside_the_ego_have_their_names_and_widths():
    width = 3.2
    lanes = [straight((-80.0, k * width), (80.0, k * width)) for k in (0, 1)]
    lanes += [straight((80.0, k * width), (-80.0, k * width)) for k in (2, 3)]
    built = HandMap(
        [
            HandLane(lanes[0], width=width, left=1),
            HandLane(lanes[1], width=width, right=0, opposite=2, number=-2),
            HandLane(lanes[2], width=width, right=3, opposite=1, number=1),
            HandLane(lanes[3], width=width, left=2, number=2),
        ]
    ).build()
    made = local_road_map(percept_of(MapPieces(built, 11, 2.0), pose(0.0, 0.1, 0.02)), GRID)
    assert made is not None and made.open_end
    road_map = made.road_map
    assert list(road_map.lane_id) == ["ego", "left", "oncoming"]
    assert list(road_map.lane_left) == [1, -1, -1] and list(road_map.lane_right) == [-1, 0, -1]
    assert list(road_map.lane_opposite) == [-1, 2, 1]
    np.testing.assert_allclose(road_map.point_width, width, atol=0.1)
    for lane, y in enumerate((0.0, width, 2 * width)):
        points = road_map.point_xyz[road_map.points_of(lane)]
        ahead = points[(points[:, 0] > 3.0) & (points[:, 0] < 45.0), 1]
        np.testing.assert_allclose(ahead, y, atol=0.12)
    assert made.ahead == pytest.approx(GRID.x_max + ONWARD, abs=2.0)
    assert made.centreline[0, 0] < -5.0  # room for who follows


def test_a_lane_alone_is_as_wide_as_between_its_edges():
    lane = HandMap([HandLane(straight((-80.0, 0.0), (80.0, 0.0)), width=4.0)]).build()
    at = percept_of(MapPieces(lane, 11, 2.0), pose(0.0, 0.0, 0.05))
    made = local_road_map(at, GRID)
    assert made is not None and list(made.road_map.lane_id) == ["ego"]
    assert made.road_map.point_width[0] == pytest.approx(4.0, abs=0.3)


def test_the_lane_ends_where_the_road_does_and_goes_on_over_what_is_not_told():
    ends = local_road_map(
        percept_of(pieces_of(straight((-80.0, 0.0), (30.0, 0.0))), pose(0.0, 0.0, 0.0)), GRID
    )
    assert ends is not None and not ends.open_end
    assert ends.ahead == pytest.approx(30.0, abs=2.5)
    percept = percept_of(pieces_of(straight((-80.0, 0.0), (80.0, 0.0))), pose(0.0, 0.3, 0.0))
    percept.lane[:, (GRID.centres()[:, 0, 0] > 15.0) & (GRID.centres()[:, 0, 0] < 25.0)] = 0.0
    crossed = local_road_map(percept, GRID)
    assert crossed is not None and crossed.open_end
    assert np.abs(crossed.centreline[:, 1]).max() < 0.15


def test_the_ego_keeps_its_lane_when_it_stands_beside_it():
    road = [straight((-80.0, 0.0), (80.0, 0.0)), straight((-80.0, 3.5), (80.0, 3.5))]
    pieces = pieces_of(*road)
    before = local_road_map(percept_of(pieces, pose(0.0, 0.0, 0.0)), GRID)
    aside = percept_of(pieces, pose(4.0, 2.2, 0.1))
    kept, fresh = local_road_map(aside, GRID, before), local_road_map(aside, GRID)
    assert kept is not None and fresh is not None
    points = np.array([[6.0, 0.0], [30.0, 0.0]])
    left = [polyline_project(made.centreline[:, :2], points)[1] for made in (kept, fresh)]
    assert np.abs(left[0]).max() < 0.15 and np.abs(left[1] + 3.5).max() < 0.3
    far = percept_of(pieces_of(road[0] + (0.0, 200.0)), pose(0.0, 200.0, 0.0))
    anew = local_road_map(far, GRID, before)  # what was known is nowhere near
    assert anew is not None and np.abs(anew.centreline[:, 1] - 200.0).max() < 0.15


def test_where_no_lane_is_seen_the_car_is_brought_to_a_stand():
    empty = percept_of(pieces_of(straight((200.0, 0.0), (300.0, 0.0))), pose(0.0, 0.0, 0.0))
    assert local_road_map(empty, GRID) is None
    planner = Mapless(lambda: empty, GRID)
    planner.reset(nothing_known())
    plan = planner.plan(LaggedBicycle(heading=0.4, speed=9.0).observe(0), tracks_of([], 0.0))
    assert plan.speed[0] == 9.0 and plan.speed[-1] == 0.0
    assert np.hypot(plan.x[-1], plan.y[-1]) == pytest.approx(9.0**2 / 6.0)
    assert planner.local_map is None and planner.reason == "sees no lane"


def test_a_standing_car_keeps_its_map_and_mistakes_are_named():
    with pytest.raises(RoadloopError, match="speed_limit"):
        Mapless(lambda: None, GRID, speed_limit=0.0)
    with pytest.raises(RoadloopError, match="reset"):
        mapless().plan(LaggedBicycle().observe(0), tracks_of([], 0.0))
    pieces, made = pieces_of(straight((-80.0, 0.0), (80.0, 0.0))), []
    planner = mapless()
    planner.reset(nothing_known())
    for step in range(0, 30, 10):
        seen = percept_of(pieces, pose(0.0, 0.0, 0.0), step * DT)
        planner._percept = lambda seen=seen: seen
        planner.plan(LaggedBicycle().observe(step), tracks_of([], 0.0))
        made.append(planner.local_map)
    assert made[0] is made[1] is made[2] is not None


def test_cells_that_are_not_drivable_have_no_say():
    pieces = pieces_of(straight((-80.0, 0.0), (80.0, 0.0)))
    percept = percept_of(pieces, pose(0.0, 0.0, 0.0))
    percept.lane[:] = np.array([0.0, 1.0, 0.5])[:, None, None]  # nonsense all around
    on = percept.raster[RasterLayer.DRIVABLE] > 0.0
    percept.lane[:, on] = percept_of(pieces, pose(0.0, 0.0, 0.0)).lane[:, on]
    made = local_road_map(percept, GRID)
    assert made is not None and list(made.road_map.lane_id) == ["ego"]
    assert np.abs(made.centreline[:, 1]).max() < 0.05
