"""What every controller does: errors fade, left is like right, a stop is held, nonsense refused."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from lagged_car import DT, POINTS, LaggedBicycle, arc, drive, slalom, slalom_line, straight

from planning.controllers import TrackingController
from planning.following import (
    GRAVITY,
    PlanPath,
    possible_acceleration,
    possible_steering,
)
from planning.lqr import Lqr
from planning.mpc import Mpc
from planning.pure_pursuit import PurePursuit
from planning.sent_commands import Motion, SentCommands, advanced
from roadloop.errors import RoadloopError
from roadloop.types import Trajectory, VehicleParameters
from roadloop.vehicles import ActuatorDelays

NEW = [Mpc, Lqr, PurePursuit]
ALL = [*NEW, TrackingController]
CAR = VehicleParameters()


def standing(x: float = 0.0) -> Trajectory:
    zero = np.zeros(POINTS)
    return Trajectory(zero + x, zero, zero, zero, DT)


def braking(speed: float, deceleration: float) -> Trajectory:
    t = np.arange(POINTS) * DT
    pace = np.maximum(speed - deceleration * t, 0.0)
    x = np.concatenate([[0.0], np.cumsum((pace[1:] + pace[:-1]) / 2.0 * DT)])
    zero = np.zeros(POINTS)
    return Trajectory(x, zero, zero, pace, DT)


@pytest.mark.parametrize("controller", NEW)
@pytest.mark.parametrize("speed", [3.0, 12.0, 30.0])
def test_a_lateral_error_fades_on_a_straight(controller, speed):
    car = LaggedBicycle(y=0.5, speed=speed)
    steps = int(max(120, 600 / speed))
    driven = drive(car, controller(), lambda car, t: straight(car.x, speed), steps)
    assert np.abs(driven.y[-10:]).max() < 0.02
    assert driven.y.min() > -0.2
    assert abs(car.heading) < 0.01


@pytest.mark.parametrize("controller", NEW)
def test_a_circle_is_met_and_kept(controller):
    def plan(car: LaggedBicycle, time: float) -> Trajectory:
        return arc(np.arctan2(car.x, 30.0 - car.y), 30.0, 8.0)

    driven = drive(LaggedBicycle(y=-0.3, speed=8.0), controller(), plan, 150)
    away = np.hypot(driven.x, driven.y - 30.0) - 30.0
    assert np.abs(away[-30:]).max() < 0.05


@pytest.mark.parametrize("controller", ALL)
def test_left_is_like_right(controller):
    def mirrored(plan: Trajectory) -> Trajectory:
        return dataclasses.replace(plan, y=-plan.y, heading=-plan.heading)

    left = drive(LaggedBicycle(speed=15.0), controller(), lambda car, t: slalom(t), 50)
    right = drive(LaggedBicycle(speed=15.0), controller(), lambda car, t: mirrored(slalom(t)), 50)
    # bounds of an iterative solver are met from another side
    tolerance = 1e-3 if controller is Mpc else 1e-9
    np.testing.assert_allclose(left.y, -right.y, atol=20 * tolerance)
    np.testing.assert_allclose(left.steering, -right.steering, atol=tolerance)


@pytest.mark.parametrize("controller", ALL)
def test_the_same_twice_and_after_a_reset(controller):
    used = controller()
    runs = []
    for _ in range(2):
        used.reset()
        runs.append(drive(LaggedBicycle(speed=15.0), used, lambda car, t: slalom(t), 25))
    fresh = drive(LaggedBicycle(speed=15.0), controller(), lambda car, t: slalom(t), 25)
    for run in runs:
        assert run.steering.tobytes() == fresh.steering.tobytes()
        assert run.acceleration.tobytes() == fresh.acceleration.tobytes()


@pytest.mark.parametrize("controller", [Lqr, PurePursuit, Mpc])
def test_what_is_under_way_is_taken_into_account(controller):
    """0.3 s of delay: a controller that knows of it stays nearer than one that does not."""
    worst = {}
    for known in (0.0, 0.3):
        follower = controller(delays=ActuatorDelays(known, known))
        car = LaggedBicycle(speed=15.0, late=3)
        driven = drive(car, follower, lambda car, t: slalom(t, lateral=2.0), 100)
        worst[known] = np.abs(driven.y - slalom_line(driven.x, lateral=2.0)).max()
    assert worst[0.3] < 0.75 * worst[0.0]


@pytest.mark.parametrize("controller", ALL)
def test_standing_is_held_with_the_wheels_still(controller):
    control = controller().control(LaggedBicycle(steering=0.2).observe(0), standing())
    assert control.acceleration < 0.0
    assert control.steering == pytest.approx(0.2)


@pytest.mark.parametrize("controller", ALL)
def test_it_starts_and_stops_where_the_plan_does_and_never_rolls_back(controller):
    def plan(car: LaggedBicycle, time: float) -> Trajectory:
        t = time + np.arange(POINTS) * DT
        speed = np.clip(1.5 * t, 0.0, np.maximum(np.minimum(6.0, 1.5 * (10.0 - t)), 0.0))
        x = car.x + np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]) * DT)])
        return Trajectory(x, np.zeros(POINTS), np.zeros(POINTS), speed, DT)

    driven = drive(LaggedBicycle(), controller(), plan, 120)
    assert driven.speed[50] == pytest.approx(6.0, abs=0.1)
    assert driven.speed[-5:].max() == 0.0
    assert driven.x[-1] == pytest.approx(36.0, abs=1.5)
    assert np.abs(driven.y).max() < 1e-6
    assert (np.diff(driven.x) >= 0.0).all()


@pytest.mark.parametrize("controller", ALL)
def test_an_emergency_is_braked_at_once(controller):
    control = controller().control(LaggedBicycle(speed=15.0).observe(0), braking(15.0, 8.0))
    assert control.acceleration < -7.5
    assert control.acceleration >= -CAR.max_deceleration


@pytest.mark.parametrize("controller", ALL)
def test_a_stop_on_the_spot_keeps_the_wheels_and_brakes(controller):
    car = LaggedBicycle(speed=5.0, steering=0.1)
    control = controller().control(car.observe(0), standing())
    assert control.acceleration < -4.0
    assert control.steering == pytest.approx(0.1)


@pytest.mark.parametrize("controller", ALL)
def test_short_plans_are_followed(controller):
    t = np.array([0.0, 0.1])
    plan = Trajectory(10.0 * t, 0.0 * t, 0.0 * t, 10.0 + 0.0 * t, DT)
    control = controller().control(LaggedBicycle(speed=10.0).observe(0), plan)
    assert abs(control.acceleration) < 0.2
    assert abs(control.steering) < 1e-3


@pytest.mark.parametrize("controller", ALL)
def test_a_plan_backwards_is_a_plan_to_stop(controller):
    def backwards(car: LaggedBicycle, time: float) -> Trajectory:
        speed = np.maximum(car.speed - 1.5 * DT * np.arange(POINTS), -2.0)
        x = car.x + np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]) * DT)])
        return Trajectory(x, np.zeros(POINTS), np.zeros(POINTS), speed, DT)

    driven = drive(LaggedBicycle(speed=2.0), controller(), backwards, 60)
    assert driven.speed[-1] == 0.0
    assert driven.acceleration[-20:].max() < 0.0


@pytest.mark.parametrize("controller", ALL)
def test_where_and_which_way_does_not_matter(controller):
    """Far from the origin, with headings that wrap from pi to -pi: the same commands."""
    turn, east, north = 2.9, 4e4, -7e4
    cos, sin = math.cos(turn), math.sin(turn)
    plan = arc(0.0, 25.0, 8.0)
    moved = dataclasses.replace(
        plan,
        x=east + cos * plan.x - sin * plan.y,
        y=north + sin * plan.x + cos * plan.y,
        heading=np.arctan2(np.sin(plan.heading + turn), np.cos(plan.heading + turn)),
    )
    here = LaggedBicycle(x=0.5, y=-0.4, heading=0.1, speed=8.5, steering=0.05)
    x, y = east + cos * 0.5 + sin * 0.4, north + sin * 0.5 - cos * 0.4
    there = dataclasses.replace(here, x=x, y=y, heading=0.1 + turn)
    expected = controller().control(here.observe(0), plan)
    got = controller().control(there.observe(0), moved)
    assert float(got.steering) == pytest.approx(float(expected.steering), abs=1e-6)
    assert float(got.acceleration) == pytest.approx(float(expected.acceleration), abs=1e-6)


def broken(plan: Trajectory, **fields: object) -> Trajectory:
    return dataclasses.replace(plan, **fields)


BAD = {
    "1 point": Trajectory(*(np.zeros(1) for _ in range(4)), dt=DT),
    r"heading\[3\] is nan": broken(
        straight(0.0, 5.0), heading=np.where(np.arange(POINTS) == 3, np.nan, 0.0)
    ),
    "speed has shape": broken(straight(0.0, 5.0), speed=np.zeros(7)),
    "dt is 0": broken(straight(0.0, 5.0), dt=0.0),
}


@pytest.mark.parametrize("controller", ALL)
@pytest.mark.parametrize("message", BAD)
def test_plans_that_cannot_be_followed_are_refused(controller, message):
    with pytest.raises(RoadloopError, match=message) as error:
        controller().control(LaggedBicycle(speed=5.0).observe(0), BAD[message])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("controller", ALL)
def test_an_ego_that_is_not_finite_is_refused(controller):
    with pytest.raises(RoadloopError, match=r"ego\.x is nan"):
        controller().control(LaggedBicycle(x=math.nan).observe(0), straight(0.0, 5.0))


@pytest.mark.parametrize("controller", NEW)
def test_a_forgotten_reset_is_told(controller):
    used, car = controller(), LaggedBicycle(speed=5.0)
    used.control(car.observe(7), straight(0.0, 5.0))
    with pytest.raises(RoadloopError, match=r"went back from 0\.7 s to 0 s: reset"):
        used.control(car.observe(0), straight(0.0, 5.0))


def test_errors_are_those_of_the_foot_point():
    path = PlanPath(arc(0.0, 20.0, 5.0))
    angle = 0.5
    inside = Motion(18.0 * math.sin(angle), 20.0 - 18.0 * math.cos(angle), angle + 0.1, 5.0, 0, 0)
    errors = path.errors(inside)
    assert errors.s == pytest.approx(20.0 * angle, abs=0.05)  # on a chord
    assert errors.lateral == pytest.approx(2.0, abs=5e-3)
    assert errors.heading == pytest.approx(0.1, abs=2e-3)


def test_before_and_after_the_plan_the_path_goes_straight_on():
    path = PlanPath(straight(10.0, 2.0))
    assert path.errors(Motion(7.0, 0.5, 0.0, 0, 0, 0))[:2] == pytest.approx((-3.0, 0.5))
    assert path.errors(Motion(25.0, -0.5, 0.0, 0, 0, 0))[:2] == pytest.approx((15.0, -0.5))
    x, y = path.points(np.array([-3.0, 4.0, 15.0]))
    np.testing.assert_allclose(x, [7.0, 14.0, 25.0])
    np.testing.assert_allclose(y, 0.0)


def test_where_the_plan_stands_it_adds_no_path():
    plan = braking(4.0, 4.0)
    path = PlanPath(plan)
    assert path.s[-1] == pytest.approx(2.0, abs=0.02)
    assert len(path.s) < 13
    assert path.travelled(np.array([3.0]))[0] == pytest.approx(2.0, abs=0.02)


@pytest.mark.parametrize(("steering", "acceleration"), [(0.2, 0.2), (0.25, 0.13), (0.0, 0.35)])
def test_the_car_is_foreseen_through_commands_under_way(steering, acceleration):
    """Against the same commands on the other bicycle, each channel with its own delay."""
    sent = SentCommands(ActuatorDelays(steering, acceleration))
    rng = np.random.default_rng(3)
    car = LaggedBicycle(speed=12.0)
    now = Motion(0.0, 0.0, 0.0, 12.0, 0.0, 0.0)
    commands = [(0.1 * k, rng.normal(0.0, 1.5), rng.normal(0.0, 0.03)) for k in range(5)]
    sent.begin(car.observe(0), now)
    for command in commands:
        sent.send(*command)
    foreseen = dict(zip(("steering", "acceleration"), sent.when_felt(0.4, now, CAR)))
    for name, delay in (("steering", steering), ("acceleration", acceleration)):
        x, y, heading, speed, a, delta = now
        step = 1e-4
        for k in range(round(delay / step)):
            time = 0.4 + (k + 0.5) * step
            told_a = [c[1] for c in commands if c[0] <= time - acceleration]
            told_s = [c[2] for c in commands if c[0] <= time - steering]
            a += ((told_a[-1] if told_a else 0.0) - a) * step / CAR.acceleration_lag
            turn = ((told_s[-1] if told_s else 0.0) - delta) / CAR.steering_lag
            delta += np.clip(turn, -CAR.max_steering_rate, CAR.max_steering_rate) * step
            x, y = x + speed * math.cos(heading) * step, y + speed * math.sin(heading) * step
            heading += speed * math.tan(delta) / CAR.wheelbase * step
            speed += a * step
        got = foreseen[name]
        assert (got.x, got.y) == pytest.approx((x, y), abs=0.02)
        assert got.heading == pytest.approx(heading, abs=0.01)
        assert (got.speed, got.acceleration) == pytest.approx((speed, a), abs=0.03)
        assert got.steering == pytest.approx(delta, abs=2e-3)


def test_foresight_never_rolls_back():
    stopping = Motion(0.0, 0.0, 0.0, 0.3, -4.0, 0.0)
    later = advanced(stopping, -4.0, 0.0, CAR, 0.1)
    assert later.speed == 0.0 and later.acceleration == 0.0


@pytest.mark.parametrize("speed", [0.0, 8.0, 30.0])
def test_possible_commands_lie_inside_every_limit(speed):
    before = 0.05
    for wanted in (-2.0, 0.0, 2.0):
        steering = possible_steering(CAR, wanted, before, DT, speed)
        assert abs(steering) <= CAR.max_steering
        assert abs(steering - before) <= CAR.max_steering_rate * DT + 1e-12
        for push in (-50.0, 50.0):
            acceleration = possible_acceleration(CAR, push, steering, speed)
            sideways = speed**2 * math.tan(steering) / CAR.wheelbase
            assert -CAR.max_deceleration <= acceleration <= CAR.max_acceleration
            if abs(sideways) <= CAR.friction * GRAVITY:
                assert math.hypot(acceleration, sideways) <= CAR.friction * GRAVITY + 1e-9
