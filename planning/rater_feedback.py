"""Rater feedback score: how near a planned trajectory is to ones that people judged.

People rate a few trajectories of a scene from 0 to 10. A plan earns the label of a rated trajectory
while it stays in the trust region around it, and less the farther it is outside:

    label * 0.1 ** max(distance / limit - 1, 0)

judged at 3 s and 5 s. Definition and numbers: Waymo open data set 1.6.7, end-to-end driving
challenge 2025, ``metrics/python/rater_feedback_utils.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.types import Trajectory

Array = np.ndarray

RATE = 4
"""1/s, steps of a judged trajectory; the first is 0.25 s from now"""
STEPS = 20
"""5 s"""
JUDGED_AT = (3, 5)
"""s"""
LATERAL_LIMITS = (1.0, 1.8)
"""m at each judged time, at full speed (the limits of Waymo's motion challenge)"""
LONGITUDINAL_LIMITS = (4.0, 7.2)
"""m"""
RATED = 3
"""rated trajectories that count: further ones are ignored"""
DECAY = 0.1
"""what is left of a label one limit outside the trust region"""
FLOOR = 4.0
"""least score of a trajectory outside every trust region"""


@dataclass(frozen=True)
class RaterFeedback:
    """The score of one scene and what it is made of."""

    score: float
    """0 to 10: mean of ``scores``, weighted by probability"""
    scores: Array
    """(trajectories,)"""
    trusted: Array
    """(trajectories,) bool: within one rated trajectory's region at both judged times"""


def speed_scale(initial_speed: Array | float) -> Array:
    """Share of the limits that counts at a speed (m/s): 0.5 below 1.4, 1.0 above 11, linear."""
    share = (np.asarray(initial_speed, np.float64) - 1.4) / (11.0 - 1.4)
    return np.clip(0.5 + 0.5 * share, 0.5, 1.0)


def directions(trajectories: Array) -> Array:
    """Unit direction of travel into every step of ``(..., steps, 2)`` that start at the origin.

    A step without movement keeps the direction before it, at first straight ahead ``(1, 0)``.
    """
    before = np.concatenate([np.zeros_like(trajectories[..., :1, :]), trajectories], axis=-2)
    delta = np.diff(before, axis=-2)
    length = np.linalg.norm(delta, axis=-1)
    moved = np.where(length > 0.0, np.arange(length.shape[-1]), -1)
    last = np.maximum.accumulate(moved, axis=-1)[..., None]
    unit = delta / np.where(length > 0.0, length, 1.0)[..., None]
    carried = np.take_along_axis(unit, np.maximum(last, 0), axis=-2)
    return np.where(last >= 0, carried, np.array([1.0, 0.0]))


def rater_feedback(
    trajectories: Array,
    probability: Array,
    rated: Sequence[Array],
    labels: Array,
    initial_speed: float,
) -> RaterFeedback:
    """The rater feedback score of one scene.

    ``trajectories`` ``(trajectories, 20, 2)`` are the plan's positions in m at 0.25, 0.5 ... 5 s in
    the frame of the vehicle now (x forward, y left); ``probability`` ``(trajectories,)`` weighs
    them. ``rated`` are the judged trajectories ``(steps, 2)`` of the same steps and frame (cut at
    20 steps; a shorter one stays where it ends), ``labels`` their 0 to 10; only the first three
    count. ``initial_speed`` is m/s. RoadloopError where shapes do not fit, a number is not finite
    or there is no rated trajectory.
    """
    plans = np.asarray(trajectories, np.float64)
    weight = np.asarray(probability, np.float64)
    labels = np.asarray(labels, np.float64)
    if plans.ndim != 3 or plans.shape[1:] != (STEPS, 2) or weight.shape != plans.shape[:1]:
        raise RoadloopError(
            f"trajectories of shape {plans.shape} with probabilities of shape {weight.shape}: "
            f"expected (trajectories, {STEPS}, 2) and (trajectories,)"
        )
    if not len(plans):
        raise RoadloopError("no trajectory to judge: give at least one plan")
    if not len(rated) or labels.shape != (len(rated),):
        raise RoadloopError(
            f"{len(rated)} rated trajectories with labels of shape {labels.shape}: "
            "expected at least one trajectory and a label for each"
        )
    for name, value in (("trajectories", plans), ("probability", weight), ("labels", labels)):
        if not np.isfinite(value).all():
            where = tuple(np.argwhere(~np.isfinite(value))[0].tolist())
            raise RoadloopError(f"{name} is not a finite number at index {where}")
    if not np.isfinite(initial_speed):
        raise RoadloopError(f"initial_speed is {initial_speed}: expected m/s")
    references = np.stack([_fitted(path, i) for i, path in enumerate(rated[:RATED])])
    labels = labels[:RATED]

    steps = np.array(JUDGED_AT) * RATE - 1
    ahead = directions(references)[:, None, steps]  # (rated, 1, times, 2)
    left = np.stack([-ahead[..., 1], ahead[..., 0]], axis=-1)
    offset = plans[None, :, steps] - references[:, None, steps]
    scale = speed_scale(initial_speed)
    lateral = np.abs((offset * left).sum(-1)) / (scale * np.array(LATERAL_LIMITS))
    longitudinal = np.abs((offset * ahead).sum(-1)) / (scale * np.array(LONGITUDINAL_LIMITS))
    ratio = np.maximum(lateral, longitudinal)  # (rated, trajectories, times)

    trusted = (ratio <= 1.0).all(-1).any(0)
    earned = labels[:, None, None] * DECAY ** np.maximum(ratio - 1.0, 0.0)
    scores = earned.max(0).mean(-1)
    scores = np.where(trusted, scores, np.maximum(scores, FLOOR))
    return RaterFeedback(score=float((scores * weight).sum()), scores=scores, trusted=trusted)


def _fitted(path: Array, index: int) -> Array:
    """One rated trajectory with the judged number of steps."""
    path = np.asarray(path, np.float64)
    if path.ndim != 2 or path.shape[1] != 2 or not len(path) or not np.isfinite(path).all():
        raise RoadloopError(
            f"rated trajectory {index} of shape {path.shape}: expected finite (steps, 2)"
        )
    return path[np.minimum(np.arange(STEPS), len(path) - 1)]


def waypoints(plan: Trajectory) -> Array:
    """The judged positions of a plan: ``(..., time)`` -> ``(..., 20, 2)``.

    In the frame of the plan's first pose, linear between its poses. RoadloopError when the plan
    ends before 5 s.
    """
    ends = (plan.x.shape[-1] - 1) * plan.dt
    wanted = np.arange(1, STEPS + 1) / RATE
    if ends < wanted[-1] - 1e-9:
        raise RoadloopError(
            f"the plan ends after {ends:g} s: the rater feedback score needs {wanted[-1]:g} s"
        )
    at = np.minimum(wanted / plan.dt, plan.x.shape[-1] - 1)
    lower = np.minimum(np.floor(at).astype(int), plan.x.shape[-1] - 2)
    share = at - lower
    dx, dy = plan.x - plan.x[..., :1], plan.y - plan.y[..., :1]
    dx = dx[..., lower] + share * (dx[..., lower + 1] - dx[..., lower])
    dy = dy[..., lower] + share * (dy[..., lower + 1] - dy[..., lower])
    cos, sin = np.cos(plan.heading[..., :1]), np.sin(plan.heading[..., :1])
    return np.stack([cos * dx + sin * dy, cos * dy - sin * dx], axis=-1)
