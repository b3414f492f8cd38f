"""The lane graph every part of roadloop drives on: flat arrays, one row per lane.

A lane is one OpenDRIVE lane of one lane section (or the like of another format), *oriented in its
direction of travel*: its points run from where traffic enters to where it leaves, ``s`` grows that
way, "left" and "right" are the driver's. Lists of varying length are stored as CSR: the rows of
item ``i`` are ``start[i]:start[i + 1]``. Coordinates are metres in the map's local east-north-up
frame, float64, exactly those of the source file (no shift).

The questions one asks of a map live beside this file: ``locate`` (nearest lane, Frenet),
``routing`` (routes), ``conflicts`` (who crosses whom), ``area`` (drivable polygons).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

Array = np.ndarray


class LaneKind(IntEnum):
    """What a lane is for. DRIVING includes entry, exit and ramps."""

    DRIVING = 0
    BIDIRECTIONAL = 1
    SHOULDER = 2
    PARKING = 3
    BIKING = 4
    SIDEWALK = 5
    BORDER = 6
    MEDIAN = 7
    RESTRICTED = 8
    OTHER = 9


class SignalKind(IntEnum):
    """What a sign or light demands."""

    TRAFFIC_LIGHT = 0
    STOP = 1
    YIELD = 2
    SPEED_LIMIT = 3
    OTHER = 4


class MarkKind(IntEnum):
    """How a road mark is painted; two-line kinds read left to right along the mark's polyline."""

    NONE = 0
    SOLID = 1
    BROKEN = 2
    SOLID_SOLID = 3
    SOLID_BROKEN = 4
    BROKEN_SOLID = 5
    BROKEN_BROKEN = 6
    CURB = 7
    BOTTS_DOTS = 8
    GRASS = 9
    EDGE = 10
    OTHER = 11


class MarkColour(IntEnum):
    """Colour of a road mark."""

    WHITE = 0
    YELLOW = 1
    BLUE = 2
    RED = 3
    GREEN = 4
    ORANGE = 5
    OTHER = 6


class ConflictKind(IntEnum):
    """How two junction lanes share ground."""

    CROSS = 0
    MERGE = 1  # they end in the same lane
    DIVERGE = 2  # they start from the same lane


