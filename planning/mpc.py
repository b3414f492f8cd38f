"""Following a planned trajectory by model predictive control: steering and speed in one problem.

At every step the next two seconds are optimised (`planning.tracking_problem`) under the limits of
wheels, comfort and tyres, and the first command is sent. The pure delay of the actuators is made up
for: the problem begins where the car will be when that command takes hold, which the commands
already under way decide (`planning.sent_commands`).

Emergencies, and standing, are told apart as by the other controllers (`planning.following`): a plan
that brakes harder than is comfortable is followed without the limit on jerk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from planning.following import (
    GRAVITY,
    PlanPath,
    SpeedGains,
    check_plan,
    followed_speed,
    holds,
    is_emergency,
    possible_acceleration,
    possible_steering,
)
from planning.sent_commands import Motion, Sent, SentCommands, motion_of
from planning.tracking_problem import (
    OCTAGON,
    STEP,
    STEPS,
    Limits,
    Reference,
    TrackingProblem,
    TrackingWeights,
)
from roadloop.types import Control, Observation, Trajectory, VehicleParameters
from roadloop.vehicles import ActuatorDelays

Array = np.ndarray

TIMES = np.arange(1, STEPS + 1) * STEP
MIDDLES = TIMES - 0.5 * STEP
TIMES_FROM_0, MIDDLES_FROM_0 = np.append(0.0, TIMES), np.append(0.0, MIDDLES)
NOTHING = np.zeros(STEPS)
SMOOTH = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 4.0, 3.0, 2.0, 1.0]) / 25.0
"""over steps, of the plan's curvature: maps jump from a straight to a bend, which is no comfort"""
PAD = len(SMOOTH) // 2
SETTLING_TIME = 1.0
"""s in which the speed of the linearisation goes from the car's to the plan's"""
SETTLING = np.exp(-MIDDLES / SETTLING_TIME)
MOST_AHEAD = 3.0
"""m along the path from the plan's place that are still caught up with"""
CREEP = 0.05
"""m per step below which a turn says little about the path's curvature"""
UNLIMITED = 1e3
"""a bound that never binds; OSQP's own infinity would change the kind of the row"""


@dataclass(frozen=True)
class MpcSettings:
    """How the MPC tracks, and what counts as comfortable."""

    weights: TrackingWeights = field(default_factory=TrackingWeights)
    speed: SpeedGains = field(default_factory=SpeedGains)


