"""A short drive past a crossing with every kind of sensor, by hand, for tests of viewer files."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from roadloop.camera import Pinhole
from roadloop.geometry import rotation_from_euler, se3
from roadloop.maps.road_map import RoadMap, SignalKind
from roadloop.readings import (
    CameraImage,
    GnssFix,
    ImageBoxes,
    ImuSamples,
    LidarSweep,
    RadarScan,
    WheelOdometry,
)
from roadloop.rig import (
    CameraSensor,
    GnssSensor,
    ImuSensor,
    LidarSensor,
    Mount,
    OdometrySensor,
    RadarSensor,
    SensorRig,
)
from roadloop.types import (
    AgentKind,
    AgentStates,
    Control,
    EgoState,
    LightState,
    Observation,
    Route,
    Tracks,
    Trajectory,
    VehicleParameters,
)
from roadloop.viz.subject import Subject
from tests.hand_map import HandLane, HandMap, HandSign, straight

STEPS = 4
DT = 0.1
LIDAR_EVERY = 2
CAMERA_LATE = 1
"""step at which the first picture, of time 0, arrives"""
RED_THEN_GREEN = (LightState.RED, LightState.GREEN)
MARK = (20.0, 3.0, 1.0)
"""m in the ego frame: a white dot in the picture"""

CAMERA = CameraSensor(
    "front",
    Mount(1.7, 0.1, 1.4, yaw=0.2, pitch=0.05, roll=0.01),
    64,
    48,
    40.0,
    41.0,
    31.0,
    24.0,
    products=("rgb", "depth", "semantic", "instance", "boxes"),
    latency=DT,
)
RIG = SensorRig(
    "hand",
    cameras=(CAMERA,),
    lidars=(LidarSensor("top", Mount(0.9, 0.0, 1.8, yaw=0.1), beams=(-5.0, 0.0), rate=5.0),),
    radars=(RadarSensor("nose", Mount(3.6, 0.0, 0.5)),),
    imus=(ImuSensor("imu", Mount(0.0, 0.0, 0.5)),),
    gnss=(GnssSensor("antenna", Mount(0.5, 0.0, 1.5)),),
    odometry=(OdometrySensor("wheels"),),
)


def road() -> RoadMap:
    """A lane to the east, with a light at x = 60, a stop sign at 40 and a crosswalk."""
    return HandMap(
        [
            HandLane(straight((0, 0), (100, 0)), opposite=1),
            HandLane(straight((100, 3.5), (0, 3.5)), opposite=0),
        ],
        signs=[
            HandSign(SignalKind.TRAFFIC_LIGHT, 0, 60.0, (61.0, -3.0, 4.0)),
            HandSign(SignalKind.STOP, 0, 40.0, (41.0, -3.0, 2.0)),
        ],
        crosswalks=[np.array([(62.0, -2.0), (65.0, -2.0), (65.0, 5.0), (62.0, 5.0)])],
    ).build()


def subject() -> Subject:
    facts = {"scenario": "hand", "seed": "3", "driver": "nobody"}
    return Subject(facts, road(), Route(np.array([0]), 0.0, 90.0), RIG)


def world_from_ego(step: int) -> np.ndarray:
    """Uphill and a little to the left."""
    return se3(rotation_from_euler(0.0, -0.04, 0.02), np.array([10.0 + step, 0.1 * step, 0.0]))


def agents(step: int) -> AgentStates:
    """A truck, and at the first two steps a pedestrian; a third row is never valid."""
    return AgentStates(
        id=np.array([7, 12, 99]),
        kind=np.array([AgentKind.TRUCK, AgentKind.PEDESTRIAN, AgentKind.CAR], np.uint8),
        x=np.array([30.0 + 0.8 * step, 25.0, 0.0]),
        y=np.array([0.2, -4.0, 0.0]),
        z=np.array([0.5, 0.0, 0.0]),
        heading=np.array([0.1, 1.5, 0.0]),
        vx=np.array([8.0 * np.cos(0.1), 0.0, 0.0]),
        vy=np.array([8.0 * np.sin(0.1), 0.1, 0.0]),
        length=np.array([9.0, 0.6, 1.0]),
        width=np.array([2.5, 0.7, 1.0]),
        height=np.array([3.2, 1.8, 1.0]),
        valid=np.array([True, step < 2, False]),
    )


def picture(step: int) -> CameraImage:
    """Taken at ``step``."""
    rgb = np.full((48, 64, 3), (40 + 20 * step, 90, 140), np.uint8)
    u, v = mark_pixel(CAMERA.camera)
    rgb[v - 1 : v + 2, u - 1 : u + 2] = 255
    depth = np.tile(np.linspace(1.0, 80.0, 64, dtype=np.float32), (48, 1))
    depth[:10] = np.inf
    semantic = np.full((48, 64), 1, np.uint8)
    semantic[:10] = 11
    instance = np.zeros((48, 64), np.int32)
    instance[20:30, 5:15] = 7
    instance[0, 0] = -1
    box = {"left": 3.5, "top": 18.0, "right": 16.0, "bottom": 31.0}
    seen = {"visible_left": 5, "visible_top": 20, "visible_right": 14, "visible_bottom": 29}
    edges: dict[str, Any] = {key: np.array([v], float) for key, v in {**box, **seen}.items()}
    boxes = ImageBoxes(
        id=np.array([7]), kind=np.array([2], np.uint8), pixels=np.array([100], np.int32), **edges
    )
    return CameraImage(
        rgb,
        CAMERA.camera,
        CAMERA.ego_from_camera,
        step * 100_000,
        depth=depth,
        semantic=semantic,
        instance=instance,
        boxes=boxes,
    )


def mark_pixel(camera: Pinhole) -> tuple[int, int]:
    """Column and row that show MARK."""
    pose = CAMERA.ego_from_camera
    point = pose[:3, :3].T @ (np.array(MARK) - pose[:3, 3])
    u, v = (camera.matrix @ point)[:2] / point[2]
    return round(u), round(v)


def sweep(step: int) -> LidarSweep:
    """One point at MARK, others on the ground."""
    ground = np.stack([np.arange(5.0, 15.0), np.full(10, 1.0), np.zeros(10), np.full(10, 0.2)], -1)
    points = np.concatenate([[(*MARK, 0.9)], ground]).astype(np.float32)
    return LidarSweep(
        points,
        step * 100_000,
        ring=np.arange(11, dtype=np.uint16),
        time_offset=np.linspace(-0.1, 0.0, 11, dtype=np.float32),
        semantic=np.array([15, *[1] * 10], np.uint8),
        instance=np.array([7, *[0] * 10], np.int32),
    )


def scan(step: int) -> RadarScan:
    """A target ahead that goes away, one that stands, and clutter."""
    return RadarScan(
        x=np.array([23.6, 13.6, 8.0]),
        y=np.array([15.0, 0.0, 1.0]),
        z=np.array([0.5, 0.5, 0.5]),
        radial_speed=np.array([5.0, 0.0, -3.0]),
        rcs=np.array([10.0, 2.0, -5.0]),
        timestamp_us=step * 100_000,
        instance=np.array([7, 0, -1], np.int32),
    )


def observation(step: int) -> Observation:
    """What a driver has at a step: pictures come late, sweeps at every second step."""
    pose = world_from_ego(step)
    time = step * DT
    now = round(time * 1e6)
    ego = EgoState(
        *(np.float64(v) for v in (*pose[:3, 3], 0.02, 10.0 + step, 0.5, 0.01, 0.03)),
        vehicle=VehicleParameters(),
    )
    states = agents(step)
    late = step - CAMERA_LATE
    samples = np.arange(step * 10 - 9, step * 10 + 1) if step else np.array([0])
    fix = GnssFix(*pose[:3, 3].tolist(), 48.1, 11.5, 10.0, 0.02, 0.5, now)
    return Observation(
        step,
        time,
        DT,
        ego,
        tracks=Tracks(states, np.zeros(3), np.zeros(3)),
        lights=np.array([RED_THEN_GREEN[step >= 2], LightState.OFF], np.uint8),
        cameras={"front": picture(late)} if late >= 0 else {},
        lidars={"top": sweep(step - step % LIDAR_EVERY)},
        radars={"nose": scan(step)},
        imus={
            "imu": ImuSamples(
                samples * 10_000,
                np.outer(samples, (0.1, 0.0, 0.0)) + np.array([0.0, 0.0, 9.81]),
                np.outer(samples, (0.0, 0.0, 0.01)),
            )
        },
        gnss={"antenna": fix},
        odometry={"wheels": WheelOdometry(10.0 + step, 0.01, 0.03, now)},
    )


def plan(step: int) -> Trajectory:
    ahead = np.linspace(0.0, 30.0, 7)
    return Trajectory(
        10.0 + step + ahead, np.zeros(7), np.zeros(7), np.linspace(0.0, 13.9, 7), dt=0.5
    )


def write(writer: Any, steps: int = STEPS) -> None:
    """The first steps of the drive."""
    for step in range(steps):
        writer.append(
            observation(step),
            Control(np.float64(0.4), np.float64(-0.02)),
            plan(step),
            world_from_ego=world_from_ego(step),
        )


def without_sensors(step: int) -> Observation:
    empty = {key: {} for key in ("cameras", "lidars", "radars", "imus", "gnss", "odometry")}
    return dataclasses.replace(observation(step), **empty)
