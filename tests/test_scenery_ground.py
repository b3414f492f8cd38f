"""The ground in 3D: land under the roads, roads without cracks, paint on top of them."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from roadloop.errors import RoadloopError
from roadloop.maps.area import drivable_polygons, lane_borders
from roadloop.maps.cache import load_map
from roadloop.maps.generate import generate_map
from roadloop.maps.road_map import LaneKind, MarkKind, RoadMap
from roadloop.semantics import SemanticClass
from sim.scenarios import build_scenario
from sim.scenery.arrows import turn_arrows
from sim.scenery.markings import DASH, LIFT, marking_meshes
from sim.scenery.mesh import Mesh, Surface
from sim.scenery.paving import RAISED, STEP, Paving
from sim.scenery.ribbons import thinned
from sim.scenery.roads import road_meshes
from sim.scenery.sheets import Sheets
from sim.scenery.terrain import Terrain

TOWNS = Path(__file__).resolve().parents[2] / "shared" / "data" / "carla_maps"
NAMES = ("hill", "four_way", "roundabout", "Town03", "Town04", "Town05")


def named(name: str) -> RoadMap:
    """A generated map or a town."""
    if name == "hill":
        return generate_map("curve", seed=1, hill=15.0, lanes=2)
    if not name.startswith("Town"):
        return generate_map(name, seed=1)
    path = TOWNS / f"{name}.xodr.gz"
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    return load_map(path)


@dataclasses.dataclass
class Built:
    """A map and its meshes."""

    map: RoadMap
    terrain: Terrain
    roads: Mesh
    marks: Mesh
    up: Sheets
    """all of the roads that one sees from above"""
    points: np.ndarray
    """(P, 3) anywhere across the lanes, one per centreline point"""
    lane: np.ndarray
    """(P,) their lanes"""


@pytest.fixture(scope="module", params=NAMES)
def built(request: pytest.FixtureRequest) -> Built:
    road_map = named(request.param)
    roads = road_meshes(road_map, np.random.default_rng(0))
    return Built(
        road_map,
        Terrain.of(road_map),
        roads,
        marking_meshes(road_map),
        Sheets(roads.corners[roads.normals[:, 2] > 0.5]),
        *on_lanes(road_map),
    )


@pytest.fixture(scope="module")
def straight() -> RoadMap:
    return generate_map("straight", seed=0, crossings=2, variation=0.0)


def on_lanes(road_map: RoadMap, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points (P, 3) anywhere across the lanes, one per centreline point, and (P,) their lanes."""
    borders = [lane_borders(road_map, lane) for lane in range(road_map.lanes)]
    left = np.concatenate([a for a, _ in borders])
    right = np.concatenate([b for _, b in borders])
    share = np.random.default_rng(seed).random((len(left), 1))
    lane = np.repeat(np.arange(road_map.lanes), np.diff(road_map.point_start))
    return right + share * (left - right), lane


def inside(mesh: Mesh, seed: int = 0) -> np.ndarray:
    """(T, 6, 3): corners, the middle of the longest side's triangle, and random points of each."""
    weight = np.random.default_rng(seed).dirichlet([1.0, 1.0, 1.0], (mesh.triangles, 6))
    weight[:, :3] = np.eye(3)
    weight[:, 3] = 1.0 / 3.0
    return np.einsum("tkc,tcd->tkd", weight, mesh.corners)


def carriageway(mesh: Mesh) -> Sheets:
    """The asphalt of a road mesh."""
    return Sheets(mesh.corners[(mesh.surface == Surface.ASPHALT) & (mesh.normals[:, 2] > 0.5)])


def test_land_is_below_every_lane_and_seldom_far(built: Built) -> None:
    gap = built.points[:, 2] - built.terrain.height(built.points[:, :2])
    assert gap.min() > 0.1
    assert np.quantile(gap, 0.9) < 0.3


def test_land_does_not_poke_through_anything_paved(built: Built) -> None:
    middle = Paving.of(built.map).tops.triangles.mean(1)
    assert (middle[:, 2] - built.terrain.height(middle[:, :2])).min() > 0.08


def test_land_mesh_is_what_height_says(built: Built) -> None:
    points = inside(built.terrain.mesh(seed=3))[::7].reshape(-1, 3)
    np.testing.assert_allclose(built.terrain.height(points[:, :2]), points[:, 2], atol=1e-9)


