"""A sensor log: what all sensors of a vehicle measured, with labels, in files anyone can read.

::

    log/
      rig.yaml                     the sensors, as ``roadloop.rig.load_rig`` reads them
      calibration.json             the same as matrices: lenses, ego_from_camera, ego_from_sensor
      meta.json                    what it is; schema version, whether the drive came to its end
      frames.parquet/              one row per picture, sweep and scan, with the ego's pose
      ego.parquet/ lights.parquet/ one row per step; and per step and signal
      boxes_3d.parquet/ boxes_2d.parquet/ radar.parquet/ imu.parquet/ gnss.parquet/ ...
      objects.parquet/             what a data set calls its road users
      map.npz                      the compiled map, where there is one
      rgb/front/000012.jpg         pictures by kind, camera and step; also depth/ semantic/ ...
      lidar/top/000012.parquet     one sweep
      SHA256SUMS                   of every file, once the log is closed

Columns: ``sensor_tables``, rows: ``sensor_rows``, pictures: ``sensor_files``, reading:
``sensor_reader``. Files appear whole, a step's row of ``ego`` last: a killed process loses at most
the steps since the last flush.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roadloop import __version__
from roadloop.errors import RoadloopError
from roadloop.logs.schema import Table
from roadloop.logs.sensor_boxes import add_seen, boxes_in_ego, instance_counts, points_inside
from roadloop.logs.sensor_checks import (
    check_ego,
    check_image,
    check_names,
    check_pose,
    check_scan,
    check_sweep,
)
from roadloop.logs.sensor_files import IMAGES, image_file, lidar_bytes, suffix
from roadloop.logs.sensor_folder import (
    CALIBRATION,
    MAP,
    META,
    RIG,
    calibration_bytes,
    json_bytes,
    prepare,
    rig_bytes,
    write_file,
    write_sums,
)
from roadloop.logs.sensor_poses import PoseHistory, level_pose, pose_columns
from roadloop.logs.sensor_rows import box_rows, ego_row, light_rows, sample_rows, scan_rows
from roadloop.logs.sensor_tables import SCHEMA_VERSION, TABLES, table_bytes
from roadloop.maps.cache import map_bytes
from roadloop.readings import CameraImage, LidarSweep, RadarScan
from roadloop.rig import CameraSensor, SensorRig
from roadloop.types import Observation

if TYPE_CHECKING:
    from roadloop.maps.road_map import RoadMap

Array = np.ndarray

_WRITE_ORDER = (*(name for name in TABLES if name != "ego"), "ego")  # a step exists by its ego row


class SensorLogWriter:
    """Writes a sensor log step by step; use it as a context manager.

    Leaving the block closes the log as finished, leaving it by an exception as interrupted. A log
    of one's own camera::

        rig = load_rig("my-car.yaml")
        front = rig.cameras[0]
        with SensorLogWriter("logs/monday", rig) as log:
            for step, (rgb, ego) in enumerate(my_recording):
                image = CameraImage(rgb, front.camera, front.ego_from_camera, step * 100_000)
                log.append(Observation(step, step * 0.1, 0.1, ego, cameras={"front": image}))

    Args:
        folder: where to write; created if missing.
        rig: the sensors, as the calibration has them; of each camera its ``products`` are kept.
        overwrite: replace a log the folder holds; only files a log has are removed.
        lossless: colours as PNG, depth and flow as npz; otherwise colours as JPEG, depth and flow
            as PNG of 16 bits. Everything else is always kept to the bit.
        about: facts for ``meta.json``, e.g. the scenario's name and seed; plain JSON values.
        flush_every: steps per part of a table, the most that a killed process loses.
        road_map: kept in the log, so that it can be replayed anywhere.
        late: s after which a measurement may be given beyond any latency in the rig.

    Raises:
        RoadloopError: no rig, or a folder that cannot be written or holds a log already.
    """

    def __init__(
        self,
        folder: str | Path,
        rig: SensorRig,
        *,
        overwrite: bool = False,
        lossless: bool = False,
        about: Mapping[str, Any] | None = None,
        flush_every: int = 50,
        road_map: RoadMap | None = None,
        late: float = 0.0,
    ) -> None:
        if flush_every < 1:
            raise RoadloopError(f"flush_every is {flush_every}; it must be at least 1 step")
        described = rig_bytes(rig)
        self.folder = Path(folder)
        self.rig = rig
        self.lossless = lossless
        self.bytes = 0
        """written so far"""
        self._cameras = {camera.name: camera for camera in rig.cameras}
        self._mounts = {camera.name: camera.ego_from_camera for camera in rig.cameras}
        self._about = dict(about or {})
        self._flush_every = flush_every
        self._rows: dict[str, list[Table]] = {name: [] for name in TABLES}
        self._boxes: dict[int, Table] = {}
        self._poses = PoseHistory()
        self._newest: dict[str, Any] = {}
        self._measured_from: Mapping[str, Array] = {}
        self._counted = False
        self._sums: dict[str, str] = {}
        self._meta: dict[str, Any] = {}
        self._late = late
        self._delay = 0  # steps until the slowest measurement has arrived
        self._settled = -1  # up to this step everything is written
        self._parts = 0
        self._steps = 0
        self._last: Observation | None = None
        self._open = True
        prepare(self.folder, overwrite)
        self._write(RIG, described)
        self._write(CALIBRATION, calibration_bytes(rig))
        if road_map is not None:
            self._write(MAP, map_bytes(road_map))

    def __enter__(self) -> SensorLogWriter:
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *rest: object) -> None:
        if self._open:
            self.close(finished=exception_type is None)

    def append(
        self,
        observation: Observation,
        *,
        world_from_ego: Array | None = None,
        world_from_agent: Array | None = None,
        measured_from: Mapping[str, Array] | None = None,
        lidar_points: Array | None = None,
        labelled: bool = True,
    ) -> None:
        """Add one step: the ego, the agents, the lights, and what sensors have measured.

        A reading that was there at the step before, with the same timestamp, is not stored again.

        Args:
            observation: of a later step than the one before; some may be left out. Timestamps count
                from where ``time`` does. ``tracks`` are taken for the truth: they are the labels.
            world_from_ego: (4, 4), by default level at the ego's x, y, z and heading. Its position
                is what the log keeps: on a slope it may differ from the ego's by centimetres.
            world_from_agent: (agents, 4, 4), poses of the tracks' boxes with the origin on the
                ground under the centre, by default upright.
            measured_from: (4, 4) world_from_ego at the moment of measurement by sensor, by default
                interpolated between steps.
            lidar_points: (agents,) LiDAR points in each box of the tracks as a data set counts
                them, -1 where it does not; by default they are counted here.
            labelled: False for tracks that are interpolated between labels.

        Raises:
            RoadloopError: steps out of order; a sensor the rig does not have; a picture of another
                size or calibration than the rig's; NaN; a missing product; a time in the future.
        """
        if not self._open:
            raise RoadloopError(f"{self.folder}: the log is closed; no step can be added")
        step = int(observation.step)
        if self._last is not None and step <= self._last.step:
            raise RoadloopError(
                f"{self.folder}: step {step} after step {self._last.step}; give them in order"
            )
        where = f"{self.folder}: step {step}"
        check_names(where, self.rig, observation)
        check_ego(where, observation)
        pose = level_pose(observation.ego) if world_from_ego is None else np.array(world_from_ego)
        check_pose(where, pose, observation.ego)
        if self._last is None:
            self._begin(observation)
        for key in ("tracks", "lights"):
            if self._meta[key] != (getattr(observation, key) is not None):
                has = "has no" if self._meta[key] else "has"
                raise RoadloopError(
                    f"{where} {has} {key} unlike the steps before; give them at every step or at "
                    "none"
                )
        now_us = round(observation.time * 1e6)
        self._poses.add(step, now_us, pose)
        self._measured_from = measured_from or {}
        self._counted = lidar_points is not None
        if observation.lights is not None:
            self._add("lights", light_rows(where, step, np.asarray(observation.lights)))
        if observation.tracks is not None:
            states = observation.tracks.states
            try:
                self._boxes[step] = boxes_in_ego(states, pose, world_from_agent, lidar_points)
            except RoadloopError as error:
                raise RoadloopError(f"{where}: {error}") from None
        for name, image in observation.cameras.items():
            if self._is_new(where, name, image, observation, image.rgb):
                self._add_image(where, observation, self._cameras[name], image)
        for name, sweep in observation.lidars.items():
            if self._is_new(where, name, sweep, observation, sweep.points):
                self._add_sweep(where, observation, name, sweep)
        for name, scan in observation.radars.items():
            if self._is_new(where, name, scan, observation, scan.x):
                self._add_scan(where, observation, name, scan)
        for table, rows in sample_rows(observation):
            self._add(table, rows)
        self._add("ego", ego_row(observation, pose, labelled))  # last: now the step is complete
        self._last = observation
        self._steps += 1
        if len(self._rows["ego"]) >= self._flush_every + self._delay:
            self._flush(step - self._delay)

    def add_objects(self, step: int, ids: Array, category: Array, source_id: Array) -> None:
        """Add what a data set calls road users that are first there at ``step``, each (n,)."""
        rows = {"id": ids, "category": category, "source_id": source_id}
        self._add("objects", {"step": np.full(len(ids), step), **rows})

    def close(self, finished: bool = True) -> None:
        """Write what is buffered and the checksums; ``finished`` False marks an interrupted run."""
        if not self._open:
            return
        self._open = False
        if self._last is None:
            return  # nothing was recorded: no log, only its calibration
        self._flush(self._last.step)
        self._meta |= {"steps": self._steps, "finished": bool(finished)}
        self._write(META, json_bytes(self._meta))
        write_sums(self.folder, self._sums)

    def _begin(self, observation: Observation) -> None:
        """What is known with the first step."""
        dt = float(observation.dt)
        slowest = max((getattr(s, "latency", 0.0) for s in self.rig.sensors), default=0.0)
        self._delay = math.ceil((slowest + self._late) / dt - 1e-6)
        self._meta = {
            "format": "roadloop sensor log",
            "schema_version": SCHEMA_VERSION,
            "roadloop_version": __version__,
            "rig": self.rig.name,
            "dt": dt,
            "lossless": self.lossless,
            "vehicle": dataclasses.asdict(observation.ego.vehicle),
            "about": self._about,
            "tracks": observation.tracks is not None,
            "lights": observation.lights is not None,
            "steps": None,
            "finished": False,
        }
        self._write(META, json_bytes(self._meta))

    def _is_new(
        self, where: str, name: str, reading: Any, observation: Observation, values: Array
    ) -> bool:
        """Whether a reading is another one than the last of the sensor; checks its time."""
        before, stamp = self._newest.get(name), int(reading.timestamp_us)
        if before is not None and stamp <= before[0]:
            if stamp == before[0] and (before[1] is reading or np.array_equal(before[2], values)):
                return False
            raise RoadloopError(
                f"{where}: {name} gives another measurement of {stamp} us after one of "
                f"{before[0]} us; each needs a later timestamp"
            )
        if stamp > round((observation.time + observation.dt) * 1e6):
            raise RoadloopError(
                f"{where}: {name} was measured at {stamp} us, but the step is at "
                f"{observation.time:.6f} s; count both from the same start"
            )
        self._newest[name] = (stamp, reading, values)
        return True

    def _add_image(
        self, where: str, observation: Observation, sensor: CameraSensor, image: CameraImage
    ) -> None:
        check_image(where, sensor, image, self._mounts[sensor.name])
        frame = self._frame(observation, sensor.name, image.timestamp_us)
        for kind in (kind for kind in IMAGES if kind in sensor.products):
            try:
                content, end = image_file(kind, image, self.lossless)
            except RoadloopError as error:
                raise RoadloopError(f"{where}: camera {sensor.name}: {error}") from None
            file = f"{kind}/{sensor.name}/{observation.step:06d}{end}"
            self._write(file, content)
            self._add("frames", {**frame, "kind": kind, "file": file})
        boxes = self._labelled(where, frame)
        if image.boxes is not None and "boxes" in sensor.products:
            rows = box_rows(observation.step, sensor.name, image.boxes, image.timestamp_us)
            self._add("boxes_2d", rows)
            if boxes is not None:
                add_seen(boxes, "pixels", image.boxes.id, image.boxes.pixels)
        elif image.instance is not None and boxes is not None:
            add_seen(boxes, "pixels", *instance_counts(image.instance))

    def _add_sweep(
        self, where: str, observation: Observation, name: str, sweep: LidarSweep
    ) -> None:
        check_sweep(where, name, sweep)
        file = f"lidar/{name}/{observation.step:06d}{suffix('lidar', self.lossless)}"
        self._write(file, lidar_bytes(sweep))
        frame = self._frame(observation, name, sweep.timestamp_us)
        self._add("frames", {**frame, "kind": "lidar", "file": file})
        boxes = self._labelled(where, frame)
        if boxes is not None and not self._counted:
            add_seen(boxes, "lidar_points", boxes["id"], points_inside(boxes, sweep.points))

    def _add_scan(self, where: str, observation: Observation, name: str, scan: RadarScan) -> None:
        check_scan(where, name, scan)
        self._add("radar", scan_rows(observation.step, name, scan))
        frame = self._frame(observation, name, scan.timestamp_us)
        self._add("frames", {**frame, "kind": "radar", "file": "radar.parquet"})

    def _frame(self, observation: Observation, name: str, timestamp_us: int) -> dict[str, Any]:
        """A row of ``frames`` but for its kind and file."""
        pose = self._measured_from.get(name)
        return {
            **{"step": observation.step, "time": observation.time, "timestamp_us": timestamp_us},
            "label_step": self._poses.nearest(timestamp_us),
            "sensor": name,
            **pose_columns(self._poses.at(timestamp_us) if pose is None else pose),
        }

    def _labelled(self, where: str, frame: Mapping[str, Any]) -> Table | None:
        """The boxes of the step at which something was measured, None without labels."""
        if frame["label_step"] <= self._settled:
            raise RoadloopError(
                f"{where}: {frame['sensor']} was measured at step {frame['label_step']}, longer "
                "ago than any latency in the rig: put the sensor's latency there"
            )
        return self._boxes.get(frame["label_step"])

    def _add(self, table: str, rows: Mapping[str, Any]) -> None:
        self._rows[table].append({key: np.atleast_1d(value) for key, value in rows.items()})

    def _flush(self, settled: int) -> None:
        """Write all rows, but those of ego and boxes_3d only up to the step ``settled``.

        A late measurement may still say what it saw of the boxes of a later one.
        """
        for step in [step for step in self._boxes if step <= settled]:
            boxes = self._boxes.pop(step)
            self._add("boxes_3d", {"step": np.full(len(boxes["id"]), step), **boxes})
        later: dict[str, list[Table]] = {}
        for name in _WRITE_ORDER:
            rows = self._rows[name]
            waiting = [r for r in rows if name == "ego" and r["step"][0] > settled]
            rows = rows[: len(rows) - len(waiting)]
            join = np.ma.concatenate if name == "radar" else np.concatenate
            joined = {key: join([r[key] for r in rows]) for key in rows[0]} if rows else {}
            part = f"{name}.parquet/part-{self._parts:05d}.parquet"
            self._write(part, table_bytes(name, joined))
            later[name] = waiting
        self._rows = later  # not before all is written: Ctrl-C may come at any time
        self._settled = settled
        self._parts += 1

    def _write(self, name: str, content: bytes) -> None:
        self._sums[name] = write_file(self.folder, name, content)
        self.bytes += len(content)
