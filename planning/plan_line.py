"""A plan's path by the way along it, worked out once for all that the guard asks of it."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from roadloop.types import Trajectory

Array = np.ndarray

CHORD = 1.5
"""m over which curvature is taken: shorter ones see the rounding of maps and of lane changes"""
STANDS = 1e-3
"""m between two points below which their headings turn without a way"""


class PlanLine:
    """The path of a plan whose form is sound; ``(points,)``.

    Attributes:
        plan: itself.
        dx, dy, step: m from each point to the next, ``(points - 1,)``.
        travelled: m up to each point.
    """

    def __init__(self, plan: Trajectory) -> None:
        self.plan = plan
        self.dx, self.dy = plan.x[1:] - plan.x[:-1], plan.y[1:] - plan.y[:-1]
        self.step = np.hypot(self.dx, self.dy)
        self.travelled = summed(self.step)

    @cached_property
    def moving(self) -> Array:
        """Rows of the points that lie ahead of the one before; the first one is among them."""
        return np.append(0, np.flatnonzero(self.step > STANDS) + 1)

    @cached_property
    def heading(self) -> Array:
        """rad at the points that are ``moving``, without jumps by a whole turn."""
        return unwrapped(self.plan.heading[self.moving])

    @cached_property
    def curvature(self) -> tuple[Array, Array]:
        """m along the plan, every `CHORD`, and its mean curvature there (1/m, left positive).

        Both ``(n,)``. A plan that stands has one place and no curvature.
        """
        count = int(self.travelled[-1] / CHORD)
        s = np.arange(count + 1) * CHORD
        if count == 0:
            return s, np.zeros(1)
        heading = np.interp(s, self.travelled[self.moving], self.heading)
        return s[:-1] + CHORD / 2.0, (heading[1:] - heading[:-1]) / CHORD


def summed(steps: Array) -> Array:
    """0, then the sum of the steps up to and including each."""
    sums = np.zeros(len(steps) + 1)
    np.cumsum(steps, out=sums[1:])
    return sums


def unwrapped(heading: Array) -> Array:
    """As np.unwrap, which takes long where there is nothing to do."""
    if len(heading) < 2 or np.abs(heading[1:] - heading[:-1]).max() < np.pi:
        return heading
    return np.unwrap(heading)
