"""DGP scenes (Toyota Research Institute's Dataset Governance Policy; DDAD has this layout).

Layout: a folder per scene with ``scene_<hash>.json``, ``calibration``, ``ontology``, ``rgb``,
``point_cloud`` and ``bounding_box_3d``. A scene lists *samples*; the *data* of a sample (one per
sensor) have their own times and poses (``world_from_sensor``). A step is a sample, at the time of
its last datum; its boxes are those of the LiDAR.

Calibrations give ``vehicle_from_sensor`` with the vehicle's origin on the ground under the middle
of the rear axle (the authors in TRI-ML/DDAD issues 10 and 27), which is our ego frame. Boxes are in
the sensor's frame: x forward, y left, z up, the origin in the middle. Road and origin agree to 0.13
m in the two scenes tested.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.config import unknown
from roadloop.datasets.labelled_boxes import LabelledBox, road_users
from roadloop.datasets.motion import ego_of_poses
from roadloop.datasets.source import check_times, picture, read_bytes, read_json
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, se3, transform_points
from roadloop.logs.recording import Frame, Recording, step_of
from roadloop.readings import LidarSweep
from roadloop.rig import CameraSensor, LidarSensor, Mount, SensorRig
from roadloop.types import AgentKind, VehicleParameters

Array = np.ndarray

LEXUS_LS = VehicleParameters(
    length=5.21, width=1.875, height=1.475, wheelbase=3.09, rear_overhang=1.13
)
"""Lexus LS 600h L, the car of TRI's fleet in 2019 (platform 3.0; Lexus' data sheet). Its overhangs
are not stated there, they share the rest of the length"""

KINDS: dict[str, AgentKind] = {
    "Person": AgentKind.PEDESTRIAN,
    "Pedestrian": AgentKind.PEDESTRIAN,
    "Car": AgentKind.CAR,
    "Truck": AgentKind.TRUCK,
    "Bus/RV/Caravan": AgentKind.BUS,
    "Train": AgentKind.BUS,
    "Trailer": AgentKind.TRUCK,
    "Towed Object": AgentKind.TRUCK,
    "Motorcycle": AgentKind.MOTORCYCLE,
    "Bicycle": AgentKind.CYCLIST,
    "Wheeled Slow": AgentKind.CYCLIST,
}
"""classes of TRI's ontology"""

BOXES_3D = "1"
"""annotation type BOUNDING_BOX_3D"""
AXES = ("X", "Y", "Z", "INTENSITY")

LATEST = 4_102_444_800_000_000
"""us, the year 2100. Some scenes count tenths of a microsecond but write them as microseconds: the
years are 2463 and 2464, samples a second apart, traffic at walking pace. A tenth of those times is
in 2019, at 10 Hz, traffic at 13 m/s"""


def drives(root: Path) -> list[str]:
    """Scenes by the name of their folder; see ``roadloop.datasets.formats``."""
    return sorted(_scenes(root))


def open_drive(root: Path, name: str) -> Recording:
    """One scene; see ``roadloop.datasets.formats``."""
    found = _scenes(root)
    if name not in found:
        raise RoadloopError(f"{root} has no DGP scene {name}")
    text = found[name]
    scene = read_json(text)
    try:
        return _recording(text, scene, name)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, StopIteration) as error:
        raise RoadloopError(
            f"{text}: {error!r} is missing or of another kind; is it DGP?"
        ) from error


