"""The regulator of nuPlan's tracker as a controller."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from lagged_car import DT, LaggedBicycle, arc, drive, slalom, straight

from planning.lqr import Lqr
from roadloop.scoring.pdm_tracker import State, simulate_proposals
from roadloop.types import Trajectory, VehicleParameters
from roadloop.vehicles import ActuatorDelays

PROMPT = VehicleParameters(steering_lag=1e-9, acceleration_lag=0.2, max_steering_rate=100.0)
"""wheels that turn at the commanded rate, as far as a step can tell"""


def poses(plan: Trajectory) -> np.ndarray:
    return np.stack([plan.x, plan.y, plan.heading], axis=-1)


@pytest.mark.parametrize(("radius", "speed"), [(25.0, 6.0), (80.0, 14.0)])
def test_the_first_steering_is_that_of_the_scored_tracker(radius, speed):
    """Against `simulate_proposals`, from a start on the plan and with an error in heading."""
    plan = arc(0.0, radius, speed)
    steering, heading = 0.05, 0.03
    state = np.zeros(len(State))
    state[[State.HEADING, State.SPEED, State.STEERING]] = heading, speed, steering
    driven = simulate_proposals(state, poses(plan)[None], PROMPT, true_differences=True)
    car = LaggedBicycle(heading=heading, speed=speed, steering=steering, vehicle=PROMPT)
    control = Lqr().control(car.observe(0), plan)
    # its longitudinal half takes part in how far the car comes: equal as long as the speed holds
    assert float(control.steering) == pytest.approx(driven[0, 1, State.STEERING], abs=2e-4)


def test_the_rate_is_reached_in_spite_of_the_lag():
    """The command overshoots so that the lagging wheels turn as far as the regulator wants."""
    plan = arc(0.0, 40.0, 10.0)
    wanted = Lqr().control(LaggedBicycle(speed=10.0, vehicle=PROMPT).observe(0), plan).steering
    car = LaggedBicycle(speed=10.0, vehicle=VehicleParameters(max_steering_rate=100.0))
    car.step(Lqr().control(car.observe(0), plan), substeps=500)
    assert car.steering == pytest.approx(float(wanted), rel=5e-3)


def test_limits_are_kept():
    slow = VehicleParameters(max_steering_rate=0.2, friction=0.4)
    driven = drive(LaggedBicycle(speed=15.0, vehicle=slow), Lqr(), lambda car, t: slalom(t), 80)
    assert np.abs(np.diff(driven.steering, prepend=0.0)).max() <= 0.2 * DT + 1e-12
    sideways = driven.speed**2 * np.tan(driven.steering) / slow.wheelbase
    assert np.hypot(sideways, driven.acceleration).max() < 1.01 * 0.4 * 9.80665


def test_a_delay_of_one_step_is_seen_through():
    """Commands of the compensated controller are those of the plain one, a step before it."""
    plan = straight(0.0, 12.0)
    ahead = LaggedBicycle(y=0.4, speed=12.0)
    now = Lqr(delays=ActuatorDelays(DT, DT)).control(ahead.observe(0), plan)
    moved = dataclasses.replace(ahead, x=1.2)
    then = Lqr().control(moved.observe(0), straight(1.2, 12.0))
    assert float(now.steering) == pytest.approx(float(then.steering), abs=1e-9)
