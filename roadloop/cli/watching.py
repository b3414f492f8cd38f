"""Keeping what a driver sees and why it plans as it does while a scenario is driven."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from roadloop.errors import RoadloopError

if TYPE_CHECKING:
    from pathlib import Path

    from roadloop.interfaces import Driver
    from roadloop.logs.plans import PlanLog
    from roadloop.rig import SensorRig
    from roadloop.types import Observation, Rollout, Scenario
    from roadloop.viz.seen import Seen
    from sim.simulator import SimWorld

REMEMBERED = 3.0
"""s: how old the picture a driver has just looked at may be"""


class Watching:
    """Listens to a driver; of the world it asks whom the pictures of one that sees show.

    Call `listen` with every observation of ``world`` after the driver's step.

    Args:
        plans: a `deploy.plan_log.PlanRecorder`.
        percepts: a `deploy.percept_log.PerceptRecorder`, None for drivers that see without a
            detector.
        witness: agent -> pixels at each step, whom the pictures show; with ``percepts`` only.
    """

    def __init__(
        self,
        plans: Any,
        percepts: Any = None,
        witness: Callable[[Observation], dict[int, int]] | None = None,
    ) -> None:
        self._plans, self._percepts, self._witness = plans, percepts, witness
        self._pixels: dict[float, dict[int, int]] = {}

    def listen(self, observation: Observation) -> None:
        """One step."""
        self._plans.listen(observation)
        if self._percepts is None or self._witness is None:
            return
        now = observation.time
        self._pixels = {t: p for t, p in self._pixels.items() if t > now - REMEMBERED}
        self._pixels[round(now, 3)] = self._witness(observation)
        self._percepts.listen(observation, self._pixels)

    def seen(
        self, rollout: Rollout, folder: Path | None = None, *, pictures: bool = True
    ) -> Seen | None:
        """What was seen until now, judged by the drive; written into ``folder``, where given.

        None for drivers that see without a detector. Without ``pictures`` the pictures that were
        kept are left out.
        """
        if self._percepts is None:
            return None
        from deploy.percept_check import check_percepts
        from roadloop.logs.percepts import empty_table, write_percepts

        log = self._percepts.log()
        if not pictures:
            tables = log.tables | {"pictures": empty_table("pictures")}
            log = dataclasses.replace(log, tables=tables)
        if folder is not None:
            write_percepts(folder, log)
        return check_percepts(log, rollout)

    def plans(self, folder: Path | None = None) -> PlanLog | None:
        """Why plans were chosen until now; written into ``folder``, where given.

        None for drivers that explain nothing.
        """
        from roadloop.logs.plans import write_plans

        log = self._plans.log()
        if log is not None and folder is not None:
            write_plans(folder, log)
        return log


def watching(
    driver: Driver,
    scenario: Scenario,
    world: SimWorld,
    *,
    percepts: bool = True,
    pictures: float | None = None,
    times: bool = True,
) -> Watching:
    """What listens to ``driver``.

    Args:
        percepts: whether to keep what a driver sees with a detector.
        pictures: Hz, how often pictures are kept, 0: never; default: often enough to look at.
        times: whether the times of stages are kept.
    """
    from deploy.plan_log import PlanRecorder

    plans = PlanRecorder(driver)
    if not (percepts and _sees(driver)):
        return Watching(plans)
    from deploy.percept_log import PICTURES, PerceptRecorder, seeing_of

    found = seeing_of(driver)
    if found is None:
        return Watching(plans)
    rate = PICTURES if pictures is None else pictures
    recorder = PerceptRecorder(*found, pictures=rate, times=times)
    return Watching(plans, recorder, _witness(driver, scenario, world))


def seen_in(folder: Path, rollout: Rollout) -> Seen | None:
    """What a drive's driver saw, from the folder it was written into; None where nothing was.

    Raises RoadloopError where that is damaged.
    """
    from roadloop.logs.percepts import read_percepts

    log = read_percepts(folder)
    if log is None:
        return None
    from deploy.percept_check import check_percepts

    return check_percepts(log, rollout)


def _sees(driver: Driver) -> bool:
    from roadloop.interfaces import innermost

    return getattr(innermost(driver), "sight", None) is not None


def _witness(
    driver: Driver, scenario: Scenario, world: SimWorld
) -> Callable[[Observation], dict[int, int]]:
    """Whom the pictures of the driver's cameras show at each step: agent -> pixels."""
    from roadloop.rig import load_rig
    from sim.sensors.fitting import fitted

    name = next(s for s in driver.sensors if s.startswith("rig:"))
    suite = fitted(_boxes_only(load_rig(name.removeprefix("rig:"))), scenario)

    def look(observation: Observation) -> dict[int, int]:
        if world.state is None:
            raise RoadloopError("this world was not started: nobody can be seen in it")
        measure = suite.reset if observation.step == 0 else suite.observe
        pixels: dict[int, int] = {}
        for image in measure(world.state)["cameras"].values():
            for agent, count in zip(image.boxes.id.tolist(), image.boxes.pixels.tolist()):
                pixels[agent] = pixels.get(agent, 0) + count  # as recorded drives count
        return {agent: count for agent, count in pixels.items() if count > 0}

    return look


def _boxes_only(rig: SensorRig) -> SensorRig:
    """The rig's cameras without what makes pictures beautiful or late."""
    from roadloop.rig import CameraEffects, select

    cameras = tuple(
        dataclasses.replace(
            camera,
            products=("boxes",),
            detail="plain",
            antialias=1,
            latency=0.0,
            effects=CameraEffects(),
        )
        for camera in select(rig, tuple(c.name for c in rig.cameras)).cameras
    )
    kinds = ("lidars", "radars", "imus", "gnss", "odometry")
    return dataclasses.replace(rig, cameras=cameras, **dict.fromkeys(kinds, ()))
