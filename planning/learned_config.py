"""What the learned planner's network is given and gives: its sizes, names and shapes, in one place.

Everything is in the ego frame (rear axle, x ahead, y to the left) or along the route, so that it
makes no difference where in the world a scene is. Where traffic keeps left, left and right are
exchanged: the network knows only one side of the road.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.types import AgentKind, LightState

MOMENTS = 0.5 * np.arange(1, 9)
"""s from now at which proposals and futures are shown to the network and held against each other"""
ACCELERATIONS = (-7.0, -3.7, -2.6, -1.6, -0.8, 0.0, 0.7, 1.3, 1.9)
"""m/s^2 that are proposed"""
OFFSETS = (0.0, -0.8, 0.8, 1.6, 2.4, 3.2)
"""m to the left of the lane's middle, the way around things"""
CHANGE = len(OFFSETS)
"""the sideways option that changes lane as the route does"""
SIDEWAYS = len(OFFSETS) + 1
STOPS = 5
"""places to stop that are proposed beside: four along the route, and behind somebody ahead"""
PROPOSALS = SIDEWAYS * len(ACCELERATIONS) + STOPS
MARKS = ("stop line", "crosswalk", "junction", "lane change", "goal")
"""what lies across the route"""
POINTS, GROUP, SPACING = 24, 4, 4.0
"""samples of the route shown, how many make one token, and m between them"""
PAST = (0.5, 1.0, 1.5)
"""s ago at which agents are shown beside now"""
TERMS = ("no collision", "time to collision", "lights", "progress", "comfort")
"""what is learnt of each proposal beside how like the teacher's plan it is; 1 is best"""

EGO, MOTION = 8, 5
"""features of the ego, and how many of them, the first ones, say how it moves"""
ROUTE = 9
MARK = len(MARKS) + len(LightState) + 9
AGENT = len(AgentKind) + 12 + 2 * len(PAST)
PROPOSAL = SIDEWAYS + 11


@dataclass(frozen=True)
class PlannerConfig:
    """The network's size. Defaults: the compact planner."""

    width: int = 64
    """of a token"""
    heads: int = 4
    layers: int = 2
    pair: int = 32
    """width of what a proposal makes of somebody it may meet"""
    agents: int = 24
    """futures of other road users looked at: several of one who may go several ways"""
    marks: int = 12
    """places along the route looked at"""

    def __post_init__(self) -> None:
        for name in ("width", "heads", "layers", "pair", "agents", "marks"):
            if getattr(self, name) < 1:
                raise RoadloopError(f"{name} is {getattr(self, name)}: it must be 1 or more")
        if self.width % self.heads:
            raise RoadloopError(f"width {self.width} is no multiple of heads {self.heads}")

    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the network's inputs, float32, without the batch axis; T `MOMENTS`.

        ``*_valid`` are 0 or 1; rows that are not valid are 0.

        - ``ego`` (EGO,): speed, acceleration, steering and such
        - ``route`` (POINTS, ROUTE): the line ahead with its limits
        - ``marks`` (M, MARK) and ``mark_at`` (M, 2): what lies across the route; m from the rear
          axle along it to its beginning and end
        - ``agents`` (A, AGENT) and ``futures`` (A, T, 5): who is around; x, y, heading (ego frame,
          m and rad), length and width of its box
        - ``proposals`` (P, PROPOSAL) and ``poses`` (P, T, 5): each proposal; x, y, heading of the
          rear axle (ego frame), m along the route, m/s
        - ``body`` (3,): m from the rear axle to the box's middle, half its length, half its width
        """
        a, m, p, t = self.agents, self.marks, PROPOSALS, len(MOMENTS)
        return {
            "ego": (EGO,),
            "route": (POINTS, ROUTE),
            "marks": (m, MARK),
            "mark_at": (m, 2),
            "mark_valid": (m,),
            "agents": (a, AGENT),
            "futures": (a, t, 5),
            "agent_valid": (a,),
            "proposals": (p, PROPOSAL),
            "poses": (p, t, 5),
            "proposal_valid": (p,),
            "body": (3,),
        }

    @staticmethod
    def outputs() -> dict[str, tuple[int, ...]]:
        """``logit`` (P,): softmax gives how probably the teacher would drive so; ``terms``
        (P, TERMS): logits of each."""
        return {"logit": (PROPOSALS,), "terms": (PROPOSALS, len(TERMS))}
