"""How late and how slowly a car answers, found in the log of a drive.

An actuator is taken for a pure delay d, a first-order lag tau, a gain K and an offset b::

    tau y'(t) + y(t) = K u(t - d) + b

with the command u held between the steps of the log, so that the measured y at the steps follows
exactly, for delays between the steps as well: over a step of dt with d = (n + f) dt, 0 <= f < 1,
the command before the last n steps acts for f dt, the one after it for the rest.

Given d and tau the response is linear in K, b and the state each stretch of the log begins with, so
these are a least-squares problem of their own (variable projection: Golub and Pereyra 1973, "The
differentiation of pseudo-inverses and nonlinear least squares problems whose variables separate").
d and tau are searched on a grid and then between its points. The whole response is compared, not
the step from one measurement to the next: noise in the measurements then makes the estimates
uncertain, but does not pull the lag towards 0 (L. Ljung, System Identification, 2nd ed.,
section 7.3: output error against equation error).

Steps at which the actuator does something else are left out: at the limit of its rate, and while
the car stands. What a command is delayed by *before* it is logged cannot be seen in the log.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.types import Rollout

Array = np.ndarray

LEVEL = 0.95
"""probability that an interval holds the truth"""
LONGEST_DELAY = 1.0
"""s looked for"""
LAGS = (0.01, 2.0)
"""s, shortest and longest looked for"""
STEPS_OF_DELAY, POINTS_OF_LAG = 2, 12
"""points of the grid: per step of the log, and altogether"""
SHORTEST_STRETCH = 5
"""steps in a row that are worth an initial state of their own"""
LEAST_SAMPLES = 30
LEAST_SHARE = 0.5
"""of the variance that a response must explain"""
MOVING_SPEED = 0.5
"""m/s; brakes hold a slower car, whatever they are told"""
AT_THE_LIMIT = 0.98
"""of the greatest rate or value, where an actuator is at its limit"""
FINEST = 1e-4
"""s to which the delay is searched"""


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval that holds the true value with probability `LEVEL`."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ActuatorFit:
    """What was found about one actuator."""

    delay: Interval
    """s"""
    lag: Interval
    """s, time constant"""
    gain: Interval
    """measured per commanded, once it has settled"""
    offset: float
    """measured where 0 is commanded: rad or m/s^2"""
    residual: float
    """root mean square of what is left unexplained: rad or m/s^2"""
    samples: int


@dataclass(frozen=True)
class Identified:
    """Both actuators; None where the log does not tell, and ``reasons`` says why."""

    steering: ActuatorFit | None
    acceleration: ActuatorFit | None
    reasons: dict[str, str] = field(default_factory=dict)


def identify_actuators(rollout: Rollout, longest_delay: float = LONGEST_DELAY) -> Identified:
    """Delay, lag and gain of steering and of drive train with brakes, from one drive.

    Raises RoadloopError where the log tells of neither.
    """
    ego, car, dt = rollout.ego, rollout.ego.vehicle, rollout.dt
    steering = np.asarray(ego.steering, float)
    turning = np.abs(np.diff(steering)) / dt
    wheels_free = turning < AT_THE_LIMIT * car.max_steering_rate
    moving = np.asarray(ego.speed, float) > MOVING_SPEED
    channels = {
        "steering": (
            np.clip(rollout.control.steering, -car.max_steering, car.max_steering),
            steering,
            wheels_free,
        ),
        "acceleration": (
            np.clip(rollout.control.acceleration, -car.max_deceleration, car.max_acceleration),
            np.asarray(ego.acceleration, float),
            moving[1:] & moving[:-1],
        ),
    }
    fits: dict[str, ActuatorFit | None] = {}
    reasons: dict[str, str] = {}
    for name, (command, measured, usable) in channels.items():
        fits[name] = None
        try:
            fits[name] = fit_actuator(command, measured, dt, usable, longest_delay)
        except RoadloopError as error:
            reasons[name] = str(error)
    if not any(fits.values()):
        raise RoadloopError(
            f"{rollout.scenario}: no actuator can be told; steering: {reasons['steering']}; "
            f"acceleration: {reasons['acceleration']}"
        )
    return Identified(fits["steering"], fits["acceleration"], reasons)


def fit_actuator(
    command: Array,
    measured: Array,
    dt: float,
    usable: Array | None = None,
    longest_delay: float = LONGEST_DELAY,
) -> ActuatorFit:
    """The delayed lag that makes ``measured`` of ``command``.

    Args:
        command: ``(time,)``, each in force until the next.
        measured: ``(time,)``, of the same unit, at the moment the command is given.
        dt: s between them.
        usable: ``(time - 1,)`` steps in which the actuator was free to follow; None: all.
        longest_delay: s looked for.

    Raises:
        RoadloopError: too few usable steps, a command that hardly changes, or a measurement that
            does not follow it.
    """
    problem = _Problem(command, measured, dt, usable, longest_delay)
    delay, lag = problem.search(longest_delay)
    residual, gain, offset = problem.solve(delay, lag)
    rss, free = float(residual @ residual), problem.samples - problem.parameters
    explained = 1.0 - rss / problem.variation
    if explained < LEAST_SHARE:
        raise RoadloopError(
            f"the measurement does not follow the command (explained: {100 * explained:.0f} % of "
            "its variance)"
        )
    spreads = _spreads(problem, delay, lag, gain, offset)
    # neighbours that err alike are worth fewer samples
    alike = float(residual[1:] @ residual[:-1]) / max(rss, 1e-300)
    alike = min(max(alike, 0.0), 0.99)
    wider = math.sqrt((1.0 + alike) / (1.0 - alike)) * _quantile(free)
    d, t, k = (wider * math.sqrt(rss / free) * spread for spread in spreads)
    shrink = math.exp(min(t, 50.0))  # the lag was searched by its logarithm
    return ActuatorFit(
        delay=Interval(delay, max(delay - d - FINEST, 0.0), delay + d + FINEST),
        lag=Interval(lag, lag / shrink, lag * shrink),
        gain=Interval(gain, gain - k, gain + k),
        offset=offset,
        residual=math.sqrt(rss / free),
        samples=problem.samples,
    )


class _Problem:
    """The measurements of one actuator, and how well a delayed lag explains them."""

    def __init__(
        self,
        command: Array,
        measured: Array,
        dt: float,
        usable: Array | None,
        longest_delay: float,
    ) -> None:
        command, measured = np.asarray(command, float), np.asarray(measured, float)
        if command.ndim != 1 or command.shape != measured.shape:
            raise RoadloopError(
                f"command has shape {command.shape}, measurement {measured.shape}: give one of "
                "each per step"
            )
        if not (np.isfinite(command).all() and np.isfinite(measured).all()):
            raise RoadloopError("command or measurement is not finite everywhere: mend the log")
        free = np.ones(len(command) - 1, bool) if usable is None else usable.copy()
        # before the log nothing is known; the same samples are compared for every delay
        free[: math.ceil(longest_delay / dt) + 1] = False
        edges = np.flatnonzero(np.diff(np.concatenate([[False], free, [False]])))
        self._stretches = [
            (int(a), int(b) + 1)
            for a, b in zip(edges[::2], edges[1::2])
            if b - a >= SHORTEST_STRETCH
        ]
        self._dt, self._command = dt, command
        self._measured = [measured[a:b] for a, b in self._stretches]
        self.samples = sum(map(len, self._measured))
        self.parameters = 4 + len(self._stretches)
        if self.samples - self.parameters < LEAST_SAMPLES:
            raise RoadloopError(
                f"{self.samples} usable samples: too few; drive longer, without standing or "
                "turning the wheels as fast as they go"
            )
        used = np.concatenate([command[a:b] for a, b in self._stretches])
        together = np.concatenate(self._measured)
        self.variation = float(((together - together.mean()) ** 2).sum())
        if np.ptp(used) < 1e-3 or self.variation <= 0.0:
            raise RoadloopError("the command hardly changes: drive bends, and brake and accelerate")

    def solve(self, delay: float, lag: float) -> tuple[Array, float, float]:
        """The residual ``(samples,)`` of the best gain and offset, and these."""
        measured, response, constant = self.columns(delay, lag)
        a, b, c = response @ response, response @ constant, constant @ constant
        right = response @ measured, constant @ measured
        determinant = max(a * c - b * b, 1e-12 * a * c, 1e-300)
        gain = float((c * right[0] - b * right[1]) / determinant)
        offset = float((a * right[1] - b * right[0]) / determinant)
        return measured - gain * response - offset * constant, gain, offset

    def search(self, longest_delay: float) -> tuple[float, float]:
        """The delay and the lag (s) that leave the least residual."""
        from scipy.optimize import minimize_scalar

        low, high = (math.log(lag) for lag in LAGS)
        lags = np.linspace(low, high, POINTS_OF_LAG)
        count = math.ceil(longest_delay / self._dt * STEPS_OF_DELAY) + 1
        delays = np.arange(count) * self._dt / STEPS_OF_DELAY
        left = [[self._left(d, t) for t in lags] for d in delays]
        row, column = np.unravel_index(int(np.argmin(left)), (count, len(lags)))

        def best_lag(delay: float) -> tuple[float, float]:
            near = lags[max(column - 2, 0)], lags[min(column + 2, len(lags) - 1)]
            found: Any = minimize_scalar(
                lambda t: self._left(delay, t),
                bounds=near,
                method="bounded",
                options={"xatol": 1e-5},
            )
            return float(found.fun), float(found.x)

        step = self._dt / STEPS_OF_DELAY
        near = max(delays[row] - 2 * step, 0.0), min(delays[row] + 2 * step, longest_delay)
        found: Any = minimize_scalar(
            lambda d: best_lag(d)[0], bounds=near, method="bounded", options={"xatol": FINEST}
        )
        # between two steps of the log the residual bends, at a step it has a corner
        tried = [float(found.x), self._dt * round(float(found.x) / self._dt)]
        delay = min(tried, key=lambda d: best_lag(d)[0])
        return delay, math.exp(best_lag(delay)[1])

    def _left(self, delay: float, log_lag: float) -> float:
        residual = self.solve(delay, math.exp(log_lag))[0]
        return float(residual @ residual)

    def columns(self, delay: float, lag: float) -> tuple[Array, Array, Array]:
        """Measurement, unit response and constant, without what the initial states explain."""
        from scipy.signal import lfilter

        kept = math.exp(-self._dt / lag)
        whole = math.floor(delay / self._dt + 1e-9)
        fraction = max(delay / self._dt - whole, 0.0)
        newer = 1.0 - math.exp(-(1.0 - fraction) * self._dt / lag)
        columns: tuple[list[Array], ...] = ([], [], [])
        for (a, b), measured in zip(self._stretches, self._measured):
            u = self._command[a - whole - 1 : b - whole - 1]  # one before each step's own
            drive = newer * u[1:] + (1.0 - kept - newer) * u[:-1]
            response = np.append(0.0, lfilter([1.0], [1.0, -kept], drive))
            decay = kept ** np.arange(b - a)
            share = 1.0 / (decay @ decay)
            for column, values in zip(columns, (measured, response, 1.0 - decay)):
                column.append(values - (share * (decay @ values)) * decay)
        measured, response, constant = (np.concatenate(c) for c in columns)
        return measured, response, constant


def _spreads(
    problem: _Problem, delay: float, lag: float, gain: float, offset: float
) -> tuple[float, float, float]:
    """Standard deviations of delay, log lag and gain where the residual's is 1.

    From the slopes of the response, by differences. A delay has a slope to each side, and they
    differ at whole steps: the flatter one counts.
    """
    step = 1e-3

    def explained(delay: float, lag: float) -> Array:
        measured, response, constant = problem.columns(delay, lag)
        return gain * response + offset * constant - measured

    here = explained(delay, lag)
    slopes = [explained(delay + step, lag) - here]
    if delay >= step:
        slopes.append(here - explained(delay - step, lag))
    by_delay = min(slopes, key=lambda slope: float(slope @ slope)) / step
    by_lag = (explained(delay, lag * math.exp(step)) - here) / step
    _, response, constant = problem.columns(delay, lag)
    jacobian = np.stack([by_delay, by_lag, response, constant], axis=1)
    size = np.sqrt((jacobian**2).sum(0)) + 1e-12
    normal = (jacobian / size).T @ (jacobian / size) + 1e-12 * np.eye(4)
    spread = np.sqrt(np.diag(np.linalg.inv(normal))) / size
    return float(spread[0]), float(spread[1]), float(spread[2])


def _quantile(free: int) -> float:
    """Half width, in standard deviations, of the interval with ``free`` degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(free, 0.5 + LEVEL / 2.0))
