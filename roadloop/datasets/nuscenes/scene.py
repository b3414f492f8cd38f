"""A recording as records of nuScenes' tables, and its sensor files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.camera import Pinhole, warp_between
from roadloop.datasets.nuscenes.classes import (
    VISIBILITY_UNKNOWN,
    attribute_of,
    category_of,
    moves,
)
from roadloop.datasets.nuscenes.files import lidar_bytes, radar_bytes
from roadloop.datasets.nuscenes.mask import world_offset
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, rotation_from_euler, se3, transform_points
from roadloop.logs.recording import Frame, Recording
from roadloop.readings import CameraImage
from roadloop.types import AgentStates

Array = np.ndarray
Record = dict[str, Any]
Add = Callable[[str, Record], None]
"""puts a record into a table"""

KEY_US = 500_000
"""between keyframes: 2 Hz"""

LATEST_US = 253_402_300_800_000_000
"""Unix time of the year 10000, from which there are no dates"""

QUALITY = 95
"""of pictures that were not JPEG before"""

PREFIX = {"lidar": "LIDAR_", "camera": "CAM_", "radar": "RADAR_"}


def token(*parts: object) -> str:
    """32 hexadecimal digits that name a record by its content."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:32]


def keyframes(recording: Recording) -> Array:
    """Steps that become keyframes: labelled ones, 0.5 s or more apart, at which there is a sweep.

    That is one of the first LiDAR, or a picture of the first camera where there is none, not older
    than a step: many folders hold the files of few of their labelled steps.
    """
    slack = int(0.5e6 * recording.dt)
    kinds = {frame.sensor: frame.kind for frame in recording.frames}
    clock = next(
        (name for kind in PREFIX for name in channel_order(recording) if kinds[name] == kind), ""
    )
    stamps = np.array([frame.timestamp_us for frame in recording.frames_of(clock)], np.int64)
    times = recording.timestamp_us
    newest = np.searchsorted(stamps, times, side="right") - 1
    seen = (newest >= 0) & (times - stamps[np.maximum(newest, 0)] < 1e6 * recording.dt)
    chosen: list[int] = []
    for k in np.flatnonzero(recording.is_labelled & seen).tolist():
        if not chosen or times[k] >= times[chosen[-1]] + KEY_US - slack:
            chosen.append(k)
    return np.array(chosen, int)


def channel_order(recording: Recording) -> list[str]:
    """Sensors that measured something, in the order of the rig."""
    measured = {frame.sensor for frame in recording.frames}
    return [s.name for s in recording.rig.sensors if s.name in measured]


def channel_names(recording: Recording) -> dict[str, str]:
    """Sensor -> channel as nuScenes writes them: CAM_FRONT for cam-front.

    The devkit asks every sample for LIDAR_TOP: where no LiDAR is called so the first one is.
    """
    kind = {frame.sensor: frame.kind for frame in recording.frames}
    names: dict[str, str] = {}
    for sensor in channel_order(recording):
        name = sensor.upper().replace("-", "_")
        prefix = PREFIX[kind[sensor]]
        names[sensor] = name if name.startswith(prefix) else prefix + name
    lidars = [sensor for sensor in names if kind[sensor] == "lidar"]
    if lidars and "LIDAR_TOP" not in names.values():
        names[lidars[0]] = "LIDAR_TOP"
    twice = [name for name in names.values() if list(names.values()).count(name) > 1]
    if twice:
        raise RoadloopError(f"{recording.name}: two sensors would be called {twice[0]}")
    return names


