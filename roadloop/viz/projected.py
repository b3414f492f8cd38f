"""What is known of the world drawn into camera pictures: boxes, lanes and marks, LiDAR points.

Lines are cut where the lens ends: at a plane just in front of a pinhole, at the angle up to which a
distorted lens is defined. They are bent with the lens, as straight things are in its pictures.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from roadloop.camera import Fisheye, Pinhole
from roadloop.geometry import inverse, transform_points
from roadloop.logs.schema import Table
from roadloop.logs.sensor_boxes import agent_kinds, box_poses
from roadloop.maps.road_map import MarkColour, MarkKind, RoadMap
from roadloop.types import AgentKind
from roadloop.viz.map_lines import light_lines, map_lines, thinned
from roadloop.viz.palette import DARK, rgb
from roadloop.viz.readings import INK, PLATE, distance_colours, typeface, write

Array = np.ndarray
Colour = tuple[int, int, int]

NEAR = 0.2
"""m in front of a pinhole at which lines are cut"""
PIECES = 24
"""a box's edge is drawn in so many pieces, which follow the lens"""
GROUND_REACH = 70.0
"""m from the camera up to which lines on the ground are drawn"""
GROUND_PIECE = 1.5
"""m, longest piece of such a line"""
LABELLED = 30.0
"""px a box must be high in the picture to be named, twice that for things that never move"""
SHIFT = 4
"""OpenCV's fractional bits: coordinates are sixteenths of a pixel"""

BOX: dict[AgentKind, str] = {
    AgentKind.CAR: "#5cc8f2",
    AgentKind.VAN: "#7fa8ff",
    AgentKind.TRUCK: "#e0a458",
    AgentKind.BUS: "#ffd23f",
    AgentKind.MOTORCYCLE: "#ff7fd0",
    AgentKind.CYCLIST: "#4fe0a8",
    AgentKind.PEDESTRIAN: "#ff8a3d",
    AgentKind.STATIC: "#b9c3cc",
}
"""colours by kind in pictures and among points, more vivid than those on a plain road"""

# corners of a box in halves of its size, and the edges between them; the first four are the front
_CORNERS = np.array(
    [[1, 1, 1], [1, -1, 1], [1, -1, -1], [1, 1, -1], [-1, 1, 1], [-1, -1, 1], [-1, -1, -1],
     [-1, 1, -1]], float
)  # fmt: skip
_FRONT = ((0, 1), (1, 2), (2, 3), (3, 0))
_OTHERS = ((4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))

_MARKS = {
    MarkColour.YELLOW: DARK["MARK_YELLOW"],
    MarkColour.ORANGE: DARK["MARK_YELLOW"],
    MarkColour.BLUE: DARK["MARK_BLUE"],
    MarkColour.RED: DARK["MARK_RED"],
}
_NOT_PAINTED = (MarkKind.NONE, MarkKind.GRASS, MarkKind.EDGE)


def box_colour(kind: int) -> Colour:
    """The colour of an AgentKind in pictures."""
    return rgb(BOX[AgentKind(int(kind))])


# --- lines through a lens -----------------------------------------------------------------------


def project_beyond(camera: Pinhole, points: Array) -> tuple[Array, Array]:
    """Pixels ``(..., 2)`` of points ``(..., 3)`` of the camera frame, and where they are defined.

    As ``Pinhole.project``, but pixels up to one picture's size outside count, so that lines can be
    drawn up to the edge.
    """
    w, h = camera.width, camera.height
    wide = replace(camera, width=3 * w, height=3 * h, cx=camera.cx + w, cy=camera.cy + h)
    uv, known = wide.project(points)
    return uv - (w, h), known


