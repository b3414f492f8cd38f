"""A route as one smooth curve: where to drive, how fast, on which lane.

The curve is the route's centrelines one after the other. At a lane change the jump between two
centrelines, ``D`` m to the side, is spread over a window of ``L`` m by the quintic
``b(w) = 10 w^3 - 15 w^4 + 6 w^5`` (0 to 1 with no slope or curvature at either end): before the
jump the curve lies ``D b`` beside the old lane, after it ``D (b - 1)`` beside the new one. Headings
and curvatures follow from the same formula, not from differences of positions, so that millimetre
gaps between the lanes of a map do not show up as jerks of the steering wheel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.geometry import wrap_angle
from roadloop.maps.locate import from_frenet, project_polyline, to_frenet
from roadloop.maps.routing import route_sections

if TYPE_CHECKING:
    from scipy.spatial import KDTree

    from roadloop.maps.road_map import RoadMap
    from roadloop.types import Route

Array = np.ndarray

LANE_CHANGE_TIME = 4.0
"""s at the speed limit: lateral acceleration peaks at 5.77 D / T^2, 1.3 m/s^2 for 3.5 m"""
LANE_CHANGE_SHORTEST = 25.0
"""m, where junctions leave no more room"""
LANE_CHANGE_LONGEST = 120.0
"""m"""
JOINT_GAP = 0.05
"""m: maps let a lane go on further to the side; from here on that is driven like a lane change"""
HINT_REACH = 25.0
"""m before and behind the hint in which ``Path.project`` looks"""


@dataclass(frozen=True)
class PathPoint:
    """The path at the places asked for, every field of their shape."""

    x: Array
    y: Array
    z: Array
    heading: Array
    curvature: Array
    speed_limit: Array
    lane: Array
    lane_s: Array


@dataclass(frozen=True, eq=False)
class Path:
    """A curve of N points, evenly spaced."""

    s: Array
    """(N,) m of arc from the start"""
    xyz: Array
    """(N, 3)"""
    heading: Array
    """(N,) rad in (-pi, pi]"""
    curvature: Array
    """(N,) 1/m, left positive"""
    speed_limit: Array
    """(N,) m/s of the lane"""
    lane: Array
    """(N,) int32, the lane each point belongs to; changes half-way through a lane change"""
    lane_s: Array
    """(N,) m along that lane"""

    @property
    def length(self) -> float:
        """m"""
        return float(self.s[-1])

    def at(self, s: Array | float) -> PathPoint:
        """The path at ``s`` m of any shape, kept to the path's ends."""
        s = np.clip(np.asarray(s, float), 0.0, self.length)
        step = self.length / (len(self.s) - 1)
        row = np.minimum((s / step).astype(np.int64), len(self.s) - 2)
        t = s / step - row
        xyz = (1.0 - t)[..., None] * self.xyz[row] + t[..., None] * self.xyz[row + 1]
        tangent = (1.0 - t)[..., None] * self._tangent[row] + t[..., None] * self._tangent[row + 1]
        curvature = (1.0 - t) * self.curvature[row] + t * self.curvature[row + 1]
        row = np.where(t >= 1.0, row + 1, row)
        lane_s = np.where(t >= 1.0, self.lane_s[row], self.lane_s[row] + t * step)
        return PathPoint(
            xyz[..., 0], xyz[..., 1], xyz[..., 2],
            np.arctan2(tangent[..., 1], tangent[..., 0]), curvature,
            self.speed_limit[row], self.lane[row], lane_s,
        )  # fmt: skip

    def project(
        self, x: Array | float, y: Array | float, hint: Array | float | None = None
    ) -> tuple[Array, Array]:
        """``(s, lateral)`` of points of any one shape: m along the path, m left of it.

        ``hint`` (m along, of the same shape) keeps the search within ``HINT_REACH`` of it, which a
        route that meets itself needs. Raises RoadloopError for coordinates that are not finite.
        """
        x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
        points = np.column_stack([x.ravel(), y.ravel()])
        if not np.isfinite(points).all():
            raise RoadloopError("Path.project: position is not finite; drop masked rows first")
        last = len(self.s) - 1
        if hint is None:
            nearest = np.asarray(self._tree.query(points)[1])
        else:
            step = self.length / last
            reach = int(np.ceil(HINT_REACH / step))
            centre = np.broadcast_to(np.asarray(hint, float), x.shape).ravel()
            centre = np.clip(np.round(centre / step), 0, last).astype(np.int64)
            rows = np.clip(centre[:, None] + np.arange(-reach, reach + 1), 0, last)
            gap = self.xyz[rows, :2] - points[:, None, :]
            nearest = np.take_along_axis(rows, (gap**2).sum(-1).argmin(axis=1)[:, None], axis=1)[
                :, 0
            ]
        ends = np.zeros(len(points), np.int64), np.full(len(points), last)
        s, lateral, _ = project_polyline(
            self.xyz[:, :2], self._tangent, self.s, points, nearest, *ends
        )
        return s.reshape(x.shape), lateral.reshape(x.shape)

    @cached_property
    def _tangent(self) -> Array:
        return np.column_stack([np.cos(self.heading), np.sin(self.heading)])

    @cached_property
    def _tree(self) -> KDTree:
        from scipy.spatial import KDTree

        return KDTree(self.xyz[:, :2])


