"""Surrogate safety measures: how near a drive came to a crash without one.

Definitions and thresholds as collected by Westhofen et al., "Criticality Metrics for Automated
Driving: A Review and Suitability Analysis of the State of the Art", Archives of Computational
Methods in Engineering 30 (2023), https://criticality-metrics.readthedocs.io:

- time to collision (TTC): critical up to 1.5 s, the bound of FHWA's surrogate safety assessment
  model (FHWA-HRT-08-051); the same TTC as in the safety terms;
- post-encroachment time (PET, Allen, Shin and Cooper 1978): critical up to 1.0 s (Varhelyi 1998);
- deceleration rate to avoid a crash (DRAC, Archer 2005): critical from 3.4 m/s^2;
- time headway: a measurement without a bound (fined below 0.9 s in Germany, 0.4 s in Austria).
"""

from __future__ import annotations

import numpy as np

from roadloop.geometry import box_corners, boxes_overlap, wrap_angle
from roadloop.scoring.area_map import LEVEL
from roadloop.scoring.collision import STOPPED, agent_corners
from roadloop.scoring.driven import Driven
from roadloop.scoring.result import Score, Term, first_time
from roadloop.scoring.route_frame import ALIGNED, route_frame
from roadloop.types import AgentKind

Array = np.ndarray

VERSION = "1"
LEAST_TTC = 1.5
"""s"""
LEAST_PET = 1.0
"""s"""
MOST_DRAC = 3.4
"""m/s^2"""
LONGEST_PET = 5.0
"""s: later than this after one another nobody has met (FHWA-HRT-08-051)"""
FINER = 10
"""parts of a step in which the moments of leaving and entering are looked for"""


def surrogate_score(driven: Driven) -> Score:
    """Least TTC, PET and time headway, largest DRAC of a drive; a term that never occurs is None.

    Series, ``(time,)``: "ttc" (inf where there is none), "drac" and "headway" (NaN where the ego
    follows nobody)."""
    gap, closing = _to_leader(driven)
    speed, time = driven.rollout.ego.speed, driven.rollout.time
    ttc = driven.ttc
    with np.errstate(divide="ignore", invalid="ignore"):
        drac = np.where((gap > 0.0) & (closing > 0.0), closing**2 / (2.0 * gap), np.nan)
        headway = np.where((gap > 0.0) & (speed > STOPPED), gap / speed, np.nan)
    return Score(
        name="surrogate",
        title="Surrogate safety measures",
        version=VERSION,
        value=None,
        unit="",
        terms=(
            _least_ttc(ttc, time),
            _least_pet(driven),
            _largest_drac(drac, time),
            _least_headway(headway, time),
        ),
        series={"ttc": ttc, "drac": drac, "headway": headway},
    )


def _to_leader(driven: Driven) -> tuple[Array, Array]:
    """m of gap to whom the ego follows and m/s the ego is faster, each (time,), NaN without one.

    The leader is the nearest in front whose box is in the way of the ego's box along the route:
    vehicles and cyclists of the route's direction, and static obstacles.
    """
    frame, agents = route_frame(driven), driven.rollout.agents
    static = agents.kind == AgentKind.STATIC
    vehicle = (frame.direction > 0) & (agents.kind != AgentKind.PEDESTRIAN)
    leads = frame.placed & (vehicle | static) & (frame.lateral_gap < 0.0) & (frame.ahead > 0.0)
    gap = np.where(leads, frame.gap, np.inf)
    steps = np.arange(len(gap))
    if gap.shape[1] == 0:
        return np.full(len(gap), np.nan), np.full(len(gap), np.nan)
    nearest = gap.argmin(axis=1)
    has = np.isfinite(gap[steps, nearest])
    closing = frame.ego_speed_along - frame.speed_along[steps, nearest]
    return np.where(has, gap[steps, nearest], np.nan), np.where(has, closing, np.nan)


def post_encroachment(driven: Driven) -> tuple[Array, Array]:
    """PET to each road user and when the later of the two entered, s; ``(agents,)`` each.

    The time between one of the two leaving some ground and the other entering it, the least over
    all ground that both pass over at headings more than 45 degrees apart: who drives on the ego's
    own way in its direction only follows or is followed. Both are followed as boxes between the
    recorded steps. inf (and NaN) for who shares no ground with the ego within `LONGEST_PET`; 0 for
    who touches the ego there. Static obstacles enter nothing.
    """
    rollout = driven.rollout
    count = rollout.agents.valid.shape[1]
    pet, when = np.full(count, np.inf), np.full(count, np.nan)
    ego_step, step, column = _shared_ground(driven)
    for agent in np.unique(column):
        mine, theirs = ego_step[column == agent], step[column == agent]
        apart = np.abs(mine - theirs)
        # the least gap lies within a step of the least between recorded steps
        for k in np.flatnonzero(apart <= apart.min() + 1):
            found, entered = _finer(driven, int(mine[k]), int(theirs[k]), int(agent))
            if found < pet[agent]:
                pet[agent], when[agent] = found, entered
            if found == 0.0:
                break
    return pet, when


