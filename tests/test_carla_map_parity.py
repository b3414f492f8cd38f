"""Our map against CARLA's parser, by the functions of benchmarks/carla_map_parity.py."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from roadloop.maps.opendrive import read_opendrive

_PATH = Path(__file__).resolve().parents[1] / "benchmarks" / "carla_map_parity.py"
_SPEC = importlib.util.spec_from_file_location("carla_map_parity", _PATH)
assert _SPEC is not None and _SPEC.loader is not None
parity = importlib.util.module_from_spec(_SPEC)
sys.modules["carla_map_parity"] = parity
_SPEC.loader.exec_module(parity)

SMALL = ("Town02", "Town10HD")
TOWNS = [
    pytest.param(town, marks=[] if town in SMALL else pytest.mark.slow) for town in parity.TOWNS
]


def town_file(town: str) -> Path:
    pytest.importorskip("carla", reason="the package carla is not installed")
    path = parity.find_map(parity.DEFAULT_MAPS, town)
    if path is None:
        pytest.skip("the sample maps are not beside this checkout")
    return path


@pytest.mark.carla
@pytest.mark.parametrize("town", TOWNS)
def test_towns_match_carla(town):
    path = town_file(town)
    result = parity.compare(read_opendrive(path), parity.carla_map(path), town)
    assert result.missed() == [], parity.table([result])


@pytest.mark.carla
def test_comparison_notices_a_wrong_map(monkeypatch):
    """The figures are not blind: each kind of error misses its target."""
    path = town_file("Town02")
    monkeypatch.setattr(parity, "MIN_WAYPOINTS", 1000)
    world, good = parity.carla_map(path), read_opendrive(path)
    cases = {
        "distance": {"point_xyz": good.point_xyz + np.array([0.2, 0.0, 0.0])},
        "heading": {"point_heading": good.point_heading + 0.05},
        "width": {"point_width": good.point_width * 1.1},
        "same id": {"lane_road": np.roll(good.lane_road, 7)},
        "successors": {"successor": np.roll(good.successor, 3)},
    }
    for target, change in cases.items():
        result = parity.compare(dataclasses.replace(good, **change), world, "Town02")
        assert any(target in missed for missed in result.missed()), target
