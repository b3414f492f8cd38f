"""The map around the ego as pieces of lines with a fixed number of points."""

from __future__ import annotations

import weakref

import numpy as np

from roadloop.geometry import inverse, polyline_arc_length, polyline_at, transform_points
from roadloop.maps.area import lane_borders
from roadloop.maps.road_map import RoadMap
from training.sample_spec import MapLine

Array = np.ndarray

CHORD = 0.05
"""m, lines shorter than this are left out"""


class MapPieces:
    """All lines of a map, cut into pieces once; ``near`` picks those around the ego.

    Args:
        points: of each piece.
        road_map: None: there are none.
        spacing: m between them; a line is cut evenly, so they are at most so far apart.
    """

    def __init__(self, road_map: RoadMap | None, points: int, spacing: float) -> None:
        pieces: list[Array] = []
        kinds: list[int] = []
        widths: list[float] = []
        for kind, line, width in _lines(road_map) if road_map is not None else ():
            cut = pieces_of(line, points, spacing)
            pieces += list(cut)
            kinds += [int(kind)] * len(cut)
            widths += [width] * len(cut)
        self.points = np.array(pieces).reshape(-1, points, 3)
        self.kind = np.array(kinds, np.uint8)
        self.width = np.array(widths, np.float32)

    def near(self, world_from_ego: Array, radius: float) -> dict[str, Array]:
        """Pieces with a point within ``radius`` m of the ego, in its frame, by kind."""
        gap = self.points[..., :2] - world_from_ego[:2, 3]
        close = ((gap * gap).sum(-1) <= radius * radius).any(-1)
        order = np.flatnonzero(close)
        order = order[np.argsort(self.kind[order], kind="stable")]
        lines = transform_points(inverse(world_from_ego), self.points[order])
        return {
            "map_lines": lines.astype(np.float32),
            "map_line_kind": self.kind[order],
            "map_line_width": self.width[order],
        }


_kept: weakref.WeakKeyDictionary[RoadMap, dict[tuple[int, float], MapPieces]] = (
    weakref.WeakKeyDictionary()
)


def map_pieces(road_map: RoadMap | None, points: int, spacing: float) -> MapPieces:
    """The pieces of a map, cut once for all drives that share it."""
    if road_map is None:
        return MapPieces(None, points, spacing)
    kept = _kept.setdefault(road_map, {})
    if (points, spacing) not in kept:
        kept[points, spacing] = MapPieces(road_map, points, spacing)
    return kept[points, spacing]


def pieces_of(line: Array, points: int, spacing: float) -> Array:
    """(pieces, points, d) of one polyline (P, d); each begins where the one before ends."""
    if len(line) < 2:
        return np.zeros((0, points, line.shape[-1]))
    keep = np.ones(len(line), bool)
    keep[1:] = np.linalg.norm(np.diff(line, axis=0), axis=-1) > 0.0
    line = line[keep]
    if len(line) < 2:
        return np.zeros((0, points, line.shape[-1]))
    length = float(polyline_arc_length(line)[-1])
    if length < CHORD:
        return np.zeros((0, points, line.shape[-1]))
    count = max(int(np.ceil(length / (spacing * (points - 1)) - 1e-9)), 1)
    s = np.linspace(0.0, length, count * (points - 1) + 1)
    index = np.arange(count)[:, None] * (points - 1) + np.arange(points)
    return polyline_at(line, s)[index]


def _lines(road_map: RoadMap) -> list[tuple[MapLine, Array, float]]:
    """Every line of the map with its kind and, for lanes, its mean width."""
    found: list[tuple[MapLine, Array, float]] = []
    enough = np.diff(road_map.point_start) >= 2
    for lane in np.flatnonzero(road_map.is_travel & enough).tolist():
        rows = road_map.points_of(lane)
        width = float(road_map.point_width[rows].mean())
        found.append((MapLine.CENTRELINE, road_map.point_xyz[rows], width))
        if road_map.lane_junction[lane] >= 0:
            continue  # in a junction the borders of lanes cross each other: no lines on the road
        left, right = lane_borders(road_map, lane)
        opposite = int(road_map.lane_opposite[lane])
        if road_map.lane_left[lane] < 0 and not 0 <= opposite < lane:
            found.append((MapLine.DIVIDER if opposite >= 0 else MapLine.EDGE, left, 0.0))
        beside = road_map.lane_right[lane] >= 0
        found.append((MapLine.DIVIDER if beside else MapLine.EDGE, right, 0.0))
    ends = road_map.crosswalk_start
    for a, b in zip(ends[:-1].tolist(), ends[1:].tolist()):
        ring = road_map.crosswalk_xyz[a:b]
        found.append((MapLine.CROSSWALK, np.concatenate([ring, ring[:1]]), 0.0))
    bars = {
        (int(lane), float(s)): None for lane, s in zip(road_map.stop_lane, road_map.stop_s)
    }  # several signals may share a line
    for lane, s in bars:
        rows = road_map.points_of(lane)
        if rows.stop - rows.start >= 2:
            left, right = lane_borders(road_map, lane)
            along = polyline_arc_length(road_map.point_xyz[rows])
            share = np.interp(s, road_map.point_s[rows], along / max(along[-1], 1e-9))
            ends_of = [polyline_at(edge, share * _length(edge)) for edge in (left, right)]
            found.append((MapLine.STOP_LINE, np.stack(ends_of), 0.0))
    return found


def _length(line: Array) -> float:
    return float(polyline_arc_length(line)[-1])
