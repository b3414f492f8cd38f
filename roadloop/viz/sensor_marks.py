"""How readings of sensors are marked in viewers: colours of points, boxes in pictures, arrows."""

from __future__ import annotations

import numpy as np

from roadloop.camera import Pinhole
from roadloop.config import unknown
from roadloop.errors import RoadloopError
from roadloop.readings import ImageBoxes, LidarSweep, RadarScan
from roadloop.semantics import COLOURS
from roadloop.types import AgentKind
from roadloop.viz.palette import AGENT, rgb

Array = np.ndarray

MOVES = 0.5
"""m/s from which an agent or a radar target has an arrow; arrows show the way of one second"""
POINT_COLOURS = ("height", "intensity", "semantic")
"""what the points of a LiDAR may be coloured by"""
LOW, HIGH = -0.5, 5.0
"""m above the ground under the ego, ends of the colours of heights"""

APPROACHING, RECEDING, STILL, FALSE = map(rgb, ("#ff7b4f", "#5cc8f2", "#c9d1d8", "#7a6590"))
"""radar targets by their radial speed over ground; clutter and ghosts"""


def kind_label(kind: int, number: int) -> str:
    """``car 12``"""
    return f"{AgentKind(int(kind)).name.lower()} {int(number)}"


def kind_colours(kind: Array) -> Array:
    """(agents, 3) uint8 of AgentKind (agents,)."""
    return np.array([rgb(AGENT[k]) for k in AgentKind], np.uint8)[np.asarray(kind, int)]


def seen_boxes(boxes: ImageBoxes) -> tuple[Array, list[str], Array]:
    """Rectangles around what is seen of agents, their labels and colours.

    Rectangles: (boxes, 4) px left, top, right, bottom, from the picture's upper left corner (where
    Pinhole counts from the centre of its first pixel), of all the pixels that show the agent.
    """
    rows = np.flatnonzero(boxes.pixels > 0)
    low = np.stack([boxes.visible_left, boxes.visible_top], axis=-1)[rows]
    high = np.stack([boxes.visible_right, boxes.visible_bottom], axis=-1)[rows] + 1.0
    labels = [kind_label(boxes.kind[k], boxes.id[k]) for k in rows]
    return np.concatenate([low, high], axis=-1), labels, kind_colours(boxes.kind[rows])


def radar_colours(scan: RadarScan) -> Array:
    """(targets, 3) uint8 by radial speed; clutter and ghosts, where labelled, in their own."""
    colours = np.full((len(scan.x), 3), STILL, np.uint8)
    colours[scan.radial_speed < -MOVES] = APPROACHING
    colours[scan.radial_speed > MOVES] = RECEDING
    if scan.instance is not None:
        colours[scan.instance < 0] = FALSE
    return colours


def radar_arrows(scan: RadarScan, ego_from_radar: Array) -> tuple[Array, Array, Array]:
    """Targets that move: where they are and the way of a second along the line of sight.

    (arrows, 3) each, ego frame, and the rows of the targets.
    """
    rows = np.flatnonzero(np.abs(scan.radial_speed) >= MOVES)
    place = np.stack([scan.x, scan.y, scan.z], axis=-1)[rows].astype(float)
    sight = place - ego_from_radar[:3, 3]
    sight /= np.maximum(np.linalg.norm(sight, axis=-1, keepdims=True), 1e-9)
    return place, sight * scan.radial_speed[rows, None], rows


def point_colours(sweep: LidarSweep, by: str) -> Array:
    """(points, 3) uint8 by height, intensity or semantic class.

    Raises:
        RoadloopError: another word; a sweep without labels by its classes.
    """
    if by == "semantic":
        if sweep.semantic is None:
            raise RoadloopError(
                "this sweep has no classes to colour points by: set labels in the LiDAR's rig"
            )
        return COLOURS[sweep.semantic]
    if by == "height":
        share = (sweep.points[:, 2] - LOW) / (HIGH - LOW)
    elif by == "intensity":
        share = np.sqrt(sweep.points[:, 3])  # most surfaces are dark
    else:
        raise RoadloopError(unknown("colour of points", by, POINT_COLOURS))
    import cv2

    level = np.round(255.0 * np.clip(share, 0.0, 1.0)).astype(np.uint8)
    if not len(level):
        return np.zeros((0, 3), np.uint8)
    return np.asarray(cv2.applyColorMap(level[:, None], cv2.COLORMAP_VIRIDIS))[:, 0, ::-1]


def lens_matrix(camera: Pinhole) -> Array:
    """(3, 3) intrinsics that count pixels from the picture's upper left corner."""
    matrix = camera.matrix
    matrix[:2, 2] += 0.5
    return matrix
