"""A small recorded drive whose every number is known, for the tests of training data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from drawn_scene import crossroads

from roadloop.geometry import rotation_from_euler, se3
from roadloop.logs.sensor_log import SensorLogWriter
from roadloop.readings import CameraImage, ImageBoxes, LidarSweep, RadarScan
from roadloop.rig import CameraSensor, LidarSensor, Mount, RadarSensor, SensorRig
from roadloop.types import AgentStates, EgoState, LightState, Observation, Tracks

WIDTH, HEIGHT = 96, 64
DT = 0.1
SPEED, YAW_RATE = 6.0, 0.15
FRONT = Mount(1.5, 0.1, 1.5, yaw=0.02, pitch=0.03)
LEFT = Mount(1.2, 0.6, 1.5, yaw=1.2, pitch=0.05)
ROAD = crossroads()


def camera(name: str, mount: Mount, **fields: Any) -> CameraSensor:
    return CameraSensor(name, mount, WIDTH, HEIGHT, 70.0, 71.0, 47.0, 30.0, **fields)


RIG = SensorRig(
    "training",
    cameras=(
        camera("front", FRONT, products=("rgb", "depth", "semantic", "instance", "boxes")),
        camera(
            "left", LEFT, products=("rgb", "depth", "semantic", "instance"), latency=0.1,
            model="brown-conrady", distortion=(-0.1, 0.01, 0.001, -0.002),
        ),
    ),
    lidars=(LidarSensor("top", Mount(1.0, 0.0, 1.9), (-10.0, 0.0)),),
    radars=(RadarSensor("radar", Mount(3.5, 0.0, 0.5)),),
)  # fmt: skip
PLAIN = SensorRig("plain", cameras=(camera("front", FRONT), camera("left", LEFT)))


def pose(time: float) -> np.ndarray:
    """world_from_ego of a drive along a circle."""
    heading = YAW_RATE * time
    radius = SPEED / YAW_RATE
    place = np.array([radius * np.sin(heading) - 40.0, 5.25 + radius * (1 - np.cos(heading)), 0.0])
    return se3(rotation_from_euler(0.0, 0.0, heading), place)


def ego(time: float) -> EgoState:
    place, heading = pose(time)[:3, 3], YAW_RATE * time
    values = (*place, heading, SPEED, 0.0, 0.07, YAW_RATE)
    return EgoState(*(np.float64(v) for v in values))


def agents(step: int) -> AgentStates:
    """Number 4 drives evenly, 9 stands, 11 comes at step 5."""
    t = DT * step
    count = 3 if step >= 5 else 2
    columns = {
        "id": np.array([9, 4, 11]),
        "kind": np.array([7, 0, 6], np.uint8),
        "x": np.array([-20.0, -30.0 + 5.0 * t, -25.0]),
        "y": np.array([9.0, 5.25 + 1.0 * t, 2.0]),
        "z": np.zeros(3),
        "heading": np.array([0.4, np.arctan2(1.0, 5.0), -1.0]),
        "vx": np.array([0.0, 5.0, 0.0]),
        "vy": np.array([0.0, 1.0, 0.0]),
        "length": np.array([1.0, 4.5, 0.6]),
        "width": np.array([1.0, 1.9, 0.6]),
        "height": np.array([1.2, 1.5, 1.8]),
        "valid": np.ones(3, bool),
    }
    return AgentStates(**{key: value[:count] for key, value in columns.items()})


def picture(sensor: CameraSensor, step: int) -> CameraImage:
    """A smooth picture of its own for every camera and step."""
    rng = np.random.default_rng([step, len(sensor.name)])
    rough = rng.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    depth = rng.uniform(1.0, 200.0, (HEIGHT, WIDTH)).astype(np.float32)
    depth[:9] = np.inf
    late = round(1e6 * DT) if sensor.latency else 0
    boxes = None
    if "boxes" in sensor.products:
        edges = {key: np.zeros(1) for key in ("left", "top", "right", "bottom")}
        edges |= {f"visible_{key}": value for key, value in edges.items()}
        boxes = ImageBoxes(
            id=np.array([4]), kind=np.array([0], np.uint8), pixels=np.array([37], np.int32), **edges
        )
    return CameraImage(
        rgb=cv2.GaussianBlur(rough, (0, 0), 5.0),
        camera=sensor.camera,
        ego_from_camera=sensor.ego_from_camera,
        timestamp_us=max(round(1e6 * DT * step) - late, 0),
        depth=depth if "depth" in sensor.products else None,
        semantic=rng.integers(0, 20, (HEIGHT, WIDTH)).astype(np.uint8),
        instance=rng.integers(-9, 12, (HEIGHT, WIDTH)).astype(np.int32),
        boxes=boxes,
    )


def observation(step: int, rig: SensorRig = RIG) -> Observation:
    rng = np.random.default_rng(step)
    stamp = round(1e6 * DT * step)
    points = rng.normal(0.0, 9.0, (50 + step, 4)).astype(np.float32)
    points[:, 3] = np.clip(np.abs(points[:, 3]) / 30.0, 0.0, 1.0)
    sweep = LidarSweep(points, stamp, time_offset=np.linspace(-0.1, 0, len(points), dtype="f4"))
    values = {key: rng.normal(0, 9, step % 4) for key in ("x", "y", "z", "radial_speed", "rcs")}
    states = agents(step)
    count = len(states.id)
    cameras = {c.name: picture(c, step) for c in rig.cameras if not (c.latency and step < 1)}
    return Observation(
        step=step,
        time=DT * step,
        dt=DT,
        ego=ego(DT * step),
        tracks=Tracks(states, position_std=np.zeros(count), age=np.full(count, step)),
        lights=np.full(len(ROAD.signal_id), LightState.GREEN if step > 3 else LightState.RED),
        cameras=cameras,
        lidars={"top": sweep} if rig.lidars else {},
        radars={"radar": RadarScan(timestamp_us=stamp, **values)} if rig.radars else {},
    )


def record(
    folder: Path, steps: int = 12, rig: SensorRig = RIG, lossless: bool = False
) -> list[Observation]:
    """Writes the drive; what was written."""
    seen = [observation(step, rig) for step in range(steps)]
    with SensorLogWriter(
        folder, rig, lossless=lossless, about={"licence": "CC0"}, road_map=ROAD
    ) as log:
        for one in seen:
            log.append(one, world_from_ego=pose(one.time))
    return seen
