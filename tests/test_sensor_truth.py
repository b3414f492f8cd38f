"""What a whole suite hands a driver is where the driver is told it is.

Checked with nothing but the camera's model and mount, the ego's state and the ground truth boxes,
so that every transform on the way from the scene into the pictures, sweeps and scans is proven.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
from sim_worlds import scenario_on

from roadloop.geometry import inverse, rotation_from_euler, se3, transform_points
from roadloop.maps.road_map import SignalKind
from roadloop.readings import CameraImage
from roadloop.rig import (
    CalibrationError,
    CameraSensor,
    LidarSensor,
    Mount,
    RadarSensor,
    SensorRig,
    with_calibration_error,
)
from roadloop.types import AgentKind, AgentStates, Behaviour, EgoState, Observation
from sim.actors.appearance import frame_of
from sim.actors.models import MODELS
from sim.population import RoadUser, pose_on
from sim.render.frame import Frame
from sim.render.scene import Scene, scene_of
from sim.scenarios import build_scenario
from sim.sensors.fitting import fitted
from sim.sensors.lidar import compensated
from sim.simulator import Simulator
from sim.state import SimState

Array = np.ndarray

STEPS = 6
BUILT = (AgentKind.CAR, AgentKind.VAN, AgentKind.TRUCK, AgentKind.BUS)
"""kinds whose models stand still in their boxes"""

# Odd sizes, unequal focal lengths and principal points off the middle on purpose.
LENSES = {
    "pinhole": ((398, 214, 330.0, 305.0, 180.3, 95.8), ()),
    "brown-conrady": ((301, 203, 190.0, 196.0, 161.2, 92.1), (-0.31, 0.12, 1e-3, -7e-4, -0.02)),
    "fisheye": ((243, 241, 74.0, 77.0, 117.7, 123.4), (-0.012, 0.003, -0.002, 2e-4)),
}
PRODUCTS = ("rgb", "depth", "semantic", "instance")


def camera(name: str, model: str, mount: Mount, **fields) -> CameraSensor:
    size, distortion = LENSES[model]
    return CameraSensor(
        name,
        mount,
        *size,
        model=model,
        distortion=distortion,
        products=(*PRODUCTS, "flow"),
        **fields,
    )


FRONT = Mount(1.7, 0.1, 1.5, yaw=0.05, pitch=0.04, roll=-0.06)
LIDAR = LidarSensor(
    "lidar",
    Mount(1.0, -0.2, 1.9, yaw=0.3, pitch=0.02, roll=-0.03),
    beams=tuple(np.linspace(-20.0, 4.0, 24)),
    columns=600,
    range_noise=0.0,
    labels=True,
)
RIG = SensorRig(
    "truth",
    cameras=(
        camera("pinhole", "pinhole", FRONT),
        camera("late", "pinhole", FRONT, rate=5.0, latency=0.15),
        camera("brown-conrady", "brown-conrady", Mount(0.4, 0.9, 1.3, 1.2, 0.1, 0.05)),
        camera("fisheye", "fisheye", Mount(-0.8, -0.3, 1.6, -2.6, 0.15, -0.1)),
    ),
    lidars=(LIDAR, replace(LIDAR, name="still", mount=FRONT, motion=False, rate=5.0)),
    radars=(
        RadarSensor("radar", Mount(3.6, 0.0, 0.6), rate=5.0, clutter=0.0, ghosts=0.0),
        RadarSensor("rear", Mount(-1.0, 0.3, 0.6, yaw=3.0), clutter=0.0, ghosts=0.0),
    ),
)


@dataclass(frozen=True)
class Step:
    """One step of a drive: what the driver gets, and what only the simulator knows."""

    observation: Observation
    before: Observation
    """of the step before; of the same one at the first"""
    frame: Frame


PLACES = (
    (AgentKind.CAR, 11.0, -3.6, 0.1),
    (AgentKind.VAN, 9.0, 4.0, -0.4),
    (AgentKind.CAR, 19.0, 0.5, 1.2),
    (AgentKind.PEDESTRIAN, 8.0, 0.4, 1.6),
    (AgentKind.CYCLIST, 7.0, -1.8, 0.2),
    (AgentKind.BUS, 3.0, 9.5, 0.0),
    (AgentKind.CAR, -3.0, 5.0, 2.0),
    (AgentKind.TRUCK, -14.0, 3.0, 3.0),
    (AgentKind.MOTORCYCLE, -7.0, -2.5, -0.3),
    (AgentKind.CAR, -9.0, -7.0, 0.8),
    (AgentKind.CAR, 27.0, 5.0, -2.0),
    (AgentKind.TRUCK, 33.0, -6.0, 0.6),
)
"""kind, m ahead and to the left of the ego, rad to the left: who stands around it at the start"""
SIZES = {
    AgentKind.CAR: (4.4, 1.8, 1.5), AgentKind.VAN: (5.4, 2.0, 2.1), AgentKind.BUS: (12.0, 2.5, 3.1),
    AgentKind.TRUCK: (8.5, 2.5, 3.5), AgentKind.MOTORCYCLE: (2.2, 0.8, 1.5),
    AgentKind.CYCLIST: (1.8, 0.6, 1.7), AgentKind.PEDESTRIAN: (0.5, 0.6, 1.75),
}  # fmt: skip


def drive() -> tuple[list[SimState], list[Observation]]:
    """The states of a drive towards a traffic light of a flat town, and what a driver is told.

    All road users around the ego drive straight ahead at 4 m/s.
    """
    road_map = build_scenario("dense_town", seed=1).road_map
    lit = road_map.signal_kind[road_map.stop_signal] == SignalKind.TRAFFIC_LIGHT
    crossing = road_map.stop_lane[lit]  # in the junctions, their stop lines at their beginning
    entry = road_map.predecessor[road_map.predecessor_start[crossing]]
    lane = int(entry[road_map.lane_length[entry] > 40.0][0])
    s = float(road_map.lane_length[lane]) - 16.0
    x, y, z, heading = pose_on(road_map, lane, s)
    users = []
    for kind, ahead, left, turn in PLACES:
        angle = heading + turn
        path = np.arange(STEPS + 2)[:, None] * 0.1 * 4.0 * np.array([np.cos(angle), np.sin(angle)])
        path += (x + ahead * np.cos(heading) - left * np.sin(heading),
                 y + ahead * np.sin(heading) + left * np.cos(heading))  # fmt: skip
        replay = np.column_stack([path, np.full((len(path), 2), (angle, 4.0))])
        at, size, moves = path[0].tolist(), SIZES[kind], Behaviour.REPLAY
        users.append(RoadUser(kind, at[0], at[1], angle, *size, z, 4.0, moves, replay=replay))
    scenario = scenario_on(road_map, users, ego=(lane, s), speed=8.0, seed=5)
    simulator = Simulator()
    states = [simulator.reset([scenario])]
    for _ in range(STEPS):
        states.append(simulator.step(states[-1], np.array([[0.5, 0.1]])))
    return states, [simulator.observe(state) for state in states]


@pytest.fixture(scope="module")
def driven() -> tuple[list[SimState], list[Observation]]:
    return drive()


def readings_of(rig: SensorRig, states: list[SimState]) -> list[dict]:
    suite = fitted(rig, states[0].fixed.scenarios[0])
    return [suite.reset(states[0])] + [suite.observe(state) for state in states[1:]]


@pytest.fixture(scope="module")
def steps(driven) -> list[Step]:
    states, observations = driven
    return [
        Step(replace(o, **readings), observations[max(k - 1, 0)], frame_of(state))
        for k, (o, state, readings) in enumerate(
            zip(observations, states, readings_of(RIG, states))
        )
    ]


def ego_pose(ego: EgoState) -> Array:
    """world_from_ego (4, 4) on flat ground."""
    return se3(
        rotation_from_euler(0.0, 0.0, float(ego.heading)),
        np.array([ego.x, ego.y, ego.z], np.float64),
    )


def box_pose(agents: AgentStates, row: int) -> Array:
    """world_from_box (4, 4), the box's origin on the ground below its centre."""
    return se3(
        rotation_from_euler(0.0, 0.0, float(agents.heading[row])),
        np.array([agents.x[row], agents.y[row], agents.z[row]]),
    )


