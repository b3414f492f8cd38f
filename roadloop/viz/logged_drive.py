"""The steps of a drive from its logs, as the writers of viewer files take them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from roadloop.geometry import inverse
from roadloop.logs.sensor_boxes import box_poses
from roadloop.logs.sensor_poses import level_pose
from roadloop.logs.sensor_reader import SensorLogReader
from roadloop.types import Control, Observation, Rollout, Tracks, at

Array = np.ndarray


@dataclass(frozen=True)
class LoggedStep:
    """One step; fields as the arguments of ``Stream.view``."""

    observation: Observation
    control: Control | None
    plan: Array | None
    """(points, 3) x, y, speed"""
    world_from_ego: Array
    """(4, 4)"""
    world_from_agent: Array | None
    """(agents, 4, 4)"""


def logged_steps(rollout: Rollout | None, sensors: SensorLogReader | None) -> Iterator[LoggedStep]:
    """Steps of a rollout, of a sensor log, or of both of one drive.

    A rollout says nothing of pitch and roll: between the steps of the sensor log the ego keeps
    those it had at the last one, without a sensor log it is level.
    """
    if rollout is None:
        if sensors is not None:
            yield from (_sensed(sensors, k) for k in range(len(sensors)))
        return
    rows = {} if sensors is None else {step: k for k, step in enumerate(sensors.steps.tolist())}
    tilt = np.eye(4)
    for i, time in enumerate(rollout.time.tolist()):
        step = round(time / rollout.dt)
        control, plan, lights = at(rollout.control, i), rollout.plan[i], rollout.lights[i]
        if sensors is not None and step in rows:
            seen = _sensed(sensors, rows[step])
            observation = seen.observation
            if observation.lights is None:
                observation = dataclasses.replace(observation, lights=lights)
            tilt = inverse(level_pose(observation.ego)) @ seen.world_from_ego
            yield dataclasses.replace(seen, observation=observation, control=control, plan=plan)
            continue
        ego, states = at(rollout.ego, i), at(rollout.agents, i)
        exact = np.zeros(np.shape(states.id))
        observation = Observation(
            step, time, rollout.dt, ego, tracks=Tracks(states, exact, exact), lights=lights
        )
        yield LoggedStep(observation, control, plan, level_pose(ego) @ tilt, None)


def _sensed(sensors: SensorLogReader, k: int) -> LoggedStep:
    pose, boxes = sensors.world_from_ego[k], sensors.boxes_3d(k)
    agents = pose @ box_poses(boxes)
    agents[:, :3, 3] -= agents[:, :3, 2] * boxes["height"][:, None] / 2.0
    return LoggedStep(sensors[k], None, None, pose, agents)
