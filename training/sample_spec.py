"""What a model wants of a recorded moment, and how the arrays of a sample are laid out.

A sample is a dict. N cameras, M road users, P points, R radar targets, L map lines of V points,
S traffic lights, ``history`` h, ``past`` p, ``future`` f. Frames: the ego's (x forward, y left,
z up, origin on the ground under the rear axle) at the sample's step, unless said otherwise; SI
units, radians; uint8 pictures; poses, lenses and times are float64 and int64, all else float32.

==================================== ========================= =====================================
key                                  shape                     meaning
==================================== ========================= =====================================
drive, dataset, cameras              text                      where from; the cameras by name
step, timestamp_us                   ()                        number of the step, us since step 0
world_from_ego                       (4, 4)                    the ego's pose
motion                               (4,)                      ``MOTION`` of the ego
images                               (N, 3, H, W) uint8        RGB
image_valid                          (N,) bool                 there is such a picture
image_timestamp_us                   (N,)                      of each exposure
intrinsics                           (N, 3, 3)                 pixels from camera rays; any affine
lens, distortion                     (N,) uint8, (N, 8)        ``LENSES``; as roadloop.camera has it
ego_from_camera                      (N, 4, 4)                 where the camera was when it exposed
depth                                (N, H, W)                 m along the camera's z; 0: no surface
semantic                             (N, H, W) uint8           SemanticClass
instance                             (N, H, W) int32           as in CameraImage; 0: nothing
has_boxes, has_map                   () bool, () bool          False: the drive has no such labels
boxes                                (M, 9)                    ``BOX``
box_kind, box_id                     (M,) uint8, int64         AgentKind; the same over a drive
box_pixels, box_lidar_points         (M,) int32                that show it; -1: not known
agents_past, agents_past_valid       (M, p, 5), (M, p) bool    ``TRACK``, newest first
agents_future, agents_future_valid   (M, f, 5), (M, f) bool    ``TRACK``, soonest first
ego_past, ego_past_valid             (p, 4), (p,) bool         ``PATH``, newest first
ego_future, ego_future_valid         (f, 4), (f,) bool         ``PATH``, soonest first
points                               (P, 5)                    ``POINT``
radar                                (R, 6)                    ``TARGET``
lights, light_poses                  (S,) uint8, (S, 4)        LightState; x, y, z, heading
light_relevant, light_unjudged       (S,) bool, (S,) bool      ``training.sample_lights``
light_distance                       (S,)                      m to the line of relevant lights
map_lines                            (L, V, 3)                 points along pieces of lines
map_line_kind, map_line_width        (L,) uint8, (L,)          ``MapLine``; m, of lanes, else 0
history_images                       (h, N, 3, H, W) uint8     earlier pictures, newest first
history_image_valid                  (h, N) bool
history_ego_from_camera              (h, N, 4, 4)              in the ego's frame of that time
history_now_from_past                (h, 4, 4)                 the ego's motion from then to now
history_valid                        (h,) bool                 False before the drive began
==================================== ========================= =====================================

What is not there is zero and not valid (poses: the identity, or the calibration's); nothing is NaN.
With history also ``history_depth`` and so on. A map line is straight between its points; what
begins with ``light_`` comes with the map. Pictures lie in memory by rows, columns, channels
(PyTorch calls that channels_last), as they are decoded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

import numpy as np

from roadloop.errors import RoadloopError

Sample = dict[str, Any]

BOX = ("x", "y", "z", "length", "width", "height", "yaw", "vx", "vy")
"""columns of boxes: the centre; velocity over ground along the ego's axes"""
TRACK = ("x", "y", "yaw", "vx", "vy")
"""columns of a road user's past and future, box centre"""
PATH = ("x", "y", "yaw", "speed")
"""columns of the ego's past and future, rear axle"""
MOTION = ("speed", "acceleration", "steering", "yaw_rate")
POINT = ("x", "y", "z", "intensity", "time")
"""columns of LiDAR points; time: s from the sample's step, mostly below 0"""
TARGET = ("x", "y", "z", "radial_speed", "rcs", "time")
"""columns of radar targets; radial speed over ground, rcs in dB m^2"""
LENSES = ("pinhole", "brown-conrady", "fisheye")

RAGGED = {
    "boxes": (
        "boxes", "box_kind", "box_id", "box_pixels", "box_lidar_points",
        "agents_past", "agents_past_valid", "agents_future", "agents_future_valid",
    ),
    "points": ("points",),
    "radar": ("radar",),
    "map_lines": ("map_lines", "map_line_kind", "map_line_width"),
    "lights": ("lights", "light_poses", "light_relevant", "light_unjudged", "light_distance"),
}  # fmt: skip
"""arrays whose first axis differs from sample to sample, by the name their mask is called after"""

