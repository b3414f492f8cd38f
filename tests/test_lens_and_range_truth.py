"""Lenses against OpenCV, LiDAR ranges against Intel's Embree: two sources of truth from outside."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from roadloop.camera import BrownConrady, Fisheye, Pinhole
from roadloop.geometry import rotation_from_euler, se3, transform_points
from roadloop.maps.cache import load_map
from sim.actors.appearance import frame_of
from sim.actors.models import MODELS
from sim.render.frame import Frame
from sim.render.scene import DETAIL_FAR, Scene, scene_of
from sim.render.sweep import Beams, sweep
from sim.scenarios import build_scenario
from sim.scenery.mesh import Surface
from sim.sensors.lidar import cast_sweep
from sim.simulator import Simulator

Array = np.ndarray

TOWNS = Path(__file__).resolve().parents[2] / "shared" / "data" / "carla_maps"


# --- lenses -------------------------------------------------------------------------------------


def lens(model: str, distortion: tuple[float, ...]) -> Pinhole:
    size = (1920, 1280, 1050.0, 1041.0, 973.4, 630.9)
    if model == "fisheye":
        return Fisheye(1920, 1280, 690.0, 683.0, 950.2, 645.7, *distortion)
    return BrownConrady(*size, *distortion) if distortion else Pinhole(*size)


@pytest.mark.parametrize(
    ("model", "distortion"),
    [
        ("brown-conrady", ()),
        ("brown-conrady", (-0.21, 0.07, 1e-3, -7e-4, -0.01)),
        ("brown-conrady", (0.6, 0.1, -2e-4, 3e-4, 0.004, 0.95, 0.24, 0.02)),
        ("fisheye", (0.08, -0.03, 0.01, -0.002)),
    ],
    ids=["pinhole", "5 coefficients", "8 coefficients", "fisheye"],
)
def test_lenses_are_those_of_opencv_up_to_the_edge(model, distortion):
    camera = lens(model, distortion)
    rng = np.random.default_rng(0)
    # a third of the points within 2 px of the picture's edge, where lenses bend most
    uv = rng.uniform((-0.5, -0.5), (camera.width - 0.51, camera.height - 0.51), (6000, 2))
    edge = rng.integers(0, 4, 2000)
    aside = rng.uniform(-0.5, 1.5, 2000)
    uv[:2000, 0] = np.where(edge == 0, aside, uv[:2000, 0])
    uv[:2000, 0] = np.where(edge == 1, camera.width - 1.0 - aside, uv[:2000, 0])
    uv[:2000, 1] = np.where(edge == 2, aside, uv[:2000, 1])
    uv[:2000, 1] = np.where(edge == 3, camera.height - 1.0 - aside, uv[:2000, 1])
    rays, seen = camera.unproject(uv)
    assert seen.mean() > 0.99  # all but a fisheye's far corners
    uv, rays = uv[seen], rays[seen]
    points = rays * rng.uniform(0.3, 200.0, (len(rays), 1))
    back, inside = camera.project(points)
    assert inside.mean() > 0.999  # but for rounding on the edge itself
    np.testing.assert_allclose(back, uv, atol=1e-6)
    front = points[:, 2] > 0.02  # OpenCV's fisheye sees to 90 degrees
    none, coefficients = np.zeros(3), np.array(distortion, np.float64)
    project = cv2.fisheye.projectPoints if model == "fisheye" else cv2.projectPoints
    theirs, _ = project(points[front][:, None], none, none, camera.matrix, coefficients)
    assert np.abs(theirs.reshape(-1, 2) - uv[front]).max() <= 1e-3
    assert front.mean() > 0.8


# --- ranges -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Soup:
    """Triangles of a world with what decides whether a ray stops at them."""

    corners: Array
    """(T, 3, 3) float64, world frame"""
    closed: Array
    """(T,) bool: of a closed body, whose back faces do not count"""
    detail: Array
    """(T,) bool: not seen beyond DETAIL_FAR"""


def soup_of(scene: Scene, frame: Frame, world: int = 0) -> Soup:
    """The static triangles and those of all actors but the ego."""
    corners, surface = [scene.mesh.corners + scene.origin], [scene.mesh.surface]
    detail = [scene.mesh.detail]
    actors = frame.actors
    for row in np.flatnonzero(actors.model[world] >= 0):
        if row == 0:
            continue
        mesh = MODELS[actors.model[world, row]].mesh
        scaled = mesh.corners * actors.scale[world, row].astype(np.float64)
        corners.append(transform_points(actors.world_from_actor[world, row], scaled))
        surface.append(mesh.surface)
        detail.append(mesh.detail)
    material = np.concatenate(surface)
    buildings = np.isin(material, (Surface.WALL, Surface.WINDOW, Surface.ROOF))
    return Soup(np.concatenate(corners), buildings | (material >= Surface.PAINT),
                np.concatenate(detail))  # fmt: skip


def embree_ranges(soup: Soup, origin: Array, directions: Array, far: float) -> Array:
    """(rays,) m to the first surface that counts, inf beyond ``far``; by Intel's Embree."""
    rtcore_scene = pytest.importorskip("embreex.rtcore_scene")
    construction = pytest.importorskip("embreex.mesh_construction")
    near = np.abs(soup.corners - origin).min(axis=1).max(axis=1) <= far
    rows = np.flatnonzero(near)
    local = (soup.corners[rows] - origin).astype(np.float32)
    scene = rtcore_scene.EmbreeScene()
    construction.TriangleMesh(scene, np.ascontiguousarray(local))
    normal = np.cross(local[:, 1] - local[:, 0], local[:, 2] - local[:, 0]).astype(np.float64)
    start = np.full(len(directions), 0.1)
    found = np.full(len(directions), np.inf)
    waiting = np.arange(len(directions))
    while len(waiting):
        ray = directions[waiting].astype(np.float32)
        hit = scene.run(ray * start[waiting, None].astype(np.float32), ray, output=True)
        met = hit["primID"] >= 0
        waiting, face = waiting[met], hit["primID"][met]
        at = start[waiting] + hit["tfar"][met]
        back = (normal[face] * directions[waiting]).sum(axis=1) > 0.0
        counts = ~(soup.closed[rows[face]] & back)
        counts &= ~(soup.detail[rows[face]] & (at > DETAIL_FAR))
        stop = counts | (at > far)
        found[waiting[stop]] = np.where(at[stop] <= far, at[stop], np.inf)
        start[waiting] = at + 1e-4
        waiting = waiting[~stop]
    return found


