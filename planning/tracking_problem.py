"""The optimisation behind `planning.mpc`: a sparse quadratic programme, set up once, updated often.

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

The speed of the linearisation is that of the plan, so the lateral and the longitudinal half meet
only in the octagon. Linear time-varying MPC after Falcone et al. 2007, "Predictive active steering
control for autonomous vehicle systems"; solved by OSQP (Stellato et al. 2020, Apache-2.0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse

from roadloop.errors import RoadloopError
from roadloop.types import VehicleParameters

Array = np.ndarray

STEPS = 20
STEP = 0.1
"""s"""
STATES = 6
E, PSI, DELTA, P, V, A = range(STATES)
COMMANDS = 2
U, W = range(COMMANDS)
LIMITS = 6
"""rows of limits per step: change and value of both commands, two sides of the octagon"""
SIZE = (STATES + COMMANDS) * STEPS
FIRST_LIMIT = STATES * STEPS
"""row of the first one; those before are the dynamics"""
ROWS = FIRST_LIMIT + LIMITS * STEPS
OCTAGON = math.cos(math.pi / 8.0)
"""radius of the circle inside an octagon against that around it"""
TOLERANCE = 1e-4
"""of OSQP, absolute and relative"""
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
    emergency_jerk: float = 0.01
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

        self.vehicle, self.weights = vehicle, weights
        self._keep_delta, self._keep_a = (
            _kept(vehicle.steering_lag),
            _kept(vehicle.acceleration_lag),
        )
        self._a, self._a_where = self._constraints()
        self._p, self._p_where = self._cost()
        self._q = np.zeros(SIZE)
        self._low, self._high = np.zeros(ROWS), np.zeros(ROWS)
        # OSQP takes rows whose bounds agree for equations: only the dynamics are
        self._low[FIRST_LIMIT:], self._high[FIRST_LIMIT:] = -1.0, 1.0
        self._solver = osqp.OSQP()
        self._solver.setup(
            self._p.copy(),
            self._q,
            self._a.copy(),
            self._low,
            self._high,
            verbose=False,
            polishing=False,
            eps_abs=TOLERANCE,
            eps_rel=TOLERANCE,
            max_iter=MOST_ITERATIONS,
            check_termination=5,
            scaling=2,
            # by iterations: by time the same input would not always give the same output
            adaptive_rho=1,
            adaptive_rho_interval=50,
        )
        self.iterations, self.converged = 0, True
        self.states, self.commands = np.zeros((STEPS, STATES)), np.zeros((STEPS, COMMANDS))
        """the last solution: states at the end of each step, commands at its beginning"""

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
        self._set_dynamics(state, reference)
        self._set_limits(before, reference, limits)
        self._set_cost(before, reference, limits.emergency)
        solver = self._solver
        solver.update(q=self._q, l=self._low, u=self._high, Px=self._p.data, Ax=self._a.data)
        result = solver.solve(raise_error=False)
        self.iterations = int(result.info.iter)
        self.converged = result.info.status_val == SOLVED
        self.states = result.x[:FIRST_LIMIT].reshape(STEPS, STATES)
        self.commands = result.x[FIRST_LIMIT:].reshape(STEPS, COMMANDS)
        steering, acceleration = (float(command) for command in self.commands[0])
        if not (math.isfinite(steering) and math.isfinite(acceleration)):
            raise RoadloopError(
                f"the MPC has no solution (OSQP: {result.info.status}): check the plan and weights"
            )
        return steering, acceleration

    def _set_dynamics(self, state: Array, reference: Reference) -> None:
        half = 0.5 * reference.travel
        bend = half * reference.slope
        data, where = self._a.data, self._a_where
        data[where["psi'"]], data[where["delta'"]] = -half, -bend
        data[where["psi"]], data[where["delta"]] = -half[1:], -bend[1:]
        right = np.zeros((STEPS, STATES))
        straight = reference.curvature - reference.slope * reference.steering
        right[:, PSI] = reference.travel * straight - reference.turn
        e, psi, delta, p, v, a = state
        right[0] += (
            e + half[0] * psi,
            psi + bend[0] * delta,
            self._keep_delta * delta,
            p + 0.5 * STEP * v,
            v + 0.5 * STEP * a,
            self._keep_a * a,
        )
        self._low[:FIRST_LIMIT] = self._high[:FIRST_LIMIT] = right.ravel()

    def _set_limits(
        self, before: tuple[float, float], reference: Reference, limits: Limits
    ) -> None:
        low = self._low[FIRST_LIMIT:].reshape(STEPS, LIMITS)
        high = self._high[FIRST_LIMIT:].reshape(STEPS, LIMITS)
        high[:, 0] = limits.steering_change
        low[:, 0] = -limits.steering_change
        low[:, 1], high[:, 1] = limits.acceleration_change
        high[:, 2] = limits.steering
        low[:, 2] = -limits.steering
        low[:, 3], high[:, 3] = limits.acceleration
        low[0, :2] += before
        high[0, :2] += before
        # the lateral acceleration at a command u is v^2 (kappa_r + g (u - delta_r))
        square = (reference.travel / STEP) ** 2
        gain = square * reference.slope
        rest = square * reference.curvature - gain * reference.steering
        data, where = self._a.data, self._a_where
        data[where["left"]], data[where["right"]] = gain, -gain
        high[:, 4], low[:, 4] = limits.grip - rest, -limits.grip - rest
        high[:, 5], low[:, 5] = limits.grip + rest, -limits.grip + rest

    def _set_cost(self, before: tuple[float, float], reference: Reference, emergency: bool) -> None:
        weights, data, where = self.weights, self._p.data, self._p_where
        pace = reference.travel / STEP
        sideways = (weights.sideways * pace) ** 2
        sideways[-1] *= weights.end**2
        rate = weights.curvature_rate + weights.lateral_jerk * pace**2
        rate = (rate * reference.slope / STEP) ** 2
        data[where["psi"]] = sideways
        data[where["u"]] = rate
        data[where["u"][:-1]] += rate[1:]
        data[where["u u"]] = -rate[1:]
        jerk = ((weights.emergency_jerk if emergency else weights.jerk) / STEP) ** 2
        data[where["w"]] = 2.0 * jerk
        data[where["w"][-1]] = jerk
        data[where["w w"]] = -jerk
        states = self._q[: STATES * STEPS].reshape(STEPS, STATES)
        states[:, P] = -(weights.progress**2) * reference.progress
        states[:, V] = -(weights.speed**2) * reference.speed
        commands = self._q[STATES * STEPS :].reshape(STEPS, COMMANDS)
        change = rate * reference.steering_change
        commands[:, U] = -change
        commands[:-1, U] += change[1:]
        commands[0, U] -= rate[0] * before[U]
        commands[0, W] = -jerk * before[W]

    def _constraints(self) -> tuple[sparse.csc_matrix, dict[str, Array]]:
        """The matrix of the rows, zero where it changes, and where its data changes, by step."""
        entries = _Entries((ROWS, SIZE))
        for k in range(STEPS):
            row, now, then = STATES * k, _state(k - 1), _state(k)
            command = STATES * STEPS + COMMANDS * k
            for i in range(STATES):
                entries.add(row + i, then + i, 1.0)
            entries.add(row + E, then + PSI, 0.0, "psi'")
            entries.add(row + PSI, then + DELTA, 0.0, "delta'")
            entries.add(row + P, then + V, -0.5 * STEP)
            entries.add(row + V, then + A, -0.5 * STEP)
            entries.add(row + DELTA, command + U, self._keep_delta - 1.0)
            entries.add(row + A, command + W, self._keep_a - 1.0)
            if k > 0:  # before the first step the state is known: it stands on the right
                for i in (E, PSI, P, V):
                    entries.add(row + i, now + i, -1.0)
                entries.add(row + E, now + PSI, 0.0, "psi")
                entries.add(row + PSI, now + DELTA, 0.0, "delta")
                entries.add(row + P, now + V, -0.5 * STEP)
                entries.add(row + V, now + A, -0.5 * STEP)
                entries.add(row + DELTA, now + DELTA, -self._keep_delta)
                entries.add(row + A, now + A, -self._keep_a)
            limit = FIRST_LIMIT + LIMITS * k
            for j in range(COMMANDS):
                entries.add(limit + j, command + j, 1.0)
                if k > 0:
                    entries.add(limit + j, command + j - COMMANDS, -1.0)
                entries.add(limit + COMMANDS + j, command + j, 1.0)
            for side, name in enumerate(("left", "right")):
                entries.add(limit + 2 * COMMANDS + side, command + W, 1.0)
                entries.add(limit + 2 * COMMANDS + side, command + U, 0.0, name)
        return entries.matrix()

    def _cost(self) -> tuple[sparse.csc_matrix, dict[str, Array]]:
        """The upper half of the cost's matrix, likewise."""
        weights, entries = self.weights, _Entries((SIZE, SIZE))
        for k in range(STEPS):
            last = k == STEPS - 1
            state, command = _state(k), STATES * STEPS + COMMANDS * k
            entries.add(state + E, state + E, weights.end**2 if last else 1.0)
            entries.add(state + PSI, state + PSI, 0.0, "psi")
            entries.add(state + P, state + P, weights.progress**2)
            entries.add(state + V, state + V, weights.speed**2)
            entries.add(command + U, command + U, 0.0, "u")
            entries.add(command + W, command + W, 0.0, "w")
            if k > 0:
                entries.add(command + U - COMMANDS, command + U, 0.0, "u u")
                entries.add(command + W - COMMANDS, command + W, 0.0, "w w")
        return entries.matrix()


class _Entries:
    """A sparse matrix being written, some entries of which change with every step."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._entries: list[tuple[int, int, float, str]] = []

    def add(self, row: int, column: int, value: float, name: str = "") -> None:
        """One entry; those of the same ``name`` change together and are added in order of time."""
        self._entries.append((row, column, value, name))

    def matrix(self) -> tuple[sparse.csc_matrix, dict[str, Array]]:
        """The matrix, and the places in its ``data`` of the entries by name."""
        rows, columns, values, names = zip(*self._entries)
        order = np.lexsort((rows, columns))
        place = np.empty(len(order), int)
        place[order] = np.arange(len(order))
        starts = np.searchsorted(np.array(columns)[order], np.arange(self._shape[1] + 1))
        parts = (np.array(values)[order], np.array(rows)[order], starts)
        matrix = sparse.csc_matrix(parts, shape=self._shape)
        named = {n: place[np.array(names) == n] for n in dict.fromkeys(names) if n}
        return matrix, named


def _state(step: int) -> int:
    """Column of the first state at the end of a step."""
    return STATES * step


def _kept(lag: float) -> float:
    """Share of the distance to its command that a first-order lag still has after a step."""
    return math.exp(-STEP / lag) if lag > 0.0 else 0.0
