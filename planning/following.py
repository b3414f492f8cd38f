"""What the controllers share: the plan as a path, the car when a command takes hold, the speed.

A command acts on the wheels only after the pure delay of its actuator; until then the car does what
it was told before. So the errors that a command can still mend are those at the end of the delay:
`SentCommands` remembers what is under way and drives a kinematic bicycle with lagging actuators
through it (the simulator's vehicle model, R. Rajamani, Vehicle Dynamics and Control, 2nd ed.,
section 2.2), and the controllers look at the plan from there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.types import Control, EgoState, Observation, Trajectory, VehicleParameters
from roadloop.vehicles import ActuatorDelays

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
LONGEST_STEP = 0.1
"""s the vehicle model is driven at once"""


class Motion(NamedTuple):
    """The car at one moment: rear axle in the world frame, SI units."""

    x: float
    y: float
    heading: float
    speed: float
    acceleration: float
    steering: float


class Sent(NamedTuple):
    """A command and when it was sent."""

    time: float
    """s"""
    acceleration: float
    steering: float


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


def motion_of(ego: EgoState) -> Motion:
    """The ego as scalars. Raises RoadloopError for one that is not finite."""
    motion = Motion(
        float(ego.x),
        float(ego.y),
        float(ego.heading),
        float(ego.speed),
        float(ego.acceleration),
        float(ego.steering),
    )
    for name, value in zip(Motion._fields, motion):
        if not math.isfinite(value):
            raise RoadloopError(
                f"ego.{name} is {value}: expected a finite number; check the localisation"
            )
    return motion


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


class SentCommands:
    """The commands that are under way, and what the car makes of them.

    ``delays`` are pure: nothing of a command is felt until then. Before the first command the car
    is taken to have been told what it was first seen to do.
    """

    def __init__(self, delays: ActuatorDelays) -> None:
        self.delays = delays
        self._longest = max(delays.steering, delays.acceleration)
        self._sent: list[Sent] = []

    def reset(self) -> None:
        """Nothing was sent."""
        self._sent = []

    def begin(self, observation: Observation, motion: Motion) -> Sent:
        """The last command; before the first one, what the car does now.

        Raises RoadloopError where time went back since then.
        """
        now = observation.time
        if not self._sent:
            self._sent = [Sent(-math.inf, motion.acceleration, motion.steering)]
        last = self._sent[-1]
        if now < last.time - 1e-9:
            raise RoadloopError(
                f"time went back from {last.time:g} s to {now:g} s: reset the controller at the "
                "start of a drive"
            )
        return last

    def send(self, now: float, acceleration: float, steering: float) -> Control:
        """Remember this command and return it."""
        self._sent.append(Sent(now, acceleration, steering))
        while len(self._sent) > 1 and self._sent[1].time + self._longest <= now:
            del self._sent[0]
        return Control(np.asarray(acceleration), np.asarray(steering))

    def when_felt(
        self, now: float, motion: Motion, vehicle: VehicleParameters
    ) -> tuple[Motion, Motion]:
        """The car when a steering command sent now takes hold, and when an acceleration does."""
        delays = self.delays
        first = self._after(now, motion, vehicle, delays.steering)
        if delays.acceleration == delays.steering:
            return first, first
        return first, self._after(now, motion, vehicle, delays.acceleration)

    def _after(
        self, now: float, motion: Motion, vehicle: VehicleParameters, delay: float
    ) -> Motion:
        if delay <= 0.0:
            return motion
        edges = {0.0, delay}
        for channel in (self.delays.steering, self.delays.acceleration):
            edges.update(t for s in self._sent if 0.0 < (t := s.time + channel - now) < delay)
        at = 0.0
        for edge in sorted(edges)[1:]:
            pieces = math.ceil((edge - at) / LONGEST_STEP - 1e-9)
            middle = now + 0.5 * (at + edge)
            acceleration = self._in_force(middle - self.delays.acceleration).acceleration
            steering = self._in_force(middle - self.delays.steering).steering
            for _ in range(max(pieces, 1)):
                step = (edge - at) / max(pieces, 1)
                motion = advanced(motion, acceleration, steering, vehicle, step)
            at = edge
        return motion

    def _in_force(self, time: float) -> Sent:
        """The last command sent by ``time``."""
        for sent in reversed(self._sent):
            if sent.time <= time:
                return sent
        return self._sent[0]


def _summed(steps: Array) -> Array:
    """0, then the sum of the steps up to and including each."""
    sums = np.zeros(len(steps) + 1)
    np.cumsum(steps, out=sums[1:])
    return sums


def advanced(
    motion: Motion, acceleration: float, steering: float, vehicle: VehicleParameters, dt: float
) -> Motion:
    """The car ``dt`` s later under these commands; it never rolls back."""
    low, high = -vehicle.max_deceleration, vehicle.max_acceleration
    target = min(max(acceleration, low), high)
    now = target + (motion.acceleration - target) * _kept(vehicle.acceleration_lag, dt)
    speed = motion.speed + 0.5 * (motion.acceleration + now) * dt
    if speed < 0.0:
        speed, now = 0.0, max(now, 0.0)
    wish = min(max(steering, -vehicle.max_steering), vehicle.max_steering)
    turn = (wish - motion.steering) * (1.0 - _kept(vehicle.steering_lag, dt))
    most = vehicle.max_steering_rate * dt
    turn = min(max(turn, -most), most)
    travel = 0.5 * (motion.speed + speed) * dt
    yaw = travel * math.tan(motion.steering + 0.5 * turn) / vehicle.wheelbase
    return Motion(
        motion.x + travel * math.cos(motion.heading + 0.5 * yaw),
        motion.y + travel * math.sin(motion.heading + 0.5 * yaw),
        motion.heading + yaw,
        speed,
        now,
        motion.steering + turn,
    )


def _kept(lag: float, dt: float) -> float:
    """Share of the distance to its command that a first-order lag still has after ``dt``."""
    return math.exp(-dt / lag) if lag > 0.0 else 0.0


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
