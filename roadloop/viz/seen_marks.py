"""Boxes of what was seen and of what was there, as lines in the pictures that were looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from roadloop.camera import Pinhole
from roadloop.geometry import inverse, transform_points
from roadloop.logs.percepts import PictureCamera
from roadloop.logs.side_tables import Table
from roadloop.viz.projected import NEAR, projected_lines
from roadloop.viz.seen import SURE, Seen, Truth, rows_of

Array = np.ndarray

CLASS_COLOURS = {
    "vehicle": "#5cc8f2",
    "cyclist": "#4fe0a8",
    "pedestrian": "#ff8a3d",
    "obstacle": "#c9a3ff",
}
"""of boxes in pictures"""
OTHER = "#f2f5f7"
"""of a class without a colour of its own"""
REACH = 70.0
"""m from the camera up to which boxes are drawn"""
FAR_OUT = 8000.0
"""px from the middle up to which lines are followed"""
ASIDE = 1.7
"""rad: cameras that look farther to the side look back"""
ALIKE = 0.1
"""rad: of two cameras that look the same way, the one with the longer lens is a narrow one"""

_CORNERS = np.array(
    [[1, 1, 1], [1, -1, 1], [1, -1, -1], [1, 1, -1], [-1, 1, 1], [-1, -1, 1], [-1, -1, -1],
     [-1, 1, -1]], float
)  # fmt: skip
_EDGES = np.array(
    [[0, 1], [1, 2], [2, 3], [3, 0], [4, 5], [5, 6], [6, 7], [7, 4], [0, 4], [1, 5], [2, 6], [3, 7]]
)


class Role(IntEnum):
    """What a box in a picture is."""

    DETECTED = 0
    FOUND = 1  # really there
    MISSED = 2  # really there
    HIDDEN = 3  # really there, or outside the grid: nobody asks for it


_ROLE = {
    Truth.FOUND: Role.FOUND,
    Truth.MISSED: Role.MISSED,
    Truth.HIDDEN: Role.HIDDEN,
    Truth.BEYOND: Role.HIDDEN,
}


@dataclass(frozen=True)
class PictureBox:
    """A box in a picture."""

    role: Role
    label: int
    """index of the class"""
    score: float
    """of a detection, else 0"""
    lines: Array
    """(pieces, 2, 2) px, straight pieces"""


@dataclass(frozen=True)
class PictureLamp:
    """A head of a traffic light found in a picture."""

    box: tuple[float, float, float, float]
    """px, left, top, width, height"""
    state: str
    """off, red, yellow or green"""
    score: float


def class_colour(name: str) -> str:
    """``#rrggbb`` of a class."""
    return CLASS_COLOURS.get(name, OTHER)


def laid_out(cameras: tuple[PictureCamera, ...]) -> tuple[list[list[int]], list[int]]:
    """Cameras as they look: rows (ahead and aside, from left to right; then those that look back),
    and the narrow ones, whose view lies within another's. Indices into ``cameras``."""
    axis = [np.asarray(c.ego_from_camera)[:3, 2] for c in cameras]
    yaw = [float(np.arctan2(a[1], a[0])) for a in axis]
    field = [c.lens.width / c.lens.fx for c in cameras]
    rows: list[list[int]] = [[], []]
    narrow = []
    for k in range(len(cameras)):
        within = [
            j
            for j in range(len(cameras))
            if j != k and abs(np.sin((yaw[j] - yaw[k]) / 2)) < ALIKE / 2 and field[j] > field[k]
        ]
        if within:
            narrow.append(k)
        else:
            rows[abs(yaw[k]) > ASIDE].append(k)
    rows[0].sort(key=lambda k: -yaw[k])
    rows[1].sort(key=lambda k: -np.sin(yaw[k]))
    return [row for row in rows if row], narrow


