"""Sensor rigs: which sensors sit where on a vehicle, how often they measure, how late they answer.

A rig is one of those in ``configs/sensors/`` or a YAML file of one's own. Poses are in the ego
frame (x forward, y left, z up, origin on the ground under the rear axle). A sensor's own frame has
the same axes, but a camera's: x right, y down, z forward.

    rig = load_rig("nuscenes")              # what the calibration says
    true = with_calibration_error(rig, 7)   # where the sensors really sit
    small = resized(rig, 0.25)              # the same views in a sixteenth of the pixels

A mistake in a rig, in a file or in code, is a RoadloopError of one line (``roadloop.rig_checks``).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np

from roadloop.camera import BrownConrady, Fisheye, Pinhole
from roadloop.config import config_folder, load_config, unknown
from roadloop.errors import RoadloopError
from roadloop.geometry import rotation_from_euler, se3
from roadloop.rig_checks import (
    check_camera,
    check_lidar,
    check_mount,
    check_name,
    check_numbers,
    check_radar,
    check_rig,
)

CAMERA_AXES = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""ego-like axes from camera axes: x right, y down, z forward to x forward, y left, z up"""

KINDS = ("cameras", "lidars", "radars", "imus", "gnss", "odometry")
"""fields of a rig that hold sensors, named as those of an Observation"""

_CALIBRATION = 0xCA1  # keeps these random numbers apart from those of the sensor's own noise


@dataclass(frozen=True)
class Mount:
    """Where a sensor sits and which way it looks."""

    x: float
    """m forward of the rear axle"""
    y: float
    """m left of the middle"""
    z: float
    """m above the ground"""
    yaw: float = 0.0
    """rad, left positive"""
    pitch: float = 0.0
    """rad, down positive"""
    roll: float = 0.0
    """rad, right side down positive"""

    def __post_init__(self) -> None:
        check_mount(self)

    @classmethod
    def of(cls, ego_from_sensor: np.ndarray) -> Mount:
        """The mount of a pose (4, 4) of a sensor with the ego's axes."""
        x, y, z = ego_from_sensor[:3, 3].tolist()
        return cls(x, y, z, *_yaw_pitch_roll(ego_from_sensor))

    @classmethod
    def of_camera(cls, ego_from_camera: np.ndarray) -> Mount:
        """The mount of a camera's pose (4, 4); camera axes: x right, y down, z forward."""
        pose = ego_from_camera.copy()
        pose[:3, :3] = pose[:3, :3] @ CAMERA_AXES.T
        return cls.of(pose)

    @property
    def ego_from_sensor(self) -> np.ndarray:
        """(4, 4) for a sensor with the ego's axes."""
        return se3(
            rotation_from_euler(self.roll, self.pitch, self.yaw), np.array([self.x, self.y, self.z])
        )


@dataclass(frozen=True)
class CameraEffects:
    """What a real camera adds to a picture; all off by default."""

    noise: float = 0.0
    """standard deviation of the read noise as a share of full scale; shot noise goes with it"""
    exposure_jitter: float = 0.0
    """share by which the gain wanders from picture to picture"""
    motion_blur: float = 0.0
    """s, exposure time"""
    vignetting: float = 0.0
    """share of light lost in the corners"""
    dirt: float = 0.0
    """share of the lens covered by specks"""
    raindrops: bool = False
    """drops on the lens when it rains"""

    def __post_init__(self) -> None:
        check_numbers("effects", self)


