"""Simulated proposals in a scene and what NAVSIM's terms ask about them, computed once.

Areas under corners, centre and rear axle, and contacts with road users, over P proposals and K
steps at a time; made on first use. "Inside" a polygon excludes its boundary; boxes that touch
intersect. Definitions: NAVSIM 2.2 ``pdm_scorer.py`` (``_calculate_ego_area`` and the loops over
``PDMObservation``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from roadloop.scoring.navsim_scene import DT, PdmScene, agent_polygons, nuplan_corners
from roadloop.scoring.pdm_tracker import State

Array = np.ndarray

TTC_STEPS = (0, 3, 6, 9)
"""steps ahead at which boxes moved on at constant speed are compared"""
_TIE = 1e-9
"""m, a gap this near 0 is decided by GEOS, as in the reference"""


@dataclass(frozen=True, eq=False)
class Contacts:
    """Times at which an ego box touches a road user's box; every field ``(contacts,)``."""

    proposal: Array
    step: Array
    """of the ego"""
    ahead: Array
    """steps the ego was moved on by; the road user is that of ``step + ahead``"""
    agent: Array


@dataclass(frozen=True, eq=False)
class Motion:
    """Simulated proposals ``(P, K, 11)`` in a scene and what the terms ask about them, once."""

    scene: PdmScene
    states: Array

    @cached_property
    def speed(self) -> Array:
        """(P, K) m/s, magnitude."""
        return np.hypot(self.states[..., State.SPEED], self.states[..., State.LATERAL_SPEED])

    @cached_property
    def centre(self) -> Array:
        """(P, K, 2) box centre."""
        heading, offset = self.states[..., State.HEADING], self.scene.vehicle.centre_offset
        ahead = np.stack([np.cos(heading), np.sin(heading)], axis=-1) * offset
        return self.states[..., : State.Y + 1] + ahead

    @cached_property
    def corners(self) -> Array:
        """(P, K, 4, 2) front left, rear left, rear right, front right."""
        vehicle, heading = self.scene.vehicle, self.states[..., State.HEADING]
        return nuplan_corners(self.centre, heading, vehicle.length, vehicle.width)

    @cached_property
    def _lanes(self) -> tuple[Array, Array]:
        """Multi-lane and on-route flags, each (P, K)."""
        touched = np.zeros(self.speed.size, dtype=np.int32)
        within = np.zeros(self.speed.size, dtype=bool)
        on_route = np.zeros(self.speed.size, dtype=bool)
        # where most proposals are first: a box within one lane need not be asked about others
        for lane in np.argsort(~self.scene.lane_on_route, kind="stable").tolist():
            polygon = self.scene.lane_polygon[lane]
            near = self.near(polygon)
            if self.scene.lane_on_route[lane]:
                undecided = near[~on_route[near]]
                on_route[undecided] = _inside(polygon, self._flat_centre[:, undecided])
            near = near[~within[near]]
            inside = _inside(polygon, self._flat_corners[..., near])
            touched[near] += inside.any(0)
            within[near] = inside.all(0)
        shape = self.speed.shape
        return ((touched > 1) & ~within).reshape(shape), on_route.reshape(shape)

    @property
    def multi_lane(self) -> Array:
        """(P, K) bool: corners in more than one lane polygon and all four in none."""
        return self._lanes[0]

    @property
    def oncoming(self) -> Array:
        """(P, K) bool: the box centre is in no lane of the route."""
        return ~self._lanes[1]

    @cached_property
    def off_drivable(self) -> Array:
        """(P, K) bool: a corner is in no drivable polygon."""
        inside = np.zeros((4, self.speed.size), dtype=bool)
        for polygon in self.scene.drivable:
            near = self.near(polygon)
            near = near[~inside[:, near].all(0)]
            inside[:, near] |= _inside(polygon, self._flat_corners[..., near])
        return ~inside.all(0).reshape(self.speed.shape)

    @cached_property
    def _in_intersection(self) -> tuple[Array, Array]:
        inside = np.zeros((2, self.speed.size), dtype=bool)
        axle = self.states[..., : State.Y + 1].reshape(-1, 2).T
        points = np.stack([self._flat_centre, axle], axis=1)
        for polygon in self.scene.intersections:
            near = self.near(polygon)
            inside[:, near] |= _inside(polygon, points[..., near])
        shape = self.speed.shape
        return inside[0].reshape(shape), inside[1].reshape(shape)

    @property
    def centre_in_intersection(self) -> Array:
        """(P, K) bool."""
        return self._in_intersection[0]

    @property
    def axle_in_intersection(self) -> Array:
        """(P, K) bool, of the rear axle."""
        return self._in_intersection[1]

    @cached_property
    def contacts(self) -> Contacts:
        """Every touch of an ego box, moved on by each of ``TTC_STEPS``, by proposal, time, agent.

        As far as the scene knows its road users.
        """
        parts = [self._contacts(ahead) for ahead in TTC_STEPS]
        joined = [np.concatenate([getattr(p, name) for p in parts]) for name in _CONTACT_FIELDS]
        proposal, step, ahead, agent = joined
        order = np.lexsort((agent, ahead, step, proposal))
        return Contacts(*(column[order] for column in joined))

    def _contacts(self, ahead: int) -> Contacts:
        agents, vehicle = self.scene.agents, self.scene.vehicle
        steps = min(self.speed.shape[1], len(agents.x) - ahead)
        heading = self.states[:, :steps, State.HEADING]
        velocity = np.stack([np.cos(heading), np.sin(heading)], axis=-1)
        velocity *= self.speed[:, :steps, None]
        moved = velocity * (ahead * DT)
        ego = self.centre[:, :steps] + moved

        # road users that come near any of the proposals at a step, then near each of them
        reach = np.hypot(vehicle.length, vehicle.width) / 2.0
        later = slice(ahead, ahead + steps)
        radius = np.hypot(agents.length[later], agents.width[later]) / 2.0 + reach
        low, high = ego.min(0)[:, None], ego.max(0)[:, None]
        x, y = agents.x[later], agents.y[later]
        possible = agents.valid[later] & (x >= low[..., 0] - radius) & (x <= high[..., 0] + radius)
        possible &= (y >= low[..., 1] - radius) & (y <= high[..., 1] + radius)
        step, agent = np.nonzero(possible)
        gap_x, gap_y = ego[:, step, 0] - x[step, agent], ego[:, step, 1] - y[step, agent]
        proposal, pair = np.nonzero(gap_x**2 + gap_y**2 <= radius[step, agent] ** 2)
        step, agent = step[pair], agent[pair]
        apart = box_gap(
            gap_x[proposal, pair], gap_y[proposal, pair], heading[proposal, step],
            vehicle.length, vehicle.width, agents.heading[later][step, agent],
            agents.length[later][step, agent], agents.width[later][step, agent],
        )  # fmt: skip
        possible = apart < _TIE
        proposal, step, agent = proposal[possible], step[possible], agent[possible]
        boxes = self.corners[proposal, step] + moved[proposal, step, None]
        touch = touches(apart[possible], boxes, self.scene, step + ahead, agent)
        proposal, step, agent = proposal[touch], step[touch], agent[touch]
        return Contacts(proposal, step, np.full(len(step), ahead), agent)

    def near(self, polygon: Any) -> Array:
        """Rows of the flattened (P, K) whose box may reach the polygon."""
        import shapely

        shapely.prepare(polygon)
        low_x, low_y, high_x, high_y = shapely.bounds(polygon)
        x, y = self._flat_centre
        r = self._reach
        near = (x > low_x - r) & (x < high_x + r) & (y > low_y - r) & (y < high_y + r)
        return np.flatnonzero(near)

    # Coordinates before points: what a box has in common is then found along the first axis, where
    # NumPy is fast.

    @cached_property
    def _flat_centre(self) -> Array:
        """(2, P K)"""
        return np.ascontiguousarray(self.centre.reshape(-1, 2).T)

    @cached_property
    def _flat_corners(self) -> Array:
        """(2, 4, P K)"""
        return np.ascontiguousarray(self.corners.reshape(-1, 4, 2).T)

    @cached_property
    def _reach(self) -> float:
        """m from the box centre that no corner, and not the rear axle, is beyond."""
        vehicle = self.scene.vehicle
        half = np.hypot(vehicle.length, vehicle.width) / 2.0
        return max(half, abs(vehicle.centre_offset)) + 1e-6


