"""IMU, GNSS and odometry: the motion they give is the one made, the noise is the one asked for."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest

from roadloop.geometry import wrap_angle
from roadloop.maps.georeference import TransverseMercator, parse_georeference
from roadloop.readings import ImuSamples
from roadloop.rig import GnssSensor, ImuSensor, Mount, OdometrySensor
from roadloop.types import EgoState
from sim.sensors.inertial import GRAVITY, GnssModel, ImuModel, OdometryModel
from sim.sensors.timing import Delay, due

DT = 0.1
ORIGIN = Mount(0.0, 0.0, 0.0)
QUIET_IMU = dict.fromkeys(
    (f"{part}_{kind}" for part in ("accelerometer", "gyroscope") for kind in ("noise", "bias")),
    0.0,
) | {"accelerometer_walk": 0.0, "gyroscope_walk": 0.0}
QUIET_GNSS = {"noise": 0.0, "drift": 0.0}
QUIET_ODOMETRY = dict.fromkeys(("scale", "speed_noise", "steering_noise", "steering_offset"), 0.0)


def ego(x=0.0, y=0.0, z=0.0, heading=0.0, speed=0.0, acceleration=0.0, steering=0.0, yaw_rate=0.0):
    values = (x, y, z, heading, speed, acceleration, steering, yaw_rate)
    return EgoState(*(np.float64(v) for v in values))


def drive(state: EgoState, acceleration: float, steering: float) -> EgoState:
    """One step of the simulator's kinematic bicycle (sim/dynamics.py), without lags."""
    speed = max(float(state.speed) + acceleration * DT, 0.0)
    mean = 0.5 * (float(state.speed) + speed)
    curvature = math.tan(0.5 * (float(state.steering) + steering)) / state.vehicle.wheelbase
    turn = curvature * mean * DT
    chord = float(state.heading) + 0.5 * turn
    return ego(
        float(state.x) + mean * DT * math.cos(chord),
        float(state.y) + mean * DT * math.sin(chord),
        0.0,
        float(wrap_angle(float(state.heading) + turn)),
        speed,
        acceleration,
        steering,
        curvature * speed,
    )


def a_drive(steps: int) -> list[EgoState]:
    """Starting, weaving, braking; the steering changes at up to 0.7 rad/s, as fast as allowed."""
    states = [ego(x=10.0, y=-5.0, heading=2.5, speed=3.0)]
    for k in range(steps):
        steering = 0.35 * math.sin(0.4 * k * DT * 5.0)
        acceleration = 1.5 * math.cos(0.25 * k * DT)
        states.append(drive(states[-1], acceleration, steering))
    return states


def samples_of(model: ImuModel, states: list[EgoState]) -> ImuSamples:
    parts = [model.reset(states[0], 0.0)]
    for k, (a, b) in enumerate(pairwise(states)):
        parts.append(model.step(a, b, (k + 1) * DT, DT))
    names = [f.name for f in dataclasses.fields(ImuSamples)]
    return ImuSamples(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))


# --- clocks -------------------------------------------------------------------------------------


def test_measurements_are_due_at_multiples_of_their_period():
    assert list(due(100.0, 0.0, 0.1)) == list(range(1, 11))
    assert list(due(5.0, 0.0, 0.1)) == [] and list(due(5.0, 0.1, 0.2)) == [1]
    for rate in (3.0, 10.0, 12.0, 30.0, 100.0):  # every one exactly once, whatever dt rounds to
        numbers = [n for k in range(1000) for n in due(rate, k * DT, (k + 1) * DT)]
        assert numbers == list(range(1, round(100.0 * rate) + 1))


