"""One step of the simulator once more, in plain NumPy float64: vehicles that follow their lane.

It covers roads without junctions, lane changes, signals and walkers: every car stays on the lane it
starts on and minds only the cars ahead of it there. Equations, in the order of a step:

1. wanted speed      min(limit * factor, cap of the bend 0.3 s ahead, own maximum)
2. acceleration      IDM:  a (1 - (v / wanted)^4)  -  a ((s0 + v T + v dv / (2 sqrt(a b))) / gap)^2
3. steering          curvature of the line + feedback on lateral error and heading of the box centre
4. actuators         first-order lags with limits
5. kinematic bicycle the rear axle moves along the chord of a circle
6. path              the box centre projected onto the lane again
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from roadloop.maps.road_map import RoadMap

BEND_ACCELERATION = 2.0  # m/s^2 to the side
BEND_BRAKING = 1.5  # m/s^2 before a bend
HARDEST = 8.0  # m/s^2


@dataclass(frozen=True)
class Car:
    """A car and its driver; SI units. ``traits`` is its record of sim.state.Traits."""

    lane: int
    x: float
    y: float
    heading: float
    s: float
    lateral: float
    speed: float
    traits: np.void
    acceleration: float = 0.0
    steering: float = 0.0


class Centreline:
    """One lane's centreline; between its points everything is interpolated linearly."""

    def __init__(self, road_map: RoadMap, lane: int):
        rows = road_map.points_of(lane)
        self.s = road_map.point_s[rows]
        self.x, self.y = road_map.point_xyz[rows, :2].T
        self.heading = np.unwrap(road_map.point_heading[rows])
        self.curvature = road_map.point_curvature[rows]
        self.limit = float(road_map.lane_speed_limit[lane])
        self.cap = self._caps()

    def _caps(self) -> np.ndarray:
        """Speed per point that keeps the lateral acceleration in this bend and those after it."""
        window = round(2.0 / (self.s[1] - self.s[0]))  # drivers see curvature over two metres
        last = len(self.s) - 1
        caps = np.zeros(len(self.s))
        for k in range(len(self.s)):
            seen = np.clip(np.arange(k - window, k + window + 1), 0, last)
            bend = np.abs(self.curvature)[seen].mean()
            caps[k] = np.sqrt(BEND_ACCELERATION / max(bend, 1e-4))
        for k in range(last - 1, -1, -1):
            step = self.s[k + 1] - self.s[k]
            caps[k] = min(caps[k], np.sqrt(caps[k + 1] ** 2 + 2.0 * BEND_BRAKING * step))
        return np.clip(caps, 2.0, 100.0)

    def at(self, s: float, values: np.ndarray) -> float:
        """One of the columns above at arc length ``s``."""
        return float(np.interp(s, self.s, values))

    def cap_at(self, s: float) -> float:
        """The lower of the two speed caps around ``s``."""
        k = int(np.clip(np.searchsorted(self.s, s, side="right") - 1, 0, len(self.s) - 2))
        return float(min(self.cap[k], self.cap[k + 1]))

    def project(self, x: float, y: float) -> tuple[float, float]:
        """s and lateral offset of a point, seen from the nearest segment of the line."""
        ux, uy = np.diff(self.x), np.diff(self.y)
        dx, dy = x - self.x[:-1], y - self.y[:-1]
        share = np.clip((dx * ux + dy * uy) / (ux**2 + uy**2), 0.0, 1.0)
        k = int(np.argmin(np.hypot(dx - share * ux, dy - share * uy)))
        lateral = (ux[k] * dy[k] - uy[k] * dx[k]) / np.hypot(ux[k], uy[k])
        return float(self.s[k] + share[k] * (self.s[k + 1] - self.s[k])), float(lateral)


def step(cars: list[Car], lines: dict[int, Centreline], dt: float) -> list[Car]:
    """All cars ``dt`` s later."""
    after = []
    for car in cars:
        line = lines[car.lane]
        wish = _acceleration(car, _ahead(car, cars), line)
        moved = _bicycle(car, wish, _steering(car, line, dt), dt)
        s, lateral = line.project(moved.x, moved.y)
        after.append(replace(moved, s=s, lateral=lateral))
    return after


