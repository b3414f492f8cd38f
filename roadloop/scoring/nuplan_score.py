"""nuPlan's closed-loop score of a rollout of ours, on its map turned into areas."""

from __future__ import annotations

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.scoring.collision import with_parked_vehicles
from roadloop.scoring.comfort import broken_bounds
from roadloop.scoring.driven import Driven, check_finite
from roadloop.scoring.nuplan import (
    MIN_TTC,
    OUTSIDE,
    ClosedLoop,
    closed_loop,
    collision_group,
)
from roadloop.scoring.nuplan_lanes import HOPS, driven_route
from roadloop.scoring.nuplan_progress import (
    AGAINST_PARTLY,
    RouteChain,
    progress_along_chain,
    route_chain,
)
from roadloop.scoring.result import Score, Term, first_time
from roadloop.types import EgoState

Array = np.ndarray

VERSION = "1.2.2, lanes in a row, in line"
"""Of nuplan-devkit; what differs: lanes that continue one another are one where they are short, and
who is exactly in line is not overlooked"""

_TITLES = {
    "no_ego_at_fault_collisions": "No at-fault collision",
    "drivable_area_compliance": "Drivable area",
    "driving_direction_compliance": "Driving direction",
    "ego_is_making_progress": "Making progress",
    "ego_progress_along_expert_route": "Progress along expert route",
    "time_to_collision_within_bound": "Time to collision",
    "speed_limit_compliance": "Speed limit",
    "ego_is_comfortable": "Comfort",
}
_MEASURED = ("ego_progress_along_expert_route", "speed_limit_compliance")
"""Metrics that are shares: 1 is the best, but less is no broken rule."""


def nuplan_score(driven: Driven, expert: EgoState | None = None) -> Score:
    """The score of nuplan-devkit 1.2.2 and its eight metrics, all in [0, 1].

    With ``expert``, the logged drive (time,) of the same scenario, by default the rollout's own,
    progress is nuPlan's: m along the expert's roadblocks beside the expert's own. Without one the
    scenario's route takes its place: the expert drove it from start to goal, and who reached the
    goal has progress 1, however long it took; the version then says "route as expert". Lanes,
    intersections and drivable area are those of ``area_map_of``; lanes open to both directions have
    no driving direction; parked vehicles count as vehicles, not as objects. Raises RoadloopError
    for an expert or a rollout with states that are not finite.
    """
    rollout, on_lanes, along_lane = driven.rollout, driven.on_lanes, driven.along_lane
    version, reached = VERSION, False
    expert = rollout.expert if expert is None else expert
    if expert is None:
        version += ", route as expert"
        reached = bool(driven.route_share[-1] >= 1.0)
        chain, path = _chain_of_route(driven), driven.route_path.xyz[:, :2]
    else:
        if not len(expert.x):
            raise RoadloopError("nuplan: the expert has no steps; leave it out to use the route")
        check_finite(expert, "nuplan: expert")
        path = np.stack(expert.box_centre(), axis=-1)
        area_map = driven.area_map_around(rollout.ego, expert)
        chain = route_chain(area_map, driven_route(area_map, path))
    gained, target = 0.0, None
    if chain.baseline:
        target = float(progress_along_chain(chain, path).sum())
        gained = float(progress_along_chain(chain, driven.centre).sum())
        gained = max(gained, target) if reached else gained
    result = closed_loop(
        on_lanes,
        with_parked_vehicles(rollout.agents),
        driven.comfort_signals,
        along_lane,
        gained,
        target,
        rollout.dt,
        hops=HOPS,
        in_line=True,
    )
    details = _details(driven, result, gained, target)
    return Score(
        name="nuplan",
        title="nuPlan closed-loop score",
        version=version,
        value=result.value,
        unit="",
        terms=tuple(_term(driven, result, name, *details[name]) for name in details),
        series={"ttc": result.ttc, "overspeed": result.over, "against_lane": result.against},
    )


def _chain_of_route(driven: Driven) -> RouteChain:
    """The roadblocks of the scenario's route."""
    place = {int(name): k for k, name in enumerate(driven.area_map.lane_id)}
    lanes = [place[int(lane)] for lane in driven.rollout.route.lanes if int(lane) in place]
    return route_chain(driven.area_map, [(lane,) for lane in lanes])


def _term(driven: Driven, result: ClosedLoop, name: str, broken: Array, detail: str) -> Term:
    value = result.metrics[name]
    lost = first_time(broken, driven.rollout.time)
    passed = None if value is None or (name in _MEASURED and value < 1.0) else value >= 1.0
    return Term(name, _TITLES[name], value, "", passed, lost, detail, True)


def _details(
    driven: Driven, result: ClosedLoop, gained: float, target: float | None
) -> dict[str, tuple[Array, str]]:
    """Per metric the steps (time,) at which it is broken, and a sentence."""
    steps = np.arange(len(driven.rollout.time))
    never = np.zeros(len(steps), dtype=bool)
    faults = [hit for hit in result.hits if hit.at_fault]
    groups = [collision_group(hit.agent_kind) for hit in faults]
    counted = [f"{groups.count(group)} {group}" for group in dict.fromkeys(groups)]
    outside = driven.on_lanes.corners_outside.max(axis=1)
    signals = driven.comfort_signals
    rough = {} if signals is None else broken_bounds(signals)
    rough = {name: mask for name, mask in rough.items() if mask.any()}
    uncomfortable = np.any(list(rough.values()), axis=0) if rough else never
    went = "the expert was on no lane" if target is None else f"{gained:.0f} m of {target:.0f} m"
    comfort = f"broke {', '.join(rough)}" if rough else "all six bounds kept"
    return {
        "no_ego_at_fault_collisions": (
            np.isin(steps, [hit.step for hit in faults]),
            f"at fault with {', '.join(counted)}" if counted else "hit nobody at fault",
        ),
        "drivable_area_compliance": (
            outside >= OUTSIDE,
            f"{outside.max():.2f} m outside at most" if outside.any() else "stayed inside",
        ),
        "driving_direction_compliance": (
            result.against >= AGAINST_PARTLY,
            f"{result.against.max():.1f} m against the lane within a second at most",
        ),
        "ego_is_making_progress": (never, went),
        "ego_progress_along_expert_route": (never, went),
        "time_to_collision_within_bound": (
            result.ttc <= MIN_TTC,
            "nobody came near"
            if np.isinf(result.ttc.min())
            else f"{result.ttc.min():.1f} s at least",
        ),
        "speed_limit_compliance": (
            result.over > 0.0,
            f"{result.over.max():.1f} m/s above the limit at most",
        ),
        "ego_is_comfortable": (
            uncomfortable,
            comfort if signals is not None else "too few steps to tell",
        ),
    }
