"""Road users that are not there: clutter that a detector takes for one, standing for a while."""

from __future__ import annotations

import numpy as np

from perception.noise_config import NoiseConfig
from roadloop.geometry import wrap_angle
from roadloop.types import AgentKind, AgentStates, Observation, Tracks

FIRST_ID = 10**15
"""ids of false positives count up from here, above all others"""
NEAREST, FARTHEST = 6.0, 60.0
"""m from the ego's rear axle between which they appear"""
LANE_STD = 1.5
"""m to either side of straight ahead, for those on the road ahead"""
# What clutter is taken for, how often, and its length, width, height in m. Our judgement.
KINDS = (AgentKind.CAR, AgentKind.PEDESTRIAN, AgentKind.STATIC, AgentKind.CYCLIST)
SHARES = (0.4, 0.3, 0.2, 0.1)
SIZES = ((4.5, 1.8, 1.5), (0.6, 0.6, 1.75), (1.0, 1.0, 1.0), (1.8, 0.6, 1.75))

_NUMBERS = ("x", "y", "z", "heading", "length", "width", "height")
_PHANTOM = np.dtype(
    [(name, np.float64) for name in (*_NUMBERS, "end")]
    + [("id", np.int64), ("kind", np.uint8), ("born", np.int64)]
)


class FalsePositives:
    """A Poisson process of standing phantoms around the ego, drawn from ``rng`` alone.

    Births are moments in time, so that the rate does not depend on how often it is asked.
    """

    def __init__(self, config: NoiseConfig, max_range: float, rng: np.random.Generator) -> None:
        self._config = config
        self._farthest = min(FARTHEST, max_range)
        self._rng = rng
        self._count = 0
        self._there = np.zeros(0, _PHANTOM)
        self._next = self._wait(0.0)

    def tracks(self, observation: Observation) -> Tracks:
        """Those there at this moment, ``(tracks,)``; each is handed on at least once."""
        there = self._there[self._there["end"] >= observation.time]
        while self._next <= observation.time:
            there = np.append(there, self._appear(observation))
            self._next = self._wait(self._next)
        self._there = there
        ego, config = observation.ego, self._config
        still = np.zeros(len(there))
        states = AgentStates(
            id=there["id"].copy(),
            kind=there["kind"].copy(),
            vx=still,
            vy=still.copy(),
            valid=np.ones(len(there), bool),
            **{name: there[name].copy() for name in _NUMBERS},
        )
        distance = np.hypot(states.x - ego.x, states.y - ego.y)
        along = config.along_std + config.along_std_per_m * distance
        across = config.across_std + config.across_std_per_m * distance
        position_std = np.sqrt((along**2 + across**2) / 2.0)
        return Tracks(states, position_std, observation.step - there["born"])

    def _wait(self, since: float) -> float:
        """s of the birth after one at ``since``."""
        rate = self._config.false_positive_rate
        return since + self._rng.exponential(1.0 / rate) if rate > 0.0 else np.inf

    def _appear(self, observation: Observation) -> np.ndarray:
        """One new phantom, ``(1,)``; the same number of draws whatever it becomes."""
        config, rng, ego = self._config, self._rng, observation.ego
        lifetime = rng.exponential() * config.false_positive_lifetime
        which = rng.choice(len(KINDS), p=SHARES)
        ahead = rng.random() < config.false_positive_ahead
        distance = rng.uniform(min(NEAREST, self._farthest), self._farthest)
        bearing = rng.uniform(-1.0, 1.0) * (np.pi - config.blind_angle / 2.0)
        side, turn = rng.standard_normal() * LANE_STD, rng.uniform(-np.pi, np.pi)
        size = np.array(SIZES[which]) * np.exp(config.size_std * rng.standard_normal(3))
        if ahead:
            forward, left, turn = distance, side, 0.0
        else:
            forward, left = distance * np.cos(bearing), distance * np.sin(bearing)
        c, s = np.cos(ego.heading), np.sin(ego.heading)
        phantom = np.zeros(1, _PHANTOM)
        phantom["x"] = ego.x + c * forward - s * left
        phantom["y"] = ego.y + s * forward + c * left
        phantom["z"] = ego.z
        phantom["heading"] = wrap_angle(ego.heading + turn)
        phantom["length"], phantom["width"], phantom["height"] = size
        phantom["end"] = self._next + lifetime
        phantom["id"], phantom["kind"] = FIRST_ID + self._count, KINDS[which]
        phantom["born"] = observation.step
        self._count += 1
        return phantom