def in_box(points: Array, ego: EgoState, agents: AgentStates, row: int) -> Array:
    """(n,) m that points (n, 3) of the ego frame lie outside an agent's box, 0 inside."""
    at = transform_points(inverse(box_pose(agents, row)) @ ego_pose(ego), points)
    half = np.array([agents.length[row], agents.width[row], agents.height[row]]) / 2.0
    return np.maximum(np.abs(at - [0.0, 0.0, half[2]]) - half, 0.0).max(axis=1)


def slack(kind: int) -> float:
    """m by which what is seen of a road user may leave its box: people swing arms and legs."""
    return 0.03 if kind in BUILT else 0.3


def unprojected(image: CameraImage, mask: Array) -> Array:
    """(n, 3) m, ego frame: what the pixels of a mask show."""
    assert image.depth is not None
    v, u = np.nonzero(mask)
    rays, seen = image.camera.unproject(np.stack([u, v], axis=-1).astype(float))
    assert seen.all()
    points = rays / rays[:, 2:] * image.depth[v, u, None]
    return transform_points(image.ego_from_camera, points)


# --- a whole suite ------------------------------------------------------------------------------


def test_what_pictures_show_of_road_users_lies_in_their_boxes(steps):
    pictured: dict[str, set[int]] = {}
    for step in steps:
        o = step.observation
        agents = o.tracks.states
        for name, image in o.cameras.items():
            if image.timestamp_us != round(o.time * 1e6):
                continue
            for row, number in enumerate(agents.id.tolist()):
                mask = image.instance == number
                if not mask.any():
                    continue
                out = in_box(unprojected(image, mask), o.ego, agents, row)
                assert out.max() < slack(agents.kind[row]), (name, number, out.max())
                pictured.setdefault(name, set()).add(number)
    assert sorted(pictured) == ["brown-conrady", "fisheye", "pinhole"]
    assert min(map(len, pictured.values())) >= 3, pictured