def test_land_under_a_bridge_follows_the_lower_road(built: Built) -> None:
    deck = Sheets(built.roads.corners[built.roads.semantic == SemanticClass.BRIDGE])
    point, _, z = Paving.of(built.map).tops.under(built.points[:, :2])
    upper = np.unique(point[z < built.points[point, 2] - 4.0])  # a road 4 m and more below these
    if not len(upper):
        assert not len(deck.triangles)
        return
    assert len(upper) > 500
    drop = built.points[upper, 2] - built.terrain.height(built.points[upper, :2])
    assert drop.min() > 4.0
    # the underside of the deck leaves room for lorries
    travel = built.points[built.map.is_travel[built.lane]]
    point, _, z = deck.under(travel[:, :2])
    above = z - travel[point, 2]
    assert above.max() > 4.0
    assert not np.any((above > 0.3) & (above < 4.0))


def test_nothing_stands_on_travel_lanes(built: Built) -> None:
    points = built.points[built.map.is_travel[built.lane]]
    over = Sheets(built.roads.corners).top(points, 0.2, 3.5) - points[:, 2]
    # where lanes overlap in junctions, some of the towns' differ by decimetres
    assert np.quantile(over, 0.99) < 0.06
    assert over.max() < 0.6


def test_clearance_is_the_distance_to_the_lanes() -> None:
    import shapely

    road_map = named("four_way")
    area = drivable_polygons(road_map, list(LaneKind), gap=0.1)
    low, high = road_map.point_xyz[:, :2].min(0) - 40.0, road_map.point_xyz[:, :2].max(0) + 40.0
    xy = low + np.random.default_rng(0).random((2000, 2)) * (high - low)
    points = shapely.points(xy)
    within = shapely.contains(area, points)
    exact = np.where(within, -1.0, 1.0) * shapely.distance(points, area.boundary)
    error = Terrain.of(road_map).clearance(xy) - exact
    assert abs(np.median(error[~within])) < 0.05
    assert np.abs(error[~within]).max() < 0.5
    # beyond the map it goes on growing
    far = Terrain.of(road_map).clearance(np.array([[high[0] + 1000.0, 0.0]]))
    assert far[0] > 900.0


def test_roads_have_no_cracks(built: Built) -> None:
    """Across every lane, and along every border between two, there is road or pavement."""
    borders = [lane_borders(built.map, lane) for lane in range(built.map.lanes)]
    edges = np.concatenate([np.concatenate(pair) for pair in borders])[::3]
    edges[:, :2] += np.random.default_rng(0).uniform(-0.01, 0.01, (len(edges), 2))
    edges = edges[built.terrain.clearance(edges[:, :2]) < -0.6]  # outer ones are verges or walls
    assert len(edges) > 100
    assert np.isfinite(built.up.top(edges, 0.05, STEP + 0.3)).all()
    assert np.isfinite(built.up.top(built.points, 0.06, STEP + 0.3)).all()


def test_pavements_stand_a_kerb_above_the_road() -> None:
    road_map = named("four_way")
    points, lane = on_lanes(road_map)
    walk = np.isin(road_map.lane_kind[lane], RAISED)
    top = Paving.of(road_map).tops.top(points, 0.05, 0.5) - points[:, 2]
    np.testing.assert_allclose(top[walk], STEP, atol=0.02)
    assert np.mean(np.abs(top[~walk]) < 0.02) > 0.98  # kerbs reach LAP over the road
    mesh = road_meshes(road_map, np.random.default_rng(0))
    face = mesh.corners[(mesh.surface == Surface.KERB) & mesh.detail]
    assert len(face)
    assert np.ptp(face[..., 2], axis=1).max() < 0.2


def test_marks_lie_on_the_road_and_never_under_it(built: Built) -> None:
    marks = built.marks
    assert np.all(marks.normals[:, 2] > 0.5)
    assert marks.detail.all()
    assert np.all(marks.semantic == SemanticClass.ROAD_LINE)
    points = inside(marks).reshape(-1, 3)
    top = carriageway(built.roads).top(points, 0.5, 0.5)
    on_road = top > -np.inf
    assert on_road.mean() > 0.99
    lift = points[on_road, 2] - top[on_road]
    assert lift.min() > 0.005
    assert np.quantile(lift, 0.99) < LIFT + 0.015


def test_triangles_are_short_and_few(built: Built) -> None:
    for mesh in (built.roads, built.marks):
        sides = np.linalg.norm(mesh.corners - np.roll(mesh.corners, 1, axis=1), axis=2)
        assert np.isfinite(sides).all()
        assert sides[mesh.normals[:, 2] > 0.5].max() < 13.0
    assert built.roads.triangles + built.marks.triangles < 90_000