@dataclass(frozen=True)
class CameraSensor:
    """A camera of a rig."""

    name: str
    mount: Mount
    width: int
    """px"""
    height: int
    fx: float
    """px"""
    fy: float
    cx: float
    cy: float
    model: str = "pinhole"
    """pinhole, brown-conrady or fisheye"""
    distortion: tuple[float, ...] = ()
    """brown-conrady: k1 k2 p1 p2 [k3 [k4 k5 k6]]; fisheye: k1 k2 k3 k4"""
    rate: float = 10.0
    """Hz"""
    latency: float = 0.0
    """s from the exposure until a driver has the picture"""
    products: tuple[str, ...] = ("rgb",)
    """of rgb, depth, semantic, instance, flow, boxes"""
    detail: str = "plain"
    """plain: one colour per triangle; full: textures, headlights and reflections per pixel"""
    shadows: bool = True
    """cast and contact shadows, where ``detail`` is full"""
    antialias: int = 1
    """the colours are rendered so many times wider and higher and averaged; labels are not"""
    effects: CameraEffects = field(default_factory=CameraEffects)

    def __post_init__(self) -> None:
        check_name("camera", self.name)
        check_numbers(f'camera "{self.name}"', self)
        check_camera(self)

    @cached_property
    def camera(self) -> Pinhole:
        """The lens."""
        size = (self.width, self.height, self.fx, self.fy, self.cx, self.cy)
        if self.model == "pinhole":
            return Pinhole(*size)
        if self.model == "fisheye":
            return Fisheye(*size, *self.distortion)
        return BrownConrady(*size, *self.distortion)

    @cached_property
    def ego_from_camera(self) -> np.ndarray:
        """(4, 4) with the camera's own axes; not to be written to."""
        pose = self.mount.ego_from_sensor.copy()
        pose[:3, :3] = pose[:3, :3] @ CAMERA_AXES
        pose.flags.writeable = False
        return pose


@dataclass(frozen=True)
class LidarSensor:
    """A LiDAR of a rig."""

    name: str
    mount: Mount
    beams: tuple[float, ...]
    """elevation of each beam, in ``beam_unit``, any order; ring numbers follow this order. None at
    all: not known, as of a recorded sensor, which the simulator then cannot imitate"""
    beam_unit: str = "deg"
    """deg or rad"""
    columns: int = 1080
    """measurements of each beam over the field of view"""
    fov: tuple[float, float] = (-180.0, 180.0)
    """azimuth from ... to, in ``beam_unit``; less than a full turn: solid state"""
    beam_azimuth: tuple[float, ...] = ()
    """azimuth offset of each beam, in ``beam_unit``"""
    clockwise: bool = True
    """which way a spinning head turns, seen from above"""
    rate: float = 10.0
    """Hz, sweeps"""
    latency: float = 0.0
    """s"""
    min_range: float = 1.0
    """m"""
    max_range: float = 100.0
    """m, for a surface of 10 % reflectivity"""
    range_noise: float = 0.02
    """m, standard deviation"""
    dropout: float = 0.0
    """share of returns that get lost"""
    exact: bool = False
    """cast every ray through a tree of all triangles instead of rasterising the sphere"""
    motion: bool = True
    """points are measured while the ego moves, as on a spinning head; False: all at once"""
    labels: bool = False
    """semantic and instance per point"""

    def __post_init__(self) -> None:
        check_name("LiDAR", self.name)
        check_numbers(f'LiDAR "{self.name}"', self)
        check_lidar(self)


@dataclass(frozen=True)
class RadarSensor:
    """A radar of a rig."""

    name: str
    mount: Mount
    fov: float = 2.1
    """rad, horizontal opening"""
    vertical_fov: float = 0.35
    """rad"""
    min_range: float = 0.5
    """m"""
    max_range: float = 150.0
    """m, for 10 dB m^2"""
    rate: float = 10.0
    """Hz"""
    latency: float = 0.0
    """s"""
    range_noise: float = 0.15
    """m, standard deviations"""
    azimuth_noise: float = 0.009
    """rad"""
    elevation_noise: float = 0.02
    """rad"""
    speed_noise: float = 0.1
    """m/s"""
    clutter: float = 2.0
    """mean number of false targets per scan"""
    ghosts: float = 0.05
    """share of targets with a second, mirrored echo"""
    max_targets: int = 125

    def __post_init__(self) -> None:
        check_name("radar", self.name)
        check_numbers(f'radar "{self.name}"', self)
        check_radar(self)