def _recording(text: Path, scene: Mapping[str, Any], name: str) -> Recording:
    folder = text.parent
    by_key = {datum["key"]: datum for datum in scene["data"]}
    calibrations = {sample["calibration_key"] for sample in scene["samples"]}
    if not calibrations:
        raise RoadloopError(f"{text} has no samples")
    if len(calibrations) > 1:
        raise RoadloopError(f"{text}: {len(calibrations)} calibrations in one scene, expected one")
    mounts, lenses = _calibration(folder / "calibration" / f"{calibrations.pop()}.json")

    samples, others = [], set()
    for k, sample in enumerate(scene["samples"]):
        data = []
        for key in sample["datum_keys"]:
            if key not in by_key:
                raise RoadloopError(f"{text}, sample {k}: datum {key} is not in the scene")
            datum = by_key[key]
            kind = next(iter(datum["datum"]))
            if kind in ("image", "point_cloud"):
                data.append(datum)
            else:
                others.add(kind)
        if not data:
            raise RoadloopError(f"{text}, sample {k} has neither picture nor sweep")
        samples.append(data)
    when = {d["key"]: _time(text, d) for data in samples for d in data}
    tenths = min(when.values()) > LATEST
    if tenths:
        when = {key: round(t / 10) for key, t in when.items()}
    pose = {d["key"]: _vehicle(text, d, mounts) for data in samples for d in data}
    last = [max(data, key=lambda d: when[d["key"]])["key"] for data in samples]
    start = when[last[0]]
    stamps = np.array([when[key] - start for key in last], np.int64)
    check_times(stamps, str(text), "sample")
    poses = np.array([pose[key] for key in last])

    notes = ["2D boxes, the pictures' copies of the 3D boxes and agents' features are left out"]
    notes += [f"data of kind {kind} are left out" for kind in sorted(others)]
    if tenths:
        notes.append("its times are tenths of a microsecond written as microseconds: divided by 10")
    rig, sensors = _rig(text, samples, mounts, lenses)
    frames, absent = [], 0
    for data in samples:
        for datum in data:
            label = datum["id"]["name"]
            path = folder / next(iter(datum["datum"].values()))["filename"]
            if label not in sensors or not path.is_file():
                absent += 1
                continue
            stamp = when[datum["key"]] - start
            frames.append(_frame(datum, sensors[label], path, stamp, stamps, pose[datum["key"]]))
    if absent:
        notes.append(f"{absent} pictures or sweeps are not there")
    classes = _ontology(folder, scene)
    boxes = []
    labelled = False
    for k, data in enumerate(samples):
        for datum in data:
            cloud = datum["datum"].get("point_cloud")
            if cloud and BOXES_3D in cloud["annotations"]:
                labelled = True
                label = datum["id"]["name"]
                world_from_sensor = pose[datum["key"]] @ mounts[label]
                path = folder / cloud["annotations"][BOXES_3D]
                boxes += _boxes(path, k, world_from_sensor, classes)
    users = road_users(boxes, stamps) if labelled else {}
    if labelled:
        notes.append(
            "boxes are as of the LiDAR's time, some hundredths of a second before a step's"
        )
    dt = round(float(np.median(np.diff(stamps))) * 1e-6, 2) if len(stamps) > 1 else 0.1
    return Recording(
        name=name,
        dataset="dgp",
        dt=dt,
        timestamp_us=stamps,
        ego=ego_of_poses(poses, stamps, LEXUS_LS),
        world_from_ego=poses,
        rig=rig,
        frames=tuple(sorted(frames, key=lambda f: (f.timestamp_us, f.sensor))),
        about={"start_us": start, "licence": "that of the data set", "log": str(scene["log"])},
        notes=tuple(notes),
        **users,
    )


# --- the scene's parts --------------------------------------------------------------------------


def _scenes(root: Path) -> dict[str, Path]:
    """Name -> scene text of ``root`` (a data set or one scene)."""
    if not root.is_dir():
        return {}
    texts = [
        t
        for t in (*root.glob("scene_*.json"), *root.glob("*/scene_*.json"))
        if (t.parent / "calibration").is_dir()
    ]
    folders = [t.resolve().parent for t in texts]
    return {
        f.name if folders.count(f) == 1 else f"{f.name}_{t.stem[len('scene_') :][:8]}": t
        for t, f in zip(texts, folders)
    }


def _calibration(path: Path) -> tuple[dict[str, Array], dict[str, Mapping[str, float]]]:
    """``vehicle_from_sensor`` and lens of each sensor."""
    content = read_json(path)
    mounts, lenses = {}, {}
    try:
        for k, label in enumerate(content["names"]):
            mounts[label] = _pose(f"{path}, sensor {label}", content["extrinsics"][k])
            lenses[label] = content["intrinsics"][k]
    except (KeyError, IndexError, TypeError):
        raise RoadloopError(f"{path} is no DGP calibration") from None
    return mounts, lenses


def _pose(where: str, pose: Mapping[str, Mapping[str, float]]) -> Array:
    """(4, 4) of a translation and a quaternion."""
    from scipy.spatial.transform import Rotation

    try:
        turn = np.array([pose["rotation"][f"q{key}"] for key in "xyzw"], float)
        place = np.array([pose["translation"][key] for key in "xyz"], float)
    except (KeyError, TypeError, ValueError) as error:
        raise RoadloopError(f"{where}: its pose is damaged ({error!r})") from None
    if turn.shape != (4,) or place.shape != (3,):
        raise RoadloopError(f"{where}: its pose is damaged (lists for numbers)")
    if not np.isfinite([*turn, *place]).all() or abs(np.linalg.norm(turn) - 1.0) > 1e-3:
        raise RoadloopError(f"{where}: its rotation is no unit quaternion, or a number not finite")
    return se3(Rotation.from_quat(turn).as_matrix(), place)


def _time(text: Path, datum: Mapping[str, Any]) -> int:
    """us, Unix."""
    stamp = datum["id"]["timestamp"]
    try:
        return int(np.datetime64(stamp.removesuffix("Z"), "us").astype(np.int64))
    except ValueError:
        raise RoadloopError(f"{text}, datum {datum['key']}: {stamp!r} is no time") from None


def _vehicle(text: Path, datum: Mapping[str, Any], mounts: Mapping[str, Array]) -> Array:
    """``world_from_vehicle`` (4, 4) when it was measured."""
    label, where = datum["id"]["name"], f"{text}, datum {datum['key']}"
    if label not in mounts:
        raise RoadloopError(f"{where}: {unknown('sensor of the calibration', label, mounts)}")
    return _pose(where, next(iter(datum["datum"].values()))["pose"]) @ inverse(mounts[label])


