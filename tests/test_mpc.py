"""Model predictive control: its model, its limits, and the slalom it is made for."""

from __future__ import annotations

import dataclasses
import math
import sys

import lagged_car
import numpy as np
import pytest
from controllers import Plain, track
from controllers import slalom as slalom_course
from lagged_car import DT, POINTS, LaggedBicycle, arc, drive, slalom, slalom_line, straight

from planning.following import GRAVITY, SpeedGains
from planning.mpc import Mpc, MpcSettings
from planning.tracking_problem import (
    COMMANDS,
    STEP,
    STEPS,
    Limits,
    Reference,
    TrackingProblem,
    TrackingWeights,
)
from roadloop.errors import RoadloopError
from roadloop.types import Trajectory, VehicleParameters
from roadloop.vehicles import ActuatorDelays, load_vehicle

T = np.arange(POINTS) * DT
CAR = VehicleParameters()
GAINS = SpeedGains()


def bend_reference(speed: float, curvature: float) -> Reference:
    steering = np.full(STEPS, math.atan(CAR.wheelbase * curvature))
    return Reference(
        travel=np.full(STEPS, speed * STEP),
        turn=np.full(STEPS, speed * STEP * curvature),
        steering=steering,
        curvature=np.full(STEPS, curvature),
        slope=(1.0 + np.tan(steering) ** 2) / CAR.wheelbase,
        steering_change=np.zeros(STEPS),
        elapsed=STEP,
        progress=speed * STEP * np.arange(1, STEPS + 1),
        speed=np.full(STEPS, speed),
    )


def braked(plan: Trajectory, deceleration: float) -> Trajectory:
    """The same path, braked from now on."""
    speed = np.maximum(plan.speed[0] - deceleration * T, 0.0)
    s = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(plan.x), np.diff(plan.y)))])
    at = np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]) * DT)])
    x, y, heading = (np.interp(at, s, v) for v in (plan.x, plan.y, plan.heading))
    return Trajectory(x, y, heading, speed, DT)


def wide_limits() -> Limits:
    wide = np.full(STEPS, 100.0)
    return Limits(wide, wide, (-wide, wide), (-wide, wide), wide, emergency=False)


def test_the_solution_obeys_the_model():
    """The states it foresees are those that its commands lead to, by the vehicle's equations."""
    problem = TrackingProblem(CAR, TrackingWeights())
    curvature, speed = 0.02, 10.0
    reference = bend_reference(speed, curvature)
    start = (0.4, -0.05, 0.03, 0.5, 9.0, 0.3)
    problem.solve(start, (0.02, 0.1), reference, wide_limits())
    assert problem.converged
    e, psi, delta, p, v, a = start
    slope, base = reference.slope[0], reference.steering[0]
    foreseen = problem.foreseen()
    for k in range(STEPS):
        u, w = problem.commands[k]
        delta_then = delta + (u - delta) * (1.0 - math.exp(-STEP / CAR.steering_lag))
        a_then = a + (w - a) * (1.0 - math.exp(-STEP / CAR.acceleration_lag))
        bent = curvature + slope * (0.5 * (delta + delta_then) - base)
        psi_then = psi + speed * STEP * (bent - curvature)
        e_then = e + speed * STEP * 0.5 * (psi + psi_then)
        v_then = v + STEP * 0.5 * (a + a_then)
        p_then = p + STEP * 0.5 * (v + v_then)
        e, psi, delta, p, v, a = e_then, psi_then, delta_then, p_then, v_then, a_then
        np.testing.assert_allclose(foreseen[k], [e, psi, delta, p, v, a], atol=1e-9)


def test_no_neighbour_of_the_solution_is_better():
    """Commands a little different cost more: it is the minimum, and the cost is the one meant."""
    rng = np.random.default_rng(1)
    weights = TrackingWeights()
    problem = TrackingProblem(CAR, weights)
    speed, start, before = 12.0, np.array([0.5, 0.02, 0.0, -0.5, 11.0, 0.0]), (0.01, 0.2)
    reference = bend_reference(speed, 0.01)
    problem.solve(tuple(start), before, reference, wide_limits())

    def cost(commands: np.ndarray) -> float:
        e, psi, delta, p, v, a = start
        total = 0.0
        rate = (weights.curvature_rate + weights.lateral_jerk * speed**2) * reference.slope[0]
        for k, change in enumerate(np.diff(commands, axis=0, prepend=[before])):
            u, w = commands[k]
            delta_then = delta + (u - delta) * (1.0 - math.exp(-STEP / CAR.steering_lag))
            a_then = a + (w - a) * (1.0 - math.exp(-STEP / CAR.acceleration_lag))
            middle = 0.5 * (delta + delta_then) - reference.steering[0]
            psi_then = psi + speed * STEP * reference.slope[0] * middle
            e, psi, delta = e + speed * STEP * 0.5 * (psi + psi_then), psi_then, delta_then
            v_then = v + STEP * 0.5 * (a + a_then)
            p, v, a = p + STEP * 0.5 * (v + v_then), v_then, a_then
            end = weights.end**2 if k == STEPS - 1 else 1.0
            total += end * (e**2 + (weights.sideways * speed * psi) ** 2)
            total += (weights.progress * (p - reference.progress[k])) ** 2
            total += (weights.speed * (v - speed)) ** 2
            total += (rate * change[0] / STEP) ** 2 + (weights.jerk * change[1] / STEP) ** 2
        return total

    best = cost(problem.commands)
    for _ in range(40):
        other = problem.commands + rng.normal(0.0, [0.01, 0.3], (STEPS, COMMANDS))
        assert cost(other) > best


