"""Perfect perception: the simulator's own road users handed on as tracks, cut at a range."""

from __future__ import annotations

import dataclasses

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.types import Observation, Scenario, Tracks, at

MAX_RANGE = 250.0
"""m, how far ground truth looks"""


class GroundTruth:
    """A `Tracker` that looks through the world's eyes.

    ``max_range`` is m from the ego's rear axle to a box centre; tracks beyond it are left out.
    """

    def __init__(self, max_range: float = MAX_RANGE) -> None:
        if not max_range > 0.0:
            raise RoadloopError(f"GroundTruth max_range is {max_range}: expected metres above 0")
        self.max_range = max_range

    def reset(self, scenario: Scenario) -> None:
        """Nothing is remembered between steps."""

    def update(self, observation: Observation) -> Tracks:
        """Valid tracks within range, ``(tracks,)`` in the order observed.

        Raises RoadloopError when the observation carries no tracks.
        """
        tracks = observed_tracks(observation)
        ego, states = observation.ego, tracks.states
        near = np.hypot(states.x - ego.x, states.y - ego.y) <= self.max_range
        keep = np.flatnonzero(states.valid & near)
        return dataclasses.replace(at(tracks, keep), states=at(states, keep))


def observed_tracks(observation: Observation) -> Tracks:
    """The world's own tracks. Raises RoadloopError when the observation carries none."""
    if observation.tracks is None:
        raise RoadloopError(
            'observation holds no tracks: declare the sensor "tracks" in the driver\'s sensors'
        )
    return observation.tracks
