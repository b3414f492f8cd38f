"""IMU, GNSS receiver and wheel odometry of one ego, from its states at consecutive steps.

Each model holds its own errors (biases, drift, outage) and its own random numbers, seeded by the
scenario's seed and the sensor's name; ``step`` takes the ego's states of the step before and now.

Between the two the motion is made continuous: speed changes linearly; the yaw rate runs from the
value it ended the previous step with to the present one, with a parabola on top that makes it
integrate to the change of heading exactly::

    w(u) = w0 + (w1 - w0) u + 6 c u (1 - u),    c = turn / dt - (w0 + w1) / 2,    u = 0 ... 1

so what an IMU gives, integrated, is the motion the simulator made.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from roadloop.geometry import wrap_angle
from roadloop.maps.georeference import TransverseMercator
from roadloop.readings import GnssFix, ImuSamples, WheelOdometry
from roadloop.rig import GnssSensor, ImuSensor, OdometrySensor
from roadloop.types import EgoState
from sim.sensors.timing import due, microseconds

Array = np.ndarray

GRAVITY = 9.81
"""m/s^2"""

LEVEL = np.array([0.0, 0.0, 1.0])
"""the vertical in the axes of an ego that stands level"""

VELOCITY_SHARE = 0.1
"""m/s of velocity noise for each m of a receiver's white noise (u-blox M8 data sheet: 0.05 m/s
where positions are good to 2.5 m at half confidence, most of that slow)"""

TRACK_SHARE = 0.84
"""of a vehicle's width: the distance of its rear wheels, centre to centre (1.6 m of 1.9 m)"""

_SALT = 0x1E57


def between(previous: EgoState, ego: EgoState, share: float) -> EgoState:
    """The ego at ``share`` of the step from ``previous`` to ``ego``."""
    if share >= 1.0:
        return ego
    mixed = {
        name: getattr(previous, name) + share * (getattr(ego, name) - getattr(previous, name))
        for name in ("x", "y", "z", "speed", "acceleration", "steering", "yaw_rate")
    }
    turn = wrap_angle(ego.heading - previous.heading)
    return replace(ego, heading=wrap_angle(previous.heading + share * turn), **mixed)