def surfaces_around(scene: Scene, step: Step) -> tuple[Array, Array, Array]:
    """Triangles (T, 3, 3) of the ego frame with instance and class: lights, signs and vehicles.

    Vehicles stand where the driver's tracks and ego say, not where the renderer has put them.
    """
    ego_from_world = inverse(ego_pose(step.observation.ego))
    named = (scene.mesh.instance < 0) & ~scene.mesh.detail
    corners = [transform_points(ego_from_world, scene.mesh.corners[named] + scene.origin)]
    instance, semantic = [scene.mesh.instance[named]], [scene.mesh.semantic[named]]
    tracks, actors = step.observation.tracks, step.frame.actors
    assert tracks is not None
    agents = tracks.states
    for row in np.flatnonzero(np.isin(agents.kind, BUILT)).tolist():
        drawn = int(np.flatnonzero(actors.id[0] == agents.id[row])[0])
        model = MODELS[actors.model[0, drawn]]
        size = np.array([agents.length[row], agents.width[row], agents.height[row]])
        scale = size / (model.length, model.width, model.height)
        corners.append(
            transform_points(ego_from_world @ box_pose(agents, row), model.mesh.corners * scale)
        )
        instance.append(np.full(model.mesh.triangles, agents.id[row]))
        semantic.append(model.mesh.semantic)
    corners = np.concatenate(corners)
    near = np.linalg.norm(corners.mean(1), axis=1) < 70.0
    return corners[near], np.concatenate(instance)[near], np.concatenate(semantic)[near]


