"""What a detector makes of one moment: road users, the map around, traffic lights, faults."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.types import Detections

Array = np.ndarray


@dataclass(frozen=True)
class LightHeads:
    """Heads of traffic lights found in the light cameras; fields ``(heads,)``, best first."""

    camera: Array
    """int64, index into ``DetectorConfig.light_cameras``"""
    u: Array
    """px, centre in the virtual camera's picture"""
    v: Array
    width: Array
    """px"""
    height: Array
    score: Array
    """in [0, 1]"""
    state: Array
    """(heads, 4) probability of each ``LampState``"""


@dataclass(frozen=True)
class Percept:
    """One moment as the detector sees it. n objects, R raster layers, X x Y cells."""

    detections: Detections
    """(n,) in the world frame, best first; ids are 0"""
    position_std: Array
    """(n,) m, of the box centre along each axis, as the network believes"""
    velocity_std: Array
    """(n,) m/s, likewise"""
    raster: Array
    """(R, X, Y) float32, probability of each ``RasterLayer`` in the ego frame"""
    lane: Array
    """(3, X, Y) float32, cos and sin of the lane's direction, m left of its centreline"""
    lights: LightHeads
    world_from_ego: Array
    """(4, 4) of the moment"""
    time: float
    """s, of the moment's pictures"""
    faults: tuple[str, ...] = ()
    """one line per sensor that is missing, black or frozen"""
