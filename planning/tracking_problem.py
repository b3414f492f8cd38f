"""The optimisation behind `planning.mpc`: a quadratic programme, set up once, updated every step.

Over N steps of ``STEP`` seconds, from the moment a command takes hold. Beside the plan's path the
car has a lateral error e (m), a heading error psi (rad) and wheels at delta (rad); along it a
progress p (m), a speed v and an acceleration a. With h the way driven in a step, theta the path's
heading, and curvature linearised about the steering delta_r that the path asks for,
kappa(delta) = kappa_r + g (delta - delta_r)::

    e'     = e + h (psi + psi') / 2                        (mean over the step, as for all below)
    psi'   = psi + h kappa((delta + delta') / 2) - (theta' - theta)
    delta' = delta + (u - delta) (1 - exp(-STEP / steering_lag))
    p'     = p + STEP (v + v') / 2
    v'     = v + STEP (a + a') / 2
    a'     = a + (w - a) (1 - exp(-STEP / acceleration_lag))

u and w are the commands. The cost is the squared errors of e, v psi, p, v, and of the change of the
commands against that of the reference. The limits are on commands only: what follows them with a
first-order lag keeps any limit on value and rate that they keep, and a command that keeps them all
always exists (whoever makes the `Limits` sees to it): the programme cannot be infeasible. The
friction circle is an octagon inside it.

The states are linear in the commands and eliminated: 40 variables and 120 rows. Variables and rows
are written in units in which they are about 1 (`STEERING_UNIT`, `GRIP_UNIT`) instead of OSQP
scaling them anew at every step.

The speed of the linearisation is that of the plan, so the lateral and the longitudinal half meet
only in the octagon. Linear time-varying MPC after Falcone et al. 2007, "Predictive active steering
control for autonomous vehicle systems"; solved by OSQP (Stellato et al. 2020, Apache-2.0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.types import VehicleParameters

Array = np.ndarray

STEPS = 20
STEP = 0.1
"""s"""
STATES = 6
COMMANDS = 2
U, W = range(COMMANDS)
LIMITS = 6
"""rows of limits per step: change and value of both commands, two sides of the octagon"""
TIMES = STEP * np.arange(1, STEPS + 1)
SUM = np.tril(np.ones((STEPS, STEPS)))
MEAN = (np.eye(STEPS) + np.eye(STEPS, k=-1)) / 2.0
CHANGE = np.eye(STEPS) - np.eye(STEPS, k=-1)
UPPER = np.tril_indices(STEPS)[::-1]
"""rows and columns of an upper half, column by column"""
UPPER_FLAT = UPPER[0] * STEPS + UPPER[1]
CORNER = len(UPPER[0])
LAST = np.array([STEPS - 1, 2 * STEPS - 1])
"""rows of the errors at the horizon's end"""
DIAGONAL = np.flatnonzero(UPPER[0] == UPPER[1])
ABOVE = np.flatnonzero(UPPER[0] == UPPER[1] - 1)
OCTAGON = math.cos(math.pi / 8.0)
"""radius of the circle inside an octagon against that around it"""
STEERING_UNIT = 0.05
"""rad, of the variables"""
GRIP_UNIT = 5.0
"""m/s^2, of the octagon's rows"""
TOLERANCE = 1e-3
"""of OSQP, absolute and relative, in those units"""
MOST_ITERATIONS = 400
SOLVED = 1
"""OSQP's status"""


@dataclass(frozen=True)
class TrackingWeights:
    """What an error costs against 1 m of lateral error; each is squared with its error."""

    sideways: float = 0.6
    """s, of the speed across the path v psi"""
    end: float = 2.0
    """of lateral error and sideways speed at the horizon, for what comes after it"""
    curvature_rate: float = 0.5
    """m^2 s, of the curvature's rate against the plan's ..."""
    lateral_jerk: float = 0.04
    """s^3, ... and of the lateral jerk it means at speed"""
    progress: float = 0.6
    """of a metre ahead of the plan or behind"""
    speed: float = 1.0
    """s, of the error in speed"""
    jerk: float = 0.15
    """s^3, of the change of the acceleration command ..."""
    emergency_jerk: float = 0.05
    """s^3, ... and in an emergency"""


