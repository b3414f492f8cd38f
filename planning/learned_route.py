"""The route as the learned planner is told of it: its line, what lies across it, lane changes."""

from __future__ import annotations

import numpy as np

from planning.corridor import PathWindow
from planning.lane_change import LaneChanges
from planning.lateral_offset import LateralOffset, OffsetStep
from planning.learned_config import MARK, MARKS, POINTS, ROUTE, SPACING
from planning.longitudinal import DrivingStyle, speed_profile
from planning.route_line import SPACING as STEP
from planning.route_line import build_route_line
from planning.route_rules import compile_route
from roadloop.maps.road_map import SignalKind
from roadloop.types import LightState, Scenario

Array = np.ndarray

BEHIND = 30.0
"""m of the route behind the ego on which points are placed"""
REACH = 110.0
"""m ahead, at least, likewise"""
VIEW = 90.0
"""m ahead within which marks are shown"""
WAIT_BEFORE = 1.0
"""m before a mark at which the front bumper stops"""
LEAST_ROOM = 14.0
"""m before the end of its lane at which the ego waits for a gap"""
SERVED_WITHIN = 4.0
"""m before a stop line within which a standstill counts as a stop there"""
LINE, CROSSWALK, JUNCTION, LANE_CHANGE, GOAL = range(len(MARKS))
FAR, FAST, LIMIT = 20.0, 10.0, 20.0
"""m, m/s, m/s that are 1 for the network"""


