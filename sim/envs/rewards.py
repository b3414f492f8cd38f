"""Reward terms of a step, for a batch of worlds: named numbers, and their weighted sum.

A term counts what the safety score of a whole drive judges (``roadloop.scoring.terms``), for one
step: its bounds are imported from there, its events are the simulator's. The columns are
``sim.envs.config.TERMS``, in units the weights' docstrings name.
"""

from __future__ import annotations

import warp as wp

from roadloop.scoring.collision import CREEPING, HORIZON, RESOLUTION
from roadloop.scoring.comfort import BOUNDS
from roadloop.scoring.driven import GOAL_REACH as GOAL
from roadloop.scoring.driven import ROUTE_REACH as OFF
from roadloop.scoring.nuplan import MIN_TTC
from sim.collision import boxes_overlap
from sim.envs.config import ENDINGS, TERMS
from sim.envs.features import OnRoute
from sim.envs.routes import Course
from sim.lane_graph import LEVEL
from sim.state import HIT, OFF_ROAD, RED_LIGHT, WRONG_WAY, Agent, Traits

wp.set_module_options({"enable_backward": False, "max_unroll": 1})

(
    PROGRESS, AT_GOAL, COLLISION, LEFT_ROAD, OFF_ROUTE, AGAINST, RAN_RED, ROLLED, SPEEDING, TTC,
    LANE_CENTRE, COMFORT,
) = range(len(TERMS))  # fmt: skip
COUNT = wp.constant(len(TERMS))
ENDING_TERMS = tuple(TERMS.index(name) for name in ENDINGS)

GOAL_REACH = wp.constant(wp.float64(GOAL))
ROUTE_REACH = wp.constant(OFF)
STANDING = wp.constant(CREEPING)
LEAST_TTC = wp.constant(MIN_TTC)
TTC_STEP = wp.constant(RESOLUTION)
TTC_STEPS = wp.constant(int(min(MIN_TTC, HORIZON) / RESOLUTION))
BESIDE = wp.constant(2.0)
"""m beside the route from which it gets no worse"""

BRAKING, ACCELERATING, _ = BOUNDS["longitudinal acceleration"]
LATERAL = BOUNDS["lateral acceleration"][1]
JERK = BOUNDS["longitudinal jerk"][1]
YAW_RATE = BOUNDS["yaw rate"][1]
YAW_ACCELERATION = BOUNDS["yaw acceleration"][1]
comfort_bounds = wp.constant(wp.vec4(LATERAL, JERK, YAW_RATE, YAW_ACCELERATION))
comfort_acceleration = wp.constant(wp.vec2(BRAKING, ACCELERATING))


@wp.func
def excess(share: wp.float32):
    """How far a signal is outside its bound: 0 within, 1 from the double on."""
    return wp.clamp(share - 1.0, 0.0, 1.0)


@wp.func
def discomfort(was: Agent, a: Agent, dt: wp.float32):
    """Excesses of the five signals over nuPlan's comfort bounds, added.

    Unlike in the score of a drive, which smooths over a second, they are those of the step.
    """
    longitudinal = wp.max(
        a.acceleration / comfort_acceleration[1], a.acceleration / comfort_acceleration[0]
    )
    return (
        excess(longitudinal)
        + excess(wp.abs(a.speed * a.yaw_rate) / comfort_bounds[0])
        + excess(wp.abs(a.acceleration - was.acceleration) / (comfort_bounds[1] * dt))
        + excess(wp.abs(a.yaw_rate) / comfort_bounds[2])
        + excess(wp.abs(a.yaw_rate - was.yaw_rate) / (comfort_bounds[3] * dt))
    )


@wp.func
def moved(a: Agent, time: wp.float32):
    """The agent after ``time`` s with its present velocity."""
    a.x = a.x + wp.float64(time * a.speed * a.cos)
    a.y = a.y + wp.float64(time * a.speed * a.sin)
    return a


@wp.func
def soon_to_collide(
    agents: wp.array2d(dtype=Agent), traits: wp.array2d(dtype=Traits), w: wp.int32, i: wp.int32
):
    """Whether, everybody keeping velocity, the box meets another within the bound.

    Who is behind the box centre and comes closer is not the ego's concern.
    """
    a = agents[w, i]
    t = traits[w, i]
    if a.speed <= STANDING:
        return False
    reach = 0.5 * (t.length + t.width) + a.speed * LEAST_TTC
    for j in range(agents.shape[1]):
        if j != i and agents[w, j].valid == 1 and wp.abs(agents[w, j].z - a.z) < LEVEL:
            dx = wp.float32(agents[w, j].x - a.x)
            dy = wp.float32(agents[w, j].y - a.y)
            body = traits[w, j]
            most = reach + 0.5 * (body.length + body.width) + agents[w, j].speed * LEAST_TTC
            if dx * a.cos + dy * a.sin > 0.0 and dx * dx + dy * dy < most * most:
                for k in range(TTC_STEPS + 1):
                    time = wp.float32(k) * TTC_STEP
                    if boxes_overlap(moved(a, time), t, moved(agents[w, j], time), body):
                        return True
    return False


@wp.kernel
def judge(
    before: wp.array2d(dtype=Agent),
    agents: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    events: wp.array2d(dtype=wp.int32),
    courses: wp.array2d(dtype=Course),
    weights: wp.array(dtype=wp.float32),
    dt: wp.float32,
    on_route: wp.array2d(dtype=OnRoute),
    terms: wp.array3d(dtype=wp.float32),
    rewards: wp.array2d(dtype=wp.float32),
):
    """Terms and reward of every learner for the step that led here; after ``observe``."""
    w, i = wp.tid()
    a = agents[w, i]
    on = on_route[w, i]
    bits = events[w, i]
    for k in range(COUNT):
        terms[w, i, k] = 0.0
    if wp.abs(on.lateral) > ROUTE_REACH:
        terms[w, i, OFF_ROUTE] = 1.0
    else:
        terms[w, i, PROGRESS] = wp.float32(wp.max(on.s - on.best, wp.float64(0.0)))
        on.best = wp.max(on.best, on.s)
        on_route[w, i] = on
        if on.s >= courses[w, i].length - GOAL_REACH:
            terms[w, i, AT_GOAL] = 1.0
    if (bits & HIT) != 0:
        terms[w, i, COLLISION] = 1.0
    if (bits & OFF_ROAD) != 0:
        terms[w, i, LEFT_ROAD] = 1.0
    if (bits & WRONG_WAY) != 0:
        terms[w, i, AGAINST] = a.speed * dt
    if (bits & RED_LIGHT) != 0:
        terms[w, i, RAN_RED] = 1.0
    terms[w, i, ROLLED] = wp.float32(on.rolled)
    terms[w, i, SPEEDING] = wp.max(a.speed - on.limit, 0.0) * dt
    if soon_to_collide(agents, traits, w, i):
        terms[w, i, TTC] = dt
    terms[w, i, LANE_CENTRE] = wp.min(wp.abs(on.lateral), BESIDE) * dt
    terms[w, i, COMFORT] = discomfort(before[w, i], a, dt) * dt
    reward = float(0.0)
    for k in range(COUNT):
        reward = reward + weights[k] * terms[w, i, k]
    rewards[w, i] = reward
