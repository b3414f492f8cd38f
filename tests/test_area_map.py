"""A RoadMap as areas: what lies where, on maps small enough to say so by hand."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import shapely

from roadloop.errors import RoadloopError
from roadloop.maps.cache import load_map
from roadloop.maps.generate import generate_map
from roadloop.maps.road_map import LaneKind, RoadMap
from roadloop.scoring.area_map import SURFACE, area_map_of, lanes_near
from tests.hand_map import HandLane, HandMap, straight

CARLA_MAPS = Path(__file__).resolve().parents[2] / "shared" / "data" / "carla_maps"


def street() -> RoadMap:
    """Two lanes east, one west, a shoulder south, a pavement north; then a junction lane east."""
    return HandMap(
        [
            HandLane(straight((0, 0), (100, 0)), number=-1, successors=(5,), right=1, opposite=2),
            HandLane(straight((0, -3.5), (100, -3.5)), number=-2, left=0),
            HandLane(straight((100, 3.5), (0, 3.5)), number=1, opposite=0),
            HandLane(straight((0, -6), (100, -6)), width=1.5, number=-3, kind=LaneKind.SHOULDER),
            HandLane(straight((0, 6), (100, 6)), width=1.5, number=2, kind=LaneKind.SIDEWALK),
            HandLane(straight((100, 0), (130, 0)), road="1", junction=0, speed_limit=8.0),
        ],
        junctions=1,
    ).build()


def test_layers_of_a_street() -> None:
    area = area_map_of(street())
    assert area.lane_id.tolist() == ["0", "1", "2", "5"]
    assert area.lane_is_connector.tolist() == [False, False, False, True]
    blocks = area.lane_roadblock
    assert blocks[0] == blocks[1] and len(set(blocks.tolist())) == 3
    assert area.outgoing_of(0).tolist() == [3] and area.incoming_of(3).tolist() == [0]
    assert not len(area.outgoing_of(3)) and not len(area.incoming_of(0))
    np.testing.assert_array_equal(area.lane_speed_limit, [13.9, 13.9, 13.9, 8.0])
    assert area.baseline_of(2)[0] == pytest.approx([100.0, 3.5])
    assert shapely.get_coordinate_dimension(area.lane_polygon).tolist() == [2] * 4
    assert shapely.area(area.lane_polygon) == pytest.approx([350.0, 350.0, 350.0, 105.0])
    # three lanes, the shoulder (a crack of nothing between them) and the junction
    assert shapely.area(area.drivable).sum() == pytest.approx(3 * 350 + 150 + 105, abs=1e-6)
    assert shapely.area(area.intersections) == pytest.approx([105.0], abs=1e-6)


def test_points_are_strictly_inside() -> None:
    area = area_map_of(street())
    points = np.array([[50.0, 0.0], [50.0, 1.75], [110.0, 0.0], [50.0, 6.0], [50.0, -6.0]])
    point, lane = area.lane_areas.containing(points)
    assert list(zip(point.tolist(), lane.tolist(), strict=True)) == [(0, 0), (2, 3)]
    assert area.drivable_areas.contain(points).tolist() == [True, True, True, False, True]
    assert area.intersection_areas.contain(points).tolist() == [False, False, True, False, False]
    away = area.drivable_areas.distance(points)
    assert away == pytest.approx([0.0, 0.0, 0.0, 0.75, 0.0])
    assert np.isinf(area.drivable_areas.distance(np.array([[50.0, 60.0]]), 30.0)).all()


def test_part_of_a_map_has_its_edges_only() -> None:
    area = area_map_of(street(), np.array([1, 0, 3]))
    assert area.lane_id.tolist() == ["0", "1"] and not len(area.intersections)
    assert area.outgoing_start.tolist() == [0, 0, 0]
    assert shapely.area(area.drivable).sum() == pytest.approx(350 + 350 + 150, abs=1e-6)


def test_no_travel_lanes_is_said() -> None:
    with pytest.raises(RoadloopError, match=r"^that part of map by hand has no travel lanes"):
        area_map_of(street(), np.array([3, 4]))
    pavement = HandMap([HandLane(straight((0, 0), (9, 0)), kind=LaneKind.SIDEWALK)]).build()
    with pytest.raises(RoadloopError, match=r"^map by hand has no travel lanes"):
        area_map_of(pavement)


def test_lanes_of_another_level_are_not_near() -> None:
    over = np.column_stack([np.zeros(2), [-100.0, 100.0], np.full(2, 6.0)])
    m = HandMap([HandLane(straight((-100, 0), (100, 0))), HandLane(over, road="1")]).build()
    path = np.column_stack([np.linspace(-50, 50, 20), np.zeros(20), np.zeros(20)])
    assert lanes_near(m, path).tolist() == [0]
    assert lanes_near(m, path[:1]).tolist() == [0]
    assert lanes_near(m, path + np.array([0, 0, 6.0])).tolist() == [1]
    assert lanes_near(m, path + np.array([0, 400.0, 0])).tolist() == []
    with pytest.raises(RoadloopError, match="not finite"):
        lanes_near(m, path * np.nan)


def test_lanes_near_a_path_include_their_neighbours() -> None:
    cuts = [0.0, 200.0, 400.0, 600.0]
    lanes = [HandLane(straight((a, 0), (b, 0))) for a, b in itertools.pairwise(cuts)]
    lanes[0].successors, lanes[1].successors = (1,), (2,)
    m = HandMap(lanes).build()
    assert lanes_near(m, np.array([[10.0, 0.0, 0.0]])).tolist() == [0, 1]
    assert lanes_near(m, np.array([[300.0, 0.0, 0.0]])).tolist() == [0, 1, 2]


def test_every_centreline_of_a_generated_town_is_drivable() -> None:
    m = generate_map("town", seed=3)
    area = area_map_of(m)
    assert area.drivable_areas.contain(area.baseline_xy).mean() > 0.999  # but for the map's ends
    assert area.lane_is_connector.any() and len(area.intersections) == len(m.junction_id)
    connectors = np.flatnonzero(area.lane_is_connector).tolist()
    middle = np.array([area.baseline_of(i)[len(area.baseline_of(i)) // 2] for i in connectors])
    assert area.intersection_areas.contain(middle).all()


def test_a_carla_town_part_is_the_town_around_the_path() -> None:
    """Near a path, part and whole agree on what is drivable and how far the road is."""
    if not CARLA_MAPS.is_dir():
        pytest.skip(f"{CARLA_MAPS} is missing")
    m = load_map(CARLA_MAPS / "Town02.xodr.gz")
    lane = int(np.flatnonzero(m.is_travel)[5])
    path = m.point_xyz[m.points_of(lane)]
    whole, part = area_map_of(m), area_map_of(m, lanes_near(m, path))
    rng = np.random.default_rng(0)
    points = path[rng.integers(len(path), size=300), :2] + rng.normal(0, 6.0, (300, 2))
    np.testing.assert_allclose(
        part.drivable_areas.distance(points), whole.drivable_areas.distance(points), atol=2e-3
    )
    assert part.lanes < whole.lanes


def test_every_lane_of_a_carla_town_is_drivable() -> None:
    """Town02 is one on which GEOS's union of the strips loses whole lanes."""
    if not CARLA_MAPS.is_dir():
        pytest.skip(f"{CARLA_MAPS} is missing")
    m = load_map(CARLA_MAPS / "Town02.xodr.gz")
    on_surface = np.isin(np.repeat(m.lane_kind, np.diff(m.point_start)), SURFACE)
    points = m.point_xyz[on_surface, :2]
    assert area_map_of(m).drivable_areas.distance(points).max() < 2e-3