class RouteGuide:
    """The route of one scenario, and what of it the ego has already done.

    Attributes:
        side: 1.0 where traffic keeps right, -1.0 where it keeps left.
        changed: (changes,) bool, lane changes that are done.
        served: (marks,) bool, stop lines at which the ego has stood.
    """

    def __init__(self, scenario: Scenario) -> None:
        road_map = scenario.road_map
        path, self.line = build_route_line(road_map, scenario.route)
        rules, line = compile_route(road_map, path), self.line
        self.side = -1.0 if road_map.left_hand else 1.0
        profile = speed_profile(line.s, line.speed_limit, line.curvature, DrivingStyle())
        # nobody drives beyond the last point of the map
        left = np.maximum(line.s[-1] - 2.0 - line.s, 0.0)
        self.profile = np.minimum(profile, np.sqrt(4.0 * left))
        self._changes = LaneChanges(road_map, path, rules)
        self.changed = np.zeros(len(self._changes.start), dtype=bool)
        lane = line.lane
        left, right = road_map.lane_left[lane] >= 0, road_map.lane_right[lane] >= 0
        oncoming = road_map.lane_opposite[lane] >= 0
        if road_map.left_hand:
            left, right = right, left
        self.oncoming = oncoming & ~left
        """(points of the line,) bool, towards the middle traffic comes the other way"""
        self._beside = np.stack(
            [road_map.lane_junction[lane] >= 0, self.oncoming, left, right], axis=1
        )

        visits = len(rules.visit_from)
        first, last = rules.visit_from.copy(), rules.visit_to.copy()
        demand = np.zeros((visits, 3))
        for i in range(visits):
            mine = rules.conflict_visit == i
            if mine.any():
                first[i] = rules.conflict_from[mine].min()
                last[i] = rules.conflict_to[mine].max()
                yields = rules.conflict_yield[mine]
                merges = rules.conflict_merge[mine]
                demand[i] = (yields > 0).any(), (yields == 0).any(), merges.any()
        parts = [
            (LINE, rules.line_s, rules.line_s, rules.line_s),
            (CROSSWALK, rules.crossing_from, rules.crossing_to, rules.crossing_from),
            (JUNCTION, first, last, rules.visit_hold),
            (LANE_CHANGE, self._changes.start, self._changes.last, self._changes.last - LEAST_ROOM),
            (GOAL, *3 * (np.array([line.goal_s]),)),
        ]
        self.kind = np.concatenate([np.full(len(low), kind) for kind, low, _, _ in parts])
        self.low = np.concatenate([low for _, low, _, _ in parts])
        self.high = np.concatenate([high for _, _, high, _ in parts])
        self.wait = np.concatenate([wait for _, _, _, wait in parts]) - WAIT_BEFORE
        self._signal = np.full(len(self.kind), -1)
        self._signal[self.kind == LINE] = rules.line_signal
        sign = np.zeros((len(self.kind), 3))
        for k, kind in enumerate((SignalKind.TRAFFIC_LIGHT, SignalKind.STOP, SignalKind.YIELD)):
            sign[self.kind == LINE, k] = rules.line_kind == kind
        self._is_light = sign[:, 0] > 0.0
        asks = np.zeros((len(self.kind), 3))
        asks[self.kind == JUNCTION] = demand
        self._fixed = np.concatenate([np.eye(len(MARKS))[self.kind], sign, asks], axis=1)
        self.served = np.zeros(len(self.kind), dtype=bool)
        self._s: float | None = None

    def place(self, x: float, y: float, speed: float, dt: float) -> tuple[float, slice, PathWindow]:
        """The rear axle's m along the route, kept from jumping, and the line around it."""
        line = self.line
        low, high = float(line.s[0]), float(line.s[0]) + 30.0
        if self._s is not None:
            low, high = self._s - 5.0, self._s + max(speed, 0.0) * dt + 10.0
        _, window = line.window(low, high)
        self._s = float(window.project(np.array([x]), np.array([y]))[1][0])
        ahead = max(REACH, 6.0 * speed + 50.0)
        return self._s, *line.window(self._s - BEHIND, self._s + ahead)

    def note(self, s: float, d: float, front: float, speed: float) -> None:
        """What the ego has done by now: lane changes, stops at lines."""
        for i in np.flatnonzero(~self.changed & (self._changes.start < s)).tolist():
            away = self._step(i).at(np.array([s]))[0][0]
            if (abs(away) > 1.0 and abs(d) < abs(d - away)) or s > self._changes.last[i]:
                self.changed[i] = True
        if speed < 0.3:
            gap = self.low - front
            self.served |= (self.kind == LINE) & (gap > -1.0) & (gap < SERVED_WITHIN)

    def _step(self, i: int) -> LateralOffset:
        c = self._changes
        return LateralOffset([OffsetStep(float(c.start[i]), float(c.end[i]), -float(c.by[i]))])

    def lane_offset(self) -> LateralOffset:
        """m left of the line at which the present lane is kept."""
        todo = np.flatnonzero(~self.changed)
        return LateralOffset([step for i in todo for step in self._step(int(i)).steps])

    def change_due(self, s: float) -> LateralOffset | None:
        """`lane_offset` with the next change done, None where it may not begin yet."""
        todo = np.flatnonzero(~self.changed)
        if not len(todo) or s < self._changes.start[todo[0]] - 1.0:
            return None
        return LateralOffset([step for i in todo[1:] for step in self._step(int(i)).steps])

    def points(self, s: float) -> tuple[Array, Array]:
        """World x, y (POINTS, 2) of the route ahead, and its features (POINTS, ROUTE) but x, y."""
        line = self.line
        at = s + SPACING * np.arange(-1, POINTS - 1)
        i = np.clip(np.round((at - line.s[0]) / STEP).astype(np.int64), 0, len(line.s) - 1)
        there = at <= line.s[-1]
        rest = (line.curvature[i] * 10.0 * self.side, line.speed_limit[i] / LIMIT,
                line.width[i] / 5.0, *self._beside[i].T)  # fmt: skip
        features = np.stack([np.asarray(v, np.float64) for v in rest], axis=1)
        assert features.shape[1] == ROUTE - 2
        xy = np.stack([np.interp(at, line.s, line.x), np.interp(at, line.s, line.y)], axis=1)
        return xy, np.where(there[:, None], features, 0.0)

    def marks_ahead(
        self, s: float, front: float, rear: float, lights: Array | None, count: int
    ) -> tuple[Array, Array, Array]:
        """Up to ``count`` marks that are not behind: features (n, MARK), ``mark_at`` (n, 2), rows.

        ``lights`` (signals,) LightState.
        """
        ahead = (self.high > rear - 1.0) & (self.low < front + VIEW)
        ahead &= ~((self.kind == LANE_CHANGE) & self._done())
        rows = np.flatnonzero(ahead)
        rows = rows[np.argsort(self.low[rows], kind="stable")[:count]]
        at = np.stack([self.low[rows] - s, self.high[rows] - s], axis=1)
        state = self.light_states(rows, lights)
        shown = np.eye(len(LightState))[state] * self._is_light[rows, None]
        ahead_of = np.stack([self.low[rows] - front, self.wait[rows] - front], axis=1)
        parts = (self._fixed[rows], shown, self.served[rows, None], ahead_of / (2.0 * FAR))
        features = np.concatenate(parts, axis=1)
        assert features.shape[1] == MARK
        return features, at, rows

    def light_states(self, rows: Array, lights: Array | None) -> Array:
        """(n,) LightState at marks; OFF for what is no light."""
        states = np.zeros(len(rows), np.int64)
        lit = self._is_light[rows]
        if lights is not None and lit.any():
            states[lit] = np.asarray(lights)[self._signal[rows[lit]]]
        return states

    @property
    def lit(self) -> Array:
        """(marks,) bool, lines under a traffic light."""
        return self._is_light

    def lit_lines(self) -> tuple[Array, Array]:
        """m along the route of all lines under a light, and the signal of each."""
        return self.low[self._is_light], self._signal[self._is_light]

    def places_to_stop(self, front: float, count: int) -> Array:
        """(n,) m along the route where the front may have to wait, the nearest ones."""
        wait = np.where((self.kind == LANE_CHANGE) & self._done(), -np.inf, self.wait)
        return np.unique(np.round(wait[wait > front - 0.5], 1))[:count]

    def _done(self) -> Array:
        done = np.zeros(len(self.kind), dtype=bool)
        done[self.kind == LANE_CHANGE] = self.changed
        return done
