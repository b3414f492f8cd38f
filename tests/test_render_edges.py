"""The renderer at its edges: near plane, odd pictures, empty worlds, many weathers, memory."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from sim_worlds import scenario_on

from roadloop.camera import BrownConrady, Fisheye, Pinhole
from roadloop.geometry import rotation_from_euler, se3
from roadloop.maps.road_map import RoadMap
from roadloop.rig import CAMERA_AXES, CameraSensor, ImuSensor, LidarSensor, Mount, SensorRig
from roadloop.types import AgentKind, Behaviour, Scenario
from roadloop.weather import Weather
from sim.actors.appearance import frame_of
from sim.population import RoadUser
from sim.render import renderer as renderer_module
from sim.render.frame import Actors, Frame
from sim.render.lens_table import pixel_rays
from sim.render.raycast import Caster
from sim.render.renderer import Look
from sim.render.scene import FAR, Scene, scene_of
from sim.scenarios import build_scenario
from sim.sensors import fitting
from sim.sensors.camera import Cameras
from sim.sensors.labels import image_boxes
from sim.simulator import Simulator

Array = np.ndarray

PINHOLE = Pinhole(64, 36, 40.0, 40.0, 31.5, 17.5)
ODD = (
    Pinhole(1, 1, 10.0, 10.0, 0.0, 0.0),
    Pinhole(3, 1, 4.0, 9.0, 1.0, 0.0),
    Pinhole(17, 33, 20.0, 60.0, 40.0, -7.0),
    Pinhole(201, 77, 120.0, 600.0, -30.0, 100.0),
    Pinhole(1021, 5, 300.0, 250.0, 511.0, 2.0),
    Fisheye(1, 1, 10.0, 10.0, 0.0, 0.0),
    Fisheye(3, 2, 1.0, 1.0, 1.0, 0.5),
    Fisheye(101, 99, 26.0, 29.0, 40.0, 55.0, 0.02, -0.01, 0.002, -0.0003),
    Fisheye(75, 75, 13.0, 13.0, 37.0, 37.0),
    BrownConrady(103, 51, 45.0, 60.0, 65.0, 10.0, -0.2, 0.05, 0.002, -0.003),
    BrownConrady(150, 100, 50.0, 50.0, 75.0, 50.0, -0.31, 0.12, 1e-3, -7e-4, -0.02),
)


@cache
def straight_map() -> RoadMap:
    return build_scenario("ccrs", seed=0).road_map


def street(users: list[RoadUser] | None = None) -> Scenario:
    """A straight road along x without signals, the ego at x = 50 m."""
    return scenario_on(straight_map(), users or (), ego=(2, 50.0))


def parked(x: float, y: float, heading: float = 0.0, kind: AgentKind = AgentKind.CAR) -> RoadUser:
    size = (12.0, 2.5, 3.2) if kind == AgentKind.BUS else (4.4, 1.8, 1.5)
    return RoadUser(kind, x, y, heading, *size, behaviour=Behaviour.STATIC)


def seen(scenario: Scenario) -> tuple[Scene, Frame]:
    return scene_of(scenario.road_map), frame_of(Simulator().reset([scenario]))


@pytest.fixture(scope="module")
def busy() -> tuple[Scene, Frame]:
    users = [parked(52.0 + 6.0 * k, 4.0 - 8.0 * (k % 2), 0.3 * k) for k in range(6)]
    return seen(street([*users, parked(44.0, 3.5, 0.1, AgentKind.BUS)]))


def looking(x: float, y: float, z: float, yaw: float = 0.0, pitch: float = 0.0) -> Array:
    """world_from_camera (4, 4)."""
    return se3(rotation_from_euler(0.0, pitch, yaw) @ CAMERA_AXES, np.array([x, y, z]))


def repeated(frame: Frame, weather: tuple[Weather, ...]) -> Frame:
    """The same world once per weather."""
    n = len(weather)
    fields = {name: np.repeat(value, n, axis=0) for name, value in vars(frame.actors).items()}
    return Frame(Actors(**fields), np.repeat(frame.lights, n, axis=0), weather, np.zeros(n))


def agreement(caster: Caster, frame: Frame, camera: Pinhole, pose: Array, shot) -> float:
    """Share of a picture's pixels that show what ray casting meets, within 1 cm."""
    rays = pixel_rays(camera)
    has_ray = (rays != 0.0).any(axis=1)
    forward = pose[:3, 2] if type(camera) is Pinhole else None
    directions = rays[has_ray] @ pose[:3, :3].T
    hits = caster.cast(frame, 0, pose[:3, 3], directions, FAR, forward=forward)
    away = shot.depth.ravel()[has_ray] / rays[has_ray, 2]
    same = np.isinf(away) & np.isinf(hits.distance)
    both = np.isfinite(away) & np.isfinite(hits.distance)
    same[both] = np.abs(away[both] - hits.distance[both]) < 0.01
    same &= shot.instance.ravel()[has_ray] == hits.instance
    return float(same.mean())


