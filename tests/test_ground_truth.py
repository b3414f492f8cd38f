"""Ground-truth tracks are handed on as they are, up to a range, and missed with a clear message."""

from __future__ import annotations

import numpy as np
import pytest

from perception.ground_truth import GroundTruth
from roadloop.errors import RoadloopError
from roadloop.types import AgentStates, EgoState, Observation, Tracks


def observe(x, valid=None, with_tracks=True) -> Observation:
    n = len(x)
    zero = np.zeros(n)
    states = AgentStates(
        id=np.arange(n) + 10,
        kind=np.zeros(n, np.uint8),
        x=np.asarray(x, float),
        y=zero,
        z=zero,
        heading=zero,
        vx=zero + 3.0,
        vy=zero,
        length=zero + 4.5,
        width=zero + 1.8,
        height=zero + 1.5,
        valid=np.ones(n, bool) if valid is None else np.asarray(valid, bool),
    )
    ego = EgoState(*(np.float64(0.0) for _ in range(8)))
    tracks = Tracks(states, zero, np.arange(n)) if with_tracks else None
    return Observation(step=0, time=0.0, dt=0.1, ego=ego, tracks=tracks)


def test_range_and_validity_cut_in_the_order_observed():
    tracks = GroundTruth(max_range=50.0).update(observe([60.0, 49.0, -20.0, 5.0], [1, 1, 1, 0]))
    assert tracks.states.id.tolist() == [11, 12]
    assert tracks.states.x.tolist() == [49.0, -20.0]
    assert tracks.age.tolist() == [1, 2]
    assert tracks.states.valid.all()


def test_nobody_around_is_no_error():
    assert len(GroundTruth().update(observe([])).states.x) == 0


def test_missing_sensor_is_named():
    with pytest.raises(RoadloopError, match='declare the sensor "tracks"'):
        GroundTruth().update(observe([1.0], with_tracks=False))


def test_range_must_be_positive():
    with pytest.raises(RoadloopError, match="max_range"):
        GroundTruth(max_range=0.0)