def test_a_delay_is_rounded_up_to_whole_steps():
    for latency, steps in ((0.0, 0), (0.05, 1), (0.1, 1), (0.11, 2), (0.3, 3)):
        delay = Delay(latency, DT)
        seen = []
        for step in range(6):
            if step % 2 == 0:
                delay.put(step, step)
            seen.append(delay.get(step))
        expected = [((k - steps) // 2 * 2 if k >= steps else None) for k in range(6)]
        assert seen == expected


# --- IMU ----------------------------------------------------------------------------------------


def test_at_rest_only_gravity_is_felt():
    model = ImuModel(ImuSensor("imu", Mount(1.0, 0.5, 0.7), **QUIET_IMU), 0)
    samples = samples_of(model, [ego()] * 4)
    assert samples.acceleration.shape == (31, 3)
    np.testing.assert_allclose(samples.acceleration, [[0.0, 0.0, 9.81]] * 31, atol=1e-12)
    np.testing.assert_array_equal(samples.angular_velocity, 0.0)
    np.testing.assert_array_equal(samples.timestamp_us, np.arange(31) * 10_000)


def test_a_tilted_sensor_feels_gravity_in_its_own_axes():
    model = ImuModel(ImuSensor("imu", Mount(0.0, 0.0, 0.0, pitch=0.3, roll=0.2), **QUIET_IMU), 0)
    force = model.reset(ego(), 0.0).acceleration[0]
    assert np.linalg.norm(force) == pytest.approx(GRAVITY)
    assert force[0] == pytest.approx(-GRAVITY * math.sin(0.3))  # nose down: up is behind
    assert force[1] == pytest.approx(GRAVITY * math.sin(0.2) * math.cos(0.3))


def test_a_steady_turn_pulls_to_its_centre():
    """v omega at the axle, and omega^2 r more for every metre the sensor is farther out."""
    states = [ego(speed=12.0, steering=0.05)]
    for _ in range(30):
        states.append(drive(states[-1], 0.0, 0.05))
    omega = 12.0 * math.tan(0.05) / 2.8
    for arm in ((0.0, 0.0), (2.0, 0.0), (0.0, 0.8)):
        model = ImuModel(ImuSensor("imu", Mount(*arm, 0.5), **QUIET_IMU), 0)
        late = samples_of(model, states[5:])  # the first step starts from its steady yaw rate
        np.testing.assert_allclose(late.angular_velocity[:, 2], omega, rtol=1e-9)
        expected = [-(omega**2) * arm[0], 12.0 * omega - omega**2 * arm[1], GRAVITY]
        np.testing.assert_allclose(late.acceleration, [expected] * 251, rtol=1e-7, atol=1e-9)


def test_accelerating_and_turning_in_throws_an_outer_sensor_about():
    model = ImuModel(ImuSensor("imu", ORIGIN, **QUIET_IMU), 0)
    states = [ego(speed=5.0), drive(ego(speed=5.0), 2.0, 0.0)]
    np.testing.assert_allclose(samples_of(model, states).acceleration[1:, 0], 2.0)
    front = ImuModel(ImuSensor("imu", Mount(3.0, 0.0, 0.0), **QUIET_IMU), 0)
    states = [ego(speed=5.0), drive(ego(speed=5.0), 0.0, 0.05)]
    plain = samples_of(ImuModel(ImuSensor("imu", ORIGIN, **QUIET_IMU), 0), states)
    thrown = samples_of(front, states)
    rate = plain.angular_velocity[1:, 2]
    extra = thrown.acceleration[1:, 1] - plain.acceleration[1:, 1]
    assert extra.mean() == pytest.approx(3.0 * rate[-1] / DT, rel=0.06)  # alpha times the arm


@pytest.mark.parametrize("arm", [(0.0, 0.0, 0.0), (1.6, -0.4, 1.2)])
def test_integrating_the_imu_gives_back_the_drive(arm):
    """Strapdown navigation, 20 s, with nothing but the samples and the first pose and velocity."""
    rate = 1000.0
    states = a_drive(200)
    mount = Mount(*arm, yaw=0.3, pitch=-0.2, roll=0.1)
    samples = samples_of(ImuModel(ImuSensor("imu", mount, rate, **QUIET_IMU), 0), states)
    ego_from_sensor = mount.ego_from_sensor[:3, :3]
    force = samples.acceleration @ ego_from_sensor.T
    gyro = samples.angular_velocity @ ego_from_sensor.T
    assert np.abs(gyro[:, :2]).max() < 1e-12
    h = 1.0 / rate
    w = gyro[:, 2]
    heading = 2.5 + np.concatenate([[0.0], np.cumsum(0.5 * h * (w[1:] + w[:-1]))])
    c, s = np.cos(heading), np.sin(heading)
    world = np.stack([c * force[:, 0] - s * force[:, 1], s * force[:, 0] + c * force[:, 1]], 1)

    def place(state: EgoState) -> np.ndarray:
        c, s = math.cos(state.heading), math.sin(state.heading)
        return np.array([state.x + c * arm[0] - s * arm[1], state.y + s * arm[0] + c * arm[1]])

    v0 = np.array([math.cos(2.5), math.sin(2.5)]) * 3.0
    v = v0 + np.concatenate([np.zeros((1, 2)), np.cumsum(0.5 * h * (world[1:] + world[:-1]), 0)])
    path = place(states[0]) + np.concatenate(
        [np.zeros((1, 2)), np.cumsum(0.5 * h * (v[1:] + v[:-1]), axis=0)]
    )
    ends = np.arange(0, 201) * 100
    turned = wrap_angle(heading[ends] - [s.heading for s in states])
    assert np.abs(turned).max() < 1e-6
    error = np.linalg.norm(path[ends] - [place(s) for s in states], axis=1)
    travelled = sum(float(s.speed) for s in states) * DT
    assert travelled > 80.0
    assert error[10] < 0.005 and error.max() < 0.1


def test_pitching_is_felt_and_measured():
    model = ImuModel(ImuSensor("imu", ORIGIN, **QUIET_IMU), 0)
    model.reset(ego(), 0.0)
    up = [np.array([math.sin(-a), 0.0, math.cos(a)]) for a in (0.0, 0.02)]  # nose goes down
    samples = model.step(ego(), ego(), DT, DT, up=(up[0], up[1]))
    np.testing.assert_allclose(samples.angular_velocity[:, 1], 0.2, rtol=1e-3)
    np.testing.assert_allclose(samples.acceleration[-1], GRAVITY * up[1], atol=1e-9)


def long_rest(sensor: ImuSensor, seconds: float, seed: int = 1) -> ImuSamples:
    model = ImuModel(sensor, seed)
    still = ego()
    model.reset(still, 0.0)
    return model.step(still, still, seconds, seconds)


def test_white_noise_has_the_density_asked_for_at_any_rate():
    for rate in (50.0, 400.0):
        quiet = QUIET_IMU | {"accelerometer_noise": 0.01, "gyroscope_noise": 0.001}
        samples = long_rest(ImuSensor("imu", ORIGIN, rate, **quiet), 20_000 / rate)
        # Allan deviation of white noise at an averaging time T is density / sqrt(T)
        for readings, density in ((samples.acceleration, 0.01), (samples.angular_velocity, 0.001)):
            for block in (1, 20):
                means = readings.reshape(-1, block, 3).mean(axis=1)
                allan = np.sqrt(0.5 * (np.diff(means, axis=0) ** 2).mean())
                assert allan == pytest.approx(density / math.sqrt(block / rate), rel=0.08)


def test_biases_start_at_random_and_walk():
    quiet = QUIET_IMU | {"accelerometer_bias": 0.05, "gyroscope_bias": 0.002}
    sensor = ImuSensor("imu", ORIGIN, **quiet)
    starts = np.array([ImuModel(sensor, k).reset(ego(), 0.0).acceleration[0] for k in range(300)])
    assert (starts - [0.0, 0.0, GRAVITY]).std() == pytest.approx(0.05, rel=0.1)
    one = long_rest(sensor, 10.0)
    assert np.ptp(one.acceleration, axis=0).max() < 1e-12  # constant within a drive
    walking = QUIET_IMU | {"gyroscope_walk": 0.001}
    ends = [
        long_rest(ImuSensor("imu", ORIGIN, 20.0, **walking), 100.0, k).angular_velocity[-1]
        for k in range(150)
    ]
    assert np.std(ends) == pytest.approx(0.001 * math.sqrt(100.0), rel=0.12)


def test_the_same_seed_gives_the_same_bytes_and_other_sensors_do_not_matter():
    states = a_drive(20)
    sensor = ImuSensor("imu", Mount(1.0, 0.0, 0.5))
    first, again = (samples_of(ImuModel(sensor, 5), states) for _ in range(2))
    assert first.acceleration.tobytes() == again.acceleration.tobytes()
    assert first.angular_velocity.tobytes() == again.angular_velocity.tobytes()
    other = samples_of(ImuModel(sensor, 6), states)
    renamed = samples_of(ImuModel(dataclasses.replace(sensor, name="imu-2"), 5), states)
    for differs in (other, renamed):
        assert (differs.acceleration != first.acceleration).all()


def test_an_imu_slower_than_the_simulator_gives_nothing_in_some_steps():
    model = ImuModel(ImuSensor("imu", ORIGIN, rate=5.0), 0)
    model.reset(ego(), 0.0)
    lengths = [len(model.step(ego(), ego(), k * DT, DT).timestamp_us) for k in range(1, 7)]
    assert lengths == [0, 1, 0, 1, 0, 1]


# --- GNSS ---------------------------------------------------------------------------------------


def test_the_antenna_is_where_it_is_mounted_and_swings_with_the_ego():
    sensor = GnssSensor("gnss", Mount(2.0, 0.5, 1.6), **QUIET_GNSS)
    state = ego(10.0, 20.0, 3.0, heading=math.pi / 2, speed=5.0, yaw_rate=0.4)
    fix = GnssModel(sensor, 0, None).measure(state, 1.2)
    assert fix is not None and fix.timestamp_us == 1_200_000
    assert (fix.x, fix.y, fix.z) == pytest.approx((9.5, 22.0, 4.6))
    # the velocity of the antenna by finite differences
    h = 1e-6
    later = dataclasses.replace(state, heading=state.heading + 0.4 * h, y=state.y + 5.0 * h)
    then = GnssModel(sensor, 0, None).measure(later, 0.0)
    assert then is not None
    velocity = np.array([then.x - fix.x, then.y - fix.y]) / h
    assert fix.speed == pytest.approx(np.linalg.norm(velocity), rel=1e-5)
    assert fix.course == pytest.approx(math.atan2(velocity[1], velocity[0]), abs=1e-5)
    assert math.isnan(fix.latitude) and math.isnan(fix.longitude)


def test_drift_is_correlated_and_noise_is_white():
    sensor = GnssSensor("gnss", ORIGIN, noise=0.5, drift=2.0, drift_time=2.0)
    model = GnssModel(sensor, 3, None)
    fixes = [model.measure(ego(), 0.2 * k) for k in range(12_000)]
    error = np.array([(f.x, f.y, f.z) for f in fixes if f])
    np.testing.assert_allclose(error.std(0), np.hypot(0.5, 2.0) * np.array([1, 1, 2]), rtol=0.1)
    for lag in (1, 5, 10):
        expected = 4.0 * math.exp(-0.2 * lag / 2.0)
        found = (error[lag:, :2] * error[:-lag, :2]).mean()
        assert found == pytest.approx(expected, rel=0.15)
    assert fixes[0] is not None and fixes[0].std == pytest.approx(math.hypot(0.5, 2.0))


def test_outages_have_the_share_and_the_length_asked_for():
    for rate, length in ((10.0, 1.0), (1.0, 4.0)):
        sensor = GnssSensor("gnss", ORIGIN, dropout=0.25, dropout_time=length)
        model = GnssModel(sensor, 2, None)
        out = np.array([model.measure(ego(), k / rate) is None for k in range(8_000)])
        assert out.mean() == pytest.approx(0.25, abs=0.05)
        # autocorrelation of a two-state chain: exp(-(rates' sum) t)
        centred = out - out.mean()
        lag = round(0.5 * length * rate)
        found = (centred[lag:] * centred[:-lag]).mean() / centred.var()
        assert found == pytest.approx(math.exp(-0.5 / 0.75), abs=0.1)
    never = GnssModel(GnssSensor("gnss", ORIGIN, dropout=1.0), 0, None)
    assert all(never.measure(ego(), 0.1 * k) is None for k in range(50))
    always = GnssModel(GnssSensor("gnss", ORIGIN), 0, None)
    assert all(always.measure(ego(), 0.1 * k) is not None for k in range(50))


def test_latitude_and_longitude_are_those_of_the_measured_position():
    here = parse_georeference("+proj=tmerc +lat_0=48.1 +lon_0=11.5 +k=1 +datum=WGS84 +no_defs")
    model = GnssModel(GnssSensor("gnss", Mount(1.0, 0.0, 1.5)), 4, here)
    fix = model.measure(ego(300.0, -200.0), 0.0)
    assert here is not None and fix is not None
    assert here.forward(fix.latitude, fix.longitude) == pytest.approx((fix.x, fix.y), abs=1e-6)
    # a degree of latitude is 111.2 km here
    assert fix.latitude == pytest.approx(48.1 + fix.y / 111_200.0, abs=2e-6)


# --- georeference -------------------------------------------------------------------------------


def test_transverse_mercator_is_that_of_the_ordnance_survey():
    """A guide to coordinate systems in Great Britain, annexe C: the worked example, to its mm."""
    a, b = 6377563.396, 6356256.909  # Airy 1830
    grid = TransverseMercator(49.0, -2.0, 0.9996012717, 400000.0, -100000.0, a, (a - b) / a)
    latitude, longitude = 52 + 39 / 60 + 27.2531 / 3600, 1 + 43 / 60 + 4.5177 / 3600
    assert grid.forward(latitude, longitude) == pytest.approx((651409.903, 313177.270), abs=2e-3)
    assert grid.inverse(651409.903, 313177.270) == pytest.approx((latitude, longitude), abs=2e-8)


def test_scale_along_meridian_and_equator_is_that_of_the_ellipsoid():
    """Radii of curvature a (1 - e^2) / (1 - e^2 sin^2)^1.5 and a / (1 - e^2 sin^2)^0.5."""
    a, e2 = 6378137.0, 0.00669437999014
    for latitude in (0.0, 35.0, 60.0):
        here = TransverseMercator(latitude=latitude, longitude=10.0)
        w = 1.0 - e2 * math.sin(math.radians(latitude)) ** 2
        north, east = here.inverse(0.0, 100.0), here.inverse(100.0, 0.0)
        assert math.radians(north[0] - latitude) == pytest.approx(
            100.0 / (a * (1.0 - e2) / w**1.5), rel=1e-5
        )
        parallel = a / math.sqrt(w) * math.cos(math.radians(latitude))
        assert math.radians(east[1] - 10.0) == pytest.approx(100.0 / parallel, rel=1e-8)


def test_projections_there_and_back():
    rng = np.random.default_rng(0)
    latitude, longitude = rng.uniform(-80.0, 84.0, 200), rng.uniform(4.0, 14.0, 200)
    zone = parse_georeference("+proj=utm +zone=32 +south +ellps=WGS84 +units=m +no_defs")
    assert zone is not None
    x, y = zone.forward(latitude, longitude)
    there = np.array(zone.inverse(x, y))
    assert np.abs(there - [latitude, longitude]).max() * 111_000.0 < 1e-5
    assert zone.forward(0.0, 9.0) == pytest.approx((500_000.0, 10_000_000.0))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+proj=merc +lat_ts=0 +lon_0=0",
        "+proj=utm +datum=WGS84",
        "+proj=tmerc +lat_0=north",
        "+proj=tmerc +lat_0=0 +units=us-ft",
        "+proj=tmerc +lat_0=0 +ellps=airy",
        "+proj=tmerc +lat_0=0 +towgs84=446,-125,542,0,0,0,0",
        "+proj=tmerc +lat_0=0 +axis=neu",
        "EPSG:25832",
    ],
)
def test_what_is_not_supported_has_no_latitude(text):
    assert parse_georeference(text) is None