PICTURES = ("rgb", "depth", "semantic", "instance")
ALL = "all"


class MapLine(IntEnum):
    """What a line of the map is."""

    CENTRELINE = 0  # of a lane vehicles travel on, in the direction of travel
    DIVIDER = 1  # between two such lanes
    EDGE = 2  # where they end at the side
    CROSSWALK = 3  # its outline
    STOP_LINE = 4


@dataclass(frozen=True)
class SampleSpec:
    """What a model declares; only that is read and decoded."""

    cameras: tuple[str, ...] = (ALL,)
    """names, in the order of the arrays; all: as the rig has them; none: []"""
    products: tuple[Literal["rgb", "depth", "semantic", "instance"], ...] = ("rgb",)
    size: tuple[int, int] = (0, 0)
    """px, width and height of every picture; 0, 0: as recorded"""
    fit: Literal["cover", "stretch"] = "cover"
    """cover: the shape of things stays, what sticks out is cut off; stretch: all of it is kept"""
    keep: Literal["top", "middle", "bottom"] = "bottom"
    """which rows stay where rows are cut off"""
    rectify: bool = False
    """straighten the pictures of bent lenses: pinholes of the same focal length and centre"""
    virtual: str = ""
    """a rig: pictures are warped into its cameras (lens and direction), each from the camera of
    that name, or the one that looks the most alike, up to 45 degrees apart"""
    motion: bool = True
    """sensors are put where they were at their own time, in the ego's frame of the step; False:
    where the calibration has them"""
    max_age: float = 0.3
    """s; a measurement older than this at the step counts as missing"""
    complete: bool = True
    """leave out steps at which a picture or sweep is missing"""
    lidars: tuple[str, ...] = ()
    sweeps: int = 1
    """of each LiDAR, the newest ones, and of each radar"""
    radars: tuple[str, ...] = ()
    boxes: bool = True
    box_radius: float = 0.0
    """m from the rear axle; 0: all that were recorded"""
    lights: bool = False
    map: bool = False
    map_radius: float = 60.0
    """m from the rear axle"""
    map_points: int = 11
    """points of each line ..."""
    map_spacing: float = 2.0
    """m, ... and between them, at most"""
    history: int = 0
    """earlier moments with pictures"""
    past: int = 0
    """earlier positions of the ego and the road users"""
    future: int = 0
    """later ones"""
    spacing: float = 0.5
    """s between the moments of history, past and future"""
    every: int = 1
    """use every nth step of a drive"""
    labelled: bool = True
    """use only steps that the data set itself has labelled, not those between"""

    def __post_init__(self) -> None:
        width, height = self.size
        if (width > 0) != (height > 0) or min(self.size) < 0:
            raise RoadloopError(f"size is {width} x {height}: give both above 0, or 0, 0")
        for name in ("sweeps", "every"):
            if getattr(self, name) < 1:
                raise RoadloopError(f"{name} is {getattr(self, name)}: it must be 1 or more")
        for name in ("history", "past", "future", "box_radius"):
            if not 0 <= getattr(self, name) < math.inf:
                raise RoadloopError(f"{name} is {getattr(self, name)}: it must be 0 or more")
        for name in ("max_age", "spacing", "map_radius", "map_spacing"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise RoadloopError(f"{name} is {getattr(self, name)}: it must be above 0")
        if self.map_points < 2:
            raise RoadloopError(f"map_points is {self.map_points}: a line has 2 or more")
        for name in ("cameras", "lidars", "radars", "products"):
            given = getattr(self, name)
            if len(set(given)) < len(given):
                raise RoadloopError(f"{name} {', '.join(given)}: each once")
        if self.cameras and not self.products:
            raise RoadloopError("cameras without products: give rgb, depth, semantic or instance")


def named(wanted: tuple[str, ...], known: tuple[str, ...], noun: str, where: str) -> list[str]:
    """The sensors meant: ``known`` ones for ``all``, else those named; RoadloopError otherwise."""
    if wanted == (ALL,):
        return list(known)
    for name in wanted:
        if name not in known:
            has = ", ".join(known) or "none"
            raise RoadloopError(f'{where} has no {noun} "{name}"; it has {has}')
    return list(wanted)


def identity(*shape: int) -> np.ndarray:
    """(*shape, 4, 4) poses that move nothing."""
    return np.broadcast_to(np.eye(4), (*shape, 4, 4)).copy()