def picture_boxes(seen: Seen, moment: int, camera: int) -> list[PictureBox]:
    """Boxes in the picture of a camera at a moment: true ones first, then detected ones."""
    log = seen.log
    ego_from_world = inverse(log.tables["moments"]["world_from_ego"][moment])
    one = log.cameras[camera]
    camera_from_world = inverse(np.asarray(one.ego_from_camera)) @ ego_from_world
    truth, found = seen.truth, log.tables["detections"]
    boxes = []
    for k, lines in _in_picture(truth, rows_of(truth, moment), one.lens, camera_from_world):
        role = _ROLE[Truth(int(truth["state"][k]))]
        boxes.append(PictureBox(role, int(truth["label"][k]), 0.0, lines))
    boxes.sort(key=lambda box: -box.role)
    for k, lines in _in_picture(found, rows_of(found, moment), one.lens, camera_from_world):
        if (score := float(found["score"][k])) >= SURE:
            boxes.append(PictureBox(Role.DETECTED, int(found["label"][k]), score, lines))
    return boxes


def picture_lamps(seen: Seen, moment: int, camera: int) -> list[PictureLamp]:
    """Heads of traffic lights found in the picture of a camera at a moment."""
    table = seen.log.tables["lights"]
    rows = rows_of(table, moment)
    lamps = []
    for k in range(rows.start, rows.stop):
        if table["camera"][k] != camera:
            continue
        u, v, width, height, score = (
            float(table[key][k]) for key in ("u", "v", "width", "height", "score")
        )
        chance = {state: float(table[state][k]) for state in ("off", "red", "yellow", "green")}
        state = max(chance, key=lambda name: chance[name])
        lamps.append(PictureLamp((u - width / 2, v - height / 2, width, height), state, score))
    return lamps


def _in_picture(
    table: Table, rows: slice, lens: Pinhole, camera_from_world: Array
) -> Iterator[tuple[int, Array]]:
    """Rows whose boxes show in the picture, and their edges (pieces, 2, 2) px."""
    if rows.start == rows.stop:
        return
    part = {k: np.asarray(table[k][rows], float) for k in ("x", "y", "z", "heading")}
    size = np.stack([np.asarray(table[k][rows], float) for k in ("length", "width", "height")], -1)
    c, s = np.cos(part["heading"])[:, None], np.sin(part["heading"])[:, None]
    local = _CORNERS * size[:, None] / 2.0
    world = np.stack(
        [
            part["x"][:, None] + c * local[..., 0] - s * local[..., 1],
            part["y"][:, None] + s * local[..., 0] + c * local[..., 1],
            part["z"][:, None] + size[:, None, 2] / 2.0 + local[..., 2],
        ],
        axis=-1,
    )
    corners = transform_points(camera_from_world, world)
    away = np.linalg.norm(corners.mean(1), axis=-1)
    shown = np.flatnonzero((away <= REACH) & (corners[..., 2].max(1) > NEAR))
    shown = shown[np.argsort(-away[shown], kind="stable")]
    straight = type(lens) is Pinhole
    edges = corners[shown][:, _EDGES]
    pieces = _straight(lens, edges) if straight else [_bent(lens, each) for each in edges]
    for k, lines in zip(shown.tolist(), pieces):
        if not len(lines):
            continue
        low, high = lines.min((0, 1)), lines.max((0, 1))
        if (high < 0.0).any() or low[0] > lens.width or low[1] > lens.height:
            continue
        yield rows.start + k, lines


def _straight(lens: Pinhole, edges: Array) -> list[Array]:
    """Edges (boxes, 12, 2, 3) m through a lens that bends nothing: (pieces, 2, 2) px per box."""
    depth = edges[..., 2]
    there = np.asarray(depth > NEAR).any(axis=-1)
    # what lies behind is cut off at a plane just in front of the camera
    share = (NEAR - depth) / np.where(depth == depth[..., ::-1], 1.0, depth[..., ::-1] - depth)
    cut = edges + share[..., None] * (edges[..., ::-1, :] - edges)
    ends = np.where((depth < NEAR)[..., None], cut, edges)
    scale = np.array([lens.fx, lens.fy]) / np.maximum(ends[..., 2:], NEAR)
    uv = np.clip(ends[..., :2] * scale + (lens.cx, lens.cy), -FAR_OUT, FAR_OUT)
    return [lines[seen] for lines, seen in zip(uv, np.atleast_1d(there))]


def _bent(lens: Pinhole, edges: Array) -> Array:
    """One box's edges (12, 2, 3) m as short pieces (n, 2, 2) px that follow the lens."""
    lines = projected_lines(lens, edges, 8)
    parts = [np.stack([line[:-1], line[1:]], axis=1) for line in lines]
    return np.concatenate(parts) if parts else np.zeros((0, 2, 2))