_CONTACT_FIELDS = ("proposal", "step", "ahead", "agent")


def _inside(polygon: Any, points: Array) -> Array:
    """(...) bool of points (2, ...)."""
    import shapely

    return np.asarray(shapely.contains_xy(polygon, *points))


def box_gap(
    gap_x: Array,
    gap_y: Array,
    heading: Array,
    length: Array | float,
    width: Array | float,
    other_heading: Array,
    other_length: Array,
    other_width: Array,
) -> Array:
    """(...) m by which boxes are apart along their best axis, below 0 where they overlap.

    From the gap between their centres. Along an axis of one box a box reaches half its length and
    width times the absolute cosines of the angle between. A box of no length is a segment.
    """
    cos, sin = np.cos(heading), np.sin(heading)
    other_cos, other_sin = np.cos(other_heading), np.sin(other_heading)
    c = np.abs(cos * other_cos + sin * other_sin)
    s = np.abs(cos * other_sin - sin * other_cos)
    along = np.abs(gap_x * cos + gap_y * sin)
    across = np.abs(gap_y * cos - gap_x * sin)
    gap = np.maximum(
        along - (length + other_length * c + other_width * s) / 2.0,
        across - (width + other_length * s + other_width * c) / 2.0,
    )
    along = np.abs(gap_x * other_cos + gap_y * other_sin)
    across = np.abs(gap_y * other_cos - gap_x * other_sin)
    gap = np.maximum(gap, along - (other_length + length * c + width * s) / 2.0)
    return np.maximum(gap, across - (other_width + length * s + width * c) / 2.0)


def touches(gap: Array, points: Array, scene: PdmScene, step: Array, agent: Array) -> Array:
    """(n,) bool: the gap is not positive; within rounding of 0, what GEOS says of the shapes.

    ``points`` (n, 4, 2) are corners of a box, (n, 2, 2) ends of a segment. Boxes that just touch
    count, and the reference decides that with GEOS.
    """
    import shapely

    touch = gap <= 0.0
    tie = np.flatnonzero(np.abs(gap) < _TIE)
    if len(tie):
        boxes = agent_polygons(scene.agents, step[tie], agent[tie])
        make = shapely.polygons if points.shape[1] == 4 else shapely.linestrings
        touch[tie] = shapely.intersects(make(points[tie]), boxes)
    return touch