def route_path(road_map: RoadMap, route: Route, *, spacing: float = 0.5) -> Path:
    """The route's curve with points every ``spacing`` m (a little less, to fit the length evenly).

    Raises RoadloopError for a route whose lanes do not hang together or that is shorter than 0.1 m.
    """
    if not spacing > 0.0:
        raise RoadloopError(f"route_path: spacing {spacing} m must be positive")
    lane, lane_s, jumps = _raw(road_map, route)
    # m driven so far, without the jumps: they lie between two samples of equal u
    same = lane[1:] == lane[:-1]
    u = np.concatenate([[0.0], np.cumsum(np.where(same, np.diff(lane_s), 0.0))])
    if not u[-1] > 0.1:
        raise RoadloopError(
            f"route on {road_map.lane_name(int(lane[0]))} is {u[-1]:.2f} m long: put the goal "
            "ahead of the start"
        )
    x, y, heading = from_frenet(road_map, lane, lane_s, 0.0)
    curvature, z = _sample(road_map, lane, lane_s)
    # windows are measured along the curve itself, sigma, which on bends is shorter or longer than
    # the lane beside it by 1 - curvature * offset; a few rounds settle it
    sigma = u
    for _ in range(3):
        offset, slope, bend, lift = _lane_changes(road_map, lane, lane_s, sigma, jumps)
        scale = np.maximum(1.0 - curvature * offset, 0.1)
        grown = 0.5 * (scale[1:] + scale[:-1]) * np.diff(u)
        sigma = np.concatenate([[0.0], np.cumsum(grown)])
    x, y, z = x - offset * np.sin(heading), y + offset * np.cos(heading), z + lift
    slant = np.arctan(slope)
    heading = np.unwrap(heading + slant)
    curvature = np.cos(slant) * (curvature / scale + bend / (1.0 + slope**2))
    xyz = np.column_stack([x, y, z])
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    keep = np.concatenate([np.diff(arc) > 1e-6, [True]])  # the later of two where lanes meet
    arc, xyz, heading, curvature = arc[keep], xyz[keep], heading[keep], curvature[keep]
    s = np.linspace(0.0, arc[-1], max(int(np.ceil(arc[-1] / spacing)), 1) + 1)
    row = np.clip(np.searchsorted(arc, s, side="right") - 1, 0, len(arc) - 1)
    on = np.flatnonzero(keep)[row]
    length = road_map.lane_length[lane[on]]
    return Path(
        s=s,
        xyz=np.column_stack([np.interp(s, arc, xyz[:, k]) for k in range(3)]),
        heading=wrap_angle(np.interp(s, arc, heading)),
        curvature=np.interp(s, arc, curvature),
        speed_limit=road_map.lane_speed_limit[lane[on]],
        lane=lane[on].astype(np.int32),
        lane_s=np.minimum(lane_s[on] + s - arc[row], length),
    )


