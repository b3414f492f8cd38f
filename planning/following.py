"""What the controllers share: the plan as a path and as a speed, and what a car can do.

Every controller looks at the plan from where the car will be when its command is felt
(`planning.sent_commands`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from planning.sent_commands import Motion, SentCommands, motion_of
from roadloop.errors import RoadloopError
from roadloop.types import Control, Observation, Trajectory, VehicleParameters

Array = np.ndarray

GRAVITY = 9.80665
"""m/s^2"""
MOVING = 1e-3
"""m between two points of a plan that make a direction"""
BACKWARDS = 0.1
"""m/s below 0 that are no rounding"""
HELD_SPEED = 0.1
"""m/s; a car and a plan below it stand"""
STANDING_TIME = 0.6
"""s ahead, where the plan is asked whether it stands"""
SLOWER = 1.5
"""m/s that a plan begins below the car's speed, an emergency"""
BRAKING_SOON, BRAKING_TIME = 1.0, 0.3
"""s ahead in which a plan's braking counts, s over which it is measured"""


class Errors(NamedTuple):
    """Where a car is beside a path."""

    s: float
    """m along the path, below 0 before its first point"""
    lateral: float
    """m to the left of the path"""
    heading: float
    """rad, of the car against the path"""


@dataclass(frozen=True)
class SpeedGains:
    """How the plan's speed is followed and what counts as comfortable."""

    meeting_time: float = 0.3
    """s after the lag in which the plan's speed is met"""
    comfort_jerk: float = 3.0
    """m/s^3, inside nuPlan's bound of 4.13"""
    comfort_acceleration: float = 2.3
    """m/s^2, inside nuPlan's bound of 2.40"""
    comfort_deceleration: float = 3.9
    """m/s^2, inside nuPlan's bound of 4.05; plans that brake harder are emergencies"""
    hold_deceleration: float = 0.5
    """m/s^2 asked for while standing"""


class SteeringLaw(Protocol):
    """The steering (rad) that is wanted; see `steered`."""

    def __call__(
        self, path: PlanPath, wheels: Motion, before: float, vehicle: VehicleParameters
    ) -> float:
        """Of the path, the car when the command takes hold, and the last command (rad)."""
        ...


def check_plan(plan: Trajectory) -> None:
    """Raise RoadloopError for a plan that cannot be followed.

    That is: fewer than two points, fields of different lengths, a step that is not above 0, or
    numbers that are not finite.
    """
    if len(plan.x) < 2:
        raise RoadloopError(f"trajectory has {len(plan.x)} point(s): plan at least 2 to be tracked")
    fields = {"x": plan.x, "y": plan.y, "heading": plan.heading, "speed": plan.speed}
    for name, values in fields.items():
        if values.shape != plan.x.shape:
            raise RoadloopError(
                f"trajectory.{name} has shape {values.shape}, x {plan.x.shape}: give one value per "
                "point"
            )
        if not np.isfinite(values).all():
            wrong = int(np.flatnonzero(~np.isfinite(values))[0])
            raise RoadloopError(
                f"trajectory.{name}[{wrong}] is {values[wrong]}: plan finite numbers"
            )
    if not (math.isfinite(plan.dt) and plan.dt > 0.0):
        raise RoadloopError(f"trajectory.dt is {plan.dt}: expected s above 0")