@dataclass(frozen=True)
class ImuSensor:
    """An IMU of a rig. Noise as Allan variance gives it."""

    name: str
    mount: Mount
    rate: float = 100.0
    """Hz"""
    accelerometer_noise: float = 0.002
    """m/s^2 per root Hz"""
    accelerometer_bias: float = 0.05
    """m/s^2, standard deviation of the bias at the start"""
    accelerometer_walk: float = 0.0003
    """m/s^3 per root Hz, random walk of the bias"""
    gyroscope_noise: float = 0.0002
    """rad/s per root Hz"""
    gyroscope_bias: float = 0.002
    """rad/s"""
    gyroscope_walk: float = 0.00002
    """rad/s^2 per root Hz"""

    def __post_init__(self) -> None:
        check_name("IMU", self.name)
        check_numbers(f'IMU "{self.name}"', self)


@dataclass(frozen=True)
class GnssSensor:
    """A GNSS receiver of a rig."""

    name: str
    mount: Mount
    rate: float = 10.0
    """Hz"""
    latency: float = 0.0
    """s"""
    noise: float = 0.5
    """m, white, standard deviation of x and y; twice that of z"""
    drift: float = 1.0
    """m, standard deviation of the slow error"""
    drift_time: float = 60.0
    """s, correlation time of the slow error (first-order Gauss-Markov)"""
    dropout: float = 0.0
    """share of time without a fix"""
    dropout_time: float = 3.0
    """s, mean length of an outage"""

    def __post_init__(self) -> None:
        check_name("GNSS", self.name)
        check_numbers(f'GNSS "{self.name}"', self)


@dataclass(frozen=True)
class OdometrySensor:
    """Wheel speed and steering angle sensors."""

    name: str
    rate: float = 50.0
    """Hz"""
    scale: float = 0.01
    """share by which the wheel radius is wrong, standard deviation"""
    speed_noise: float = 0.03
    """m/s"""
    steering_noise: float = 0.002
    """rad"""
    steering_offset: float = 0.005
    """rad, standard deviation of the constant error"""
    dropout: float = 0.0
    """share of samples that get lost"""

    def __post_init__(self) -> None:
        check_name("odometry", self.name)
        check_numbers(f'odometry "{self.name}"', self)


Mounted: TypeAlias = CameraSensor | LidarSensor | RadarSensor | ImuSensor | GnssSensor
Sensor: TypeAlias = Mounted | OdometrySensor


@dataclass(frozen=True)
class CalibrationError:
    """How far the true mounts are from what the calibration says; drawn once by seed."""

    position: float = 0.0
    """m, standard deviation of each axis"""
    rotation: float = 0.0
    """rad, standard deviation about each axis"""
    focal: float = 0.0
    """share, standard deviation of cameras' focal lengths"""

    def __post_init__(self) -> None:
        check_numbers("calibration_error", self)


@dataclass(frozen=True)
class SensorRig:
    """All sensors of a vehicle."""

    name: str
    description: str = ""
    cameras: tuple[CameraSensor, ...] = ()
    lidars: tuple[LidarSensor, ...] = ()
    radars: tuple[RadarSensor, ...] = ()
    imus: tuple[ImuSensor, ...] = ()
    gnss: tuple[GnssSensor, ...] = ()
    odometry: tuple[OdometrySensor, ...] = ()
    calibration_error: CalibrationError = field(default_factory=CalibrationError)

    def __post_init__(self) -> None:
        check_rig(self, [s.name for s in self.sensors])

    @property
    def sensors(self) -> tuple[Sensor, ...]:
        """All of them, in the order of the fields."""
        return tuple(s for kind in KINDS for s in getattr(self, kind))


def rig_names() -> tuple[str, ...]:
    """The rigs roadloop ships, sorted by name."""
    return tuple(_shipped())


