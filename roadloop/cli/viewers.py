"""Files for viewers, written by several verbs: while a drive is driven, or from its logs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from roadloop.rig import SensorRig
    from roadloop.scoring.result import Score
    from roadloop.types import Control, Observation, Scenario, Trajectory
    from roadloop.viz.subject import Subject
    from sim.run import Writer
    from sim.sensors.suite import SensorSuite
    from sim.simulator import SimWorld


class ViewerWriter(AbstractContextManager, Protocol):
    """``RerunWriter`` and ``McapWriter``."""

    def append(
        self,
        observation: Observation,
        control: Control | None = None,
        plan: Trajectory | np.ndarray | None = None,
        *,
        world_from_ego: np.ndarray | None = None,
        world_from_agent: np.ndarray | None = None,
    ) -> None: ...

    def add_score(self, score: Score) -> None: ...


def open_writers(
    files: ExitStack,
    subject: Subject,
    rerun: Path | None,
    mcap: Path | None,
    colour_points: str = "height",
) -> list[ViewerWriter]:
    """Writers of the files that are asked for, which ``files`` closes."""
    writers: list[Any] = []
    if rerun is not None:
        from roadloop.viz.rerun_file import RerunWriter

        writers.append(
            files.enter_context(RerunWriter(rerun, subject, colour_points=colour_points))
        )
    if mcap is not None:
        from roadloop.viz.mcap_file import McapWriter

        writers.append(files.enter_context(McapWriter(mcap, subject)))
    return writers


class LiveViews:
    """Writes each step of a drive in the simulator to ``log`` and to the writers.

    The writers see the readings of ``rig`` beside what the driver gets, who is not disturbed.
    """

    def __init__(
        self,
        log: Writer,
        writers: Sequence[ViewerWriter],
        world: SimWorld,
        scenario: Scenario,
        rig: SensorRig | None,
    ) -> None:
        self._log = log
        self._writers = writers
        self._world = world
        self._scenario = scenario
        self._rig = rig
        self._suite: SensorSuite | None = None

    def append(
        self, observation: Observation, control: Control, plan: Trajectory | None = None
    ) -> None:
        """Add one step."""
        self._log.append(observation, control, plan)
        state = self._world.state
        if not self._writers or state is None:
            return
        from sim.record import agent_poses
        from sim.sensors.fitting import Drawing, fitted

        if self._rig is not None:
            if self._suite is None:
                self._suite = fitted(self._rig, self._scenario)
                readings = self._suite.reset(state)
            else:
                readings = self._suite.observe(state)
            observation = dataclasses.replace(observation, **readings)
        drawing = Drawing()
        poses = {"world_from_ego": drawing.pose(state, 0)}
        if observation.tracks is not None:
            poses["world_from_agent"] = agent_poses(drawing, state, observation)
        for writer in self._writers:
            writer.append(observation, control, plan, **poses)