class PlanPath:
    """A plan as a path of the rear axle by arc length, and as a speed by time.

    Points where the plan stands or goes backwards are left out of the path. Beyond its ends it goes
    straight on.
    """

    def __init__(self, plan: Trajectory) -> None:
        self.plan = plan
        self.time = np.arange(len(plan.speed)) * plan.dt
        x, y, heading = plan.x, plan.y, plan.heading
        along_x, along_y = x[1:] - x[:-1], y[1:] - y[:-1]
        length = np.hypot(along_x, along_y)
        if plan.speed.min() < -BACKWARDS:  # a Control has no reverse gear
            length[plan.speed[1:] < -BACKWARDS] = 0.0
        moving = length > MOVING
        self._s_at_time = _summed(length)
        if not moving.all():
            kept = np.append(True, moving)
            x, y, heading = x[kept], y[kept], heading[kept]
            along_x, along_y = x[1:] - x[:-1], y[1:] - y[:-1]
            length = np.hypot(along_x, along_y)
        self.x, self.y = x, y
        self.s = _summed(length)
        if np.abs(heading[1:] - heading[:-1]).max(initial=0.0) > math.pi:
            heading = np.unwrap(heading)
        self.heading = heading
        self._along_x, self._along_y = along_x, along_y
        self._square = along_x**2 + along_y**2

    @property
    def stands(self) -> bool:
        """True where the plan goes nowhere, and so has no direction."""
        return len(self.s) < 2

    def foot(self, x: float, y: float) -> tuple[int, float]:
        """The nearest piece of a path that does not stand, and the share of it up to the foot."""
        along_x, along_y = self._along_x, self._along_y
        share = ((x - self.x[:-1]) * along_x + (y - self.y[:-1]) * along_y) / self._square
        share = np.minimum(np.maximum(share, 0.0), 1.0)
        off_x, off_y = self.x[:-1] + share * along_x - x, self.y[:-1] + share * along_y - y
        k = int((off_x**2 + off_y**2).argmin())
        return k, float(share[k])

    def errors(self, motion: Motion) -> Errors:
        """The car against its foot point on a path that does not stand.

        Before the path's first point and after its last the foot lies on the straight on.
        """
        k, share = self.foot(motion.x, motion.y)
        heading = float(self.heading[k] + share * (self.heading[k + 1] - self.heading[k]))
        s = float(self.s[k] + share * (self.s[k + 1] - self.s[k]))
        dx = motion.x - float(self.x[k] + share * self._along_x[k])
        dy = motion.y - float(self.y[k] + share * self._along_y[k])
        cos, sin = math.cos(heading), math.sin(heading)
        if (k == 0 and share == 0.0) or (k == len(self.x) - 2 and share == 1.0):
            s += cos * dx + sin * dy
        return Errors(
            s=s,
            lateral=cos * dy - sin * dx,
            heading=math.remainder(motion.heading - heading, 2.0 * math.pi),
        )

    def headings(self, s: Array) -> Array:
        """rad, not wrapped, at arc lengths ``s``."""
        return np.interp(s, self.s, self.heading)

    def points(self, s: Array) -> tuple[Array, Array]:
        """World x, y at arc lengths ``s``, straight on beyond the ends."""
        beyond = np.minimum(s, 0.0) + np.maximum(s - self.s[-1], 0.0)
        heading = np.where(s < 0.0, self.heading[0], self.heading[-1])
        x = np.interp(s, self.s, self.x) + beyond * np.cos(heading)
        return x, np.interp(s, self.s, self.y) + beyond * np.sin(heading)

    def speeds(self, times: Array) -> Array:
        """m/s at ``times`` from now, after the plan's end the last one; never backwards."""
        return np.maximum(np.interp(times, self.time, self.plan.speed), 0.0)

    def travelled(self, times: Array) -> Array:
        """m the plan has come since its first point, going on at its last speed."""
        beyond = np.maximum(times - self.time[-1], 0.0) * float(self.plan.speed[-1])
        return np.interp(times, self.time, self._s_at_time) + beyond


def holds(motion: Motion, plan: Trajectory, delay: float = 0.0) -> bool:
    """True where the car stands and is to stay."""
    horizon = np.arange(len(plan.speed)) * plan.dt
    ahead = float(np.interp(delay + STANDING_TIME, horizon, plan.speed))
    return motion.speed < HELD_SPEED and ahead < HELD_SPEED


def needed_acceleration(
    gains: SpeedGains,
    vehicle: VehicleParameters,
    motion: Motion,
    plan: Trajectory,
    delay: float = 0.0,
) -> float:
    """m/s^2, constant, that meets the plan's speed shortly after the lag; of any size.

    ``motion`` is the car when the command takes hold, ``delay`` s from now. Until the actuator has
    answered the car goes on as it does.
    """
    horizon = np.arange(len(plan.speed)) * plan.dt
    lag = vehicle.acceleration_lag
    coasting = max(motion.speed + motion.acceleration * lag, 0.0)
    meet = delay + lag + gains.meeting_time
    return (float(np.interp(meet, horizon, plan.speed)) - coasting) / gains.meeting_time


def is_emergency(gains: SpeedGains, ego: Motion, plan: Trajectory) -> bool:
    """True where the plan brakes harder than is comfortable, or is far slower than the car now.

    Neither a replanned turn from accelerating to braking nor a delay looks like one.
    """
    if ego.speed - float(plan.speed[0]) > SLOWER:
        return True
    apart = max(round(BRAKING_TIME / plan.dt), 1)
    soon = plan.speed[: round(BRAKING_SOON / plan.dt) + apart + 1]
    if len(soon) <= apart:
        return False
    return float((soon[apart:] - soon[:-apart]).min()) < -gains.comfort_deceleration * (
        apart * plan.dt
    )


