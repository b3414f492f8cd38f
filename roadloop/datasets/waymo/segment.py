"""What both forms of Waymo's Perception data set share: rig, labels, and the recording of them.

Vehicle frame: x forward, y left, z up, origin on the ground under the rear axle, which is our ego
frame. That it is on the ground say the authors (issue 597 of waymo-research/waymo-open-dataset);
that it is at the rear axle says ``end_to_end_driving_data.proto``, and poses in turns agree: the
point that does not slip sideways is within 6 cm of the origin.

Time: a frame is named by the start of its sweep, the sweep takes 0.1 s, its cameras fire meanwhile,
and pose and boxes are those "roughly" in its middle. A step here is the end of the frame, when a
driver has all of it: 0.1 s after the frame's name. Pose and boxes are kept as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from roadloop.datasets.motion import ego_of_poses, velocities
from roadloop.datasets.source import check_times, decoded
from roadloop.datasets.waymo.fields import LICENCE, VEHICLE
from roadloop.datasets.waymo.lidar import LaserGeometry
from roadloop.errors import RoadloopError
from roadloop.geometry import rotation_from_euler, se3
from roadloop.logs.recording import Frame, Recording, step_of
from roadloop.rig import CameraSensor, LidarSensor, Mount, SensorRig
from roadloop.semantics import SemanticClass
from roadloop.types import AgentKind, AgentStates

Array = np.ndarray

DT = 0.1
"""s"""
SWEEP_US = 100_000
"""us a frame takes"""
CAMERAS: dict[int, str] = {
    1: "camera_front",
    2: "camera_front_left",
    3: "camera_front_right",
    4: "camera_side_left",
    5: "camera_side_right",
    6: "camera_rear_left",
    7: "camera_rear",
    8: "camera_rear_right",
}
"""CameraName"""
LASERS: dict[int, str] = {
    1: "lidar_top",
    2: "lidar_front",
    3: "lidar_side_left",
    4: "lidar_side_right",
    5: "lidar_rear",
}
"""LaserName"""
TOP = 1
REACH = {True: 75.0, False: 20.0}
"""m, to which the data set cuts the ranges of the top LiDAR, and of the others (Sun et al. 2020,
table 2)"""
KINDS: dict[int, tuple[str, AgentKind]] = {
    1: ("vehicle", AgentKind.CAR),
    2: ("pedestrian", AgentKind.PEDESTRIAN),
    3: ("sign", AgentKind.STATIC),
    4: ("cyclist", AgentKind.CYCLIST),
}
"""Label.Type; 0 is unknown"""
LONG = 7.0
"""m; there is one class for all vehicles, those longer than any car or van are taken for trucks"""
PIXEL_CLASSES: tuple[SemanticClass, ...] = (
    SemanticClass.NONE,
    SemanticClass.CAR,  # the recording car itself
    SemanticClass.CAR,
    SemanticClass.TRUCK,
    SemanticClass.BUS,
    SemanticClass.TRUCK,  # other large vehicle
    SemanticClass.BICYCLE,
    SemanticClass.MOTORCYCLE,
    SemanticClass.TRUCK,  # trailer
    SemanticClass.PEDESTRIAN,
    SemanticClass.RIDER,  # cyclist
    SemanticClass.RIDER,  # motorcyclist
    SemanticClass.DYNAMIC,  # bird
    SemanticClass.DYNAMIC,  # animal
    SemanticClass.STATIC,  # construction cone or pole
    SemanticClass.POLE,
    SemanticClass.DYNAMIC,  # what a pedestrian carries or pushes
    SemanticClass.TRAFFIC_SIGN,
    SemanticClass.TRAFFIC_LIGHT,
    SemanticClass.BUILDING,
    SemanticClass.ROAD,
    SemanticClass.ROAD_LINE,  # lane marker
    SemanticClass.ROAD_LINE,  # other markings
    SemanticClass.SIDEWALK,
    SemanticClass.VEGETATION,
    SemanticClass.SKY,
    SemanticClass.GROUND,
    SemanticClass.DYNAMIC,
    SemanticClass.STATIC,
)
"""``camera_segmentation.proto``, CameraSegmentation.Type, by number"""


@dataclass(frozen=True)
class Label:
    """One 3D box of one frame."""

    id: str
    type: int
    box: tuple[float, ...]
    """centre x, y, z, length, width, height, heading in the vehicle frame"""
    speed: tuple[float, float]
    """m/s in the world frame; NaN where it is not known"""
    points: int
    """LiDAR points in it, -1 where not told"""


@dataclass(frozen=True)
class Picture:
    """One picture of one frame."""

    camera: int
    pose: Array
    """(4, 4) world from vehicle at ``stamp_us``"""
    stamp_us: int
    """Unix time"""
    source: Any
    """what ``read_picture`` of the reader takes"""


@dataclass
class Segment:
    """A drive before it is a recording; frames by time."""

    name: str
    where: str
    stamps: list[int] = field(default_factory=list)
    """us, Unix time: names of the frames"""
    poses: list[Array] = field(default_factory=list)
    """(4, 4) world from vehicle"""
    labels: list[list[Label]] = field(default_factory=list)
    """per frame; none at all where the drive has no labels"""
    cameras: dict[int, CameraSensor] = field(default_factory=dict)
    lasers: dict[int, LaserGeometry] = field(default_factory=dict)
    stats: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def camera_sensor(
    number: int, intrinsic: Sequence[float], extrinsic: Array, size: tuple[int, int], where: str
) -> CameraSensor:
    """A camera of the rig. Its frame in the data set has the vehicle's axes (x forward).

    Args:
        intrinsic: f_u f_v c_u c_v k1 k2 p1 p2 k3; pixel 0 begins at 0, ours at -0.5.
    """
    what = f"{where}: camera {CAMERAS.get(number, number)}"
    if number not in CAMERAS:
        raise RoadloopError(f"{what} is unknown; known: {', '.join(map(str, CAMERAS))}")
    if len(intrinsic) != 9 or not np.isfinite(intrinsic).all() or min(intrinsic[:2]) <= 0.0:
        raise RoadloopError(f"{what} has the intrinsics {list(intrinsic)}, not f_u ... k3")
    fx, fy, cx, cy, *distortion = (float(value) for value in intrinsic)
    return CameraSensor(
        name=CAMERAS[number],
        mount=Mount.of(rigid(extrinsic, what)),
        width=size[0],
        height=size[1],
        fx=fx,
        fy=fy,
        cx=cx - 0.5,
        cy=cy - 0.5,
        model="brown-conrady",
        distortion=tuple(distortion),
    )


def rigid(values: Array, what: str) -> Array:
    """(4, 4) of 16 values; RoadloopError where they are no rotation and translation."""
    if np.size(values) == 16:
        pose = np.array(values, float).reshape(4, 4)
        rotation = pose[:3, :3]
        if np.isfinite(pose).all() and np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3):
            return pose
    raise RoadloopError(f"{what} has a transform that is no rotation and translation")


def recording(
    segment: Segment,
    pictures: list[tuple[int, Picture]],
    sweeps: list[tuple[int, int, Any]],
    read_picture: Any,
    read_sweep: Any,
    load_map: Any,
) -> Recording:
    """The recording of a segment.

    Args:
        pictures: (frame, picture).
        sweeps: (frame, laser, what ``read_sweep`` takes).
        read_picture: makes a ``Frame.read`` of a picture, its sensor and its time.
        read_sweep: likewise of a sweep, of its geometry and the frame's pose.
    """
    micros = np.array(segment.stamps, np.int64)
    stamps = micros - micros[0]
    check_times(stamps, segment.where, "frame")
    poses = np.stack(segment.poses)
    start_us = int(micros[0]) + SWEEP_US
    frames: list[Frame] = []
    for _, picture in pictures:
        sensor = segment.cameras[picture.camera]
        stamp = picture.stamp_us - start_us
        read = read_picture(picture.source, sensor, stamp)
        step = step_of(stamps, stamp)
        frames.append(Frame(sensor.name, "camera", stamp, step, picture.pose, read))
    for k, laser, source in sweeps:
        read = read_sweep(source, segment.lasers[laser], poses[k], int(stamps[k]))
        frames.append(Frame(LASERS[laser], "lidar", int(stamps[k]), k, poses[k], read))
    about = {
        "licence": LICENCE,
        "start_us": start_us,
        "first_frame_us": int(micros[0]),
        **segment.stats,
    }
    agents: dict[str, Any] = {}
    if any(segment.labels):
        agents = _labelled(segment, poses, stamps)
    return Recording(
        name=segment.name,
        dataset="waymo",
        dt=DT,
        timestamp_us=stamps,
        ego=ego_of_poses(poses, stamps, VEHICLE),
        world_from_ego=poses,
        rig=_rig(segment, {laser for _, laser, _ in sweeps}),
        frames=tuple(sorted(frames, key=lambda frame: (frame.timestamp_us, frame.sensor))),
        load_map=load_map,
        about=about,
        notes=tuple(segment.notes),
        **agents,
    )


def pixels(jpeg: bytes, sensor: CameraSensor, where: str) -> Array:
    """(height, width, 3) uint8 RGB; RoadloopError for a damaged picture or one of another size."""
    image = decoded(where, jpeg)
    if image.shape != (sensor.height, sensor.width, 3):
        raise RoadloopError(
            f"{where} has {image.shape[1]} x {image.shape[0]} px, its calibration "
            f"{sensor.width} x {sensor.height}"
        )
    return image


def classes(png: bytes, divisor: int, sensor: CameraSensor, where: str) -> Array:
    """(height, width) uint8 SemanticClass of a panoptic label: class x divisor + instance."""
    import cv2

    data = np.frombuffer(png, np.uint8)
    label = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if label is None or label.shape != (sensor.height, sensor.width) or divisor <= 0:
        raise RoadloopError(f"{where}: its panoptic label is damaged; download it again")
    number = label.astype(np.int64) // divisor
    if number.max() >= len(PIXEL_CLASSES):
        raise RoadloopError(
            f"{where}: class {number.max()} in its panoptic label; known: 0 to "
            f"{len(PIXEL_CLASSES) - 1}"
        )
    return np.array(PIXEL_CLASSES, np.uint8)[number]


def _rig(segment: Segment, with_sweeps: set[int]) -> SensorRig:
    lidars = tuple(
        LidarSensor(
            name=LASERS[number],
            mount=Mount.of(laser.extrinsic),
            beams=tuple(laser.inclinations[::-1].tolist()),
            beam_unit="rad",
            columns=2650 if number == TOP else 600,
            fov=(-np.pi, np.pi),
            max_range=REACH[number == TOP],
        )
        for number, laser in sorted(segment.lasers.items())
        if number in with_sweeps
    )
    cameras = tuple(camera for _, camera in sorted(segment.cameras.items()))
    return SensorRig("waymo", f"as calibrated for {segment.name}", cameras=cameras, lidars=lidars)


def _labelled(segment: Segment, poses: Array, stamps: Array) -> dict[str, Any]:
    """The fields of a Recording that hold road users."""
    ids = dict.fromkeys(label.id for labels in segment.labels for label in labels)
    column = {name: k for k, name in enumerate(ids)}
    shape = (len(poses), len(column))
    box = np.zeros((*shape, 7))
    speed = np.full((*shape, 2), np.nan)
    points = np.full(shape, -1, np.int32)
    valid = np.zeros(shape, bool)
    types = np.zeros(len(column), int)
    for k, labels in enumerate(segment.labels):
        for label in labels:
            a = column[label.id]
            what = f"{segment.where}: frame {segment.stamps[k]}: label {label.id}"
            if label.type not in KINDS:
                known = ", ".join(f"{number} {word}" for number, (word, _) in KINDS.items())
                raise RoadloopError(f"{what} is of type {label.type}; known: {known}")
            if valid[k, a]:
                raise RoadloopError(f"{what} is there twice")
            if not np.isfinite(label.box).all() or min(label.box[3:6]) < 0.0:
                raise RoadloopError(f"{what} has the box {list(label.box)}")
            box[k, a], speed[k, a] = label.box, label.speed
            points[k, a], valid[k, a], types[a] = label.points, True, label.type
    below = box[..., :3] - box[..., 5:6] * (0.0, 0.0, 0.5)
    world_from_agent = poses[:, None] @ se3(rotation_from_euler(0.0, 0.0, box[..., 6]), below)
    x, y, z = np.moveaxis(world_from_agent[..., :3, 3], -1, 0)
    vx, vy = velocities(x, y, valid, stamps)
    told = np.isfinite(speed).all(-1)
    kinds = np.array([KINDS[number][1] for number in types], np.uint8)
    lengths = np.array([np.median(box[valid[:, a], a, 3]) for a in range(len(column))])
    kinds[(kinds == AgentKind.CAR) & (lengths > LONG)] = AgentKind.TRUCK
    return {
        "agents": AgentStates(
            id=np.broadcast_to(np.arange(1, len(column) + 1), shape).copy(),
            kind=np.broadcast_to(kinds, shape).copy(),
            x=x,
            y=y,
            z=z,
            heading=np.arctan2(world_from_agent[..., 1, 0], world_from_agent[..., 0, 0]),
            vx=np.where(told, speed[..., 0], vx),
            vy=np.where(told, speed[..., 1], vy),
            length=box[..., 3],
            width=box[..., 4],
            height=box[..., 5],
            valid=valid,
        ),
        "world_from_agent": world_from_agent,
        "category": np.array([KINDS[number][0] for number in types], dtype=str),
        "source_id": np.array(list(column), dtype=str),
        "lidar_points": points,
    }
