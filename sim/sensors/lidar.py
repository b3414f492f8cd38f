"""LiDAR: sweeps of a spinning head or a solid-state sensor in a scene.

Points are given as the sensor measured them: each in the ego frame of its own firing time, so that
a sweep taken while the ego moves is distorted, as raw data are; ``compensated`` undoes it. Actors
stand still during a sweep, where the frame has them at its end (at 15 m/s, a real car would smear
over at most 1.5 m of a 10 Hz sweep).
"""

from __future__ import annotations

import dataclasses
import weakref

import numpy as np
from scipy.spatial.transform import Rotation

from roadloop.geometry import inverse
from roadloop.readings import LidarSweep
from roadloop.rig import LidarSensor
from sim.render.frame import Frame
from sim.render.raycast import Caster
from sim.render.scene import Scene
from sim.render.sweep import Beams, Returns, sweep
from sim.sensors.lidar_returns import echoes, farthest

Array = np.ndarray

_casters: weakref.WeakKeyDictionary[Scene, Caster] = weakref.WeakKeyDictionary()


class Lidar:
    """Takes sweeps with one LiDAR.

    Args:
        sensor: what the rig says of it.
        ego_from_sensor: (4, 4), where it truly sits; None: where the rig says. Points are always
            brought into the ego frame by the rig's mount, so a difference shows as a calibration
            error.
    """

    def __init__(self, sensor: LidarSensor, ego_from_sensor: Array | None = None) -> None:
        self.sensor = sensor
        self.beams = beams_of(sensor)
        self._calibrated = sensor.mount.ego_from_sensor
        self._mounted = self._calibrated if ego_from_sensor is None else np.asarray(ego_from_sensor)
        directions = self.beams.directions @ self._calibrated[:3, :3].T
        self._directions = np.ascontiguousarray(directions, np.float32).reshape(-1, 3)
        columns, rows = sensor.columns, len(sensor.beams)
        # columns by rising azimuth, as the beams have them, in the order of firing
        self._column = np.arange(columns)[:: -1 if sensor.clockwise else 1]
        self._order = (self._column[:, None] * rows + np.arange(rows)).ravel()
        self._ring = np.tile(np.arange(rows, dtype=np.uint16), columns)
        late = np.arange(columns) - (columns - 1.0)
        self._late = late / (columns * sensor.rate) if sensor.motion else np.zeros(columns)
        self._offset = np.repeat(self._late, rows).astype(np.float32)

    def scan(
        self,
        scene: Scene,
        frame: Frame,
        world: int,
        world_from_ego_now: Array,
        world_from_ego_before: Array,
        rng: np.random.Generator,
        *,
        elapsed: float | None = None,
        timestamp_us: int = 0,
        hide: int = 0,
    ) -> LidarSweep:
        """The sweep that ends now.

        Args:
            frame: what is to be seen, actors as they stand now; row ``world`` of it.
            world_from_ego_now: (4, 4) when the last point is measured.
            world_from_ego_before: (4, 4) ``elapsed`` s earlier (default: one period of the sensor).
                Between the two, and beyond, the ego moves evenly (see ``between``).
            rng: one generator for each sensor; as many numbers are drawn whatever is seen.
            hide: row of an actor that is not seen (the ego), -1: none.

        Returns:
            The points in the order of firing, columns of beams; ``ring`` and ``time_offset`` are
            always there, ``semantic`` (NONE for echoes of rain and fog) and ``instance`` where the
            sensor has ``labels``.
        """
        sensor = self.sensor
        poses = np.asarray(world_from_ego_now, np.float64) @ self._mounted
        if sensor.motion:
            share = 1.0 + self._late / (elapsed or 1.0 / sensor.rate)
            moving = between(world_from_ego_before, world_from_ego_now, share)
            poses = moving[self._column] @ self._mounted
        see = cast_sweep if sensor.exact else sweep
        seen = see(scene, frame, world, poses, self.beams, far=farthest(sensor), hide=hide)
        back = echoes(seen.distance, seen.surface, seen.cosine, sensor, frame.weather[world], rng)
        fired = np.flatnonzero(back.valid.ravel()[self._order])
        beam = self._order[fired]
        points = np.empty((len(beam), 4), np.float32)
        xyz = self._directions[beam] * back.distance.ravel()[beam, None]
        points[:, :3] = xyz + self._calibrated[:3, 3].astype(np.float32)
        points[:, 3] = back.intensity.ravel()[beam]
        semantic = instance = None
        if sensor.labels:
            solid = ~back.air.ravel()[beam]
            semantic = seen.semantic.ravel()[beam] * solid
            instance = seen.instance.ravel()[beam] * solid
        return LidarSweep(
            points=points,
            timestamp_us=timestamp_us,
            ring=self._ring[fired],
            time_offset=self._offset[fired],
            semantic=semantic,
            instance=instance,
        )