def _ahead(car: Car, cars: list[Car]) -> list[Car]:
    """The cars in sight ahead on the same lane."""
    v = car.speed
    look = np.clip(20.0 + 3.0 * v + v * v / 6.0, 70.0, 150.0)
    return [
        o for o in cars
        if o.lane == car.lane and o.s > car.s and np.hypot(o.x - car.x, o.y - car.y) < look
    ]  # fmt: skip


def _acceleration(car: Car, ahead: list[Car], line: Centreline) -> float:
    """IDM: the least that the free road or any car ahead asks for."""
    t, v = car.traits, car.speed
    wanted = min(line.limit * t["speed_factor"], line.cap_at(car.s + 0.3 * v), t["max_speed"])
    free = max(t["a"] * (1.0 - (v / wanted) ** 4), -t["b"])
    wish = free
    for other in ahead:
        gap = other.s - car.s - 0.5 * (t["length"] + other.traits["length"])
        closing = v * (v - other.speed) / (2.0 * np.sqrt(t["a"] * t["b"]))
        wished = t["min_gap"] + max(0.0, v * t["headway"] + closing)
        wish = min(wish, free - t["a"] * (wished / max(gap, 0.1)) ** 2)
    return max(wish, -HARDEST)


def _steering(car: Car, line: Centreline, dt: float) -> float:
    """Critically damped return to the line, over the length ``reach``."""
    t = car.traits
    bend_here = line.at(car.s, line.curvature)
    bend = line.at(car.s + car.speed * (t["steering_lag"] + 0.5 * dt), line.curvature)
    aim = t["lateral_offset"]
    bend /= max(1.0 - bend * aim, 0.3)
    reach = 2.0 + 0.5 * car.speed
    error = np.clip(car.lateral - aim, -reach, reach)
    # The box centre is kept on the line: in a bend the axle behind it lags the line's direction.
    lag = t["centre_offset"] * bend_here
    turn = np.clip(_wrapped(car.heading - line.at(car.s, line.heading)) + lag, -1.0, 1.0)
    kappa = bend - error / reach**2 - 2.0 * turn / reach
    return float(np.clip(np.arctan(kappa * t["wheelbase"]), -t["max_steering"], t["max_steering"]))


def _bicycle(car: Car, wish: float, wheel: float, dt: float) -> Car:
    t = car.traits
    wish = np.clip(wish, -min(t["max_deceleration"], t["grip"]), min(t["max_acceleration"], t["a"]))
    acceleration = car.acceleration + (wish - car.acceleration) * _done(dt, t["acceleration_lag"])
    speed = car.speed + acceleration * dt
    if speed < 0.0:
        speed, acceleration = 0.0, max(acceleration, 0.0)
    most = t["max_steering_rate"] * dt
    turn = np.clip((wheel - car.steering) * _done(dt, t["steering_lag"]), -most, most)
    steering = car.steering + turn

    v = 0.5 * (car.speed + speed)
    curvature = np.tan(0.5 * (car.steering + steering)) / t["wheelbase"]
    grip = np.sqrt(max(t["grip"] ** 2 - acceleration**2, 1.0))
    curvature = np.clip(curvature, -grip / max(v * v, 0.01), grip / max(v * v, 0.01))
    heading = car.heading + curvature * v * dt
    middle = 0.5 * (car.heading + heading)
    ahead = t["centre_offset"]
    axle_x = car.x - ahead * np.cos(car.heading) + v * dt * np.cos(middle)
    axle_y = car.y - ahead * np.sin(car.heading) + v * dt * np.sin(middle)
    return replace(
        car,
        x=axle_x + ahead * np.cos(heading),
        y=axle_y + ahead * np.sin(heading),
        heading=heading,
        speed=speed,
        acceleration=acceleration,
        steering=steering,
    )


def _done(dt: float, lag: float) -> float:
    """Share of the way to its command a first-order lag covers in one step."""
    return 1.0 - np.exp(-dt / lag)


def _wrapped(angle: float) -> float:
    return (angle + np.pi) % (2.0 * np.pi) - np.pi
