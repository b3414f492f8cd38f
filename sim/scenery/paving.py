"""The paved ground as thinned lane strips, with the gaps of junctions closed.

Lanes are drawn one by one, each thinned on its own, so that two neighbours share a border only to
within ``TOLERANCE``. Strips are therefore drawn ``LAP`` wider on each side and longer at both ends:
they overlap their neighbours by more than the border can be off.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.area import lane_borders
from roadloop.maps.road_map import LaneKind, RoadMap
from sim.scenery.gaps import junction_gaps
from sim.scenery.ribbons import LONGEST, TOLERANCE, ribbon, thinned
from sim.scenery.sheets import Sheets

Array = np.ndarray

LAP = 0.03
"""m, see above"""
BELOW = {LaneKind.DRIVING: 0.0, LaneKind.BIDIRECTIONAL: 0.0, LaneKind.BIKING: 0.002}
BESIDE, FILLED = 0.004, 0.008
"""m, how far lanes of these kinds, of other kinds, and filled gaps are sunk, so that where lanes
overlap in a junction it is settled which one is seen"""
RAISED = (LaneKind.SIDEWALK, LaneKind.MEDIAN)
STEP = 0.13
"""m, height of a kerb"""
SUNK = 0.015
"""m, how far a raised lane lies below the carriageway that crosses it"""
SAME_LEVEL = 1.0
"""m, surfaces this close in height belong together; bridges clear 4.5 m"""


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
        return Sheets(np.concatenate([ribbon(*self.lapped, piece)[0], self.gaps]))

    @cached_property
    def tops(self) -> Sheets:
        """Everything one can walk or drive on."""
        piece = self.piece[self.raised[self.strip[self.piece]]]
        raised, _ = ribbon(*self.lapped, piece)
        return Sheets(np.concatenate([self.flush.triangles, raised]))

    @cached_property
    def lapped(self) -> tuple[Array, Array]:
        """Edges (R, 3) left and right as they are drawn, LAP further out."""
        out = LAP * np.column_stack([self.normal, np.zeros(len(self.normal))])
        left, right = self.left + out, self.right - out
        first, last = self.start[:-1], self.start[1:] - 1
        for edge in (left, right):
            for end, inner in ((first, first + 1), (last, last - 1)):
                along = edge[end] - edge[inner]
                size = np.linalg.norm(along, axis=1, keepdims=True)
                edge[end] += LAP * along / np.where(size > 0.0, size, 1.0)
        return left, right

    @classmethod
    def of(cls, road_map: RoadMap) -> Paving:
        """The paved ground of a map, made once per map. RoadloopError without lanes."""
        if road_map not in _made:
            _made[road_map] = _laid(road_map)
        return _made[road_map]


_made: weakref.WeakKeyDictionary[RoadMap, Paving] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class _Lanes:
    """All lanes of a map, one row per centreline point."""

    left: Array
    right: Array
    normal: Array
    sink: Array
    """(P,) m a flush lane is sunk"""

    def strips(self, rows: list[Array], lane: Array, raised: Array, sink: float = 0.0) -> Paving:
        """Thinned strips along ``rows`` of each lane, flush ones ``sink`` m lower than usual."""
        row = np.concatenate([np.zeros(0, int), *rows])
        start = _starts([len(r) for r in rows])
        keep = thinned(
            np.stack([self.left[row], self.right[row]], axis=1), start, TOLERANCE, LONGEST
        )
        row, up = row[keep], np.repeat(raised, np.diff(start))[keep]
        lift = np.outer(np.where(up, STEP, -self.sink[row] - sink), [0.0, 0.0, 1.0])
        return Paving(
            lane=lane,
            raised=raised,
            start=np.concatenate([[0], np.cumsum(keep)])[start],
            left=self.left[row] + lift,
            right=self.right[row] + lift,
            normal=self.normal[row],
            gaps=np.zeros((0, 3, 3)),
            gap_junction=np.zeros(0, int),
        )


def _laid(road_map: RoadMap) -> Paving:
    """The paving of a map: first all that is flush, then what stands above it."""
    if road_map.lanes == 0:
        raise RoadloopError(f"map {road_map.name} has no lanes, so nothing is paved")
    borders = [lane_borders(road_map, lane) for lane in range(road_map.lanes)]
    heading = road_map.point_heading
    is_raised = np.isin(road_map.lane_kind, RAISED)
    sink = np.array([BELOW.get(kind, BESIDE) for kind in LaneKind])[road_map.lane_kind]
    lanes = _Lanes(
        left=np.concatenate([a for a, _ in borders]),
        right=np.concatenate([b for _, b in borders]),
        normal=np.column_stack([-np.sin(heading), np.cos(heading)]),
        sink=np.repeat(np.where(is_raised, 0.0, sink), np.diff(road_map.point_start)),
    )
    rows = np.split(np.arange(len(lanes.left)), road_map.point_start[1:-1])
    flat = np.flatnonzero(~is_raised)
    base = lanes.strips([rows[k] for k in flat], flat, np.zeros(len(flat), bool))
    gaps, gap_junction = junction_gaps(road_map, lanes.left, lanes.right)
    gaps[..., 2] -= FILLED
    carriageway = Sheets(np.concatenate([base.flush.triangles, gaps]))
    up, lane, crossed = _runs(
        lanes, [(int(k), rows[k]) for k in np.flatnonzero(is_raised)], carriageway
    )
    extra = lanes.strips(up, lane, ~crossed, SUNK)
    return _joined([base, extra], gaps, gap_junction)


def _runs(
    lanes: _Lanes, raised: list[tuple[int, Array]], carriageway: Sheets
) -> tuple[list[Array], Array, Array]:
    """Raised lanes cut where a carriageway crosses them: rows, lane, and whether it does, of each.

    In junctions some maps lead pavements right across side roads.
    """
    row = np.concatenate([np.zeros(0, int), *(rows for _, rows in raised)])
    share = np.array([0.15, 0.5, 0.85])[:, None, None]
    inner = lanes.right[row] + share * (lanes.left[row] - lanes.right[row])
    met = carriageway.top(inner.reshape(-1, 3), SAME_LEVEL, SAME_LEVEL) > -np.inf
    crossed = np.zeros(len(lanes.left), bool)
    crossed[row] = met.reshape(3, -1).any(0)
    found: list[tuple[Array, int, bool]] = []
    for lane, rows in raised:
        change = 1 + np.flatnonzero(np.diff(crossed[rows]))
        for begin, end in zip([0, *change], [*change, len(rows)], strict=True):
            run = rows[begin : end + 1]  # neighbours share a row
            if len(run) > 1:
                found.append((run, lane, bool(crossed[run[0]])))
    return (
        [run for run, _, _ in found],
        np.array([lane for _, lane, _ in found], int),
        np.array([under for _, _, under in found], bool),
    )


def _starts(counts: Array | list[int]) -> Array:
    return np.concatenate([[0], np.cumsum(counts)]).astype(int)


def _joined(parts: list[Paving], gaps: Array, gap_junction: Array) -> Paving:
    """Several sets of strips as one, with these gaps."""
    start = _starts(np.concatenate([np.diff(p.start) for p in parts]))
    fields = ("lane", "raised", "left", "right", "normal")
    joined = {name: np.concatenate([getattr(p, name) for p in parts]) for name in fields}
    return Paving(start=start, gaps=gaps, gap_junction=gap_junction, **joined)
