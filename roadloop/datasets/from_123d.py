"""Logs of 123D (py123d), which brings nuPlan, KITTI-360, PandaSet and others into one Arrow form.

Layout, as py123d writes it: ``logs/<split>/<log>/*.arrow`` and, for maps of a whole city, ``maps``
beside ``logs``. py123d itself reads the files; it is an extra: ``pip install 'roadloop[data]'``.

Frames: the world is the log's. 123D gives the IMU's pose and, in its frame, the rear axle, the
vehicle's centre, cameras and points. Our ego lies below the rear axle, half the vehicle's height
below its centre. Sweeps are in the IMU's frame at 123D's timestamp of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from roadloop.config import unknown
from roadloop.datasets.from_123d_map import load_map, signs
from roadloop.datasets.labelled_boxes import LabelledBox, road_users
from roadloop.datasets.motion import ego_of_poses, poses_at
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, se3, transform_points
from roadloop.logs.lazy import LoggedImage
from roadloop.logs.recording import Frame, Recording, step_of
from roadloop.readings import LidarSweep
from roadloop.rig import CameraSensor, LidarSensor, Mount, SensorRig
from roadloop.types import AgentKind, LightState, VehicleParameters

Array = np.ndarray
T = TypeVar("T")

KINDS: dict[str, AgentKind] = {
    "TRUCK": AgentKind.TRUCK,
    "BOX_TRUCK": AgentKind.TRUCK,
    "TRUCK_CAB": AgentKind.TRUCK,
    "LARGE_VEHICLE": AgentKind.TRUCK,
    "HEAVY_TRUCK": AgentKind.TRUCK,
    "SEMI_TRUCK": AgentKind.TRUCK,
    "MEDIUM_SIZED_TRUCK": AgentKind.TRUCK,
    "VEHICLE_TRUCK": AgentKind.TRUCK,
    "VEHICLE_CONSTRUCTION": AgentKind.TRUCK,
    "OTHER_VEHICLE_CONSTRUCTION_VEHICLE": AgentKind.TRUCK,
    "TRAILER": AgentKind.TRUCK,
    "VEHICLE_TRAILER": AgentKind.TRUCK,
    "VEHICULAR_TRAILER": AgentKind.TRUCK,
    "MESSAGE_BOARD_TRAILER": AgentKind.TRUCK,
    "TRAFFIC_LIGHT_TRAILER": AgentKind.TRUCK,
    "TOWED_OBJECT": AgentKind.TRUCK,
    "VEHICLE_EMERGENCY_AMBULANCE": AgentKind.VAN,
    "CARAVAN": AgentKind.VAN,
    "BUS": AgentKind.BUS,
    "SCHOOL_BUS": AgentKind.BUS,
    "ARTICULATED_BUS": AgentKind.BUS,
    "TROLLEY_BUS": AgentKind.BUS,
    "VEHICLE_BUS": AgentKind.BUS,
    "VEHICLE_BUS_BENDY": AgentKind.BUS,
    "VEHICLE_BUS_RIGID": AgentKind.BUS,
    "MOTORCYCLE": AgentKind.MOTORCYCLE,
    "MOTORCYCLIST": AgentKind.MOTORCYCLE,
    "MOTORIZED_SCOOTER": AgentKind.MOTORCYCLE,
    "VEHICLE_MOTORCYCLE": AgentKind.MOTORCYCLE,
    "BICYCLIST": AgentKind.CYCLIST,
    "RIDER": AgentKind.CYCLIST,
    "WHEELED_RIDER": AgentKind.CYCLIST,
    "WHEELED_DEVICE": AgentKind.CYCLIST,
    "TYPE_CYCLIST": AgentKind.CYCLIST,
    "OTHER_VEHICLE_PEDICAB": AgentKind.CYCLIST,
    "PERSONAL_MOBILITY_DEVICE": AgentKind.CYCLIST,
    "STROLLER": AgentKind.PEDESTRIAN,
    "WHEELCHAIR": AgentKind.PEDESTRIAN,
}
"""labels of data sets that say more than 123D's own, which decides about all others"""

DEFAULTS: dict[str, AgentKind | None] = {
    "EGO": None,
    "VEHICLE": AgentKind.CAR,
    "TRAIN": AgentKind.BUS,
    "TWO_WHEELER": AgentKind.CYCLIST,
    "PERSON": AgentKind.PEDESTRIAN,
    "ANIMAL": AgentKind.PEDESTRIAN,
    "TRAFFIC_SIGN": AgentKind.STATIC,
    "TRAFFIC_CONE": AgentKind.STATIC,
    "TRAFFIC_LIGHT": AgentKind.STATIC,
    "BARRIER": AgentKind.STATIC,
    "GENERIC_OBJECT": AgentKind.STATIC,
    "OTHER": AgentKind.STATIC,
}
"""123D's own labels (DefaultBoxDetectionLabel); None: left out"""

