"""Taking the pictures of a rig's cameras while a scenario is driven."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from roadloop.errors import RoadloopError

if TYPE_CHECKING:
    from roadloop.rig import SensorRig
    from roadloop.types import Observation, Scenario
    from roadloop.viz.film import Film
    from sim.simulator import SimWorld


def shooting(film: Film, scenario: Scenario, world: SimWorld) -> Callable[[Observation], None]:
    """What is to be called with every observation of ``world``, the first one included.

    Cameras keep their rate and latency. They are rendered in full detail, no larger than they are
    shown.
    """
    from roadloop.viz.camera_wall import as_they_look
    from sim.sensors.fitting import fitted

    widest = max(sum(c.width for c in row) for row in as_they_look(film.rig.cameras))
    suite = fitted(_cameras_only(film.rig, min(1.0, film.size[0] / widest)), scenario)

    def shoot(observation: Observation) -> None:
        if world.state is None:
            raise RoadloopError("this world was not started: there is nothing to film")
        measure = suite.reset if observation.step == 0 else suite.observe
        film.add(observation.step, measure(world.state)["cameras"])

    return shoot


def _cameras_only(rig: SensorRig, factor: float) -> SensorRig:
    from roadloop.rig import resized, select

    small = resized(select(rig, tuple(c.name for c in rig.cameras)), factor)
    cameras = tuple(dataclasses.replace(c, detail="full", products=("rgb",)) for c in small.cameras)
    return dataclasses.replace(small, cameras=cameras)
