"""What sensors give: one picture, one sweep, one scan, one fix; the nouns behind an Observation.

Conventions as in ``roadloop.types``: SI units and radians, ego frame x forward, y left, z up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from roadloop.camera import Pinhole

Array = np.ndarray


@dataclass(frozen=True)
class ImageBoxes:
    """The agents a camera may see; fields ``(agents,)``, edges in px of the full box's outline."""

    id: Array
    kind: Array
    """AgentKind as uint8"""
    left: Array
    """px, of the smallest rectangle around the projected 3D box, cut to the image"""
    top: Array
    right: Array
    bottom: Array
    pixels: Array
    """int32, pixels that show the agent; 0: in the field of view but hidden"""
    visible_left: Array
    """px, of the smallest rectangle around those pixels; all four are 0 without pixels"""
    visible_top: Array
    visible_right: Array
    visible_bottom: Array


@dataclass(frozen=True)
class CameraImage:
    """One picture with its calibration, and the labels that were asked for."""

    rgb: Array
    """(height, width, 3) uint8"""
    camera: Pinhole
    """the lens, as the calibration has it"""
    ego_from_camera: Array
    """(4, 4), likewise"""
    timestamp_us: int
    """of the exposure"""
    depth: Array | None = None
    """(height, width) float32, m along the camera's z axis; inf where there is only sky"""
    semantic: Array | None = None
    """(height, width) uint8 SemanticClass"""
    instance: Array | None = None
    """(height, width) int32: the agent's id, -(1 + signal) for lights and signs, else 0"""
    flow: Array | None = None
    """(height, width, 2) float32, px: from where a surface was in the previous picture to here"""
    boxes: ImageBoxes | None = None


@dataclass(frozen=True)
class LidarSweep:
    """One sweep: ``points`` is ``(points, 4)``: x, y, z in the ego frame, intensity in [0, 1]."""

    points: Array
    timestamp_us: int
    """of the last point; of the first one where a recorded data set stamps its sweeps by that"""
    ring: Array | None = None
    """(points,) uint16, index of the beam"""
    time_offset: Array | None = None
    """(points,) float32, s of each point from ``timestamp_us``: at most 0 if that is the last's"""
    semantic: Array | None = None
    """(points,) uint8 SemanticClass"""
    instance: Array | None = None
    """(points,) int32, as in CameraImage"""


@dataclass(frozen=True)
class RadarScan:
    """One scan: ``(targets,)`` arrays in the ego frame; ``radial_speed`` > 0 is receding."""

    x: Array
    y: Array
    z: Array
    radial_speed: Array
    """m/s, over ground: the ego's own motion is taken out"""
    rcs: Array
    """dB m^2, radar cross-section"""
    timestamp_us: int
    range: Array | None = None
    """m, what the sensor measured, before it was moved into the ego frame ..."""
    azimuth: Array | None = None
    """rad, left positive"""
    elevation: Array | None = None
    """rad, up positive"""
    range_rate: Array | None = None
    """m/s, as measured, the ego's own motion included"""
    instance: Array | None = None
    """(targets,) int32: the agent's id, 0: static, -1: clutter, -2: ghost"""


@dataclass(frozen=True)
class ImuSamples:
    """What an IMU gave since the last step, in the sensor's axes; fields ``(samples, ...)``."""

    timestamp_us: Array
    """(samples,) int64"""
    acceleration: Array
    """(samples, 3) m/s^2, specific force: +9.81 upwards at rest"""
    angular_velocity: Array
    """(samples, 3) rad/s"""


@dataclass(frozen=True)
class GnssFix:
    """One position fix of the antenna."""

    x: float
    """m, world frame"""
    y: float
    z: float
    latitude: float
    """degrees as WGS 84 has them; NaN where the map has no georeference"""
    longitude: float
    speed: float
    """m/s over ground"""
    course: float
    """rad, direction of travel, counter-clockwise from +x"""
    std: float
    """m, of x and y as the receiver believes"""
    timestamp_us: int


@dataclass(frozen=True)
class WheelOdometry:
    """What wheel and steering sensors gave last."""

    speed: float
    """m/s from the wheel speeds"""
    steering: float
    """rad at the front wheels"""
    yaw_rate: float
    """rad/s from the wheel speeds of one axle"""
    timestamp_us: int
