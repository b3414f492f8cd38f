"""What the learned planner is taught of a moment: the teacher's plan, and what came of proposals.

How like the teacher's plan a proposal is, comes from the plan alone. What is expected of it is
judged by what really happened in the next seconds, as NAVSIM does (Dauner et al., NeurIPS 2024):
the others are where they were then, whatever the ego did.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planning.learned import likeness
from planning.learned_config import MOMENTS, TERMS
from planning.learned_inputs import Look, poses_of
from planning.learned_proposals import STEP
from planning.learned_route import LIMIT
from roadloop.scoring.comfort import BOUNDS
from roadloop.scoring.navsim_motion import box_gap
from roadloop.types import AgentStates, LightState, Trajectory

Array = np.ndarray

FAR_APART = 1e3
"""the largest likeness that is kept"""
STANDS = 0.2
"""m/s, who stands is not at fault"""
TTC = 0.95
"""s of time to collision that must be left, as in nuPlan"""
REACH = 60.0
"""m from the ego within which others are looked at"""


@dataclass(frozen=True)
class Happened:
    """A drive as it was, by step: everybody, and the lights."""

    agents: AgentStates
    """(steps, A) rows are the same road users all the time"""
    lights: Array
    """(steps, signals) LightState"""
    dt: float

    def steps_at(self, step: int) -> Array:
        """(T,) the steps at `MOMENTS` after ``step``, -1 where the drive is over."""
        steps = step + np.round(MOMENTS / self.dt).astype(np.int64)
        return np.where(steps < len(self.lights), steps, -1)


def apart_from(look: Look, plan: Trajectory) -> Array:
    """(P,) `likeness` of each proposal to a plan, `FAR_APART` where there is no proposal."""
    k = np.round(MOMENTS / plan.dt).astype(np.int64)
    _, s, d = look.window.project(plan.x[k], plan.y[k])
    proposals = look.proposals
    mine = proposals.at_moments(proposals.s), proposals.at_moments(proposals.d)
    apart = np.minimum(likeness(*mine, s, d), FAR_APART)
    return np.where(proposals.valid, apart, FAR_APART)


def terms_of(look: Look, step: int, happened: Happened, lines: tuple[Array, Array]) -> Array:
    """(P, TERMS) in [0, 1], 1 is best.

    Args:
        step: of the moment.
        lines: m along the route of lines under a light, and the signal of each.
    """
    proposals = look.proposals
    s, d, v, slope = (
        proposals.at_moments(q) for q in (proposals.s, proposals.d, proposals.v, proposals.slope)
    )
    pose = poses_of(look.window, s, d, slope)
    steps = happened.steps_at(step)
    hit, near = _meets(look, pose, v, steps, happened)
    limit = float(look.arrays["ego"][-1]) * LIMIT
    travelled = s[:, -1] - look.start.s
    terms = {
        "no collision": 1.0 - hit,
        "time to collision": 1.0 - near,
        "lights": 1.0 - _runs_red(look, s, steps, happened, lines),
        "progress": np.clip(travelled / max(limit * MOMENTS[-1], 5.0), 0.0, 1.0),
        "comfort": _comfort(look, s, v),
    }
    return np.stack([terms[name] for name in TERMS], axis=1)


def _meets(
    look: Look, pose: tuple[Array, Array, Array], v: Array, steps: Array, happened: Happened
) -> tuple[Array, Array]:
    """(P,) 1 where a box is met that is not behind, and where one would be within `TTC` s."""
    x, y, heading = pose
    vehicle, ego = look.ego.vehicle, look.ego
    hit, near = np.zeros(len(v)), np.zeros(len(v))
    t = np.flatnonzero(steps >= 0)
    if not len(t):
        return hit, near
    states = happened.agents
    at = steps[t]
    around = states.valid[at].any(0) & (
        np.hypot(states.x[at] - ego.x, states.y[at] - ego.y).min(0) < REACH
    )
    who = np.flatnonzero(around)
    if not len(who):
        return hit, near
    pick = np.ix_(at, who)

    def theirs(name: str) -> Array:
        return getattr(states, name)[pick].T[None]  # (1, A, T)

    forward = np.stack([np.cos(heading), np.sin(heading)])[:, :, None, t]
    there = states.valid[pick].T[None]
    for ahead, found in ((0.0, hit), (TTC, near)):
        reach = vehicle.centre_offset + v[:, None, t] * ahead
        gap_x = theirs("x") + theirs("vx") * ahead - (x[:, None, t] + reach * forward[0])
        gap_y = theirs("y") + theirs("vy") * ahead - (y[:, None, t] + reach * forward[1])
        gap = box_gap(
            gap_x, gap_y, heading[:, None, t], vehicle.length, vehicle.width,
            theirs("heading"), theirs("length"), theirs("width"),
        )  # fmt: skip
        place = (theirs("x") - x[:, None, t]) * forward[0]
        place = place + (theirs("y") - y[:, None, t]) * forward[1]
        behind = place - vehicle.centre_offset < (-0.4 * vehicle.length if ahead == 0.0 else 0.0)
        meets = (gap <= 0.0) & there
        # who comes from behind, or to an ego that stands, is at fault, whatever follows
        first = meets.argmax(axis=2)[..., None]
        mine = ~np.take_along_axis(behind, first, 2) & (
            np.take_along_axis(np.broadcast_to(v[:, None, t], gap.shape), first, 2) > STANDS
        )
        np.maximum(found, (meets.any(axis=2) & mine[..., 0]).any(axis=1), out=found)
    return hit, near


def _runs_red(
    look: Look, s: Array, steps: Array, happened: Happened, lines: tuple[Array, Array]
) -> Array:
    """(P,) 1 where the front comes over a line while its light is red."""
    place, signal = lines
    front = look.start.front - look.start.s
    runs = np.zeros(len(s))
    if not len(place):
        return runs
    before = np.concatenate([np.full((len(s), 1), look.start.s), s[:, :-1]], axis=1) + front
    after = s + front
    state = happened.lights[np.where(steps >= 0, steps, len(happened.lights) - 1)][:, signal]
    red = (state == LightState.RED) | (state == LightState.RED_YELLOW)  # (T, lines)
    over = (before[..., None] < place) & (after[..., None] >= place)
    return (over & red[None]).any(axis=(1, 2)).astype(float)


def _comfort(look: Look, s: Array, v: Array) -> Array:
    """(P,) 1 inside nuPlan's bounds, falling to 0 beyond."""
    p = look.proposals
    low, high, _ = BOUNDS["longitudinal acceleration"]
    excess = np.maximum(low - p.a, p.a - high).max(1)
    # over two steps: the tracking controller smooths what is shorter
    jerk = np.abs(p.a[:, 2:] - p.a[:, :-2]) / (2.0 * STEP)
    jerk = np.where(p.v[:, 2:] > 0.3, jerk, 0.0).max(1) - BOUNDS["longitudinal jerk"][1]
    curvature = np.interp(s, look.window.s, look.window.curvature) + p.at_moments(p.bend)
    aside = (v * v * np.abs(curvature)).max(1) - BOUNDS["lateral acceleration"][1]
    rough = np.maximum(np.maximum(excess, jerk / 2.0), aside)
    return np.where(rough > 0.0, np.clip(0.5 - 0.25 * rough, 0.0, 0.5), 1.0)