def load_rig(name: str | Path) -> SensorRig:
    """The rig called ``name``, or the one in a YAML file (a path ending in .yaml or .yml).

    Raises RoadloopError for an unknown rig, a missing file, or a mistake in it.
    """
    if Path(name).suffix in (".yaml", ".yml"):
        return load_config(SensorRig, name)
    known = _shipped()
    if str(name) not in known:
        raise RoadloopError(unknown("rig", str(name), known) + " (or give the path of a .yaml)")
    return load_config(SensorRig, known[str(name)])


def select(rig: SensorRig, names: tuple[str, ...]) -> SensorRig:
    """The rig with only the sensors called ``names``; RoadloopError for one it does not have."""
    known = [s.name for s in rig.sensors]
    for name in names:
        if name not in known:
            raise RoadloopError(unknown(f"sensor of the rig {rig.name}", name, known))
    picked = {kind: tuple(s for s in getattr(rig, kind) if s.name in names) for kind in KINDS}
    return replace(rig, **picked)


def resized(rig: SensorRig, factor: float) -> SensorRig:
    """The rig with every camera's picture ``factor`` times as wide and high (whole pixels)."""
    if not 0.0 < factor < np.inf:
        raise RoadloopError(f"resized by {factor}: expected a number above 0")
    return replace(rig, cameras=tuple(_resized(c, factor) for c in rig.cameras))


def with_calibration_error(rig: SensorRig, seed: int) -> SensorRig:
    """The rig as it really is, where ``rig`` is what its calibration says.

    Mounts and focal lengths are off by normal errors of ``rig.calibration_error``: a position along
    the ego's axes (never below the ground), a rotation about the sensor's own axes, one factor
    ``exp(error)`` for both focal lengths of a camera. Each sensor's error depends only on ``seed``
    and its name. Lens distortion and wheels stay as they are.
    """
    size = rig.calibration_error
    if size == CalibrationError():
        return rig
    moved = {
        kind: tuple(_moved(s, size, seed) for s in getattr(rig, kind))
        for kind in KINDS
        if kind != "odometry"
    }
    return replace(rig, **moved)


def _shipped() -> dict[str, Path]:
    return {p.stem: p for p in sorted((config_folder() / "sensors").glob("*.yaml"))}


def _resized(camera: CameraSensor, factor: float) -> CameraSensor:
    size = (max(round(camera.width * factor), 1), max(round(camera.height * factor), 1))
    lens = camera.camera.scaled(*size)
    names = ("width", "height", "fx", "fy", "cx", "cy")
    return replace(camera, **{name: getattr(lens, name) for name in names})


def _moved(sensor: Mounted, size: CalibrationError, seed: int) -> Mounted:
    """The sensor as it really is."""
    rng = np.random.default_rng([seed, *sensor.name.encode(), _CALIBRATION])
    mount = sensor.mount
    dx, dy, dz = (float(d) for d in size.position * rng.standard_normal(3))
    error = rotation_from_euler(*(size.rotation * rng.standard_normal(3)))
    turned = _yaw_pitch_roll(mount.ego_from_sensor[:3, :3] @ error)
    place = (mount.x + dx, mount.y + dy, max(mount.z + dz, 0.0))
    moved = replace(sensor, mount=Mount(*place, *turned))
    if isinstance(moved, CameraSensor):
        gain = float(np.exp(size.focal * rng.standard_normal()))
        moved = replace(moved, fx=moved.fx * gain, fy=moved.fy * gain)
    return moved


def _yaw_pitch_roll(rotation: np.ndarray) -> tuple[float, float, float]:
    """Angles of a Mount, rad, of the upper left (3, 3) of a matrix."""
    pitch = np.arctan2(-rotation[2, 0], np.hypot(rotation[0, 0], rotation[1, 0]))
    if np.hypot(rotation[0, 0], rotation[1, 0]) > 1e-9:
        yaw = np.arctan2(rotation[1, 0], rotation[0, 0])
        roll = np.arctan2(rotation[2, 1], rotation[2, 2])
    else:  # straight up or down, where yaw and roll are one turn
        yaw, roll = np.arctan2(-rotation[0, 1], rotation[1, 1]), 0.0
    return float(yaw), float(pitch), float(roll)