# --- what is close ------------------------------------------------------------------------------


@pytest.mark.parametrize("aside", [0.02, 0.06, 0.09])
def test_what_is_nearer_than_the_near_plane_is_not_drawn(aside, busy):
    """A camera so close along a bus that its side passes through the near plane."""
    scene, frame = busy
    row = int(np.argmax(frame.actors.scale[0, :, 0] * scene.model_half[frame.actors.model[0], 0]))
    half = scene.model_half[frame.actors.model[0, row]] * frame.actors.scale[0, row]
    wide, caster = Pinhole(255, 129, 60.0, 50.0, 127.0, 64.0), Caster(scene)
    for turn in (-0.5, 0.07, 0.4, 1.2):
        beside = se3(
            rotation_from_euler(0.0, 0.1, turn) @ CAMERA_AXES,
            np.array([0.5, half[1] + aside, 0.6]),
        )
        pose = frame.actors.world_from_actor[0, row] @ beside
        [[shot]] = Cameras(scene, [wide]).shoot(frame, np.array([0]), pose[None, None])
        assert shot.depth.min() >= 0.1
        assert agreement(caster, frame, wide, pose, shot) > 0.998


@pytest.mark.parametrize("ahead", [-4.0, -0.1, 0.1, 1.0, 2.9])
def test_the_box_of_a_long_vehicle_beside_a_wide_camera_reaches_to_where_it_leaves_the_view(ahead):
    scene, frame = seen(street([parked(60.0, 0.0, 0.0, AgentKind.BUS)]))
    camera = Pinhole(640, 400, 150.0, 150.0, 319.5, 199.5)
    pose = looking(60.0 + ahead, -2.2, 1.4)
    half = scene.model_half[np.maximum(frame.actors.model[0], 0)] * frame.actors.scale[0]
    [[shot]] = Cameras(scene, [camera]).shoot(frame, np.array([0]), pose[None, None])
    kind = np.full(len(half), AgentKind.BUS)
    boxes = image_boxes(camera, pose, frame.actors, 0, kind, half, shot.instance)
    # the truth: many points along the box's twelve edges, of which those before the camera count
    line = np.linspace(-1.0, 1.0, 2001)
    edges = []
    for axis in range(3):
        for one in (-1.0, 1.0):
            for other in (-1.0, 1.0):
                edge = np.insert(np.full((2001, 2), (one, other)), axis, line, axis=1)
                edges.append((edge + np.array([0.0, 0.0, 1.0])) * half[1])
    points = np.concatenate(edges)
    at = frame.actors.world_from_actor[0, 1]
    there = (points @ at[:3, :3].T + at[:3, 3] - pose[:3, 3]) @ pose[:3, :3]
    there = there[there[:, 2] > 0.1]
    uv = there[:, :2] / there[:, 2:] * 150.0 + (319.5, 199.5)
    low = np.clip(uv.min(0), -0.5, (639.5, 399.5))
    high = np.clip(uv.max(0), -0.5, (639.5, 399.5))
    found = np.array([boxes.left[0], boxes.top[0], boxes.right[0], boxes.bottom[0]])
    np.testing.assert_allclose(found, [*low, *high], atol=2.0)


