"""What lies beside the line of a route, looked up by metres along it."""

from __future__ import annotations

import numpy as np

from planning.proposal_scores import Surroundings
from planning.proposals import Proposals
from planning.route_line import SPACING, RouteLine
from planning.route_rules import RouteRules
from roadloop.maps.road_map import RoadMap

Array = np.ndarray

JUNCTION_ROOM = 10.0
"""m to each side in junctions: their lanes overlap, there is always room"""
CLEAR_OF = 15.0
"""m before a junction or a lane change of the route by which the route's lane is driven again"""


class RoadBeside:
    """Samples every `SPACING` m along the path; fields ``(points,)``."""

    def __init__(self, line: RouteLine, road_map: RoadMap, rules: RouteRules) -> None:
        lane = line.lane
        to_left, to_right = road_map.lane_left[lane], road_map.lane_right[lane]
        left, right = to_left >= 0, to_right >= 0
        oncoming = road_map.lane_opposite[lane] >= 0
        self.start, self.end = float(line.s[0]), float(line.s[-1])
        self.width = line.width
        self.half = line.width / 2.0
        self.speed_limit = line.speed_limit
        self.opposite_left = oncoming & ~left & (not road_map.left_hand)
        self.opposite_right = oncoming & ~right & bool(road_map.left_hand)
        self.room_left = self.half + np.where(left | self.opposite_left, line.width, 0.0)
        self.room_right = self.half + np.where(right | self.opposite_right, line.width, 0.0)
        self.in_junction = road_map.lane_junction[lane] >= 0
        self.room_left = np.where(self.in_junction, JUNCTION_ROOM, self.room_left)
        self.room_right = np.where(self.in_junction, JUNCTION_ROOM, self.room_right)
        self.kerb_side = 1.0 if road_map.left_hand else -1.0
        self.at_kerb = ~(left if road_map.left_hand else right) & ~self.in_junction
        """bool, no lane between the route's and the kerb"""
        crossed = np.zeros(len(lane), dtype=bool)
        for low, high in zip(rules.crossing_from, rules.crossing_to, strict=True):
            crossed |= (line.s > low - 5.0) & (line.s < high + 5.0)
        self.at_kerb &= ~crossed
        travels = road_map.is_travel
        self._until = {
            1: self._end_of_run(left & travels[to_left], rules),
            -1: self._end_of_run(right & travels[to_right], rules),
        }

    def _end_of_run(self, beside: Array, rules: RouteRules) -> Array:
        """m along the path up to which there is a lane beside without a junction or change."""
        free = beside & ~self.in_junction
        at = self.start + SPACING * np.arange(len(free))
        for place in [*rules.visit_hold.tolist(), *rules.change_s.tolist()]:
            free &= (at < place - CLEAR_OF) | (at > place)
        ends = np.where(free, np.inf, at)
        return np.minimum(np.minimum.accumulate(ends[::-1])[::-1], self.end)

    def index(self, s: Array | float) -> Array:
        """Sample at or before each ``s`` (m along the path)."""
        i = (np.asarray(s) - self.start) / SPACING
        return np.minimum(np.maximum(i, 0), len(self.half) - 1).astype(np.int64)

    def lane_beside_until(self, s: float, side: int) -> float:
        """m along the path up to which a lane of the own direction lies beside without a break.

        ``side`` is 1 to the left, -1 to the right. Junctions and the route's own lane changes end
        it; ``s`` itself where there is none.
        """
        return max(float(self._until[side][self.index(s)]), s)

    def around(self, proposals: Proposals) -> Surroundings:
        """What the scores of proposals need to know of the road."""
        i = self.index(proposals.s)
        return Surroundings(
            speed_limit=self.speed_limit[i],
            own_half=self.half[i],
            opposite_left=self.opposite_left[i],
            opposite_right=self.opposite_right[i],
            room_left=self.room_left[i],
            room_right=self.room_right[i],
            in_junction=self.in_junction[i],
        )
