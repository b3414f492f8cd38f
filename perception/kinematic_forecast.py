"""Forecasts that need no map: constant velocity, and constant turn rate that fades.

How such models compare is measured in Schoeller et al., "What the constant velocity model can teach
us about pedestrian motion prediction", RA-L 2020, and in the baselines of Argoverse.
"""

from __future__ import annotations

import numpy as np

from perception.forecast_spread import Spread
from perception.track_memory import STANDING, MotionHistory
from roadloop.errors import RoadloopError
from roadloop.geometry import wrap_angle
from roadloop.types import AgentStates, Forecasts, Observation, Scenario, Tracks

Array = np.ndarray

FADING = 1.5
"""s, time constant with which a turn rate fades: drivers come out of bends"""
SHARPEST = 1.0
"""rad/s, bound of the turn rate"""
SIDEWAYS = 4.0
"""m/s^2, bound of speed times turn rate"""

CONSTANT_VELOCITY_SPREAD = Spread(
    along=((0.17, 1.55), (0.4, 1.6), (0.52, 1.88)), across=((0.06, 1.64), (0.15, 1.6), (0.5, 1.7))
)
CONSTANT_TURN_RATE_SPREAD = Spread(
    along=((0.17, 1.55), (0.4, 1.6), (0.51, 1.88)), across=((0.05, 1.7), (0.15, 1.6), (0.32, 1.84))
)
"""fitted, but those of cyclists, of whom there were too few: see docs/prediction.md"""


def count_steps(horizon: float, dt: float) -> int:
    """Points of a forecast, that of now included; RoadloopError where there is none ahead."""
    if not (dt > 0.0 and np.isfinite(horizon) and horizon / dt >= 0.5):
        raise RoadloopError(
            f"forecast of {horizon} s in steps of {dt} s: expected a step above 0 s and a horizon "
            "of a step or more"
        )
    return round(horizon / dt) + 1


def finite(states: AgentStates, name: str) -> Array:
    """A field (tracks,) as float64 with 0 where a track is not valid."""
    return np.where(states.valid, getattr(states, name), 0.0).astype(np.float64)


def straight_on(states: AgentStates, steps: int, dt: float) -> tuple[Array, Array, Array]:
    """x, y, heading ``(tracks, steps)`` at constant velocity, facing as now."""
    t = np.arange(steps) * dt
    x = finite(states, "x")[:, None] + finite(states, "vx")[:, None] * t
    y = finite(states, "y")[:, None] + finite(states, "vy")[:, None] * t
    return x, y, np.repeat(finite(states, "heading")[:, None], steps, axis=1)


class ConstantVelocity:
    """A `Forecaster`: everybody goes on as now, facing as now; one mode."""

    def __init__(self, spread: Spread = CONSTANT_VELOCITY_SPREAD) -> None:
        self.spread = spread

    def reset(self, scenario: Scenario) -> None:
        """Nothing is remembered."""

    def forecast(
        self, observation: Observation, tracks: Tracks, horizon: float, dt: float
    ) -> Forecasts:
        """Futures of all tracks; raises RoadloopError for a horizon shorter than half a step."""
        steps = count_steps(horizon, dt)
        x, y, heading = straight_on(tracks.states, steps, dt)
        return _one_mode(x, y, heading, dt, self.spread.at(tracks, steps, dt))


class ConstantTurnRate:
    """A `Forecaster`: the speed of now along a bend that straightens with time; one mode.

    The turn rate is a running mean over the steps seen so far, within ``SHARPEST`` and what
    ``SIDEWAYS`` allows at the speed; ``fading`` s is its time constant, inf keeps it for ever.
    Standing road users stay.
    """

    def __init__(self, fading: float = FADING, spread: Spread = CONSTANT_TURN_RATE_SPREAD) -> None:
        if not fading > 0.0:
            raise RoadloopError(f"ConstantTurnRate fading is {fading}: expected s above 0")
        self.fading = fading
        self.spread = spread
        self._history = MotionHistory()

    def reset(self, scenario: Scenario) -> None:
        """Forget all tracks."""
        self._history = MotionHistory()

    def observe(self, observation: Observation, tracks: Tracks) -> None:
        """Remember a step without a forecast of it."""
        self._history.update(tracks.states, np.flatnonzero(tracks.states.valid), observation.time)

    def forecast(
        self, observation: Observation, tracks: Tracks, horizon: float, dt: float
    ) -> Forecasts:
        """Futures of all tracks; raises RoadloopError for a horizon shorter than half a step."""
        steps = count_steps(horizon, dt)
        states = tracks.states
        rows = np.flatnonzero(states.valid)
        rate = np.zeros(len(states.x))
        rate[rows] = self._history.update(states, rows, observation.time).turn_rate
        vx, vy = finite(states, "vx"), finite(states, "vy")
        speed = np.hypot(vx, vy)
        bound = np.minimum(SHARPEST, SIDEWAYS / np.maximum(speed, 0.1))
        rate = np.where(speed < STANDING, 0.0, np.clip(rate, -bound, bound))
        speed = np.where(speed < STANDING, 0.0, speed)
        t = np.arange(2 * steps - 1) * (dt / 2.0)  # with the middles, for Simpson's rule
        faded = t if np.isinf(self.fading) else -self.fading * np.expm1(-t / self.fading)
        turned = rate[:, None] * faded
        way = np.arctan2(vy, vx)[:, None] + turned
        path = []
        for along in (np.cos(way), np.sin(way)):
            area = (along[:, :-2:2] + 4.0 * along[:, 1::2] + along[:, 2::2]) * (dt / 6.0)
            path.append(np.concatenate([np.zeros((len(speed), 1)), area.cumsum(1)], axis=1))
        x = finite(states, "x")[:, None] + speed[:, None] * path[0]
        y = finite(states, "y")[:, None] + speed[:, None] * path[1]
        heading = wrap_angle(finite(states, "heading")[:, None] + turned[:, ::2])
        return _one_mode(x, y, heading, dt, self.spread.at(tracks, steps, dt))


def _one_mode(
    x: Array, y: Array, heading: Array, dt: float, spread: tuple[Array, Array]
) -> Forecasts:
    return Forecasts(
        x=x[:, None],
        y=y[:, None],
        heading=heading[:, None],
        probability=np.ones((len(x), 1)),
        dt=dt,
        along_std=spread[0][:, None],
        across_std=spread[1][:, None],
    )