def test_the_carla_maps_have_a_georeference():
    text = (
        "+proj=tmerc +lat_0=0 +lon_0=0 +k=1 +x_0=0 +y_0=0 +datum=WGS84 +units=m "
        "+geoidgrids=egm96_15.gtx +vunits=m +no_defs "
    )
    assert parse_georeference(text) == TransverseMercator()


# --- odometry -----------------------------------------------------------------------------------


def test_quiet_odometry_is_the_truth_of_the_newest_moment():
    model = OdometryModel(OdometrySensor("odometry", 50.0, **QUIET_ODOMETRY), 0)
    a = ego(speed=4.0, steering=0.1, yaw_rate=0.2)
    b = ego(speed=5.0, steering=0.2, yaw_rate=0.3)
    first = model.reset(a, 0.0)
    assert first is not None and (first.speed, first.yaw_rate) == pytest.approx((4.0, 0.2))
    now = model.step(a, b, DT, DT)
    assert now is not None and now.timestamp_us == 100_000
    assert (now.speed, now.steering, now.yaw_rate) == pytest.approx((5.0, 0.2, 0.3))
    slow = OdometryModel(OdometrySensor("odometry", 12.5, **QUIET_ODOMETRY), 0)
    then = slow.step(a, b, DT, DT)
    assert then is not None and then.timestamp_us == 80_000
    assert then.speed == pytest.approx(4.8)


