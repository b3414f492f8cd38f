"""Tracks of the last second and the map as the arrays that the learned forecaster reads.

The same functions serve training and driving. Everything is seen from the agent it is about: its
box centre now is the origin, x points ahead, y to the left. So it makes no difference where in the
world a scene is, or which way it is turned. Distances are computed in float64; what is given to the
network is float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from perception.forecast_config import (
    PAIR_FEATURES,
    PIECE_FEATURES,
    TRAIT_FEATURES,
    Demand,
    ForecastConfig,
    PieceKind,
)
from roadloop.geometry import polyline_arc_length, polyline_at
from roadloop.maps.road_map import LaneKind, RoadMap, SignalKind
from roadloop.types import AgentKind, AgentStates, LightState

Array = np.ndarray

FAR, FAST, LARGE, LIMIT = 20.0, 10.0, 5.0, 20.0
"""m, m/s, m, m/s that are 1 for the network"""
NEAR = 5.0
"""m at which nearness is a half"""
SHORTEST = 0.05
"""m, lines shorter than this are left out"""

_KIND = {
    LaneKind.DRIVING: PieceKind.ROAD,
    LaneKind.BIDIRECTIONAL: PieceKind.ROAD,
    LaneKind.BIKING: PieceKind.BIKING,
    LaneKind.SIDEWALK: PieceKind.PAVEMENT,
}
_SIGN = {SignalKind.STOP: Demand.STOP, SignalKind.YIELD: Demand.YIELD}
_DEMAND_OF_LIGHT = np.zeros(max(LightState) + 1, np.int64)
for _light in (LightState.RED, LightState.RED_YELLOW, LightState.YELLOW, LightState.GREEN):
    _DEMAND_OF_LIGHT[_light] = Demand[_light.name]


@dataclass(frozen=True)
class MapPieces:
    """All centrelines and crosswalks of a map, cut into P pieces of D points each."""

    points: Array
    """(P, D, 2) m, world frame, in the direction of travel"""
    features: Array
    """(P, PIECE_FEATURES) float32, without what signals ask for"""
    signal: Array
    """(P,) int32, index of the light whose stop line lies on the piece; -1: none"""

    @property
    def middle(self) -> Array:
        """(P, 2) m, the point in the middle of each piece."""
        return self.points[:, self.points.shape[1] // 2]


def cut_map(road_map: RoadMap | None, points: int, spacing: float) -> MapPieces:
    """The pieces of a map; of no map, none.

    Args:
        points: of each piece.
        spacing: m between them; a line is cut evenly, so they are at most so far apart.
    """
    cut: list[Array] = []
    features: list[Array] = []
    signals: list[int] = []
    for line, feature, stops in _lines(road_map) if road_map is not None else ():
        length = float(polyline_arc_length(line)[-1])
        if length < SHORTEST:
            continue
        count = max(int(np.ceil(length / (spacing * (points - 1)) - 1e-9)), 1)
        at = np.linspace(0.0, length, count * (points - 1) + 1)
        whole = polyline_at(line, at)
        long = length / count
        for k in range(count):
            cut.append(whole[k * (points - 1) : (k + 1) * (points - 1) + 1])
            own, signal = feature.copy(), -1
            for s, demand, light in stops:
                # a line at the very end belongs to the last piece
                if min(int(s / long), count - 1) == k:
                    _ask(own, min(s / long - k, 1.0), demand)
                    signal = light
            features.append(own)
            signals.append(signal)
    return MapPieces(
        np.array(cut, np.float64).reshape(-1, points, 2),
        np.array(features, np.float32).reshape(-1, PIECE_FEATURES),
        np.array(signals, np.int32),
    )


_PLACE = len(PieceKind) + 4
"""column of the stop line's place; what it asks for follows"""


def _ask(feature: Array, place: float, demand: int) -> None:
    feature[_PLACE] = place
    feature[_PLACE + 1 :] = np.arange(len(Demand)) == demand