def test_commands_are_possible_whatever_the_state():
    """Whatever the state, the plan and the commands before: fast, skidding, on ice."""
    rng = np.random.default_rng(2)
    for friction in (0.9, 0.2):
        vehicle = dataclasses.replace(CAR, friction=friction)
        for _ in range(25):
            controller = Mpc(delays=ActuatorDelays(0.1, 0.1))
            car = LaggedBicycle(
                y=rng.normal(0.0, 1.0),
                heading=rng.normal(0.0, 0.2),
                speed=rng.uniform(0.5, 35.0),
                acceleration=rng.uniform(-8.0, 4.0),
                steering=rng.uniform(-0.6, 0.6),
                vehicle=vehicle,
            )
            radius = rng.uniform(15.0, 300.0)
            plan = arc(0.0, radius, rng.uniform(0.0, 30.0))
            control = controller.control(car.observe(0), plan)
            change = abs(float(control.steering) - car.steering)
            assert change <= vehicle.max_steering_rate * DT + 1e-9
            assert abs(control.acceleration) <= friction * GRAVITY + 1e-9


@pytest.mark.parametrize("late", [0, 2])
def test_half_g_slalom_within_15_cm(late):
    """With 0.2 s of delay as without: the acceptance of this controller."""
    delay = late * DT
    car = LaggedBicycle(speed=15.0, late=late)
    driven = drive(car, Mpc(delays=ActuatorDelays(delay, delay)), lambda car, t: slalom(t), 130)
    assert np.abs(driven.y - slalom_line(driven.x)).max() < 0.15
    assert np.abs(driven.felt[:, 1]).max() > 0.055  # the wheels of 0.5 g at 15 m/s


@pytest.mark.parametrize(("dt", "late"), [(0.05, 4), (0.2, 1)])
def test_it_may_be_asked_more_or_less_often(dt, late, monkeypatch):
    """Commands that are held shorter or longer than a step of the problem."""
    monkeypatch.setattr(lagged_car, "DT", dt)
    monkeypatch.setattr(lagged_car, "POINTS", round(5.0 / dt) + 1)
    car = LaggedBicycle(speed=15.0, late=late)
    follower = Mpc(delays=ActuatorDelays(0.2, 0.2))
    driven = drive(car, follower, lambda car, t: slalom(t), round(5.0 / dt))
    assert np.abs(driven.y - slalom_line(driven.x)).max() < 0.15
    assert np.abs(np.diff(driven.steering)).max() <= CAR.max_steering_rate * dt
    assert np.abs(np.diff(driven.acceleration)).max() <= GAINS.comfort_jerk * dt + 1e-9


def test_half_g_slalom_on_the_simulators_car():
    """As benchmarks/controllers.py measures it: one period, 0.2 s of delay."""
    plain = Plain(CAR, 0.2)
    tracked = track(Mpc(delays=ActuatorDelays(0.2, 0.2)), slalom_course(15.0), plain, 8.0)
    assert np.abs(tracked.across).max() < 0.15
    sideways = [float(o.ego.yaw_rate) * float(o.ego.speed) for o in tracked.observations]
    assert max(sideways) == pytest.approx(0.5 * GRAVITY, rel=0.1)


def test_knowing_half_of_the_delay_is_better_than_nothing():
    worst = []
    for known in (0.0, 0.1, 0.2):
        car = LaggedBicycle(speed=15.0, late=2)
        follower = Mpc(delays=ActuatorDelays(known, known))
        driven = drive(car, follower, lambda car, t: slalom(t), 80)
        worst.append(np.abs(driven.y - slalom_line(driven.x)).max())
    assert worst[0] > 1.8 * worst[1] > 3.6 * worst[2]


def test_it_catches_up_with_the_plan():
    """3 m behind: the plan's place is reached again, comfortably and without overshoot."""

    def plan(car: LaggedBicycle, time: float) -> Trajectory:
        return straight(3.0 + 10.0 * time, 10.0)

    driven = drive(LaggedBicycle(speed=10.0), Mpc(), plan, 150)
    behind = 3.0 + 10.0 * DT * np.arange(150) - driven.x
    assert behind[0] == pytest.approx(3.0)
    assert np.abs(behind[-20:]).max() < 0.1
    assert behind.min() > -0.4
    assert np.abs(np.diff(driven.acceleration)).max() <= GAINS.comfort_jerk * DT + 1e-9


