"""Tracking: a kinematic bicycle with actuator lags must stay on the planned trajectory."""

from __future__ import annotations

import numpy as np
import pytest
from lagged_car import DT, LaggedBicycle, arc, straight

from planning.controllers import TrackingController
from roadloop.errors import RoadloopError
from roadloop.types import Trajectory


@pytest.mark.parametrize("speed", [2.0, 8.0, 20.0, 33.0])
def test_one_metre_offset_fades_without_overshoot(speed):
    car, controller, lateral = LaggedBicycle(y=1.0, speed=speed), TrackingController(), []
    for step in range(int(max(150, 1500 / speed))):
        car.step(controller.control(car.observe(step), straight(car.x, speed)))
        lateral.append(car.y)
    assert min(lateral) > -0.2
    assert abs(lateral[-1]) < 0.02
    assert abs(car.heading) < 0.01


@pytest.mark.parametrize(("radius", "speed"), [(10.0, 4.0), (6.0, 3.0), (60.0, 11.0)])
def test_bend_after_a_straight_is_tracked(radius, speed):
    """The hardest case a map offers: curvature jumps from 0 to 1 / radius."""
    car, controller, errors = LaggedBicycle(x=-20.0, speed=speed), TrackingController(), []
    t = np.arange(51) * DT
    for step in range(int((20.0 + radius * 3.0) / speed / DT)):
        centre_angle = np.arctan2(car.x, radius - car.y)
        s = car.x if car.x < 0.0 else radius * centre_angle
        ahead = s + speed * t
        a = np.maximum(ahead, 0.0) / radius
        plan = Trajectory(
            np.where(ahead < 0.0, ahead, radius * np.sin(a)),
            radius - radius * np.cos(a),
            a,
            np.full(51, speed),
            DT,
        )
        car.step(controller.control(car.observe(step), plan))
        errors.append(abs(car.y) if car.x < 0.0 else abs(np.hypot(car.x, car.y - radius) - radius))
    assert max(errors) < 0.2


def test_steady_circle_has_no_lasting_error():
    car, controller = LaggedBicycle(speed=4.0), TrackingController()
    for step in range(200):
        angle = np.arctan2(car.x, 10.0 - car.y)
        car.step(controller.control(car.observe(step), arc(angle, 10.0, 4.0)))
    assert abs(np.hypot(car.x, car.y - 10.0) - 10.0) < 0.05


def test_speed_follows_the_plan_and_jerk_stays_comfortable():
    """0 -> 10 m/s -> 0 as a plan replanned from the ego's state with 2 m/s^2."""
    car, controller = LaggedBicycle(), TrackingController()
    speeds, accelerations = [], []
    for step in range(150):
        target = 10.0 if step < 75 else 0.0
        t = np.arange(51) * DT
        speed = car.speed + np.clip(target - car.speed, -2.0 * t, 2.0 * t)
        travelled = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2.0 * DT)])
        plan = Trajectory(car.x + travelled, np.zeros(51), np.zeros(51), speed, DT)
        car.step(controller.control(car.observe(step), plan))
        speeds.append(car.speed)
        accelerations.append(car.acceleration)
    jerk = np.diff(accelerations[:-25]) / DT
    assert speeds[74] == pytest.approx(10.0, abs=0.1)
    assert speeds[-1] == 0.0
    assert np.abs(jerk).max() < 4.13
    assert min(accelerations) > -4.05
    assert max(accelerations) < 2.40


def test_an_emergency_is_braked_at_once():
    car, controller = LaggedBicycle(speed=10.0), TrackingController()
    t = np.arange(51) * DT
    speed = np.maximum(10.0 - 8.0 * t, 0.0)
    plan = Trajectory(10.0 * t, np.zeros(51), np.zeros(51), speed, DT)
    assert controller.control(car.observe(0), plan).acceleration < -7.5


def test_standing_is_held_with_the_wheels_still():
    car, controller = LaggedBicycle(steering=0.2), TrackingController()
    plan = Trajectory(np.zeros(51), np.zeros(51), np.zeros(51), np.zeros(51), DT)
    control = controller.control(car.observe(0), plan)
    assert control.acceleration < 0.0
    assert control.steering == pytest.approx(0.2)


def test_a_single_point_is_refused():
    plan = Trajectory(*(np.zeros(1) for _ in range(4)), dt=DT)
    with pytest.raises(RoadloopError, match="1 point"):
        TrackingController().control(LaggedBicycle().observe(0), plan)