@cache
def town(name: str) -> tuple[Scene, Frame]:
    """A scene and a moment of it with 40 vehicles on the road."""
    road_map = None
    if name != "generated":
        if not (TOWNS / name).is_file():
            pytest.skip(f"{name} is not on this machine")
        road_map = load_map(TOWNS / name)
    family = "dense_town" if road_map is None else "random_route"
    scenario = build_scenario(family, seed=1, road_map=road_map, agents=40)
    return scene_of(scenario.road_map), frame_of(Simulator().reset([scenario]))


@pytest.mark.parametrize("name", ["generated", "Town10HD.xodr.gz"])
def test_lidar_ranges_are_those_of_embree(name):
    scene, frame = town(name)
    soup = soup_of(scene, frame)
    far = 160.0  # beyond where small things end
    beams = Beams(np.radians(np.linspace(-25.0, 15.0, 20)), np.linspace(-0.01, 0.01, 20),
                  -np.pi, 2.0 * np.pi / 500, 500)  # fmt: skip
    mount = se3(rotation_from_euler(0.03, -0.05, 0.4), np.array([0.2, 0.1, 1.9]))
    there = np.flatnonzero(frame.actors.model[0] >= 0)
    for row in (0, int(there[len(there) // 2])):
        pose = frame.actors.world_from_actor[0, row] @ mount
        directions = (beams.directions @ pose[:3, :3].T).reshape(-1, 3)
        truth = embree_ranges(soup, pose[:3, 3], directions, far)
        assert 0.3 < np.isfinite(truth).mean() < 0.999
        for see in (cast_sweep, sweep):
            got = see(scene, frame, 0, pose, beams, far=far).distance.reshape(-1)
            close = np.isinf(truth) & np.isinf(got)
            both = np.isfinite(truth) & np.isfinite(got)
            close[both] = np.abs(truth[both] - got[both]) <= 1e-3
            assert close.mean() >= 0.999, (see.__name__, row, close.mean())
