"""A road map as lines in space, for viewers that know no roads: borders, centrelines, crossings."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from roadloop.maps.area import lane_borders
from roadloop.maps.road_map import LaneKind, RoadMap, SignalKind
from roadloop.viz.ground import Paint
from roadloop.viz.palette import DARK, rgb

Array = np.ndarray
Colour = tuple[int, int, int]

THINNING = 0.03
"""m, how far a drawn line may leave the map's, sideways and upwards"""

_BESIDE = (
    LaneKind.SHOULDER,
    LaneKind.PARKING,
    LaneKind.BIKING,
    LaneKind.SIDEWALK,
    LaneKind.MEDIAN,
)
_CENTRELINE = rgb("#3f6a8c")


@dataclass(frozen=True)
class Lines:
    """Lines of one kind."""

    strips: list[Array]
    """each (points, 3) m, world frame"""
    colour: Colour
    width: float
    """m"""


@dataclass(frozen=True)
class LightLines:
    """What shows the state of traffic lights: lamps, and the stop lines that obey them."""

    lamps: Array
    """(lamps, 3) m, world frame"""
    lamp_signal: Array
    """(lamps,) index into the map's signals"""
    bars: Array
    """(bars, 2, 3) m, the two ends of each stop line"""
    bar_signal: Array
    """(bars,)"""


def map_lines(road_map: RoadMap) -> dict[str, Lines]:
    """The map's lines by name: borders, beside, centrelines, crosswalks, stop_lines.

    A border that two lanes share is there once. Stop lines that obey a traffic light are left to
    ``light_lines``.
    """
    travel = road_map.is_travel & (np.diff(road_map.point_start) >= 2)
    borders, beside = [], []
    for lane in np.flatnonzero(travel & (road_map.lane_junction < 0)).tolist():
        left, right = lane_borders(road_map, lane)
        opposite = road_map.lane_opposite[lane]
        if road_map.lane_left[lane] < 0 and not 0 <= opposite < lane:
            borders.append(left)
        borders.append(right)
    kinds = np.isin(road_map.lane_kind, _BESIDE) & (np.diff(road_map.point_start) >= 2)
    for lane in np.flatnonzero(kinds).tolist():
        beside += lane_borders(road_map, lane)
    centrelines = [
        road_map.point_xyz[road_map.points_of(lane)] for lane in np.flatnonzero(travel).tolist()
    ]
    ends = road_map.crosswalk_start
    crosswalks = [road_map.crosswalk_xyz[a:b] for a, b in pairwise(ends)]
    bars, signal = _stop_bars(road_map)
    unlit = road_map.signal_kind[signal] != SignalKind.TRAFFIC_LIGHT
    return {
        "borders": Lines(thinned(borders), rgb(DARK[Paint.MARK_WHITE.name]), 0.12),
        "beside": Lines(thinned(beside), rgb(DARK[Paint.CURB.name]), 0.08),
        "centrelines": Lines(thinned(centrelines), _CENTRELINE, 0.05),
        "crosswalks": Lines(
            [np.concatenate([c, c[:1]]) for c in crosswalks if len(c)],
            rgb(DARK[Paint.CROSSWALK.name]),
            0.15,
        ),
        "stop_lines": Lines(list(bars[unlit]), rgb(DARK[Paint.STOP_LINE.name]), 0.4),
    }


def light_lines(road_map: RoadMap) -> LightLines:
    """Traffic lights of the map and the stop lines that obey them."""
    lamps = np.flatnonzero(road_map.signal_kind == SignalKind.TRAFFIC_LIGHT)
    bars, signal = _stop_bars(road_map)
    lit = np.isin(signal, lamps)
    return LightLines(road_map.signal_xyz[lamps], lamps, bars[lit], signal[lit])


def thinned(strips: list[Array]) -> list[Array]:
    """The polylines (points, 3) without the points within ``THINNING`` of the line between others.

    Douglas and Peucker's algorithm once as seen from above and once along the line, where height
    is the second axis; a point that either keeps is kept.
    """
    import shapely

    strips = [strip for strip in strips if len(strip) >= 2]
    if not strips:
        return []
    points = np.concatenate(strips)
    index = np.repeat(np.arange(len(strips)), [len(strip) for strip in strips])
    step = np.hypot(*np.diff(points[:, :2], axis=0, prepend=points[:1, :2]).T)
    profile = np.stack([np.cumsum(step), points[:, 2]], axis=-1)
    keep = np.zeros(len(points), bool)
    number = np.arange(len(points), dtype=np.float64)[:, None]
    for plane in (points[:, :2], profile):
        # the third coordinate goes along with its point: here it says which point that was
        lines = shapely.linestrings(np.concatenate([plane, number], axis=-1), indices=index)
        thin = shapely.simplify(lines, THINNING, preserve_topology=False)
        keep[shapely.get_coordinates(thin, include_z=True)[:, 2].astype(int)] = True
    kept = np.bincount(index[keep], minlength=len(strips))
    return np.split(points[keep], np.cumsum(kept)[:-1])


def _stop_bars(road_map: RoadMap) -> tuple[Array, Array]:
    """(bars, 2, 3) the ends of all stop lines across their lanes, and (bars,) what they obey.

    Lanes that fan out of one entry share a line.
    """
    bars: dict[tuple[int, int, int], Array] = {}
    for lane, s, signal in zip(road_map.stop_lane, road_map.stop_s, road_map.stop_signal):
        rows = road_map.points_of(lane)
        if rows.stop - rows.start < 2:
            continue
        k = int(np.argmin(np.abs(road_map.point_s[rows] - s)))
        left, right = (edge[k] for edge in lane_borders(road_map, lane))
        x, y, _ = left + right  # twice the middle: places half a metre apart are one
        bars.setdefault((int(signal), round(x), round(y)), np.stack([left, right]))
    signals = np.array([key[0] for key in bars], np.int64)
    return np.array(list(bars.values())).reshape(-1, 2, 3), signals