def _lines(m: RoadMap) -> Iterator[tuple[Array, Array, list[tuple[float, int, int]]]]:
    """Every line (n, 2), its features, and its stop lines: m along it, Demand, light or -1."""
    stops: dict[int, list[tuple[float, int, int]]] = {}
    for lane, s, signal in zip(m.stop_lane.tolist(), m.stop_s.tolist(), m.stop_signal.tolist()):
        kind = SignalKind(int(m.signal_kind[signal]))
        if kind == SignalKind.TRAFFIC_LIGHT:
            stops.setdefault(lane, []).append((s, int(Demand.DARK), signal))
        elif kind in _SIGN:
            stops.setdefault(lane, []).append((s, int(_SIGN[kind]), -1))
    for lane in np.flatnonzero(np.diff(m.point_start) >= 2).tolist():
        kind = _KIND.get(LaneKind(int(m.lane_kind[lane])))
        if kind is None:
            continue
        line = m.point_xyz[m.points_of(lane), :2]
        feature = np.zeros(PIECE_FEATURES, np.float32)
        feature[kind] = 1.0
        feature[len(PieceKind) : _PLACE] = (
            m.lane_junction[lane] >= 0,
            m.lane_speed_limit[lane] / LIMIT,
            m.lane_left[lane] >= 0 and m.lane_change_left[lane],
            m.lane_right[lane] >= 0 and m.lane_change_right[lane],
        )
        share = polyline_arc_length(line)[-1] / max(float(m.lane_length[lane]), 1e-9)
        # a light counts before a sign beside it, which is for when the light is off
        found = sorted((s * share, demand, light) for s, demand, light in stops.get(lane, ()))
        found.sort(key=lambda stop: stop[2] >= 0)
        yield line, feature, found
    for a, b in zip(m.crosswalk_start[:-1].tolist(), m.crosswalk_start[1:].tolist()):
        ring = m.crosswalk_xyz[a:b, :2]
        if len(ring) < 3:
            continue
        feature = np.zeros(PIECE_FEATURES, np.float32)
        feature[PieceKind.CROSSWALK] = 1.0
        yield np.concatenate([ring, ring[:1]]), feature, []


def lit(pieces: MapPieces, lights: Array | None) -> Array:
    """(P, PIECE_FEATURES) features of all pieces under the lights as they are now.

    ``lights`` (signals,) LightState; None: nobody sees them.
    """
    rows = np.flatnonzero(pieces.signal >= 0)
    if lights is None or not len(rows):
        return pieces.features
    features = pieces.features.copy()
    demand = _DEMAND_OF_LIGHT[np.asarray(lights)[pieces.signal[rows]]]
    features[rows, _PLACE + 1 :] = np.eye(len(Demand), dtype=np.float32)[demand]
    return features


def rows_for(config: ForecastConfig, states: AgentStates, x: float, y: float) -> Array:
    """(n,) up to ``config.agents`` rows of (A,) states: the nearest to a place.

    What can move comes before what cannot (``AgentKind.STATIC``), however near that is.
    """
    there = np.flatnonzero(states.valid)
    distance = np.hypot(states.x[there] - x, states.y[there] - y)
    order = np.lexsort((distance, states.kind[there] == AgentKind.STATIC))
    return there[order[: config.agents]]


def seen_from(x: Array, y: Array, heading: Array, px: Array, py: Array) -> tuple[Array, Array]:
    """Points of the world as metres ahead and left of poses; all broadcast."""
    dx, dy, c, s = px - x, py - y, np.cos(heading), np.sin(heading)
    return c * dx + s * dy, c * dy - s * dx


