"""The paved ground as thinned lane strips, with the gaps of junctions closed.

Lanes are drawn one by one, each thinned on its own, so that two neighbours share a border only to
within ``TOLERANCE``. Flush strips are therefore ``LAP`` wider on each side, and all are that much
longer at both ends: they overlap their neighbours by more than the border can be off.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.area import lane_borders, united
from roadloop.maps.road_map import LaneKind, RoadMap
from sim.scenery.mesh import quads
from sim.scenery.sheets import Sheets

Array = np.ndarray

TOLERANCE = 0.02
"""m, how far a strip's edge may lie from the lane's"""
UPRIGHT = 4.0
"""heights count so many times, as marks lie close above the road: 5 mm"""
LAP = 0.03
"""m"""
LONGEST, WIDEST = 10.0, 7.0
"""m, of a piece of a strip along and across: the renderer leaves out what is far tile by tile"""
BELOW = {LaneKind.DRIVING: 0.0, LaneKind.BIDIRECTIONAL: 0.0, LaneKind.BIKING: 0.002}
BESIDE, FILLED = 0.004, 0.008
"""m, how far lanes of these kinds, of other kinds, and filled gaps are sunk, so that where lanes
overlap in a junction it is settled which one is seen"""
RAISED = (LaneKind.SIDEWALK, LaneKind.MEDIAN)
STEP = 0.13
"""m, height of a kerb: 0.10-0.15 m in towns (RASt 06, 4.7 calls for 0.08-0.12 m)"""
SUNK = 0.015
"""m, how far a raised lane lies below the carriageway that crosses it"""
SAME_LEVEL = 1.0
"""m, surfaces this close in height belong together; bridges clear 4.5 m"""
CLOSE = 2.0
"""m, gaps between the lanes of a junction up to twice this wide are paved"""
ISLAND, CORNER = 20.0, 120.0
"""m^2, holes in a junction up to this size are paved: any, and those beside a pavement"""


@dataclass(frozen=True, eq=False)
class Paving:
    """N strips with R rows (cross-sections), and G triangles in the gaps between them."""

    lane: Array
    """(N,) lane of each strip"""
    raised: Array
    """(N,) bool: a pavement or median that stands ``STEP`` over the carriageway"""
    start: Array
    """(N + 1,) CSR over the rows"""
    left: Array
    """(R, 3) m, edge of the top surface on the left in the direction of travel"""
    right: Array
    """(R, 3) m"""
    normal: Array
    """(R, 2) unit vector to the left"""
    gaps: Array
    """(G, 3, 3) m, flush triangles"""
    gap_junction: Array
    """(G,) junction of each"""

    @cached_property
    def piece(self) -> Array:
        """(S,) first row of every piece between two rows of one strip."""
        last = np.zeros(len(self.left), bool)
        last[self.start[1:] - 1] = True
        return np.flatnonzero(~last)

    @cached_property
    def strip(self) -> Array:
        """(R,) strip of every row."""
        return np.repeat(np.arange(len(self.lane)), np.diff(self.start))

    @cached_property
    def flush(self) -> Sheets:
        """The carriageway: what is not raised, gaps included. Road marks lie on it."""
        piece = self.piece[~self.raised[self.strip[self.piece]]]
        return Sheets(np.concatenate([ribbon(*_lapped(self, LAP), piece)[0], self.gaps]))

    @cached_property
    def tops(self) -> Sheets:
        """Everything one can walk or drive on."""
        piece = self.piece[self.raised[self.strip[self.piece]]]
        raised, _ = ribbon(*_lapped(self, 0.0), piece)
        return Sheets(np.concatenate([self.flush.triangles, raised]))

    def lapped(self) -> tuple[Array, Array]:
        """Edges (R, 3) left and right to draw: flush strips wider, all strips longer by LAP."""
        flush = ~self.raised[self.strip]
        return _lapped(self, np.where(flush, LAP, 0.0))

    @classmethod
    def of(cls, road_map: RoadMap) -> Paving:
        """The paved ground of a map, made once per map. RoadloopError without lanes."""
        if road_map not in _made:
            _made[road_map] = cls._laid(road_map)
        return _made[road_map]

    @classmethod
    def _laid(cls, road_map: RoadMap) -> Paving:
        if road_map.lanes == 0:
            raise RoadloopError(f"map {road_map.name} has no lanes, so nothing is paved")
        borders = [lane_borders(road_map, lane) for lane in range(road_map.lanes)]
        left = np.concatenate([a for a, _ in borders])
        right = np.concatenate([b for _, b in borders])
        heading = road_map.point_heading
        normal = np.column_stack([-np.sin(heading), np.cos(heading)])
        is_raised = np.isin(road_map.lane_kind, RAISED)
        sink = np.array([BELOW.get(kind, BESIDE) for kind in LaneKind])[road_map.lane_kind]
        sink[is_raised] = 0.0
        row = np.arange(len(left))
        count = np.diff(road_map.point_start)
        lane_of = np.repeat(np.arange(road_map.lanes), count)

        def strips(row: Array, start: Array, lane: Array, raised: Array) -> Paving:
            curve = np.stack([left[row], right[row]], axis=1)
            keep = thinned(curve, start, TOLERANCE, LONGEST)
            row, lift = row[keep], np.repeat(raised, np.diff(start))[keep, None]
            start = np.concatenate([[0], np.cumsum(keep)])[start]
            up = np.where(lift, STEP, -sink[lane_of[row], None]) * np.array([0.0, 0.0, 1.0])
            none = np.zeros((0, 3, 3)), np.zeros(0, int)
            a, b = left[row] + up, right[row] + up
            return cls(lane, raised, start, a, b, normal[row], *none)

        chosen = row[~is_raised[lane_of]]
        flat = np.flatnonzero(~is_raised)
        base = strips(chosen, _starts(count[flat]), flat, np.zeros(len(flat), bool))
        gaps, gap_junction = _gaps(road_map, left, right)
        carriageway = Sheets(np.concatenate([base.flush.triangles, gaps]))

        # raised lanes where a carriageway crosses them: cut into strips, those crossed sunk
        chosen = row[is_raised[lane_of]]
        share = np.array([0.15, 0.5, 0.85])[:, None, None]
        inner = (right[chosen] + share * (left[chosen] - right[chosen])).reshape(-1, 3)
        met = carriageway.top(inner, SAME_LEVEL, SAME_LEVEL) > -np.inf
        crossed = np.zeros(len(row), bool)
        crossed[chosen] = met.reshape(3, -1).any(0)
        rows: list[Array] = []
        lanes, under = [], []
        for one in np.flatnonzero(is_raised).tolist():
            first, end = road_map.point_start[one : one + 2].tolist()
            change = first + 1 + np.flatnonzero(np.diff(crossed[first:end]))
            for a, b in zip([first, *change], [*change, end], strict=True):
                if min(b + 1, end) - a > 1:
                    rows.append(np.arange(a, min(b + 1, end)))
                    lanes.append(one)
                    under.append(bool(crossed[a]))
        if not rows:
            return _joined([base], gaps, gap_junction)
        extra = strips(
            np.concatenate(rows), _starts(list(map(len, rows))), np.array(lanes), ~np.array(under)
        )
        down = np.where(extra.raised, 0.0, SUNK)[extra.strip]
        extra.left[:, 2] -= down
        extra.right[:, 2] -= down
        return _joined([base, extra], gaps, gap_junction)


_made: weakref.WeakKeyDictionary[RoadMap, Paving] = weakref.WeakKeyDictionary()


def _starts(counts: Array | list[int]) -> Array:
    return np.concatenate([[0], np.cumsum(counts)]).astype(int)


def _joined(parts: list[Paving], gaps: Array, gap_junction: Array) -> Paving:
    """Several sets of strips as one, with these gaps."""
    start = _starts(np.concatenate([np.diff(p.start) for p in parts]))
    fields = ("lane", "raised", "left", "right", "normal")
    joined = {name: np.concatenate([getattr(p, name) for p in parts]) for name in fields}
    return Paving(start=start, gaps=gaps, gap_junction=gap_junction, **joined)


def _lapped(paving: Paving, lap: float | Array) -> tuple[Array, Array]:
    """Edges moved out by ``lap`` m, and the ends of strips moved out by LAP m."""
    out = np.column_stack([paving.normal, np.zeros(len(paving.normal))])
    out = out * np.broadcast_to(lap, len(out))[:, None]
    left, right = paving.left + out, paving.right - out
    first, last = paving.start[:-1], paving.start[1:] - 1
    for edge in (left, right):
        for end, inner in ((first, first + 1), (last, last - 1)):
            along = edge[end] - edge[inner]
            size = np.linalg.norm(along, axis=1, keepdims=True)
            edge[end] += LAP * along / np.where(size > 0.0, size, 1.0)
    return left, right


def ribbon(left: Array, right: Array, piece: Array) -> tuple[Array, Array]:
    """Triangles (T, 3, 3) between two edges, from each row in ``piece`` to the next, facing up.

    And the (T,) row of each. Pieces wider than WIDEST are cut along.
    """
    wide = np.linalg.norm(left - right, axis=1)
    cuts = np.ceil(np.maximum(wide[piece], wide[piece + 1]) / WIDEST).astype(int)
    done, rows = [np.zeros((0, 3, 3))], [np.zeros(0, int)]
    for n in np.unique(cuts[cuts > 0]).tolist():
        i = piece[cuts == n]
        for k in range(n):
            low, high = k / n, (k + 1) / n
            a, b = (right[j] + low * (left[j] - right[j]) for j in (i, i + 1))
            d, c = (right[j] + high * (left[j] - right[j]) for j in (i, i + 1))
            done.append(quads(np.stack([a, b, c, d], axis=1)))
            rows.append(np.repeat(i, 2))
    return np.concatenate(done), np.concatenate(rows)


def thinned(curves: Array, start: Array, tolerance: float, longest: float) -> Array:
    """(P,) bool: rows of CSR polylines to keep (Douglas and Peucker 1973, all lines at once).

    ``curves`` (P, C, 3) are C curves sampled together; a row may go if on all of them the chord
    passes within ``tolerance`` m, heights counted UPRIGHT times, and no chord gets longer than
    about ``longest`` m.
    """
    points = curves * np.array([1.0, 1.0, UPRIGHT])
    step = np.linalg.norm(np.diff(curves, axis=0), axis=2).max(1, initial=0.0)
    s = np.concatenate([[0.0], np.cumsum(step)])
    line = np.repeat(np.arange(len(start) - 1), np.diff(start))
    begin, length = s[start[:-1]], s[start[1:] - 1] - s[start[:-1]]
    parts = np.maximum(np.ceil(length / longest), 1.0)
    nth = np.floor((s - begin[line]) / np.maximum(length, 1e-9)[line] * parts[line] + 1e-6)
    keep = np.concatenate([[True], np.diff(nth) > 0])
    keep[start[:-1]] = True
    keep[start[1:] - 1] = True
    open_rows = np.flatnonzero(~keep)
    while len(open_rows):
        kept = np.flatnonzero(keep)
        piece = np.searchsorted(kept, open_rows) - 1
        a, b, p = points[kept[piece]], points[kept[piece + 1]], points[open_rows]
        ab, ap = b - a, p - a
        square = np.maximum(np.einsum("ncd,ncd->nc", ab, ab), 1e-18)
        t = np.clip(np.einsum("ncd,ncd->nc", ap, ab) / square, 0.0, 1.0)
        off = np.linalg.norm(ap - t[..., None] * ab, axis=2).max(1)
        first = np.concatenate([[0], 1 + np.flatnonzero(np.diff(piece))])
        worst = np.repeat(
            np.maximum.reduceat(off, first), np.diff(np.concatenate([first, [len(off)]]))
        )
        keep[open_rows[(off == worst) & (off > tolerance)]] = True
        open_rows = open_rows[(worst > tolerance) & ~keep[open_rows]]
    return keep


def _gaps(road_map: RoadMap, left: Array, right: Array) -> tuple[Array, Array]:
    """Triangles that pave what lanes leave open in junctions, and the junction of each."""
    import shapely
    from scipy.spatial import cKDTree

    sparse = thinned(np.stack([left, right], 1), road_map.point_start, 0.05, 1e9)
    rings, owner = [], []
    for lane in range(road_map.lanes):
        rows = np.arange(*road_map.point_start[lane : lane + 2].tolist())
        rows = rows[sparse[rows]]
        rings.append(np.concatenate([right[rows, :2], left[rows[::-1], :2]]))
        owner.append(np.full(len(rings[-1]), lane))
    lines = shapely.linearrings(np.concatenate(rings), indices=np.concatenate(owner))
    strips = shapely.make_valid(shapely.polygons(lines), method="structure")
    height = np.add.reduceat(road_map.point_xyz[:, 2], road_map.point_start[:-1])
    height /= np.diff(road_map.point_start)
    walk = road_map.lane_kind == LaneKind.SIDEWALK
    tree = shapely.STRtree(strips)

    triangles, junctions = [np.zeros((0, 3, 3))], [np.zeros(0, int)]
    for junction in range(len(road_map.junction_id)):
        own = np.flatnonzero(road_map.lane_junction == junction)
        if not len(own):
            continue
        hull = shapely.convex_hull(shapely.geometrycollections(strips[own].tolist()))
        near = np.sort(tree.query(shapely.buffer(hull, 1.0), predicate="intersects"))
        level = (height[near] > height[own].min() - 3.0) & (height[near] < height[own].max() + 3.0)
        near = near[level]
        around = shapely.box(*shapely.buffer(hull, 2.0 * CLOSE).bounds)
        local = shapely.intersection(strips[near], around)
        paved = united(local.tolist(), 0.02)
        pavements = shapely.geometrycollections(local[walk[near]].tolist())
        filled = united([paved], 2.0 * CLOSE)
        filled = [_without_small_holes(part, pavements) for part in shapely.get_parts(filled)]
        gap = shapely.intersection(shapely.union_all(filled), hull).difference(paved)
        # the strips overlap what is narrower than LAP on each side; the rest reaches under them
        gap = shapely.buffer(shapely.buffer(gap, -LAP, quad_segs=1), 0.1, quad_segs=1)
        pieces = [p for p in shapely.get_parts(gap) if p.area > 0.0]
        if not pieces:
            continue
        cut = shapely.constrained_delaunay_triangles(shapely.simplify(pieces, TOLERANCE))
        flat = shapely.get_coordinates(shapely.get_parts(shapely.get_parts(cut)))
        flat = flat.reshape(-1, 4, 2)[:, :3].reshape(-1, 2)
        rows = np.concatenate([np.arange(*road_map.point_start[k : k + 2].tolist()) for k in near])
        edges = np.concatenate([left[rows], right[rows]])
        distance, nearest = cKDTree(edges[:, :2]).query(flat, k=4)
        weight = 1.0 / (distance + 0.05) ** 2
        z = np.sum(weight * edges[nearest, 2], axis=1) / weight.sum(1) - FILLED
        found = _counter_clockwise(np.column_stack([flat, z]).reshape(-1, 3, 3))
        found = _short(found)
        triangles.append(found)
        junctions.append(np.full(len(found), junction))
    return np.concatenate(triangles), np.concatenate(junctions)


def _without_small_holes(part, pavements):
    """A shapely polygon without the holes that are to be paved."""
    import shapely

    kept = []
    for ring in part.interiors:
        hole = shapely.Polygon(ring)
        beside = hole.area <= CORNER and shapely.distance(hole, pavements) < 0.3
        if hole.area > ISLAND and not beside:
            kept.append(ring)
    return shapely.Polygon(part.exterior, kept)


def _counter_clockwise(triangles: Array) -> Array:
    """The triangles facing up."""
    u, v = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    down = u[:, 0] * v[:, 1] < u[:, 1] * v[:, 0]
    return np.where(down[:, None, None], triangles[:, [0, 2, 1]], triangles)


def _short(triangles: Array) -> Array:
    """The triangles, those with an edge longer than LONGEST halved until none has."""
    done = []
    while len(triangles):
        edge = np.linalg.norm(np.roll(triangles, -1, axis=1) - triangles, axis=2)
        longest = edge.argmax(1)
        fine = edge.max(1) <= LONGEST
        done.append(triangles[fine])
        rest, k = triangles[~fine], longest[~fine, None]
        order = (k + np.arange(3)) % 3
        a, b, c = np.moveaxis(np.take_along_axis(rest, order[..., None], axis=1), 1, 0)
        m = (a + b) / 2.0
        triangles = np.concatenate([np.stack([a, m, c], 1), np.stack([m, b, c], 1)])
    return np.concatenate(done) if done else triangles