@pytest.mark.parametrize("late", [0, 3])
def test_comfortable_plans_keep_jerk_and_acceleration(late):
    """Plans that step between 5 and 12 m/s: the commands and the car stay comfortable."""

    def plan(car: LaggedBicycle, time: float) -> Trajectory:
        target = 12.0 if time % 8.0 < 4.0 else 5.0
        speed = car.speed + np.clip(target - car.speed, -2.0 * T, 2.0 * T)
        x = car.x + np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]) * DT)])
        return Trajectory(x, np.zeros(POINTS), np.zeros(POINTS), speed, DT)

    car = LaggedBicycle(speed=5.0, late=late)
    follower = Mpc(delays=ActuatorDelays(late * DT, late * DT))
    driven = drive(car, follower, plan, 160)
    assert driven.acceleration.max() <= GAINS.comfort_acceleration + 1e-9
    assert driven.acceleration.min() >= -GAINS.comfort_deceleration - 1e-9
    assert np.abs(np.diff(driven.acceleration)).max() <= GAINS.comfort_jerk * DT + 1e-9
    assert np.abs(np.diff(driven.felt[:, 0])).max() <= GAINS.comfort_jerk * DT + 1e-9
    assert driven.speed[38:41].max() == pytest.approx(12.0, abs=0.6)


def test_the_wheels_never_turn_faster_than_they_can():
    """A hairpin out of a straight takes more than there is: all of it is used, and no more."""

    def plan(car: LaggedBicycle, time: float) -> Trajectory:
        s = np.maximum(6.0 * (time + T) - 6.0, 0.0) / 6.0
        x = np.minimum(6.0 * (time + T), 6.0) + 6.0 * np.sin(s)
        return Trajectory(x, 6.0 - 6.0 * np.cos(s), s, np.full(POINTS, 6.0), DT)

    slow = dataclasses.replace(CAR, max_steering_rate=0.3)
    driven = drive(LaggedBicycle(speed=6.0, vehicle=slow), Mpc(), plan, 50)
    turned = np.diff(driven.steering, prepend=0.0)
    assert np.abs(turned).max() <= 0.3 * DT + 1e-9
    assert np.abs(turned).max() > 0.99 * 0.3 * DT
    assert np.abs(np.diff(driven.felt[:, 1])).max() <= 0.3 * DT + 1e-9
    assert np.abs(driven.steering).max() <= CAR.max_steering


@pytest.mark.parametrize("friction", [0.9, 0.35])
def test_the_tyres_are_never_asked_for_more_than_they_give(friction):
    """Braking hard while the slalom bends: the combined acceleration stays inside the circle."""

    def plan(car: LaggedBicycle, time: float) -> Trajectory:
        return slalom(time) if time < 6.0 else braked(slalom(time), 4.5)

    vehicle = dataclasses.replace(CAR, friction=friction)
    car = LaggedBicycle(speed=15.0, vehicle=vehicle)
    driven = drive(car, Mpc(), plan, 85)
    grip = friction * GRAVITY
    for steering, acceleration in (
        (driven.steering, driven.acceleration),
        (driven.felt[:, 1], driven.felt[:, 0]),
    ):
        sideways = driven.speed**2 * np.tan(steering) / CAR.wheelbase
        assert np.hypot(sideways, acceleration).max() < 1.01 * grip
    assert driven.acceleration.min() < -0.5 * grip


def test_an_emergency_ends_at_once_too():
    def plan(car: LaggedBicycle, time: float) -> Trajectory:
        plan = straight(car.x, car.speed)
        return braked(plan, 8.0) if time < 0.45 else plan

    driven = drive(LaggedBicycle(speed=20.0), Mpc(), plan, 15)
    assert driven.acceleration[:4].max() < -7.0
    assert driven.acceleration[5] > -1.5


def test_every_vehicle_shipped_keeps_a_roundabout():
    for name in ("compact-car", "van", "bus"):
        vehicle = load_vehicle(name).parameters
        car = LaggedBicycle(speed=5.0, vehicle=vehicle)

        def plan(car: LaggedBicycle, time: float) -> Trajectory:
            return arc(np.arctan2(car.x, 15.0 - car.y), 15.0, 5.0)

        driven = drive(car, Mpc(), plan, 70)
        away = np.abs(np.hypot(driven.x, driven.y - 15.0) - 15.0)
        assert away.max() < 1.5 and away[-10:].max() < 0.05, name  # no bus enters it at once


def test_without_osqp_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "osqp", None)
    with pytest.raises(RoadloopError, match=r"needs osqp: pip install"):
        Mpc().control(LaggedBicycle(speed=5.0).observe(0), straight(0.0, 5.0))


def test_settings_reach_the_problem():
    """A controller that minds jerk across the car more turns its wheels less at first."""
    first = []
    for weight in (0.02, 0.3):
        settings = MpcSettings(weights=TrackingWeights(lateral_jerk=weight))
        car = LaggedBicycle(y=0.3, speed=15.0)
        first.append(
            abs(float(Mpc(settings).control(car.observe(0), straight(0.0, 15.0)).steering))
        )
    assert first[0] > 1.5 * first[1] > 0.0
