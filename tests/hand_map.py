"""RoadMaps written down by hand for tests: lanes from point lists, everything else empty."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from roadloop.maps.road_map import LaneKind, RoadMap, SignalKind

SPACING = 0.5  # m, upper bound of the point spacing the contract allows


@dataclass
class HandLane:
    """One lane of a hand-built map; ``points`` is (n, 2) or (n, 3), in driving order."""

    points: np.ndarray
    width: float = 3.5
    road: str = "0"
    number: int = -1
    kind: LaneKind = LaneKind.DRIVING
    junction: int = -1
    successors: tuple[int, ...] = ()
    left: int = -1
    right: int = -1
    opposite: int = -1
    speed_limit: float = 13.9
    bank: float = 0.0


@dataclass
class HandSign:
    """A stop line on ``lane`` at ``s`` with the signal that governs it."""

    kind: SignalKind
    lane: int
    s: float
    xyz: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass
class HandMap:
    """What a test writes; ``build`` turns it into a RoadMap."""

    lanes: list[HandLane]
    junctions: int = 0
    signs: list[HandSign] = field(default_factory=list)
    priority: list[tuple[int, str, str]] = field(default_factory=list)
    """(junction, high road, low road)"""
    crosswalks: list[np.ndarray] = field(default_factory=list)
    """(n, 2) corners each"""
    left_hand: bool = False

    def build(self) -> RoadMap:
        parts = [_resample(np.asarray(lane.points, dtype=float)) for lane in self.lanes]
        counts = [len(s) for s, _ in parts]
        pairs = sorted((i, j) for i, lane in enumerate(self.lanes) for j in lane.successors)
        n = len(self.lanes)

        def column(name: str, dtype: type) -> np.ndarray:
            return np.array([getattr(lane, name) for lane in self.lanes], dtype=dtype)

        def per_point(name: str) -> np.ndarray:
            return np.repeat(column(name, float), counts)

        headings = [_heading(p) for _, p in parts]
        walks = [np.column_stack([c, np.zeros(len(c))]) for c in self.crosswalks]
        # fmt: off
        values: dict[str, object] = {
            "name": "by hand", "content_hash": "0", "georeference": "", "unsupported": (),
            "left_hand": self.left_hand,
            "lane_road": column("road", str), "lane_section": np.zeros(n, np.int32),
            "lane_number": column("number", np.int32), "lane_kind": column("kind", np.uint8),
            "lane_junction": column("junction", np.int32),
            "lane_length": np.array([s[-1] for s, _ in parts]),
            "lane_speed_limit": column("speed_limit", float),
            "lane_left": column("left", np.int32), "lane_right": column("right", np.int32),
            "lane_opposite": column("opposite", np.int32),
            "lane_change_left": column("left", np.int32) >= 0,
            "lane_change_right": column("right", np.int32) >= 0,
            "successor_start": _starts([sum(i == k for i, _ in pairs) for k in range(n)]),
            "successor": np.array([j for _, j in pairs], np.int32),
            "predecessor_start": _starts([sum(j == k for _, j in pairs) for k in range(n)]),
            "predecessor": np.array(
                [i for i, _ in sorted(pairs, key=lambda p: (p[1], p[0]))], np.int32
            ),
            "point_start": _starts(counts),
            "point_s": np.concatenate([s for s, _ in parts]),
            "point_xyz": np.concatenate([p for _, p in parts]),
            "point_heading": np.concatenate(headings),
            "point_curvature": np.concatenate(
                [np.gradient(np.unwrap(h), s) for h, (s, _) in zip(headings, parts, strict=True)]
            ),
            "point_width": per_point("width"), "point_bank": per_point("bank"),
            "signal_id": np.array([str(i) for i in range(len(self.signs))], dtype=str),
            "signal_kind": np.array([sign.kind for sign in self.signs], np.uint8),
            "signal_xyz": np.array([sign.xyz for sign in self.signs], float).reshape(-1, 3),
            "signal_heading": np.zeros(len(self.signs)),
            "signal_value": np.zeros(len(self.signs)),
            "signal_controller": np.full(len(self.signs), -1, np.int32),
            "signal_junction": np.full(len(self.signs), -1, np.int32),
            "stop_lane": np.array([sign.lane for sign in self.signs], np.int32),
            "stop_s": np.array([sign.s for sign in self.signs], float),
            "stop_signal": np.arange(len(self.signs), dtype=np.int32),
            "junction_id": np.array([str(i) for i in range(self.junctions)], dtype=str),
            "junction_is_roundabout": np.zeros(self.junctions, bool),
            "priority_junction": np.array([p[0] for p in self.priority], np.int32),
            "priority_high": np.array([p[1] for p in self.priority], dtype=str),
            "priority_low": np.array([p[2] for p in self.priority], dtype=str),
            "crosswalk_start": _starts([len(w) for w in walks]),
            "crosswalk_xyz": np.concatenate([*walks, np.zeros((0, 3))]),
            "conflict_start": np.zeros(n + 1, np.int32), "mark_start": np.zeros(1, np.int32),
            "mark_xyz": np.zeros((0, 3)),
        }
        # fmt: on
        dtypes = {"kind": np.uint8, "colour": np.uint8, "yield": np.int8}
        for f in dataclasses.fields(RoadMap):  # conflicts, crossings, marks: empty
            dtype = dtypes.get(
                f.name.split("_")[-1],
                np.int32 if f.name.endswith(("lane", "crosswalk")) else np.float64,
            )
            values.setdefault(f.name, np.zeros(0, dtype))
        return RoadMap(**values)  # type: ignore[arg-type]


def straight(start: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
    """(2, 2) the two ends of a straight lane."""
    return np.array([start, end], dtype=float)


def arc(
    centre: tuple[float, float], radius: float, start: float, end: float, z: float = 0.0
) -> np.ndarray:
    """(n, 3) points of an arc from angle ``start`` to ``end`` (rad; end < start is clockwise)."""
    angle = np.linspace(start, end, max(int(abs(end - start) * radius / 0.05), 8))
    x = centre[0] + radius * np.cos(angle)
    return np.column_stack([x, centre[1] + radius * np.sin(angle), np.full(len(angle), z)])


def bezier(start: tuple, start_heading: float, end: tuple, end_heading: float) -> np.ndarray:
    """(n, 2) smooth connection of two poses, as junction lanes look."""
    p0, p3 = np.array(start, float), np.array(end, float)
    reach = 0.45 * np.linalg.norm(p3 - p0)
    p1 = p0 + reach * np.array([np.cos(start_heading), np.sin(start_heading)])
    p2 = p3 - reach * np.array([np.cos(end_heading), np.sin(end_heading)])
    t = np.linspace(0.0, 1.0, 400)[:, None]
    return (1 - t) ** 3 * p0 + 3 * (1 - t) ** 2 * t * p1 + 3 * (1 - t) * t**2 * p2 + t**3 * p3


def _resample(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if points.shape[1] == 2:
        points = np.column_stack([points, np.zeros(len(points))])
    s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points[:, :2], axis=0), axis=1))])
    grid = np.linspace(0.0, s[-1], max(int(np.ceil(s[-1] / SPACING)), 1) + 1)
    return grid, np.column_stack([np.interp(grid, s, points[:, k]) for k in range(3)])


def _heading(points: np.ndarray) -> np.ndarray:
    # second-order at the ends too, so that arcs have their true tangents there
    edge = 2 if len(points) > 2 else 1
    step = np.gradient(points[:, :2], axis=0, edge_order=edge)
    return np.arctan2(step[:, 1], step[:, 0])


def _starts(counts: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
