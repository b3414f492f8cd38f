"""The closed-loop safety terms: what a rollout did right and wrong, with number and sentence.

``score(rollout, road_map)`` needs nothing but the two. The measurements are in the modules beside
this one, mostly nuPlan's; here they meet their thresholds and become verdicts.
"""

from __future__ import annotations

import numpy as np

from roadloop.maps.road_map import RoadMap, SignalKind
from roadloop.scoring.area_map import REACH
from roadloop.scoring.collision import Contact, ContactKind
from roadloop.scoring.comfort import BOUNDS, MIN_SAMPLES, broken_bounds
from roadloop.scoring.driven import Driven
from roadloop.scoring.nuplan import MAKING_PROGRESS, MIN_TTC, OUTSIDE, OVERSPEED, speed_limits
from roadloop.scoring.nuplan_progress import AGAINST_FULLY, AGAINST_PARTLY, metres_against_lane
from roadloop.scoring.result import Score, Term, first_time
from roadloop.scoring.rules import RED, STOP_SPEED, check_lights, crossings, stop_kinds
from roadloop.types import Rollout

Array = np.ndarray

VERSION = (
    "2: nuplan 1.2.2, contacts between steps, velocity vectors, no make-up metres, lanes in a row, "
    "limits of connectors"
)
"""Version of these definitions and what they change of nuPlan's; scores of different versions are
not comparable."""


def score(rollout: Rollout, road_map: RoadMap) -> Score:
    """Every safety term of a rollout on its map, see ``safety_score``.

    Raises RoadloopError as ``Driven`` and ``safety_score``.
    """
    return safety_score(Driven(rollout, road_map))


def safety_score(driven: Driven) -> Score:
    """Every safety term of a drive; an interrupted rollout is scored for what it holds.

    What differs from nuPlan's terms is named in the version. Raises RoadloopError where the rollout
    lacks the lights of a map that has some.
    """
    check_lights(driven)
    limit = speed_limits(driven.area_map, driven.on_lanes.route, own_on_connectors=True)
    comfort, signals = comfort_term(driven)
    location = driven.location
    return Score(
        name="safety",
        title="Safety terms",
        version=VERSION,
        value=None,
        unit="",
        terms=(
            collision_at_fault(driven),
            collision_not_at_fault(driven),
            off_road(driven),
            wrong_way(driven),
            red_light(driven),
            stop_sign(driven),
            route_progress(driven),
            min_ttc(driven),
            comfort,
            speed_limit_term(driven, limit),
        ),
        series={
            "ttc": driven.ttc,
            "acceleration_lon": signals["longitudinal acceleration"],
            "acceleration_lat": signals["lateral acceleration"],
            "jerk": signals["jerk"],
            "yaw_rate": signals["yaw rate"],
            "route_progress": driven.route_share,
            "speed_limit": limit,
            "lane_offset": np.where(location.lane >= 0, location.lateral, np.nan),
        },
    )


def collision_at_fault(driven: Driven) -> Term:
    """Collisions that are the ego's fault: with what stands or is in front, or while straddling."""
    return _collision(driven, True, "collision_at_fault", "Collision, at fault")


def collision_not_at_fault(driven: Driven) -> Term:
    """Collisions others caused. Lost where there was one, though the ego could not help it."""
    return _collision(driven, False, "collision_not_at_fault", "Collision, not at fault")


def _collision(driven: Driven, at_fault: bool, name: str, title: str) -> Term:
    mine = [hit for hit in driven.hits if hit.at_fault == at_fault]
    detail = "; ".join(_sentence(hit) for hit in mine[:3])
    if len(mine) > 3:
        detail += f"; and {len(mine) - 3} more"
    first = float(driven.rollout.time[mine[0].step]) if mine else None
    return Term(name, title, float(len(mine)), "", not mine, first, detail or "hit nobody", False)


def _sentence(hit: Contact) -> str:
    whom = f"{hit.agent_kind.name.lower()} {hit.agent}"
    where = {
        ContactKind.EGO_STOPPED: f"was hit by {whom} while standing",
        ContactKind.REAR: f"was hit by {whom} from behind",
        ContactKind.AGENT_STOPPED: f"hit standing {whom}",
        ContactKind.FRONT: f"hit {whom} (front)",
        ContactKind.SIDE: f"touched {whom} (side)",
    }[hit.kind]
    if hit.kind is ContactKind.SIDE:
        where += " outside its lane" if hit.at_fault else " from within its lane"
    return f"{where} at {hit.speed:.1f} m/s"


def off_road(driven: Driven) -> Term:
    """A corner 0.3 m or more off the drivable surface (nuPlan, drivable-area compliance)."""
    distance = driven.on_lanes.corners_outside.max(axis=1)
    worst = float(distance.max())
    broken = distance >= OUTSIDE
    if broken.any():
        far = f"over {REACH:.0f} m" if worst > REACH else f"up to {worst:.2f} m"
        detail = f"left the road by {far}"
    else:
        detail = "stayed on the road"
        if worst > 0.0:
            detail += f", overhanging its edge by {worst:.2f} m"
    value = min(worst, REACH)  # the map is looked at no further around
    lost = first_time(broken, driven.rollout.time)
    return Term("off_road", "Off road", value, "m", lost is None, lost, detail, False)


def wrong_way(driven: Driven) -> Term:
    """Metres against the lane within a second (nuPlan, driving-direction compliance).

    Unlike there, metres driven the right way in that second do not make up for the others.
    """
    against = metres_against_lane(driven.along_lane, driven.rollout.dt, make_up=False)
    worst = float(against.max())
    broken = against >= AGAINST_PARTLY
    detail = "drove with the traffic"
    if broken.any():
        how = "clearly" if worst >= AGAINST_FULLY else "briefly"
        detail = f"drove {how} against the lane, {worst:.1f} m within a second"
    lost = first_time(broken, driven.rollout.time)
    return Term("wrong_way", "Wrong way", worst, "m", lost is None, lost, detail, False)


