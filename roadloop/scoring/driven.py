"""Where the ego drove: its box over time and the lanes under it, computed once for all terms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from roadloop.geometry import box_corners
from roadloop.maps.locate import LaneLocation, lanes_at, nearest_lane
from roadloop.maps.road_map import LaneKind, RoadMap
from roadloop.types import Rollout

Array = np.ndarray

LEVEL = 2.5
"""m, things further apart in height are on different levels; bridges clear at least 4.5 m"""
_HOPS = 3
"""Lanes after the first that a car may stand on at once: lane sections can be shorter than it."""


@dataclass(frozen=True, eq=False)
class Driven:
    """A rollout on its map. Arrays are ``(time, ...)``."""

    rollout: Rollout
    road_map: RoadMap

    @cached_property
    def centre(self) -> Array:
        """(time, 2) box centre."""
        return np.stack(self.rollout.ego.box_centre(), axis=-1)

    @cached_property
    def corners(self) -> Array:
        """(time, 4, 2) front left, rear left, rear right, front right."""
        ego = self.rollout.ego
        x, y = self.centre.T
        return box_corners(x, y, ego.heading, ego.vehicle.length, ego.vehicle.width)

    @cached_property
    def bumper(self) -> Array:
        """(time, 2) middle of the front bumper."""
        return (self.corners[:, 0] + self.corners[:, 3]) / 2.0

    @cached_property
    def location(self) -> LaneLocation:
        """(time,) the lane the box centre follows: near, of its direction, on its level."""
        ego = self.rollout.ego
        x, y = self.centre.T
        return nearest_lane(self.road_map, x, y, ego.heading, z=ego.z)

    @cached_property
    def in_junction(self) -> Array:
        """(time,) bool, the rear axle is on a lane of a junction."""
        ego = self.rollout.ego
        step, lane, _ = self.lanes_under(np.stack([ego.x, ego.y], axis=-1), travel_only=True)
        inside = np.zeros(len(ego.x), dtype=bool)
        inside[step[self.road_map.lane_junction[lane] >= 0]] = True
        return inside

    @cached_property
    def fully_in_lane(self) -> Array:
        """(time,) bool, all four corners are on one lane or on lanes that continue one another."""
        corner, lane, _ = self.lanes_under(self.corners.reshape(-1, 2), travel_only=True)
        key = corner // 4 * self.road_map.lanes + lane
        keys, place = np.unique(key, return_inverse=True)
        on = np.zeros(len(keys), dtype=np.int64)  # one bit per corner on that lane at that step
        np.bitwise_or.at(on, place, 1 << (corner % 4))

        inside = np.zeros(len(self.corners), dtype=bool)
        step, lane, mask = keys // self.road_map.lanes, keys % self.road_map.lanes, on
        inside[step[mask == 15]] = True
        for _ in range(_HOPS):
            open_ended = ~inside[step]
            step, lane, mask = step[open_ended], lane[open_ended], mask[open_ended]
            first = self.road_map.successor_start[lane].astype(np.int64)
            ways = self.road_map.successor_start[lane + 1] - first
            step, mask = np.repeat(step, ways), np.repeat(mask, ways)
            offset = np.arange(len(step)) - np.repeat(np.cumsum(ways) - ways, ways)
            lane = self.road_map.successor[np.repeat(first, ways) + offset].astype(np.int64)
            at = np.searchsorted(keys, step * self.road_map.lanes + lane)
            at = np.minimum(at, len(keys) - 1)
            known = keys[at] == step * self.road_map.lanes + lane
            mask = mask | np.where(known, on[at], 0)
            inside[step[mask == 15]] = True
        return inside

    @cached_property
    def against_lane(self) -> Array:
        """(time,) m moved since the step before against the direction of the lane underneath.

        Of the lanes under the box centre the one most in line with the ego counts, so that crossing
        lanes of a junction do not. 0 off the lanes, on lanes open to both directions, at step 0;
        negative when moving with the lane.
        """
        ego = self.rollout.ego
        step, lane, s = self.lanes_under(self.centre, travel_only=True)
        heading = self.road_map.point_heading[self.lane_row(lane, s)]
        both = self.road_map.lane_kind[lane] == LaneKind.BIDIRECTIONAL
        with_lane = np.where(both, 2.0, np.cos(ego.heading[step] - heading))
        order = np.lexsort((with_lane, step))
        last = np.append(np.diff(step[order]) > 0, True)[: len(order)]
        best = order[last]
        moved = np.diff(self.centre, axis=0, prepend=self.centre[:1])
        against = np.zeros(len(ego.x))
        direction = np.stack([np.cos(heading[best]), np.sin(heading[best])], axis=-1)
        along = (moved[step[best]] * direction).sum(-1)
        against[step[best]] = np.where(both[best], 0.0, -along)
        return against

    def lanes_under(self, points: Array, travel_only: bool) -> tuple[Array, Array, Array]:
        """Pairs of a point and a lane under it on the ego's level: index, lane, s along the lane.

        ``points`` is ``(n * time, 2)``, n per step; sorted by index, then lane.
        """
        lanes = lanes_at(self.road_map, points[:, 0], points[:, 1], travel_only=travel_only)
        index = np.repeat(np.arange(len(points)), np.diff(lanes.start))
        ego_z = np.repeat(self.rollout.ego.z, len(points) // max(len(self.rollout.time), 1))
        height = self.road_map.point_xyz[self.lane_row(lanes.lane, lanes.s), 2]
        level = np.abs(height - ego_z[index]) < LEVEL
        return index[level], lanes.lane[level].astype(np.int64), lanes.s[level]

    def lane_row(self, lane: Array, s: Array) -> Array:
        """Row of the centreline point nearest to ``s`` on each lane (spacing is even per lane)."""
        first = self.road_map.point_start[lane].astype(np.int64)
        segments = self.road_map.point_start[lane + 1] - first - 1
        share = np.clip(s / self.road_map.lane_length[lane], 0.0, 1.0)
        return first + np.rint(share * segments).astype(np.int64)