class Reference(NamedTuple):
    """What is to be tracked; arrays ``(STEPS,)`` unless said otherwise."""

    travel: Array
    """m driven in each step, by the plan's speed"""
    turn: Array
    """rad the path turns in each step"""
    steering: Array
    """rad, delta_r in the middle of each step"""
    curvature: Array
    """1/m, kappa_r"""
    slope: Array
    """1/m, g: d curvature / d steering"""
    steering_change: Array
    """rad from each command to the next that follow the path; the first against the last sent"""
    elapsed: float
    """s from the middle of the last command sent to that of the first one here"""
    progress: Array
    """m at the end of each step"""
    speed: Array
    """m/s at the end of each step"""


class Limits(NamedTuple):
    """Bounds of the commands; arrays ``(STEPS,)``."""

    steering: Array
    """rad, of the magnitude"""
    steering_change: Array
    """rad, of the magnitude from each command to the next"""
    acceleration: tuple[Array, Array]
    """m/s^2, low and high"""
    acceleration_change: tuple[Array, Array]
    """m/s^2, low and high"""
    grip: Array
    """m/s^2, of |acceleration| + |lateral acceleration|"""
    emergency: bool
    """the change of the acceleration then costs little"""


class TrackingProblem:
    """The programme for one vehicle and one set of weights; solutions start from the last one."""

    def __init__(self, vehicle: VehicleParameters, weights: TrackingWeights) -> None:
        try:
            import osqp
        except ModuleNotFoundError as error:
            raise RoadloopError(
                'the MPC needs osqp: pip install "roadloop[mpc]", or take another controller'
            ) from error
        from scipy import sparse

        self.vehicle, self.weights = vehicle, weights
        # what each command adds to the states (matrices), and what becomes of the start (vectors)
        self._delta, self._delta_free = _lagging(vehicle.steering_lag)
        self._delta_middle = _mean(self._delta)
        self._delta_middle_free = _mean(self._delta_free, start=1.0)
        self._a, self._a_free = _lagging(vehicle.acceleration_lag)
        self._v = STEP * np.cumsum(_mean(self._a), axis=0)
        self._v_free = STEP * np.cumsum(_mean(self._a_free, start=1.0))
        self._p = STEP * np.cumsum(_mean(self._v), axis=0)
        self._p_free = STEP * np.cumsum(_mean(self._v_free))
        along = weights.progress**2 * self._p.T @ self._p + weights.speed**2 * self._v.T @ self._v
        self._along = {
            emergency: (along + self._jerk_rate(emergency) * CHANGE.T @ CHANGE)[UPPER]
            for emergency in (False, True)
        }

        size = COMMANDS * STEPS
        starts = np.concatenate([[0], np.cumsum(np.arange(STEPS) + 1)])
        starts = np.concatenate([starts, CORNER + starts[1:]])
        rows = np.concatenate([UPPER[0], UPPER[0] + STEPS])
        self._cost = sparse.csc_matrix((np.ones(2 * CORNER), rows, starts), shape=(size, size))
        self._q = np.zeros(size)
        eye, change = sparse.eye(STEPS), sparse.csc_matrix(CHANGE)
        share = eye / GRIP_UNIT
        # the sides' entries, which change, are found by their values, here and never again
        blocks = [[change, None], [None, change], [eye, None], [None, eye]]
        blocks += [[2.0 * eye, share], [3.0 * eye, share]]
        self._rows = sparse.csc_matrix(sparse.block_array(blocks))
        self._left = np.flatnonzero(self._rows.data == 2.0)
        self._right = np.flatnonzero(self._rows.data == 3.0)
        self._low, self._high = -np.ones(LIMITS * STEPS), np.ones(LIMITS * STEPS)
        self._solver = osqp.OSQP()
        self._solver.setup(
            self._cost.copy(),
            self._q,
            self._rows.copy(),
            self._low,
            self._high,
            verbose=False,
            polishing=False,
            eps_abs=TOLERANCE,
            eps_rel=TOLERANCE,
            max_iter=MOST_ITERATIONS,
            check_termination=5,
            scaling=0,
            rho=0.5,
            # by iterations: by time the same input would not always give the same output
            adaptive_rho=1,
            adaptive_rho_interval=25,
        )
        self.iterations, self.converged = 0, True
        self.commands = np.zeros((STEPS, COMMANDS))
        """of the last solution"""

    def solve(
        self,
        state: tuple[float, ...],
        before: tuple[float, float],
        reference: Reference,
        limits: Limits,
    ) -> tuple[float, float]:
        """The first steering (rad) and acceleration (m/s^2) to command, as good as 400 iterations.

        ``state`` is (e, psi, delta, p, v, a) at the start, ``before`` the commands sent last.

        Raises RoadloopError where OSQP gives no numbers.
        """
        self._set_lateral(state, before, reference)
        self._set_longitudinal(state, before, reference, limits.emergency)
        self._set_limits(before, reference, limits)
        solver = self._solver
        solver.update(q=self._q, l=self._low, u=self._high, Px=self._cost.data, Ax=self._rows.data)
        result = solver.solve(raise_error=False)
        self.iterations = int(result.info.iter)
        self.converged = result.info.status_val == SOLVED
        self.commands = result.x.reshape(COMMANDS, STEPS).T * (STEERING_UNIT, 1.0)
        steering, acceleration = (float(command) for command in self.commands[0])
        if not (math.isfinite(steering) and math.isfinite(acceleration)):
            raise RoadloopError(
                f"the MPC has no solution (OSQP: {result.info.status}): check the plan and weights"
            )
        return steering, acceleration

    def _set_lateral(
        self, state: tuple[float, ...], before: tuple[float, float], reference: Reference
    ) -> None:
        weights, travel = self.weights, reference.travel
        e, psi, delta = state[:3]
        bend = travel * reference.slope
        # first column: what becomes of psi and e without commands; others: what each command adds
        psis = np.empty((STEPS, STEPS + 1))
        psis[:, 0] = bend * (self._delta_middle_free * delta - reference.steering)
        psis[:, 0] += travel * reference.curvature - reference.turn
        np.multiply(bend[:, None], self._delta_middle, out=psis[:, 1:])
        psis = SUM @ psis
        psis[:, 0] += psi
        middle = MEAN @ psis
        middle[0, 0] += 0.5 * psi
        middle *= travel[:, None]
        errors = np.empty((2 * STEPS, STEPS + 1))
        np.matmul(SUM, middle, out=errors[:STEPS])
        errors[:STEPS, 0] += e
        pace = travel / STEP
        np.multiply((weights.sideways * pace)[:, None], psis, out=errors[STEPS:])
        errors[LAST] *= weights.end
        errors[:, 1:] *= STEERING_UNIT
        normal = errors.T @ errors
        rate = weights.curvature_rate + weights.lateral_jerk * pace**2
        rate = (rate * reference.slope * STEERING_UNIT / STEP) ** 2
        rate[0] *= (STEP / reference.elapsed) ** 2
        data = self._cost.data[:CORNER]
        normal[1:, 1:].take(UPPER_FLAT, out=data)
        data[DIAGONAL] += rate
        data[DIAGONAL[:-1]] += rate[1:]
        data[ABOVE] -= rate[1:]
        wanted = reference.steering_change / STEERING_UNIT
        wanted[0] += before[U] / STEERING_UNIT
        wanted *= rate
        self._q[:STEPS] = normal[1:, 0] - wanted
        self._q[: STEPS - 1] += wanted[1:]
        self._lateral = errors, psis, delta

    def _set_longitudinal(
        self,
        state: tuple[float, ...],
        before: tuple[float, float],
        reference: Reference,
        emergency: bool,
    ) -> None:
        weights = self.weights
        p, v, a = state[3:]
        v_free = v + a * self._v_free
        p_free = p + v * TIMES + a * self._p_free
        self._cost.data[CORNER:] = self._along[emergency]
        rate, first = self._jerk_rate(emergency), (STEP / reference.elapsed) ** 2
        self._cost.data[CORNER] += rate * (first - 1.0)
        push = self._q[STEPS:]
        push[:] = weights.progress**2 * ((p_free - reference.progress) @ self._p)
        push += weights.speed**2 * ((v_free - reference.speed) @ self._v)
        push[0] -= rate * first * before[W]
        self._longitudinal = p_free, v_free, a

    def _jerk_rate(self, emergency: bool) -> float:
        weights = self.weights
        return ((weights.emergency_jerk if emergency else weights.jerk) / STEP) ** 2

    def _set_limits(
        self, before: tuple[float, float], reference: Reference, limits: Limits
    ) -> None:
        low, high = self._low.reshape(LIMITS, STEPS), self._high.reshape(LIMITS, STEPS)
        high[0] = limits.steering_change / STEERING_UNIT
        low[0] = -high[0]
        low[1], high[1] = limits.acceleration_change
        high[2] = limits.steering / STEERING_UNIT
        low[2] = -high[2]
        low[3], high[3] = limits.acceleration
        last = (before[U] / STEERING_UNIT, before[W])
        low[:2, 0] += last
        high[:2, 0] += last
        # the lateral acceleration at a command u is v^2 (kappa_r + g (u - delta_r))
        square = (reference.travel / STEP) ** 2
        gain = square * reference.slope
        rest = square * reference.curvature - gain * reference.steering
        rest, grip = rest / GRIP_UNIT, limits.grip / GRIP_UNIT
        gain *= STEERING_UNIT / GRIP_UNIT
        self._rows.data[self._left], self._rows.data[self._right] = gain, -gain
        high[4], low[4] = grip - rest, -grip - rest
        high[5], low[5] = grip + rest, rest - grip

    def foreseen(self) -> Array:
        """(STEPS, STATES) states at the end of each step that the last solution leads to."""
        steering, acceleration = self.commands.T
        errors, psis, delta = self._lateral
        sideways = errors[:STEPS, 1:] @ (steering / STEERING_UNIT) + errors[:STEPS, 0]
        sideways[-1] /= self.weights.end
        p_free, v_free, a = self._longitudinal
        columns = [
            sideways,
            psis[:, 0] + psis[:, 1:] @ steering,
            delta * self._delta_free + self._delta @ steering,
            p_free + self._p @ acceleration,
            v_free + self._v @ acceleration,
            a * self._a_free + self._a @ acceleration,
        ]
        return np.stack(columns, axis=1)


def _lagging(lag: float) -> tuple[Array, Array]:
    """How a first-order lag stands at the end of each step.

    What each command adds, ``(STEPS, STEPS)``, and what is left of the start, ``(STEPS,)``.
    """
    kept = math.exp(-STEP / lag) if lag > 0.0 else 0.0
    ago = np.subtract.outer(np.arange(STEPS), np.arange(STEPS))
    of = np.where(ago >= 0, (1.0 - kept) * kept ** np.maximum(ago, 0), 0.0)
    return of, kept ** np.arange(1, STEPS + 1)


def _mean(at_end: Array, start: float = 0.0) -> Array:
    """Means over the steps of what is given at their ends, by rows, and at the start."""
    mean = 0.5 * at_end
    mean[1:] += 0.5 * at_end[:-1]
    mean[0] += 0.5 * start
    return mean
