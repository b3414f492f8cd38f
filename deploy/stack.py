"""The whole driver: tracker, forecaster, planner, guard and controller behind one `Driver`.

What is evaluated is what is shipped: the same object runs in every simulator and on the vehicle.
A driver that sees with a network (`deploy.seeing`) is given the readings of its sensors and nothing
else of the world around. `deploy.drivers` puts stacks together by name.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol, runtime_checkable

import numpy as np

from perception.detector_config import BevGrid
from perception.percept import Percept
from planning.explanation import Explanation
from planning.safe_stop import safe_stop
from roadloop.config import unknown
from roadloop.errors import RoadloopError
from roadloop.interfaces import Controller, Forecaster, Planner, Tracker
from roadloop.stage_times import StageTime, StageTimes
from roadloop.types import (
    Control,
    Forecasts,
    Observation,
    Scenario,
    Tracks,
    Trajectory,
    VehicleParameters,
)

FORESIGHT = 6.0
"""s that forecasts reach"""
FORECAST_STEP = 0.2
"""s between their points"""
RAISE, GUARD = "raise", "guard"
"""what a `Stack` does where its planner raises"""


class PlanCheck(Protocol):
    """The last check of a plan, whoever made it, such as `planning.guard.Guard`."""

    def reset(self, scenario: Scenario) -> None: ...

    def check(
        self,
        observation: Observation,
        tracks: Tracks | None,
        forecasts: Forecasts | None,
        plan: Trajectory,
    ) -> Trajectory: ...

    def without_plan(
        self, observation: Observation, tracks: Tracks | None, error: Exception
    ) -> Trajectory: ...


class Stack:
    """A `Driver`: ``tracker`` -> ``forecaster`` -> ``planner`` -> ``guard`` -> ``controller``.

    Planners that need no forecasts have no forecaster; without a guard the planner is obeyed as it
    is. ``plan`` is the latest trajectory, as the guard left it. ``act`` raises RoadloopError for an
    observation that holds NaN or infinity in a field that is used.

    A tracker that has ``sensors`` of its own sees by itself: what the world knows of road users and
    lights is kept from the planner, and where the tracker is ``blind`` the car is stopped in its
    lane: by the guard, which is then given no tracks; without one at once.

    ``on_error`` is what happens where the planner raises: ``"raise"``, or ``"guard"``, which then
    drives and tells it as an intervention. ``vehicle`` is the car that is driven; None: the one
    that the observations name.
    """

    def __init__(
        self,
        name: str,
        tracker: Tracker,
        planner: Planner,
        controller: Controller,
        forecaster: Forecaster | None = None,
        guard: PlanCheck | None = None,
        on_error: str = RAISE,
        vehicle: VehicleParameters | None = None,
    ) -> None:
        if on_error not in (RAISE, GUARD):
            raise RoadloopError(f"{unknown('on_error', on_error, (RAISE, GUARD))}")
        if on_error == GUARD and guard is None:
            raise RoadloopError(
                f'driver "{name}" has no guard that could drive on where its planner raises: leave '
                f"out on_error={GUARD}"
            )
        self.name = name
        self.tracker = tracker
        self.forecaster = forecaster
        self.planner = planner
        self.guard = guard
        self.controller = controller
        self.on_error, self.vehicle = on_error, vehicle
        self._error = ""
        self.plan: Trajectory | None = None
        self.sight = tracker if isinstance(tracker, Sight) else None
        self.sensors = ("tracks", "lights") if self.sight is None else self.sight.sensors
        self._times = StageTimes() if self.sight is None else self.sight.times

    @property
    def reason(self) -> str:
        """What decides the planner's speed now, empty where it does not say."""
        if self.sight is not None and self.sight.blind:
            return "sees nothing ahead: " + ("; ".join(self.faults) or "no picture yet")
        return self._error or getattr(self.planner, "reason", "")

    @property
    def explanation(self) -> Explanation | None:
        """Why the latest plan was chosen; None where the planner weighs no proposals."""
        return getattr(self.planner, "explanation", None)

    @property
    def faults(self) -> tuple[str, ...]:
        """One line per sensor that is not trusted now."""
        return () if self.sight is None else self.sight.faults

    def timings(self) -> dict[str, StageTime]:
        """How long each stage takes per step, since the driver was made."""
        return self._times.summary()

    def reset(self, scenario: Scenario) -> None:
        """Start a scenario: every part forgets the last one."""
        self.plan, self._error = None, ""
        self.tracker.reset(scenario)
        if self.forecaster is not None:
            self.forecaster.reset(scenario)
        self.planner.reset(scenario)
        if self.guard is not None:
            self.guard.reset(scenario)
        self.controller.reset()

    def act(self, observation: Observation) -> Control:
        """One step: what is seen to what is asked of the vehicle."""
        with self._times.step():
            return self._act(observation)

    def _act(self, observation: Observation) -> Control:
        if self.vehicle is not None:
            ego = dataclasses.replace(observation.ego, vehicle=self.vehicle)
            observation = dataclasses.replace(observation, ego=ego)
        if self.sight is None:
            check_finite(observation)
            with self._times.stage("track"):
                tracks = self.tracker.update(observation)
        else:
            observation = dataclasses.replace(observation, tracks=None, lights=None)
            check_finite(observation)
            tracks = self.sight.update(observation)
            observation = dataclasses.replace(observation, lights=self.sight.lights)
        forecasts = None
        if self.forecaster is not None:
            with self._times.stage("forecast"):
                forecasts = self.forecaster.forecast(observation, tracks, FORESIGHT, FORECAST_STEP)
        made: Trajectory | Exception
        with self._times.stage("plan"):
            try:
                made = self.planner.plan(observation, tracks, forecasts)
            except Exception as error:
                if self.on_error != GUARD:
                    raise
                made = error
        failed = isinstance(made, Exception)
        self._error = f"the planner raised {type(made).__name__}" if failed else ""
        blind = self.sight is not None and self.sight.blind
        if self.guard is not None:
            if blind:
                tracks = forecasts = None
            with self._times.stage("guard"):
                if isinstance(made, Exception):
                    self.plan = self.guard.without_plan(observation, tracks, made)
                else:
                    self.plan = self.guard.check(observation, tracks, forecasts, made)
        elif isinstance(made, Exception):
            raise made
        elif blind:
            ego = observation.ego
            self.plan = safe_stop(made, float(ego.speed), float(ego.acceleration))
        else:
            self.plan = made
        with self._times.stage("control"):
            return self.controller.control(observation, self.plan)


