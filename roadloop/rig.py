"""Sensor rigs: which sensors sit where on a vehicle, how often they measure, how late they answer.

A rig is a YAML file (``configs/sensors/``) or a path. Poses are in the ego frame (x forward, y
left, z up, origin on the ground under the rear axle). A sensor's own frame has the same axes, but
a camera's: x right, y down, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from roadloop.camera import BrownConrady, Fisheye, Pinhole
from roadloop.geometry import rotation_from_euler, se3

CAMERA_AXES = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""ego-like axes from camera axes: x right, y down, z forward to x forward, y left, z up"""


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
    """pinhole, brown-conrady (k1 k2 p1 p2 k3) or fisheye (k1 k2 k3 k4)"""
    distortion: tuple[float, ...] = ()
    rate: float = 10.0
    """Hz"""
    latency: float = 0.0
    """s from the exposure until a driver has the picture"""
    products: tuple[str, ...] = ("rgb",)
    """of rgb, depth, semantic, instance, flow, boxes"""
    detail: str = "plain"
    """plain: one colour per triangle; full: textures, shadows, headlights, reflections per pixel"""
    effects: CameraEffects = field(default_factory=CameraEffects)

    @cached_property
    def camera(self) -> Pinhole:
        """The lens."""
        size = (self.width, self.height, self.fx, self.fy, self.cx, self.cy)
        if self.model == "pinhole":
            return Pinhole(*size)
        if self.model == "fisheye":
            return Fisheye(*size, *self.distortion)
        return BrownConrady(*size, *self.distortion)

    @property
    def ego_from_camera(self) -> np.ndarray:
        """(4, 4) with the camera's own axes."""
        pose = self.mount.ego_from_sensor.copy()
        pose[:3, :3] = pose[:3, :3] @ CAMERA_AXES
        return pose


@dataclass(frozen=True)
class LidarSensor:
    """A LiDAR of a rig."""

    name: str
    mount: Mount
    beams: tuple[float, ...]
    """elevation of each beam, in ``beam_unit``, any order; ring numbers follow this order"""
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


@dataclass(frozen=True)
class CalibrationError:
    """How far the true mounts are from what the calibration says; drawn once by seed."""

    position: float = 0.0
    """m, standard deviation of each axis"""
    rotation: float = 0.0
    """rad, standard deviation about each axis"""
    focal: float = 0.0
    """share, standard deviation of cameras' focal lengths"""


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
