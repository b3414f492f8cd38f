"""Accuracy of lights: counts of moments made by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from perception.detector_config import LampState
from perception.light_metrics import LightScore
from perception.lights import light_targets
from roadloop.errors import RoadloopError
from roadloop.types import LightState

SIZE = (64, 32)


def frame(*heads: tuple[int, LightState], unjudged: bool = False) -> dict[str, np.ndarray]:
    """Targets of one camera with heads (left edge, state)."""
    instance = np.zeros((1, SIZE[1], SIZE[0]), np.int32)
    for signal, (left, _) in enumerate(heads):
        instance[0, 8:20, left : left + 5] = -1 - signal
    wanted = np.full(len(heads), not unjudged)
    states = np.array([state for _, state in heads], int)
    return light_targets(instance, wanted, states, SIZE, unjudged=~wanted)


def outputs(lamp: LampState | None, score: float = 0.9) -> dict[str, np.ndarray]:
    heat = np.full((1, 1, SIZE[1] // 8, SIZE[0] // 8), -9.0)
    state = np.zeros((1, 4, *heat.shape[2:]))
    if lamp is not None:
        heat[0, 0, 1, 3] = np.log(score / (1.0 - score))
        state[0, lamp, 1, 3] = 5.0
    return {"light_heat": heat, "light_box": np.zeros_like(state), "light_state": state}


RED, GREEN = frame((20, LightState.RED)), frame((20, LightState.GREEN))


def test_shares_by_distance():
    score = LightScore()
    for distance in (5.0, 20.0, 20.0, 50.0):
        score.add(outputs(LampState.RED), RED, distance)
    score.add(outputs(LampState.GREEN), RED, 20.0)
    score.add(outputs(LampState.RED), GREEN, 20.0)
    score.add(outputs(None), GREEN, 50.0)
    score.add(outputs(LampState.GREEN, score=0.2), GREEN, 50.0)  # below the threshold
    found = score.result()
    assert found["moments"] == {
        "all": 8, "0-15": 1, "15-30": 4, "30-45": 0, "45-60": 3, "60-90": 0,
    }  # fmt: skip
    assert found["accuracy"]["all"] == 0.5 and found["accuracy"]["0-15"] == 1.0
    assert found["accuracy"]["15-30"] == 0.5 and found["accuracy"]["30-45"] is None
    assert found["missed"]["45-60"] == pytest.approx(2 / 3)
    assert found["ran"]["15-30"] == pytest.approx(1 / 3) and found["ran"]["0-15"] == 0.0
    assert found["confusion"]["red"]["green"] == 1 and found["confusion"]["green"]["missed"] == 2


def test_a_camera_that_is_not_trusted_misses_the_light():
    score = LightScore()
    score.add(outputs(LampState.RED), RED, 20.0, np.array([False]))
    assert score.result()["missed"]["all"] == 1.0


def test_moments_that_do_not_count():
    score = LightScore()
    score.add(outputs(LampState.RED), RED, 120.0)
    score.add(outputs(LampState.RED), frame((20, LightState.RED), (40, LightState.GREEN)), 20.0)
    score.add(outputs(LampState.RED), {**RED, "light_valid": np.array([False])}, 20.0)
    score.add(outputs(LampState.RED), frame((20, LightState.RED), unjudged=True), 0.0)
    score.add({}, RED, 20.0)  # a detector that does not look for lights
    found = score.result()
    assert found["moments"]["all"] == 0 and found["empty"] == 0 and found["false_alarm"] is None
    score.add(outputs(LampState.RED), frame(), 0.0)
    for _ in range(3):
        score.add(outputs(None), frame(), 0.0)
    assert score.result()["empty"] == 4 and score.result()["false_alarm"] == 0.25


def test_scores_of_parts_add_up_and_go_through_files():
    whole, parts = LightScore(), LightScore()
    for distance, given in ((5.0, RED), (20.0, GREEN), (70.0, frame()), (40.0, RED)):
        part = LightScore()
        for score in (whole, part):
            score.add(outputs(LampState.RED), given, distance)
        parts.merge(json.loads(json.dumps(part.state())))
    assert parts.result() == whole.result()
    json.dumps(whole.result())
    for damaged in ({}, {"counts": [[1]], "empty": [0, 0]}, {"counts": "x", "empty": [1, 2]}):
        with pytest.raises(RoadloopError, match="no counts of lights"):
            whole.merge(damaged)
