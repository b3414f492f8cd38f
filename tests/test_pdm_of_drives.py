"""The PDM score of drives, by the functions of benchmarks/pdm_of_drives.py."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from roadloop.types import AgentKind, Rollout, Scenario
from tests.hand_drive import ahead, rollout_of
from tests.planner_scene import LIMIT, along, scenario, two_way

_PATH = Path(__file__).resolve().parents[1] / "benchmarks" / "pdm_of_drives.py"
_SPEC = importlib.util.spec_from_file_location("pdm_of_drives", _PATH)
assert _SPEC is not None and _SPEC.loader is not None
pdm_of_drives = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(pdm_of_drives)

MAP = two_way()


def scene() -> Scenario:
    return scenario(MAP, along(start=10.0))


def drive(speed: float, agents=(), seconds: float = 10.0) -> Rollout:
    return rollout_of(MAP, ahead(speed, seconds), agents, lanes=(0,), goal=580.0)


def test_who_drives_as_fast_as_allowed_has_all_of_it() -> None:
    scores = pdm_of_drives.pdm_scores(drive(LIMIT), scene(), 5.0)
    assert len(scores) == 2  # at 0 and 5 s; 5 s are needed after each
    assert scores == pytest.approx([1.0, 1.0], abs=0.02)


def test_who_stands_loses_the_progress_that_pdm_closed_would_make() -> None:
    stood = pdm_of_drives.pdm_scores(drive(0.0), scene(), 5.0)
    assert stood == pytest.approx([7.0 / 12.0] * 2, abs=1e-6)  # 5 of 12 are progress
    slow, slower = (pdm_of_drives.pdm_scores(drive(v), scene(), 5.0)[1] for v in (9.0, 5.0))
    assert 7.0 / 12.0 < slower < slow < 1.0


def test_driving_into_somebody_is_worth_nothing_and_who_is_beside_the_way_is_no_matter() -> None:
    steps = 101
    for y, expected in ((0.0, 0.0), (40.0, 1.0)):
        parked = np.tile([40.0, y, 0.0], (steps, 1))
        driven = drive(10.0, [(AgentKind.CAR, 4.5, 1.8, parked)])
        first = pdm_of_drives.pdm_scores(driven, scene(), 5.0)[0]
        assert first == expected if expected == 0.0 else first > 0.8


def test_a_short_drive_has_no_moment() -> None:
    assert pdm_of_drives.pdm_scores(drive(5.0, seconds=4.0), scene(), 5.0) == []
