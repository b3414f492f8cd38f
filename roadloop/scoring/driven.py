"""Where the ego drove: its box over time and the lanes under it, computed once for all terms."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.locate import LaneLocation, nearest_lane
from roadloop.maps.path import Path, route_path
from roadloop.maps.road_map import LaneKind, RoadMap
from roadloop.scoring.area_map import AreaMap, area_map_of, lanes_near
from roadloop.scoring.collision import (
    SUBSTEPS,
    Contact,
    contacts,
    ego_corners,
    time_to_collision,
)
from roadloop.scoring.comfort import MIN_SAMPLES, comfort_signals
from roadloop.scoring.nuplan_lanes import HOPS, OnLanes
from roadloop.scoring.nuplan_progress import progress_along_lane
from roadloop.types import EgoState, Rollout

Array = np.ndarray

GOAL_REACH = 3.0
"""m before the goal at which the route counts as driven"""
ROUTE_REACH = 10.0
"""m, further off the route than this nothing is gained on it"""
STRETCH = 10.0
"""m driven between two looks at where on the route the ego is"""


@dataclass(frozen=True, eq=False)
class Driven:
    """A rollout on its map; what follows from the two is computed when first asked for.

    Arrays are ``(time, ...)``. Raises RoadloopError where the rollout is empty, was driven on
    another map, or holds a state of the ego or of a valid agent that is not finite.
    """

    rollout: Rollout
    road_map: RoadMap

    def __post_init__(self) -> None:
        rollout, road_map = self.rollout, self.road_map
        if not len(rollout.time):
            raise RoadloopError(f"rollout of scenario {rollout.scenario} has no steps to score")
        if rollout.map_hash != road_map.content_hash:
            raise RoadloopError(
                f"the rollout was driven on map {rollout.map_name} ({rollout.map_hash[:12]}), not "
                f"on {road_map.name} ({road_map.content_hash[:12]}); score it on the map it was "
                "driven on"
            )
        check_finite(rollout.ego, f"rollout of scenario {rollout.scenario}: ego")
        for f in dataclasses.fields(rollout.agents):
            values = getattr(rollout.agents, f.name)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                wrong = ~np.isfinite(values) & rollout.agents.valid
                if wrong.any():
                    step, column = np.argwhere(wrong)[0].tolist()
                    raise RoadloopError(
                        f"rollout of scenario {rollout.scenario}: agents.{f.name} of agent "
                        f"{rollout.agents.id[step, column]} is not finite at step {step}; "
                        "record it again or mark the agent invalid there"
                    )

    @cached_property
    def centre(self) -> Array:
        """(time, 2) box centre."""
        return np.stack(self.rollout.ego.box_centre(), axis=-1)

    @cached_property
    def corners(self) -> Array:
        """(time, 4, 2) front left, rear left, rear right, front right."""
        return ego_corners(self.rollout.ego)

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
    def area_map(self) -> AreaMap:
        """The map around the drive and its route as areas."""
        return self.area_map_around(self.rollout.ego)

    def area_map_around(self, *paths: EgoState) -> AreaMap:
        """The map around the route and paths (time,) as areas, on their levels."""
        route = np.asarray(self.rollout.route.lanes, dtype=np.int64)
        near = [lanes_near(self.road_map, np.stack([p.x, p.y, p.z], axis=-1)) for p in paths]
        block = np.unique(self.road_map.lane_road, return_inverse=True)[1]
        block = block * (int(self.road_map.lane_section.max()) + 1) + self.road_map.lane_section
        beside = np.flatnonzero(np.isin(block, block[route]))
        return area_map_of(self.road_map, np.concatenate([beside, *near]))

    @cached_property
    def on_lanes(self) -> OnLanes:
        """The drive on its area map."""
        return OnLanes(self.rollout.ego, self.area_map)

    @cached_property
    def in_junction(self) -> Array:
        """(time,) bool, the rear axle is on the ground of a junction."""
        return self.on_lanes.in_intersection

    @cached_property
    def fully_in_lane(self) -> Array:
        """(time,) bool, all four corners are on one lane or on lanes that continue one another."""
        return self.on_lanes.in_lane(HOPS)

    @cached_property
    def along_lane(self) -> Array:
        """(time,) m moved along the lane underneath since the step before, see nuplan_progress.

        0 on lanes open to both directions.
        """
        area_map, route = self.area_map, self.on_lanes.route
        along = progress_along_lane(area_map, self.centre, route)
        kind = self.road_map.lane_kind[area_map.lane_id.astype(np.int64)]
        both = kind == LaneKind.BIDIRECTIONAL
        return np.where([bool(lanes) and both[lanes[0]] for lanes in route], 0.0, along)

    @cached_property
    def hits(self) -> tuple[Contact, ...]:
        """Contacts as the safety terms mean them: between steps too, by velocity."""
        return contacts(
            self.rollout.ego,
            self.rollout.agents,
            self.fully_in_lane,
            along_heading=False,
            in_line=True,
            substeps=SUBSTEPS,
        )

    @cached_property
    def ttc(self) -> Array:
        """(time,) s to collision as the safety terms mean it: everybody keeps its velocity."""
        return time_to_collision(
            self.rollout.ego,
            self.rollout.agents,
            self.hits,
            self.fully_in_lane,
            self.in_junction,
            along_heading=False,
            in_line=True,
        )

    @cached_property
    def comfort_signals(self) -> dict[str, Array] | None:
        """The six signals by the names of ``comfort.BOUNDS``, None for too few steps."""
        ego, dt = self.rollout.ego, self.rollout.dt
        if len(ego.x) < MIN_SAMPLES:
            return None
        return comfort_signals(
            ego.acceleration,
            ego.speed * ego.yaw_rate,
            ego.heading,
            ego.yaw_rate,
            np.gradient(ego.yaw_rate, dt),
            ego.vehicle.centre_offset,
            dt,
        )

    @cached_property
    def route_path(self) -> Path:
        """The route as one curve."""
        return route_path(self.road_map, self.rollout.route)

    @cached_property
    def route_share(self) -> Array:
        """(time,) largest share of the route driven so far, 1 from 3 m before its end.

        The rear axle is followed along the route's curve a stretch at a time, so that a route that
        meets itself is not cut short; where it is far off the curve nothing is gained.
        """
        ego, path = self.rollout.ego, self.route_path
        reached = np.zeros(len(ego.x))
        moved = np.hypot(np.diff(ego.x, prepend=ego.x[0]), np.diff(ego.y, prepend=ego.y[0]))
        stretches = np.flatnonzero(np.diff(np.cumsum(moved) // STRETCH)) + 1
        s = 0.0
        for steps in np.split(np.arange(len(ego.x)), stretches):
            x, y = ego.x[steps], ego.y[steps]
            here, near = _on_path(path, x, y, np.full(len(x), s))
            if not near.all():  # it may have come back to the route further on
                ahead, close = _on_path(path, x, y, None)
                here = np.where(near, here, np.where(close, np.maximum(ahead, s), s))
            reached[steps] = here
            s = float(here[-1])
        reached = np.maximum.accumulate(reached)
        share = np.clip(reached / path.length, 0.0, 1.0)
        return np.where(reached >= path.length - GOAL_REACH, 1.0, share)

    def lane_row(self, lane: Array, s: Array) -> Array:
        """Row of the centreline point nearest to ``s`` on each lane (spacing is even per lane)."""
        first = self.road_map.point_start[lane].astype(np.int64)
        segments = self.road_map.point_start[lane + 1] - first - 1
        share = np.clip(s / self.road_map.lane_length[lane], 0.0, 1.0)
        return first + np.rint(share * segments).astype(np.int64)


def check_finite(ego: EgoState, name: str) -> None:
    """RoadloopError naming the first field and step of ``ego`` (time,) that is not finite."""
    for f in dataclasses.fields(ego):
        values = getattr(ego, f.name)
        if isinstance(values, np.ndarray) and not np.isfinite(values).all():
            step = int(np.argmin(np.isfinite(values)))
            raise RoadloopError(f"{name}.{f.name} is not finite at step {step}; record it again")


def _on_path(path: Path, x: Array, y: Array, hint: Array | None) -> tuple[Array, Array]:
    """(n,) m along the path and whether the point is near it there."""
    s, _ = path.project(x, y, hint=hint)
    foot = path.at(s)
    return s, np.hypot(foot.x - x, foot.y - y) <= ROUTE_REACH