@dataclass(frozen=True, eq=False)
class RoadMap:
    """A compiled map. L lanes, P centreline points, S signals, J junctions."""

    name: str
    content_hash: str
    """hex SHA-256 of the source file's bytes and the reader's version"""
    georeference: str
    """PROJ string of the source, empty where it has none"""
    left_hand: bool
    """True where traffic keeps left"""
    unsupported: tuple[str, ...]
    """one message per element the reader could not use: what, road id, line in the file"""

    # lanes, (L,)
    lane_road: Array
    """str, road id"""
    lane_section: Array
    """int32, index of the lane section on its road"""
    lane_number: Array
    """int32, OpenDRIVE lane id (negative: right of the reference line)"""
    lane_kind: Array
    """uint8 LaneKind"""
    lane_junction: Array
    """int32, index into junction_id, -1 outside junctions"""
    lane_length: Array
    """float64, m of arc along the centreline"""
    lane_speed_limit: Array
    """float64, m/s; the reader's default for the road type where the file states none"""
    lane_left: Array
    """int32, the next lane to the left with the same direction of travel (both DRIVING or
    BIDIRECTIONAL), else -1"""
    lane_right: Array
    """int32, likewise to the right"""
    lane_opposite: Array
    """int32, the adjacent driving lane of the opposite direction, else -1"""
    lane_change_left: Array
    """bool, the road mark allows crossing to lane_left"""
    lane_change_right: Array
    """bool"""

    # lane graph, CSR over lanes
    successor_start: Array
    """(L + 1,) int32"""
    successor: Array
    """int32"""
    predecessor_start: Array
    predecessor: Array

    # centreline points, CSR over lanes; uniform arc-length spacing within a lane (at most 0.5 m)
    point_start: Array
    """(L + 1,) int32"""
    point_s: Array
    """(P,) float64, m from the lane's start"""
    point_xyz: Array
    """(P, 3) float64"""
    point_heading: Array
    """(P,) float64, direction of travel, in (-pi, pi]"""
    point_curvature: Array
    """(P,) float64, 1/m, left positive"""
    point_width: Array
    """(P,) float64, m"""
    point_bank: Array
    """(P,) float64, rad, superelevation seen along the direction of travel: positive where the
    left edge is higher"""

    # signals, (S,)
    signal_id: Array
    """str"""
    signal_kind: Array
    """uint8 SignalKind"""
    signal_xyz: Array
    """(S, 3)"""
    signal_heading: Array
    """float64, direction of travel of the traffic it addresses"""
    signal_value: Array
    """float64, m/s for SPEED_LIMIT, else 0"""
    signal_controller: Array
    """int32, lights of one controller switch together; -1 where the file names none"""
    signal_junction: Array
    """int32, junction whose traffic it governs, -1"""

    # stop lines: traffic on stop_lane must obey signal stop_signal at arc length stop_s
    stop_lane: Array
    """int32"""
    stop_s: Array
    """float64, m; 0 where the line is at the entry of a junction lane"""
    stop_signal: Array
    """int32, index into signals; lights, stop and yield signs only"""

    # junctions, (J,)
    junction_id: Array
    """str"""
    junction_is_roundabout: Array
    """bool"""
    priority_high: Array
    """str road ids: in junction priority_junction, connecting road high goes before road low"""
    priority_low: Array
    priority_junction: Array
    """int32"""

    # conflicts between travel lanes of a junction (both orders are stored, sorted by lane)
    conflict_start: Array
    """(L + 1,) int32"""
    conflict_lane: Array
    """int32, the other lane"""
    conflict_kind: Array
    """uint8 ConflictKind"""
    conflict_from: Array
    """float64, m, the shared ground on this lane begins here ..."""
    conflict_to: Array
    """float64, ... and ends here"""
    conflict_other_from: Array
    """float64, the same on the other lane"""
    conflict_other_to: Array
    conflict_yield: Array
    """int8, 1: this lane gives way to the other, -1: the other gives way, 0: first come"""

    # crossings: crosswalk polygons and where they lie on lanes
    crosswalk_start: Array
    """(crosswalks + 1,) int32"""
    crosswalk_xyz: Array
    """(., 3) corner points, counter-clockwise, not closed"""
    crossing_lane: Array
    """int32, lane a crosswalk lies on"""
    crossing_from: Array
    """float64, m along that lane"""
    crossing_to: Array
    crossing_crosswalk: Array
    """int32"""

    # road marks, CSR polylines
    mark_start: Array
    """(marks + 1,) int32"""
    mark_xyz: Array
    """(., 3)"""
    mark_kind: Array
    """(marks,) uint8 MarkKind"""
    mark_colour: Array
    """(marks,) uint8 MarkColour"""
    mark_width: Array
    """(marks,) float64, m"""

    # ground a car may drive on beyond the lanes, CSR outlines; empty where the source has none
    area_start: Array = field(default_factory=lambda: np.zeros(1, np.int32))
    """(areas + 1,) int32"""
    area_xy: Array = field(default_factory=lambda: np.zeros((0, 2)))
    """(., 2) m, not closed"""

    lane_id: Array = field(default_factory=lambda: np.zeros(0, dtype=str))
    """(L,) str, the source's name of each lane; empty for sources that name them by road, section
    and number"""

    @property
    def lanes(self) -> int:
        """Number of lanes."""
        return len(self.lane_number)

    @property
    def is_travel(self) -> Array:
        """(L,) bool: lanes vehicles travel on (DRIVING and BIDIRECTIONAL)."""
        return self.lane_kind <= LaneKind.BIDIRECTIONAL

    def points_of(self, lane: int) -> slice:
        """Rows of the point arrays that belong to ``lane``."""
        return slice(int(self.point_start[lane]), int(self.point_start[lane + 1]))

    def successors_of(self, lane: int) -> Array:
        """(n,) lanes traffic may enter at the end of ``lane``."""
        return self.successor[self.successor_start[lane] : self.successor_start[lane + 1]]

    def predecessors_of(self, lane: int) -> Array:
        """(n,) lanes from which traffic enters ``lane``."""
        return self.predecessor[self.predecessor_start[lane] : self.predecessor_start[lane + 1]]

    def lane_name(self, lane: int) -> str:
        """How messages call a lane: ``road 12 section 0 lane -1``, or ``lane 38114``."""
        if len(self.lane_id):
            return f"lane {self.lane_id[lane]}"
        return (
            f"road {self.lane_road[lane]} section {self.lane_section[lane]} "
            f"lane {self.lane_number[lane]}"
        )

    def arrays(self) -> dict[str, Array]:
        """Every array field by name, for storing."""
        return {
            f.name: value
            for f in dataclasses.fields(self)
            if isinstance(value := getattr(self, f.name), np.ndarray)
        }
