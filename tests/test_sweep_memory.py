"""Sweeps at run time: the points that training reads of the same drive; sensors that fail."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import training_drive

from perception.detector_config import DetectorConfig
from perception.frame import Frame
from perception.inputs import range_inputs
from perception.sweep_memory import SweepMemory
from roadloop.logs.sensor_log import SensorLogWriter
from training.detector_frames import DetectorFrames, detector_spec
from training.sources import LogSource

FUSED = DetectorConfig(lidar=True, radar=True)
STEPS = 11


def driven(upto: int) -> tuple[SweepMemory, SweepMemory]:
    """The memories of a car that gets every sweep and scan of the drive."""
    lidars, radars = SweepMemory(("top",)), SweepMemory(("radar",))
    for step in range(upto + 1):
        observation = training_drive.observation(step)
        lidars.take(observation.lidars, observation.time)
        radars.take(observation.radars, observation.time)
    return lidars, radars


def learnt(folder: Path, every: int) -> Frame:
    """The inputs that training makes of the last moment of the drive."""
    with SensorLogWriter(folder, training_drive.RIG, road_map=training_drive.ROAD) as log:
        for step in range(0, STEPS, every):
            one = training_drive.observation(step)
            log.append(one, world_from_ego=training_drive.pose(one.time))
    source = LogSource([folder], detector_spec(FUSED, products=()))
    return DetectorFrames(FUSED).inputs(source.sample(len(source) - 1))


@pytest.mark.parametrize("every", [1, 5])
def test_the_car_sees_the_points_that_are_learnt_from(every: int, tmp_path: Path) -> None:
    """Also where a drive was recorded, or simulated, more seldom than its sensors measure."""
    expected = learnt(tmp_path / "drive", every)
    now = training_drive.DT * (STEPS - 1)
    points, targets = (m.points(now, training_drive.pose) for m in driven(STEPS - 1))
    found = range_inputs(FUSED, points, targets)
    assert found["lidar"].any() and found["radar"].any()
    for key, value in found.items():
        np.testing.assert_allclose(value, expected[key], atol=1e-5, err_msg=key)


def test_a_sensor_that_gives_nothing_or_no_numbers_is_told_and_left_out() -> None:
    lidars, radars = driven(3)
    assert lidars.faults == radars.faults == ()
    for step in range(4, 9):
        lidars.take({}, 0.1 * step)
        scan = training_drive.observation(5).radars["radar"]
        bad = dataclasses.replace(scan, timestamp_us=100_000 * step, x=np.full(len(scan.x), np.nan))
        radars.take({"radar": bad}, 0.1 * step)
    assert lidars.faults == ('sensor "top" gives nothing (since 0.7 s)',)
    assert radars.faults == ('sensor "radar" gives NaN or infinity (since 0.4 s)',)
    assert not len(lidars.points(0.8, training_drive.pose))
    assert not len(radars.points(0.4, training_drive.pose))
    again = training_drive.observation(9)
    lidars.take(again.lidars, again.time)
    assert lidars.faults == () and len(lidars.points(0.9, training_drive.pose))
