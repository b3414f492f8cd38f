"""Radar: range rates, cross-sections, visibility, ghosts, clutter, determinism."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from roadloop.geometry import rotation_from_euler, se3
from roadloop.readings import RadarScan
from roadloop.rig import Mount, RadarSensor
from roadloop.semantics import SemanticClass
from roadloop.types import AgentKind
from roadloop.weather import Weather
from sim.actors.models import MODELS
from sim.render import scene as scene_module
from sim.render.frame import Actors, Frame
from sim.render.scene import Scene
from sim.scenery.mesh import Mesh, Surface, box, joined, mesh_of, quads
from sim.scenery.scenery import Scenery
from sim.sensors.radar import CLUTTER, GHOST, Radar
from sim.sensors.radar_returns import agent_rcs, margin

Array = np.ndarray
SENSOR = RadarSensor("front", Mount(3.7, 0.0, 0.6), clutter=0.0, ghosts=0.0)
EXACT = dataclasses.replace(
    SENSOR, range_noise=0.0, azimuth_noise=0.0, elevation_noise=0.0, speed_noise=0.0
)


def model_of(kind: AgentKind) -> int:
    return next(k for k, model in enumerate(MODELS) if model.kind == kind)


@pytest.fixture
def scene_of_mesh(monkeypatch: pytest.MonkeyPatch):
    def build(*parts: Mesh) -> Scene:
        mesh = joined([ground(), *parts])
        monkeypatch.setattr(
            scene_module, "scenery_of", lambda *_: Scenery(mesh=mesh, origin=np.zeros(3))
        )
        return Scene(None)  # type: ignore[arg-type]

    return build


def ground() -> Mesh:
    ring = [(-200, -200, 0), (200, -200, 0), (200, 200, 0), (-200, 200, 0)]
    corners = quads(np.array([ring], float))
    return mesh_of(corners, (1, 1, 1), Surface.ASPHALT, SemanticClass.ROAD)


def building(low: tuple, high: tuple) -> Mesh:
    return mesh_of(box(low, high), (1, 1, 1), Surface.WALL, SemanticClass.BUILDING)


def frame_of(agents: list[tuple], weather: Weather | None = None) -> Frame:
    """Agents (kind, x, y, heading, speed) with the ids 1, 2, ...; row 0, the ego, is not there."""
    n = len(agents) + 1
    pose = np.tile(np.eye(4), (n, 1, 1))
    velocity = np.zeros((1, n, 3), np.float32)
    model = np.full((1, n), -1, np.int32)
    for k, (kind, x, y, heading, speed) in enumerate(agents, start=1):
        pose[k] = se3(rotation_from_euler(0.0, 0.0, heading), np.array([x, y, 0.0]))
        velocity[0, k] = speed * pose[k, :3, 0]
        model[0, k] = model_of(kind)
    actors = Actors(
        id=np.arange(n, dtype=np.int32)[None],
        model=model,
        world_from_actor=pose[None],
        previous_world_from_actor=pose[None],
        scale=np.ones((1, n, 3), np.float32),
        palette=np.ones((1, n, 4, 3), np.float32),
        lamps=np.zeros((1, n), np.uint8),
        velocity=velocity,
    )
    return Frame(
        actors=actors,
        lights=np.zeros((1, 0), np.uint8),
        weather=(weather or Weather(),),
        time=np.zeros(1),
    )


def scans(
    sensor: RadarSensor,
    scene: Scene,
    frame: Frame,
    n: int = 20,
    now: Array | None = None,
    **motion,
) -> RadarScan:
    """The targets of ``n`` scans together."""
    pose = np.eye(4) if now is None else now
    radar, found = Radar(sensor), []
    for k in range(n):
        rng = np.random.default_rng(k)
        found.append(radar.scan(scene, frame, 0, pose, pose, rng, **motion))
    names = [f.name for f in dataclasses.fields(RadarScan) if f.name != "timestamp_us"]
    fields = {name: np.concatenate([getattr(scan, name) for scan in found]) for name in names}
    return RadarScan(**fields, timestamp_us=0)


def test_a_car_ahead_has_its_range_and_its_range_rate(scene_of_mesh) -> None:
    scene = scene_of_mesh()
    length = MODELS[model_of(AgentKind.CAR)].length
    receding = frame_of([(AgentKind.CAR, 40.0, 0.0, 0.0, 15.0)])
    found = scans(EXACT, scene, receding, velocity=np.array([10.0, 0, 0]), yaw_rate=0.0)
    car = found.instance == 1
    assert car.sum() >= 15
    assert found.x[car].min() == pytest.approx(40.0 - length / 2, abs=0.3)
    assert np.median(found.range_rate[car]) == pytest.approx(5.0, abs=0.1)
    assert np.median(found.radial_speed[car]) == pytest.approx(15.0, abs=0.1)
    oncoming = frame_of([(AgentKind.CAR, 40.0, 0.0, np.pi, 15.0)])
    found = scans(EXACT, scene, oncoming, velocity=np.array([10.0, 0, 0]), yaw_rate=0.0)
    car = found.instance == 1
    assert np.median(found.range_rate[car]) == pytest.approx(-25.0, abs=0.3)
    assert np.median(found.radial_speed[car]) == pytest.approx(-15.0, abs=0.3)


def test_crossing_traffic_shows_only_its_radial_part(scene_of_mesh) -> None:
    frame = frame_of([(AgentKind.TRUCK, 30.0, 12.0, -np.pi / 2, 8.0)])
    found = scans(EXACT, scene_of_mesh(), frame)
    truck = found.instance == 1
    expected = -8.0 * found.y[truck] / np.hypot(found.x[truck] - 3.7, found.y[truck])
    assert np.median(np.abs(found.radial_speed[truck] - expected)) < 0.2


def test_the_static_world_stands_still_over_ground(scene_of_mesh) -> None:
    scene = scene_of_mesh(building((30, 8, 0), (60, 20, 10)), building((20, -30, 0), (50, -10, 8)))
    pose = se3(rotation_from_euler(0, 0, 0.2), np.zeros(3))
    velocity = 12.0 * pose[:3, 0]
    found = scans(EXACT, scene, frame_of([]), 5, now=pose, velocity=velocity, yaw_rate=0.4)
    assert (found.instance == 0).sum() > 50
    assert np.abs(found.radial_speed).max() < 1e-5
    # the sensor moves ahead with the ego and to its left as the ego turns about its rear axle
    toward = np.stack([np.cos(found.azimuth), np.sin(found.azimuth)], axis=1)
    toward *= np.cos(found.elevation)[:, None]
    np.testing.assert_allclose(found.range_rate, -toward @ (12.0, 0.4 * 3.7), atol=1e-5)


def test_the_ego_motion_follows_from_two_poses(scene_of_mesh) -> None:
    scene = scene_of_mesh(building((30, -10, 0), (60, 10, 10)))
    before = np.eye(4)
    now = se3(rotation_from_euler(0, 0, 0.02), np.array([1.5, 0.0, 0.0]))
    radar, frame = Radar(EXACT), frame_of([])
    rng = np.random.default_rng
    a = radar.scan(scene, frame, 0, now, before, rng(0), elapsed=0.1)
    b = radar.scan(scene, frame, 0, now, now, rng(0), velocity=np.array([15.0, 0, 0]), yaw_rate=0.2)
    np.testing.assert_allclose(a.range_rate, b.range_rate, atol=1e-9)
    assert a.range_rate.max() < -10.0


def test_targets_lie_on_the_wall_in_the_ego_frame(scene_of_mesh) -> None:
    scene = scene_of_mesh(building((25, -15, 0), (40, 15, 8)))
    found = scans(EXACT, scene, frame_of([]), 5)
    np.testing.assert_allclose(found.x, 25.0, atol=1e-3)
    sideways = dataclasses.replace(EXACT, mount=Mount(2.0, 0.9, 0.6, yaw=0.6))
    found = scans(sideways, scene, frame_of([]), 5)
    np.testing.assert_allclose(found.x, 25.0, atol=1e-3)


def test_noise_has_the_stated_size(scene_of_mesh) -> None:
    scene = scene_of_mesh(building((25, -60, 0), (40, 60, 8)))
    sizes = {"range": 0.2, "azimuth": 0.01, "elevation": 0.02, "speed": 0.15}
    noisy = dataclasses.replace(EXACT, **{f"{name}_noise": size for name, size in sizes.items()})
    a, b = (scans(sensor, scene, frame_of([]), 20) for sensor in (EXACT, noisy))
    for name, size in sizes.items():
        field = "range_rate" if name == "speed" else name
        off = getattr(b, field) - getattr(a, field)
        assert len(off) > 300
        assert np.std(off) == pytest.approx(size, rel=0.15)
        assert abs(np.mean(off)) < 0.2 * size


def test_what_is_hidden_is_not_found(scene_of_mesh) -> None:
    agents = [(AgentKind.CAR, 40.0, 0.0, 0.0, 0.0), (AgentKind.CAR, 40.0, 12.0, 0.0, 0.0)]
    wall = building((30, -4, 0), (32, 4, 5))
    found = scans(SENSOR, scene_of_mesh(wall), frame_of(agents))
    assert not (found.instance == 1).any()
    assert (found.instance == 2).any()


def test_trucks_answer_with_more_and_stronger_points_than_pedestrians(scene_of_mesh) -> None:
    scene = scene_of_mesh()
    count, strength, share = [], [], []
    for kind in (AgentKind.PEDESTRIAN, AgentKind.CAR, AgentKind.TRUCK):
        found = scans(SENSOR, scene, frame_of([(kind, 22.0, 3.0, np.pi, 1.0)]), 15)
        agent = found.instance == 1
        count.append(agent.sum() / 15)
        strength.append(np.median(found.rcs[agent]))
        far = scans(SENSOR, scene, frame_of([(kind, 110.0, 3.0, np.pi, 1.0)]), 25)
        share.append((far.instance == 1).sum() / 25)
    assert count[0] <= 1.0 < count[1] < count[2]
    assert strength[0] < strength[1] < strength[2]
    assert share[0] < 0.4 < share[1] and share[2] > 0.8


def test_a_car_of_ten_decibels_is_found_every_other_time_at_max_range() -> None:
    clear, wet = Weather(), Weather(rain=50.0)
    at = np.array([75.0, 150.0, 300.0])
    found = margin(np.full(3, 10.0), at, SENSOR, clear)
    np.testing.assert_allclose(found, (12.04, 0.0, -12.04), atol=0.01)
    assert (margin(np.full(3, 10.0), at, SENSOR, wet) < found).all()
    kinds = np.array([AgentKind.CAR] * 3)
    front, slanted, side = agent_rcs(kinds, np.array([0.0, np.pi / 4, np.pi / 2]))
    assert front == side > slanted


def test_limbs_spread_the_speed_of_a_pedestrian(scene_of_mesh) -> None:
    scene = scene_of_mesh()
    spread = {}
    for kind in (AgentKind.PEDESTRIAN, AgentKind.BUS):
        found = scans(EXACT, scene, frame_of([(kind, 20.0, 0.0, 0.0, 1.5)]), 30)
        speed = found.radial_speed[found.instance == 1]
        assert np.median(speed) == pytest.approx(1.5, abs=0.3)
        low, high = np.percentile(speed, [16, 84])
        spread[kind] = high - low
    assert spread[AgentKind.PEDESTRIAN] > 0.5 > spread[AgentKind.BUS]


def test_clutter_and_ghosts_come_as_often_as_stated(scene_of_mesh) -> None:
    scene = scene_of_mesh(building((15, 8, 0), (80, 20, 10)))
    frame = frame_of([(AgentKind.CAR, 25.0, 0.0, 0.0, 5.0)])
    clean = scans(SENSOR, scene, frame)
    assert (clean.instance >= 0).all()
    cluttered = scans(dataclasses.replace(SENSOR, clutter=6.0), scene, frame, 30)
    assert (cluttered.instance == CLUTTER).sum() / 30 == pytest.approx(6.0, rel=0.2)
    haunted = scans(dataclasses.replace(EXACT, ghosts=1.0), scene, frame)
    ghosts = haunted.instance == GHOST
    assert ghosts.sum() > 20
    assert haunted.range[ghosts].min() > haunted.range.min()


def test_a_double_bounce_is_twice_as_far_and_as_fast(scene_of_mesh) -> None:
    frame = frame_of([(AgentKind.CAR, 25.0, 0.0, 0.0, 14.0)])
    sensor = dataclasses.replace(EXACT, ghosts=1.0)
    found = scans(sensor, scene_of_mesh(), frame, velocity=np.array([10.0, 0, 0]), yaw_rate=0.0)
    car, ghost = found.instance == 1, found.instance == GHOST
    assert ghost.sum() > 5
    assert np.median(found.range_rate[ghost]) == pytest.approx(8.0, abs=0.5)
    assert np.median(found.range[ghost]) == pytest.approx(2 * np.median(found.range[car]), abs=3.0)


def test_only_the_strongest_are_kept(scene_of_mesh) -> None:
    scene = scene_of_mesh(building((30, 8, 0), (60, 20, 10)))
    frame = frame_of([(AgentKind.TRUCK, 15.0, 0.0, 0.0, 0.0)])
    few = dataclasses.replace(SENSOR, max_targets=5)
    scan, full = (
        Radar(s).scan(scene, frame, 0, np.eye(4), np.eye(4), np.random.default_rng(0))
        for s in (few, SENSOR)
    )
    assert len(scan.x) == 5 < len(full.x)
    strength = np.sort(full.rcs - 40 * np.log10(full.range))
    assert (scan.rcs - 40 * np.log10(scan.range)).min() > strength[-6] - 0.5
    assert (np.diff(full.range) > -1.0).all()


def test_the_field_of_view_bounds_the_targets(scene_of_mesh) -> None:
    walls = building((-60, 30, 0), (60, 32, 10)), building((-60, -32, 0), (60, -30, 10))
    found = scans(EXACT, scene_of_mesh(*walls), frame_of([]), 3)
    assert np.abs(found.azimuth).max() <= 0.5 * EXACT.fov + 1e-9
    assert found.range.min() >= EXACT.min_range
    around = dataclasses.replace(EXACT, fov=2 * np.pi)
    found = scans(around, scene_of_mesh(*walls), frame_of([]), 3)
    assert np.abs(found.azimuth).max() > 2.5


def test_nothing_to_see_is_an_empty_scan(scene_of_mesh) -> None:
    found = Radar(SENSOR).scan(
        scene_of_mesh(), frame_of([]), 0, np.eye(4), np.eye(4), np.random.default_rng(0)
    )
    assert len(found.x) == 0 and found.instance.dtype == np.int32


def test_same_seed_same_bytes(scene_of_mesh) -> None:
    scene = scene_of_mesh(building((30, 8, 0), (60, 20, 10)))
    frame = frame_of([(AgentKind.CAR, 25.0, 0.0, 0.0, 5.0)])
    sensor = dataclasses.replace(SENSOR, clutter=5.0, ghosts=0.3)
    a, b, c = (
        Radar(sensor).scan(scene, frame, 0, np.eye(4), np.eye(4), np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )
    assert a.x.tobytes() == b.x.tobytes() and a.rcs.tobytes() == b.rcs.tobytes()
    assert a.x.tobytes() != c.x.tobytes()


def test_a_wrong_calibration_turns_the_targets(scene_of_mesh) -> None:
    scene = scene_of_mesh(building((25, -15, 0), (40, 15, 8)))
    true = EXACT.mount.ego_from_sensor @ se3(rotation_from_euler(0, 0, 0.05), np.zeros(3))
    found = Radar(EXACT, true).scan(
        scene, frame_of([]), 0, np.eye(4), np.eye(4), np.random.default_rng(0)
    )
    assert np.polyfit(found.y, found.x, 1)[0] == pytest.approx(np.tan(0.05), abs=0.01)