class Mpc:
    """A `Controller` for trajectories whose first pose is now.

    ``delays`` are those of the actuators, beside the lags that the vehicle's parameters hold. The
    plan may start beside the ego: lateral errors are taken at its foot point, and it catches up
    with the plan along the path.
    """

    def __init__(
        self, settings: MpcSettings | None = None, delays: ActuatorDelays | None = None
    ) -> None:
        self.settings = settings or MpcSettings()
        self._sent = SentCommands(delays or ActuatorDelays())
        self._problem: TrackingProblem | None = None
        self._braked = False
        """in an emergency, at the last step"""

    def reset(self) -> None:
        """Forget the previous commands and solutions."""
        self._sent.reset()
        self._braked = False
        self._problem = None  # the solver adapts: only a new one answers as the first did

    def control(self, observation: Observation, trajectory: Trajectory) -> Control:
        """Acceleration (m/s^2) and steering (rad) for this step, scalars.

        Raises RoadloopError for a trajectory that cannot be followed (`check_plan`), an ego that is
        not finite, or time that went back.
        """
        check_plan(trajectory)
        motion, vehicle = motion_of(observation.ego), observation.ego.vehicle
        before = self._sent.begin(observation, motion)
        wheels, pedals = self._sent.when_felt(observation.time, motion, vehicle)
        path = PlanPath(trajectory)
        emergency = is_emergency(self.settings.speed, motion, trajectory)
        if holds(pedals, trajectory, self._sent.delays.acceleration) or path.stands:
            steering = before.steering  # there is no direction to steer for
            acceleration = followed_speed(
                self.settings.speed,
                vehicle,
                pedals,
                trajectory,
                before=before.acceleration,
                dt=observation.dt,
                delay=self._sent.delays.acceleration,
                emergency=emergency,
            )
        else:
            acceleration, steering = self._best(
                observation, path, wheels, pedals, before, emergency
            )
        self._braked = emergency
        acceleration = possible_acceleration(vehicle, acceleration, steering, pedals.speed)
        return self._sent.send(observation.time, acceleration, steering)

    def _best(
        self,
        observation: Observation,
        path: PlanPath,
        wheels: Motion,
        pedals: Motion,
        before: Sent,
        emergency: bool,
    ) -> tuple[float, float]:
        """Acceleration and steering: the first commands of the best two seconds."""
        vehicle, delay = observation.ego.vehicle, self._sent.delays.acceleration
        beside = path.errors(wheels)
        along = beside if pedals is wheels else path.errors(pedals)
        planned = path.travelled(TIMES_FROM_0 + delay)
        ahead = min(max(along.s - float(planned[0]), -MOST_AHEAD), MOST_AHEAD)
        state = (
            beside.lateral,
            beside.heading,
            wheels.steering,
            ahead,
            pedals.speed,
            pedals.acceleration,
        )
        travel = self._travel(path, wheels.speed)
        reference = _along(path, beside.s, travel, vehicle, observation.dt)._replace(
            progress=planned[1:] - planned[0], speed=path.speeds(TIMES + delay)
        )
        limits = self._limits(observation, reference, before, emergency)
        problem = self._problem_for(vehicle)
        told = (before.steering, before.acceleration)
        commands = problem.solve(state, told, reference, limits)
        # this command is held for dt, that of the problem for a step: where it passes by halfway
        share = min(observation.dt / reference.elapsed, 1.0)
        told = [b + share * (c - b) for b, c in zip(told, commands)]
        if emergency:
            told[1] = commands[1]
        # the limits hold to the last digit, not to the solver's tolerance
        steering = possible_steering(
            vehicle, told[0], before.steering, observation.dt, wheels.speed
        )
        (low, high), (down, up) = limits.acceleration, limits.acceleration_change
        acceleration = min(max(told[1], float(low[0])), float(high[0])) - before.acceleration
        acceleration = min(max(acceleration, share * float(down[0])), share * float(up[0]))
        return before.acceleration + acceleration, steering

    def _travel(self, path: PlanPath, speed: float) -> Array:
        """m in each step, from the car's speed to the plan's."""
        delay = self._sent.delays.steering
        paces = path.speeds(MIDDLES_FROM_0 + delay)
        gap = (speed - paces[0]) * SETTLING
        return np.maximum(paces[1:] + gap, 0.0) * STEP

    def _limits(
        self, observation: Observation, reference: Reference, before: Sent, emergency: bool
    ) -> Limits:
        """Limits that at least one sequence keeps: both commands back to 0 as fast as allowed."""
        vehicle, gains = observation.ego.vehicle, self.settings.speed
        grip = vehicle.friction * GRAVITY * OCTAGON
        since = reference.elapsed + STEP * np.arange(STEPS)
        turn = np.full(STEPS, vehicle.max_steering_rate * STEP)
        turn[0] = vehicle.max_steering_rate * reference.elapsed
        square = np.maximum(reference.travel / STEP, 1e-3) ** 2
        back = np.maximum(abs(before.steering) - vehicle.max_steering_rate * since, 0.0)
        steering = np.arctan(vehicle.wheelbase * grip / square)
        steering = np.maximum(np.minimum(steering, vehicle.max_steering), back)

        low = -min(vehicle.max_deceleration if emergency else gains.comfort_deceleration, grip)
        high = min(vehicle.max_acceleration, gains.comfort_acceleration, grip)
        up = np.full(STEPS, gains.comfort_jerk * STEP)
        up[0] = gains.comfort_jerk * reference.elapsed
        eased = np.maximum(abs(before.acceleration) - gains.comfort_jerk * since, 0.0)
        if emergency:
            up[:] = UNLIMITED
        elif self._braked:  # an emergency may end at once
            up[0] = UNLIMITED
        if up[0] == UNLIMITED:
            eased[:] = 0.0
        eased *= math.copysign(1.0, before.acceleration)

        # what the octagon takes for the lateral acceleration of the way back
        way_back = math.copysign(1.0, before.steering) * back - reference.steering
        bend = reference.curvature + reference.slope * way_back
        taken = np.abs(eased) + square * np.abs(bend)
        return Limits(
            steering=steering,
            steering_change=turn,
            acceleration=(np.minimum(low, eased), np.maximum(high, eased)),
            acceleration_change=(-up, up),
            grip=np.maximum(math.sqrt(2.0) * grip, taken),
            emergency=emergency,
        )

    def _problem_for(self, vehicle: VehicleParameters) -> TrackingProblem:
        if self._problem is None or self._problem.vehicle != vehicle:
            self._problem = TrackingProblem(vehicle, self.settings.weights)
        return self._problem


def _along(
    path: PlanPath, start: float, travel: Array, vehicle: VehicleParameters, dt: float
) -> Reference:
    """What following the path from ``start`` (m along it) takes of the wheels.

    The commands change before the path does: the wheels lag behind them. The last one was held for
    ``dt`` until now.
    """
    s = np.empty(STEPS + 1)
    s[0] = start
    np.cumsum(travel, out=s[1:])
    s[1:] += start
    headings = path.headings(s)
    turn = headings[1:] - headings[:-1]
    curvature = turn / np.maximum(travel, CREEP)
    padded = np.concatenate([[curvature[0]] * PAD, curvature, [curvature[-1]] * PAD])
    tangent = vehicle.wheelbase * np.convolve(padded, SMOOTH, "valid")
    most = math.tan(vehicle.max_steering)
    tangent = np.minimum(np.maximum(tangent, -most), most)
    steering = np.arctan(tangent)
    middles = MIDDLES_FROM_0 + vehicle.steering_lag
    middles[0] = vehicle.steering_lag - 0.5 * dt
    commanded = np.interp(middles, MIDDLES, steering)
    return Reference(
        travel=travel,
        turn=turn,
        steering=steering,
        curvature=tangent / vehicle.wheelbase,
        slope=(1.0 + tangent**2) / vehicle.wheelbase,
        steering_change=commanded[1:] - commanded[:-1],
        elapsed=0.5 * (dt + STEP),
        progress=NOTHING,
        speed=NOTHING,
    )
