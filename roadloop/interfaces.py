"""The interfaces of roadloop: protocols of one to three methods, each with an example.

Anything with these methods fits; nothing needs to be subclassed.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from roadloop.types import (
    Control,
    Detections,
    Forecasts,
    Observation,
    Scenario,
    Tracks,
    Trajectory,
)


@runtime_checkable
class Driver(Protocol):
    """A thing that drives: rule, network, whole stack or compiled engine.

    Example::

        class Coast:
            name = "coast"
            sensors = ()          # names of what it wants: "tracks", "lights", cameras ...
            plan = None           # Trajectory of the latest act(), None where it has none

            def reset(self, scenario):
                pass

            def act(self, observation):
                return Control(acceleration=np.float64(0.0), steering=np.float64(0.0))
    """

    name: str
    sensors: tuple[str, ...]
    plan: Trajectory | None

    def reset(self, scenario: Scenario) -> None: ...

    def act(self, observation: Observation) -> Control: ...


class Detector(Protocol):
    """Sensors of one frame to boxes.

    Example::

        class Blind:
            def detect(self, observation):
                return no_detections
    """

    def detect(self, observation: Observation) -> Detections: ...


class Tracker(Protocol):
    """Observations to road users with identity and velocity; keeps its own memory.

    Example::

        class GroundTruth:
            def reset(self, scenario): ...

            def update(self, observation):
                return observation.tracks
    """

    def reset(self, scenario: Scenario) -> None: ...

    def update(self, observation: Observation) -> Tracks: ...


class Forecaster(Protocol):
    """Tracks to futures of ``horizon`` seconds; keeps its own memory, is called at every step.

    Example::

        class StandStill:
            def reset(self, scenario): ...

            def forecast(self, observation, tracks, horizon, dt):
                steps = round(horizon / dt) + 1
                return Forecasts(x=np.repeat(tracks.states.x[:, None, None], steps, -1), ...)
    """

    def reset(self, scenario: Scenario) -> None: ...

    def forecast(
        self, observation: Observation, tracks: Tracks, horizon: float, dt: float
    ) -> Forecasts: ...


class Planner(Protocol):
    """Tracks, lights and a route to a trajectory.

    ``forecasts`` are those of the tracks, None where the driver has no forecaster.

    Example::

        class Stop:
            def reset(self, scenario): ...

            def plan(self, observation, tracks, forecasts=None):
                return a_trajectory_that_brakes
    """

    def reset(self, scenario: Scenario) -> None: ...

    def plan(
        self, observation: Observation, tracks: Tracks, forecasts: Forecasts | None = None
    ) -> Trajectory: ...


class Controller(Protocol):
    """A trajectory to a control for this step.

    Example::

        class FullBrake:
            def reset(self): ...

            def control(self, observation, trajectory):
                return Control(np.float64(-8.0), observation.ego.steering)
    """

    def reset(self) -> None: ...

    def control(self, observation: Observation, trajectory: Trajectory) -> Control: ...


class World(Protocol):
    """A place to drive in: our simulator, a CARLA server, a replayed log.

    Example::

        observation = world.reset(scenario, sensors=driver.sensors)
        driver.reset(scenario)
        while observation.time < scenario.duration:
            observation = world.step(driver.act(observation))
    """

    def reset(self, scenario: Scenario, sensors: tuple[str, ...]) -> Observation: ...

    def step(self, control: Control) -> Observation: ...


def innermost(driver: Driver) -> Any:
    """The driver that others only wrap, each in its attribute ``driver``; itself if none does."""
    inner: Any = driver
    while hasattr(inner, "driver"):
        inner = inner.driver
    return inner