@pytest.mark.parametrize("name", ["pinhole", "brown-conrady", "fisheye"])
def test_lights_signs_and_vehicles_are_where_geometry_puts_them(name, steps, driven):
    scene = scene_of(driven[0][0].fixed.scenarios[0].road_map)
    shown: set[int] = set()
    checked = 0
    for step in steps[::2]:
        image = step.observation.cameras[name]
        corners, instance, semantic = surfaces_around(scene, step)
        at = transform_points(inverse(image.ego_from_camera), corners)
        uv, seen = image.camera.project(at.mean(axis=1))
        pixel = np.round(uv).astype(int)
        ray, _ = image.camera.unproject(pixel.astype(float))
        # where the ray of the pixel nearest to a triangle's middle meets the triangle
        a, b, c = np.moveaxis(at, 1, 0)
        normal = np.cross(b - a, c - a)
        slant = (normal * ray).sum(1)
        flat = np.abs(slant) < 0.05 * np.linalg.norm(normal, axis=1)
        away = (normal * a).sum(1) / np.where(slant == 0.0, 1.0, slant)
        p = ray * away[:, None]
        sides = [(np.cross(r - q, p - q) * normal).sum(1) for q, r in ((a, b), (b, c), (c, a))]
        inside = seen & ~flat & (away > 0.0) & (np.min(sides, axis=0) > 0.0) & (slant < 0.0)
        column, row = pixel[inside].T
        depth, expected = image.depth[row, column], p[inside, 2]
        # the picture shows it, or something before it, and never what is behind it
        forward = np.where(expected > 0.0, depth - expected, expected - depth)
        assert forward.max() < 0.01, name
        hit = np.abs(depth - expected) < 1e-3
        same = image.instance[row, column] == instance[inside]
        same &= image.semantic[row, column] == semantic[inside]
        assert same[hit].mean() > 0.995
        checked += int(hit.sum())
        shown |= set(instance[inside][hit].tolist())
    assert checked > 100, checked
    assert sum(number > 0 for number in shown) >= 3, shown
    if name == "pinhole":  # it looks at the traffic light
        assert min(shown) < 0, shown


@pytest.mark.parametrize("name", ["pinhole", "brown-conrady", "fisheye"])
def test_flow_is_the_motion_of_boxes_and_ego(name, steps):
    """Where each pixel's surface was a step before, worked out from two observations."""
    moved = 0
    for step in steps[2::2]:
        o, before = step.observation, step.before
        image = o.cameras[name]
        agents = o.tracks.states
        was = inverse(ego_pose(before.ego)) @ ego_pose(o.ego)
        masks = [((image.instance <= 0) & np.isfinite(image.depth), was)]
        for row in np.flatnonzero(np.isin(agents.kind, BUILT)).tolist():
            then = inverse(ego_pose(before.ego)) @ box_pose(before.tracks.states, row)
            now = inverse(ego_pose(o.ego)) @ box_pose(agents, row)
            masks.append((image.instance == agents.id[row], then @ inverse(now)))
        for mask, then_from_now in masks:
            points = transform_points(then_from_now, unprojected(image, mask))
            uv, seen = image.camera.project(
                transform_points(inverse(image.ego_from_camera), points)
            )
            v, u = np.nonzero(mask)
            error = np.stack([u, v], axis=1) - uv - image.flow[v, u]
            assert np.abs(error[seen]).max(initial=0.0) < 0.02
            moved += int((np.abs(image.flow[v, u][seen]) > 1.0).sum())
    assert moved > 1000


