"""The commands that are under way, and where the car will be when the next one is felt.

A command acts on the wheels only after the pure delay of its actuator; until then the car does what
it was told before. So the errors that a command can still mend are those at the end of the delay:
a kinematic bicycle with lagging actuators is driven through what was sent already (the simulator's
vehicle model; R. Rajamani, Vehicle Dynamics and Control, 2nd ed., section 2.2), and the controllers
look at the plan from there.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.types import Control, EgoState, Observation, VehicleParameters
from roadloop.vehicles import ActuatorDelays

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
