"""LiDAR: geometry against brute force, distortion by motion, noise, weather, determinism."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, rotation_from_euler, se3
from roadloop.rig import LidarSensor, Mount
from roadloop.semantics import SemanticClass
from roadloop.types import AgentKind
from roadloop.weather import Weather, named_weather
from sim.actors.models import MODELS
from sim.render import scene as scene_module
from sim.render.frame import Actors, Frame
from sim.render.scene import Scene
from sim.render.sweep import Beams, sweep
from sim.scenery.mesh import Mesh, Surface, box, joined, mesh_of, quads
from sim.scenery.scenery import Scenery
from sim.sensors.lidar import Lidar, between, cast_sweep, compensated
from sim.sensors.lidar_returns import echoes

Array = np.ndarray
CAR = next(k for k, model in enumerate(MODELS) if model.kind == AgentKind.CAR)
QUIET = LidarSensor("top", Mount(0.0, 0.0, 1.8), (-10.0, -2.0, 0.0, 3.0), range_noise=0.0)


@pytest.fixture
def scene_of_mesh(monkeypatch: pytest.MonkeyPatch):
    def build(mesh: Mesh) -> Scene:
        monkeypatch.setattr(
            scene_module, "scenery_of", lambda *_: Scenery(mesh=mesh, origin=np.zeros(3))
        )
        return Scene(None)  # type: ignore[arg-type]

    return build


def frame_of(poses: Array | None = None, weather: Weather | None = None) -> Frame:
    """Cars with ids 7, 8, ... at ``poses`` (n, 4, 4); row 0, the ego, is not there."""
    poses = np.concatenate([np.eye(4)[None], np.zeros((0, 4, 4)) if poses is None else poses])
    n = len(poses)
    model = np.full((1, n), CAR, np.int32)
    model[0, 0] = -1
    actors = Actors(
        id=np.concatenate([[0], 7 + np.arange(n - 1)])[None].astype(np.int32),
        model=model,
        world_from_actor=poses[None],
        previous_world_from_actor=poses[None],
        scale=np.ones((1, n, 3), np.float32),
        palette=np.ones((1, n, 4, 3), np.float32),
        lamps=np.zeros((1, n), np.uint8),
        velocity=np.zeros((1, n, 3), np.float32),
    )
    return Frame(
        actors=actors,
        lights=np.zeros((1, 0), np.uint8),
        weather=(weather or Weather(),),
        time=np.zeros(1),
    )


def wall(x: float, surface: Surface = Surface.ASPHALT, half: float = 60.0) -> Mesh:
    """An upright sheet across the x axis."""
    ring = [(x, -half, -half), (x, half, -half), (x, half, half), (x, -half, half)]
    return mesh_of(quads(np.array([ring])), (1, 1, 1), surface, SemanticClass.WALL)


def hall() -> Mesh:
    """Ground, four walls and a ceiling."""
    return mesh_of(box((-40, -30, 0), (40, 30, 12)), (1, 1, 1), Surface.ASPHALT, 3)


def room() -> Mesh:
    """A hall with some boxes."""
    rng = np.random.default_rng(3)
    parts = [hall()]
    for _ in range(30):
        x, y = rng.uniform(-35, 35), rng.uniform(4, 25) * rng.choice([-1, 1])
        size = rng.uniform(0.3, 3.0, 3)
        low = np.array([x, y, 0.0])
        parts.append(mesh_of(box(low, low + size), (1, 1, 1), Surface.CONCRETE, 4))
    return joined(parts)


def brute_force(corners: Array, directions: Array, far: float) -> Array:
    """Distances (n,) from the origin along (n, 3) directions to triangles (T, 3, 3)."""
    a, b, c = np.moveaxis(corners, 1, 0)
    det = np.einsum("ti,ti->t", a, np.cross(b - a, c - a))
    edges = np.stack([np.cross(a, b), np.cross(b, c), np.cross(c, a)], axis=1)
    sides = np.einsum("ni,tki->ntk", directions, edges) * np.sign(det)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = det / (directions @ np.cross(b - a, c - a).T)
    hit = (sides >= 0.0).all(-1) & (t > 0.1) & (t <= far)
    return np.where(hit, t, np.inf).min(axis=1)


def equal(a: Array, b: Array) -> Array:
    """Whether two distances agree within 1 mm, or both are inf."""
    with np.errstate(invalid="ignore"):
        return (a == b) | (np.abs(a - b) < 1e-3)


def soup(kind: str, rng: np.random.Generator) -> Array:
    n = 60
    middle = rng.normal(0, 1, (n, 1, 3)) * (8.0, 8.0, 4.0)
    size = rng.choice([0.2, 2.0, 8.0], n)[:, None, None]
    corners = middle + rng.normal(0, 1, (n, 3, 3)) * size
    if kind == "poles":  # around the sensor's axis
        corners[..., :2] -= corners[..., :2].mean(axis=1, keepdims=True)
        corners[..., 2] += 3.0 * np.sign(corners[..., 2])
    elif kind == "seam":  # behind, where the azimuth jumps
        corners[..., 0] = -np.abs(corners[..., 0]) - 1.0
        corners[..., 1] *= 0.3
    elif kind == "aligned":  # corners and edges exactly on beams and on the axis
        corners = np.round(corners)
    return corners.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("kind", ["plain", "poles", "seam", "aligned"])
def test_the_fast_sweep_meets_what_brute_force_meets(kind: str, scene_of_mesh) -> None:
    rng = np.random.default_rng(5)
    for offsets in (0.0, 0.1):
        corners = soup(kind, rng)
        scene = scene_of_mesh(mesh_of(corners, (1, 1, 1), Surface.ASPHALT, SemanticClass.ROAD))
        steep = 89.0 if kind == "poles" else 50.0
        elevation = np.deg2rad(rng.permutation(np.linspace(-steep, steep, 24)))
        offset = rng.uniform(-offsets, offsets, 24)
        beams = Beams(elevation, offset, -np.pi, 2 * np.pi / 360, 360)
        found = sweep(scene, frame_of(), 0, np.eye(4), beams, far=40.0).distance
        truth = brute_force(corners, beams.directions.reshape(-1, 3), 40.0).reshape(found.shape)
        assert np.isfinite(truth).mean() > 0.1
        # a beam exactly along an edge may meet it or not
        assert equal(found, truth).mean() >= (0.998 if kind == "aligned" else 0.999)


def test_part_of_a_turn_and_a_turned_sensor(scene_of_mesh) -> None:
    corners = soup("plain", np.random.default_rng(9))
    scene = scene_of_mesh(mesh_of(corners, (1, 1, 1), Surface.ASPHALT, SemanticClass.ROAD))
    pose = se3(rotation_from_euler(0.2, -0.4, 2.5), np.array([1.0, -0.5, 0.3]))
    beams = Beams(np.linspace(-0.5, 0.5, 20), np.zeros(20), 2.0, 0.01, 250)
    found = sweep(scene, frame_of(), 0, pose, beams, far=40.0).distance
    local = corners @ pose[:3, :3] + inverse(pose)[:3, 3]
    truth = brute_force(local, beams.directions.reshape(-1, 3), 40.0).reshape(found.shape)
    assert equal(found, truth).mean() >= 0.999


def test_a_wall_at_ten_metres(scene_of_mesh) -> None:
    swept = Lidar(QUIET).scan(
        scene_of_mesh(wall(10.0)), frame_of(), 0, np.eye(4), np.eye(4), np.random.default_rng(0)
    )
    assert len(swept.points) > 1000
    np.testing.assert_allclose(swept.points[:, 0], 10.0, atol=1e-4)
    ranges = np.linalg.norm(swept.points[:, :3] - (0, 0, 1.8), axis=1)
    elevation = np.arcsin((swept.points[:, 2] - 1.8) / ranges)
    np.testing.assert_allclose(elevation, np.deg2rad(QUIET.beams)[swept.ring], atol=1e-5)


def test_a_clockwise_head_turns_right(scene_of_mesh) -> None:
    scene = scene_of_mesh(room())
    for clockwise in (True, False):
        sensor = dataclasses.replace(QUIET, clockwise=clockwise)
        swept = Lidar(sensor).scan(
            scene, frame_of(), 0, np.eye(4), np.eye(4), np.random.default_rng(0)
        )
        azimuth = np.arctan2(swept.points[:, 1], swept.points[:, 0])
        turn = np.diff(np.unwrap(azimuth[swept.ring == 0]))
        assert (turn < 0).all() if clockwise else (turn > 0).all()
        assert (np.diff(swept.time_offset) >= 0).all()
        assert swept.time_offset[-1] == 0.0 and swept.time_offset[0] > -0.1


@pytest.mark.parametrize("exact", [False, True])
def test_motion_distorts_and_compensation_undoes_it(exact: bool, scene_of_mesh) -> None:
    scene = scene_of_mesh(hall())
    now = se3(rotation_from_euler(0.0, 0.0, 0.06), np.array([2.0, 0.2, 0.0]))
    before = se3(rotation_from_euler(0.0, 0.0, 0.0), np.zeros(3))  # 20 m/s and 0.6 rad/s
    sensor = dataclasses.replace(QUIET, mount=Mount(1.0, 0.2, 1.8, yaw=0.3), exact=exact)
    raw = Lidar(sensor).scan(scene, frame_of(), 0, now, before, np.random.default_rng(0))
    undone = compensated(raw, now, before, 0.1)

    def off_walls(points: Array) -> Array:
        """m from the ground, the ceiling or one of the four walls."""
        at = points[:, :3] @ now[:3, :3].T + now[:3, 3]
        planes = [at[:, 2], 12 - at[:, 2], 40 - at[:, 0], 40 + at[:, 0], 30 - at[:, 1]]
        return np.min(np.abs([*planes, 30 + at[:, 1]]), axis=0)

    far = np.linalg.norm(undone.points[:, :2], axis=1) > 29.0  # the walls
    assert far.sum() > 2000
    assert off_walls(undone.points).max() < 0.01
    assert np.median(off_walls(raw.points[far])) > 0.1


def test_fast_and_exact_agree_while_moving(scene_of_mesh) -> None:
    scene = scene_of_mesh(room())
    now = se3(rotation_from_euler(0.0, 0.01, 0.05), np.array([1.5, 0.1, 0.0]))
    beams = Beams(np.deg2rad(np.linspace(-25, 10, 16)), np.zeros(16), -np.pi, np.pi / 270, 540)
    mount = Mount(1.0, 0.0, 1.8, pitch=0.02).ego_from_sensor
    poses = between(np.eye(4), now, np.linspace(1.0, 0.0, 540)) @ mount
    fast = sweep(scene, frame_of(), 0, poses, beams, far=100.0)
    exact = cast_sweep(scene, frame_of(), 0, poses, beams, far=100.0)
    assert (
        equal(fast.distance, exact.distance).mean() > 0.98
    )  # the rest: edges of things, seen 0.1 m beside
    assert (fast.semantic == exact.semantic).mean() >= 0.999


@pytest.mark.parametrize("kind", ["plain", "poles", "seam", "aligned"])
def test_a_moving_sweep_meets_what_moving_rays_meet(kind: str, scene_of_mesh) -> None:
    corners = soup(kind, np.random.default_rng(8))
    scene = scene_of_mesh(mesh_of(corners, (1, 1, 1), Surface.ASPHALT, SemanticClass.ROAD))
    elevation = np.deg2rad(np.linspace(-60.0, 60.0, 24))
    beams = Beams(elevation, 0.05 * np.cos(np.arange(24)), -np.pi, np.pi / 180, 360)
    # 30 m/s and 1 rad/s, climbing
    end = se3(rotation_from_euler(0.0, 0.0, 0.1), np.array([2.5, -1.5, 0.2]))
    poses = between(np.eye(4), end, np.linspace(-0.5, 0.5, 360))
    fast = sweep(scene, frame_of(), 0, poses, beams, far=40.0).distance
    exact = cast_sweep(scene, frame_of(), 0, poses, beams, far=40.0).distance
    assert np.isfinite(exact).mean() > 0.1
    assert equal(fast, exact).mean() >= 0.999


def test_fast_and_exact_are_equal_at_rest(scene_of_mesh) -> None:
    scene = scene_of_mesh(room())
    cars = np.stack([se3(np.eye(3), np.array([8.0, y, 0.0])) for y in (-3.0, 3.0)])
    beams = Beams(np.deg2rad(np.linspace(-25, 10, 32)), np.zeros(32), -np.pi, np.pi / 270, 540)
    pose = Mount(1.0, 0.0, 1.8).ego_from_sensor
    fast = sweep(scene, frame_of(cars), 0, pose, beams, far=100.0)
    exact = cast_sweep(scene, frame_of(cars), 0, pose, beams, far=100.0)
    assert equal(fast.distance, exact.distance).mean() >= 0.999
    for name in ("semantic", "instance", "surface"):
        assert (getattr(fast, name) == getattr(exact, name)).mean() >= 0.999
    assert (np.abs(fast.cosine - exact.cosine) < 1e-3).mean() >= 0.999


def test_labels_name_the_agent_and_the_ego_is_not_seen(scene_of_mesh) -> None:
    scene = scene_of_mesh(wall(30.0))
    cars = np.stack([se3(np.eye(3), np.array([x, 0.0, 0.0])) for x in (0.0, 12.0)])
    frame = frame_of(cars)
    sensor = dataclasses.replace(QUIET, labels=True)
    swept = Lidar(sensor).scan(
        scene, frame, 0, np.eye(4), np.eye(4), np.random.default_rng(0), hide=1
    )
    assert set(np.unique(swept.instance)) == {0, 8}
    near = swept.points[swept.instance == 8]
    model = MODELS[CAR]
    assert (np.abs(near[:, 0] - 12.0) <= model.length / 2 + 1e-3).all()
    assert set(np.unique(swept.semantic[swept.instance == 8])) == {SemanticClass.CAR}


def test_noise_and_dropout_have_the_stated_size(scene_of_mesh) -> None:
    sensor = dataclasses.replace(QUIET, range_noise=0.03, dropout=0.1)
    scene = scene_of_mesh(wall(10.0))
    rng = np.random.default_rng(1)
    clean = Lidar(QUIET).scan(scene, frame_of(), 0, np.eye(4), np.eye(4), rng)
    noisy = Lidar(sensor).scan(scene, frame_of(), 0, np.eye(4), np.eye(4), rng)
    assert len(noisy.points) / len(clean.points) == pytest.approx(0.9, abs=0.03)
    r = np.linalg.norm(noisy.points[:, :3] - (0, 0, 1.8), axis=1)
    truth = 10.0 * r / noisy.points[:, 0]
    assert np.std(r - truth) == pytest.approx(0.03, rel=0.1)
    assert abs(np.mean(r - truth)) < 0.005


def returns(surface: Surface, distance: Array, weather: Weather, cosine: float = 1.0, **changes):
    """Echoes of 400 beams at each of ``distance`` (n,): valid (n,) share, intensity, air share."""
    sensor = dataclasses.replace(QUIET, **changes)
    shape = (len(distance), 400)
    back = echoes(
        np.broadcast_to(distance[:, None], shape).astype(np.float32),
        np.full(shape, surface, np.uint8),
        np.full(shape, cosine, np.float32),
        sensor,
        weather,
        np.random.default_rng(2),
    )
    return back


def reach(*args, **kwargs) -> float:
    """m up to where at least half of the beams come back."""
    distance = np.arange(5.0, 150.0, 1.0)
    back = returns(args[0], distance, *args[1:], **kwargs)
    return float(distance[(back.valid & ~back.air).mean(axis=1) > 0.5].max(initial=0.0))


def test_range_grows_with_the_root_of_reflectivity_and_incidence() -> None:
    clear = Weather(visibility=1e6)
    asphalt = reach(Surface.ASPHALT, clear)
    assert asphalt == pytest.approx(100.0 * np.sqrt(1.5), abs=4.0)
    assert reach(Surface.TYRE, clear) == pytest.approx(100.0 * np.sqrt(0.5), abs=2.0)
    plastic = reach(Surface.PLASTIC, clear)
    assert reach(Surface.PLASTIC, clear, 0.25) == pytest.approx(plastic / 2.0, abs=2.0)
    # roads answer at a slant, too: as far as a head 1.8 m above them sees them, 40 to 50 m
    seen = [r for r in range(10, 80) if reach(Surface.ASPHALT, clear, 1.8 / r) >= r]
    assert 40 <= max(seen) <= 55
    assert reach(Surface.SIGN_FACE, clear, 0.5) > 145.0
    assert reach(Surface.ASPHALT, clear, max_range=50.0) == pytest.approx(asphalt / 2, abs=2.0)


def test_weather_takes_range_and_adds_echoes_near_the_sensor() -> None:
    clear, rain, fog = (named_weather(name) for name in ("clear", "rain", "fog"))
    dense = Weather(visibility=40.0)
    ranges = [reach(Surface.CONCRETE, weather) for weather in (clear, rain, fog, dense)]
    assert ranges == sorted(ranges, reverse=True)
    assert ranges[2] < 0.5 * ranges[0] and ranges[3] < 0.6 * ranges[2]
    wet = Weather(wetness=1.0)
    assert reach(Surface.ASPHALT, wet) < 0.7 * reach(Surface.ASPHALT, clear)
    far = np.full(50, 60.0)
    shares = [returns(Surface.WALL, far, w).air.mean() for w in (clear, rain, fog, dense)]
    assert shares[0] == 0.0 and 0.0 < shares[1] < 0.01 < shares[2] < 0.1 < shares[3]
    drops = returns(Surface.WALL, far, dense)
    assert np.median(drops.distance[drops.air]) < 8.0
    assert drops.intensity[drops.air].max() < 0.1


def test_glass_seldom_answers_and_intensity_follows_reflectivity() -> None:
    near = np.full(20, 10.0)
    clear = Weather()
    assert returns(Surface.GLASS, near, clear).valid.mean() == pytest.approx(0.15, abs=0.02)
    bright = returns(Surface.SIGN_FACE, near, clear).intensity
    paint = returns(Surface.MARK, near, clear).intensity
    road = returns(Surface.ASPHALT, near, clear).intensity
    assert bright.min() == 1.0
    assert paint.mean() == pytest.approx(0.7, abs=0.05)
    assert road.mean() == pytest.approx(0.15, abs=0.02)
    slanted = returns(Surface.ASPHALT, near, clear, 0.2).intensity
    assert 0.03 < slanted.mean() < 0.06


def test_same_seed_same_bytes(scene_of_mesh) -> None:
    scene = scene_of_mesh(room())
    frame = frame_of(weather=named_weather("fog"))
    sensor = dataclasses.replace(QUIET, range_noise=0.02, dropout=0.05)
    now = se3(np.eye(3), np.array([1.0, 0.0, 0.0]))
    a, b, c = (
        Lidar(sensor).scan(scene, frame, 0, now, np.eye(4), np.random.default_rng(seed))
        for seed in (4, 4, 5)
    )
    assert a.points.tobytes() == b.points.tobytes()
    assert a.points.tobytes() != c.points.tobytes()


def test_degrees_and_radians_name_the_same_sensor(scene_of_mesh) -> None:
    scene = scene_of_mesh(room())
    turned = dataclasses.replace(
        QUIET,
        beams=tuple(np.deg2rad(QUIET.beams)),
        fov=(-np.pi, np.pi),
        beam_unit="rad",
    )
    a, b = (
        Lidar(sensor).scan(scene, frame_of(), 0, np.eye(4), np.eye(4), np.random.default_rng(0))
        for sensor in (QUIET, turned)
    )
    np.testing.assert_allclose(a.points, b.points, atol=1e-5)
    with pytest.raises(RoadloopError, match="rad"):
        dataclasses.replace(QUIET, beam_unit="rad")


def test_a_wrong_calibration_shows_in_the_points(scene_of_mesh) -> None:
    scene = scene_of_mesh(wall(10.0))
    true = QUIET.mount.ego_from_sensor @ se3(rotation_from_euler(0, 0, 0.02), np.zeros(3))
    swept = Lidar(QUIET, true).scan(
        scene, frame_of(), 0, np.eye(4), np.eye(4), np.random.default_rng(0)
    )
    slope = np.polyfit(swept.points[:, 1], swept.points[:, 0], 1)[0]
    assert slope == pytest.approx(np.tan(0.02), rel=0.01)


def test_poses_must_fit_the_beams(scene_of_mesh) -> None:
    beams = Beams(np.zeros(1), np.zeros(1), 0.0, 0.1, 10)
    with pytest.raises(RoadloopError, match="one per column"):
        sweep(scene_of_mesh(wall(5.0)), frame_of(), 0, np.zeros((3, 4, 4)), beams, far=10.0)