@runtime_checkable
class Sight(Protocol):
    """A `Tracker` that sees by sensors of its own, such as `deploy.seeing.Seeing`."""

    sensors: tuple[str, ...]
    times: StageTimes
    lights: np.ndarray
    """(signals,) LightState"""
    percept: Percept | None
    """the latest, None before the first picture"""

    @property
    def grid(self) -> BevGrid: ...

    @property
    def faults(self) -> tuple[str, ...]: ...

    @property
    def blind(self) -> bool: ...

    def reset(self, scenario: Scenario) -> None: ...

    def update(self, observation: Observation) -> Tracks: ...


def check_finite(observation: Observation) -> None:
    """Raise RoadloopError naming the first field of ego or valid tracks that is NaN or infinite."""
    for f in dataclasses.fields(observation.ego):
        value = getattr(observation.ego, f.name)
        if f.name != "vehicle" and not np.isfinite(value).all():
            raise RoadloopError(
                f"observation.ego.{f.name} is {value} at step {observation.step}: expected a "
                "finite number; check the localisation that feeds it"
            )
    if observation.tracks is None:
        return
    states = observation.tracks.states
    for f in dataclasses.fields(states):
        value = getattr(states, f.name)
        if value.dtype.kind != "f":
            continue
        wrong = states.valid & ~np.isfinite(value)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise RoadloopError(
                f"observation.tracks.states.{f.name}[{row}] is {value[row]} at step "
                f"{observation.step}: expected finite numbers where valid; mask that track"
            )