class ImuModel:
    """Specific force and angular velocity at the sensor's place and in its axes.

    With the rear axle's acceleration ``a``, angular velocity ``w`` and the sensor at ``r`` from the
    axle, the accelerometer gives ``a + w' x r + w x (w x r) + g up``, plus a bias that starts at
    random and walks, plus white noise (both as IEEE Std 952 and Allan variance define them).
    """

    def __init__(self, sensor: ImuSensor, seed: int):
        self.sensor = sensor
        self._rng = np.random.default_rng([seed, *sensor.name.encode(), _SALT])
        size = _six(sensor.accelerometer_bias, sensor.gyroscope_bias)
        self._bias = size * self._rng.standard_normal(6)
        self._yaw_rate = 0.0
        self._arm = np.array([sensor.mount.x, sensor.mount.y, sensor.mount.z])
        self._cross_arm = _cross_with(self._arm)
        self._ego_from_sensor = sensor.mount.ego_from_sensor[:3, :3]
        self._walk = _six(sensor.accelerometer_walk, sensor.gyroscope_walk) / sensor.rate**0.5
        self._noise = _six(sensor.accelerometer_noise, sensor.gyroscope_noise) * sensor.rate**0.5

    def reset(self, ego: EgoState, time: float, *, up: Array = LEVEL) -> ImuSamples:
        """One sample of the first state, its turning taken as steady; ``up`` as in ``step``."""
        self._yaw_rate = float(ego.yaw_rate)
        one = np.ones(1)
        return self._measure(
            np.array([time]),
            float(ego.acceleration) * one,
            float(ego.speed) * one,
            self._yaw_rate * up[None],
            np.zeros((1, 3)),
            up[None],
        )

    def step(
        self,
        previous: EgoState,
        ego: EgoState,
        time: float,
        dt: float,
        *,
        up: tuple[Array, Array] = (LEVEL, LEVEL),
    ) -> ImuSamples:
        """The samples due in the step that ended at ``time`` (s).

        Args:
            up: the vertical in the ego's axes at ``previous`` and now, (3,) each, where the
                vehicle pitches and rolls; its turning between them is measured too.
        """
        numbers = np.array(due(self.sensor.rate, time - dt, time), dtype=np.float64)
        times = numbers / self.sensor.rate
        u = np.clip((times - (time - dt)) / dt, 0.0, 1.0)
        v0, v1 = float(previous.speed), float(ego.speed)
        mean = float(wrap_angle(ego.heading - previous.heading)) / dt
        w0, w1 = self._yaw_rate, _yaw_rate_now(previous, ego)
        self._yaw_rate = w1
        bow = 6.0 * (mean - 0.5 * (w0 + w1))
        vertical = up[0] + u[:, None] * (up[1] - up[0])
        vertical /= np.linalg.norm(vertical, axis=1, keepdims=True)
        tilting = vertical @ _cross_with((up[0] - up[1]) / dt)
        yaw_rate = w0 + (w1 - w0) * u + bow * u * (1.0 - u)
        yawing = ((w1 - w0) + bow * (1.0 - 2.0 * u)) / dt
        return self._measure(
            times,
            np.full(len(u), (v1 - v0) / dt),
            v0 + (v1 - v0) * u,
            yaw_rate[:, None] * vertical + tilting,
            yawing[:, None] * vertical,
            vertical,
        )

    def _measure(
        self,
        times: Array,
        acceleration: Array,
        speed: Array,
        rates: Array,
        rates_change: Array,
        up: Array,
    ) -> ImuSamples:
        """Samples of a motion in the ego's axes; ``(samples,)`` or ``(samples, 3)``, SI."""
        force = GRAVITY * up + rates_change @ self._cross_arm
        force += rates * (rates @ self._arm)[:, None]  # w x (w x r) = w (w r) - r (w w)
        force -= self._arm * (rates * rates).sum(axis=1)[:, None]
        force[:, 0] += acceleration
        force[:, 1] += rates[:, 2] * speed  # w x (speed, 0, 0)
        force[:, 2] -= rates[:, 1] * speed
        turned = np.concatenate([force @ self._ego_from_sensor, rates @ self._ego_from_sensor], 1)
        white, walk = self._rng.standard_normal((2, len(times), 6))
        bias = self._bias + np.cumsum(walk * self._walk, axis=0)
        if len(times):
            self._bias = bias[-1]
        measured = turned + bias + white * self._noise
        return ImuSamples(
            timestamp_us=np.round(times * 1e6).astype(np.int64),
            acceleration=measured[:, :3],
            angular_velocity=measured[:, 3:],
        )


class GnssModel:
    """Position, speed and course of the antenna, with white noise, slow drift and outages.

    The drift is a first-order Gauss-Markov process of each axis, exact for any time between fixes;
    the outage a two-state Markov chain with the share and the mean length the sensor gives.
    Heights are twice as uncertain. Velocity has ``VELOCITY_SHARE`` of the white noise; a standing
    receiver's course is as random as a real one's. Latitude and longitude are those of the measured
    position, NaN without a ``georeference``.
    """

    def __init__(self, sensor: GnssSensor, seed: int, georeference: TransverseMercator | None):
        self.sensor = sensor
        self.georeference = georeference
        self._rng = np.random.default_rng([seed, *sensor.name.encode(), _SALT])
        self._drift = self._rng.standard_normal(3)  # in units of its standard deviation
        self._out = bool(self._rng.random() < sensor.dropout)
        self._time: float | None = None

    def measure(self, ego: EgoState, time: float) -> GnssFix | None:
        """The fix at ``time`` (s, later than the last one); None while there is none."""
        sensor, rng = self.sensor, self._rng
        white, walk, velocity_noise = rng.standard_normal((3, 3))
        chance = rng.random()
        if self._time is not None:
            elapsed = time - self._time
            kept = math.exp(-elapsed / sensor.drift_time)
            self._drift = kept * self._drift + math.sqrt(1.0 - kept**2) * walk
            self._out = bool(chance < self._outage(elapsed))
        self._time = time
        if self._out:
            return None
        c, s = math.cos(ego.heading), math.sin(ego.heading)
        ahead, left = sensor.mount.x, sensor.mount.y
        error = (sensor.noise * white + sensor.drift * self._drift) * (1.0, 1.0, 2.0)
        x = float(ego.x + c * ahead - s * left + error[0])
        y = float(ego.y + s * ahead + c * left + error[1])
        along, across = ego.speed - ego.yaw_rate * left, ego.yaw_rate * ahead
        vx, vy = VELOCITY_SHARE * sensor.noise * velocity_noise[:2]
        vx, vy = float(vx + c * along - s * across), float(vy + s * along + c * across)
        latitude, longitude = math.nan, math.nan
        if self.georeference is not None:
            latitude, longitude = self.georeference.inverse(x, y)
        return GnssFix(
            x=x,
            y=y,
            z=float(ego.z + sensor.mount.z + error[2]),
            latitude=float(latitude),
            longitude=float(longitude),
            speed=math.hypot(vx, vy),
            course=math.atan2(vy, vx),
            std=math.hypot(sensor.noise, sensor.drift),
            timestamp_us=microseconds(time),
        )

    def _outage(self, elapsed: float) -> float:
        """Probability of being without a fix ``elapsed`` s after the last measurement."""
        share, length = self.sensor.dropout, self.sensor.dropout_time
        if share in (0.0, 1.0) or length == 0.0:
            return share
        forgotten = math.exp(-elapsed / length / (1.0 - share))  # 1 / length out, the rest in
        return share + (self._out - share) * forgotten