def projected_lines(camera: Pinhole, ends: Array, pieces: int = PIECES) -> list[Array]:
    """The straight lines between points of the camera frame as they look through the lens.

    Args:
        ends: (lines, 2, 3) m.
        pieces: how many parts a line is bent in.

    Returns:
        Polylines (n, 2) px; a line that leaves the lens' field of view gives none, or several.
    """
    if not len(ends):
        return []
    ends = np.asarray(ends, float)
    share = np.linspace(0.0, 1.0, pieces + 1)
    if isinstance(camera, Fisheye):
        here = np.broadcast_to(share, (len(ends), len(share)))
    else:
        ends = _in_front(ends)
        if not len(ends):
            return []
        # evenly in the picture: a line towards the camera grows towards its near end
        near, far = ends[:, 0, 2, None], ends[:, 1, 2, None]
        here = share * near / (far + share * (near - far))
    points = ends[:, :1] + here[..., None] * (ends[:, 1:] - ends[:, :1])
    uv, known = project_beyond(camera, points)
    lines = []
    for line, seen in zip(uv, known, strict=True):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], seen, [False]])))
        lines += [line[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > 1]
    return lines


def _in_front(ends: Array) -> Array:
    """Lines (n, 2, 3) cut at the plane ``NEAR`` before the camera; those behind are left out."""
    depth = ends[..., 2]
    ends = ends[(depth > NEAR).any(-1)].copy()
    depth = ends[..., 2]
    for k in (0, 1):
        cut = depth[:, k] < NEAR
        share = (NEAR - depth[cut, k]) / (depth[cut, 1 - k] - depth[cut, k])
        ends[cut, k] += share[:, None] * (ends[cut, 1 - k] - ends[cut, k])
    return ends


def _draw(picture: Array, lines: Iterable[Array], colour: Colour, thickness: int) -> None:
    import cv2

    whole = [_sixteenths(line) for line in lines]
    if whole:
        cv2.polylines(picture, whole, False, colour, thickness, cv2.LINE_AA, SHIFT)


def _sixteenths(line: Array) -> Array:
    return np.rint(line * (1 << SHIFT)).astype(np.int32)


# --- boxes --------------------------------------------------------------------------------------


def draw_boxes(
    picture: Array,
    camera: Pinhole,
    ego_from_camera: Array,
    boxes: Table,
    *,
    reach: float = 120.0,
    labels: bool = True,
) -> int:
    """Draw 3D boxes as wireframes into the picture, the front face tinted; says how many are seen.

    Args:
        picture: (height, width, 3) uint8 RGB of ``camera``, drawn into.
        boxes: rows as ``roadloop.logs.sensor_boxes.boxes_in_ego`` gives them: of the ego as it was
            at the exposure.
        reach: m from the camera up to which boxes are drawn.
        labels: name those that are large enough.

    Boxes that the data set says no LiDAR point is in are drawn darker.
    """
    if not len(boxes["id"]):
        return 0
    size = np.stack([boxes[key] for key in ("length", "width", "height")], axis=-1)
    camera_from_box = inverse(ego_from_camera) @ box_poses(boxes)
    corners = transform_points(camera_from_box, _CORNERS * size[:, None, :] / 2.0)
    centre = camera_from_box[:, :3, 3]
    distance = np.linalg.norm(centre, axis=-1)
    kinds = agent_kinds(boxes["kind"])
    seen, names = 0, []
    for k in np.argsort(-distance, kind="stable"):
        if distance[k] > reach:
            continue
        front = projected_lines(camera, corners[k][np.array(_FRONT)])
        others = projected_lines(camera, corners[k][np.array(_OTHERS)])
        extent = _extent([*front, *others], camera)
        if extent is None:
            continue
        seen += 1
        colour = box_colour(int(kinds[k]))
        if int(boxes["lidar_points"][k]) == 0:
            colour = (colour[0] * 5 // 9, colour[1] * 5 // 9, colour[2] * 5 // 9)
        high = extent[3] - extent[1]
        line = 2 if high > 60 else 1
        if high > 18.0:  # a dark edge sets it off; around small ones it would be all one sees
            _draw(picture, [*front, *others], PLATE, line + 2)
        if len(front) == 4:
            _tint(picture, np.concatenate([edge[:-1] for edge in front]), colour)
        _draw(picture, others, colour, line)
        _draw(picture, front, colour, line + (high > 40))
        if labels and high >= LABELLED * (1 + (kinds[k] == AgentKind.STATIC)):
            names.append((f"{boxes['kind'][k]} {int(boxes['id'][k])}", extent, colour))
    _write_names(picture, names[::-1])
    return seen


def _extent(lines: list[Array], camera: Pinhole) -> tuple[float, float, float, float] | None:
    """left, top, right, bottom px of what lies in the picture; None where nothing does."""
    if not lines:
        return None
    points = np.concatenate(lines)
    low, high = points.min(0), points.max(0)
    if (high < 0.0).any() or low[0] > camera.width or low[1] > camera.height:
        return None
    left, top = (max(float(v), 0.0) for v in low)
    right, bottom = min(float(high[0]), camera.width), min(float(high[1]), camera.height)
    return left, top, right, bottom


def _tint(picture: Array, outline: Array, colour: Colour, share: float = 0.28) -> None:
    """Mix the colour into the polygon (n, 2)."""
    import cv2

    height, width = picture.shape[:2]
    low = np.maximum(np.floor(outline.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(outline.max(0)).astype(int) + 1, (width, height))
    if (high - low < 1).any():
        return
    part = picture[low[1] : high[1], low[0] : high[0]]
    mask = np.zeros(part.shape[:2], np.uint8)
    cv2.fillPoly(mask, [_sixteenths(outline - low)], 255, cv2.LINE_AA, SHIFT)
    weight = mask[..., None].astype(np.float32) * (share / 255.0)
    part[:] = np.rint(part * (1.0 - weight) + np.array(colour, np.float32) * weight)


def _write_names(
    picture: Array, names: list[tuple[str, tuple[float, float, float, float], Colour]]
) -> None:
    """Each name on a plate above its box, or within it at the upper edge; the first ones win."""
    taken: list[tuple[int, int]] = []
    for text, extent, colour in names:
        wide = round(typeface(12).getlength(text)) + 7
        x = int(np.clip(extent[0], 0, max(picture.shape[1] - wide, 0)))
        y = int(extent[1])
        y = y - 16 if y >= 16 else y
        plate = picture[y : y + 15, x : x + wide]
        if plate.shape[:2] != (15, wide) or any(
            abs(x - u) < wide and abs(y - v) < 16 for u, v in taken
        ):
            continue
        taken.append((x, y))
        plate[:] = (0.3 * plate + 0.7 * np.array(PLATE)).astype(np.uint8)
        plate[:, :2] = colour
        write(plate, text, 5, 1, 12, INK)


# --- the ground ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class GroundLines:
    """Lines of a map in short pieces, to be drawn into pictures; N pieces."""

    ends: Array
    """(N, 2, 3) m, world frame"""
    layer: Array
    """(N,) index into ``layers``"""
    layers: tuple[tuple[Colour, float], ...]
    """colour and width (m) of what is drawn after one another"""
    flat: bool
    """the map knows no heights: it lies wherever the ego does"""


def ground_lines(road_map: RoadMap) -> GroundLines:
    """What of a map is drawn into pictures: lane edges, centrelines, crossings, stop lines, marks.

    Cut into pieces once, for many pictures.
    """
    lines = map_lines(road_map)
    marks: dict[str, list[Array]] = {}
    for k in range(len(road_map.mark_kind)):
        if MarkKind(int(road_map.mark_kind[k])) not in _NOT_PAINTED:
            colour = MarkColour(int(road_map.mark_colour[k]))
            strip = road_map.mark_xyz[road_map.mark_start[k] : road_map.mark_start[k + 1]]
            marks.setdefault(_MARKS.get(colour, "#ffffff"), []).append(strip)
    drawn = [
        (lines["centrelines"].strips, rgb("#4f86ad"), 0.05),
        (lines["beside"].strips, rgb("#8d99a3"), 0.08),
        (lines["borders"].strips, rgb("#dfe6ea"), 0.1),
        (lines["crosswalks"].strips, rgb("#f2a6ff"), 0.12),
        (lines["stop_lines"].strips, rgb("#ff6b6b"), 0.2),
        (list(light_lines(road_map).bars), rgb("#ff6b6b"), 0.2),
        *((thinned(strips), rgb(colour), 0.12) for colour, strips in sorted(marks.items())),
    ]
    pieces = [_pieces(strips) for strips, _, _ in drawn]
    z = road_map.point_xyz[:, 2]
    return GroundLines(
        ends=np.concatenate(pieces),
        layer=np.repeat(np.arange(len(pieces)), [len(part) for part in pieces]),
        layers=tuple((colour, width) for _, colour, width in drawn),
        flat=bool(np.ptp(z) == 0.0) if len(z) else True,
    )


def _pieces(strips: list[Array]) -> Array:
    """(n, 2, 3) pieces of at most ``GROUND_PIECE`` of the polylines."""
    found = [np.zeros((0, 2, 3))]
    for strip in strips:
        a, b = strip[:-1], strip[1:]
        count = np.ceil(np.linalg.norm(b - a, axis=-1) / GROUND_PIECE).astype(int).clip(1)
        row = np.repeat(np.arange(len(a)), count)
        number = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        way, at = (b - a)[row], number[:, None] / count[row][:, None]
        start = a[row] + at * way
        found.append(np.stack([start, start + way / count[row][:, None]], axis=1))
    return np.concatenate(found)


def draw_ground(
    picture: Array,
    camera: Pinhole,
    ego_from_camera: Array,
    world_from_ego: Array,
    ground: GroundLines,
    *,
    reach: float = GROUND_REACH,
) -> None:
    """Draw the lines of a map near the camera into the picture, as if nothing stood before them.

    Args:
        picture: (height, width, 3) uint8 RGB of ``camera``, drawn into.
        world_from_ego: (4, 4) at the exposure.
        reach: m from the camera.
    """
    world_from_camera = world_from_ego @ ego_from_camera
    place = world_from_camera[:3, 3]
    near = np.hypot(*(ground.ends[:, 0, :2] - place[:2]).T) < reach
    if not ground.flat:  # neither the bridge above nor the road below
        near &= np.abs(ground.ends[:, 0, 2] - world_from_ego[2, 3]) < 5.0
    ends, layer = ground.ends[near], ground.layer[near]
    if ground.flat:
        # a plane through the ego's wheels, pitched and rolled as the ego is
        ends = ends.copy()
        up = world_from_ego[:3, 2]
        along = (ends[..., :2] - world_from_ego[:2, 3]) @ up[:2]
        ends[..., 2] = world_from_ego[2, 3] - along / up[2]
    local = transform_points(inverse(world_from_camera), ends.reshape(-1, 3)).reshape(-1, 2, 3)
    for k, (colour, width) in enumerate(ground.layers):
        rows = local[layer == k]
        depth = np.linalg.norm(rows.mean(1), axis=-1) if len(rows) else np.zeros(0)
        for low, high in ((0.0, 12.0), (12.0, reach)):
            some = rows[(depth >= low) & (depth < high)]
            px = camera.fx * width / (10.0 if low == 0.0 else 30.0)
            thick = int(np.clip(round(px), 1, 2))
            _draw(picture, projected_lines(camera, some, 3), colour, thick)


# --- LiDAR --------------------------------------------------------------------------------------


def draw_points(picture: Array, camera: Pinhole, camera_from_points: Array, points: Array) -> int:
    """Draw LiDAR points into the picture, coloured by distance; says how many are seen.

    Args:
        picture: (height, width, 3) uint8 RGB of ``camera``, drawn into.
        camera_from_points: (4, 4), the ego's motion between sweep and exposure included.
        points: (n, 3 or more) m.
    """
    local = transform_points(camera_from_points, np.asarray(points[:, :3], float))
    uv, seen = camera.project(local)
    uv, distance = np.rint(uv[seen]).astype(int), np.linalg.norm(local[seen], axis=-1)
    far_first = np.argsort(-distance, kind="stable")
    uv, colours = uv[far_first], distance_colours(distance[far_first])
    height, width = picture.shape[:2]
    size = 2 if width >= 480 else 1
    for du in range(size):
        for dv in range(size):
            u = np.clip(uv[:, 0] + du, 0, width - 1)
            v = np.clip(uv[:, 1] + dv, 0, height - 1)
            picture[v, u] = colours
    return int(seen.sum())
