"""The whole driver: tracker, planner and controller behind one `Driver`, and the drivers by name.

What is evaluated is what is shipped: the same object runs in every simulator and on the vehicle.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable

import numpy as np

from perception.ground_truth import GroundTruth
from planning.constant_speed import ConstantSpeed
from planning.controllers import TrackingController
from planning.route_follower import RouteFollower
from roadloop.errors import RoadloopError
from roadloop.interfaces import Controller, Driver, Planner, Tracker
from roadloop.types import Control, Observation, Scenario, Trajectory


class Stack:
    """A `Driver`: ``tracker`` -> ``planner`` -> ``controller``.

    ``plan`` is the latest trajectory. ``act`` raises RoadloopError for an observation that holds
    NaN or infinity in a field that is used.
    """

    def __init__(
        self,
        name: str,
        tracker: Tracker,
        planner: Planner,
        controller: Controller,
        sensors: tuple[str, ...] = ("tracks", "lights"),
    ) -> None:
        self.name = name
        self.sensors = sensors
        self.tracker = tracker
        self.planner = planner
        self.controller = controller
        self.plan: Trajectory | None = None

    @property
    def reason(self) -> str:
        """What decides the planner's speed now, empty where it does not say."""
        return getattr(self.planner, "reason", "")

    def reset(self, scenario: Scenario) -> None:
        """Start a scenario: every part forgets the last one."""
        self.plan = None
        self.tracker.reset(scenario)
        self.planner.reset(scenario)
        self.controller.reset()

    def act(self, observation: Observation) -> Control:
        """One step: what is seen to what is asked of the vehicle."""
        check_finite(observation)
        tracks = self.tracker.update(observation)
        self.plan = self.planner.plan(observation, tracks)
        return self.controller.control(observation, self.plan)


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


def _idm() -> Stack:
    return Stack("idm", GroundTruth(), RouteFollower(), TrackingController())


def _constant_speed() -> Stack:
    return Stack("constant-speed", GroundTruth(), ConstantSpeed(), TrackingController())


DRIVERS: dict[str, str] = {
    "idm": "rules on ground truth: IDM, lights, signs, right of way, passing (default)",
    "constant-speed": "follows the route at constant speed and ignores everybody: must fail",
}
"""name -> one line on what it is"""

_BUILDERS: dict[str, Callable[[], Driver]] = {"idm": _idm, "constant-speed": _constant_speed}


def make_driver(name: str = "idm") -> Driver:
    """A new driver of `DRIVERS` by name. Raises RoadloopError for unknown names."""
    if name not in _BUILDERS:
        close = difflib.get_close_matches(name, DRIVERS, n=1, cutoff=0.0)
        raise RoadloopError(
            f"no driver is called {name!r}: did you mean {close[0]!r}? "
            f"There are {', '.join(DRIVERS)}"
        )
    return _BUILDERS[name]()
