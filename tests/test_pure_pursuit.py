"""Pure pursuit: circles through points ahead."""

from __future__ import annotations

import math

import numpy as np
import pytest
from lagged_car import DT, LaggedBicycle, arc, drive, slalom, straight

from planning.pure_pursuit import PurePursuit, PursuitGains
from roadloop.types import VehicleParameters

FREE = VehicleParameters(steering_lag=1e-9, max_steering_rate=100.0)


@pytest.mark.parametrize("radius", [12.0, 30.0, 100.0])
def test_on_a_circle_it_steers_the_circle(radius):
    car = LaggedBicycle(speed=5.0, steering=math.atan(2.8 / radius), vehicle=FREE)
    control = PurePursuit().control(car.observe(0), arc(0.0, radius, 5.0))
    assert math.tan(float(control.steering)) / 2.8 == pytest.approx(1.0 / radius, rel=0.01)


def test_the_circle_goes_through_the_point_ahead():
    """1 m beside a straight, the point 5 m ahead: curvature 2 * 1 / (5^2 + 1^2)."""
    gains = PursuitGains(look_ahead_time=0.5)
    car = LaggedBicycle(y=1.0, speed=10.0, vehicle=FREE)
    control = PurePursuit(gains).control(car.observe(0), straight(0.0, 10.0))
    assert math.tan(float(control.steering)) / 2.8 == pytest.approx(-2.0 / 26.0, rel=1e-6)


@pytest.mark.parametrize(("speed", "ahead"), [(1.0, 3.0), (20.0, 10.0), (60.0, 25.0)])
def test_the_point_lies_farther_ahead_the_faster_the_car(speed, ahead):
    slippery = VehicleParameters(steering_lag=1e-9, max_steering_rate=100.0, friction=50.0)
    car = LaggedBicycle(y=0.1, speed=speed, vehicle=slippery)
    control = PurePursuit().control(car.observe(0), straight(0.0, speed))
    curvature = math.tan(float(control.steering)) / 2.8
    assert curvature == pytest.approx(-0.2 / (ahead**2 + 0.01), rel=1e-6)


def test_a_short_plan_is_prolonged_straight_on():
    """The point ahead lies beyond the last point of the plan."""
    car = LaggedBicycle(y=0.5, speed=10.0, vehicle=FREE)
    full = PurePursuit().control(car.observe(0), straight(0.0, 10.0))
    plan = straight(0.0, 10.0)
    short = type(plan)(*(v[:3] for v in (plan.x, plan.y, plan.heading, plan.speed)), dt=DT)
    assert float(PurePursuit().control(car.observe(0), short).steering) == pytest.approx(
        float(full.steering)
    )


def test_limits_are_kept():
    slow = VehicleParameters(max_steering_rate=0.2, friction=0.4)
    car = LaggedBicycle(speed=15.0, vehicle=slow)
    driven = drive(car, PurePursuit(), lambda car, t: slalom(t), 80)
    assert np.abs(np.diff(driven.steering, prepend=0.0)).max() <= 0.2 * DT + 1e-12
    sideways = driven.speed**2 * np.tan(driven.steering) / slow.wheelbase
    assert np.hypot(sideways, driven.acceleration).max() < 1.01 * 0.4 * 9.80665
