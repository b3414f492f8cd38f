"""Signs and traffic lights as symbols on a picture."""

from __future__ import annotations

import numpy as np

from roadloop.maps.road_map import SignalKind
from roadloop.viz.palette import rgb

Array = np.ndarray

SHIFT = 4
"""OpenCV's fractional bits: coordinates are sixteenths of a pixel"""
IMPORTANCE = {
    SignalKind.OTHER: 0,
    SignalKind.SPEED_LIMIT: 1,
    SignalKind.YIELD: 2,
    SignalKind.STOP: 3,
    SignalKind.TRAFFIC_LIGHT: 4,
}
"""what is painted later covers what was painted before"""

# unit symbols, v down
_EIGHTHS = np.pi * (np.arange(8) + 0.5) / 4.0
_OCTAGON = np.column_stack([np.cos(_EIGHTHS), np.sin(_EIGHTHS)])
_TRIANGLE = np.array([[-0.87, -0.5], [0.87, -0.5], [0.0, 1.0]])
_LAMP_BOX = np.array([[-0.42, -1.0], [0.42, -1.0], [0.42, 1.0], [-0.42, 1.0]])


def paint_sign(picture: Array, kind: SignalKind, u: float, v: float, size: float) -> None:
    """One sign or light about pixel (u, v), ``size`` px high."""
    import cv2

    def polygon(corners: Array, scale: float, colour: str) -> None:
        points = np.rint((corners * scale * size / 2.0 + [u, v]) * (1 << SHIFT)).astype(np.int32)
        cv2.fillPoly(picture, [points], rgb(colour), cv2.LINE_AA, SHIFT)

    def disc(scale: float, colour: str, du: float = 0.0, dv: float = 0.0) -> None:
        centre = np.rint((np.array([du, dv]) * size / 2.0 + [u, v]) * (1 << SHIFT)).astype(int)
        radius = round(scale * size / 2.0 * (1 << SHIFT))
        cv2.circle(picture, centre.tolist(), radius, rgb(colour), -1, cv2.LINE_AA, SHIFT)

    if kind == SignalKind.TRAFFIC_LIGHT:
        polygon(_LAMP_BOX, 1.18, "#ffffff")
        polygon(_LAMP_BOX, 1.0, "#1d2226")
        for dv, colour in ((-0.6, "#ff5b52"), (0.0, "#ffc933"), (0.6, "#3ddc84")):
            disc(0.24, colour, dv=dv)
    elif kind == SignalKind.STOP:
        polygon(_OCTAGON, 1.05, "#ffffff")
        polygon(_OCTAGON, 0.86, "#d0282f")
    elif kind == SignalKind.YIELD:
        polygon(_TRIANGLE, 1.2, "#d0282f")
        polygon(_TRIANGLE, 0.6, "#ffffff")
    elif kind == SignalKind.SPEED_LIMIT:
        disc(1.3, "#d0282f")
        disc(1.02, "#ffffff")
    else:
        disc(0.55, "#ffffff")
        disc(0.4, "#7a8791")
