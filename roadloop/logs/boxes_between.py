"""Boxes of a recording at any time: of the nearest step, moved to the time of a measurement."""

from __future__ import annotations

import dataclasses

import numpy as np

from roadloop.logs.recording import Recording
from roadloop.logs.schema import Table
from roadloop.logs.sensor_boxes import boxes_in_ego
from roadloop.types import at

Array = np.ndarray

MOVED = 0.15
"""s, road users are moved along their velocity at most so long to the time of a measurement"""


def boxes_at(recording: Recording, timestamp_us: int, world_from_ego: Array) -> Table | None:
    """Rows of ``boxes_3d`` in the ego frame ``world_from_ego`` (4, 4) at a time between steps.

    Road users are taken from the nearest step and moved along their velocity, by ``MOVED`` s at
    most. None without labels.
    """
    if recording.agents is None:
        return None
    step = int(np.argmin(np.abs(recording.timestamp_us - timestamp_us)))
    late = float(timestamp_us - recording.timestamp_us[step]) * 1e-6
    late = float(np.clip(late, -MOVED, MOVED)) if recording.continuous else 0.0
    states = at(recording.agents, step)
    way = np.stack([states.vx, states.vy], axis=-1) * late
    way = np.where(states.valid[:, None], way, 0.0)
    states = dataclasses.replace(states, x=states.x + way[:, 0], y=states.y + way[:, 1])
    tilted = recording.world_from_agent
    if tilted is not None:
        tilted = tilted[step].copy()
        tilted[:, :2, 3] += way
    boxes = boxes_in_ego(states, world_from_ego, tilted)
    if recording.lidar_points is not None:
        column = {i: k for k, i in enumerate(states.id.tolist()) if states.valid[k]}
        rows = [column[i] for i in boxes["id"].tolist()]
        boxes["lidar_points"] = recording.lidar_points[step, rows].astype(np.int32)
    return boxes
