"""Ground covered by lanes: areas one can compute by hand, banked edges, folded strips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hand_map import HandLane, HandMap, arc, straight

from roadloop.errors import RoadloopError
from roadloop.maps.area import (
    DRIVABLE,
    drivable_polygons,
    lane_borders,
    lane_polygon,
    united,
)
from roadloop.maps.road_map import LaneKind

MAP = HandMap(
    [
        HandLane(straight((0, 0), (100, 0)), width=4.0),
        HandLane(straight((100, 4.05), (0, 4.05)), width=4.0),  # a crack of 5 cm between
        HandLane(arc((100, 20), 20, -np.pi / 2, 0), width=4.0),
        HandLane(straight((0, -3), (100, -3)), width=2.0, kind=LaneKind.SHOULDER),
        HandLane(straight((0, 60), (50, 60)), width=3.0, kind=LaneKind.PARKING),
        HandLane(straight((0, 90), (50, 90)), width=3.0, kind=LaneKind.SIDEWALK),
    ]
).build()


def test_areas_are_width_times_length() -> None:
    assert lane_polygon(MAP, 0).area == pytest.approx(400.0)
    assert lane_polygon(MAP, 2).area == pytest.approx(4.0 * 20 * np.pi / 2, rel=1e-3)
    ring = np.asarray(lane_polygon(MAP, 1).boundary.coords)
    assert (ring[:-1, 0] * ring[1:, 1] - ring[1:, 0] * ring[:-1, 1]).sum() > 0  # anticlockwise
    area = drivable_polygons(MAP)
    strips = 100 * 8.05 + 4.0 * 20 * np.pi / 2 + 150
    # lanes 0 and 2 are one piece with lane 1 (the crack is closed), the car park is another
    assert area.area == pytest.approx(strips, rel=2e-3)
    assert len(area.geoms) == 2 and area.is_valid


def test_kinds_and_gap_are_arguments() -> None:
    with_shoulder = drivable_polygons(MAP, [*DRIVABLE, LaneKind.SHOULDER])
    assert with_shoulder.area - drivable_polygons(MAP).area == pytest.approx(200.0, abs=0.5)
    assert len(drivable_polygons(MAP, gap=0.0).geoms) == 3
    assert drivable_polygons(MAP, [LaneKind.MEDIAN]).is_empty
    with pytest.raises(RoadloopError, match="gap -1"):
        drivable_polygons(MAP, gap=-1.0)


def test_borders_lie_half_a_width_aside() -> None:
    left, right = lane_borders(MAP, 2)
    np.testing.assert_allclose(np.hypot(left[:, 0] - 100, left[:, 1] - 20), 18.0, atol=1e-3)
    np.testing.assert_allclose(np.hypot(right[:, 0] - 100, right[:, 1] - 20), 22.0, atol=1e-3)
    left, right = lane_borders(MAP, 1)  # travels west: left is south
    assert (left[:, 1] < right[:, 1]).all()
    with pytest.raises(RoadloopError, match="lane 6 is not on map"):
        lane_borders(MAP, 6)


def test_bank_raises_the_left_edge() -> None:
    bank = 0.3
    lane = HandLane(straight((0, 0), (10, 0)), width=4.0, bank=bank)
    left, right = lane_borders(HandMap([lane]).build(), 0)
    np.testing.assert_allclose(left[:, 2], 2.0 * np.sin(bank))
    np.testing.assert_allclose(right[:, 2], -2.0 * np.sin(bank))
    np.testing.assert_allclose(np.linalg.norm(left - right, axis=1), 4.0)


def test_a_strip_folded_over_itself_is_still_an_area() -> None:
    tight = HandMap([HandLane(arc((0, 0), 1.0, 0, 1.5 * np.pi), width=4.0)]).build()
    polygon = lane_polygon(tight, 0)
    assert polygon.is_valid and 15.0 < polygon.area < np.pi * 9
    assert drivable_polygons(tight).is_valid


TOWNS = Path(__file__).resolve().parents[2] / "shared" / "data" / "carla_maps"


@pytest.mark.skipif(not TOWNS.is_dir(), reason="CARLA maps not at ../shared/data/carla_maps")
def test_points_on_lanes_of_a_town_are_on_drivable_ground() -> None:
    import shapely

    from roadloop.maps.cache import load_map
    from roadloop.maps.locate import lanes_at

    town = load_map(TOWNS / "Town10HD.xodr.gz")
    area = drivable_polygons(town)
    x0, y0, x1, y1 = area.bounds
    rng = np.random.default_rng(1)
    x, y = rng.uniform(x0, x1, 2000), rng.uniform(y0, y1, 2000)
    found = lanes_at(town, x, y)
    point = np.repeat(np.arange(2000), np.diff(found.start))
    on_lane = np.zeros(2000, bool)
    on_lane[point[np.isin(town.lane_kind[found.lane], DRIVABLE)]] = True
    on_ground = shapely.contains_xy(area, x, y)
    assert on_lane.mean() > 0.05
    assert (on_lane == on_ground).mean() > 0.995  # they differ at cracks and mitred joints only


@pytest.mark.skipif(not TOWNS.is_dir(), reason="CARLA maps not at ../shared/data/carla_maps")
@pytest.mark.parametrize("gap", [0.0, 0.1])
def test_no_lane_of_a_town_is_lost(gap: float) -> None:
    """Town02 is one on which GEOS's union of the strips loses whole lanes."""
    import shapely

    from roadloop.maps.cache import load_map

    town = load_map(TOWNS / "Town02.xodr.gz")
    area = drivable_polygons(town, gap=gap)
    shapely.prepare(area)
    driving = np.repeat(town.lane_kind == LaneKind.DRIVING, np.diff(town.point_start))
    points = shapely.points(town.point_xyz[driving, :2])
    assert (shapely.distance(area, points) < 0.01).all()  # lane ends lie on the edge


def test_united_is_all_the_ground_and_closes_gaps() -> None:
    import shapely

    boxes = [shapely.box(0, 0, 10, 2), shapely.box(0, 2, 10, 4), shapely.box(0, 4.05, 10, 6)]
    apart = united(boxes)
    assert apart.area == pytest.approx(59.5) and len(shapely.get_parts(apart)) == 2
    assert apart.contains(shapely.Point(5, 2))  # no seam where they touch
    assert united(boxes, gap=0.1).area == pytest.approx(60.0)
    assert united([]).is_empty