LIGHTS = {
    "GREEN": LightState.GREEN,
    "YELLOW": LightState.YELLOW,
    "RED": LightState.RED,
    "OFF": LightState.OFF,
    "UNKNOWN": LightState.OFF,
}

_SYNC, _EGO = "sync.arrow", "ego_state_se3.arrow"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*([_-][A-Za-z0-9]+)*")


def drives(root: Path) -> list[str]:
    """Logs by name; py123d is not needed for it. See ``roadloop.datasets.formats``."""
    return sorted(_logs(root))


def open_drive(root: Path, name: str) -> Recording:
    """One log.

    Raises:
        RoadloopError: py123d is not installed; no such log; files that py123d cannot read.
    """
    logs = _logs(root)
    if name not in logs:
        raise RoadloopError(f"{root}: {unknown('log of 123D', name, logs)}")
    folder = logs[name]
    return _told(folder, lambda: _recording(folder, name, open_scene(folder)))


def open_scene(folder: Path) -> Any:
    """py123d's scene of a whole log; RoadloopError where py123d is not installed."""
    try:
        from py123d.api.scene.arrow.arrow_scene_api import (  # pyright: ignore[reportMissingImports]
            ArrowSceneAPI,
        )
    except ImportError:
        raise RoadloopError(
            f"{folder} is a log of 123D, which py123d reads: pip install 'roadloop[data]'"
        ) from None
    maps = folder.resolve().parents[2] / "maps"
    return ArrowSceneAPI(folder, maps_root=maps if maps.is_dir() else None)


def _logs(root: Path) -> dict[str, Path]:
    """Name -> folder of the logs in ``root``: 123D's folder, its logs, a split, or one log."""
    found: dict[str, Path] = {}
    for pattern in ("", "*/", "*/*/", "logs/*/*/"):
        for sync in sorted(root.glob(f"{pattern}{_SYNC}")):
            folder = sync.parent
            name = folder.resolve().name
            if not (folder / _EGO).is_file():
                continue
            if name in found and found[name].resolve() != folder.resolve():
                name = f"{folder.resolve().parent.name}_{name}"
            found[name] = folder
    return found