def _raw(road_map: RoadMap, route: Route) -> tuple[Array, Array, list[int]]:
    """Lane and s of samples along the centrelines, and the rows that begin after a jump aside."""
    lanes: list[Array] = []
    places: list[Array] = []
    jumps: list[int] = []
    sections = route_sections(road_map, route)
    for k, row in enumerate(sections):
        begin = route.start_s if k == 0 else 0.0
        end = route.goal_s if k == len(sections) - 1 else road_map.lane_length[row[-1]]
        share = begin / road_map.lane_length[row[0]], end / road_map.lane_length[row[-1]]
        for i, lane in enumerate(row):
            if i > 0 or (k > 0 and _aside(road_map, sections[k - 1][-1], lane) > JOINT_GAP):
                jumps.append(sum(map(len, lanes)))
            stop = end
            if i + 1 < len(row):  # change lane when an equal share of the row is behind us
                place = share[0] + (share[1] - share[0]) * (i + 1) / len(row)
                stop = place * road_map.lane_length[lane]
            if stop < begin:
                raise RoadloopError(
                    f"route on {road_map.lane_name(lane)} leads back from {begin:.1f} m to "
                    f"{stop:.1f} m: put the goal ahead of the start"
                )
            inside = road_map.point_s[road_map.points_of(lane)]
            inside = inside[(inside > begin + 1e-6) & (inside < stop - 1e-6)]
            places.append(np.concatenate([[begin], inside, [stop]]))
            lanes.append(np.full(len(inside) + 2, lane))
            if i + 1 < len(row):
                x, y, _ = from_frenet(road_map, lane, stop, 0.0)
                begin = float(to_frenet(road_map, row[i + 1], x, y)[0])
    return np.concatenate(lanes), np.concatenate(places), jumps


def _aside(road_map: RoadMap, lane: int, successor: int) -> float:
    """m to the side from the end of one lane to the start of the next."""
    end, start = road_map.point_start[lane + 1] - 1, road_map.point_start[successor]
    gap = road_map.point_xyz[start] - road_map.point_xyz[end]
    heading = road_map.point_heading[end]
    return abs(float(gap[1] * np.cos(heading) - gap[0] * np.sin(heading)))


def _lane_changes(
    road_map: RoadMap, lane: Array, lane_s: Array, u: Array, jumps: list[int]
) -> tuple[Array, Array, Array, Array]:
    """Offset to the left, its first two derivatives over u, and the lift in z, each (n,)."""
    offset, slope, bend, lift = (np.zeros(len(u)) for _ in range(4))
    for jump in jumps:
        old, new = jump - 1, jump
        x, y, _ = from_frenet(road_map, lane[new], lane_s[new], 0.0)
        aside = to_frenet(road_map, lane[old], x, y)[1]
        height = np.diff(_sample(road_map, lane[[old, new]], lane_s[[old, new]])[1])[0]
        wanted = LANE_CHANGE_TIME * road_map.lane_speed_limit[lane[new]]
        wanted = np.clip(wanted, LANE_CHANGE_SHORTEST, LANE_CHANGE_LONGEST)
        free = np.abs(u[road_map.lane_junction[lane] >= 0] - u[jump]).min(initial=np.inf)
        to_end = min(u[jump], u[-1] - u[jump])
        length = min(wanted, 2.0 * max(free, LANE_CHANGE_SHORTEST / 2.0), 2.0 * to_end)
        length = max(length, 1e-3)
        w = np.clip((u - u[jump]) / length + 0.5, 0.0, 1.0)
        blend = w**3 * (10.0 - 15.0 * w + 6.0 * w**2)
        after = np.arange(len(u)) >= jump
        offset += aside * (blend - after)
        lift += height * (blend - after)
        slope += aside * 30.0 * w**2 * (1.0 - w) ** 2 / length
        bend += aside * 60.0 * w * (1.0 - w) * (1.0 - 2.0 * w) / length**2
    return offset, slope, bend, lift


def _sample(road_map: RoadMap, lane: Array, s: Array) -> tuple[Array, Array]:
    """Curvature and height of the centreline at ``s``, linear between the map's points."""
    first = road_map.point_start[lane].astype(np.int64)
    segments = road_map.point_start[lane + 1] - first - 1
    place = np.clip(s / road_map.lane_length[lane], 0.0, 1.0) * segments
    row = np.minimum(place.astype(np.int64), segments - 1)
    t, row = place - row, first + row
    bend, height = road_map.point_curvature, road_map.point_xyz[:, 2]
    return (1 - t) * bend[row] + t * bend[row + 1], (1 - t) * height[row] + t * height[row + 1]
