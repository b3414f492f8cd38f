"""Lanes of nuScenes' map expansion: edges from the polygon of each, and who lies beside whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from roadloop.geometry import polyline_arc_length, polyline_headings, wrap_angle
from roadloop.maps.draft import LaneDraft
from roadloop.maps.road_map import LaneKind

if TYPE_CHECKING:
    from shapely import Polygon

Array = np.ndarray

WIDTH = 3.5
"""m, of lanes whose polygon does not tell"""
WIDEST = 8.0
"""m to one side, beyond which an edge is not the lane's"""
PARALLEL = np.deg2rad(30.0)
"""rad, up to which two lanes side by side have one direction"""


@dataclass(frozen=True)
class Lane:
    """A lane or connector; n points."""

    token: str
    centreline: Array
    """(n, 3)"""
    left: Array
    """(n,) m from the centreline to the left edge"""
    right: Array
    polygon: Polygon | None
    """None: a connector"""
    before: tuple[str, ...]
    """lanes that lead into it"""
    after: tuple[str, ...]
    kind: str
    solid_left: bool
    solid_right: bool

    def heading_at(self, s: float) -> float:
        """rad, direction of travel at ``s`` m along the centreline."""
        arc = polyline_arc_length(self.centreline)
        headings = polyline_headings(self.centreline)
        return float(headings[int(np.clip(np.searchsorted(arc, s), 0, len(arc) - 1))])

    @property
    def normal(self) -> Array:
        """(n, 2) unit vectors to the left."""
        return _normals(self.centreline)


def edges(centreline: Array, polygon: Polygon | None) -> tuple[Array, Array]:
    """(n,) m from each point of a centreline to the left and right edge of its polygon.

    Measured across the lane; at the ends a little inside, where the polygon's own end is no edge.
    """
    plain = np.full(len(centreline), WIDTH / 2.0)
    if polygon is None:
        return plain, plain.copy()
    import shapely

    arc = polyline_arc_length(centreline)
    inside = np.clip(arc, min(0.3, arc[-1] / 3.0), arc[-1] - min(0.3, arc[-1] / 3.0))
    foot = np.stack([np.interp(inside, arc, centreline[:, k]) for k in range(2)], axis=-1)
    sides = []
    for sign in (1.0, -1.0):
        tips = foot + sign * WIDEST * _normals(centreline)
        rays = shapely.linestrings(np.stack([foot, tips], axis=1))
        met = shapely.intersection(rays, polygon.exterior)
        away = np.asarray(shapely.distance(shapely.points(foot), met))
        good = np.isfinite(away) & (away > 0.2)
        if good.any():
            away = np.interp(arc, arc[good], away[good])
        sides.append(away if good.any() else plain)
    return sides[0], sides[1]


def lane_drafts(lanes: Mapping[str, Lane], left_hand: bool) -> list[LaneDraft]:
    """All lanes with edges, links and neighbours, in the order of the file."""
    beside = _beside(lanes)
    facing = "left" if not left_hand else "right"
    drafts = []
    for token, lane in lanes.items():
        left, right = lane.left, lane.right
        if lane.polygon is None:
            left, right = (_between(lanes, lane, side) for side in ("left", "right"))
        side = np.concatenate([lane.normal, np.zeros((len(lane.centreline), 1))], axis=-1)
        neighbour = {
            way: other
            for way, back in (("left", "right"), ("right", "left"))
            if (other := beside.get((token, way, True)))
            and beside.get((other, back, True)) == token
        }
        drafts.append(
            LaneDraft(
                id=token,
                left=lane.centreline + left[:, None] * side,
                right=lane.centreline - right[:, None] * side,
                centreline=lane.centreline,
                kind=LaneKind.BIKING if lane.kind in ("BIKE", "BICYCLE") else LaneKind.DRIVING,
                successors=tuple(t for t in lane.after if t in lanes),
                predecessors=tuple(t for t in lane.before if t in lanes),
                left_neighbour=neighbour.get("left", ""),
                right_neighbour=neighbour.get("right", ""),
                opposite=beside.get((token, facing, False), ""),
                change_left=False if lane.solid_left else None,
                change_right=False if lane.solid_right else None,
                in_junction=lane.polygon is None,
            )
        )
    return drafts


def _normals(centreline: Array) -> Array:
    heading = polyline_headings(centreline)
    return np.stack([-np.sin(heading), np.cos(heading)], axis=-1)


def _between(lanes: Mapping[str, Lane], lane: Lane, side: str) -> Array:
    """(n,) m to an edge of a connector, from that of the lane before to that of the lane after."""
    ends = []
    for tokens, index in ((lane.before, -1), (lane.after, 0)):
        known = [getattr(lanes[t], side)[index] for t in tokens if t in lanes]
        ends.append(float(np.mean(known)) if known else WIDTH / 2.0)
    arc = polyline_arc_length(lane.centreline)
    return np.interp(arc, [0.0, arc[-1]], ends)


def _beside(lanes: Mapping[str, Lane]) -> dict[tuple[str, str, bool], str]:
    """(lane, left or right, same direction) -> the lane whose polygon lies there at mid-length."""
    import shapely

    real = [lane for lane in lanes.values() if lane.polygon is not None]
    tree = shapely.STRtree([lane.polygon for lane in real if lane.polygon is not None])
    found: dict[tuple[str, str, bool], str] = {}
    for lane in real:
        k = len(lane.centreline) // 2
        here = lane.centreline[k, :2]
        heading = polyline_headings(lane.centreline)[k]
        for way, sign, reach in (("left", 1.0, lane.left[k]), ("right", -1.0, lane.right[k])):
            probe = here + sign * (reach + 0.5 * WIDTH) * lane.normal[k]
            for other in sorted(tree.query(shapely.Point(probe), predicate="within").tolist()):
                near = real[other].centreline[:, :2] - probe
                turned = polyline_headings(real[other].centreline)[(near**2).sum(-1).argmin()]
                off = float(np.abs(wrap_angle(turned - heading)))
                if real[other] is not lane and (off < PARALLEL or off > np.pi - PARALLEL):
                    found.setdefault((lane.token, way, off < PARALLEL), real[other].token)
    return found
