"""A map as data sets have it: lanes as polylines with names, before it is compiled.

Readers of foreign maps fill a ``MapDraft``; ``roadloop.maps.compile_draft.compile_map`` makes the
``RoadMap`` of it: resampled centrelines, neighbours, junctions, conflicts, crossings. Coordinates
are metres in the frame the RoadMap is to have; lanes run in their direction of travel.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from roadloop.maps.road_map import LaneKind, MarkColour, MarkKind, SignalKind

Array = np.ndarray


@dataclass(frozen=True)
class LaneDraft:
    """One lane: by its two edges, or by a centreline and a width."""

    id: str
    """unique in the map"""
    left: Array | None = None
    """(n, 3) left edge in the direction of travel"""
    right: Array | None = None
    """(m, 3) right edge"""
    centreline: Array | None = None
    """(n, 3); by default in the middle between the edges"""
    width: Array | float | None = None
    """m, one for all or one per point of ``centreline``; by default from the edges"""
    kind: LaneKind = LaneKind.DRIVING
    speed_limit: float | None = None
    """m/s; None: the compiler's default for its surroundings"""
    successors: tuple[str, ...] = ()
    """ids of lanes traffic may enter at its end; unknown ids are left out with a note"""
    predecessors: tuple[str, ...] = ()
    left_neighbour: str = ""
    """id of the next lane to the left with the same direction of travel; none where empty"""
    right_neighbour: str = ""
    opposite: str = ""
    """id of the adjacent lane of the opposite direction"""
    change_left: bool | None = None
    """whether the mark between allows to cross; None: wherever there is a neighbour"""
    change_right: bool | None = None
    in_junction: bool = False
    """it lies inside an intersection; lanes of one intersection are found by their overlap"""
    junction: str = ""
    """name of the intersection where the data set has one"""


@dataclass(frozen=True)
class SignalDraft:
    """A light or sign, and the lanes whose traffic it governs."""

    id: str
    kind: SignalKind
    xyz: tuple[float, float, float]
    heading: float
    """rad, direction of travel of the traffic it addresses"""
    stops: tuple[tuple[str, float | None], ...] = ()
    """lane id and m along that lane of the stop line; None: at the lane's *end*; 0.0: at its start
    (as where a data set hangs lights on the lanes of a junction)"""
    value: float = 0.0
    """m/s for SPEED_LIMIT"""
    group: str = ""
    """lights of one group switch together"""


@dataclass(frozen=True)
class MarkDraft:
    """A painted line."""

    xyz: Array
    """(n, 3)"""
    kind: MarkKind = MarkKind.SOLID
    colour: MarkColour = MarkColour.WHITE
    width: float = 0.12
    """m"""


@dataclass(frozen=True)
class YieldDraft:
    """Traffic of one lane gives way to that of another where they share ground."""

    lane: str
    to: str


@dataclass(frozen=True)
class MapDraft:
    """A whole map."""

    name: str
    source_hash: str
    """hex SHA-256 of the bytes it was read from"""
    lanes: tuple[LaneDraft, ...]
    signals: tuple[SignalDraft, ...] = ()
    """their order is that of ``Recording.lights``"""
    crosswalks: tuple[Array, ...] = ()
    """(n, 3) corners each, not closed"""
    marks: tuple[MarkDraft, ...] = ()
    drivable: tuple[Array, ...] = ()
    """(n, 2) outlines of ground a car may drive on beyond its lanes, not closed, without holes"""
    yields: tuple[YieldDraft, ...] = ()
    left_hand: bool = False
    georeference: str = ""
    """PROJ string"""
    unsupported: tuple[str, ...] = field(default_factory=tuple)
    """one message per element that could not be used"""