def beams_of(sensor: LidarSensor) -> Beams:
    """The directions of a sensor's beams; columns are the middles of equal parts of its fov."""
    turn = np.deg2rad if sensor.beam_unit == "deg" else np.asarray
    first, last = turn(sensor.fov[0]), turn(sensor.fov[1])
    step = float(last - first) / sensor.columns
    offset = sensor.beam_azimuth or (0.0,) * len(sensor.beams)
    return Beams(
        elevation=np.asarray(turn(np.array(sensor.beams, np.float64))),
        offset=np.asarray(turn(np.array(offset, np.float64))),
        start=float(first) + 0.5 * step,
        step=step,
        columns=sensor.columns,
    )


def cast_sweep(
    scene: Scene,
    frame: Frame,
    world: int,
    world_from_sensor: Array,
    beams: Beams,
    *,
    far: float,
    hide: int = 0,
) -> Returns:
    """``sim.render.sweep.sweep`` by exact ray casting, each ray from its own pose."""
    poses = np.broadcast_to(world_from_sensor, (beams.columns, 4, 4))
    directions = np.einsum("cij,crj->cri", poses[:, :3, :3], beams.directions)
    origins = np.broadcast_to(poses[:, None, :3, 3], directions.shape)
    if scene not in _casters:
        _casters[scene] = Caster(scene)
    hits = _casters[scene].cast(
        frame, world, origins.reshape(-1, 3), directions.reshape(-1, 3), far, hide=hide
    )
    shape = directions.shape[:2]
    return Returns(
        distance=hits.distance.reshape(shape),
        surface=hits.surface.reshape(shape),
        semantic=hits.semantic.reshape(shape),
        instance=hits.instance.reshape(shape),
        cosine=hits.cosine.reshape(shape),
    )


def between(before: Array, now: Array, share: Array) -> Array:
    """Poses (n, 4, 4) at ``share`` (n,) of the way from ``before`` (0) to ``now`` (1), or beyond.

    The position moves along the straight line, the rotation turns evenly about one axis.
    """
    share = np.asarray(share, np.float64)
    relative = inverse(before) @ now
    turn = Rotation.from_matrix(relative[:3, :3]).as_rotvec()
    poses = np.zeros((len(share), 4, 4))
    poses[:, :3, :3] = before[:3, :3] @ Rotation.from_rotvec(share[:, None] * turn).as_matrix()
    poses[:, :3, 3] = before[:3, 3] + share[:, None] * (now[:3, 3] - before[:3, 3])
    poses[:, 3, 3] = 1.0
    return poses


def compensated(
    sweep: LidarSweep,
    world_from_ego_now: Array,
    world_from_ego_before: Array,
    elapsed: float,
) -> LidarSweep:
    """The sweep with all points in the ego frame of its last point: the ego's motion undone.

    Args:
        world_from_ego_now: (4, 4) at ``sweep.timestamp_us``.
        world_from_ego_before: (4, 4) ``elapsed`` s earlier; the ego moves evenly between them.
    """
    if sweep.time_offset is None:
        return sweep
    offset, column = np.unique(sweep.time_offset, return_inverse=True)
    poses = between(world_from_ego_before, world_from_ego_now, 1.0 + offset / elapsed)
    now_from_then = (inverse(world_from_ego_now) @ poses)[column]
    points = sweep.points.copy()
    moved = np.einsum(
        "nij,nj->ni", now_from_then[:, :3, :3], sweep.points[:, :3].astype(np.float64)
    )
    points[:, :3] = moved + now_from_then[:, :3, 3]
    return dataclasses.replace(sweep, points=points)
