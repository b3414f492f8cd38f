"""How well and how fast the controllers track: lateral errors on the simulator's dynamics, ms.

    python benchmarks/controllers.py [--speed 15] [--delay 0.2] [--vehicle passenger-car]

Courses, driven at constant speed by plans of 5 s whose first pose is now, whatever the car does:

* slalom: a sine of 0.5 g lateral acceleration and 4 s period, after one period of growing;
* bend: from a straight, without transition, into a bend of 0.3 g.

The car is that of the simulator (`sim.dynamics`: lags, limits of rate and range, friction circle),
alone on a plain; between controller and car every command waits for the delay. Errors are those of
the rear axle across the course, from the first step on. Times are processor time of `control`, of
the process; the first 20 steps, which compile and set up, are left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planning.controllers import TrackingController
from planning.lqr import Lqr
from planning.mpc import Mpc
from planning.pure_pursuit import PurePursuit
from roadloop.errors import RoadloopError
from roadloop.interfaces import Controller
from roadloop.types import Control, EgoState, Observation, Trajectory, VehicleParameters
from roadloop.vehicles import ActuatorDelays, load_vehicle
from sim.population import agents_from
from sim.scenarios import build_scenario
from sim.simulator import Simulator

Array = np.ndarray

DT = 0.1
GRAVITY = 9.80665
FAR = 2000.0
"""m from the roads, where nobody is met"""
HORIZON = 50
"""steps of a plan"""
WARM_UP = 20
"""steps that are not timed"""


@dataclass(frozen=True)
class Course:
    """A path of the rear axle, ``(points,)`` by arc length ``s`` (m), driven at ``speed`` (m/s)."""

    name: str
    speed: float
    s: Array
    x: Array
    y: Array
    heading: Array

    def plan(self, now: float) -> Trajectory:
        """From where the car is to be at ``now`` (s)."""
        s = self.speed * (now + DT * np.arange(HORIZON + 1))
        x, y, heading = (np.interp(s, self.s, v) for v in (self.x, self.y, self.heading))
        return Trajectory(x, y, heading, np.full(HORIZON + 1, self.speed), DT)

    def across(self, x: float, y: float) -> float:
        """m to the left of the course."""
        k = int(np.argmin((self.x - x) ** 2 + (self.y - y) ** 2))
        dx, dy = x - self.x[k], y - self.y[k]
        return float(np.cos(self.heading[k]) * dy - np.sin(self.heading[k]) * dx)


def slalom(speed: float, lateral: float = 0.5 * GRAVITY, period: float = 4.0) -> Course:
    """Ten periods of a sine whose lateral acceleration reaches ``lateral`` m/s^2."""
    wave = 2.0 * np.pi / (speed * period)
    x = np.arange(-speed, 10.0 * speed * period, 0.02)
    growth = np.clip(x / (speed * period), 0.0, 1.0)
    growth = growth**2 * (3.0 - 2.0 * growth)
    return _course("slalom", speed, x, growth * lateral / (speed * wave) ** 2 * np.sin(wave * x))


def bend(speed: float, lateral: float = 0.3 * GRAVITY) -> Course:
    """3 s straight on, then the three quarters of a circle."""
    radius = speed**2 / lateral
    s = np.arange(-speed, 3.0 * speed + 1.5 * np.pi * radius, 0.02)
    angle = np.maximum(s - 3.0 * speed, 0.0) / radius
    x = np.minimum(s, 3.0 * speed) + radius * np.sin(angle)
    return _course("bend", speed, x, radius * (1.0 - np.cos(angle)))


def _course(name: str, speed: float, x: Array, y: Array) -> Course:
    s = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    heading = np.unwrap(np.arctan2(np.gradient(y), np.gradient(x)))
    return Course(name, speed, s - speed, x, y, heading)  # it begins a second before 0


class Plain:
    """The simulator's car, alone far from any road; commands reach it ``delay`` s late.

    Raises RoadloopError for a delay that is no multiple of the step.
    """

    def __init__(self, vehicle: VehicleParameters, delay: float = 0.0) -> None:
        self._steps = round(delay / DT)
        if abs(self._steps * DT - delay) > 1e-9 or delay < 0.0:
            raise RoadloopError(f"delay is {delay} s: expected a multiple of {DT} s")
        self._empty = build_scenario("lane_following", seed=0, duration=1.0)
        self._vehicle, self._simulator = vehicle, Simulator()
        self._late: deque[Control] = deque()

    def reset(self, speed: float) -> Observation:
        """The car at the origin, heading east, doing nothing for as long as the delay is."""
        values = {f.name: np.float64(0.0) for f in dataclasses.fields(EgoState)}
        values |= {"x": np.float64(FAR), "y": np.float64(FAR), "speed": np.float64(speed)}
        ego = EgoState(**{**values, "vehicle": self._vehicle})
        scenario = dataclasses.replace(self._empty, agents=agents_from([]), ego=ego, dt=DT)
        self._state = self._simulator.reset([scenario])
        idle = Control(np.float64(0.0), np.float64(0.0))
        self._late = deque([idle] * self._steps)
        return self._observe()

    def step(self, control: Control) -> Observation:
        """One ``DT`` on, under the command that has waited long enough."""
        self._late.append(control)
        self._state = self._simulator.step(self._state, self._late.popleft())
        return self._observe()

    def _observe(self) -> Observation:
        seen = self._simulator.observe(self._state)
        ego = dataclasses.replace(seen.ego, x=seen.ego.x - FAR, y=seen.ego.y - FAR)
        return dataclasses.replace(seen, ego=ego, tracks=None, lights=None)


@dataclass(frozen=True)
class Tracked:
    """What came of one course; arrays ``(steps,)``."""

    across: Array
    """m to the left of the course"""
    seconds: Array
    """of processor time per step"""
    observations: list[Observation]
    controls: list[Control]


def track(controller: Controller, course: Course, plain: Plain, seconds: float) -> Tracked:
    """Drive a course for some time."""
    controller.reset()
    observation = plain.reset(course.speed)
    across, took, observations, controls = [], [], [], []
    for _ in range(round(seconds / DT)):
        plan = course.plan(observation.time)
        start = time.process_time()
        control = controller.control(observation, plan)
        took.append(time.process_time() - start)
        across.append(course.across(float(observation.ego.x), float(observation.ego.y)))
        observations.append(observation)
        controls.append(control)
        observation = plain.step(control)
    return Tracked(np.array(across), np.array(took), observations, controls)


def controllers(delay: float) -> dict[str, Callable[[], Controller]]:
    """What is compared: all that know of the delay, and what does not."""
    delays = ActuatorDelays(delay, delay)
    made: dict[str, Callable[[], Controller]] = {
        "Mpc": lambda: Mpc(delays=delays),
        "Lqr": lambda: Lqr(delays=delays),
        "PurePursuit": lambda: PurePursuit(delays=delays),
        "TrackingController": TrackingController,
    }
    return made | ({"Mpc, delay unknown": Mpc} if delay else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--speed", type=float, default=15.0, help="m/s")
    parser.add_argument("--delay", type=float, default=0.2, help="s")
    parser.add_argument("--vehicle", default="passenger-car")
    parser.add_argument("--seconds", type=float, default=20.0, help="of driving, per row")
    args = parser.parse_args()
    vehicle = load_vehicle(args.vehicle).parameters
    courses = [slalom(args.speed), bend(args.speed)]
    print(f"{args.vehicle} at {args.speed:g} m/s; across the course (m), time per step (ms)")
    print(f"{'':20}delay  " + "".join(f"{c.name:8}most    rms   " for c in courses) + "median  p99")
    for delay in (0.0, args.delay):
        plain = Plain(vehicle, delay)
        for name, make in controllers(delay).items():
            drives = [track(make(), course, plain, args.seconds) for course in courses]
            cells = ""
            for drive in drives:
                worst, rms = np.abs(drive.across).max(), np.sqrt((drive.across**2).mean())
                cells += f"{worst:12.3f} {rms:6.3f}   "
            took = 1e3 * np.concatenate([drive.seconds[WARM_UP:] for drive in drives])
            median, late = np.percentile(took, [50.0, 99.0])
            print(f"{name:20}{delay:5.2f}  {cells}{median:6.2f} {late:5.2f}")


if __name__ == "__main__":
    main()