def forecast_inputs(
    config: ForecastConfig,
    past: AgentStates,
    rows: Array,
    pieces: MapPieces,
    lights: Array | None = None,
) -> dict[str, Array]:
    """The arrays `ForecastConfig.inputs` of one scene, padded with zeros.

    Args:
        past: (history, A) ``HISTORY_STEP`` apart, the last one is now.
        rows: (n,) of A that become the first n agents, `rows_for`; all are valid now.
        pieces: of the map, `cut_map` with the config's points and spacing.
        lights: (signals,) now.
    """
    n = len(rows)
    arrays = {name: np.zeros(shape, np.float32) for name, shape in config.inputs().items()}
    if not n:
        return arrays
    x, y, heading, vx, vy = (
        np.asarray(getattr(past, key)[:, rows], np.float64).T
        for key in ("x", "y", "heading", "vx", "vy")
    )
    valid = past.valid[:, rows].T
    now = x[:, -1], y[:, -1], heading[:, -1]
    me = now[0][:, None], now[1][:, None], now[2][:, None]

    ahead, left = seen_from(*me, x, y)
    v_ahead, v_left = seen_from(0.0 * me[0], 0.0 * me[1], me[2], vx, vy)
    turn = heading - me[2]
    steps = (ahead / FAR, left / FAR, np.cos(turn), np.sin(turn), v_ahead / FAST, v_left / FAST)
    history = np.stack([*steps, np.ones_like(ahead)], axis=-1)
    arrays["history"][:n] = np.where(valid[..., None], history, 0.0)

    kind = np.asarray(past.kind[-1, rows])
    size = np.stack([past.length[-1, rows], past.width[-1, rows]], axis=-1) / LARGE
    arrays["traits"][:n] = np.concatenate([size, np.eye(TRAIT_FEATURES - 2)[kind]], axis=-1)
    arrays["agent_valid"][:n] = 1.0
    arrays["pairs"][:n, :n] = _pairs(*now, vx[:, -1], vy[:, -1])

    if len(pieces.points):
        shown, inside = _pieces_near(config, pieces, *now[:2], vx[:, -1], vy[:, -1])
        px, py = np.moveaxis(pieces.points[shown], -1, 0)  # (n, count, points)
        poses = [v[:, None] for v in me]
        lines = seen_from(poses[0], poses[1], poses[2], px, py)
        count = shown.shape[1]
        flat = np.stack(lines, axis=-1).reshape(n, count, -1) / FAR
        arrays["map"][:n, :count] = np.concatenate([flat, lit(pieces, lights)[shown]], axis=-1)
        arrays["map_valid"][:n, :count] = inside
    return arrays


def _pairs(x: Array, y: Array, heading: Array, vx: Array, vy: Array) -> Array:
    """(n, n, PAIR_FEATURES): row i, column j is agent j as agent i sees it."""
    me = heading[:, None]
    ahead, left = seen_from(x[:, None], y[:, None], me, x, y)
    v_ahead, v_left = seen_from(vx[:, None], vy[:, None], me, vx, vy)
    turn, far = heading - me, np.hypot(ahead, left)
    features = (ahead / FAR, left / FAR, np.cos(turn), np.sin(turn), v_ahead / FAST,
                v_left / FAST, far / FAR, NEAR / (NEAR + far))  # fmt: skip
    return np.stack(features, axis=-1).reshape(len(x), len(x), PAIR_FEATURES)


def _pieces_near(
    config: ForecastConfig, pieces: MapPieces, x: Array, y: Array, vx: Array, vy: Array
) -> tuple[Array, Array]:
    """(n, count) the pieces nearest to where each agent will soon be, and which are not far off.

    The nearest come first; the order of equals is that of the map.
    """
    middle, lead = pieces.middle, config.lead
    gap = (x + lead * vx)[:, None] - middle[:, 0], (y + lead * vy)[:, None] - middle[:, 1]
    distance = np.square(gap[0]) + np.square(gap[1])
    count = min(config.polylines, distance.shape[1])
    # what is nearer than the farthest one that is shown, then in order: the same whatever the sort
    found = np.argpartition(distance, count - 1, axis=1)[:, :count]
    found.sort(axis=1)
    order = np.take_along_axis(distance, found, 1).argsort(axis=1, kind="stable")
    shown = np.take_along_axis(found, order, 1)
    reach = config.polylines * config.spacing
    return shown, np.take_along_axis(distance, shown, 1) < reach**2