class OdometryModel:
    """Speed and yaw rate from the two rear wheels, and the steering angle.

    The wheels share one error of their radius; each has white noise of its own, so that their mean
    has the sensor's. A wheel that stands gives no pulses: exactly 0. The steering angle has a
    constant offset and white noise.
    """

    def __init__(self, sensor: OdometrySensor, seed: int):
        self.sensor = sensor
        self._rng = np.random.default_rng([seed, *sensor.name.encode(), _SALT])
        self._scale = 1.0 + sensor.scale * self._rng.standard_normal()
        self._offset = sensor.steering_offset * self._rng.standard_normal()

    def reset(self, ego: EgoState, time: float) -> WheelOdometry | None:
        """The sample of the first state; None where it got lost."""
        return self._newest(ego, ego, np.array([time]), np.ones(1))

    def step(
        self, previous: EgoState, ego: EgoState, time: float, dt: float
    ) -> WheelOdometry | None:
        """The newest sample of the step that ended at ``time`` (s); None where none came."""
        numbers = np.array(due(self.sensor.rate, time - dt, time), dtype=np.float64)
        times = numbers / self.sensor.rate
        return self._newest(previous, ego, times, (times - (time - dt)) / dt)

    def _newest(
        self, previous: EgoState, ego: EgoState, times: Array, shares: Array
    ) -> WheelOdometry | None:
        sensor = self.sensor
        lost = self._rng.random(len(times)) < sensor.dropout
        noise = self._rng.standard_normal((len(times), 3))
        if lost.all():
            return None
        k = int(np.flatnonzero(~lost)[-1])
        then = between(previous, ego, float(shares[k]))
        track = TRACK_SHARE * then.vehicle.width
        wheels = float(then.speed) + 0.5 * track * float(then.yaw_rate) * np.array([-1.0, 1.0])
        turning = np.abs(wheels) > 1e-6  # left, right
        noisy = wheels * self._scale + np.sqrt(2.0) * sensor.speed_noise * noise[k, :2]
        left, right = np.where(turning, noisy, 0.0)
        steering = float(then.steering) + self._offset + sensor.steering_noise * noise[k, 2]
        return WheelOdometry(
            speed=float(0.5 * (left + right)),
            steering=float(steering),
            yaw_rate=float((right - left) / track),
            timestamp_us=microseconds(float(times[k])),
        )


def _six(accelerometer: float, gyroscope: float) -> Array:
    return np.array([accelerometer] * 3 + [gyroscope] * 3)


def _cross_with(b: Array) -> Array:
    """(3, 3) such that ``a @ _cross_with(b)`` is ``a x b`` for rows ``a``."""
    x, y, z = b
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def _yaw_rate_now(previous: EgoState, ego: EgoState) -> float:
    """rad/s at the end of a step.

    The simulator's yaw rate is that of the step's mean steering: what is added is what the steering
    has changed since half way.
    """
    mean = 0.5 * (previous.steering + ego.steering)
    change = np.tan(ego.steering) - np.tan(mean)
    return float(ego.yaw_rate + ego.speed / ego.vehicle.wheelbase * change)