def red_light(driven: Driven) -> Term:
    """Stop lines crossed while their light was red; what shone when the step began counts."""
    name, title = "red_light", "Red light"
    if not np.any(stop_kinds(driven.road_map) == SignalKind.TRAFFIC_LIGHT):
        return Term(name, title, None, "", None, None, "the map has no traffic lights", False)
    passed = crossings(driven, SignalKind.TRAFFIC_LIGHT)
    ran = [c for c in passed if driven.rollout.lights[c.step - 1, c.signal] in RED]
    detail = f"crossed {len(passed)} lit stop lines, none on red" if passed else "crossed no light"
    if ran:
        ids = ", ".join(str(driven.road_map.signal_id[c.signal]) for c in ran[:3])
        detail = f"ran red light {ids}" + (f" and {len(ran) - 3} more" if len(ran) > 3 else "")
    lost = float(driven.rollout.time[ran[0].step]) if ran else None
    return Term(name, title, float(len(ran)), "", not ran, lost, detail, False)


def stop_sign(driven: Driven) -> Term:
    """Stop lines of stop signs crossed without a stop in the 4 m before (CARLA leaderboard)."""
    name, title = "stop_sign", "Stop sign"
    if not np.any(stop_kinds(driven.road_map) == SignalKind.STOP):
        return Term(name, title, None, "", None, None, "the map has no stop signs", False)
    passed = crossings(driven, SignalKind.STOP)
    ran = [crossing for crossing in passed if crossing.slowest >= STOP_SPEED]
    detail = f"stopped at {len(passed)} stop signs" if passed else "came to no stop sign"
    if ran:
        sign = driven.road_map.signal_id[ran[0].signal]
        detail = f"rolled over stop line {sign} at {ran[0].slowest:.1f} m/s at the slowest"
    lost = float(driven.rollout.time[ran[0].step]) if ran else None
    return Term(name, title, float(len(ran)), "", not ran, lost, detail, False)


def route_progress(driven: Driven) -> Term:
    """Share of the route driven; passed when its goal was reached (to 3 m).

    Lost below nuPlan's bound for making progress; in between the time ran out, which is no verdict.
    """
    share = float(driven.route_share[-1])
    detail = "reached the goal" if share >= 1.0 else f"drove {share:.0%} of the route"
    passed = True if share >= 1.0 else False if share < MAKING_PROGRESS else None
    if not driven.rollout.finished:
        detail += " before the run was interrupted"
    return Term("route_progress", "Route progress", share, "", passed, None, detail, True)


def min_ttc(driven: Driven) -> Term:
    """Least time to collision; above 0.95 s passes (nuPlan)."""
    least = float(driven.ttc.min())
    broken = driven.ttc <= MIN_TTC
    if np.isinf(least):
        value, detail = None, "nobody came within 3 s"
    else:
        at = driven.rollout.time[int(np.argmin(driven.ttc))]
        value, detail = least, f"was {least:.1f} s from a collision at {at:.1f} s"
        if least == 0.0:
            detail = f"collided at {at:.1f} s"
    lost = first_time(broken, driven.rollout.time)
    return Term("min_ttc", "Time to collision", value, "s", lost is None, lost, detail, True)


def comfort_term(driven: Driven) -> tuple[Term, dict[str, Array]]:
    """Six bounds on acceleration, jerk and yaw (nuPlan); the value is how many were broken.

    Also returns the six signals, NaN where the rollout is too short for them.
    """
    rollout, signals = driven.rollout, driven.comfort_signals
    name, title, count = "comfort", "Comfort", len(rollout.time)
    if signals is None:
        detail = f"takes {MIN_SAMPLES} steps, the run has {count}"
        nothing = {signal: np.full(count, np.nan) for signal in BOUNDS}
        return Term(name, title, None, "", None, None, detail, False), nothing
    broken = {key: mask for key, mask in broken_bounds(signals).items() if mask.any()}
    said = []
    for key, mask in broken.items():
        low, high, unit = BOUNDS[key]
        values = signals[key]
        worst = values[np.argmax(np.where(mask, np.abs(values), 0.0))]
        bound = high if worst > 0.0 else low
        since = rollout.time[int(np.argmax(mask))]
        said.append(f"{key} {worst:.2f} {unit} (bound {bound:g}) from {since:.1f} s")
    together = np.any(list(broken.values()), axis=0) if broken else np.zeros(count, dtype=bool)
    detail = "; ".join(said) or "all six bounds kept"
    first = first_time(together, driven.rollout.time)
    return Term(name, title, float(len(broken)), "", not broken, first, detail, False), signals


def speed_limit_term(driven: Driven, limit: Array) -> Term:
    """Largest excess over the speed limit; above 2.23 m/s (5 mph) fails."""
    over = np.nan_to_num(np.abs(driven.rollout.ego.speed) - limit, nan=0.0)
    worst = max(float(over.max()), 0.0)
    broken = over > OVERSPEED
    detail = "kept to the limit"
    if worst > 0.0:
        at = int(np.argmax(over))
        detail = (
            f"up to {worst:.1f} m/s above the limit of {limit[at]:.1f} m/s "
            f"at {driven.rollout.time[at]:.1f} s"
        )
    if np.isnan(limit).all():
        return Term("speed_limit", "Speed limit", None, "m/s", None, None, "was on no lane", False)
    lost = first_time(broken, driven.rollout.time)
    return Term("speed_limit", "Speed limit", worst, "m/s", lost is None, lost, detail, False)
