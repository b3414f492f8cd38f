"""Drivers that are late: an answer to what was seen at time t takes effect at t + L.

`DelayedDriver` replays a stated or measured latency on any driver, without looking at a clock: what
a driver would do on a given computer, repeatable on every other. `measure_latency` makes such a
measurement.

While the driver computes, new frames are dropped. The world asks for a control every ``dt``, so an
answer takes effect at the first step that is not before it is ready, and the next computation
starts with the frame of that step::

    dt 0.1 s, L 0.25 s      frame     0    1    2    3    4    5    6
                            computes  |---------->|---------->|
                            drives    hold hold hold  0    0    0    3
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.interfaces import Driver, World
from roadloop.types import Control, Observation, Scenario, Trajectory
from sim.latency_model import Latency, read_latency, write_latency
from sim.run import drive_scenario

__all__ = [
    "DelayedDriver",
    "Latency",
    "LatencyStatistics",
    "TimedDriver",
    "measure_latency",
    "read_latency",
    "write_latency",
]

_EPS = 1e-9  # s: times are multiples of dt up to rounding


@dataclass(frozen=True)
class LatencyStatistics:
    """What lateness did to one drive."""

    frames: int
    """offered to the driver"""
    dropped: int
    """not looked at, because the driver was still busy with an earlier one"""
    held: int
    """steps at the start without any answer"""
    mean: float
    """s a computation took; NaN before the first"""
    longest: float
    """s"""
    mean_age: float
    """s between what was seen and when the car was driven by it, mean over steps with an answer"""


@dataclass(frozen=True)
class _Answer:
    seen: float
    ready: float
    control: Control
    plan: Trajectory | None
    reason: str


class DelayedDriver:
    """A `Driver` whose answers are ``latency`` late. Zero latency changes nothing, to the last bit.

    Until the first answer is ready the control is: zero acceleration, the steering there is.
    ``plan`` belongs to the control in force. The driver inside sees the frames it has time for, and
    in their ``dt`` the time since the one before. Latencies are drawn anew, by the scenario's seed,
    at every `reset`.
    """

    def __init__(self, driver: Driver, latency: Latency) -> None:
        self.driver = driver
        self.latency = latency
        self.name = driver.name if latency.zero else f"{driver.name}@{latency}"
        self.sensors = driver.sensors
        self.plan: Trajectory | None = None
        """of the answer in force"""
        self._begin(iter(()))

    @property
    def reason(self) -> str:
        """What decided the speed in the answer in force, where the driver says so."""
        return "no answer yet" if self._force is None else self._force.reason

    @property
    def statistics(self) -> LatencyStatistics:
        """Of the drive since `reset`."""
        taken = self._taken
        return LatencyStatistics(
            frames=self._frames,
            dropped=self._frames - len(taken),
            held=self._frames - len(self._ages),
            mean=float(np.mean(taken)) if taken else float("nan"),
            longest=max(taken, default=float("nan")),
            mean_age=float(np.mean(self._ages)) if self._ages else float("nan"),
        )

    def reset(self, scenario: Scenario) -> None:
        """Start a scenario: nothing is being computed, nothing was answered."""
        self._begin(self.latency.draws(scenario.seed))
        self.driver.reset(scenario)

    def act(self, observation: Observation) -> Control:
        """The newest answer that is ready by now."""
        now = observation.time
        self._frames += 1
        self._publish(now)
        if self._busy is None:
            self._busy = self._compute(observation)
            self._publish(now)
        if self._force is None:
            return Control(np.zeros_like(observation.ego.steering), observation.ego.steering)
        self._ages.append(now - self._force.seen)
        self.plan = self._force.plan
        return self._force.control

    def _begin(self, draws: Iterator[float]) -> None:
        self.plan = None
        self._draws = draws
        self._busy: _Answer | None = None
        self._force: _Answer | None = None
        self._last: float | None = None
        self._frames = 0
        self._taken: list[float] = []
        self._ages: list[float] = []

    def _publish(self, now: float) -> None:
        if self._busy is not None and self._busy.ready <= now + _EPS:
            self._force, self._busy = self._busy, None

    def _compute(self, observation: Observation) -> _Answer:
        """The driver's answer, known at once but not in force before it is ready."""
        now = observation.time
        seconds = next(self._draws, None)
        if seconds is None:
            raise RoadloopError("DelayedDriver draws no latency yet: call reset(scenario) first")
        if self._last is not None and now - self._last > observation.dt + _EPS:
            observation = dataclasses.replace(observation, dt=now - self._last)
        self._last = now
        self._taken.append(seconds)
        control = self.driver.act(observation)
        reason = getattr(self.driver, "reason", "")
        return _Answer(now, now + seconds, control, self.driver.plan, reason)


class TimedDriver:
    """A `Driver` that notes how long each answer of ``driver`` takes; it changes nothing else.

    ``seconds`` holds one entry per `act` since it was made, over all drives. The first ones hold
    what only the first ones do, such as compiling.
    """

    def __init__(self, driver: Driver, clock: Callable[[], float] = time.perf_counter) -> None:
        self.driver = driver
        self.name = driver.name
        self.sensors = driver.sensors
        self.plan: Trajectory | None = None
        self.seconds: list[float] = []
        self._clock = clock

    @property
    def reason(self) -> str:
        """The driver's own."""
        return getattr(self.driver, "reason", "")

    def reset(self, scenario: Scenario) -> None:
        """Not timed."""
        self.driver.reset(scenario)
        self.plan = self.driver.plan

    def act(self, observation: Observation) -> Control:
        """The driver's answer."""
        start = self._clock()
        control = self.driver.act(observation)
        self.seconds.append(self._clock() - start)
        self.plan = self.driver.plan
        return control


def measure_latency(
    driver: Driver, scenario: Scenario, world: World, *, warm_up: int = 5
) -> Latency:
    """Drive the scenario and return the wall-clock time of every answer, as a latency to replay.

    The drive itself does not know of the clock. The first ``warm_up`` answers are left out.

    Raises RoadloopError when the drive has no more answers than that.
    """
    timed = TimedDriver(driver)
    drive_scenario(scenario, timed, world)
    if len(timed.seconds) <= warm_up:
        raise RoadloopError(
            f"{scenario.name}: {len(timed.seconds)} answers, {warm_up} of them to warm up: drive "
            "longer"
        )
    return Latency("measured", samples=tuple(timed.seconds[warm_up:]))
