"""Reads a sensor log: Observations step by step, pictures decoded when they are looked at."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.logs.lazy import LoggedImage
from roadloop.logs.recording import Frame
from roadloop.logs.schema import EGO_FIELDS, Table, enum_names
from roadloop.logs.sensor_boxes import agent_kinds, agents_in_world
from roadloop.logs.sensor_files import IMAGES, image_array, lidar_sweep
from roadloop.logs.sensor_folder import (
    MAP,
    META,
    RIG,
    SUMS,
    listed,
    read_file,
    read_meta,
    read_sums,
)
from roadloop.logs.sensor_poses import QUATERNION, poses_of
from roadloop.logs.sensor_tables import OPTIONAL, table_rows
from roadloop.maps.cache import map_of
from roadloop.maps.road_map import RoadMap
from roadloop.readings import (
    CameraImage,
    GnssFix,
    ImageBoxes,
    ImuSamples,
    LidarSweep,
    RadarScan,
    WheelOdometry,
)
from roadloop.rig import CameraSensor, LidarSensor, RadarSensor, SensorRig, load_rig, select
from roadloop.types import EgoState, LightState, Observation, Tracks, VehicleParameters

Array = np.ndarray

UNIT = 1e-3
"""by which the length of a quaternion may be off 1"""
RIGS = 64
"""that are remembered, as parsing one takes longer than all else of opening a log"""

_rigs: dict[bytes, SensorRig] = {}


class SensorLogReader:
    """A sensor log as a sequence of Observations: ``reader[k]``, ``len(reader)``, iteration.

    Observation k is what the driver had at the k-th recorded step: of each sensor the newest
    measurement that had arrived. Pictures are read and decoded when they are looked at, sweeps with
    their Observation. Closed logs are compared with their checksums file by file. May be pickled,
    e.g. for the workers of a data loader.

    Args:
        folder: the log, or the folder of a drive with the log in ``sensors/``.
        sensors: those to read, by default all; only their files are touched.

    Raises:
        RoadloopError: no log, a missing or damaged file, a sensor the rig does not have.

    Attributes:
        rig: of the sensors that are read.
        meta: see ``docs/logs.md``.
        steps: (observations,) step numbers.
        world_from_ego: (observations, 4, 4).
    """

    def __init__(self, folder: str | Path, sensors: Sequence[str] | None = None) -> None:
        self.folder = _log_folder(Path(folder))
        self._sums = read_sums(self.folder)
        self.meta = read_meta(self.folder, listed(self.folder, self._sums, META))
        rig = _rig_in(self.folder / RIG, self._content(RIG))
        self.rig: SensorRig = rig if sensors is None else select(rig, tuple(sensors))
        self._tables: dict[str, _Rows] = {}
        self._boxes_of: dict[str, tuple[dict[str, Array], Array]] = {}
        ego = self._table("ego")
        if not len(ego.step):
            raise RoadloopError(f"{self.folder}: no step was recorded")
        self.steps = ego.step
        if len(twice := np.flatnonzero(np.diff(ego.step) == 0)):
            raise RoadloopError(f"{self.folder}: ego has step {ego.step[twice[0]]} twice")
        self.world_from_ego = poses_of(ego.rows)
        self._frames = self._by_sensor()
        self._vehicle = VehicleParameters(**self.meta["vehicle"])

    @property
    def finished(self) -> bool:
        """Whether the drive came to its end; False for one that was interrupted or killed."""
        return bool(self.meta["finished"])

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Observation]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, k: int) -> Observation:
        if not -len(self) <= k < len(self):
            raise IndexError(f"{self.folder} has {len(self)} steps, there is no {k}")
        k %= len(self)
        step = int(self.steps[k])
        ego = self._table("ego").rows
        state: dict[str, Any] = {key: np.float64(ego[key][k]) for key in EGO_FIELDS}
        return Observation(
            step=step,
            time=float(ego["time"][k]),
            dt=float(self.meta["dt"]),
            ego=EgoState(**state, vehicle=self._vehicle),
            tracks=self._tracks(k) if self.meta["tracks"] else None,
            lights=self._lights(step) if self.meta["lights"] else None,
            cameras=self._latest(step, self.rig.cameras, self._image),
            lidars=self._latest(step, self.rig.lidars, self._sweep),
            radars=self._latest(step, self.rig.radars, self._scan),
            **self.samples(k),
        )

    def samples(self, k: int) -> dict[str, dict]:
        """What IMUs, GNSS and odometry gave at the k-th step, by field of Observation."""
        step = int(self.steps[k])
        return {
            "imus": self._imus(step),
            "gnss": self._readings("gnss", GnssFix, step, self.rig.gnss),
            "odometry": self._readings("odometry", WheelOdometry, step, self.rig.odometry),
        }

    def boxes_3d(self, k: int) -> Table:
        """The labels of the k-th step: columns of ``boxes_3d``, each ``(agents,)``."""
        return self._table("boxes_3d").at(int(self.steps[k]))

    def rows(self, table: str) -> Table:
        """All rows of a table by step; columns: ``roadloop.logs.sensor_tables.TABLES``."""
        return self._table(table).rows

    def road_map(self) -> RoadMap:
        """The map that was kept in the log; RoadloopError where there is none."""
        if not self.has_map:
            raise RoadloopError(f"{self.folder} has no {MAP}: it was recorded without a map")
        return map_of(self.folder / MAP, self._content(MAP))

    @property
    def has_map(self) -> bool:
        """Whether a map was kept in the log."""
        return (self.folder / MAP).is_file()

    def frames(self) -> list[Frame]:
        """Every picture, sweep and scan of the sensors that are read, by time."""
        rows = self._table("frames").rows
        pose = dict(zip(zip(rows["sensor"].tolist(), rows["step"].tolist()), poses_of(rows)))
        number = {int(step): k for k, step in enumerate(self.steps)}
        found: list[Frame] = []
        for kind in ("camera", "lidar", "radar"):
            for sensor in getattr(self.rig, f"{kind}s"):
                steps, frames = self._frames.get(sensor.name, ([], []))
                for k, (step, (stamp, _)) in enumerate(zip(steps, frames)):
                    read = partial(_reading, self, kind, sensor.name, k)
                    where = pose[sensor.name, step]
                    found.append(Frame(sensor.name, kind, stamp, number[step], where, read))
        return sorted(found, key=lambda frame: (frame.timestamp_us, frame.sensor))

    def reading(self, kind: str, name: str, k: int) -> CameraImage | LidarSweep | RadarScan:
        """The k-th measurement of a sensor; ``kind``: camera, lidar or radar."""
        sensor = next(s for s in getattr(self.rig, f"{kind}s") if s.name == name)
        steps, frames = self._frames[name]
        read = {"camera": self._image, "lidar": self._sweep, "radar": self._scan}[kind]
        return read(sensor, steps[k], *frames[k])

    def verify(self) -> None:
        """Compare every file with its checksum; RoadloopError for the first that differs."""
        if self._sums is None:
            raise RoadloopError(f"{self.folder} was not closed: it has no {SUMS} to compare with")
        for name in self._sums:
            self._content(name)

    def rows_by_step(self, table: str) -> tuple[Table, Array]:
        """Rows of a table, and for each of them the number of its step.

        Rows after the last step, which a killed process did not finish, are left out. RoadloopError
        for one of a step before that ``ego`` does not have.
        """
        rows = self._table(table).rows
        kept = rows["step"] <= self.steps[-1]
        rows = {key: values[kept] for key, values in rows.items()}
        number = np.searchsorted(self.steps, rows["step"])
        strange = rows["step"][self.steps[number] != rows["step"]]
        if len(strange):
            raise RoadloopError(
                f"{self.folder}: {table} has rows of step {strange[0]}, which ego does not have"
            )
        return rows, number

    def _content(self, name: str) -> bytes:
        return read_file(self.folder, name, listed(self.folder, self._sums, name))

    def _table(self, name: str) -> _Rows:
        if name not in self._tables:
            folder = self.folder / f"{name}.parquet"
            parts = [folder] if folder.is_file() else sorted(folder.glob("*.parquet"))
            names = [path.relative_to(self.folder).as_posix() for path in parts]
            missing = [n for n in self._sums or () if n.startswith(f"{name}.") and n not in names]
            if missing or not (parts or name != "ego"):
                lost = self.folder / (missing[0] if missing else folder.name)
                raise RoadloopError(f"{lost} is missing; the log is incomplete, record it again")
            files = {self.folder / n: self._content(n) for n in names}
            rows = table_rows(name, files)
            if "qw" in rows:
                length = np.sqrt(sum(rows[key] ** 2 for key in QUATERNION))
                if len(wrong := np.flatnonzero(~(np.abs(length - 1.0) < UNIT))):
                    raise RoadloopError(
                        f"{self.folder}: {name} at step {rows['step'][wrong[0]]} has qw, qx, qy, "
                        f"qz of length {length[wrong[0]]:g}; must be a unit quaternion"
                    )
            self._tables[name] = _Rows(rows)
        return self._tables[name]

    def _by_sensor(self) -> dict[str, tuple[list[int], list[tuple[int, dict[str, str]]]]]:
        """Per sensor the steps at which a measurement arrived, and its timestamp and files."""
        kinds: dict[str, tuple[str, ...]] = {s.name: IMAGES for s in self.rig.cameras}
        kinds |= {s.name: ("lidar",) for s in self.rig.lidars}
        kinds |= {s.name: ("radar",) for s in self.rig.radars}
        found: dict[str, tuple[list[int], list[tuple[int, dict[str, str]]]]] = {}
        rows, _ = self.rows_by_step("frames")
        columns = [rows[key].tolist() for key in ("step", "timestamp_us", "sensor", "kind", "file")]
        for step, stamp, sensor, kind, file in zip(*columns):
            if sensor not in kinds:
                continue
            if kind not in kinds[sensor] or file.startswith("/") or ".." in file.split("/"):
                raise RoadloopError(
                    f"{self.folder}: frames has {file!r} of kind {kind} for {sensor} at step "
                    f"{step}; expected {' or '.join(kinds[sensor])} and a file in the log"
                )
            steps, frames = found.setdefault(sensor, ([], []))
            if not steps or steps[-1] != step:
                steps.append(step)
                frames.append((stamp, {}))
            frames[-1][1][kind] = file
        return found

    def _latest(self, step: int, sensors: Sequence[Any], read: Callable[..., Any]) -> dict:
        """Readings by name, ``read(sensor, step it arrived at, timestamp, files)`` of each."""
        readings = {}
        for sensor in sensors:
            steps, frames = self._frames.get(sensor.name, ([], []))
            k = bisect_right(steps, step) - 1
            if k >= 0:
                readings[sensor.name] = read(sensor, steps[k], *frames[k])
        return readings

    def _image(
        self, sensor: CameraSensor, step: int, stamp: int, files: dict[str, str]
    ) -> CameraImage:
        boxes = None
        if "boxes" in sensor.products:
            rows, steps = self._image_boxes(sensor.name)
            a, b = np.searchsorted(steps, [step, step + 1])
            boxes = ImageBoxes(**{key: values[a:b] for key, values in rows.items()})
        return LoggedImage.of(
            {
                kind: partial(
                    _picture, self.folder, kind, file, listed(self.folder, self._sums, file)
                )
                for kind, file in files.items()
            },
            encoded=self._encoded(files),
            camera=sensor.camera,
            ego_from_camera=sensor.ego_from_camera,
            timestamp_us=stamp,
            boxes=boxes,
        )

    def _image_boxes(self, camera: str) -> tuple[dict[str, Array], Array]:
        """Fields of the ImageBoxes of all pictures of a camera, and the step of each row."""
        if camera not in self._boxes_of:
            table = self._table("boxes_2d").rows
            mine = table["sensor"] == camera
            rows = {f.name: table[f.name][mine] for f in fields(ImageBoxes)}
            rows["kind"] = agent_kinds(rows["kind"])
            self._boxes_of[camera] = rows, table["step"][mine]
        return self._boxes_of[camera]

    def _encoded(self, files: dict[str, str]) -> Callable[[], bytes] | None:
        if "rgb" not in files:
            return None
        return partial(
            read_file, self.folder, files["rgb"], listed(self.folder, self._sums, files["rgb"])
        )

    def _sweep(
        self, sensor: LidarSensor, step: int, stamp: int, files: dict[str, str]
    ) -> LidarSweep:
        return lidar_sweep(self.folder / files["lidar"], self._content(files["lidar"]), stamp)

    def _scan(self, sensor: RadarSensor, step: int, stamp: int, files: dict[str, str]) -> RadarScan:
        rows = self._table("radar").at(step, sensor.name)
        keys = ("x", "y", "z", "radial_speed", "rcs")
        optional: dict[str, Any] = {
            key: None if np.ma.getmaskarray(rows[key]).any() else np.ma.getdata(rows[key])
            for key in OPTIONAL
        }
        return RadarScan(timestamp_us=stamp, **{key: rows[key] for key in keys}, **optional)

    def _imus(self, step: int) -> dict[str, ImuSamples]:
        samples = {}
        for sensor in self.rig.imus:
            rows = self._table("imu").at(step, sensor.name)
            samples[sensor.name] = ImuSamples(
                timestamp_us=rows["timestamp_us"],
                acceleration=np.stack([rows["ax"], rows["ay"], rows["az"]], axis=-1),
                angular_velocity=np.stack([rows["wx"], rows["wy"], rows["wz"]], axis=-1),
            )
        return samples

    def _readings(self, table: str, make: type, step: int, sensors: Sequence[Any]) -> dict:
        readings = {}
        for sensor in sensors:
            rows = self._table(table).at(step, sensor.name)
            if len(rows["step"]):
                values = {f.name: rows[f.name][-1].item() for f in fields(make)}
                readings[sensor.name] = make(**values)
        return readings

    def _tracks(self, k: int) -> Tracks:
        states = agents_in_world(self.boxes_3d(k), self.world_from_ego[k])
        count = len(states.id)
        return Tracks(states, position_std=np.zeros(count), age=np.full(count, self.steps[k]))

    def _lights(self, step: int) -> Array:
        rows = self._table("lights").at(step)
        number = {name: value for value, name in enumerate(enum_names(LightState).tolist())}
        lights = np.zeros(len(rows["signal"]), np.uint8)
        for signal, state in zip(rows["signal"].tolist(), rows["state"].tolist()):
            if state not in number or not 0 <= signal < len(lights):
                raise RoadloopError(
                    f"{self.folder}: lights at step {step}: signal {signal} is {state!r}; "
                    "expected every signal once and known states"
                )
            lights[signal] = number[state]
        return lights


class _Rows:
    """A table in the order of its steps."""

    def __init__(self, rows: Table) -> None:
        order = np.argsort(rows["step"], kind="stable")
        self.rows = {key: values[order] for key, values in rows.items()}
        self.step = self.rows["step"]

    def at(self, step: int, sensor: str | None = None) -> Table:
        """The rows of a step, of one sensor or of all."""
        a, b = np.searchsorted(self.step, [step, step + 1])
        rows = {key: values[a:b] for key, values in self.rows.items()}
        if sensor is None:
            return rows
        mine = rows["sensor"] == sensor
        return {key: values[mine] for key, values in rows.items()}


def _reading(reader: SensorLogReader, kind: str, name: str, k: int) -> Any:
    return reader.reading(kind, name, k)


def _picture(folder: Path, kind: str, file: str, expected: str | None) -> Array:
    return image_array(kind, folder / file, read_file(folder, file, expected))


def _log_folder(folder: Path) -> Path:
    inner = folder / "sensors"
    return inner if (inner / RIG).is_file() and not (folder / RIG).is_file() else folder


def _rig_in(path: Path, content: bytes) -> SensorRig:
    """The rig of a log; drives of one vehicle hold the same file, which is parsed once."""
    if content not in _rigs:
        if len(_rigs) == RIGS:
            _rigs.clear()
        _rigs[content] = load_rig(path)
    return _rigs[content]