def test_lidar_points_of_road_users_lie_in_their_boxes(steps):
    found: set[int] = set()
    for step in steps[1:]:
        o = step.observation
        before, now = ego_pose(step.before.ego), ego_pose(o.ego)
        for name in ("lidar", "still"):
            points = o.lidars[name]
            if points.timestamp_us != round(o.time * 1e6):
                continue
            if name == "lidar":
                points = compensated(points, now, before, o.dt)
            agents = o.tracks.states
            for row, number in enumerate(agents.id.tolist()):
                mine = points.points[points.instance == number, :3].astype(float)
                if len(mine):
                    out = in_box(mine, o.ego, agents, row)
                    assert out.max() < max(0.05, slack(agents.kind[row])), (name, number, out.max())
                    found.add(number)
    assert len(found) >= 6


def test_radar_targets_of_road_users_lie_at_their_boxes(steps):
    found = 0
    for step in steps:
        o = step.observation
        agents = o.tracks.states
        for name, scan in o.radars.items():
            if scan.timestamp_us != round(o.time * 1e6):
                continue
            for number, x, y, r in zip(scan.instance, scan.x, scan.y, scan.range):
                if number <= 0:
                    continue
                [row] = np.flatnonzero(agents.id == number).tolist()
                # height is left out: the elevation of a radar says little
                point = np.array([[x, y, 0.5 * float(agents.height[row])]])
                out = in_box(point, o.ego, agents, row)[0]
                assert out < 4.5 * np.hypot(0.15, 0.009 * r) + 0.05, (name, number, out, r)
                found += 1
    assert found > 20


def test_depth_is_what_a_lidar_at_the_same_place_measures(steps):
    """The beams of a LiDAR on the camera's mount, whose points are not those of pixels."""
    close, compared = 0, 0
    for step in steps[::2]:
        image, still = step.observation.cameras["pinhole"], step.observation.lidars["still"]
        assert image.timestamp_us == still.timestamp_us
        at = transform_points(inverse(image.ego_from_camera), still.points[:, :3].astype(float))
        uv, seen = image.camera.project(at)
        seen &= (uv > 1.0).all(1) & (uv < (image.camera.width - 2, image.camera.height - 2)).all(1)
        u, v = np.floor(uv[seen]).astype(int).T
        around = np.stack([image.depth[v + j, u + i] for j in (0, 1) for i in (0, 1)])
        # between the depths of the four pixels around it, as surfaces are flat between them
        z = at[seen, 2]
        close += int(((z > around.min(0) - 0.02) & (z < around.max(0) + 0.02)).sum())
        compared += len(z)
    assert compared > 500
    assert close >= 0.99 * compared, close / compared


