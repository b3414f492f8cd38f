"""How vehicles move: truths of the kinematic bicycle, its actuators and its inverse."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sim_worlds import record, scenario_on

from roadloop.geometry import wrap_angle
from roadloop.maps.generate import generate_map
from roadloop.types import EgoState, VehicleParameters
from sim.batch import GRAVITY
from sim.dynamics import controls_from_motion
from sim.simulator import Simulator

ROAD = generate_map("straight", length=100.0, variation=0.0)
LANE = int(np.flatnonzero(ROAD.is_travel)[0])
CAR = VehicleParameters()
PROMPT = dataclasses.replace(CAR, steering_lag=0.0, acceleration_lag=0.0, max_steering_rate=100.0)
"""actuators that do at once what they are told"""


def drive(
    control: np.ndarray,
    *,
    vehicle: VehicleParameters = CAR,
    speed: float | np.ndarray = 0.0,
    steering: float = 0.0,
    dt: float = 0.1,
) -> EgoState:
    """Rear-axle states (steps + 1, worlds) under ``control`` (steps, worlds, 2), off any road."""
    worlds = control.shape[1]
    speeds = np.broadcast_to(speed, worlds)
    scenarios = [
        scenario_on(ROAD, speed=v, steering=steering, vehicle=vehicle, dt=dt) for v in speeds
    ]
    simulator = Simulator()
    a = record(simulator, simulator.reset(scenarios), len(control), control).agents[:, :, 0]
    heading = a["heading"].astype(float)
    return EgoState(
        x=a["x"] - vehicle.centre_offset * np.cos(heading),
        y=a["y"] - vehicle.centre_offset * np.sin(heading),
        z=a["z"],
        heading=heading,
        speed=a["speed"].astype(float),
        acceleration=a["acceleration"].astype(float),
        steering=a["steering"].astype(float),
        yaw_rate=a["yaw_rate"].astype(float),
        vehicle=vehicle,
    )


def constant(acceleration: float, steering: float, steps: int) -> np.ndarray:
    return np.broadcast_to([acceleration, steering], (steps, 1, 2))


@pytest.mark.parametrize("steering", [0.3, -0.2, 0.05])
def test_constant_steering_is_a_circle_of_the_rear_axle(steering: float) -> None:
    driven = drive(constant(0.0, steering, 150), speed=5.0, steering=steering)
    radius = CAR.wheelbase / np.tan(steering)
    centre_x = driven.x[0] - radius * np.sin(driven.heading[0])
    centre_y = driven.y[0] + radius * np.cos(driven.heading[0])
    away = np.hypot(driven.x - centre_x, driven.y - centre_y)
    # The axle moves on chords: their corners lie on the circle, to third order in the turn.
    np.testing.assert_allclose(away, abs(radius), rtol=1e-3)
    np.testing.assert_allclose(driven.yaw_rate[1:], 5.0 / radius, rtol=1e-5)
    turned = np.unwrap(driven.heading, axis=0)
    np.testing.assert_allclose(turned[-1] - turned[0], 150 * 0.1 * 5.0 / radius, rtol=1e-4)


def test_straight_ahead_covers_the_mean_speed_times_dt() -> None:
    driven = drive(constant(2.0, 0.0, 40), vehicle=PROMPT)
    time = 0.1 * np.arange(41)
    np.testing.assert_allclose(driven.speed[:, 0], 2.0 * time, atol=1e-5)
    np.testing.assert_allclose(driven.x[:, 0] - driven.x[0, 0], time**2, atol=1e-4)
    assert np.ptp(driven.y) == 0.0


@pytest.mark.parametrize("dt", [0.02, 0.05, 0.1])
def test_actuators_reach_63_percent_after_one_time_constant(dt: float) -> None:
    driven = drive(constant(2.0, 0.02, 20), dt=dt)
    after = round(CAR.acceleration_lag / dt)
    assert driven.acceleration[after, 0] == pytest.approx(2.0 * (1.0 - np.exp(-1.0)), rel=1e-5)
    after = round(CAR.steering_lag / dt)
    assert driven.steering[after, 0] == pytest.approx(0.02 * (1.0 - np.exp(-1.0)), rel=1e-5)


def test_actuators_keep_their_limits() -> None:
    driven = drive(constant(50.0, 3.0, 60))
    assert driven.acceleration.max() == pytest.approx(CAR.max_acceleration, rel=1e-5)
    assert driven.steering.max() == pytest.approx(CAR.max_steering, rel=1e-3)
    rate = np.diff(driven.steering, axis=0).max() / 0.1
    assert rate == pytest.approx(CAR.max_steering_rate, rel=1e-5)
    braking = drive(constant(-50.0, 0.0, 20), speed=30.0)
    assert braking.acceleration.min() == pytest.approx(-CAR.max_deceleration, rel=1e-3)


def test_friction_circle_limits_curvature_at_speed() -> None:
    grip = CAR.friction * GRAVITY
    coasting = drive(constant(0.0, 0.5, 30), speed=25.0, steering=0.5)
    np.testing.assert_allclose(coasting.yaw_rate[1:] * 25.0, grip, rtol=1e-4)
    braking = drive(constant(-6.0, 0.5, 15), speed=25.0, steering=0.5)
    v = 0.5 * (braking.speed[1:] + braking.speed[:-1])
    sideways = braking.yaw_rate[1:] * v
    np.testing.assert_allclose(np.hypot(sideways, braking.acceleration[1:]), grip, rtol=1e-4)
    assert sideways[-1, 0] < 0.8 * grip
    slow = drive(constant(0.0, 0.3, 10), speed=4.0, steering=0.3)
    curvature = np.tan(0.3) / CAR.wheelbase
    np.testing.assert_allclose(slow.yaw_rate[1:], 4.0 * curvature, rtol=1e-5)


def test_wet_road_brakes_no_harder_than_it_grips() -> None:
    ice = dataclasses.replace(CAR, friction=0.2)
    braking = drive(constant(-8.0, 0.0, 20), vehicle=ice, speed=20.0)
    assert braking.acceleration.min() == pytest.approx(-0.2 * GRAVITY, rel=1e-3)


def test_brakes_never_reverse() -> None:
    driven = drive(constant(-8.0, 0.1, 60), speed=3.0)
    assert driven.speed.min() == 0.0
    assert not driven.speed[20:].any()
    assert np.ptp(driven.x[20:]) == 0.0
    np.testing.assert_array_equal(driven.acceleration[20:], 0.0)
    away = drive(np.concatenate([constant(-8.0, 0.0, 20), constant(1.0, 0.0, 20)]), speed=3.0)
    assert away.speed[-1, 0] > 1.0  # and it drives on when told


def test_random_controls_stay_within_physics() -> None:
    rng = np.random.default_rng(1)
    control = rng.uniform([-12.0, -1.0], [8.0, 1.0], (80, 48, 2))
    driven = drive(control, speed=rng.uniform(0.0, 35.0, 48))
    assert (driven.speed >= 0.0).all()
    assert np.abs(driven.steering).max() <= CAR.max_steering + 1e-6
    assert (np.abs(np.diff(driven.steering, axis=0)) <= 0.1 * CAR.max_steering_rate + 1e-6).all()
    assert ((driven.heading > -np.pi - 1e-6) & (driven.heading <= np.pi + 1e-6)).all()
    v = 0.5 * (driven.speed[1:] + driven.speed[:-1])
    total = np.hypot(driven.yaw_rate[1:] * v, driven.acceleration[1:])
    assert total.max() <= CAR.friction * GRAVITY * (1.0 + 1e-4)
    moved = np.hypot(np.diff(driven.x, axis=0), np.diff(driven.y, axis=0))
    np.testing.assert_allclose(moved, v * 0.1, atol=1e-4)


def test_inverse_model_recovers_the_controls() -> None:
    rng = np.random.default_rng(2)
    control = np.stack(
        [rng.uniform(-1.5, 2.0, (60, 16)), rng.uniform(-0.15, 0.15, (60, 16))], axis=-1
    )
    driven = drive(control, vehicle=PROMPT, speed=rng.uniform(6.0, 9.0, 16))
    acceleration, steering = controls_from_motion(
        driven.x.T, driven.y.T, driven.heading.T, driven.speed.T, CAR.wheelbase, 0.1
    )
    went = driven.speed[1:] > 0.0
    assert went.mean() > 0.95
    np.testing.assert_allclose(acceleration.T[went], control[..., 0][went], atol=1e-3)
    # The mean steering of a step lies between this command and the one before.
    before = np.concatenate([np.zeros((1, 16)), control[:-1, :, 1]])
    mean = 0.5 * (before + control[..., 1])
    fast = driven.speed[1:] > 2.0
    np.testing.assert_allclose(steering.T[fast], mean[fast], atol=2e-3)


def test_inverse_model_takes_turns_across_the_back_and_standing_cars() -> None:
    heading = wrap_angle(np.pi - 0.05 + 0.1 * np.arange(4))
    x = np.append(0.0, np.cumsum(2.0 * np.cos(heading[:-1] + 0.05)))
    y = np.append(0.0, np.cumsum(2.0 * np.sin(heading[:-1] + 0.05)))
    _, steering = controls_from_motion(x, y, heading, np.full(4, 20.0), 2.8, 0.1)
    np.testing.assert_allclose(steering, np.arctan(0.05 * 2.8), rtol=1e-9)
    still = np.zeros(5)
    acceleration, steering = controls_from_motion(still, still, still + 1.0, still, 2.8, 0.1)
    assert not acceleration.any() and not steering.any()