def followed_speed(
    gains: SpeedGains,
    vehicle: VehicleParameters,
    motion: Motion,
    plan: Trajectory,
    *,
    before: float,
    dt: float,
    delay: float = 0.0,
    emergency: bool | None = None,
) -> float:
    """The acceleration to command (m/s^2): comfortable, or an emergency's, or holding.

    ``before`` is the last command, ``dt`` how long this one lasts. In an ``emergency`` comfort does
    not count; None: it is one where comfortable braking does not meet the plan at once.
    """
    if holds(motion, plan, delay):
        return -gains.hold_deceleration
    wanted = needed_acceleration(gains, vehicle, motion, plan, delay)
    if emergency is None:
        emergency = wanted < -gains.comfort_deceleration
    if emergency:
        return min(max(wanted, -vehicle.max_deceleration), gains.comfort_acceleration)
    change = gains.comfort_jerk * dt
    release = before < -gains.comfort_deceleration  # an emergency may end at once
    low, high = before - change, (gains.comfort_acceleration if release else before + change)
    wanted = max(min(wanted, gains.comfort_acceleration), -gains.comfort_deceleration)
    return max(min(wanted, high), low)


def steered(
    steering_law: SteeringLaw,
    sent: SentCommands,
    gains: SpeedGains,
    observation: Observation,
    plan: Trajectory,
) -> Control:
    """The command of a controller that only steers by a law of its own; ``sent`` remembers it.

    The wheels stay as they are where the plan has no direction. The speed is the plan's.

    Raises RoadloopError for a plan that cannot be followed (`check_plan`), an ego that is not
    finite, or time that went back.
    """
    check_plan(plan)
    motion, vehicle = motion_of(observation.ego), observation.ego.vehicle
    before = sent.begin(observation, motion)
    wheels, pedals = sent.when_felt(observation.time, motion, vehicle)
    steering = before.steering
    path = PlanPath(plan)
    if not path.stands:
        wanted = steering_law(path, wheels, before.steering, vehicle)
        steering = possible_steering(vehicle, wanted, steering, observation.dt, wheels.speed)
    acceleration = followed_speed(
        gains,
        vehicle,
        pedals,
        plan,
        before=before.acceleration,
        dt=observation.dt,
        delay=sent.delays.acceleration,
        emergency=is_emergency(gains, motion, plan),
    )
    acceleration = possible_acceleration(vehicle, acceleration, steering, pedals.speed)
    return sent.send(observation.time, acceleration, steering)


def possible_steering(
    vehicle: VehicleParameters, wanted: float, before: float, dt: float, speed: float
) -> float:
    """The steering nearest to ``wanted`` (rad) that wheels and tyres can do.

    ``before`` is the last command, ``dt`` how long this one lasts, ``speed`` (m/s) that at which it
    takes hold. Steering that the tyres do not give at this speed is taken back as fast as the
    wheels turn.
    """
    most = vehicle.max_steering_rate * dt
    limit = steering_limit(vehicle, speed)
    wanted = min(max(wanted, -limit), limit)
    wanted = min(max(wanted, before - most), before + most)
    return min(max(wanted, -vehicle.max_steering), vehicle.max_steering)


def steering_limit(vehicle: VehicleParameters, speed: float) -> float:
    """rad beyond which the wheels or, at this speed, the tyres give no more."""
    grip = vehicle.friction * GRAVITY
    tyres = math.atan(vehicle.wheelbase * grip / max(speed * speed, 1e-6))
    return min(vehicle.max_steering, tyres)


def possible_acceleration(
    vehicle: VehicleParameters, wanted: float, steering: float, speed: float
) -> float:
    """The acceleration nearest to ``wanted`` (m/s^2) that drive train, brakes and tyres give.

    ``steering`` (rad) and ``speed`` (m/s) say how much of the grip the bend takes.
    """
    sideways = speed * speed * math.tan(steering) / vehicle.wheelbase
    grip = math.sqrt(max((vehicle.friction * GRAVITY) ** 2 - sideways**2, 0.0))
    low, high = -min(vehicle.max_deceleration, grip), min(vehicle.max_acceleration, grip)
    return min(max(wanted, low), high)


def _summed(steps: Array) -> Array:
    """0, then the sum of the steps up to and including each."""
    sums = np.zeros(len(steps) + 1)
    np.cumsum(steps, out=sums[1:])
    return sums