def test_same_map_same_bytes() -> None:
    first, second = (generate_map("roundabout", seed=4, cache=False) for _ in range(2))
    assert Terrain.of(first) is Terrain.of(first)
    for make in (
        lambda m: Terrain.of(m).mesh(seed=5),
        lambda m: road_meshes(m, np.random.default_rng(5)),
        marking_meshes,
    ):
        a, b = make(first), make(second)
        for field in dataclasses.fields(Mesh):
            assert getattr(a, field.name).tobytes() == getattr(b, field.name).tobytes()
    other = road_meshes(first, np.random.default_rng(6))
    assert not np.array_equal(other.colour, road_meshes(first, np.random.default_rng(5)).colour)


def test_paint_covers_what_it_should(straight: RoadMap) -> None:
    marks = marking_meshes(straight)
    a, b, c = np.moveaxis(marks.corners, 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2.0
    wide = np.linalg.norm(marks.corners - np.roll(marks.corners, 1, axis=1), axis=2).min(1) > 0.4
    # of a crosswalk half is painted, and as much is left out as the bars leave at the ends
    start = straight.crosswalk_start
    crossings = 0.0
    for first, end in zip(start[:-1].tolist(), start[1:].tolist(), strict=True):
        x, y = straight.crosswalk_xyz[first:end, :2].T
        crossings += abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2.0
    assert 0.4 < area[wide].sum() / crossings < 0.6
    # a broken line is painted for DASH[0] of every sum(DASH) metres
    lines = 0.0
    for k in range(len(straight.mark_kind)):
        kind, rows = straight.mark_kind[k], slice(*straight.mark_start[k : k + 2].tolist())
        length = np.linalg.norm(np.diff(straight.mark_xyz[rows], axis=0), axis=1).sum()
        share = {MarkKind.SOLID: 1.0, MarkKind.BROKEN: DASH[0] / sum(DASH)}.get(kind, 0.0)
        lines += share * length * straight.mark_width[k]
    assert lines > 1.0
    assert area[~wide].sum() == pytest.approx(lines, rel=0.03)


def test_thinning_keeps_straights_short_and_bends_true() -> None:
    line = np.column_stack([np.arange(81) * 0.5, np.zeros(81), np.zeros(81)])
    angle = np.linspace(0.0, np.pi, 200)
    bend = 20.0 * np.column_stack([np.cos(angle), np.sin(angle), np.zeros(200)])
    bend[:, 2] = 0.3 * np.sin(4.0 * angle)
    points = np.concatenate([line, bend])
    keep = thinned(points[:, None], np.array([0, 81, 281]), 0.02, 10.0)
    assert np.flatnonzero(keep[:81]).tolist() == [0, 20, 40, 60, 80]
    kept = bend[keep[81:]]
    assert len(kept) < 60
    steps = np.linspace(0.0, 1.0, 50)[:, None]
    chords = np.concatenate([a + steps * (b - a) for a, b in pairwise(kept)])
    assert np.abs(np.hypot(chords[:, 0], chords[:, 1]) - 20.0).max() < 0.022


def test_a_map_without_lanes_is_refused(straight: RoadMap) -> None:
    empty = dataclasses.replace(straight, lane_number=np.zeros(0, np.int32))
    with pytest.raises(RoadloopError, match="has no lanes"):
        Terrain.of(empty)
    with pytest.raises(RoadloopError, match="has no lanes"):
        road_meshes(empty, np.random.default_rng(0))


def test_arrows_point_where_lanes_lead() -> None:
    road_map = generate_map("four_way", seed=0, lanes=2, variation=0.0)
    arrows = turn_arrows(road_map)
    assert len(arrows)
    up = np.cross(arrows[:, 1] - arrows[:, 0], arrows[:, 2] - arrows[:, 0])[:, 2]
    assert np.all(up > 0.0)
    # every arrow stays on lanes that part, and none is painted where all go straight on
    point, _, _ = Paving.of(road_map).flush.under(arrows[..., :2].reshape(-1, 2))
    assert len(np.unique(point)) == 4 * len(arrows)
    assert not len(turn_arrows(generate_map("four_way", seed=0, lanes=1)))


def test_a_map_without_marks_has_none():
    road_map = build_scenario("lane_following", seed=0).road_map
    bare = dataclasses.replace(
        road_map,
        mark_start=np.zeros(1, np.int32),
        mark_xyz=np.zeros((0, 3)),
        mark_kind=np.zeros(0, np.uint8),
        mark_colour=np.zeros(0, np.uint8),
        mark_width=np.zeros(0),
    )
    assert marking_meshes(road_map).triangles > 0
    assert marking_meshes(bare).triangles == 0