def _told(folder: Path, read: Callable[[], T]) -> T:
    """What ``read`` gives, and py123d's faults as one line."""
    try:
        return read()
    except RoadloopError:
        raise
    except (AssertionError, ValueError, KeyError, IndexError, OSError, TypeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise RoadloopError(f"{folder}: py123d cannot read it: {reason}") from error


def _recording(folder: Path, name: str, scene: Any) -> Recording:
    steps = [t.time_us for t in scene.get_all_iteration_timestamps()]
    start = int(steps[0])
    stamps = np.array(steps, np.int64) - start
    states = [scene.get_ego_state_se3_at_iteration(k) for k in range(len(steps))]
    if None in states:
        raise RoadloopError(f"{folder / _EGO} has no pose at step {states.index(None)}")
    meta = states[0].metadata
    imu_from_ego = _imu_from_ego(meta)
    poses = np.stack([s.imu_se3.transformation_matrix for s in states]) @ imu_from_ego
    moved = [s.dynamic_state_se3 for s in states]
    speed = None if None in moved else np.array([float(m.velocity_3d.x) for m in moved])

    notes: list[str] = []
    users = _users(folder, scene, stamps, notes)
    load, lights = _map(folder, scene, len(steps), notes)
    rig, reads = _rig(folder, scene, inverse(imu_from_ego), notes)
    frames = []
    for sensor, kind, times, read in reads:
        own = np.array([t.time_us for t in times], np.int64) - start
        when = poses_at(poses, stamps, own)
        for k, stamp in enumerate(own.tolist()):
            at = partial(read, start + stamp, stamp)
            frames.append(Frame(sensor, kind, stamp, step_of(stamps, stamp), when[k], at))
    log = scene.get_log_metadata()
    about = {"start_us": start, "source": log.dataset, "split": log.split}
    about["licence"] = f"that of {log.dataset}"
    return Recording(
        name=name,
        dataset="py123d",
        dt=round(float(np.median(np.diff(stamps))) * 1e-6, 2) if len(steps) > 1 else 0.1,
        timestamp_us=stamps,
        ego=ego_of_poses(poses, stamps, vehicle(meta), speed=speed),
        world_from_ego=poses,
        rig=rig,
        lights=lights,
        load_map=load,
        frames=tuple(sorted(frames, key=lambda f: (f.timestamp_us, f.sensor))),
        about=about | ({"city": log.location} if log.location else {}),
        notes=tuple(notes),
        **users,
    )


def vehicle(meta: Any) -> VehicleParameters:
    """Sizes of the car as 123D has them."""
    ahead = float(meta.center_to_imu_se3.x - meta.rear_axle_to_imu_se3.x)
    return VehicleParameters(
        length=float(meta.length),
        width=float(meta.width),
        height=float(meta.height),
        wheelbase=float(meta.wheel_base),
        rear_overhang=float(meta.length) / 2.0 - ahead,
    )


def _imu_from_ego(meta: Any) -> Array:
    """(4, 4), the ground under the rear axle in the IMU's frame."""
    pose = np.array(meta.rear_axle_to_imu_se3.transformation_matrix, float)
    pose[2, 3] = float(meta.center_to_imu_se3.z) - float(meta.height) / 2.0
    return pose


def _users(folder: Path, scene: Any, stamps: Array, notes: list[str]) -> dict[str, Any]:
    """The road users, by their boxes at each step."""
    boxes, labelled = [], False
    for k in range(len(stamps)):
        found = scene.get_box_detections_se3_at_iteration(k)
        if found is None:
            continue
        labelled = True
        for row, box in enumerate(found):
            where = f"{folder / 'box_detections_se3.arrow'}, step {k}, box {row}"
            label = box.attributes.label
            kind = agent_kind(label.name, label.to_default().name, where)
            if kind is None:
                continue
            shape = box.bounding_box_se3
            size = (float(shape.length), float(shape.width), float(shape.height))
            down = se3(np.eye(3), np.array([0.0, 0.0, -size[2] / 2.0]))
            pose = box.center_se3.transformation_matrix @ down
            points = box.attributes.num_lidar_points
            token = str(box.attributes.track_token)
            count = -1 if points is None else int(points)
            boxes.append(LabelledBox(k, token, label.name, kind, size, pose, where, count))
    if not labelled:
        notes.append("no boxes")
    return road_users(boxes, stamps) if labelled else {}


def agent_kind(label: str, default: str, where: str) -> AgentKind | None:
    """Of a data set's label and 123D's own for it; None: the ego itself.

    Raises RoadloopError for a label of 123D that is not in ``DEFAULTS``.
    """
    if label in KINDS:
        return KINDS[label]
    if default not in DEFAULTS:
        raise RoadloopError(f"{where}: {unknown('label', default, DEFAULTS)}")
    return DEFAULTS[default]


def _map(
    folder: Path, scene: Any, steps: int, notes: list[str]
) -> tuple[Callable[[], Any] | None, Array | None]:
    """How the map is loaded, and (T, S) states of its lights."""
    api = scene.get_map_api()
    states = [scene.get_traffic_light_detections_at_iteration(k) for k in range(steps)]
    known = any(state is not None for state in states)
    lanes = sorted({int(light.lane_id) for state in states if state for light in state})
    if api is None:
        notes.append("no map" + (", so its lights are left out" if known else ""))
        return None, None
    load = partial(load_map, folder, tuple(lanes))
    if not known:
        return load, None
    column = {lane: s for s, lane in enumerate(lanes)}
    lights = np.zeros((steps, len(lanes) + len(signs(api))), np.uint8)
    for k, state in enumerate(states):
        for light in state or ():
            lights[k, column[int(light.lane_id)]] = LIGHTS[light.status.name]
    return load, lights


# --- sensors ------------------------------------------------------------------------------------


def _rig(
    folder: Path, scene: Any, ego_from_imu: Array, notes: list[str]
) -> tuple[SensorRig, list[tuple[str, Any, Sequence[Any], Callable[..., Any]]]]:
    """The sensors, and of each with measurements its kind, their times, how one is read."""
    cameras, lidars, reads = [], [], []
    for key, meta in scene.get_camera_metadatas().items():
        sensor = _camera(key, meta, ego_from_imu)
        if sensor is None:
            notes.append(f"camera {meta.camera_name}: lenses of this kind are not read")
            continue
        cameras.append(sensor)
        times = scene.get_all_camera_timestamps(key)
        reads.append((sensor.name, "camera", times, partial(_picture, folder, key, sensor)))
    for key, poses in _lidar_poses(scene).items():
        sensor = LidarSensor(key, Mount.of(ego_from_imu @ poses), beams=(), max_range=250.0)
        lidars.append(sensor)
        times = scene.get_all_lidar_timestamps(key)
        reads.append((key, "lidar", times, partial(read_sweep, folder, key, ego_from_imu)))
    left_out = [
        kind
        for kind in ("radar", "imu", "gnss", "camera_semantic", "camera_instance", "camera_depth")
        if any(key.split(".")[0] == kind for key in scene.get_all_modality_metadatas())
    ]
    if left_out:
        notes.append(f"{', '.join(left_out)}: left out")
    description = f"as py123d has it of {scene.get_log_metadata().dataset}"
    return SensorRig("py123d", description, tuple(cameras), tuple(lidars)), reads


def _camera(key: Any, meta: Any, ego_from_imu: Array) -> CameraSensor | None:
    """A pinhole camera, with its distortion where pictures still have it; None for other lenses."""
    lens = getattr(meta, "intrinsics", None)
    if meta.camera_model.name != "PINHOLE" or lens is None:
        return None
    bent = None if meta.is_undistorted else meta.distortion
    name = str(meta.camera_name)
    return CameraSensor(
        name=name if _NAME.fullmatch(name) else key.serialize(),
        mount=Mount.of_camera(ego_from_imu @ meta.camera_to_imu_se3.transformation_matrix),
        width=int(meta.width),
        height=int(meta.height),
        fx=float(lens.fx),
        fy=float(lens.fy),
        cx=float(lens.cx),
        cy=float(lens.cy),
        model="pinhole" if bent is None else "brown-conrady",
        distortion=() if bent is None else tuple(float(c) for c in bent.array),
    )


def _lidar_poses(scene: Any) -> dict[str, Array]:
    """LiDAR -> ``imu_from_lidar``; all of one sweep are one sensor where 123D has them merged."""
    metas = scene.get_all_modality_metadatas()
    single = {key.serialize(): meta for key, meta in scene.get_lidar_metadatas().items()}
    if "lidar.lidar_merged" in metas:
        first = next(iter(single.values()), None)
        pose = np.eye(4) if first is None else first.lidar_to_imu_se3.transformation_matrix
        return {"lidar_merged": np.asarray(pose, float)}
    return {key: np.asarray(m.lidar_to_imu_se3.transformation_matrix) for key, m in single.items()}


def _picture(
    folder: Path, key: Any, sensor: CameraSensor, time_us: int, timestamp_us: int
) -> LoggedImage:
    """A picture, decoded by py123d when it is looked at."""
    return LoggedImage.of(
        {"rgb": partial(_pixels, folder, key, sensor, time_us)},
        camera=sensor.camera,
        ego_from_camera=sensor.ego_from_camera,
        timestamp_us=timestamp_us,
        boxes=None,
    )


def _pixels(folder: Path, key: Any, sensor: CameraSensor, time_us: int) -> Array:
    found = _told(folder, lambda: open_scene(folder).get_camera_at_timestamp(time_us, key))
    if found is None or found.image is None:
        raise RoadloopError(f"{folder}: {sensor.name} has no picture at {time_us} us")
    rgb = np.asarray(found.image)
    if rgb.shape != (sensor.height, sensor.width, 3):
        raise RoadloopError(
            f"{folder}: the picture of {sensor.name} at {time_us} us has shape {rgb.shape}, its "
            f"calibration {sensor.width} x {sensor.height} px"
        )
    return np.ascontiguousarray(rgb)


def read_sweep(
    folder: Path, key: str, ego_from_imu: Array, time_us: int, timestamp_us: int
) -> LidarSweep:
    """A sweep; its points are in the IMU's frame, intensity 0 ... 255.

    Raises RoadloopError where py123d cannot read it.
    """
    found = _told(folder, lambda: open_scene(folder).get_lidar_at_timestamp(time_us, key))
    if found is None:
        raise RoadloopError(f"{folder}: {key} has no sweep at {time_us} us")
    xyz = transform_points(ego_from_imu, np.asarray(found.point_cloud_3d, float))
    strength = found.intensity
    strength = np.zeros(len(xyz)) if strength is None else np.asarray(strength, float) / 255.0
    points = np.concatenate([xyz, strength[:, None]], axis=1).astype(np.float32)
    ring, times = found.channel, found.timestamps
    return LidarSweep(
        points,
        timestamp_us,
        ring=None if ring is None else np.asarray(ring, np.uint16),
        time_offset=None if times is None else ((times - time_us) * 1e-6).astype(np.float32),
    )