def _rig(
    text: Path,
    samples: list[list[Mapping[str, Any]]],
    mounts: Mapping[str, Array],
    lenses: Mapping[str, Mapping[str, float]],
) -> tuple[SensorRig, dict[str, CameraSensor | LidarSensor]]:
    sensors: dict[str, CameraSensor | LidarSensor] = {}
    for datum in (d for data in samples for d in data):
        label, lens = datum["id"]["name"], lenses[datum["id"]["name"]]
        if label in sensors:
            continue
        if image := datum["datum"].get("image"):
            extra = [key for key, v in lens.items() if key not in ("fx", "fy", "cx", "cy") and v]
            if extra:
                raise RoadloopError(
                    f"{text}: the lens of {label} has {', '.join(extra)}, which is not read"
                )
            sensors[label] = CameraSensor(
                name=label,
                mount=Mount.of_camera(mounts[label]),
                width=image["width"],
                height=image["height"],
                fx=float(lens["fx"]),
                fy=float(lens["fy"]),
                cx=float(lens["cx"]),
                cy=float(lens["cy"]),
            )
        else:
            place = Mount.of(mounts[label])
            sensors[label] = LidarSensor(name=label, mount=place, beams=(), max_range=250.0)
    rig = SensorRig(
        name="dgp",
        description="sensors of a DGP scene; the LiDAR's points are in the vehicle's frame",
        cameras=tuple(s for s in sensors.values() if isinstance(s, CameraSensor)),
        lidars=tuple(s for s in sensors.values() if isinstance(s, LidarSensor)),
    )
    return rig, sensors


def _frame(
    datum: Mapping[str, Any],
    sensor: CameraSensor | LidarSensor,
    path: Path,
    stamp: int,
    stamps: Array,
    world_from_ego: Array,
) -> Frame:
    step = step_of(stamps, stamp)
    if isinstance(sensor, CameraSensor):
        read = partial(picture, sensor, path, stamp)
        return Frame(sensor.name, "camera", stamp, step, world_from_ego, read)
    axes = tuple(datum["datum"]["point_cloud"]["point_format"]) or AXES
    read = partial(read_sweep, path, axes, sensor.mount.ego_from_sensor, stamp)
    return Frame(sensor.name, "lidar", stamp, step, world_from_ego, read)


def read_sweep(
    path: Path, axes: tuple[str, ...], ego_from_sensor: Array, timestamp_us: int
) -> LidarSweep:
    """The points of an ``.npz``: ``data`` (points, axes), intensity of 0 ... 1 or 0 ... 255.

    Raises RoadloopError for a file that is missing, damaged, or has no x, y, z.
    """
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as archive:
            data = archive["data"]
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RoadloopError(f"{path} is truncated or no DGP point cloud: {reason}") from None
    if data.ndim != 2 or data.shape[1] != len(axes) or axes[:3] != AXES[:3]:
        raise RoadloopError(f"{path} has shape {data.shape}, its point format is {axes}")
    xyz = transform_points(ego_from_sensor, data[:, :3])
    strength = data[:, axes.index("INTENSITY")] if "INTENSITY" in axes else np.zeros(len(data))
    if strength.max(initial=0.0) > 1.0:
        strength = strength / 255.0
    points = np.concatenate([xyz, np.clip(strength, 0.0, 1.0)[:, None]], axis=1)
    return LidarSweep(points.astype(np.float32), timestamp_us)


def _ontology(folder: Path, scene: Mapping[str, Any]) -> dict[int, str]:
    """Class number -> name, of the 3D boxes."""
    key = scene["ontologies"].get(BOXES_3D)
    if key is None:
        return {}
    return {
        int(item["id"]): item["name"]
        for item in read_json(folder / "ontology" / f"{key}.json")["items"]
    }


def _boxes(
    path: Path, step: int, world_from_sensor: Array, classes: Mapping[int, str]
) -> list[LabelledBox]:
    """The 3D boxes of one sweep."""
    boxes = []
    for k, row in enumerate(read_json(path)["annotations"]):
        where = f"{path}, box {k}"
        try:
            box = row["box"]
            size = (float(box["length"]), float(box["width"]), float(box["height"]))
            pose, number = box["pose"], int(row["class_id"])
            track, points = str(row["instance_id"]), int(row.get("num_points", -1))
        except (KeyError, TypeError, ValueError, OverflowError):
            raise RoadloopError(f"{where} is incomplete or of another kind") from None
        category = classes.get(number, f"class {number}")
        if category not in KINDS:
            raise RoadloopError(f"{where}: {unknown('class', category, KINDS)}")
        down = se3(np.eye(3), np.array([0.0, 0.0, -size[2] / 2.0]))
        frame = world_from_sensor @ _pose(where, pose) @ down
        boxes.append(
            LabelledBox(step, track, category, KINDS[category], size, frame, where, points)
        )
    return boxes