# --- what is not there --------------------------------------------------------------------------


@pytest.mark.parametrize("lens", [PINHOLE, ODD[7]])
def test_without_anybody_there_are_pictures_and_no_boxes(lens):
    """No road users, no signals."""
    scene, frame = seen(street())
    pose = looking(50.0, 0.0, 1.5)
    for hide in (0, -1):
        [[shot]] = Cameras(scene, [lens]).shoot(
            frame, np.array([0]), pose[None, None], hide=hide, look=Look(True, True)
        )
        assert shot.rgb.any()
        half = np.ones((1, 3))
        boxes = image_boxes(lens, pose, frame.actors, 0, np.zeros(1), half, shot.instance, hide)
        assert boxes.id.shape == (0,) if hide == 0 else len(boxes.id) <= 1


def test_nothing_is_drawn_of_actors_that_are_not_there(busy):
    scene, frame = busy
    gone = replace(frame, actors=replace(frame.actors, model=np.full_like(frame.actors.model, -1)))
    [[shot]] = Cameras(scene, [PINHOLE]).shoot(
        gone, np.array([0]), looking(48.0, 0.0, 1.5)[None, None], hide=-1, look=Look(True, True)
    )
    assert (shot.instance <= 0).all()


# --- odd pictures -------------------------------------------------------------------------------


def test_odd_pictures_show_what_ray_casting_sees_and_do_not_disturb_each_other(busy):
    """Single pixels, sizes of no power of two, axes outside the picture, unlike focal lengths."""
    scene, frame = busy
    rng = np.random.default_rng(4)
    together, caster = Cameras(scene, ODD), Caster(scene)
    for _ in range(3):
        poses = np.stack([
            looking(48.0 + rng.uniform(-4, 4), rng.uniform(-1, 1), rng.uniform(1.7, 3.0),
                    rng.uniform(-3, 3), rng.uniform(-0.2, 0.4)) for _ in ODD
        ])  # fmt: skip
        [shots] = together.shoot(frame, np.array([0]), poses[None])
        for camera, pose, shot in zip(ODD, poses, shots):
            wrong = 1.0 - agreement(caster, frame, camera, pose, shot)
            assert wrong * camera.width * camera.height <= max(2, 0.002 * shot.depth.size), camera
            [[alone]] = Cameras(scene, [camera]).shoot(frame, np.array([0]), pose[None, None])
            for name in ("rgb", "depth", "semantic", "instance"):
                assert getattr(alone, name).tobytes() == getattr(shot, name).tobytes(), camera


def test_later_pictures_leave_earlier_ones_as_they_are(busy):
    scene, frame = busy
    cameras = Cameras(scene, [PINHOLE, ODD[7]])
    poses = np.stack([looking(48.0, 0.0, 1.5), looking(48.0, 0.0, 2.0, 1.0)])
    first = cameras.shoot(frame, np.array([0]), poses[None])[0]
    before = [(s.rgb.copy(), s.depth.copy(), s.semantic.copy(), s.instance.copy()) for s in first]
    cameras.shoot(frame, np.array([0]), poses[None, ::-1] @ looking(3.0, 0.0, 0.0, 2.0))
    for shot, kept in zip(first, before):
        for now, then in zip((shot.rgb, shot.depth, shot.semantic, shot.instance), kept):
            assert np.array_equal(now, then)


# --- many worlds --------------------------------------------------------------------------------