def test_rates_latencies_and_timestamps(steps):
    pictures = [
        (s.observation.cameras.get("late"), s.observation.cameras["pinhole"]) for s in steps
    ]
    own = [0, 1, 2, 3, 4, 5, 6]
    assert [fresh.timestamp_us for _, fresh in pictures] == [100_000 * k for k in own]
    # 5 Hz is every second step, 0.15 s of latency are two
    late = [None if image is None else image.timestamp_us for image, _ in pictures]
    assert late == [None, None, 0, 0, 200_000, 200_000, 400_000]
    # ... and it shows what its twin without latency showed then
    for image, _ in pictures[2:]:
        twin = pictures[image.timestamp_us // 100_000][1]
        for product in PRODUCTS:
            assert getattr(image, product).tobytes() == getattr(twin, product).tobytes()
    o = [s.observation for s in steps]
    assert [x.lidars["lidar"].timestamp_us for x in o] == [100_000 * k for k in own]
    twice = [0, 0, 200_000, 200_000, 400_000, 400_000, 600_000]
    assert [x.lidars["still"].timestamp_us for x in o] == twice
    assert [x.radars["radar"].timestamp_us for x in o] == twice
    spread = steps[3].observation.lidars["lidar"].time_offset
    assert spread.max() == 0.0
    assert -0.1 < spread.min() < -0.09


# --- calibration --------------------------------------------------------------------------------

ERROR = CalibrationError(position=0.15, rotation=0.02, focal=0.01)


def test_a_wrong_calibration_shifts_pictures_by_the_error_injected(driven):
    """How far a picture moves, by phase correlation, against the turn of the camera."""
    states = driven[0][:1]
    level = camera("level", "pinhole", Mount(1.7, 0.0, 1.5))
    for seed in range(3):
        scenario = replace(states[0].fixed.scenarios[0], seed=seed)
        rig = SensorRig(
            "wrong", cameras=(level,), calibration_error=CalibrationError(rotation=0.02)
        )
        true = with_calibration_error(rig, seed).cameras[0]
        turned = level.mount.ego_from_sensor[:3, :3].T @ true.mount.ego_from_sensor[:3, :3]
        images = []
        for one in (replace(rig, calibration_error=CalibrationError()), rig):
            image = fitted(one, scenario).reset(states[0])["cameras"]["level"]
            assert image.camera == level.camera
            assert (image.ego_from_camera == level.ego_from_camera).all()
            images.append(image.rgb.mean(axis=2).astype(np.float32))
        # undo the roll, which shifts the edges and not the middle
        roll = np.arctan2(turned[2, 1], turned[2, 2])
        middle = (level.cx, level.cy)
        back = cv2.getRotationMatrix2D(middle, -np.degrees(roll), 1.0)
        unrolled = cv2.warpAffine(images[1], back, images[1].shape[::-1])
        inner = np.s_[20:-20, 20:-20]
        window = cv2.createHanningWindow(images[0][inner].shape[::-1], cv2.CV_32F)
        moved, _ = cv2.phaseCorrelate(images[0][inner].copy(), unrolled[inner].copy(), window)
        # what was straight ahead (turned's x axis) is seen to the other side
        ahead = turned.T @ np.array([1.0, 0.0, 0.0])
        expected = (-level.fx * ahead[1] / ahead[0], -level.fy * ahead[2] / ahead[0])
        assert np.hypot(*expected) > 2.0
        np.testing.assert_allclose(moved, expected, atol=1.0)


def test_what_a_wrong_calibration_puts_beside_the_boxes_the_true_one_puts_in_them(driven):
    states, observations = driven
    rig = replace(RIG, cameras=RIG.cameras[:1], lidars=RIG.lidars[1:], radars=(),
                  calibration_error=ERROR)  # fmt: skip
    scenario = states[0].fixed.scenarios[0]
    true = with_calibration_error(rig, scenario.seed)
    readings = fitted(rig, scenario).reset(states[0])
    told_image = readings["cameras"]["pinhole"]
    true_image = replace(
        told_image,
        camera=true.cameras[0].camera,
        ego_from_camera=true.cameras[0].ego_from_camera,
    )
    o = observations[0]
    agents = o.tracks.states
    beside = {"told": [], "true": [], "points told": [], "points true": []}
    sweep_told = readings["lidars"]["still"]
    told, really = (r.lidars[0].mount.ego_from_sensor for r in (rig, true))
    points = sweep_told.points[:, :3].astype(float)
    corrected = transform_points(really @ inverse(told), points)
    for row, number in enumerate(agents.id.tolist()):
        if agents.kind[row] not in BUILT:
            continue
        mask = told_image.instance == number
        for key, image in (("told", told_image), ("true", true_image)):
            beside[key].append(in_box(unprojected(image, mask), o.ego, agents, row))
        mine = sweep_told.instance == number
        for key, cloud in (("points told", points), ("points true", corrected)):
            beside[key].append(in_box(cloud[mine], o.ego, agents, row))
    out = {key: np.concatenate(parts) for key, parts in beside.items()}
    assert min(map(len, out.values())) > 100
    assert out["true"].max() < 0.03
    assert out["points true"].max() < 0.03
    assert out["told"].max() > 0.1
    assert out["points told"].max() > 0.1