class SceneRecords:
    """Writes one recording: its records by ``add``, its sensor files below ``folder``."""

    def __init__(self, recording: Recording, folder: Path, add: Add) -> None:
        if not recording.frames:
            raise RoadloopError(f"{recording.name} has no pictures or sweeps to export")
        if not recording.continuous:
            raise RoadloopError(
                f"{recording.name} holds single pictures; nuScenes' schema is for drives"
            )
        self._recording = recording
        self._folder = folder
        self._add = add
        self._keys = keyframes(recording)
        self._channels = channel_names(recording)
        start = recording.about.get("start_us", 0)
        if not (isinstance(start, Integral) and 0 <= int(start) < LATEST_US):
            raise RoadloopError(
                f"{recording.name}: start_us is {start!r}; expected Unix time in whole us"
            )
        self._start = int(start)
        self._offset = np.array([*world_offset(recording), 0.0])
        self._sample = [self._token("sample", k) for k in self._keys.tolist()]
        self._key_points: dict[int, list[Array]] = {}
        self._key_targets: dict[int, list[Array]] = {}
        self._rectified: dict[Pinhole, Callable[[Array], Array]] = {}
        self._sensors = {sensor.name: sensor for sensor in recording.rig.sensors}
        self._calibrations: set[str] = set()

    def _token(self, *parts: object) -> str:
        return token(self._recording.name, *parts)

    def write(self) -> None:
        """All records and files. RoadloopError as reading the frames."""
        recording = self._recording
        if not len(self._keys):
            raise RoadloopError(f"{recording.name} has no labelled step with a sweep or picture")
        scene, log = self._token("scene"), self._token("log")
        self._add("log", self._log(log))
        self._add(
            "scene",
            {
                "token": scene,
                "log_token": log,
                "nbr_samples": len(self._keys),
                "first_sample_token": self._sample[0],
                "last_sample_token": self._sample[-1],
                "name": recording.name,
                "description": str(recording.about.get("description", "")),
            },
        )
        for n, k in enumerate(self._keys.tolist()):
            record = {
                "token": self._sample[n],
                "timestamp": self._unix(int(recording.timestamp_us[k])),
            }
            self._add("sample", record | _links(self._sample, n) | {"scene_token": scene})
        for sensor, channel in self._channels.items():
            self._sensor(sensor, channel)
        if recording.agents is not None:
            self._boxes(recording.agents)

    def _unix(self, stamp: int) -> int:
        return self._start + stamp

    def _log(self, log: str) -> Record:
        recording, about = self._recording, self._recording.about
        day = datetime.fromtimestamp(self._start * 1e-6, timezone.utc).date().isoformat()
        ours = {
            "dataset": recording.dataset,
            "vehicle": asdict(recording.ego.vehicle),
            "world_offset": self._offset[:2].tolist(),
        }
        return {
            "token": log,
            "logfile": recording.name,
            "vehicle": str(about.get("car", recording.dataset)),
            "date_captured": str(about.get("date", day)),
            "location": str(about.get("place", about.get("city", about.get("map", "unknown")))),
            "roadloop": ours | ({"licence": about["licence"]} if "licence" in about else {}),
        }

    # --- sensors ---------------------------------------------------------------------------------

    def _sensor(self, sensor: str, channel: str) -> None:
        """Everything a sensor measured, with keyframes the newest before each sample."""
        frames = self._recording.frames_of(sensor)
        stamps = np.array([frame.timestamp_us for frame in frames])
        same = np.flatnonzero(np.diff(stamps) == 0)
        if len(same):
            raise RoadloopError(
                f"{self._recording.name}: {sensor} has two measurements at {stamps[same[0]]} us"
            )
        times = self._recording.timestamp_us[self._keys]
        newest = np.searchsorted(stamps, times, side="right") - 1
        key_of: dict[int, int] = {}
        for n, frame in enumerate(newest.tolist()):
            if frame >= 0 and times[n] - stamps[frame] < KEY_US // 2:
                key_of.setdefault(frame, n)
        tokens = [self._token(channel, stamp) for stamp in stamps.tolist()]
        kind = frames[0].kind
        about = {"token": token("sensor", channel), "channel": channel, "modality": kind}
        self._add("sensor", about)
        for i, frame in enumerate(frames):
            n = key_of.get(i)
            owner = min(int(np.searchsorted(times, frame.timestamp_us)), len(times) - 1)
            unix = self._unix(frame.timestamp_us)
            place = frame.world_from_ego[:3, 3] + self._offset
            self._add(
                "ego_pose",
                {
                    "token": tokens[i],
                    "timestamp": unix,
                    "rotation": quaternion(frame.world_from_ego),
                    "translation": place.tolist(),
                },
            )
            suffix = {"camera": "jpg", "lidar": "pcd.bin", "radar": "pcd"}[kind]
            name = f"{self._recording.name}__{channel}__{unix}.{suffix}"
            path = f"{'sweeps' if n is None else 'samples'}/{channel}/{name}"
            calibration, size, content = self._measured(frame, about["token"], n)
            (self._folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self._folder / path).write_bytes(content)
            record = {
                "token": tokens[i],
                "sample_token": self._sample[owner if n is None else n],
                "ego_pose_token": tokens[i],
                "calibrated_sensor_token": calibration,
                "timestamp": unix,
                "fileformat": "jpg" if kind == "camera" else "pcd",
                "is_key_frame": n is not None,
                "height": size[1],
                "width": size[0],
                "filename": path,
            }
            self._add("sample_data", record | _links(tokens, i))

    def _measured(
        self, frame: Frame, sensor: str, sample: int | None
    ) -> tuple[str, tuple[int, int], bytes]:
        """Token of the calibration, picture size, and content of the file of a measurement."""
        reading = frame.read()
        if frame.kind == "camera":
            lens, content = self._picture(frame, reading)
            matrix = lens.matrix.tolist()
            pose = reading.ego_from_camera
            return self._calibration(sensor, pose, matrix), (lens.width, lens.height), content
        pose = self._sensors[frame.sensor].mount.ego_from_sensor  # type: ignore[union-attr]
        if frame.kind == "lidar":
            found, xyz = self._key_points, reading.points[:, :3].astype(np.float64)
            content = lidar_bytes(reading, pose)
        else:
            found = self._key_targets
            xyz = np.stack([reading.x, reading.y, reading.z], axis=-1).astype(np.float64)
            content = radar_bytes(reading, pose)
        if sample is not None:
            found.setdefault(sample, []).append(transform_points(frame.world_from_ego, xyz))
        return self._calibration(sensor, pose, []), (0, 0), content

    def _calibration(self, sensor: str, ego_from_sensor: Array, matrix: list[Any]) -> str:
        """The token of a calibrated_sensor, whose record is added once."""
        record = {
            "sensor_token": sensor,
            "translation": ego_from_sensor[:3, 3].tolist(),
            "rotation": quaternion(ego_from_sensor),
            "camera_intrinsic": matrix,
        }
        name = self._token(*record.values())
        if name not in self._calibrations:
            self._calibrations.add(name)
            self._add("calibrated_sensor", {"token": name} | record)
        return name

    def _picture(self, frame: Frame, image: CameraImage) -> tuple[Pinhole, bytes]:
        """The lens and the JPEG of a picture; of another lens than a pinhole, rectified.

        nuScenes knows pinholes only: the rectified picture has the same size and focal length.
        """
        lens = image.camera
        encoded = getattr(image, "encoded", None)
        if type(lens) is Pinhole and encoded is not None:
            content = encoded()
            if content.startswith(b"\xff\xd8"):
                if b"\xff\xd9" not in content[-64:]:
                    raise RoadloopError(
                        f"{self._recording.name}: the picture of {frame.sensor} at "
                        f"{frame.timestamp_us} us is truncated"
                    )
                return lens, content
        rgb = image.rgb
        if type(lens) is not Pinhole:
            plain = Pinhole(lens.width, lens.height, lens.fx, lens.fy, lens.cx, lens.cy)
            if lens not in self._rectified:
                self._rectified[lens] = warp_between(lens, plain)
            rgb, lens = self._rectified[lens](rgb), plain
        import cv2

        good, data = cv2.imencode(
            ".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
        )
        if not good:
            raise RoadloopError(f"{self._recording.name}: a picture of {frame.sensor} has no size")
        return lens, data.tobytes()

    # --- road users ------------------------------------------------------------------------------

    def _boxes(self, agents: AgentStates) -> None:
        """Instances and their annotations at the keyframes."""
        ever = moves(np.hypot(agents.vx, agents.vy), agents.valid)
        for a in range(agents.valid.shape[1]):
            there = [n for n, k in enumerate(self._keys.tolist()) if agents.valid[k, a]]
            if not there:
                continue
            k = int(self._keys[there[0]])
            own = str(self._recording.category[a])
            size = (float(getattr(agents, f)[k, a]) for f in ("length", "width", "height"))
            category = category_of(int(agents.kind[k, a]), own, *size)
            name = self._token("instance", int(agents.id[k, a]))
            tokens = [self._token("box", int(agents.id[k, a]), self._sample[n]) for n in there]
            self._add(
                "instance",
                {
                    "token": name,
                    "category_token": token("category", category),
                    "nbr_annotations": len(there),
                    "first_annotation_token": tokens[0],
                    "last_annotation_token": tokens[-1],
                },
            )
            for i, n in enumerate(there):
                self._add(
                    "sample_annotation",
                    {"token": tokens[i], "sample_token": self._sample[n], "instance_token": name}
                    | self._box(agents, n, a, category, bool(ever[a]))
                    | _links(tokens, i),
                )

    def _box(self, agents: AgentStates, n: int, a: int, category: str, ever_moves: bool) -> Record:
        """The box of road user ``a`` in sample ``n``, and what was measured in it."""
        recording, k = self._recording, int(self._keys[n])
        length, width, height, x, y, z, heading, vx, vy = (
            float(getattr(agents, f)[k, a])
            for f in ("length", "width", "height", "x", "y", "z", "heading", "vx", "vy")
        )
        if recording.world_from_agent is None:
            upright = rotation_from_euler(0.0, 0.0, heading)
            bottom = se3(upright, np.array([x, y, z]))
        else:
            bottom = recording.world_from_agent[k, a]
        centred = bottom.copy()
        centred[:3, 3] += bottom[:3, 2] * (height / 2.0)
        half = np.array([length, width, height]) / 2.0
        attribute = attribute_of(category, float(np.hypot(vx, vy)), ever_moves)
        counted = -1 if recording.lidar_points is None else int(recording.lidar_points[k, a])
        if counted < 0 and n in self._key_points:
            counted = _inside(self._key_points[n], centred, half)
        # a count of 0 in all takes a box out of the devkit's evaluation, one of -1 does not
        targets = _inside(self._key_targets.get(n, []), centred, half) if counted >= 0 else 0
        return {
            "visibility_token": VISIBILITY_UNKNOWN,
            "attribute_tokens": [token("attribute", attribute)] if attribute else [],
            "translation": (centred[:3, 3] + self._offset).tolist(),
            "size": [width, length, height],
            "rotation": quaternion(centred),
            "num_lidar_pts": counted,
            "num_radar_pts": targets,
        }


def quaternion(pose: Array) -> list[float]:
    """w, x, y, z (w >= 0) of a pose (4, 4)."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat().tolist()
    sign = -1.0 if w < 0.0 else 1.0
    return [sign * w + 0.0, sign * x + 0.0, sign * y + 0.0, sign * z + 0.0]


def _inside(clouds: list[Array], centred: Array, half: Array) -> int:
    """Points (n, 3) of clouds inside a closed box, which is nuScenes' rule."""
    there = (np.abs(transform_points(inverse(centred), cloud)) <= half for cloud in clouds)
    return int(sum(within.all(-1).sum() for within in there))


def _links(tokens: list[str], k: int) -> Record:
    """Neighbours of record ``k`` in a chain."""
    return {
        "prev": tokens[k - 1] if k else "",
        "next": tokens[k + 1] if k + 1 < len(tokens) else "",
    }
