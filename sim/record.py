"""One drive with the sensors of a rig recorded beside it: the rollout and a labelled sensor log."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.interfaces import Driver
from roadloop.logs.sensor_log import SensorLogWriter
from roadloop.logs.store import RolloutWriter
from roadloop.rig import SensorRig
from roadloop.types import Observation, Scenario
from sim.run import drive_scenario
from sim.sensors.fitting import Drawing, fitted
from sim.simulator import SimWorld
from sim.state import SimState

Array = np.ndarray

ROLLOUT = "rollout"
SENSORS = "sensors"


@dataclass(frozen=True)
class Recorded:
    """What a recording came to."""

    steps: int
    """in the sensor log"""
    pictures: int
    """of all cameras, each counted once whatever its products"""
    seconds: float
    """s driven"""


def record_drive(
    scenario: Scenario,
    driver: Driver,
    rig: SensorRig,
    folder: str | Path,
    *,
    every: int = 1,
    lossless: bool = False,
    map_source: str = "",
    on_step: Callable[[Observation], None] | None = None,
) -> Recorded:
    """Drives a scenario; ``folder/rollout`` gets the drive, ``folder/sensors`` what sensors saw.

    The driver sees what it asks for; the rig that is recorded is another set of sensors, which does
    not disturb it. What an earlier recording left in these two folders is replaced.

    Args:
        every: sensors measure at every so manyth step, and the sensor log has only those; IMUs give
            all samples since the last one.
        lossless: see ``SensorLogWriter``.
        map_source: path of the map's file, kept in the rollout.
        on_step: called at every step of the drive.

    Raises:
        RoadloopError: ``every`` below 1; a folder that cannot be written; as ``drive_scenario``.
    """
    if every < 1:
        raise RoadloopError(f"every is {every}; it must be 1 or more steps")
    folder = Path(folder)
    world = SimWorld()
    suite = fitted(rig, scenario)
    drawing = Drawing()
    taken: dict[str, set[int]] = {camera.name: set() for camera in rig.cameras}
    steps, last = 0, 0.0

    def record(observation: Observation) -> None:
        nonlocal steps, last
        if on_step is not None:
            on_step(observation)
        last = observation.time
        state = world.state
        if observation.step % every or state is None:
            return
        readings = suite.observe(state) if steps else suite.reset(state)
        seen = dataclasses.replace(observation, **readings)
        sensors.append(
            seen,
            world_from_ego=drawing.pose(state, 0),
            world_from_agent=agent_poses(drawing, state, seen),
        )
        steps += 1
        for name, image in seen.cameras.items():
            taken[name].add(image.timestamp_us)

    about = {
        "scenario": scenario.name,
        "family": scenario.family,
        "seed": scenario.seed,
        "driver": driver.name,
        "map": scenario.road_map.name,
        "map_hash": scenario.road_map.content_hash,
        "weather": dataclasses.asdict(scenario.weather),
        "every": every,
    }
    with (
        RolloutWriter(
            folder / ROLLOUT, scenario, driver.name, overwrite=True, map_source=map_source
        ) as rollout,
        SensorLogWriter(
            folder / SENSORS,
            rig,
            overwrite=True,
            lossless=lossless,
            about=about,
            road_map=scenario.road_map,
        ) as sensors,
    ):
        drive_scenario(scenario, driver, world, writer=rollout, on_step=record)
    return Recorded(steps, sum(map(len, taken.values())), last)


def agent_poses(drawing: Drawing, state: SimState, observation: Observation) -> Array:
    """(agents, 4, 4) poses of the tracks' boxes as they are drawn, pitched with their lanes."""
    actors = drawing.frame(state, state).actors
    row = {number: k for k, number in enumerate(actors.id[0].tolist()) if k}
    tracks = observation.tracks
    ids = [] if tracks is None else tracks.states.id.tolist()
    return actors.world_from_actor[0, [row[number] for number in ids]]