def test_odometry_errors_have_the_sizes_asked_for():
    sensor = OdometrySensor("odometry", 10.0, scale=0.02, steering_offset=0.01)
    state = ego(speed=20.0, steering=0.05, yaw_rate=0.3)
    means, spreads = [], []
    for seed in range(120):
        model = OdometryModel(sensor, seed)
        found = [model.step(state, state, k * DT, DT) for k in range(1, 40)]
        rows = np.array([(o.speed, o.steering, o.yaw_rate) for o in found if o])
        means.append(rows.mean(0))
        spreads.append(rows.std(0))
    means, spread = np.array(means), np.sqrt(np.mean(np.square(spreads), axis=0))
    assert means[:, 0].std() == pytest.approx(20.0 * 0.02, rel=0.15)
    assert means[:, 1].std() == pytest.approx(0.01, rel=0.15)
    assert spread[0] == pytest.approx(sensor.speed_noise, rel=0.1)
    assert spread[1] == pytest.approx(sensor.steering_noise, rel=0.1)
    assert means[:, 2].mean() == pytest.approx(0.3, rel=0.02)


def test_standing_wheels_read_exactly_zero():
    model = OdometryModel(OdometrySensor("odometry"), 1)
    for k in range(1, 20):
        sample = model.step(ego(), ego(), k * DT, DT)
        assert sample is not None and sample.speed == 0.0 and sample.yaw_rate == 0.0


def test_lost_samples_leave_the_newest_that_came():
    model = OdometryModel(OdometrySensor("odometry", 50.0, dropout=0.5), 1)
    stamps = []
    for k in range(1, 400):
        sample = model.step(ego(), ego(), k * DT, DT)
        stamps.append(None if sample is None else round(k * 1e5) - sample.timestamp_us)
    came = [s for s in stamps if s is not None]
    # five samples a step: the newest came with 1/2, the next with 1/4 ...; none with 1/32
    assert np.mean([s == 0 for s in came]) == pytest.approx(0.5, abs=0.1)
    assert stamps.count(None) / len(stamps) == pytest.approx(1 / 32, abs=0.03)
    assert set(came) <= {0, 20_000, 40_000, 60_000, 80_000}