def _shared_ground(driven: Driven) -> tuple[Array, Array, Array]:
    """Step of the ego, step and column of an agent whose boxes overlap, ``(pairs,)`` each."""
    from scipy.spatial import KDTree

    rollout, centre = driven.rollout, driven.centre
    ego, agents = rollout.ego, rollout.agents
    step, column = np.nonzero(agents.valid & (agents.kind != AgentKind.STATIC))
    x, y = agents.x[step, column], agents.y[step, column]
    reach = 0.5 * np.hypot(agents.length[step, column], agents.width[step, column])
    reach = reach + 0.5 * np.hypot(ego.vehicle.length, ego.vehicle.width)
    tree = KDTree(centre)
    if len(step) == 0:
        return step, step, column
    away, nearest = tree.query(np.column_stack([x, y]), distance_upper_bound=float(reach.max()))
    close = away <= reach
    step, column, x, y, reach = step[close], column[close], x[close], y[close], reach[close]
    angle = np.abs(
        wrap_angle(agents.heading[step, column] - ego.heading[np.asarray(nearest)[close]])
    )
    across = angle > ALIGNED
    step, column, x, y, reach = step[across], column[across], x[across], y[across], reach[across]
    if len(step) == 0:
        return step, step, column
    rows = tree.query_ball_point(np.column_stack([x, y]), reach)
    counts = np.array([len(row) for row in rows])
    ego_step = np.concatenate([np.asarray(row, np.int64) for row in rows])
    step, column = np.repeat(step, counts), np.repeat(column, counts)
    met = np.abs(ego_step - step) * rollout.dt <= LONGEST_PET
    met &= np.abs(ego.z[ego_step] - agents.z[step, column]) < LEVEL
    ego_step, step, column = ego_step[met], step[met], column[met]
    both = boxes_overlap(driven.corners[ego_step], agent_corners(agents, step, column))
    return ego_step[both], step[both], column[both]


def _finer(driven: Driven, ego_step: int, step: int, agent: int) -> tuple[float, float]:
    """PET and moment of entering between the steps next to the two, whose boxes overlap."""
    rollout = driven.rollout
    ego, agents = rollout.ego, rollout.agents
    last = len(rollout.time) - 1

    def moments(middle: int) -> Array:
        around = np.arange(-FINER, FINER + 1) / FINER + middle
        return around[(around >= 0.0) & (around <= last)]

    mine = moments(ego_step)
    theirs = moments(step)
    before, after = agents.valid[max(step - 1, 0), agent], agents.valid[min(step + 1, last), agent]
    theirs = theirs[((theirs >= step) | before) & ((theirs <= step) | after)]
    index = np.arange(last + 1)
    my_box = box_corners(
        np.interp(mine, index, driven.centre[:, 0]),
        np.interp(mine, index, driven.centre[:, 1]),
        np.interp(mine, index, np.unwrap(ego.heading)),
        ego.vehicle.length,
        ego.vehicle.width,
    )
    rows = np.arange(max(step - 1, 0), min(step + 1, last) + 1)
    their_box = box_corners(
        np.interp(theirs, rows, agents.x[rows, agent]),
        np.interp(theirs, rows, agents.y[rows, agent]),
        np.interp(theirs, rows, np.unwrap(agents.heading[rows, agent])),
        agents.length[step, agent],
        agents.width[step, agent],
    )
    over = boxes_overlap(my_box[:, None], their_box[None])
    apart = np.where(over, np.abs(mine[:, None] - theirs[None]), np.inf)
    i, k = divmod(int(apart.argmin()), apart.shape[1])
    entered = max(mine[i], theirs[k])
    return float(apart[i, k] * rollout.dt), float(rollout.time[0] + entered * rollout.dt)


def _least_ttc(ttc: Array, time: Array) -> Term:
    name, title = "least_ttc", "Least time to collision"
    least = float(ttc.min())
    if np.isinf(least):
        return Term(name, title, None, "s", None, None, "on course to hit nobody", True)
    below = ttc <= LEAST_TTC
    at = time[int(np.argmin(ttc))]
    detail = f"{least:.1f} s at {at:.1f} s; critical up to {LEAST_TTC} s"
    return Term(name, title, least, "s", not below.any(), first_time(below, time), detail, True)


def _least_pet(driven: Driven) -> Term:
    name, title = "least_pet", "Least post-encroachment time"
    pet, when = post_encroachment(driven)
    if not np.isfinite(pet).any():
        detail = f"crossed nobody's way within {LONGEST_PET:g} s"
        return Term(name, title, None, "s", None, None, detail, True)
    agent = int(np.argmin(pet))
    least, agents = float(pet[agent]), driven.rollout.agents
    row = int(np.argmax(agents.valid[:, agent]))
    whom = f"{AgentKind(int(agents.kind[row, agent])).name.lower()} {agents.id[row, agent]}"
    detail = f"{least:.2f} s to {whom} at {when[agent]:.1f} s; critical up to {LEAST_PET} s"
    lost = float(np.nanmin(np.where(pet <= LEAST_PET, when, np.inf)))
    passed = least > LEAST_PET
    return Term(name, title, least, "s", passed, None if passed else lost, detail, True)


def _largest_drac(drac: Array, time: Array) -> Term:
    name, title = "largest_drac", "Largest deceleration to avoid a crash"
    if np.isnan(drac).all():
        return Term(name, title, None, "m/s^2", None, None, "closed up on nobody", False)
    most = float(np.nanmax(drac))
    above = np.nan_to_num(drac) >= MOST_DRAC
    at = time[int(np.nanargmax(drac))]
    detail = f"{most:.1f} m/s^2 at {at:.1f} s; critical from {MOST_DRAC} m/s^2"
    return Term(name, title, most, "m/s^2", not above.any(), first_time(above, time), detail, False)


def _least_headway(headway: Array, time: Array) -> Term:
    name, title = "least_headway", "Least time headway"
    if np.isnan(headway).all():
        return Term(name, title, None, "s", None, None, "followed nobody", True)
    at = time[int(np.nanargmin(headway))]
    least = float(np.nanmin(headway))
    detail = f"{least:.1f} s behind the rear bumper of the one ahead at {at:.1f} s"
    return Term(name, title, least, "s", None, None, detail, True)