def test_more_weathers_than_are_kept(busy, monkeypatch):
    scene, frame = busy
    monkeypatch.setattr(renderer_module, "WEATHERS_KEPT", 4)
    weathers = tuple(Weather(sun_elevation=0.05 * k, rain=2.0 * k) for k in range(9))
    cameras = Cameras(scene, [PINHOLE])
    pose = looking(48.0, 0.0, 1.5)
    alone = [
        Cameras(scene, [PINHOLE]).shoot(repeated(frame, (w,)), np.array([0]), pose[None, None])
        for w in weathers
    ]
    # more than are kept in one batch, fewer, others again, and one after the other
    for rows in (range(9), range(3), (8, 0, 8, 5), (1, 2, 3, 4, 5, 6), *((k,) for k in range(9))):
        batch = repeated(frame, tuple(weathers[k] for k in rows))
        poses = np.repeat(pose[None, None], len(rows), axis=0)
        for k, [shot] in zip(rows, cameras.shoot(batch, np.arange(len(rows)), poses)):
            assert shot.rgb.tobytes() == alone[k][0][0].rgb.tobytes(), (tuple(rows), k)


def test_shadows_are_worked_out_for_the_worlds_that_are_looked_at(busy, monkeypatch):
    """One picture of a large batch costs what it costs alone."""
    scene, frame = busy
    counted = []
    real = renderer_module.contact_shadows

    def counting(*args):
        contacts, shade = real(*args)
        counted.append(shade.nbytes)
        return contacts, shade

    monkeypatch.setattr(renderer_module, "contact_shadows", counting)
    many = repeated(frame, (Weather(),) * 12)
    pose = looking(48.0, 0.0, 1.5)[None, None]
    look = Look(True, True)
    [[alone]] = Cameras(scene, [PINHOLE]).shoot(frame, np.array([0]), pose, look=look)
    [[one]] = Cameras(scene, [PINHOLE]).shoot(many, np.array([7]), pose, look=look)
    assert one.rgb.tobytes() == alone.rgb.tobytes()
    assert counted[0] == counted[1]


# --- memory -------------------------------------------------------------------------------------


def test_scenes_are_let_go_with_their_maps():
    camera = CameraSensor("c", Mount(1.0, 0.0, 1.5), 64, 36, 40.0, 40.0, 31.5, 17.5,
                          products=("rgb", "flow", "boxes"), detail="full")  # fmt: skip
    lidar = LidarSensor("l", Mount(1.0, 0.0, 1.8), (-10.0, 0.0), columns=90)
    rig = SensorRig("r", cameras=(camera,), lidars=(lidar, replace(lidar, name="e", exact=True)))

    def drive() -> tuple[weakref.ref, weakref.ref]:
        scenario = street([parked(60.0, 2.0)])
        scenario = replace(scenario, road_map=replace(scenario.road_map, name="another"))
        suite, simulator = fitting.fitted(rig, scenario), Simulator()
        state = simulator.reset([scenario])
        suite.reset(state)
        suite.observe(simulator.step(state, np.zeros((1, 2))))
        return weakref.ref(scenario.road_map), weakref.ref(scene_of(scenario.road_map))

    kept = drive()
    gc.collect()
    assert [reference() for reference in kept] == [None, None]


def test_a_suite_of_sensors_that_do_not_look_needs_no_scene(monkeypatch):
    rig = SensorRig(
        "r",
        lidars=(LidarSensor("l", Mount(1.0, 0.0, 1.8), (-10.0, 0.0)),),
        imus=(ImuSensor("imu", Mount(1.0, 0.0, 0.5)),),
    )
    monkeypatch.setattr(fitting, "scene_of", lambda *_: pytest.fail("built a scene"))
    scenario = street()
    readings = fitting.fitted(rig, scenario, names=("imu",)).reset(Simulator().reset([scenario]))
    assert list(readings["imus"]) == ["imu"]
    assert not readings["lidars"]
