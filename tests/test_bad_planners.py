"""Planners that are bad on purpose: what they do, and that the guard takes no harm from them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from bad_planners import NONSENSE, NoGuard, drive
from test_guard import ahead, observe

from planning.plan_sanity import fault_of_plan
from sim.suite import load_suite

SMOKE = {case.scenario: case for case in load_suite("smoke").cases}


@pytest.mark.parametrize("kind", NONSENSE)
def test_all_but_two_kinds_of_nonsense_are_known_for_it(kind):
    """Rushing and swerving are plans that a car can follow: these are for the collision check."""
    seen, rng = observe(speed=10.0), np.random.default_rng(1)
    fault = fault_of_plan(NONSENSE[kind](ahead(10.0), rng), seen.ego)
    assert bool(fault) != (kind in ("rushed", "swerving"))


def test_without_a_guard_the_latest_plan_is_driven_on():
    check, seen, plan = NoGuard(), observe(), ahead()
    check.reset(None)  # type: ignore[arg-type]
    assert check.check(seen, None, None, None).speed.max() == 0.0  # type: ignore[arg-type]
    for given in (plan, None, dataclasses.replace(plan, x=plan.x + np.nan)):
        assert check.check(seen, None, None, given) is plan  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("planner", "scenario", "seconds"),
    [("blind", "lead_vehicle_brake", 9.0), ("nonsense", "parked_obstruction", 13.0)],
)
def test_the_guard_prevents_what_happens_without_it(planner, scenario, seconds):
    case = dataclasses.replace(SMOKE[scenario], seconds=seconds)
    assert drive(case, planner, guarded=False).at_fault
    guarded = drive(case, planner, guarded=True)
    assert not guarded.at_fault and guarded.interventions > 0
