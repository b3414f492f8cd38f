"""What stands beside the roads: signals, buildings, plants, street furniture."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import shapely
from scipy.spatial import KDTree

from roadloop.maps.area import lane_polygon
from roadloop.maps.cache import load_map
from roadloop.maps.generate import generate_map
from roadloop.maps.road_map import LaneKind, RoadMap, SignalKind
from roadloop.semantics import SemanticClass
from sim.scenery.buildings import building_meshes, building_plots
from sim.scenery.mesh import Mesh, Surface, mesh_of, picked
from sim.scenery.objects import object_meshes
from sim.scenery.sign_faces import limit_text, sign_face
from sim.scenery.signals import signal_meshes, stop_points
from sim.scenery.site import Site, spaced, used_by_vehicles
from sim.scenery.stamp import stamped
from sim.scenery.terrain import Terrain

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
GENERATED = {
    "lights": ("four_way", {"control": "lights"}),
    "stop": ("four_way", {"control": "stop"}),
    "straight": ("straight", {"crossings": 2}),
    "merge": ("merge", {}),
}
REAL = {
    "Town03": "carla_maps/Town03.xodr.gz",
    "Town04": "carla_maps/Town04.xodr.gz",
    "Town10HD": "carla_maps/Town10HD.xodr.gz",
    "esmini": "esmini/xodr/multi_intersections.xodr",
    "left": "esmini/xodr/e6mini-lht.xodr",
}
MAPS = [*GENERATED, "Town10HD", "esmini", "left"]
LIT = ["lights", "Town10HD", "esmini"]


@lru_cache
def world(name: str) -> tuple[RoadMap, Terrain, Mesh]:
    """A map, its land and the objects of seed 0."""
    if name in GENERATED:
        family, parameters = GENERATED[name]
        road_map = generate_map(family, seed=3, **parameters)
    else:
        path = DATA / REAL[name]
        if not path.exists():
            pytest.skip(f"{REAL[name]} is not here")
        road_map = load_map(path)
    terrain = Terrain.of(road_map)
    return road_map, terrain, object_meshes(road_map, terrain, np.random.default_rng(0))


def low_corners(terrain: Terrain, mesh: Mesh, below: float) -> np.ndarray:
    """(n, 3) corners less than ``below`` m over the land."""
    corners = mesh.corners.reshape(-1, 3)
    return corners[corners[:, 2] - terrain.height(corners[:, :2]) < below]


def near_lanes(
    road_map: RoadMap, lanes: np.ndarray, points: np.ndarray, reach: float
) -> np.ndarray:
    """Those of ``points`` (n, 2) that are within ``reach`` m of the ground of ``lanes``."""
    grounds = [lane_polygon(road_map, k) for k in np.flatnonzero(lanes).tolist()]
    tree = shapely.STRtree(shapely.simplify(np.array(grounds), 0.02))
    found = tree.query(shapely.points(points), predicate="dwithin", distance=reach)
    return points[np.unique(found[0])]


@pytest.mark.parametrize("name", [*MAPS, "Town03"])
def test_nothing_near_lanes_vehicles_use(name: str) -> None:
    road_map, terrain, mesh = world(name)
    points = low_corners(terrain, mesh, 4.0)[:, :2]
    points = np.unique(points[terrain.clearance(points) < 1.5].round(2), axis=0)
    near = near_lanes(road_map, used_by_vehicles(road_map), points, 0.35)
    assert len(near) == 0, near[:5]


@pytest.mark.parametrize("name", MAPS)
def test_crosswalks_and_the_inner_two_thirds_of_pavements_are_free(name: str) -> None:
    road_map, terrain, mesh = world(name)
    signal_triangles = signal_meshes(road_map, terrain).triangles  # lights stand where maps say
    rest = picked(mesh, np.arange(signal_triangles, mesh.triangles))
    points = low_corners(terrain, rest, 2.0)[:, :2]
    points = points[terrain.clearance(points) < -0.3]
    edges = Site.of(road_map, terrain).edges
    if len(points):
        inside, station = KDTree(edges.xyz[:, :2]).query(points)  # stations are 1 m apart
        assert (inside < np.hypot(edges.pavement[station] / 3.0, 0.6)).all()
    start = road_map.crosswalk_start
    for low, high in pairwise(start):
        zebra = shapely.Polygon(road_map.crosswalk_xyz[low:high, :2])
        assert not shapely.contains_xy(zebra, *points.T).any()


@pytest.mark.parametrize("name", ["lights", "Town10HD", "esmini"])
def test_walls_keep_off_all_lanes_and_plots_do_not_overlap(name: str) -> None:
    road_map, terrain, mesh = world(name)
    walls = mesh.corners[(mesh.surface == Surface.WALL) & (mesh.semantic == SemanticClass.BUILDING)]
    points = walls.reshape(-1, 3)[:, :2]
    assert len(points) > 500
    near = points[terrain.clearance(points) < 4.0]
    every = np.ones(road_map.lanes, bool)
    assert len(near_lanes(road_map, every, np.unique(near.round(2), axis=0), 2.0)) == 0
    plots = building_plots(road_map, terrain, np.random.default_rng(5))
    rings = shapely.polygons(np.array([plot.corners for plot in plots]))
    assert shapely.is_ccw(shapely.get_exterior_ring(rings)).all()
    assert shapely.union_all(rings).area > shapely.area(rings).sum() - 0.02 * len(plots)


@pytest.mark.parametrize("name", MAPS)
def test_every_signal_is_built_and_looks_at_its_traffic(name: str) -> None:
    road_map, terrain, _ = world(name)
    mesh = signal_meshes(road_map, terrain)
    demanding = np.flatnonzero(road_map.signal_kind != SignalKind.OTHER)
    assert set(-(1 + demanding)) <= set(mesh.instance.tolist())
    lights = road_map.signal_kind == SignalKind.TRAFFIC_LIGHT
    faces = np.isin(mesh.surface, (Surface.LAMP_RED, Surface.LAMP_GREEN, Surface.SIGN_FACE))
    signal = -1 - mesh.instance[faces]
    if len(signal) == 0:
        return
    heading = road_map.signal_heading[signal]
    ahead = np.stack([np.cos(heading), np.sin(heading), 0.0 * heading], axis=1)
    assert np.sum(mesh.normals[faces] * ahead, axis=1).max() < -0.999
    is_light = lights[signal]
    assert (mesh.semantic[faces] == np.where(is_light, 7, 8)).all()


@pytest.mark.parametrize("name", LIT)
def test_lamps_are_over_the_road_and_each_colour_is_there(name: str) -> None:
    road_map, terrain, _ = world(name)
    mesh = signal_meshes(road_map, terrain)
    for signal in np.flatnonzero(road_map.signal_kind == SignalKind.TRAFFIC_LIGHT).tolist():
        own = picked(mesh, mesh.instance == -(1 + signal))
        middles = []
        for surface in (Surface.LAMP_RED, Surface.LAMP_YELLOW, Surface.LAMP_GREEN):
            lamp = own.corners[own.surface == surface].reshape(-1, 6, 3, 3)  # one octagon each
            extent = np.ptp(lamp.reshape(len(lamp), -1, 3), axis=1)
            assert np.allclose(np.hypot(extent[:, 0], extent[:, 1]), 0.277, atol=0.03)
            middles.append(lamp.mean(axis=(1, 2)))
        red, yellow, green = middles
        assert (red[:, 2] > yellow[:, 2]).all() and (yellow[:, 2] > green[:, 2]).all()
        road = stop_points(road_map, signal)[:, 2].mean()
        assert green[:, 2].min() > road + 2.2 and red[:, 2].max() < road + 6.5


@pytest.mark.parametrize("name", LIT)
def test_who_waits_at_the_line_sees_a_lamp(name: str) -> None:
    road_map, _, mesh = world(name)
    yellow = mesh.surface == Surface.LAMP_YELLOW
    sharp = 0
    total = 0
    # every third light is enough to look at
    for signal in np.flatnonzero(road_map.signal_kind == SignalKind.TRAFFIC_LIGHT)[::3].tolist():
        lamps = mesh.corners[yellow & (mesh.instance == -(1 + signal))]
        lamps = lamps.reshape(-1, 6, 3, 3).mean(axis=(1, 2))
        heading = road_map.signal_heading[signal]
        ahead = np.array([np.cos(heading), np.sin(heading), 0.0])
        for stop in stop_points(road_map, signal)[::2]:
            eye = stop - 2.5 * ahead + np.array([0.0, 0.0, 1.4])
            sight = lamps - eye
            angle = np.arccos(sight @ ahead / np.linalg.norm(sight, axis=1))
            total += 1
            sharp += any(
                a < np.radians(45.0) and not hidden(mesh, eye, lamp - 0.05 * ahead)
                for a, lamp in zip(angle, lamps, strict=True)
            )
    assert sharp >= 0.97 * total, f"{total - sharp} of {total} see none"


def hidden(mesh: Mesh, eye: np.ndarray, to: np.ndarray) -> bool:
    """Whether a triangle stands between two points (Moeller-Trumbore)."""
    low, high = np.minimum(eye, to), np.maximum(eye, to)
    c = mesh.corners
    c = c[((c.min(1) <= high) & (c.max(1) >= low)).all(1)]
    d, a, e, f = to - eye, c[:, 0], c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]
    h = np.cross(d, f)
    det = np.sum(e * h, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        u = np.sum((eye - a) * h, 1) / det
        q = np.cross(eye - a, e)
        v, t = q @ d / det, np.sum(f * q, 1) / det
        return bool(((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 1e-3) & (t < 0.999)).any())


@pytest.mark.parametrize("name", ["lights", "Town10HD"])
def test_the_same_seed_gives_the_same_bytes_another_one_another_town(name: str) -> None:
    road_map, terrain, mesh = world(name)
    again = object_meshes(road_map, Terrain.of(road_map), np.random.default_rng(0))
    for f in dataclasses.fields(Mesh):
        assert getattr(mesh, f.name).tobytes() == getattr(again, f.name).tobytes()
    other = object_meshes(road_map, terrain, np.random.default_rng(1))
    assert other.corners.tobytes() != mesh.corners.tobytes()
    n = signal_meshes(road_map, terrain).triangles
    assert other.corners[:n].tobytes() == mesh.corners[:n].tobytes()  # signals know no chance


@pytest.mark.parametrize(
    ("name", "most"), [("Town10HD", 45_000), ("Town04", 120_000), ("lights", 30_000)]
)
def test_triangles_are_few_and_sound(name: str, most: int) -> None:
    road_map, terrain, mesh = world(name)
    assert 5_000 < mesh.triangles < most
    assert np.isfinite(mesh.corners).all()
    assert (mesh.colour >= 0.0).all() and (mesh.colour <= 1.0).all()
    assert (mesh.normals != 0.0).any(axis=1).all()  # none without area
    assert (mesh.slot == -1).all()
    assert (mesh.instance <= 0).all()
    assert (mesh.semantic[mesh.instance < 0] >= 7).all()
    # nothing hangs in the air: every object's parts begin near or below the land
    poles = mesh.semantic == SemanticClass.POLE
    assert (
        np.quantile(mesh.corners[poles, :, 2].min(1), 0.05)
        < terrain.height(road_map.point_xyz[:, :2]).max()
    )


def test_towns_are_built_up_and_motorways_are_not() -> None:
    count = {}
    for name in ("lights", "merge"):
        road_map, terrain, mesh = world(name)
        houses = building_plots(road_map, terrain, np.random.default_rng(0))
        kilometres = road_map.lane_length[road_map.is_travel].sum() / 1000.0
        count[name] = len(houses) / kilometres
        assert {SemanticClass.VEGETATION, SemanticClass.POLE} <= set(mesh.semantic.tolist())
        assert (mesh.surface == Surface.STREET_LAMP).any() or name == "merge"
    assert count["lights"] > 10.0 * count["merge"]


def test_a_map_without_signals_has_none() -> None:
    road_map, terrain, mesh = world("straight")
    assert signal_meshes(road_map, terrain).triangles == 0
    assert (mesh.instance == 0).all()
    assert (mesh.semantic == SemanticClass.BUILDING).any()


def test_a_light_in_the_middle_of_a_lane_gets_its_pole_beside_it_and_an_arm() -> None:
    road_map, terrain, _ = world("lights")
    stop = stop_points(road_map, 0)[0]
    xyz = road_map.signal_xyz.copy()
    ahead = np.array([np.cos(road_map.signal_heading[0]), np.sin(road_map.signal_heading[0])])
    xyz[0] = [*(stop[:2] - 3.0 * ahead), 0.0]
    moved = dataclasses.replace(road_map, signal_xyz=xyz)
    mesh = signal_meshes(moved, terrain)
    own = mesh.corners[mesh.instance == -1].reshape(-1, 3)
    over = own[np.hypot(*(own[:, :2] - xyz[0, :2]).T) < 1.0]
    assert len(over) and over[:, 2].min() > 4.5  # a head hangs where the map has it
    poles = low_corners(terrain, picked(mesh, mesh.semantic == SemanticClass.POLE), 2.0)
    assert len(near_lanes(road_map, used_by_vehicles(road_map), poles[:, :2], 0.5)) == 0


def test_buildings_leave_out_what_stands_already() -> None:
    road_map, terrain, _ = world("lights")
    plot = building_plots(road_map, terrain, np.random.default_rng(0))[0]
    middle = np.append(plot.corners.mean(axis=0), 0.0)
    post = mesh_of(
        middle + np.array([[[0, 0, 0], [0.2, 0, 0], [0, 0, 2.0]]]), (0, 0, 0), Surface.METAL, 6
    )
    beside = building_plots(road_map, terrain, np.random.default_rng(0), post)
    ground = shapely.union_all(shapely.polygons(np.array([p.corners for p in beside])))
    assert ground.distance(shapely.Point(middle)) > 0.5
    assert building_meshes(road_map, terrain, np.random.default_rng(0), post).triangles > 0


def test_stamped_turns_scales_and_tints() -> None:
    sheet = mesh_of(np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 1]]]), (0.5, 0.2, 0.1), Surface.WOOD, 9)
    mesh = stamped(
        sheet,
        np.array([[10.0, 0, 0], [0, 5.0, 1.0]]),
        np.array([0.0, np.pi / 2]),
        np.array([[2.0, 1.0, 1.0], [1.0, 1.0, 3.0]]),
        np.array([[1.0, 1.0, 1.0], [4.0, 1.0, 1.0]]),
        np.array([-1, -2]),
    )
    assert np.allclose(mesh.corners[0], [[10, 0, 0], [12, 0, 0], [10, 1, 1]])
    assert np.allclose(mesh.corners[1], [[0, 5, 1], [0, 6, 1], [-1, 5, 4]])
    assert np.allclose(mesh.colour, [[0.5, 0.2, 0.1], [1.0, 0.2, 0.1]])
    assert mesh.instance.tolist() == [-1, -2]


def test_spaced_keeps_a_maximal_set() -> None:
    xy = np.random.default_rng(2).uniform(0.0, 30.0, (400, 2))
    kept = spaced(xy, 3.0)
    apart = np.hypot(*(xy[:, None] - xy[kept]).T).T
    np.fill_diagonal(apart[kept], np.inf)
    assert (apart[~kept].min(axis=1) < 3.0).all()  # whatever was left out was too near
    among = apart[kept] + np.diag(np.full(kept.sum(), np.inf))
    assert among.min() >= 3.0
    assert kept[0] and spaced(np.zeros((0, 2)), 3.0).shape == (0,)


def test_speed_limit_signs_say_what_drivers_know() -> None:
    assert limit_text(50 / 3.6) == "50"
    assert limit_text(8.33) == "30"
    assert limit_text(120 / 3.6) == "120"
    assert limit_text(30 * 0.44704) == "30"  # mph
    assert limit_text(47 / 3.6) == "47"


@pytest.mark.parametrize("kind", list(SignalKind)[1:])
def test_sign_faces_look_along_x_and_are_readable(kind: SignalKind) -> None:
    face = sign_face(kind, 50 / 3.6)
    shown = picked(face, face.surface == Surface.SIGN_FACE)
    assert (shown.normals[:, 0] > 0.999).all()
    size = np.ptp(face.corners.reshape(-1, 3), axis=0)
    assert 0.5 < size[1] < 1.0 and 0.5 < size[2] < 1.0
    red = (shown.colour[:, 0] > 4 * shown.colour[:, 2]).any()
    assert red == (kind != SignalKind.OTHER)


def test_the_edges_of_a_street_lie_on_its_pavements() -> None:
    road_map, terrain, _ = world("straight")
    site = Site.of(road_map, terrain)
    edges = site.edges
    assert np.allclose(edges.pavement, 2.0)
    assert np.abs(terrain.clearance(edges.xyz[:, :2])).max() < 0.5
    assert (terrain.clearance(edges.xyz[:, :2] + 2.0 * edges.outward) > 1.5).all()
    assert (road_map.lane_kind == LaneKind.SIDEWALK).sum() == len(np.unique(edges.chain))
    built, centre = site.urban(edges.xyz[:, :2])
    assert np.median(built) > 0.5 and centre.max() == 0.0


def test_a_stop_sign_reads_from_left_to_right():
    """Who looks at a face that looks along +x has +y on the right: P, the last letter, is there."""
    face = sign_face(SignalKind.STOP)
    white = (face.colour > 0.7).all(axis=1)
    middle = face.corners.mean(axis=1)
    text = white & (np.abs(middle[:, 1]) < 0.31) & (np.abs(middle[:, 2]) < 0.13)
    last = middle[text & (middle[:, 1] > 0.16)]
    # the letter P has its bowl above and only its stem below
    assert (last[:, 2] > 0.02).sum() > (last[:, 2] < -0.02).sum()
    assert last[last[:, 2] < -0.02][:, 1].max() < last[:, 1].max() - 0.03
