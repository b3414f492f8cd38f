"""How far round a detector's cameras see, which the tracker asks for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from deploy.seeing import SLIT, view_of
from perception.detector_config import DetectorConfig
from perception.tracker_config import TrackerConfig

SQUARE = "{width: 64, height: 64, fx: 32, fy: 32, cx: 31.5, cy: 31.5}"  # 90 degrees wide


def view(folder: Path, *degrees: float) -> float:
    """Of cameras 90 degrees wide that look into these directions."""
    lines = ["name: ring", "cameras:"]
    for k, yaw in enumerate(degrees):
        mount = f"mount: {{x: 1.0, y: 0.0, z: 1.5, yaw: {np.radians(yaw)}}}"
        lines.append(f"  - {{name: c{k}, {mount}, {SQUARE[1:]}")
    file = folder / "ring.yaml"
    file.write_text("\n".join(lines), encoding="utf-8")
    return view_of(dataclasses.replace(DetectorConfig(), rig=str(file), light_cameras=()))


def test_that_of_the_compact_rig_is_the_trackers_own() -> None:
    assert view_of(DetectorConfig()) == TrackerConfig().view
    assert TrackerConfig().view == pytest.approx(np.radians(210.0), abs=1e-3)


def test_it_ends_at_the_first_gap_and_is_the_same_on_both_sides(tmp_path: Path) -> None:
    wide = pytest.approx(np.radians(90.0), abs=1e-3)
    assert view(tmp_path, 0.0) == wide
    assert view(tmp_path, 0.0, 60.0) == wide  # nothing on the right
    assert view(tmp_path, 0.0, 90.0, -90.0) == pytest.approx(np.radians(270.0), abs=1e-3)
    assert view(tmp_path, 0.0, 91.0, -91.0) > np.radians(270.0)  # a slit
    assert view(tmp_path, 0.0, *2 * np.degrees([SLIT, -SLIT]), 100.0, -100.0) == pytest.approx(
        np.radians(90.0) + 4.0 * SLIT, abs=1e-3
    )
    assert view(tmp_path, 0.0, 90.0, 180.0, 270.0) == pytest.approx(2.0 * np.pi, abs=1e-3)
    assert view(tmp_path, 180.0) == 0.0
