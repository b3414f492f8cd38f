"""A car for tests of controllers, written down apart from the simulator's, and plans for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from roadloop.interfaces import Controller
from roadloop.types import Control, EgoState, Observation, Trajectory, VehicleParameters

DT = 0.1
POINTS = 51
"""of a plan"""


@dataclass
class LaggedBicycle:
    """Kinematic bicycle of the rear axle, first-order lags in steering and acceleration."""

    x: float = 0.0
    y: float = 0.0
    heading: float = 0.0
    speed: float = 0.0
    acceleration: float = 0.0
    steering: float = 0.0
    vehicle: VehicleParameters = field(default_factory=VehicleParameters)
    late: int = 0
    """steps that a command waits before the actuators hear of it"""
    waiting: deque[Control] = field(default_factory=deque)

    def step(self, control: Control, substeps: int = 20) -> None:
        dt, car = DT / substeps, self.vehicle
        self.waiting.append(control)
        if len(self.waiting) <= self.late:
            control = Control(np.asarray(self.acceleration), np.asarray(self.steering))
        else:
            control = self.waiting.popleft()
        for _ in range(substeps):
            self.steering += (float(control.steering) - self.steering) * dt / car.steering_lag
            self.acceleration += (
                (float(control.acceleration) - self.acceleration) * dt / car.acceleration_lag
            )
            self.x += self.speed * np.cos(self.heading) * dt
            self.y += self.speed * np.sin(self.heading) * dt
            self.heading += self.speed * np.tan(self.steering) / car.wheelbase * dt
            self.speed = max(self.speed + self.acceleration * dt, 0.0)

    def observe(self, step: int) -> Observation:
        yaw_rate = self.speed * np.tan(self.steering) / self.vehicle.wheelbase
        values = (self.x, self.y, 0.0, self.heading, self.speed, self.acceleration)
        ego = EgoState(*map(np.float64, (*values, self.steering, yaw_rate)), vehicle=self.vehicle)
        return Observation(step=step, time=step * DT, dt=DT, ego=ego)


@dataclass(frozen=True)
class Driven:
    """A drive; arrays ``(steps,)``, states at the moment of each command."""

    x: np.ndarray
    y: np.ndarray
    speed: np.ndarray
    acceleration: np.ndarray
    """m/s^2 commanded"""
    steering: np.ndarray
    """rad commanded"""
    felt: np.ndarray
    """(steps, 2) acceleration and steering of the car"""


def drive(
    car: LaggedBicycle,
    controller: Controller,
    plan: Callable[[LaggedBicycle, float], Trajectory],
    steps: int,
) -> Driven:
    """Follow ``plan(car, time)``, made anew at every step."""
    rows = []
    for step in range(steps):
        control = controller.control(car.observe(step), plan(car, step * DT))
        felt = (car.acceleration, car.steering)
        rows.append((car.x, car.y, car.speed, control.acceleration, control.steering, *felt))
        car.step(control)
    rows = np.array(rows, float)
    return Driven(*rows[:, :5].T, rows[:, 5:])


def straight(x: float, speed: float) -> Trajectory:
    t = np.arange(POINTS) * DT
    zero = np.zeros(POINTS)
    return Trajectory(x + speed * t, zero, zero, np.full(POINTS, speed), DT)


def arc(angle: float, radius: float, speed: float) -> Trajectory:
    """Counter-clockwise about (0, radius), starting at ``angle`` from the lowest point."""
    a = angle + np.arange(POINTS) * DT * speed / radius
    return Trajectory(
        radius * np.sin(a), radius - radius * np.cos(a), a, np.full(POINTS, speed), DT
    )


def slalom(time: float, speed: float = 15.0, lateral: float = 4.9) -> Trajectory:
    """A sine of 4 s period and ``lateral`` m/s^2 along x, from where it is at ``time`` on."""
    x = speed * (time + np.arange(POINTS) * DT)
    y = slalom_line(x, speed, lateral)
    slope = (slalom_line(x + 1e-3, speed, lateral) - slalom_line(x - 1e-3, speed, lateral)) / 2e-3
    return Trajectory(x, y, np.arctan(slope), speed * np.hypot(1.0, slope), DT)


def slalom_line(x: np.ndarray, speed: float = 15.0, lateral: float = 4.9) -> np.ndarray:
    """m to the left of the x axis; the sine grows over its first period."""
    wave = 2.0 * np.pi / (4.0 * speed)
    growth = np.clip(x * wave / (2.0 * np.pi), 0.0, 1.0) ** 2
    return growth * lateral / (speed * wave) ** 2 * np.sin(wave * x)
