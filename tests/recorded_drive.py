"""A small recorded drive with everything in it, for the tests of what looks at and copies logs."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from hand_map import HandLane, HandMap, straight

from roadloop.datasets.motion import ego_of_poses
from roadloop.datasets.source import picture
from roadloop.geometry import rotation_from_euler, se3
from roadloop.logs.recording import Frame, Recording
from roadloop.readings import LidarSweep
from roadloop.rig import CameraSensor, LidarSensor, Mount, SensorRig
from roadloop.types import AgentKind, AgentStates, VehicleParameters

STEPS, DT = 10, 0.1
FRONT = CameraSensor("front", Mount(1.6, 0.0, 1.4), 160, 96, 80.0, 80.0, 79.5, 47.5)
BACK = CameraSensor("back", Mount(0.0, 0.0, 1.4, yaw=np.pi), 160, 96, 80.0, 80.0, 79.5, 47.5)
RIG = SensorRig(
    "car", cameras=(FRONT, BACK), lidars=(LidarSensor("top", Mount(1.0, 0.0, 1.8), ()),)
)
SPEED = 8.0
"""m/s of the ego, along y = 0"""
EXPOSURE = 20_000
"""us after each step at which cameras expose"""


def road():
    """A straight road of two lanes along x."""
    ends = [((-30.0, y), (90.0, y)) for y in (0.0, 3.5)]
    return HandMap([HandLane(straight(*points)) for points in ends]).build()


def sweep(stamp: int) -> LidarSweep:
    """A circle of points on the ground."""
    angle = np.linspace(0.0, 2.0 * np.pi, 200, endpoint=False)
    place = [12.0 * np.cos(angle), 12.0 * np.sin(angle), 0.0 * angle, 0.5 + 0.0 * angle]
    return LidarSweep(np.stack(place, axis=-1).astype(np.float32), stamp)


def agents() -> AgentStates:
    """(T, 3): a car ahead as fast as the ego, a walker at the kerb, a van that is there later."""
    t = np.arange(STEPS) * DT
    zero = np.zeros(STEPS)

    def column(*values):
        return np.stack([np.broadcast_to(v, STEPS).astype(float) for v in values], axis=-1)

    return AgentStates(
        id=np.tile([7, 8, 9], (STEPS, 1)),
        kind=np.tile([AgentKind.CAR, AgentKind.PEDESTRIAN, AgentKind.VAN], (STEPS, 1)),
        x=column(20.0 + SPEED * t, 14.0, 12.0),
        y=column(0.0, -3.0, 3.5),
        z=column(0.0, 0.0, 0.0),
        heading=column(0.0, np.pi / 2, np.pi - 1e-9),
        vx=column(SPEED, zero, zero),
        vy=column(0.0, 0.0, 0.0),
        length=column(4.5, 0.6, 5.5),
        width=column(1.9, 0.6, 2.1),
        height=column(1.5, 1.8, 2.4),
        valid=np.stack([zero == 0, zero == 0, t > 0.35], axis=-1),
    )


def recorded(folder: Path, name: str = "drive", seed: int = 0) -> Recording:
    """The drive; its pictures are written into ``folder`` first."""
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (STEPS, 1, 1))
    poses[:, 0, 3] = SPEED * DT * np.arange(STEPS)
    stamps = np.arange(STEPS, dtype=np.int64) * round(DT * 1e6)
    frames = []
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(STEPS):
        for camera, end in ((FRONT, "jpg"), (BACK, "png")):
            path = folder / f"{camera.name}-{k:02}.{end}"
            coarse = rng.integers(60, 200, (6, 10, 3), np.uint8)
            shown = cv2.resize(coarse, (camera.width, camera.height), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(path), shown)
            stamp = int(stamps[k]) + EXPOSURE
            moved = poses[k] @ se3(rotation_from_euler(0, 0, 0), np.array([SPEED * 0.02, 0, 0]))
            read = partial(picture, camera, path, stamp)
            frames.append(Frame(camera.name, "camera", stamp, min(k + 1, STEPS), moved, read))
        read = partial(sweep, int(stamps[k]))
        frames.append(Frame("top", "lidar", int(stamps[k]), k, poses[k], read))
    return Recording(
        name=name,
        dataset="roadloop",
        dt=DT,
        timestamp_us=stamps,
        ego=ego_of_poses(poses, stamps, VehicleParameters()),
        world_from_ego=poses,
        rig=RIG,
        agents=agents(),
        category=np.array(["vehicle.car", "human", "vehicle.van"]),
        source_id=np.array(["a", "b", "c"]),
        load_map=road,
        frames=tuple(frames),
        about={"licence": "CC0", "city": "Nowhere", "start_us": 1_600_000_000_000_000},
        notes=("the weather is not known",),
    )


def without(recording: Recording, *fields: str) -> Recording:
    """The recording without labels, map, frames or rig."""
    empty: dict = {"agents": None, "load_map": None, "frames": (), "rig": SensorRig("none")}
    changed = {name: empty[name] for name in fields}
    if "agents" in fields:
        changed |= {"category": np.zeros(0, "U1"), "source_id": np.zeros(0, "U1")}
    return dataclasses.replace(recording, **changed)
